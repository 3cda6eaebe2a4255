//! The range, cut into chunks, with a yield between them: one loop for plain and machine-check-safe
//! copies, in a process and in a kernel.

use crate::extable::Fault;
use crate::fence::FenceGuard;
use crate::page::PAGE_SIZE;
use crate::policy::Choice;

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
/// The choice suits the CPU, and the rest is as [`Primitive::copy`](crate::Primitive::copy) or, with
/// `MACHINE_CHECK_SAFE`, [`Primitive::copy_mc`](crate::Primitive::copy_mc) says.
#[inline]
pub(crate) unsafe fn copy<const MACHINE_CHECK_SAFE: bool>(
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
        let Choice { primitive, prefetch_distance, .. } = choice;
        let _fence = FenceGuard::new(primitive);
        // SAFETY: `copied + chunk` is at most `bytes`, the length of both ranges.
        let (dst, src) = unsafe { (dst.add(copied), src.add(copied)) };
        copied += chunk;
        if MACHINE_CHECK_SAFE {
            // SAFETY: a part of what the caller promised.
            let answer = unsafe { crate::arch::copy_mc(primitive, dst, src, chunk, prefetch_distance) };
            if let Err(fault) = answer {
                return Err(Fault { bytes_left: fault.bytes_left + (bytes - copied), ..fault });
            }
        } else {
            // SAFETY: a part of what the caller promised.
            unsafe { crate::arch::copy(primitive, dst, src, chunk, prefetch_distance) };
        }
    }
    Ok(())
}
