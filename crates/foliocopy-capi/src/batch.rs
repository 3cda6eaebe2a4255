//! Many scattered ranges as one piece of work.

use core::ffi::{c_int, c_void};
use core::mem::{MaybeUninit, offset_of};
use core::slice;

use foliocopy::{BatchError, CopyOptions};

use crate::copy::{Locality, fill_in};
use crate::failure::{Failure, status};

/// One pair of ranges in a batch: a folio, or any other run of pages of 4096 bytes.
#[repr(C)]
pub struct FolioPair {
    /// The destination, aligned to a page.
    pub dst: *mut c_void,
    /// The source, aligned to a page.
    pub src: *const c_void,
    /// How many pages.
    pub nr_pages: usize,
}

const _: () = {
    assert!(size_of::<FolioPair>() == size_of::<foliocopy::FolioPair>());
    assert!(align_of::<FolioPair>() == align_of::<foliocopy::FolioPair>());
    assert!(offset_of!(FolioPair, dst) == offset_of!(foliocopy::FolioPair, dst));
    assert!(offset_of!(FolioPair, src) == offset_of!(foliocopy::FolioPair, src));
    assert!(offset_of!(FolioPair, nr_pages) == offset_of!(foliocopy::FolioPair, nr_pages));
};

/// Copies nr_pairs scattered pairs of ranges as one piece of work. No destination may overlap any other range of the batch.
/// Where the call fails, nothing is copied. failed_pair, unless it is null, then gets the index of the first wrong pair, or
/// nr_pairs where the error is not that of a pair.
///
/// # Safety
///
/// `pairs` points to `nr_pairs` pairs, of which each is as `foliocopy_copy_pages` says; `failed_pair` is null or points to
/// a `size_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_copy_folios(
    pairs: *const FolioPair,
    nr_pairs: usize,
    failed_pair: *mut usize,
) -> c_int {
    // SAFETY: `pairs` points to `nr_pairs` pairs of memory that may be copied, and `failed_pair` is null or may be written.
    unsafe { copy(pairs, nr_pairs, Ok(foliocopy::Locality::Auto), failed_pair) }
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
    // SAFETY: `pairs` points to `nr_pairs` pairs of memory that may be copied, and `failed_pair` is null or may be written.
    unsafe { copy(pairs, nr_pairs, Locality::of(locality), failed_pair) }
}

/// # Safety
///
/// As [`foliocopy_copy_folios`].
unsafe fn copy(
    pairs: *const FolioPair,
    nr_pairs: usize,
    locality: Result<foliocopy::Locality, Failure>,
    failed_pair: *mut usize,
) -> c_int {
    // SAFETY: `pairs` points to `nr_pairs` pairs of memory that may be copied, and `failed_pair` is null or may be written.
    unsafe {
        let copied = locality.and_then(|locality| {
            Ok(CopyOptions::new().locality(locality).copy_folios(batch(pairs, nr_pairs)?)?)
        });
        answer(copied, nr_pairs, failed_pair)
    }
}

/// The pairs, as the engine has them.
///
/// # Safety
///
/// `pairs` is null, or not where pairs can be, or points to `nr_pairs` pairs that nobody writes while they are in use.
pub(crate) unsafe fn batch<'a>(
    pairs: *const FolioPair,
    nr_pairs: usize,
) -> Result<&'a [foliocopy::FolioPair], Failure> {
    if nr_pairs == 0 {
        return Ok(&[]);
    }
    if pairs.is_null() {
        return Err(Failure::Null("pairs"));
    }
    if !pairs.is_aligned() {
        return Err(Failure::MisalignedPairs(pairs.addr()));
    }
    if nr_pairs > isize::MAX as usize / size_of::<FolioPair>() {
        return Err(Failure::TooManyPairs(nr_pairs));
    }
    // SAFETY: an aligned array of `nr_pairs` pairs; the two types are laid out alike, as asserted above.
    Ok(unsafe { slice::from_raw_parts(pairs.cast::<foliocopy::FolioPair>(), nr_pairs) })
}

/// Says which pair failed, and why.
///
/// # Safety
///
/// `failed_pair` is null or may be written.
pub(crate) unsafe fn answer(copied: Result<(), Failure>, nr_pairs: usize, failed_pair: *mut usize) -> c_int {
    if let Err(failure) = &copied {
        let index = match *failure {
            Failure::Pair(BatchError { index, .. }) | Failure::PairMemory(BatchError { index, .. }) => index,
            _ => nr_pairs,
        };
        // SAFETY: `failed_pair` is null or may be written.
        unsafe { fill_in(failed_pair, index) };
    }
    status(copied)
}
