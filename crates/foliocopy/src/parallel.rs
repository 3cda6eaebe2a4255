//! One very large range by several threads: gigabyte folios, the memory of a guest.

use std::num::NonZeroUsize;
use std::thread;
use std::vec::Vec;

use crate::chunks::Yield;
use crate::error::CopyError;
use crate::execute;
use crate::extable::Fault;
use crate::memory_error::CopyMcError;
use crate::options::CopyOptions;
use crate::page::{PAGE_SIZE, Page, PageRange, PageRangeMut, Span};
use crate::pages::memory_error;
use crate::pair::FolioPair;
use crate::step::Step;

/// Threads work on whole pieces of this length, so that no huge page belongs to two of them: 2 MiB.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// A thread that copies less than this may cost more to start than it saves: see docs/tuning-notes.md, "Past the cache".
const BYTES_PER_THREAD: usize = 16 << 20;

/// Copies `nr_pages` pages from `src` to `dst` with up to `threads` threads, of which the caller's is one.
///
/// The range is split on boundaries of huge pages. The caller's thread alone copies a range that is too short for a second
/// thread; see [`threads_for`].
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
    // SAFETY: this function's contract.
    unsafe { CopyOptions::new().copy_pages_parallel(dst, src, nr_pages, threads) }
}

/// Copies `src` to `dst` with up to `threads` threads, like [`copy_pages_parallel`], and stops at memory that can't be read
/// or written, like [`copy_mc_pages`](crate::copy_mc_pages).
///
/// # Errors
///
/// As [`copy_mc_pages`](crate::copy_mc_pages). The memory error is the one at the lowest address: the bytes before it are
/// the source's. Pages behind it may be copied or not.
pub fn copy_mc_pages_parallel(
    dst: PageRangeMut<'_>,
    src: PageRange<'_>,
    threads: NonZeroUsize,
) -> Result<(), CopyMcError> {
    CopyOptions::new().copy_mc_pages_parallel(dst, src, threads)
}

impl<Y: Yield + Clone + Send> CopyOptions<'_, Y> {
    /// Copies like [`copy_pages_parallel`]. Each thread yields between its own chunks.
    ///
    /// # Errors
    ///
    /// As [`CopyOptions::copy_pages_raw`].
    ///
    /// # Safety
    ///
    /// As [`copy_pages_parallel`].
    pub unsafe fn copy_pages_parallel(
        self,
        dst: *mut Page,
        src: *const Page,
        nr_pages: usize,
        threads: NonZeroUsize,
    ) -> Result<(), CopyError> {
        let (dst, src) = FolioPair { dst, src, nr_pages }.spans()?;
        let step = self.step(dst.bytes())?;
        // SAFETY: two ranges of pages, apart; this function's contract is about their memory.
        unsafe { self.run_parallel::<false>(step, dst, src, threads) };
        Ok(())
    }

    /// Copies like [`copy_mc_pages_parallel`]. Each thread yields between its own chunks.
    ///
    /// # Errors
    ///
    /// As [`copy_mc_pages_parallel`] and [`CopyOptions::copy_mc_pages`].
    pub fn copy_mc_pages_parallel(
        self,
        dst: PageRangeMut<'_>,
        src: PageRange<'_>,
        threads: NonZeroUsize,
    ) -> Result<(), CopyMcError> {
        let (dst, src) = (dst.span(), src.span());
        let step = self.mc_step(dst, src)?;
        // SAFETY: both ranges are mapped, as their types promise, and faults are caught.
        match unsafe { self.run_parallel::<true>(step, dst, src, threads) } {
            None => Ok(()),
            Some(fault) => Err(memory_error(fault, dst, src).into()),
        }
    }

    /// Copies by threads. Returns the fault at the lowest address, if there was one, with the bytes left of the whole range.
    ///
    /// # Safety
    ///
    /// As [`execute::copy`], for two ranges of one length.
    unsafe fn run_parallel<const MC: bool>(
        self,
        step: Step,
        dst: Span,
        src: Span,
        threads: NonZeroUsize,
    ) -> Option<Fault> {
        // SAFETY: the source is readable, or its faults are caught.
        let step = unsafe { execute::resolve::<MC>(step, src.start().cast(), src.bytes()) };
        let (chunk_bytes, end) = (self.chunk_bytes, dst.start().addr() + dst.bytes());
        let copy = move |piece: Piece, between_chunks: Y| {
            let (to, from) = (piece.dst.start().cast(), piece.src.start().cast());
            // SAFETY: a part of both ranges that no other thread has.
            let copied = unsafe {
                execute::copy::<MC>(step, to, from, piece.dst.bytes(), chunk_bytes, between_chunks)
            };
            let behind = end - (piece.dst.start().addr() + piece.dst.bytes());
            copied.err().map(|fault| Fault { bytes_left: fault.bytes_left + behind, ..fault })
        };
        let pieces = pieces(dst, src, threads_for(dst.bytes(), threads).get());
        let (own, others) = pieces.split_first()?;
        let faults: Vec<Option<Fault>> = thread::scope(|scope| {
            let started: Vec<_> = others
                .iter()
                .map(|piece| {
                    let between_chunks = self.between_chunks.clone();
                    let work = move || copy(*piece, between_chunks);
                    (piece, thread::Builder::new().name("foliocopy".into()).spawn_scoped(scope, work))
                })
                .collect();
            let mut faults = std::vec![copy(*own, self.between_chunks.clone())];
            for (piece, thread) in started {
                faults.push(match thread {
                    Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                    // Where no thread can be started, the caller's thread copies its piece.
                    Err(_) => copy(*piece, self.between_chunks.clone()),
                });
            }
            faults
        });
        faults.into_iter().flatten().max_by_key(|fault| fault.bytes_left)
    }
}

