//! Dispatch over the loops of x86-64, and what they have in common.

use core::ptr;

#[cfg(not(foliocopy_kernel))]
mod avx2;
#[cfg(not(foliocopy_kernel))]
mod avx512;
#[cfg(not(foliocopy_kernel))]
pub(crate) mod direct;
pub(crate) mod look;
mod movdir64b;
mod movnti;
mod movq;
mod rep_movs;

use crate::extable::{Fault, Recovery};
use crate::primitive::Primitive;

/// What a loop is given. Every loop keeps the same registers: `rdi`, `rsi` and `rcx` are where it
/// writes, where it reads and what is left, as `rep movs` wants them; `rdx` is the [`Recovery`].
#[derive(Clone, Copy)]
struct Work {
    dst: *mut u8,
    src: *const u8,
    /// Not 0, and a multiple of 64.
    bytes: usize,
    /// How far from the line being read the line being prefetched lies, in bytes; for the loops that go by
    /// whole pages and prefetch within them, how far from the start what comes after the range. The others ignore it.
    prefetch: isize,
    /// Null where the loop is not machine-check safe.
    recovery: *mut Recovery,
}

/// Where a loop stopped.
#[derive(Clone, Copy)]
struct Stopped {
    /// 0, unless it is machine-check safe and faulted.
    bytes_left: usize,
    /// The number of the trap, if it faulted.
    trap: usize,
}

/// Copies, prefetching `prefetch_distance` bytes ahead: within the range, and near its end from `next` on
/// unless that is null.
///
/// # Safety
///
/// As [`Primitive::copy`], but the stores may still need [`store_fence`]. `next` is the caller's for as many
/// bytes as the distance, or as the range if that is shorter.
#[inline]
pub(crate) unsafe fn copy(
    primitive: Primitive,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    prefetch_distance: usize,
    next: *const u8,
) {
    if cfg!(not(foliocopy_kernel)) && primitive == Primitive::Portable {
        // SAFETY: the caller's promises are those of `copy_nonoverlapping`.
        return unsafe { ptr::copy_nonoverlapping(src, dst, bytes) };
    }
    // SAFETY: the caller's promises; without machine-check safety nothing uses the recovery.
    unsafe { ranged::<false>(primitive, dst, src, bytes, prefetch_distance, next, ptr::null_mut()) };
}

/// Copies like [`copy`], up to a fault.
///
/// # Safety
///
/// As [`Primitive::copy_mc`], but the stores may still need [`store_fence`]; `next` as in [`copy`].
#[inline]
pub(crate) unsafe fn copy_mc(
    primitive: Primitive,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    prefetch_distance: usize,
    next: *const u8,
) -> Result<(), Fault> {
    let mut recovery = Recovery { dst: dst.addr(), src: src.addr(), bytes, signal: None };
    // SAFETY: the caller's promises, and a recovery that lives as long as the loop runs.
    let stopped =
        unsafe { ranged::<true>(primitive, dst, src, bytes, prefetch_distance, next, &raw mut recovery) };
    match stopped.bytes_left {
        0 => Ok(()),
        bytes_left => Err(Fault { bytes_left, trap: stopped.trap as u32, signal: recovery.signal }),
    }
}

/// Runs the loop twice: over what lies more than the distance before the end, prefetching ahead, and
/// over the rest, prefetching what comes next if there is such a thing.
#[inline]
unsafe fn ranged<const MACHINE_CHECK_SAFE: bool>(
    primitive: Primitive,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    prefetch_distance: usize,
    next: *const u8,
    recovery: *mut Recovery,
) -> Stopped {
    let ahead = if prefetch_distance == 0 { 0 } else { bytes.saturating_sub(prefetch_distance) };
    if ahead != 0 {
        let prefetch = prefetch_distance as isize;
        // SAFETY: a part of what the caller promised.
        let stopped = unsafe { run::<MACHINE_CHECK_SAFE>(dst, src, recovery, ahead, prefetch, primitive) };
        if MACHINE_CHECK_SAFE && stopped.bytes_left != 0 {
            return Stopped { bytes_left: stopped.bytes_left + (bytes - ahead), ..stopped };
        }
    }
    if ahead == bytes {
        return Stopped { bytes_left: 0, trap: 0 };
    }
    // SAFETY: `ahead` is at most `bytes`, so both stay within their ranges.
    let (dst, src) = unsafe { (dst.add(ahead), src.add(ahead)) };
    let prefetch = if next.is_null() { 0 } else { next.addr().wrapping_sub(src.addr()) as isize };
    // SAFETY: the rest of what the caller promised.
    unsafe { run::<MACHINE_CHECK_SAFE>(dst, src, recovery, bytes - ahead, prefetch, primitive) }
}

