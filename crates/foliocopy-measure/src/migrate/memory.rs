//! The memory that is moved: anonymous, from `aligned_alloc`, in folios of one size as far as the kernel has them.

use std::collections::BTreeMap;
use std::io;
use std::ptr::NonNull;
use std::slice;
use std::time::{Duration, Instant};

use super::{Layout, MigrateError, smallest_thp};
use crate::memory::{base_page, placement};

/// The kernel maps large folios only where they are aligned.
const ALIGNMENT: usize = 2 << 20;

/// Move pages that only this process maps (linux/mempolicy.h).
const MPOL_MF_MOVE: libc::c_int = 1 << 1;

/// Memory with known contents.
///
/// # Invariants
///
/// `start` is the first of `bytes` bytes, a multiple of `folio_bytes`, that `aligned_alloc` gave and nobody frees
/// before this is dropped; every byte was written by [`FolioMemory::renew`].
#[derive(Debug)]
pub(super) struct FolioMemory {
    start: NonNull<u8>,
    bytes: usize,
    folio_bytes: usize,
    seed: u64,
}

/// How many calls of move_pages(2) a move takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calls {
    /// One for all folios.
    One,
    /// One for each folio.
    Each,
}

/// All folios moved.
#[derive(Debug)]
pub(super) struct Moved {
    /// How long the calls took.
    pub(super) took: Duration,
    /// How long each call took, in ns, where each folio had one.
    pub(super) times: Vec<u64>,
    /// The moved pages.
    pub(super) bytes: usize,
    /// Base pages that it did not move, by the error it gave for their folio.
    pub(super) refused: BTreeMap<i32, usize>,
}

/// A wrong byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrongByte {
    pub(super) offset: usize,
    pub(super) found: u8,
    pub(super) expected: u8,
}

impl FolioMemory {
    /// Allocates `bytes` on `node`, every page touched.
    pub(super) fn allocate(bytes: usize, folio_bytes: usize, node: u32) -> Result<Self, MigrateError> {
        let failed = |what: &str| MigrateError::system(what.to_owned());
        let align = ALIGNMENT.max(folio_bytes);
        let rounded = bytes.next_multiple_of(align);
        // SAFETY: a power of two, and a multiple of it.
        let start = NonNull::new(unsafe { libc::aligned_alloc(align, rounded) }.cast::<u8>())
            .ok_or_else(|| failed("can't allocate the memory")(io::Error::last_os_error()))?;
        // INVARIANT: allocated just now; the bytes are written below.
        let mut memory = Self { start, bytes, folio_bytes, seed: 0 };
        let advice =
            if (folio_bytes as u64) < smallest_thp() { libc::MADV_NOHUGEPAGE } else { libc::MADV_HUGEPAGE };
        // SAFETY: our own range, whose contents no advice of these changes.
        if unsafe { libc::madvise(start.as_ptr().cast(), bytes, advice) } != 0 {
            return Err(failed("can't ask for folios by madvise(2)")(io::Error::last_os_error()));
        }
        memory.renew(node)?;
        Ok(memory)
    }