/// How many of `threads` threads [`copy_pages_parallel`] uses for `bytes` bytes: one for each 16 MiB, and at least one.
pub fn threads_for(bytes: usize, threads: NonZeroUsize) -> NonZeroUsize {
    NonZeroUsize::new(bytes / BYTES_PER_THREAD).unwrap_or(NonZeroUsize::MIN).min(threads)
}

/// The work of one thread.
#[derive(Clone, Copy)]
struct Piece {
    dst: Span,
    src: Span,
}

// SAFETY: a piece is a pair of addresses; only one thread copies its memory.
unsafe impl Send for Piece {}
// SAFETY: a shared piece can only be read: two addresses and two lengths.
unsafe impl Sync for Piece {}

/// Cuts the ranges into at most `threads` pieces of about the same length, at huge pages of the destination.
fn pieces(dst: Span, src: Span, threads: usize) -> Vec<Piece> {
    let share = (dst.bytes() / threads).next_multiple_of(HUGE_PAGE_BYTES);
    let first_boundary = dst.start().addr().next_multiple_of(HUGE_PAGE_BYTES) - dst.start().addr();
    let mut pieces = Vec::with_capacity(threads);
    let (mut start, bytes) = (0, dst.bytes());
    while start < bytes {
        let last = pieces.len() + 1 == threads;
        let end = if last { bytes } else { (first_boundary + share * (pieces.len() + 1)).min(bytes) };
        let part = |span: Span| span.part(start / PAGE_SIZE, (end - start) / PAGE_SIZE);
        pieces.push(Piece { dst: part(dst), src: part(src) });
        start = end;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: usize, nr_pages: usize) -> Span {
        Span::new(std::ptr::without_provenance_mut(start), nr_pages).unwrap()
    }

    /// For several lengths: the pieces cover the range once, in order, and are cut at huge pages only.
    #[test]
    fn pieces_cover_the_range_and_split_no_huge_page() {
        for start in [1 << 30, (1 << 30) + PAGE_SIZE, (1 << 30) - 3 * PAGE_SIZE] {
            for nr_pages in [1, 511, 512, 513, 4096, 10_000, 262_144] {
                for threads in 1..=9 {
                    let pieces = pieces(span(start, nr_pages), span(1 << 40, nr_pages), threads);
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