/// The loop of `primitive`. A `match`, since a kernel with retpolines pays for an indirect call. Out of line, so that
/// every loop is there once; what it works on comes in the very registers in which the loops want it, since a store to
/// the stack costs as much as that of a line.
#[inline(never)]
unsafe fn run<const MACHINE_CHECK_SAFE: bool>(
    dst: *mut u8,
    src: *const u8,
    recovery: *mut Recovery,
    bytes: usize,
    prefetch: isize,
    primitive: Primitive,
) -> Stopped {
    let work = Work { dst, src, bytes, prefetch, recovery };
    // SAFETY: the caller of each loop has promised what `Primitive::copy` asks for.
    unsafe {
        match primitive {
            Primitive::RepMovsb => rep_movs::movsb::<MACHINE_CHECK_SAFE>(work),
            Primitive::RepMovsq => rep_movs::movsq::<MACHINE_CHECK_SAFE>(work),
            Primitive::Movq => movq::copy::<MACHINE_CHECK_SAFE>(work),
            Primitive::Movnti => movnti::copy::<MACHINE_CHECK_SAFE>(work),
            Primitive::Movdir64b => movdir64b::copy::<MACHINE_CHECK_SAFE>(work),
            #[cfg(not(foliocopy_kernel))]
            Primitive::Avx2 => avx2::copy::<MACHINE_CHECK_SAFE>(work),
            #[cfg(not(foliocopy_kernel))]
            Primitive::Avx2Nt => avx2::copy_non_temporal::<MACHINE_CHECK_SAFE>(work),
            #[cfg(not(foliocopy_kernel))]
            Primitive::Avx512 => avx512::copy::<MACHINE_CHECK_SAFE>(work),
            #[cfg(not(foliocopy_kernel))]
            Primitive::Avx512Nt => avx512::copy_non_temporal::<MACHINE_CHECK_SAFE>(work),
            // No policy for a kernel picks one of these.
            #[cfg(foliocopy_kernel)]
            Primitive::Avx2 | Primitive::Avx2Nt | Primitive::Avx512 | Primitive::Avx512Nt => {
                movq::copy::<MACHINE_CHECK_SAFE>(work)
            }
            // The compiler's, which `copy` doesn't come here for and `copy_mc` doesn't promise.
            Primitive::Portable => movq::copy::<MACHINE_CHECK_SAFE>(work),
        }
    }
}

/// Does the work compiled for the vectors of `primitive`: what costs a batch of 512 pages 1.2 ns a page with those of every
/// x86-64 costs 0.2 with AVX-512.
///
/// # Safety
///
/// The CPU has what the primitive requires.
#[cfg(not(foliocopy_kernel))]
#[inline(always)]
pub(crate) unsafe fn on_vectors_of<R>(primitive: Primitive, work: impl FnOnce() -> R) -> R {
    #[target_feature(enable = "avx512f")]
    fn on_avx512<R>(work: impl FnOnce() -> R) -> R {
        work()
    }
    match primitive {
        // SAFETY: the caller's promise.
        Primitive::Avx512 => unsafe { on_avx512(work) },
        _ => work(),
    }
}

/// Orders every weakly ordered store before it before every store after it.
#[inline]
pub(crate) fn store_fence() {
    // SAFETY: sfence is part of every x86-64 and touches no register. Not `nomem`: the compiler must
    // not move stores across it either.
    unsafe { core::arch::asm!("sfence", options(nostack, preserves_flags)) };
}
