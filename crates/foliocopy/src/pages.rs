//! Copies of one range: checked, then run by the step of the policy or by the primitive of the caller.

#[cfg(feature = "std")]
mod mc;

#[cfg(feature = "std")]
pub use mc::{Skipped, copy_mc_pages, copy_mc_pages_raw, copy_mc_pages_skipping};
#[cfg(feature = "std")]
pub(crate) use mc::{machine_check_safe, memory_error};

use crate::chunks::Yield;
use crate::error::CopyError;
use crate::execute;
use crate::locality::Locality;
use crate::options::CopyOptions;
use crate::page::{Page, PageRange};
use crate::pair::FolioPair;
use crate::policy::Policy;
use crate::step::Step;

/// Copies `src` to `dst`, by the primitive that suits this CPU, this length and the place of the source.
///
/// # Errors
///
/// [`CopyError::LengthMismatch`]. Nothing has been copied then. With `FOLIOCOPY_STRICT=1` also
/// [`CopyError::Environment`].
#[inline]
pub fn copy_pages(dst: &mut [Page], src: &[Page]) -> Result<(), CopyError> {
    CopyOptions::new().copy_pages(dst, src)
}

/// Copies `nr_pages` pages of 4096 bytes from `src` to `dst`.
///
/// # Errors
///
/// [`CopyError::Null`], [`CopyError::Misaligned`], [`CopyError::Overflow`] or [`CopyError::Overlap`] where the ranges are
/// invalid. Nothing has been copied then. With `FOLIOCOPY_STRICT=1` also
/// [`CopyError::Environment`].
///
/// # Safety
///
/// `src` is readable and `dst` writable for `nr_pages` pages. Others may read and write either
/// meanwhile: the bytes copied are then some mix of old and new.
#[inline]
pub unsafe fn copy_pages_raw(dst: *mut Page, src: *const Page, nr_pages: usize) -> Result<(), CopyError> {
    // SAFETY: this function's contract.
    unsafe { CopyOptions::new().copy_pages_raw(dst, src, nr_pages) }
}

/// The function that copies these pages and returns 0, with its last argument, where the ranges are valid for
/// [`copy_pages_raw`]. A C library may end with a jump to it.
#[cfg(not(foliocopy_kernel))]
#[doc(hidden)]
#[inline(always)]
pub fn function_for(
    pair: FolioPair,
    locality: Locality,
) -> Option<(unsafe extern "C" fn(*mut u8, *const u8, usize, &Step) -> core::ffi::c_int, &'static Step)> {
    if !pair.is_one_chunk(crate::chunks::DEFAULT_CHUNK_BYTES) {
        return None;
    }
    let band = Policy::ready_host()?.band(locality, pair.bytes());
    Some((band.function, &band.step))
}

/// The function that runs a step without checks, for measurements.
#[cfg(not(foliocopy_kernel))]
#[doc(hidden)]
pub const fn function_of(
    step: Step,
) -> unsafe extern "C" fn(*mut u8, *const u8, usize, &Step) -> core::ffi::c_int {
    execute::function(step)
}

impl Policy {
    /// Returns the step that would copy this source now: [`Policy::step`], after the probe if there is one.
    pub fn resolve(&self, locality: Locality, src: PageRange<'_>) -> Step {
        let step = self.step(locality, src.bytes());
        if self.check_usable().is_err() {
            return step.near();
        }
        // SAFETY: the range is mapped readable. A fault is raised like that of any read.
        unsafe { execute::resolve::<false>(step, src.as_ptr().cast(), src.bytes()) }
    }
}

impl<Y: Yield> CopyOptions<'_, Y> {
    /// Copies `src` to `dst`.
    ///
    /// # Errors
    ///
    /// As [`copy_pages`]; [`CopyError::Unavailable`] where this CPU lacks what the named primitive needs; and
    /// [`CopyError::ForeignCpu`] where the policy is for another CPU.
    #[inline]
    pub fn copy_pages(self, dst: &mut [Page], src: &[Page]) -> Result<(), CopyError> {
        if dst.len() != src.len() {
            return Err(CopyError::LengthMismatch { dst: dst.len(), src: src.len() });
        }
        // SAFETY: two slices of the same length, one of which is borrowed mutably.
        unsafe { self.copy_pages_raw(dst.as_mut_ptr(), src.as_ptr(), src.len()) }
    }

    /// Copies `nr_pages` pages of 4096 bytes from `src` to `dst`.
    ///
    /// # Errors
    ///
    /// As [`copy_pages_raw`]; [`CopyError::Unavailable`] where this CPU lacks what the named primitive needs; and
    /// [`CopyError::ForeignCpu`] where the policy is for another CPU.
    ///
    /// # Safety
    ///
    /// As [`copy_pages_raw`].
    #[inline(always)]
    pub unsafe fn copy_pages_raw(
        self,
        dst: *mut Page,
        src: *const Page,
        nr_pages: usize,
    ) -> Result<(), CopyError> {
        let pair = FolioPair { dst, src, nr_pages };
        #[cfg(not(foliocopy_kernel))]
        if self.primitive.is_none() && pair.is_one_chunk(self.chunk_bytes) {
            let policy = match self.policy {
                Some(policy) => policy.if_usable(),
                None => Policy::ready_host(),
            };
            if let Some(policy) = policy {
                let band = policy.band(self.locality, pair.bytes());
                // SAFETY: the ranges are pages and apart, and this function's contract is about their memory. The policy
                // is for this CPU.
                unsafe { (band.function)(dst.cast(), src.cast(), pair.bytes(), &band.step) };
                return Ok(());
            }
        }
        let Self { policy, locality, primitive, chunk_bytes, between_chunks } = self;
        // SAFETY: this function's contract.
        unsafe { copy_any(policy, locality, primitive, chunk_bytes, between_chunks, pair) }
    }
}

/// Copies as the options say. Their fields are separate arguments, so that they stay in registers.
///
/// # Safety
///
/// As [`copy_pages_raw`].
#[inline(never)]
unsafe fn copy_any<Y: Yield>(
    policy: Option<&Policy>,
    locality: Locality,
    primitive: Option<crate::primitive::Primitive>,
    chunk_bytes: usize,
    between_chunks: Y,
    pair: FolioPair,
) -> Result<(), CopyError> {
    let (dst, src) = pair.spans()?;
    let options = CopyOptions { policy, locality, primitive, chunk_bytes, between_chunks };
    let step = options.step(dst.bytes())?;
    let (dst, src, bytes) = (dst.start().cast(), src.start().cast_const().cast(), dst.bytes());
    // SAFETY: the step is for this CPU, and the ranges are pages and apart; this function's contract is about their
    // memory. Only a machine-check-safe copy can fail.
    let _ = unsafe { execute::copy::<false>(step, dst, src, bytes, chunk_bytes, options.between_chunks) };
    Ok(())
}
