//! Machine-check-safe copies.

use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;

use foliocopy::{BatchError, CopyError, CopyMcError, CopyOptions, PageRange, PageRangeMut};

use crate::batch::{FolioPair, answer, batch};
use crate::copy::{Locality, fill_in, threads};
use crate::failure::{Failure, status};

/// Why memory can't be accessed.
#[repr(C)]
pub enum Cause {
    /// It is poisoned.
    HardwareMemoryError = 0,
    /// There is nothing behind the address: a file that was cut short, or no huge page left. A kernel
    /// without CONFIG_MEMORY_FAILURE reports poison like this too.
    BeyondEnd = 1,
    /// Anything else.
    Other = 2,
    /// No memory is mapped. Only where foliocopy_catch_sigsegv was called.
    NotMapped = 3,
    /// The mapping forbids the access. Only where foliocopy_catch_sigsegv was called.
    NotAllowed = 4,
}

/// One of the two ranges of a copy.
#[repr(C)]
pub enum Side {
    /// The source.
    Source = 0,
    /// The destination.
    Destination = 1,
}

/// Memory that can't be read or written, and how far a copy got.
#[repr(C)]
pub struct MemoryError {
    /// How many bytes, counted from the start, are the source's.
    pub bytes_copied: usize,
    /// How many bytes of the range are not. Never 0.
    pub bytes_left: usize,
    /// The first bad page, counted from the start of the range.
    pub page_index: usize,
    /// The address that can't be accessed (si_addr).
    pub address: *mut c_void,
    /// The cause.
    pub cause: Cause,
    /// The range that holds the bad memory.
    pub side: Side,
    /// The logarithm of the granule that is lost (si_addr_lsb); 0 where the kernel doesn't say.
    pub address_lsb: c_int,
}

/// Pages that foliocopy_copy_mc_pages_skipping left zeroed.
#[repr(C)]
pub struct Skipped {
    /// The first of them, counted from the start of the range.
    pub page_index: usize,
    /// How many they are.
    pub nr_pages: usize,
    /// The error at their start.
    pub error: MemoryError,
}

impl From<foliocopy::MemoryError> for MemoryError {
    fn from(error: foliocopy::MemoryError) -> Self {
        Self {
            bytes_copied: error.bytes_copied,
            bytes_left: error.bytes_left,
            page_index: error.page_index,
            address: core::ptr::with_exposed_provenance_mut(error.address),
            cause: match error.cause {
                foliocopy::Cause::HardwareMemoryError => Cause::HardwareMemoryError,
                foliocopy::Cause::BeyondEnd => Cause::BeyondEnd,
                foliocopy::Cause::NotMapped => Cause::NotMapped,
                foliocopy::Cause::NotAllowed => Cause::NotAllowed,
                _ => Cause::Other,
            },
            side: match error.side {
                foliocopy::Side::Source => Side::Source,
                foliocopy::Side::Destination => Side::Destination,
            },
            address_lsb: error.address_lsb.into(),
        }
    }
}

impl From<&foliocopy::Skipped> for Skipped {
    fn from(pages: &foliocopy::Skipped) -> Self {
        Self { page_index: pages.page_index, nr_pages: pages.nr_pages, error: pages.error.into() }
    }
}

/// Copies nr_pages pages of 4096 bytes from src to dst, and stops at memory that can't be read or written:
/// poisoned memory, or a mapping whose file was cut short.
///
/// Answers -EHWPOISON for poisoned memory and -EFAULT for any other cause, and fills in what error points
/// to unless that is null. The bytes before the error are the source's, nothing outside the destination is
/// written, and the next copy works. The first call puts a handler of SIGBUS in place, as
/// foliocopy_sigbus_install does; -EOPNOTSUPP means that a fault would not be survived. The thread must
/// not block SIGBUS.
///
/// # Safety
///
/// `src` is mapped readable and `dst` writable for `nr_pages` pages, but either may raise SIGBUS. `error` is
/// null or points to a `struct foliocopy_memory_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_copy_mc_pages(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
    error: *mut MemoryError,
) -> c_int {
    // SAFETY: both ranges are mapped, and `error` is null or may be written.
    unsafe { copy(dst, src, nr_pages, foliocopy::Locality::Auto, error) }
}

/// Copies bytes bytes from src to dst like foliocopy_copy_mc_pages, of any address and length: the bytes before
/// the error are the source's, to the byte, and none behind it is written. 1, 2, 4 and 8 bytes are one load and
/// one store where both addresses are aligned to that. error counts pages from the one in which the range starts.
///
/// # Safety
///
/// `src` is mapped readable and `dst` writable for `bytes` bytes, but either may raise SIGBUS. `error` is null or
/// points to a `struct foliocopy_memory_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_copy_mc(
    dst: *mut c_void,
    src: *const c_void,
    bytes: usize,
    error: *mut MemoryError,
) -> c_int {
    // SAFETY: both ranges are mapped, and `error` is null or may be written.
    unsafe {
        match foliocopy::copy_mc(dst.cast(), src.cast(), bytes) {
            Ok(()) => 0,
            Err(failed) => answer_with_memory(failed, error),
        }
    }
}

