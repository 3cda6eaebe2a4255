//! What an architecture has of which we know nothing.

use core::ptr;

use crate::extable::Fault;
use crate::primitive::Primitive;

/// The compiler's own copy, whatever the primitive is called.
///
/// # Safety
///
/// As [`Primitive::copy`].
pub(crate) unsafe fn copy(
    _: Primitive,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    _prefetch_distance: usize,
    _next: *const u8,
) {
    // SAFETY: the caller's promises are those of `copy_nonoverlapping`.
    unsafe { ptr::copy_nonoverlapping(src, dst, bytes) };
}

/// The same: nothing here survives a fault, and [`Primitive::is_machine_check_safe`] says so.
///
/// # Safety
///
/// As [`Primitive::copy`].
pub(crate) unsafe fn copy_mc(
    primitive: Primitive,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    prefetch_distance: usize,
    next: *const u8,
) -> Result<(), Fault> {
    // SAFETY: the caller's promises.
    unsafe { copy(primitive, dst, src, bytes, prefetch_distance, next) };
    Ok(())
}

/// Orders stores; there are none here that need it.
pub(crate) fn store_fence() {}

/// There is none here.
///
/// # Safety
///
/// None: x86-64 has one.
pub(crate) unsafe fn prefetch(_start: *const u8, _bytes: usize) {}
