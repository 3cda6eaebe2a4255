//! Copies in plain Rust: for an architecture without loops of its own, and under Miri.

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
use super::{Loop, Stopped, Work};

/// Copies word by word. Others may read and write the memory meanwhile, so each word is read and written on its own.
///
/// # Safety
///
/// `src` is readable and `dst` writable for `bytes` bytes. Both start at a multiple of 8, and `bytes` is a multiple of 8.
pub(crate) unsafe fn copy(dst: *mut u8, src: *const u8, bytes: usize) {
    let (dst, src) = (dst.cast::<u64>(), src.cast::<u64>());
    for index in 0..bytes / size_of::<u64>() {
        // SAFETY: the word lies within both ranges, which are aligned to words.
        unsafe { dst.add(index).write_volatile(src.add(index).read_volatile()) };
    }
}

/// Runs the only loop.
///
/// # Safety
///
/// As [`copy`], for the range of the work.
#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[inline(always)]
pub(crate) unsafe fn run<const MC: bool>(which: Loop, work: Work) -> Stopped {
    let Loop { by: _by, prefetches: _prefetches } = which;
    let Work { dst, src, bytes, prefetch: _prefetch, recovery: _recovery } = work;
    // SAFETY: both ranges of a work start at a line, so at a multiple of 8, and its length is a multiple of 64. The source is
    // readable and the destination writable.
    unsafe { copy(dst, src, bytes) };
    Stopped { bytes_left: 0, trap: 0 }
}

/// Orders non-temporal stores; there are none here.
#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(crate) fn store_fence() {}

/// Copies bytes. 1, 2, 4 and 8 bytes are one access each where both ranges are aligned to that. A longer range is copied word
/// by word where both are aligned to words. Nothing faults where this is the only loop.
///
/// # Safety
///
/// The source of the work is readable and its destination writable, and they don't overlap.
#[cfg(all(feature = "std", any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64")))))]
pub(crate) unsafe fn copy_bytes(work: Work, by: super::ByteLoop) -> Stopped {
    let super::ByteLoop { avx2: _avx2, past_the_cache: _past_the_cache } = by;
    let Work { dst, src, bytes, .. } = work;
    let aligned = |to: usize| (dst.addr() | src.addr()).is_multiple_of(to);
    // SAFETY: both ranges are as long as the access and aligned to it, or as long as the words and the bytes behind them.
    unsafe {
        match bytes {
            2 if aligned(2) => dst.cast::<u16>().write_volatile(src.cast::<u16>().read_volatile()),
            4 if aligned(4) => dst.cast::<u32>().write_volatile(src.cast::<u32>().read_volatile()),
            _ => {
                let words = if aligned(8) { bytes / 8 * 8 } else { 0 };
                copy(dst, src, words);
                for index in words..bytes {
                    dst.add(index).write_volatile(src.add(index).read_volatile());
                }
            }
        }
    }
    Stopped { bytes_left: 0, trap: 0 }
}

/// Copies byte by byte, as after a fault.
///
/// # Safety
///
/// As [`copy_bytes`].
#[cfg(all(feature = "std", any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64")))))]
pub(crate) unsafe fn copy_each_byte(work: Work) -> Stopped {
    // SAFETY: this function's contract.
    unsafe { copy_bytes(work, super::ByteLoop { avx2: false, past_the_cache: false }) }
}
