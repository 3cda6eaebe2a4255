//! The error of a machine-check-safe copy: the memory at which it stopped.

use core::fmt;
use core::ops::Range;

use crate::error::CopyError;
use crate::extable::{Fault, Signal};
use crate::page::{PAGE_SHIFT, PAGE_SIZE};

/// Memory that can't be read or written, and how far the copy got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryError {
    /// The number of bytes, from the start, that are the source's. Exact to the byte for copies of bytes and for `rep
    /// movs`. Exact to the 64-byte line before the fault where a loop copies pages.
    pub bytes_copied: usize,
    /// The number of bytes after those. Never 0.
    pub bytes_left: usize,
    /// The first bad page, counted from the page in which the range starts.
    pub page_index: usize,
    /// The address that can't be accessed, as the kernel reports it (`si_addr`): within the page
    /// [`MemoryError::page_index`], or the start of the granule that is lost. Where the kernel doesn't know it, as on some
    /// CPUs of aarch64, the address at which the copy stopped.
    pub address: usize,
    /// The logarithm of the granule that is lost (`si_addr_lsb`): 12 for a page, 21 for a huge page of
    /// 2 MiB; 0 where the kernel doesn't say.
    pub address_lsb: i16,
    /// The cause.
    pub cause: Cause,
    /// The range that holds the bad memory.
    pub side: Side,
}

/// Why memory can't be accessed: the signal, and its `si_code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The memory is poisoned (`BUS_MCEERR_AR`).
    HardwareMemoryError,
    /// There is nothing behind the address (`BUS_ADRERR`): the file under the mapping was cut short, or
    /// no huge page was left. A kernel without `CONFIG_MEMORY_FAILURE` reports poison like this too.
    BeyondEnd,
    /// Anything else (`BUS_OBJERR`).
    Other,
    /// No memory is mapped (`SEGV_MAPERR`), where [`catch_sigsegv`](crate::sigbus::catch_sigsegv) was called.
    NotMapped,
    /// The mapping forbids the access (`SEGV_ACCERR`), where [`catch_sigsegv`](crate::sigbus::catch_sigsegv) was called.
    NotAllowed,
}

/// One of the two ranges of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// Why a machine-check-safe copy was not made, or stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyMcError {
    /// Nothing was copied, since the request can't be met.
    Refused(CopyError),
    /// Memory went bad.
    Memory(MemoryError),
}

impl MemoryError {
    /// The meaning of a fault that ended a copy of `bytes` bytes from `src` to `dst`.
    pub(crate) fn new(fault: Fault, dst: usize, src: usize, bytes: usize) -> Self {
        let bytes_copied = bytes - fault.bytes_left;
        let (read, written) = (src + bytes_copied, dst + bytes_copied);
        // Only a kernel leaves it empty, and a kernel makes no `MemoryError`.
        let nothing = Signal { number: 0, address: read, code: 0, address_lsb: 0, is_store: None };
        let signal = fault.signal.unwrap_or(nothing);
        let Signal { address, address_lsb, is_store, .. } = signal;
        let side = match (signal.covers(read), signal.covers(written)) {
            (true, false) => Side::Source,
            (false, true) => Side::Destination,
            _ if is_store == Some(true) => Side::Destination,
            // Loads consume poison, stores don't.
            _ => Side::Source,
        };
        let (start, accessed) = if side == Side::Source { (src, read) } else { (dst, written) };
        let address = if address == 0 { accessed } else { address };
        Self {
            bytes_copied,
            bytes_left: fault.bytes_left,
            page_index: (start % PAGE_SIZE + bytes_copied) >> PAGE_SHIFT,
            address,
            address_lsb,
            cause: Cause::of(&signal),
            side,
        }
    }

    /// The lost part of a source of `bytes` bytes at `src`: from the start of the bad page to the end of the granule that
    /// holds it, within the range.
    pub(crate) fn lost(&self, src: usize, bytes: usize) -> Range<usize> {
        let bad = src + self.bytes_copied;
        let granule = self.granule_bytes();
        let start = (bad & !(PAGE_SIZE - 1)).max(src) - src;
        let end = (bad & !(granule - 1)).saturating_add(granule) - src;
        start..end.min(bytes)
    }