/// Copies like foliocopy_copy_mc_pages, and leaves the destination where it is told to.
///
/// # Safety
///
/// As `foliocopy_copy_mc_pages`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_copy_mc_pages_locality(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
    locality: MaybeUninit<Locality>,
    error: *mut MemoryError,
) -> c_int {
    match Locality::of(locality) {
        // SAFETY: both ranges are mapped, and `error` is null or may be written.
        Ok(locality) => unsafe { copy(dst, src, nr_pages, locality, error) },
        Err(failure) => failure.answer(),
    }
}

/// Copies like foliocopy_copy_mc_pages with up to nr_threads threads, of which the caller's is one, as
/// foliocopy_copy_pages_parallel does. error has the bad memory at the lowest address. The bytes before it are the
/// source's. Pages behind it may be copied or not.
///
/// # Safety
///
/// As `foliocopy_copy_mc_pages`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_copy_mc_pages_parallel(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
    nr_threads: usize,
    error: *mut MemoryError,
) -> c_int {
    // SAFETY: both ranges are mapped, and `error` is null or may be written.
    unsafe { copy_parallel(dst, src, nr_pages, Ok(foliocopy::Locality::Auto), nr_threads, error) }
}

/// Copies like foliocopy_copy_mc_pages_parallel, and leaves the destination where it is told to.
///
/// # Safety
///
/// As `foliocopy_copy_mc_pages`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_copy_mc_pages_parallel_locality(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
    locality: MaybeUninit<Locality>,
    nr_threads: usize,
    error: *mut MemoryError,
) -> c_int {
    // SAFETY: both ranges are mapped, and `error` is null or may be written.
    unsafe { copy_parallel(dst, src, nr_pages, Locality::of(locality), nr_threads, error) }
}

/// Copies scattered ranges like foliocopy_copy_folios, and stops at memory that can't be read or written, as
/// foliocopy_copy_mc_pages does. The pairs before the failed one are copied then, and error is about the ranges of the
/// failed one.
///
/// # Safety
///
/// `pairs` points to `nr_pairs` pairs, of which each is as `foliocopy_copy_mc_pages` says; `failed_pair` and `error` are
/// null or point to what their types say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_copy_mc_folios(
    pairs: *const FolioPair,
    nr_pairs: usize,
    failed_pair: *mut usize,
    error: *mut MemoryError,
) -> c_int {
    // SAFETY: `pairs` points to `nr_pairs` pairs of mapped ranges, and what is filled in is null or may be written.
    unsafe { copy_batch(pairs, nr_pairs, Ok(foliocopy::Locality::Auto), failed_pair, error) }
}

/// Copies like foliocopy_copy_mc_folios, and leaves the destinations where it is told to.
///
/// # Safety
///
/// As `foliocopy_copy_mc_folios`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_copy_mc_folios_locality(
    pairs: *const FolioPair,
    nr_pairs: usize,
    locality: MaybeUninit<Locality>,
    failed_pair: *mut usize,
    error: *mut MemoryError,
) -> c_int {
    // SAFETY: `pairs` points to `nr_pairs` pairs of mapped ranges, and what is filled in is null or may be written.
    unsafe { copy_batch(pairs, nr_pairs, Locality::of(locality), failed_pair, error) }
}

/// Copies the pages that can be copied, and zeroes the pages whose source is lost. report is called with each run of those
/// in ascending order: one page, or as many as the kernel says are lost at once. context is passed on to report, which may
/// be null.
///
/// skipped, unless it is null, gets the number of pages skipped. The answer is that of foliocopy_copy_mc_pages, but
/// -EHWPOISON and -EFAULT only where the destination can't be written: the copy stops there.
///
/// # Safety
///
/// As `foliocopy_copy_mc_pages`. `report` doesn't unwind or jump out, and `skipped` is null or points to a `size_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_copy_mc_pages_skipping(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
    report: Option<unsafe extern "C" fn(skipped: *const Skipped, context: *mut c_void)>,
    context: *mut c_void,
    skipped: *mut usize,
    error: *mut MemoryError,
) -> c_int {
    let each = |pages: &foliocopy::Skipped| {
        if let Some(report) = report {
            // SAFETY: `report` may be called with `context`, and the pages live as long as the call.
            unsafe { report(&pages.into(), context) };
        }
    };
    // SAFETY: both ranges are mapped, and what is filled in is null or may be written.
    unsafe { copy_skipping(dst, src, nr_pages, Ok(foliocopy::Locality::Auto), each, skipped, error) }
}

/// Copies like foliocopy_copy_mc_pages_skipping, and leaves the destination where it is told to.
///
/// # Safety
///
/// As `foliocopy_copy_mc_pages_skipping`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_copy_mc_pages_skipping_locality(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
    locality: MaybeUninit<Locality>,
    report: Option<unsafe extern "C" fn(skipped: *const Skipped, context: *mut c_void)>,
    context: *mut c_void,
    skipped: *mut usize,
    error: *mut MemoryError,
) -> c_int {
    let each = |pages: &foliocopy::Skipped| {
        if let Some(report) = report {
            // SAFETY: `report` may be called with `context`, and the pages live as long as the call.
            unsafe { report(&pages.into(), context) };
        }
    };
    // SAFETY: both ranges are mapped, and what is filled in is null or may be written.
    unsafe { copy_skipping(dst, src, nr_pages, Locality::of(locality), each, skipped, error) }
}

