//! Copies by a primitive that the caller names, without a policy: for measurements.

use crate::chunks::NoYield;
use crate::execute;
use crate::extable::Fault;
use crate::primitive::Primitive;
use crate::step::Step;

impl Primitive {
    /// Copies `bytes` bytes, and fences if its stores need it. Prefetches nothing.
    ///
    /// # Safety
    ///
    /// - `src` is readable and `dst` writable for `bytes` bytes, and they don't overlap. Others may
    ///   read and write either meanwhile: the bytes copied are then some mix of old and new.
    /// - `src`, `dst` and `bytes` are multiples of 64.
    /// - The CPU can run it: [`Primitive::is_available`].
    pub unsafe fn copy(self, dst: *mut u8, src: *const u8, bytes: usize) {
        // SAFETY: this function's contract. Only a machine-check-safe copy can fail.
        let _ = unsafe { execute::copy::<false>(Step::copy(self), dst, src, bytes, usize::MAX, NoYield) };
    }

    /// Copies like [`Primitive::copy`], and stops where memory can't be read or written: all bytes
    /// before the fault are copied, none after.
    ///
    /// # Errors
    ///
    /// The [`Fault`], exact to the 64-byte line at which a loop works, and to the byte for `rep movs`.
    ///
    /// # Safety
    ///
    /// As [`Primitive::copy`], except that memory may fault if the fault is caught. In a process
    /// [`sigbus::install`](crate::sigbus::install) must have succeeded, and its handler must still be installed. In a kernel
    /// the exception table must be registered. [`Primitive::Portable`] can't survive a fault.
    pub unsafe fn copy_mc(self, dst: *mut u8, src: *const u8, bytes: usize) -> Result<(), Fault> {
        // SAFETY: this function's contract.
        unsafe { execute::copy::<true>(Step::copy(self), dst, src, bytes, usize::MAX, NoYield) }
    }
}
