//! A mapping that unmaps itself.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::slice;

use super::{MemoryError, MemoryKind, PMD_BYTES, base_page, given, placement};
use crate::result::MemoryGiven;

/// Writable memory of its own, aligned as asked, every page touched.
///
/// # Invariants
///
/// `start` is the first of `bytes` mapped, readable and writable bytes inside the reservation; `node`, if any, is where
/// they were bound to before the first touch.
#[derive(Debug)]
pub struct Mapping {
    _reservation: Reservation,
    start: NonNull<u8>,
    bytes: usize,
    kind: MemoryKind,
    node: Option<u32>,
}

// SAFETY: the memory belongs to the mapping alone; no thread is special to it.
unsafe impl Send for Mapping {}
// SAFETY: shared references only read it; whoever writes through `as_mut_ptr` answers for that.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` (rounded up to whole huge pages, one at least) of zeroes, aligned to `align` bytes (a power of two, raised
    /// to a huge page), on `node` where one is given, and touches every page.
    pub fn new(kind: MemoryKind, bytes: usize, align: usize, node: Option<u32>) -> Result<Self, MemoryError> {
        let bytes = bytes.max(1).next_multiple_of(PMD_BYTES);
        let align = align.max(PMD_BYTES);
        let (reservation, start) = map(kind, bytes, align).map_err(|source| match source.raw_os_error() {
            Some(libc::ENOMEM) if kind == MemoryKind::Hugetlb => MemoryError::NoHugePages { bytes },
            _ => MemoryError::Map { kind, bytes, source },
        })?;
        // INVARIANT: mapped just now.
        let mapping = Self { _reservation: reservation, start, bytes, kind, node };
        if let Some(node) = node {
            placement::bind(start, bytes, node).map_err(|source| MemoryError::Bind { node, source })?;
        }
        mapping.advise();
        mapping.touch();
        Ok(mapping)
    }

    /// Asks for huge pages or for none. A kernel without them answers EINVAL, which [`Mapping::given`] shows.
    fn advise(&self) {
        let advice = match self.kind {
            MemoryKind::Thp | MemoryKind::Memfd => libc::MADV_HUGEPAGE,
            MemoryKind::Anon => libc::MADV_NOHUGEPAGE,
            MemoryKind::Hugetlb => return,
        };
        // SAFETY: the range is ours (INVARIANT), and neither advice changes its content.
        unsafe { libc::madvise(self.start.as_ptr().cast(), self.bytes, advice) };
    }

    /// Writes to every base page, so that none is the shared zero page.
    fn touch(&self) {
        for offset in (0..self.bytes).step_by(base_page()) {
            // SAFETY: `offset` lies inside the mapping (INVARIANT), which nobody else knows of yet.
            unsafe { self.start.as_ptr().add(offset).write_volatile(0) };
        }
    }

    /// Mapped bytes: those that were asked for, rounded up to whole huge pages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first byte.
    pub fn as_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }

    /// The first byte, to write through.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// The content as it is.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: mapped and readable (INVARIANT), initialized by the kernel; writers hold `&mut self`.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    /// The content, to write to.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `&mut self` makes it exclusive.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }

    /// The memory that the system gave.
    pub fn given(&self) -> MemoryGiven {
        let nodes = placement::nodes_of_pages(self.start, self.bytes);
        MemoryGiven {
            bytes: self.bytes as u64,
            huge_bytes: given::huge_bytes(self.start.as_ptr() as usize, self.bytes),
            on_node_bytes: nodes.zip(self.node).map(|(nodes, node)| {
                base_page() as u64
                    * nodes.iter().filter(|found| u32::try_from(**found) == Ok(node)).count() as u64
            }),
        }
    }

    /// The node that holds the first page. `None` where the system does not say.
    pub fn node_of_first_page(&self) -> Option<u32> {
        let nodes = placement::nodes_of_pages(self.start, base_page())?;
        u32::try_from(*nodes.first()?).ok()
    }
}

/// Address space of our own, unmapped when dropped.
///
/// # Invariants
///
/// `start` is the first of `bytes` bytes that nobody else maps or unmaps.
#[derive(Debug)]
struct Reservation {
    start: *mut u8,
    bytes: usize,
}

impl Reservation {
    fn new(bytes: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // INVARIANT: the kernel found this range free.
        Ok(Self { start: mmap(ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1)?, bytes })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: ours (INVARIANT), and the last use.
        unsafe { libc::munmap(self.start.cast(), self.bytes) };
    }
}

/// Maps `bytes` at a multiple of `align`, inside a reservation with at least a huge page that can't be touched on
/// either side: so no entry of /proc/self/smaps joins two mappings, and whoever writes past one is found out.
fn map(kind: MemoryKind, bytes: usize, align: usize) -> io::Result<(Reservation, NonNull<u8>)> {
    let reserved = bytes.checked_add(align).and_then(|bytes| bytes.checked_add(2 * PMD_BYTES));
    let reservation = Reservation::new(reserved.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?)?;
    let start = reservation.start.map_addr(|address| (address + PMD_BYTES).next_multiple_of(align));
    let file;
    let (flags, fd) = match kind {
        MemoryKind::Thp | MemoryKind::Anon => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
        MemoryKind::Hugetlb => {
            (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | libc::MAP_HUGE_2MB, -1)
        }
        MemoryKind::Memfd => {
            file = memfd(bytes)?;
            (libc::MAP_SHARED, file.as_raw_fd())
        }
    };
    let start = mmap(start, bytes, libc::PROT_READ | libc::PROT_WRITE, flags | libc::MAP_FIXED, fd)?;
    Ok((reservation, NonNull::new(start).expect("mmap(2) never maps at address 0 unless told to")))
}