    /// The size of the lost granule in bytes: at least a page of the system, and a power of two.
    pub fn granule_bytes(&self) -> usize {
        granule_bytes(self.address_lsb)
    }
}

impl Signal {
    /// Whether the granule that is lost holds this address.
    pub(crate) fn covers(&self, address: usize) -> bool {
        (self.address ^ address) & UNTAGGED & !(granule_bytes(self.address_lsb) - 1) == 0
    }
}

/// The size of a granule. It is a page of the system where the kernel doesn't say. It is never less, since the kernel takes
/// memory away by pages.
pub(crate) fn granule_bytes(address_lsb: i16) -> usize {
    match address_lsb {
        13..=62 => 1 << address_lsb,
        _ => system_page(),
    }
}

/// `SEGV_MAPERR` and `SEGV_ACCERR` (`include/uapi/asm-generic/siginfo.h`), which libc doesn't name.
#[cfg(target_os = "linux")]
pub(crate) const SEGV_MAPERR: i32 = 1;
#[cfg(target_os = "linux")]
pub(crate) const SEGV_ACCERR: i32 = 2;

/// The bytes of a page of the system: kernels for aarch64 may have pages of 16 and of 64 KiB.
fn system_page() -> usize {
    #[cfg(all(target_os = "linux", target_arch = "aarch64", not(miri)))]
    // SAFETY: getauxval only reads what the kernel gave the process.
    return PAGE_SIZE.max(unsafe { libc::getauxval(libc::AT_PAGESZ) } as usize);
    #[cfg(not(all(target_os = "linux", target_arch = "aarch64", not(miri))))]
    PAGE_SIZE
}

/// The bits of an address without its tag: aarch64 ignores the top byte, and the kernel leaves it out of `si_addr`.
pub(crate) const UNTAGGED: usize = if cfg!(target_arch = "aarch64") { (1 << 56) - 1 } else { !0 };

#[cfg(target_os = "linux")]
impl Cause {
    pub(crate) fn of(signal: &Signal) -> Self {
        match (signal.number, signal.code) {
            (libc::SIGBUS, libc::BUS_MCEERR_AR) => Self::HardwareMemoryError,
            (libc::SIGBUS, libc::BUS_ADRERR) => Self::BeyondEnd,
            (libc::SIGSEGV, SEGV_MAPERR) => Self::NotMapped,
            (libc::SIGSEGV, SEGV_ACCERR) => Self::NotAllowed,
            _ => Self::Other,
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Cause {
    pub(crate) fn of(_: &Signal) -> Self {
        Self::Other
    }
}

impl fmt::Display for MemoryError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes_copied, bytes_left, page_index, address, cause, side, .. } = self;
        write!(
            formatter,
            "page {page_index} of the {side}, at {address:#x}: {cause}; {bytes_copied} bytes were \
             copied, {bytes_left} were not"
        )
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::HardwareMemoryError => "hardware memory error",
            Self::BeyondEnd => "beyond the end of the mapping",
            Self::Other => "bus error",
            Self::NotMapped => "not mapped",
            Self::NotAllowed => "access is not allowed",
        })
    }
}

impl fmt::Display for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

impl fmt::Display for CopyMcError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(formatter),
            Self::Memory(error) => error.fmt(formatter),
        }
    }
}

impl From<CopyError> for CopyMcError {
    fn from(error: CopyError) -> Self {
        Self::Refused(error)
    }
}

impl From<MemoryError> for CopyMcError {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

/// `std` has no kind for `EIO`: a memory error is of the kind `Other`.
impl From<MemoryError> for std::io::Error {
    fn from(error: MemoryError) -> Self {
        Self::other(error)
    }
}

impl From<CopyMcError> for std::io::Error {
    fn from(error: CopyMcError) -> Self {
        match error {
            CopyMcError::Refused(error) => error.into(),
            CopyMcError::Memory(error) => error.into(),
        }
    }
}

impl core::error::Error for MemoryError {}
impl core::error::Error for CopyMcError {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const HUGE: usize = 2 << 20;

