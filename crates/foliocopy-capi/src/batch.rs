//! Many scattered ranges as one piece of work.

use core::ffi::{c_int, c_void};
use core::mem::{MaybeUninit, offset_of};
use core::slice;

use foliocopy::{BatchError, CopyError, CopyOptions};

use crate::copy::Locality;
use crate::errno;

/// One pair of ranges in a batch: a folio, or any other run of pages of 4096 bytes.
#[repr(C)]
pub struct FolioPair {
    /// Where to copy to, aligned to a page.
    pub dst: *mut c_void,
    /// Where to copy from, aligned to a page.
    pub src: *const c_void,
    /// How many pages.
    pub nr_pages: usize,
}

const _: () = {
    assert!(size_of::<FolioPair>() == size_of::<foliocopy::FolioPair>());
    assert!(offset_of!(FolioPair, dst) == offset_of!(foliocopy::FolioPair, dst));
    assert!(offset_of!(FolioPair, src) == offset_of!(foliocopy::FolioPair, src));
    assert!(offset_of!(FolioPair, nr_pages) == offset_of!(foliocopy::FolioPair, nr_pages));
};

/// Copies nr_pairs scattered pairs of ranges as one piece of work. No destination may overlap any other
/// range of the batch. Whatever is refused, nothing is copied, and what failed_pair points to, unless that
/// is null, becomes the index of the first pair that is not what it must be, or nr_pairs where it is not a
/// pair that is wrong.
///
/// # Safety
///
/// `pairs` points to so many pairs, of which each is as `foliocopy_copy_pages` says; `failed_pair` is null
/// or points to a `size_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_copy_folios(
    pairs: *const FolioPair,
    nr_pairs: usize,
    failed_pair: *mut usize,
) -> c_int {
    // SAFETY: the caller's promises.
    unsafe { copy(pairs, nr_pairs, foliocopy::Locality::Auto, failed_pair) }
}

/// Copies like foliocopy_copy_folios, and leaves the destinations where it is told to.
///
/// # Safety
///
/// As `foliocopy_copy_folios`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_copy_folios_locality(
    pairs: *const FolioPair,
    nr_pairs: usize,
    locality: MaybeUninit<Locality>,
    failed_pair: *mut usize,
) -> c_int {
    // SAFETY: the caller's promises.
    unsafe {
        match Locality::of(locality) {
            Some(locality) => copy(pairs, nr_pairs, locality, failed_pair),
            None => answer(Err((nr_pairs, -libc::EINVAL)), failed_pair),
        }
    }
}

/// # Safety
///
/// As [`foliocopy_copy_folios`].
unsafe fn copy(
    pairs: *const FolioPair,
    nr_pairs: usize,
    locality: foliocopy::Locality,
    failed_pair: *mut usize,
) -> c_int {
    let options = CopyOptions::new().locality(locality);
    // SAFETY: the caller's promises.
    unsafe {
        let copied = batch(pairs, nr_pairs, |batch| match options.copy_folios(batch) {
            Ok(()) => Ok(()),
            Err(BatchError { index, error }) => Err((at_fault(&error, index, nr_pairs), errno::of(error))),
        });
        answer(copied, failed_pair)
    }
}

/// The pair that is wrong, or `nr_pairs` where none is: the engine names the first one then.
pub(crate) fn at_fault(error: &CopyError, index: usize, nr_pairs: usize) -> usize {
    match error {
        CopyError::Null | CopyError::Misaligned { .. } | CopyError::Overflow { .. } | CopyError::Overlap => {
            index
        }
        _ => nr_pairs,
    }
}

/// Runs `copy` over the pairs.
///
/// # Safety
///
/// `pairs` points to so many pairs, or is null.
pub(crate) unsafe fn batch(
    pairs: *const FolioPair,
    nr_pairs: usize,
    copy: impl FnOnce(&[foliocopy::FolioPair]) -> Result<(), (usize, c_int)>,
) -> Result<(), (usize, c_int)> {
    if nr_pairs == 0 {
        return Ok(());
    }
    if pairs.is_null() {
        return Err((nr_pairs, -libc::EINVAL));
    }
    // SAFETY: the caller's promise; the two types are laid out alike, as asserted above.
    copy(unsafe { slice::from_raw_parts(pairs.cast::<foliocopy::FolioPair>(), nr_pairs) })
}

/// Says which pair failed, and why.
///
/// # Safety
///
/// `failed_pair` is null or points to a `size_t`.
pub(crate) unsafe fn answer(copied: Result<(), (usize, c_int)>, failed_pair: *mut usize) -> c_int {
    match copied {
        Ok(()) => 0,
        Err((index, errno)) => {
            if !failed_pair.is_null() {
                // SAFETY: the caller's promise.
                unsafe { failed_pair.write(index) };
            }
            errno
        }
    }
}