fn mmap(hint: *mut u8, bytes: usize, protection: i32, flags: i32, fd: i32) -> io::Result<*mut u8> {
    // SAFETY: without MAP_FIXED nothing that exists is touched; with it `hint` is our own reservation.
    let start = unsafe { libc::mmap(hint.cast(), bytes, protection, flags, fd, 0) };
    if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(start.cast()) }
}

fn memfd(bytes: usize) -> io::Result<OwnedFd> {
    // SAFETY: a valid C string; the descriptor that comes back is new and owned by nobody else.
    let fd = unsafe { libc::memfd_create(c"foliocopy".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: checked just above.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let length = libc::off_t::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    // SAFETY: an open descriptor.
    if unsafe { libc::ftruncate(fd.as_raw_fd(), length) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::super::RESERVED_HUGE_PAGES;
    use super::*;

    #[test]
    fn is_writable_zeroed_and_aligned() {
        for kind in [MemoryKind::Thp, MemoryKind::Anon, MemoryKind::Memfd] {
            let mut mapping = Mapping::new(kind, 5 << 20, 8 << 20, None).unwrap();
            assert_eq!(mapping.bytes(), 6 << 20, "whole huge pages");
            assert_eq!(mapping.as_ptr() as usize % (8 << 20), 0);
            assert!(mapping.as_slice().iter().all(|byte| *byte == 0));
            mapping.as_mut_slice().fill(0xa5);
            assert!(mapping.as_slice().iter().all(|byte| *byte == 0xa5));
        }
    }

    #[test]
    fn base_pages_are_base_pages_and_huge_pages_are_reported() {
        let anon = Mapping::new(MemoryKind::Anon, 4 << 20, 4096, None).unwrap().given();
        assert_eq!((anon.bytes, anon.huge_bytes), (4 << 20, 0));
        let thp = Mapping::new(MemoryKind::Thp, 4 << 20, 4096, None).unwrap().given();
        let mode = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
        // A huge page of larger base pages has more than that mapping.
        let fits = base_page() == 4 << 10;
        if fits && (mode.contains("[always]") || mode.contains("[madvise]")) {
            assert!(thp.huge_bytes > 0, "{thp:?} with {mode}");
        } else {
            assert_eq!(thp.huge_bytes, 0, "{thp:?} with {mode}");
        }
    }

    #[test]
    fn neighbours_are_told_apart() {
        let mappings: Vec<Mapping> = [MemoryKind::Thp, MemoryKind::Anon, MemoryKind::Thp, MemoryKind::Anon]
            .map(|kind| Mapping::new(kind, 2 << 20, 4096, None).unwrap())
            .into();
        assert!(
            mappings
                .iter()
                .filter(|mapping| mapping.kind == MemoryKind::Anon)
                .all(|m| m.given().huge_bytes == 0)
        );
    }

    #[test]
    fn a_node_that_exists_holds_what_was_bound_to_it() {
        let topology = crate::topology::Topology::detect();
        let node = topology.nodes.iter().find(|node| node.memory_bytes > 0).unwrap().id;
        let mapping = match Mapping::new(MemoryKind::Thp, 2 << 20, 4096, Some(node)) {
            // A container's seccomp filter: the error must say so.
            Err(error @ MemoryError::Bind { .. }) => {
                assert!(error.to_string().contains(&format!("node {node}")), "{error}");
                return;
            }
            mapping => mapping.unwrap(),
        };
        assert_eq!(mapping.given().on_node_bytes.unwrap_or(2 << 20), 2 << 20);
        assert_eq!(mapping.node_of_first_page().unwrap_or(node), node);
    }

    #[test]
    fn a_node_that_does_not_exist_is_an_error() {
        let error = Mapping::new(MemoryKind::Thp, 2 << 20, 4096, Some(63)).unwrap_err();
        assert!(matches!(error, MemoryError::Bind { node: 63, .. }), "{error:?}");
    }

    #[test]
    fn more_than_the_address_space_is_an_error() {
        let error = Mapping::new(MemoryKind::Thp, 1 << 60, 4096, None).unwrap_err();
        assert!(error.to_string().starts_with("can't map"), "{error}");
    }

    #[test]
    fn an_empty_pool_of_huge_pages_is_explained() {
        match Mapping::new(MemoryKind::Hugetlb, 1 << 40, 4096, None) {
            Err(error) => assert!(error.to_string().contains(RESERVED_HUGE_PAGES), "{error}"),
            Ok(_) => panic!("no test machine has a tebibyte of huge pages"),
        }
    }
}