    /// Gives the pages back and takes others, on `node`, with the same contents.
    pub(super) fn renew(&mut self, node: u32) -> Result<(), MigrateError> {
        // SAFETY: our own range; what it held is written again below.
        if unsafe { libc::madvise(self.start.as_ptr().cast(), self.bytes, libc::MADV_DONTNEED) } != 0 {
            return Err(MigrateError::system("can't give pages back by madvise(2)")(
                io::Error::last_os_error(),
            ));
        }
        placement::bind(self.start, self.bytes, node)
            .map_err(MigrateError::system(format!("can't place memory on node {node}")))?;
        self.fill(self.seed);
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Writes every byte anew.
    pub(super) fn fill(&mut self, seed: u64) {
        self.seed = seed;
        // SAFETY: allocated and ours alone (INVARIANT).
        let words = unsafe { slice::from_raw_parts_mut(self.start.as_ptr().cast::<u64>(), self.bytes / 8) };
        for (index, word) in words.iter_mut().enumerate() {
            *word = pattern(seed, index);
        }
    }

    /// The first byte that is not as [`fill`](Self::fill) left it.
    pub(super) fn first_wrong_byte(&self) -> Option<WrongByte> {
        // SAFETY: allocated and written (INVARIANT).
        let words = unsafe { slice::from_raw_parts(self.start.as_ptr().cast::<u64>(), self.bytes / 8) };
        words.iter().enumerate().find(|(index, word)| **word != pattern(self.seed, *index)).map(
            |(index, word)| {
                let pairs = word.to_le_bytes().into_iter().zip(pattern(self.seed, index).to_le_bytes());
                let (byte, (found, expected)) = pairs
                    .enumerate()
                    .find(|(_, (found, expected))| found != expected)
                    .expect("the words differ");
                WrongByte { offset: 8 * index + byte, found, expected }
            },
        )
    }

    /// The folios in which it lies.
    pub(super) fn layout(&self) -> Layout {
        Layout::of(self.start.as_ptr() as usize, self.bytes, self.folio_bytes)
    }

    /// Moves every folio to `node`. Only their first pages are named: of the others the kernel would say that they
    /// are busy or moved already.
    pub(super) fn move_to(&self, node: u32, calls: Calls) -> Result<Moved, MigrateError> {
        let heads = self.layout().heads(self.bytes, self.folio_bytes);
        let pages: Vec<*mut u8> =
            heads.iter().map(|(offset, _)| self.start.as_ptr().wrapping_add(*offset)).collect();
        let nodes = vec![node as libc::c_int; pages.len()];
        let mut status = vec![libc::c_int::MIN; pages.len()];
        let a_call = match calls {
            Calls::One => pages.len(),
            Calls::Each => 1,
        };
        let mut times = Vec::with_capacity(pages.len() / a_call.max(1));
        let mut took = Duration::ZERO;
        let pages = pages.chunks(a_call).zip(nodes.chunks(a_call));
        for ((pages, nodes), status) in pages.zip(status.chunks_mut(a_call)) {
            let clock = Instant::now();
            // SAFETY: moving pages of our own changes no contents; all arrays have `pages.len()` elements.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_move_pages,
                    0,
                    pages.len(),
                    pages.as_ptr(),
                    nodes.as_ptr(),
                    status.as_mut_ptr(),
                    MPOL_MF_MOVE,
                )
            };
            let time = clock.elapsed();
            if result < 0 {
                let source = io::Error::last_os_error();
                return Err(MigrateError::System {
                    what: format!("can't move pages to node {node}"),
                    source,
                });
            }
            took += time;
            if calls == Calls::Each {
                times.push(time.as_nanos() as u64);
            }
        }
        let mut moved = Moved { took, times, bytes: 0, refused: BTreeMap::new() };
        for ((_, bytes), status) in heads.iter().zip(&status) {
            match u32::try_from(*status) {
                Ok(there) if there == node => moved.bytes += bytes,
                // Still elsewhere without an error: the kernel gave up on it.
                Ok(_) => *moved.refused.entry(libc::EAGAIN).or_default() += bytes / base_page(),
                // Not reached at all after another page's failure.
                Err(_) if *status == libc::c_int::MIN => {
                    *moved.refused.entry(libc::EAGAIN).or_default() += bytes / base_page()
                }
                Err(_) => *moved.refused.entry(-status).or_default() += bytes / base_page(),
            }
        }
        Ok(moved)
    }

    /// How many base pages lie on other nodes.
    pub(super) fn pages_elsewhere(&self, node: u32) -> Result<usize, MigrateError> {
        let nodes = placement::nodes_of_pages(self.start, self.bytes).ok_or_else(|| {
            MigrateError::system("can't ask where pages are, by move_pages(2)")(io::Error::last_os_error())
        })?;
        Ok(nodes.iter().filter(|found| u32::try_from(**found) != Ok(node)).count())
    }
}

impl Drop for FolioMemory {
    fn drop(&mut self) {
        // SAFETY: from `aligned_alloc` (INVARIANT), and the last use.
        unsafe { libc::free(self.start.as_ptr().cast()) };
    }
}

/// The contents of a word, which differ between any two pages and between seeds.
fn pattern(seed: u64, index: usize) -> u64 {
    // The golden ratio's multiplier of Knuth's hashing spreads neighbouring indices over all bytes.
    (index as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> FolioMemory {
        let node = crate::topology::Topology::detect().nodes[0].id;
        FolioMemory::allocate(1 << 20, base_page(), node).unwrap()
    }

    #[test]
    fn a_wrong_byte_is_found_where_it_is() {
        let mut memory = memory();
        memory.fill(7);
        assert_eq!(memory.first_wrong_byte(), None);
        let offset = 300 * 8 + 5;
        // SAFETY: inside the memory.
        let byte = unsafe { &mut *memory.start.as_ptr().add(offset) };
        let expected = *byte;
        *byte ^= 0x10;
        let wrong = WrongByte { offset, found: expected ^ 0x10, expected };
        assert_eq!(memory.first_wrong_byte(), Some(wrong));
        memory.fill(8);
        assert_eq!(memory.first_wrong_byte(), None);
    }

    #[test]
    fn pages_that_swapped_places_are_wrong() {
        let mut memory = memory();
        memory.fill(3);
        // SAFETY: two pages of the memory, which do not overlap.
        unsafe {
            let (a, b) = (memory.start.as_ptr(), memory.start.as_ptr().add(base_page()));
            std::ptr::swap_nonoverlapping(a, b, base_page());
        }
        assert_eq!(memory.first_wrong_byte().map(|wrong| wrong.offset < 16), Some(true));
    }

    #[test]
    fn a_move_to_where_it_lies_is_a_move_of_every_page() {
        let memory = memory();
        let node = crate::topology::Topology::detect().nodes[0].id;
        for (calls, times) in [(Calls::One, 0), (Calls::Each, (1 << 20) / base_page())] {
            let moved = memory.move_to(node, calls).unwrap();
            assert_eq!((moved.bytes, moved.refused.len(), moved.times.len()), (1 << 20, 0, times));
            assert!(moved.took.as_nanos() >= moved.times.iter().map(|ns| u128::from(*ns)).sum());
        }
        assert_eq!(memory.pages_elsewhere(node).unwrap(), 0);
        assert_eq!(memory.pages_elsewhere(node + 1).unwrap(), (1 << 20) / base_page());
    }

    #[test]
    fn a_node_that_is_not_there_is_an_error() {
        assert!(memory().move_to(63, Calls::One).unwrap_err().to_string().contains("node 63"));
    }
}
