//! The function of each step, for plain copies in a process. A copy in the L1 is bound by its stores, and any spill is one
//! more store. So each function ends in its loop: see docs/tuning-notes.md, "the way to the loop".

use core::ffi::c_int;
use core::ptr;

use super::{Range, by_first_page, one, run};
use crate::arch::{self, Loop, Work};
use crate::primitive::Primitive;
use crate::probe;
use crate::step::Step;

/// Copies `bytes` bytes, a positive multiple of a page, from the second address to the first, by the step for which it is the
/// [`function`]. Returns 0, so that a function of the C ABI may end with a jump here.
///
/// # Safety
///
/// As [`super::copy`].
pub(crate) type Function = unsafe extern "C" fn(*mut u8, *const u8, usize, &Step) -> c_int;

/// The instance of a function for a primitive that goes through the cache.
macro_rules! by_temporal {
    ($by:expr, $function:ident, $prefetches:literal) => {
        match $by {
            Primitive::RepMovsb => $function::<{ Primitive::RepMovsb as usize }, $prefetches>,
            Primitive::RepMovsq => $function::<{ Primitive::RepMovsq as usize }, $prefetches>,
            Primitive::Movq => $function::<{ Primitive::Movq as usize }, $prefetches>,
            Primitive::Avx2 => $function::<{ Primitive::Avx2 as usize }, $prefetches>,
            Primitive::Avx512 => $function::<{ Primitive::Avx512 as usize }, $prefetches>,
            #[cfg(target_arch = "aarch64")]
            Primitive::LdpStp => $function::<{ Primitive::LdpStp as usize }, $prefetches>,
            #[cfg(target_arch = "aarch64")]
            Primitive::Mops => $function::<{ Primitive::Mops as usize }, $prefetches>,
            Primitive::Portable => $function::<{ Primitive::Portable as usize }, $prefetches>,
            _ => any,
        }
    };
}

/// The function of a step.
pub(crate) const fn function(step: Step) -> Function {
    match step {
        Step::Copy { by, distance: 0 } => by_temporal!(by, through_the_cache, false),
        Step::Copy { by, .. } => by_temporal!(by, through_the_cache, true),
        Step::TimeFirstPage { first, .. } => by_temporal!(first, first_page, true),
        Step::Glance { .. } => glance,
    }
}

#[inline(always)]
unsafe extern "C" fn through_the_cache<const BY: usize, const PREFETCHES: bool>(
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    _: &Step,
) -> c_int {
    let which = Loop { by: Primitive::ALL[BY], prefetches: PREFETCHES };
    // SAFETY: a `Function`'s contract is the loop's.
    unsafe { arch::run::<false>(which, Work { dst, src, bytes, prefetch: 0, recovery: ptr::null_mut() }) };
    0
}

/// Times the first page, with the loop that copies it built in.
unsafe extern "C" fn first_page<const BY: usize, const PREFETCHES: bool>(
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    step: &Step,
) -> c_int {
    let Step::TimeFirstPage { first, rest, burst } = *step else { return 0 };
    let copy_first = |Range { dst, src, bytes }| {
        // SAFETY: a `Function`'s contract, for a part of its range.
        unsafe { through_the_cache::<BY, PREFETCHES>(dst, src, bytes, step) };
        Ok(())
    };
    // SAFETY: a `Function`'s contract. Only a machine-check-safe copy can fail.
    let _ = unsafe { by_first_page::<false>(first, rest, burst, copy_first, Range { dst, src, bytes }) };
    0
}

/// Glances at the source, and ends in the loop without a spill.
unsafe extern "C" fn glance(dst: *mut u8, src: *const u8, bytes: usize, step: &Step) -> c_int {
    // SAFETY: a `Function`'s contract, for the source.
    let in_memory = unsafe { probe::glance::<false>(src, bytes) };
    // SAFETY: a `Function`'s contract.
    unsafe { if in_memory { far(dst, src, bytes, step) } else { near(dst, src, bytes, step) } }
}

#[inline(never)]
unsafe extern "C" fn far(dst: *mut u8, src: *const u8, bytes: usize, step: &Step) -> c_int {
    if let Step::Copy { by, distance } = step.far() {
        // SAFETY: a `Function`'s contract; only a machine-check-safe copy can fail.
        let _ = unsafe { run::<false>(by, distance, Range { dst, src, bytes }) };
    }
    0
}

#[inline]
unsafe extern "C" fn near(dst: *mut u8, src: *const u8, bytes: usize, step: &Step) -> c_int {
    // SAFETY: a `Function`'s contract.
    unsafe { function(step.near())(dst, src, bytes, step) }
}

/// Runs any step.
unsafe extern "C" fn any(dst: *mut u8, src: *const u8, bytes: usize, step: &Step) -> c_int {
    // SAFETY: a `Function`'s contract. Only a machine-check-safe copy can fail.
    let _ = unsafe { one::<false>(*step, Range { dst, src, bytes }) };
    0
}