/// One function for every locality, into which the engine's is inlined: a call of that passes the options in memory. Of the C
/// ABI, so that the exported ones end with a jump to it.
///
/// # Safety
///
/// As [`foliocopy_copy_mc_pages`].
#[expect(improper_ctypes_definitions, reason = "nobody calls it from C")]
#[inline(never)]
unsafe extern "C" fn copy(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
    locality: foliocopy::Locality,
    error: *mut MemoryError,
) -> c_int {
    let pair = foliocopy::FolioPair { dst: dst.cast(), src: src.cast(), nr_pages };
    // SAFETY: both ranges are mapped, and `error` is null or may be written.
    unsafe {
        CopyOptions::new()
            .locality(locality)
            .copy_mc_pair(pair, 0, |failed| answer_with_memory(failed, error))
    }
}

/// # Safety
///
/// As [`foliocopy_copy_mc_pages`].
unsafe fn copy_parallel(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
    locality: Result<foliocopy::Locality, Failure>,
    nr_threads: usize,
    error: *mut MemoryError,
) -> c_int {
    let copied = locality.and_then(|locality| {
        let threads = threads(nr_threads)?;
        // SAFETY: both ranges are mapped.
        let (dst, src) = unsafe { ranges(dst, src, nr_pages) }?;
        Ok(CopyOptions::new().locality(locality).copy_mc_pages_parallel(dst, src, threads)?)
    });
    // SAFETY: `error` is null or may be written.
    status(copied.inspect_err(|failure| unsafe { fill_in_memory(failure, error) }))
}

/// # Safety
///
/// As [`foliocopy_copy_mc_folios`].
unsafe fn copy_batch(
    pairs: *const FolioPair,
    nr_pairs: usize,
    locality: Result<foliocopy::Locality, Failure>,
    failed_pair: *mut usize,
    error: *mut MemoryError,
) -> c_int {
    // SAFETY: `pairs` points to `nr_pairs` pairs of mapped ranges, and what is filled in is null or may be written.
    unsafe {
        let copied = locality.and_then(|locality| {
            Ok(CopyOptions::new().locality(locality).copy_mc_folios(batch(pairs, nr_pairs)?)?)
        });
        let copied = copied.inspect_err(|failure| fill_in_memory(failure, error));
        answer(copied, nr_pairs, failed_pair)
    }
}

/// # Safety
///
/// As [`foliocopy_copy_mc_pages_skipping`].
unsafe fn copy_skipping(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
    locality: Result<foliocopy::Locality, Failure>,
    each: impl FnMut(&foliocopy::Skipped),
    skipped: *mut usize,
    error: *mut MemoryError,
) -> c_int {
    let copied = locality.and_then(|locality| {
        // SAFETY: both ranges are mapped.
        let (dst, src) = unsafe { ranges(dst, src, nr_pages) }?;
        let nr_skipped = CopyOptions::new().locality(locality).copy_mc_pages_skipping(dst, src, each)?;
        // SAFETY: `skipped` is null or may be written.
        unsafe { fill_in(skipped, nr_skipped) };
        Ok(())
    });
    // SAFETY: `error` is null or may be written.
    status(copied.inspect_err(|failure| unsafe { fill_in_memory(failure, error) }))
}

/// Both ranges, checked.
///
/// # Safety
///
/// `src` is mapped readable and `dst` writable for `nr_pages` pages as long as the ranges exist, but either may raise SIGBUS.
#[inline(always)]
unsafe fn ranges<'a>(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
) -> Result<(PageRangeMut<'a>, PageRange<'a>), CopyError> {
    // SAFETY: both ranges are mapped, and C holds no Rust reference to them.
    unsafe { Ok((PageRangeMut::new(dst.cast(), nr_pages)?, PageRange::new(src.cast(), nr_pages)?)) }
}

/// Out of line, so that a copy that succeeds has no room for a failure on its stack.
///
/// # Safety
///
/// `error` is null or may be written.
#[cold]
#[inline(never)]
unsafe fn answer_with_memory(failed: CopyMcError, error: *mut MemoryError) -> c_int {
    let failure = Failure::from(failed);
    // SAFETY: `error` is null or may be written.
    unsafe { fill_in_memory(&failure, error) };
    failure.answer()
}

/// Fills in what `error` points to, if memory went bad.
///
/// # Safety
///
/// `error` is null or may be written.
unsafe fn fill_in_memory(failure: &Failure, error: *mut MemoryError) {
    if let Failure::Memory(memory) | Failure::PairMemory(BatchError { error: memory, .. }) = failure {
        // SAFETY: `error` is null or may be written.
        unsafe { fill_in(error, (*memory).into()) };
    }
}