    /// An error at the start of page `page` of 1024, for such a signal.
    fn error(page: usize, address: usize, code: i32, address_lsb: i16) -> MemoryError {
        let signal = Some(Signal { number: libc::SIGBUS, address, code, address_lsb, is_store: None });
        let fault = Fault { bytes_left: (1024 - page) * PAGE_SIZE, trap: 18, signal };
        MemoryError::new(fault, 64 * HUGE, 32 * HUGE, 1024 * PAGE_SIZE)
    }

    #[test]
    fn the_granule_is_a_page_at_least() {
        let page = system_page();
        for (address_lsb, bytes) in [(0, page), (6, page), (12, page), (21, HUGE), (30, 1 << 30)] {
            assert_eq!(error(0, 32 * HUGE, libc::BUS_MCEERR_AR, address_lsb).granule_bytes(), bytes);
        }
        assert_eq!(granule_bytes(-1), page);
        assert_eq!(granule_bytes(i16::MAX), page);
    }

    #[test]
    fn the_address_tells_the_side() {
        let at = |address, address_lsb| error(700, address, libc::BUS_MCEERR_AR, address_lsb).side;
        assert_eq!(at(32 * HUGE + 700 * PAGE_SIZE + 64, 12), Side::Source);
        assert_eq!(at(64 * HUGE + 700 * PAGE_SIZE, 12), Side::Destination);
        // The start of the huge page that holds it.
        assert_eq!(at(33 * HUGE, 21), Side::Source);
        assert_eq!(at(65 * HUGE, 21), Side::Destination);
        // A granule that holds both: loads consume poison, stores don't.
        assert_eq!(at(0, 30), Side::Source);
    }

    /// An external abort of aarch64, where the CPU does not know the address.
    #[test]
    fn without_an_address_the_access_tells_the_side() {
        let at = |is_store| {
            let signal = Some(Signal {
                number: libc::SIGBUS,
                address: 0,
                code: libc::BUS_OBJERR,
                address_lsb: 0,
                is_store,
            });
            let fault = Fault { bytes_left: 64, trap: 14, signal };
            let error = MemoryError::new(fault, 64 * HUGE, 32 * HUGE, PAGE_SIZE);
            (error.side, error.address)
        };
        assert_eq!(at(Some(true)), (Side::Destination, 64 * HUGE + PAGE_SIZE - 64));
        assert_eq!(at(Some(false)), (Side::Source, 32 * HUGE + PAGE_SIZE - 64));
        assert_eq!(at(None), (Side::Source, 32 * HUGE + PAGE_SIZE - 64));
    }

    #[test]
    fn what_is_lost_ends_with_the_granule_or_the_range() {
        // A page at which a page of the system starts, even one of 64 KiB.
        let lost = |address_lsb, src, bytes| error(704, 0, libc::BUS_MCEERR_AR, address_lsb).lost(src, bytes);
        let (bad, end) = (704 * PAGE_SIZE, 1024 * PAGE_SIZE);
        assert_eq!(lost(12, 32 * HUGE, end), bad..bad + system_page());
        assert_eq!(lost(21, 32 * HUGE, end), bad..2 * HUGE);
        assert_eq!(lost(30, 32 * HUGE, end), bad..end);
        // A range that starts within a page loses the rest of a page.
        assert_eq!(lost(12, 32 * HUGE + 5, end), bad - 5..bad - 5 + system_page());
        assert_eq!(lost(12, 32 * HUGE + 5, bad + 7), bad - 5..bad + 7);
    }

    #[test]
    fn the_code_tells_the_cause() {
        let cause = |code| error(0, 32 * HUGE, code, 12).cause;
        assert_eq!(cause(libc::BUS_MCEERR_AR), Cause::HardwareMemoryError);
        assert_eq!(cause(libc::BUS_ADRERR), Cause::BeyondEnd);
        assert_eq!(cause(libc::BUS_OBJERR), Cause::Other);
    }

    #[test]
    fn an_error_reads_as_a_sentence() {
        assert_eq!(
            error(700, 0x4ec000, libc::BUS_MCEERR_AR, 12).to_string(),
            "page 700 of the source, at 0x4ec000: hardware memory error; 2867200 bytes were copied, 1327104 were not"
        );
    }
}
