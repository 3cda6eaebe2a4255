//! The range, cut into chunks, with a yield between them: one loop for plain and machine-check-safe
//! copies, in a process and in a kernel.

use core::ptr;

use crate::arch;
use crate::clock::Clock;
use crate::extable::Fault;
use crate::fence::FenceGuard;
use crate::page::PAGE_SIZE;
use crate::policy::Choice;
use crate::primitive::Primitive;

/// How much is copied between two yields unless told otherwise: 32 MiB, about 3 ms at 10 GB/s, as
/// Linux's `clear_pages()` does (`PROCESS_PAGES_NON_PREEMPT_BATCH`).
pub const DEFAULT_CHUNK_BYTES: usize = 32 << 20;

/// What happens between two chunks. Every `FnMut()` is one.
pub trait Yield {
    /// Lets others run. Everything copied so far is visible to them.
    fn yield_now(&mut self);
}

/// Goes straight on with the next chunk.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoYield;

impl Yield for NoYield {
    #[inline]
    fn yield_now(&mut self) {}
}

impl<F: FnMut()> Yield for F {
    #[inline]
    fn yield_now(&mut self) {
        self();
    }
}

/// Copies `bytes` bytes, at most `chunk_bytes` (rounded up to whole pages, a page at least) between two
/// yields: not before the first chunk, not after the last. Never an error unless `MACHINE_CHECK_SAFE`.
///
/// # Safety
///
/// The choice suits the CPU, and the rest is as [`Primitive::copy`] or, with
/// `MACHINE_CHECK_SAFE`, [`Primitive::copy_mc`] says.
#[inline]
pub(crate) unsafe fn copy<const MACHINE_CHECK_SAFE: bool>(
    choice: Choice,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    chunk_bytes: usize,
    between_chunks: impl Yield,
) -> Result<(), Fault> {
    let simple = choice.in_l1.is_none() && !choice.primitive.is_non_temporal();
    // SAFETY: the caller's promises.
    unsafe {
        match simple && bytes <= chunk_bytes {
            true => by::<MACHINE_CHECK_SAFE>(choice.primitive, dst, src, bytes, 0),
            false => many::<MACHINE_CHECK_SAFE>(choice, dst, src, bytes, chunk_bytes, between_chunks),
        }
    }
}

/// One chunk, and a fence if its stores need it.
///
/// # Safety
///
/// As [`copy`].
#[inline]
unsafe fn one<const MACHINE_CHECK_SAFE: bool>(
    choice: Choice,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
) -> Result<(), Fault> {
    // SAFETY: the caller's promises.
    unsafe {
        match choice.in_l1 {
            None => {
                let _fence = FenceGuard::new(choice.primitive);
                let prefetch_distance = choice.prefetch_distance as usize;
                by::<MACHINE_CHECK_SAFE>(choice.primitive, dst, src, bytes, prefetch_distance)
            }
            Some(in_l1) => by_first_page::<MACHINE_CHECK_SAFE>(in_l1, choice, dst, src, bytes),
        }
    }
}

/// Lets the first page tell: copied as if it were in the L1, and if it took no longer than that the rest
/// is copied the same way. Neither way bypasses the cache.
///
/// # Safety
///
/// As [`copy`]; the CPU has a time-stamp counter.
#[inline(never)]
unsafe fn by_first_page<const MACHINE_CHECK_SAFE: bool>(
    in_l1: Primitive,
    choice: Choice,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
) -> Result<(), Fault> {
    let first = bytes.min(PAGE_SIZE);
    let rest = bytes - first;
    let Some(clock) = Clock::usable() else {
        // SAFETY: the caller's promises.
        return unsafe { by::<MACHINE_CHECK_SAFE>(choice.primitive, dst, src, bytes, 0) };
    };
    let start = clock.now();
    // SAFETY: the first of the two parts of what the caller promised.
    unsafe { by::<MACHINE_CHECK_SAFE>(in_l1, dst, src, first, 0) }
        .map_err(|fault| Fault { bytes_left: fault.bytes_left + rest, ..fault })?;
    let was_in_l1 = clock.now().wrapping_sub(start) <= clock.page_in_l1_up_to();
    let primitive = if was_in_l1 { in_l1 } else { choice.primitive };
    // SAFETY: the second of the two.
    unsafe { by::<MACHINE_CHECK_SAFE>(primitive, dst.add(first), src.add(first), rest, 0) }
}

/// One run of one primitive, without a fence.
///
/// # Safety
///
/// As [`copy`].
#[inline]
unsafe fn by<const MACHINE_CHECK_SAFE: bool>(
    primitive: Primitive,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    prefetch_distance: usize,
) -> Result<(), Fault> {
    // SAFETY: the caller's promises.
    unsafe { run::<MACHINE_CHECK_SAFE>(primitive, dst, src, bytes, prefetch_distance, ptr::null()) }
}

/// One run of one primitive, without a fence, that prefetches what comes `next`.
///
/// # Safety
///
/// As [`copy`]; `next` as in [`arch::copy`].
#[inline]
pub(crate) unsafe fn run<const MACHINE_CHECK_SAFE: bool>(
    primitive: Primitive,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    prefetch_distance: usize,
    next: *const u8,
) -> Result<(), Fault> {
    // SAFETY: the caller's promises.
    unsafe {
        match MACHINE_CHECK_SAFE {
            true => arch::copy_mc(primitive, dst, src, bytes, prefetch_distance, next),
            false => {
                arch::copy(primitive, dst, src, bytes, prefetch_distance, next);
                Ok(())
            }
        }
    }
}

/// All that is not one chunk by one temporal primitive. Out of line: what this keeps on the stack would
/// cost a copy of one page a tenth of its speed, since the stores of the page before it still fill the
/// store queue.
///
/// # Safety
///
/// As [`copy`].
#[inline(never)]
unsafe fn many<const MACHINE_CHECK_SAFE: bool>(
    choice: Choice,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    chunk_bytes: usize,
    mut between_chunks: impl Yield,
) -> Result<(), Fault> {
    let chunk_bytes = chunk_bytes.max(1).checked_next_multiple_of(PAGE_SIZE).unwrap_or(usize::MAX);
    let mut copied = 0;
    while copied < bytes {
        if copied != 0 {
            between_chunks.yield_now();
        }
        let chunk = chunk_bytes.min(bytes - copied);
        // SAFETY: `copied + chunk` is at most `bytes`, the length of both ranges.
        let answer = unsafe { one::<MACHINE_CHECK_SAFE>(choice, dst.add(copied), src.add(copied), chunk) };
        copied += chunk;
        if let Err(fault) = answer {
            return Err(Fault { bytes_left: fault.bytes_left + (bytes - copied), ..fault });
        }
    }
    Ok(())
}
