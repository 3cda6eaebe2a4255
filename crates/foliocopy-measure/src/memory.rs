//! Memory to copy between: mapped as asked, placed on a node, and checked for what the system really gave.

mod available;
mod given;
mod mapping;
pub(crate) mod placement;

use std::fmt;
use std::io;
use std::str::FromStr;

use thiserror::Error;

use crate::size::Size;

pub use available::Available;
pub use mapping::Mapping;

/// The bytes of a base page of this system: 4096 on x86-64, and up to 65536 on aarch64.
pub fn base_page() -> usize {
    // SAFETY: only asks.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).expect("a system has pages")
}

/// The size of a huge page that a PMD maps where base pages have 4 KiB. Larger base pages have larger ones: with these a
/// mapping takes whole multiples of 2 MiB too.
pub const PMD_BYTES: usize = 2 << 20;

/// The file that says how many huge pages of [`PMD_BYTES`] are reserved. `vm.nr_hugepages` is about those of the kernel's default
/// size, which may be larger.
pub const RESERVED_HUGE_PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

/// Kinds of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryKind {
    /// Anonymous, with transparent huge pages (`MADV_HUGEPAGE`).
    Thp,
    /// Anonymous, in base pages (`MADV_NOHUGEPAGE`).
    Anon,
    /// Anonymous, from the pool of reserved huge pages (`MAP_HUGETLB`), as guest RAM often is.
    Hugetlb,
    /// A shared mapping of a memfd, as guest RAM is where another process maps it too.
    Memfd,
}

impl MemoryKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Thp, Self::Anon, Self::Hugetlb, Self::Memfd];

    /// The name that `--memory` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Thp => "thp",
            Self::Anon => "anon",
            Self::Hugetlb => "hugetlb",
            Self::Memfd => "memfd",
        }
    }
}

impl fmt::Display for MemoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for MemoryKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("`{text}` is no kind of memory: known are {known}")
        })
    }
}

/// Why memory could not be had.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// The pool of huge pages is too small.
    #[error(
        "no {} in reserved huge pages: reserve some with `echo {} > {RESERVED_HUGE_PAGES}`, or use --memory thp",
        Size(*bytes as u64),
        bytes.div_ceil(PMD_BYTES) * 2
    )]
    NoHugePages {
        /// Bytes asked for.
        bytes: usize,
    },
    /// mmap(2) or memfd_create(2) failed.
    #[error("can't map {} of {kind} memory", Size(*bytes as u64))]
    Map {
        /// Bytes that were asked for.
        kind: MemoryKind,
        /// Bytes asked for.
        bytes: usize,
        /// The system's message.
        #[source]
        source: io::Error,
    },
    /// mbind(2) failed.
    #[error("can't place memory on node {node}{}", if source.raw_os_error() == Some(libc::EPERM) {
        " (a container's seccomp filter may forbid mbind(2): run outside, or give it CAP_SYS_NICE)"
    } else { "" })]
    Bind {
        /// The node asked for.
        node: u32,
        /// The system's message.
        #[source]
        source: io::Error,
    },
}
