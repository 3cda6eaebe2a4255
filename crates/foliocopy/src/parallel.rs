//! One very large range by several threads: gigabyte folios, the memory of a guest.

use std::num::NonZeroUsize;
use std::thread;

use crate::error::CopyError;
use crate::page::{PAGE_SIZE, Page, PageRange};
use crate::pages::CopyOptions;
use crate::policy::Policy;

/// Threads work on whole pieces of this length, so that no huge page belongs to two of them: 2 MiB.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// A thread that copies less than this costs more to start than it saves: 16 MiB take a millisecond or
/// so, a thread some tens of microseconds.
const BYTES_PER_THREAD: usize = 16 << 20;

/// Copies `nr_pages` pages from `src` to `dst` with up to `threads` threads, of which the caller's is one.
///
/// The range is split on boundaries of huge pages. A range that is too short for a second thread is copied
/// by the caller's alone; see [`threads_for`].
///
/// # Errors
///
/// As [`copy_pages_raw`](crate::copy_pages_raw). Nothing has been copied then.
///
/// # Safety
///
/// As [`copy_pages_raw`](crate::copy_pages_raw).
pub unsafe fn copy_pages_parallel(
    dst: *mut Page,
    src: *const Page,
    nr_pages: usize,
    threads: NonZeroUsize,
) -> Result<(), CopyError> {
    let (to, from) = (PageRange::new(dst, nr_pages)?, PageRange::new(src.cast_mut(), nr_pages)?);
    if to.overlaps(from) {
        return Err(CopyError::Overlap);
    }
    // What the environment says wrong, it says before anything is copied.
    Policy::host()?;
    let threads = threads_for(to.bytes(), threads).get();
    let mut pieces = pieces(to, from, threads).into_iter();
    let own = pieces.next();
    thread::scope(|scope| {
        for piece in pieces {
            let work = move || {
                // SAFETY: a part of the caller's ranges that no other thread has.
                unsafe { piece.copy() }
            };
            // A thread that can't be had is done without: the caller's does its piece.
            if thread::Builder::new().name("foliocopy".to_owned()).spawn_scoped(scope, work).is_err() {
                // SAFETY: as above; nobody else took it.
                unsafe { piece.copy() };
            }
        }
        if let Some(own) = own {
            // SAFETY: as above.
            unsafe { own.copy() };
        }
    });
    Ok(())
}

/// How many of `threads` threads [`copy_pages_parallel`] uses for `bytes` bytes: as many as have 16 MiB
/// each, one at least.
pub fn threads_for(bytes: usize, threads: NonZeroUsize) -> NonZeroUsize {
    NonZeroUsize::new(bytes / BYTES_PER_THREAD).unwrap_or(NonZeroUsize::MIN).min(threads)
}

/// What one thread copies.
#[derive(Clone, Copy)]
struct Piece {
    dst: PageRange,
    src: PageRange,
}

// SAFETY: a piece is a pair of addresses; whoever made the ranges vouches for the memory, from any thread.
unsafe impl Send for Piece {}

impl Piece {
    /// # Safety
    ///
    /// As [`copy_pages_raw`](crate::copy_pages_raw), which has been asked before whether it would.
    unsafe fn copy(self) {
        // SAFETY: the caller's promises. What could be refused was checked for the whole range.
        let copied = unsafe {
            CopyOptions::new().copy_pages_raw(self.dst.start(), self.src.start(), self.dst.nr_pages())
        };
        debug_assert_eq!(copied, Ok(()));
    }
}

/// Cuts the ranges into at most `threads` pieces of about the same length, at huge pages of the destination.
fn pieces(dst: PageRange, src: PageRange, threads: usize) -> Vec<Piece> {
    let share = (dst.bytes() / threads).next_multiple_of(HUGE_PAGE_BYTES);
    let first_boundary = dst.start().addr().next_multiple_of(HUGE_PAGE_BYTES) - dst.start().addr();
    let mut pieces = Vec::with_capacity(threads);
    let (mut start, bytes) = (0, dst.bytes());
    while start < bytes {
        let last = pieces.len() + 1 == threads;
        let end = if last { bytes } else { (first_boundary + share * (pieces.len() + 1)).min(bytes) };
        let part = |range: PageRange| range.part(start / PAGE_SIZE, (end - start) / PAGE_SIZE);
        pieces.push(Piece { dst: part(dst), src: part(src) });
        start = end;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: usize, nr_pages: usize) -> PageRange {
        PageRange::new(std::ptr::without_provenance_mut(start), nr_pages).unwrap()
    }

    /// Whatever the lengths: all of it, once, in order, cut at huge pages only.
    #[test]
    fn pieces_cover_the_range_and_split_no_huge_page() {
        for start in [1 << 30, (1 << 30) + PAGE_SIZE, (1 << 30) - 3 * PAGE_SIZE] {
            for nr_pages in [1, 511, 512, 513, 4096, 10_000, 262_144] {
                for threads in 1..=9 {
                    let pieces = pieces(range(start, nr_pages), range(1 << 40, nr_pages), threads);
                    assert!(pieces.len() <= threads);
                    let mut next = (start, 1 << 40);
                    for (index, piece) in pieces.iter().enumerate() {
                        assert_eq!((piece.dst.start().addr(), piece.src.start().addr()), next);
                        assert_eq!(piece.dst.nr_pages(), piece.src.nr_pages());
                        assert!(
                            index == 0 || next.0 % HUGE_PAGE_BYTES == 0,
                            "{start:#x} {nr_pages} {threads}"
                        );
                        next = (next.0 + piece.dst.bytes(), next.1 + piece.src.bytes());
                    }
                    assert_eq!(next.0, start + nr_pages * PAGE_SIZE);
                }
            }
        }
    }

    #[test]
    fn short_ranges_are_for_one_thread() {
        let threads = |bytes, most| threads_for(bytes, NonZeroUsize::new(most).unwrap()).get();
        assert_eq!(threads(0, 8), 1);
        assert_eq!(threads(BYTES_PER_THREAD * 2 - 1, 8), 1);
        assert_eq!(threads(BYTES_PER_THREAD * 2, 8), 2);
        assert_eq!(threads(1 << 30, 8), 8);
    }
}
