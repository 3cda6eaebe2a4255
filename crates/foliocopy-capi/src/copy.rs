//! Plain copies.

use core::ffi::{c_int, c_uint, c_void};
use core::mem::MaybeUninit;
use core::num::NonZeroUsize;

use foliocopy::{CopyOptions, FolioPair, PAGE_SIZE};

use crate::errno;

/// Where a copy leaves the destination.
#[repr(C)]
#[derive(Clone, Copy)]
pub enum Locality {
    /// In the cache: somebody reads it soon.
    Temporal = 0,
    /// Past the cache: nobody reads it soon.
    NonTemporal = 1,
    /// Decided by a look at the source.
    Auto = 2,
}

impl Locality {
    /// What C passes for the enum may be any number, of which no `Locality` must be made.
    pub(crate) fn of(locality: MaybeUninit<Self>) -> Option<foliocopy::Locality> {
        const TEMPORAL: c_uint = Locality::Temporal as c_uint;
        const NON_TEMPORAL: c_uint = Locality::NonTemporal as c_uint;
        const AUTO: c_uint = Locality::Auto as c_uint;
        // SAFETY: an enum of C is an int, whatever its value.
        match unsafe { locality.as_ptr().cast::<c_uint>().read() } {
            TEMPORAL => Some(foliocopy::Locality::Temporal),
            NON_TEMPORAL => Some(foliocopy::Locality::NonTemporal),
            AUTO => Some(foliocopy::Locality::Auto),
            _ => None,
        }
    }
}

/// Copies nr_pages pages of 4096 bytes from src to dst, the way that suits this CPU, this length and where
/// the source is now. Both are aligned to 4096 bytes and don't overlap.
///
/// # Safety
///
/// `src` is readable and `dst` writable for so many pages.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_copy_pages(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
) -> c_int {
    // SAFETY: the caller's promises.
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
        // SAFETY: the caller's promises.
        Some(locality) => unsafe { copy(dst, src, nr_pages, locality) },
        None => -libc::EINVAL,
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
    let Some(threads) = NonZeroUsize::new(nr_threads).filter(|_| !is_null(dst, src, nr_pages)) else {
        return -libc::EINVAL;
    };
    // SAFETY: the caller's promises.
    match unsafe { foliocopy::copy_pages_parallel(dst.cast(), src.cast(), nr_pages, threads) } {
        Ok(()) => 0,
        Err(error) => errno::of(error),
    }
}

/// The version of the library: "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn foliocopy_version() -> *const core::ffi::c_char {
    const { concat!(env!("CARGO_PKG_VERSION"), "\0") }.as_ptr().cast()
}

#[inline(always)]
unsafe fn copy(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
    locality: foliocopy::Locality,
) -> c_int {
    let pair = FolioPair { dst: dst.cast(), src: src.cast(), nr_pages };
    match foliocopy::function_for(pair, locality) {
        // SAFETY: the ranges are pages and apart, and this function's contract is about their memory.
        Some((copy, step)) => unsafe { copy(dst.cast(), src.cast(), nr_pages * PAGE_SIZE, step) },
        // SAFETY: this function's contract.
        None => unsafe { copy_any(dst, src, nr_pages, locality) },
    }
}

/// Out of line, so that what it keeps on the stack is not kept for a copy of one page; and of the C ABI, through which nothing
/// unwinds, so that a function may end with a jump to it.
#[expect(improper_ctypes_definitions, reason = "nobody calls it from C")]
#[inline(never)]
unsafe extern "C" fn copy_any(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
    locality: foliocopy::Locality,
) -> c_int {
    let options = CopyOptions::new().locality(locality);
    // SAFETY: the caller's promises.
    match unsafe { options.copy_pages_raw(dst.cast(), src.cast(), nr_pages) } {
        Ok(()) => 0,
        Err(error) => errno::of(error),
    }
}

/// Whether there is something to copy and a side of it is null.
pub(crate) fn is_null(dst: *mut c_void, src: *const c_void, nr_pages: usize) -> bool {
    nr_pages != 0 && (dst.is_null() || src.is_null())
}
