//! Plain copies.

use core::ffi::{c_int, c_uint, c_void};
use core::mem::MaybeUninit;
use core::num::NonZeroUsize;

use foliocopy::{CopyOptions, FolioPair, PAGE_SIZE};

use crate::failure::{Failure, status};

/// The place where a copy leaves the destination.
#[repr(C)]
#[derive(Clone, Copy)]
pub enum Locality {
    /// In the cache, for a destination that is read soon.
    Temporal = 0,
    /// Past the cache: nobody reads it soon.
    NonTemporal = 1,
    /// Past it if the source is in memory and the length makes that worth it; in the cache otherwise.
    Auto = 2,
}

impl Locality {
    /// C may pass any number for the enum. No `Locality` may be made of an unknown one.
    #[inline(always)]
    pub(crate) fn of(locality: MaybeUninit<Self>) -> Result<foliocopy::Locality, Failure> {
        const TEMPORAL: c_uint = Locality::Temporal as c_uint;
        const NON_TEMPORAL: c_uint = Locality::NonTemporal as c_uint;
        const AUTO: c_uint = Locality::Auto as c_uint;
        // SAFETY: a C caller passes an initialised int for an enum, and any int is a valid `c_uint`.
        match unsafe { locality.as_ptr().cast::<c_uint>().read() } {
            TEMPORAL => Ok(foliocopy::Locality::Temporal),
            NON_TEMPORAL => Ok(foliocopy::Locality::NonTemporal),
            AUTO => Ok(foliocopy::Locality::Auto),
            number => Err(Failure::Locality(number)),
        }
    }
}

/// Copies nr_pages pages of 4096 bytes from src to dst, the way that suits this CPU, this length and where
/// the source is now. Both are aligned to 4096 bytes and don't overlap.
///
/// # Safety
///
/// `src` is readable and `dst` writable for `nr_pages` pages.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_copy_pages(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
) -> c_int {
    // SAFETY: `src` is readable and `dst` writable for `nr_pages` pages.
    unsafe { copy(dst, src, nr_pages, foliocopy::Locality::Auto) }
}

/// Copies like foliocopy_copy_pages, and leaves the destination where it is told to.
///
/// # Safety
///
/// As `foliocopy_copy_pages`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_copy_pages_locality(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
    locality: MaybeUninit<Locality>,
) -> c_int {
    match Locality::of(locality) {
        // SAFETY: `src` is readable and `dst` writable for `nr_pages` pages.
        Ok(locality) => unsafe { copy(dst, src, nr_pages, locality) },
        Err(_) => refuse_locality(locality),
    }
}

/// Copies like foliocopy_copy_pages with up to nr_threads threads, of which the caller's is one: gigabyte
/// folios, the memory of a guest. Each gets 16 MiB at least, so that a shorter range is the caller's alone.
///
/// # Safety
///
/// As `foliocopy_copy_pages`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_copy_pages_parallel(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
    nr_threads: usize,
) -> c_int {
    // SAFETY: `src` is readable and `dst` writable for `nr_pages` pages.
    status(unsafe { copy_parallel(dst, src, nr_pages, Ok(foliocopy::Locality::Auto), nr_threads) })
}

/// Copies like foliocopy_copy_pages_parallel, and leaves the destination where it is told to.
///
/// # Safety
///
/// As `foliocopy_copy_pages`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_copy_pages_parallel_locality(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
    locality: MaybeUninit<Locality>,
    nr_threads: usize,
) -> c_int {
    // SAFETY: `src` is readable and `dst` writable for `nr_pages` pages.
    status(unsafe { copy_parallel(dst, src, nr_pages, Locality::of(locality), nr_threads) })
}

/// # Safety
///
/// As [`foliocopy_copy_pages`].
#[inline(always)]
unsafe fn copy(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
    locality: foliocopy::Locality,
) -> c_int {
    let pair = FolioPair { dst: dst.cast(), src: src.cast(), nr_pages };
    match foliocopy::function_for(pair, locality) {
        // SAFETY: `function_for` has checked that the ranges are pages and apart. `src` is readable and `dst` writable.
        Some((copy, step)) => unsafe { copy(dst.cast(), src.cast(), nr_pages * PAGE_SIZE, step) },
        // SAFETY: `src` is readable and `dst` writable for `nr_pages` pages.
        None => unsafe { copy_any(dst, src, nr_pages, locality) },
    }
}

/// Out of line, so that what it keeps on the stack is not kept for a copy of one page; and of the C ABI, through which nothing
/// unwinds, so that a function may end with a jump to it.
///
/// # Safety
///
/// As [`foliocopy_copy_pages`].
#[expect(improper_ctypes_definitions, reason = "nobody calls it from C")]
#[inline(never)]
unsafe extern "C" fn copy_any(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
    locality: foliocopy::Locality,
) -> c_int {
    let options = CopyOptions::new().locality(locality);
    // SAFETY: `src` is readable and `dst` writable for `nr_pages` pages.
    let copied = unsafe { options.copy_pages_raw(dst.cast(), src.cast(), nr_pages) };
    status(copied.map_err(Failure::from))
}

/// Out of line and of the C ABI, like [`copy_any`].
#[cold]
#[inline(never)]
extern "C" fn refuse_locality(locality: MaybeUninit<Locality>) -> c_int {
    status(Locality::of(locality).map(drop))
}

/// # Safety
///
/// As [`foliocopy_copy_pages`].
unsafe fn copy_parallel(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
    locality: Result<foliocopy::Locality, Failure>,
    nr_threads: usize,
) -> Result<(), Failure> {
    let options = CopyOptions::new().locality(locality?);
    let threads = threads(nr_threads)?;
    // SAFETY: `src` is readable and `dst` writable for `nr_pages` pages.
    Ok(unsafe { options.copy_pages_parallel(dst.cast(), src.cast(), nr_pages, threads) }?)
}

/// How many threads may copy.
pub(crate) fn threads(nr_threads: usize) -> Result<NonZeroUsize, Failure> {
    NonZeroUsize::new(nr_threads).ok_or(Failure::NoThreads)
}

/// Fills in what `place` points to, unless nobody asks.
///
/// # Safety
///
/// `place` is null or may be written.
pub(crate) unsafe fn fill_in<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: it is not null, so it may be written.
        unsafe { place.write(value) };
    }
}
