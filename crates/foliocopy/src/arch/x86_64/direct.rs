//! The loops as functions of their own, for copies that nothing stands between: what they end with, and what they keep on
//! the stack, is one more store among those of a page, which are what it waits for.

use core::ffi::c_int;
use core::ptr;

use super::{Work, avx2, avx512, look, movq, rep_movs};
use crate::page::PAGE_SIZE;
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
