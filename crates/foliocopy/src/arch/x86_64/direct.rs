//! The loops as functions of their own, for copies that nothing stands between: what they end with, and what they keep on
//! the stack, is one more store among those of a page, which are what it waits for.

use core::ffi::c_int;
use core::ptr;

use super::{Work, avx2, avx512, look, movq, rep_movs, store_fence};
use crate::page::PAGE_SIZE;
use crate::policy::Policy;
use crate::primitive::Primitive;

/// Copies `bytes` bytes, a multiple of 64, from the second address to the first, and answers 0: so a function of the C ABI
/// may end with a jump here.
///
/// # Safety
///
/// As [`Primitive::copy`].
pub(crate) type Direct = unsafe extern "C" fn(*mut u8, *const u8, usize) -> c_int;

/// The loop of a primitive that goes through the cache.
pub(crate) fn through_the_cache(primitive: Primitive) -> Option<Direct> {
    match primitive {
        Primitive::RepMovsb => Some(rep_movsb),
        Primitive::RepMovsq => Some(rep_movsq),
        Primitive::Movq => Some(movq),
        Primitive::Avx2 => Some(avx2),
        Primitive::Avx512 => Some(avx512),
        _ => None,
    }
}

/// The same, with a part of the range that comes next prefetched meanwhile.
pub(crate) type DirectBefore = unsafe extern "C" fn(*mut u8, *const u8, usize, next: *const u8) -> c_int;

/// The loop of a primitive that goes through the cache and prefetches what comes next.
pub(crate) fn before_next(primitive: Primitive) -> Option<DirectBefore> {
    match primitive {
        Primitive::Avx2 => Some(avx2_before),
        Primitive::Avx512 => Some(avx512_before),
        _ => None,
    }
}

unsafe extern "C" fn avx2_before(dst: *mut u8, src: *const u8, bytes: usize, next: *const u8) -> c_int {
    let prefetch = next.addr().wrapping_sub(src.addr()) as isize;
    // SAFETY: as below, and a next range that is as long.
    unsafe { avx2::copy::<false>(Work { prefetch, ..plain(dst, src, bytes) }) };
    0
}

unsafe extern "C" fn avx512_before(dst: *mut u8, src: *const u8, bytes: usize, next: *const u8) -> c_int {
    let prefetch = next.addr().wrapping_sub(src.addr()) as isize;
    // SAFETY: as above.
    unsafe { avx512::copy::<false>(Work { prefetch, ..plain(dst, src, bytes) }) };
    0
}

const fn plain(dst: *mut u8, src: *const u8, bytes: usize) -> Work {
    Work { dst, src, bytes, prefetch: 0, recovery: ptr::null_mut() }
}

#[inline(always)]
pub(crate) unsafe extern "C" fn rep_movsb(dst: *mut u8, src: *const u8, bytes: usize) -> c_int {
    // SAFETY: the caller's promises; without machine-check safety nothing uses the recovery, here and below.
    unsafe { rep_movs::movsb::<false>(plain(dst, src, bytes)) };
    0
}

unsafe extern "C" fn rep_movsq(dst: *mut u8, src: *const u8, bytes: usize) -> c_int {
    // SAFETY: as above.
    unsafe { rep_movs::movsq::<false>(plain(dst, src, bytes)) };
    0
}

unsafe extern "C" fn movq(dst: *mut u8, src: *const u8, bytes: usize) -> c_int {
    // SAFETY: as above.
    unsafe { movq::copy::<false>(plain(dst, src, bytes)) };
    0
}

unsafe extern "C" fn avx2(dst: *mut u8, src: *const u8, bytes: usize) -> c_int {
    // SAFETY: as above.
    unsafe { avx2::copy::<false>(plain(dst, src, bytes)) };
    0
}

#[inline(always)]
pub(crate) unsafe extern "C" fn avx512(dst: *mut u8, src: *const u8, bytes: usize) -> c_int {
    // SAFETY: as above.
    unsafe { avx512::copy::<false>(plain(dst, src, bytes)) };
    0
}

/// A page by AVX-512: its end in the destination and in the source, and the cycles of the time-stamp counter that it took,
/// roughly.
///
/// # Safety
///
/// As [`Primitive::copy`]; and the counter may be read.
#[inline(always)]
pub(crate) unsafe fn avx512_page_timed(dst: *mut u8, src: *const u8) -> (*mut u8, *const u8, u32) {
    let start = look::time_stamp() as u32;
    // SAFETY: the caller's promises.
    let (_, dst, src) = unsafe { avx512::copy_to_end::<false>(plain(dst, src, PAGE_SIZE)) };
    (dst, src, (look::time_stamp() as u32).wrapping_sub(start))
}

/// AVX-512 past the cache with a fence, `distance` bytes prefetched ahead, of which the first `prefetched` are already.
///
/// # Safety
///
/// As [`Primitive::copy`].
#[inline(always)]
pub(crate) unsafe fn past_the_cache(
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    distance: usize,
    prefetched: usize,
) -> c_int {
    let distance = bytes.min(distance);
    let seen = distance.min(prefetched);
    let ahead = bytes - distance;
    // SAFETY: the range in two parts, of which the first prefetches the second.
    unsafe {
        look::prefetch(src.add(seen), distance - seen);
        if ahead != 0 {
            let work = Work { prefetch: distance as isize, ..plain(dst, src, ahead) };
            avx512::copy_non_temporal::<false>(work);
        }
        avx512::copy_non_temporal::<false>(plain(dst.add(ahead), src.add(ahead), distance));
    }
    store_fence();
    0
}

/// Does the work compiled for the widest vectors that the policy copies pages by: what costs a batch of 512 pages 1.2 ns a page
/// with those of every x86-64 costs 0.2.
#[inline(always)]
pub(crate) fn on_vectors_of<R>(policy: &Policy, work: impl FnOnce() -> R) -> R {
    #[target_feature(enable = "avx512f")]
    fn on_avx512<R>(work: impl FnOnce() -> R) -> R {
        work()
    }
    match policy.decisions().page {
        // SAFETY: a policy decides for no primitive that the CPU lacks.
        Primitive::Avx512 => unsafe { on_avx512(work) },
        _ => work(),
    }
}
