//! Machine-check-safe copies.

use core::ffi::{c_int, c_void};

use foliocopy::{BatchError, CopyMcError, PageRange, PageRangeMut};

use crate::batch::{FolioPair, answer, at_fault, batch};
use crate::copy::is_null;
use crate::errno;

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
}

/// One of the two ranges of a copy.
#[repr(C)]
pub enum Side {
    /// What is read.
    Source = 0,
    /// What is written.
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
    /// What is wrong with it.
    pub cause: Cause,
    /// Whose memory it is.
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
    /// What is wrong with them.
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
/// `src` is mapped readable and `dst` writable for so many pages, but either may raise SIGBUS. `error` is
/// null or points to a `struct foliocopy_memory_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_copy_mc_pages(
    dst: *mut c_void,
    src: *const c_void,
    nr_pages: usize,
    error: *mut MemoryError,
) -> c_int {
    if is_null(dst, src, nr_pages) {
        return -libc::EINVAL;
    }
    // SAFETY: the caller's promises.
    match unsafe { foliocopy::copy_mc_pages_raw(dst.cast(), src.cast(), nr_pages) } {
        Ok(()) => 0,
        // SAFETY: the caller's promises.
        Err(failed) => unsafe { fail(failed, error) },
    }
}

/// Copies scattered ranges like foliocopy_copy_folios, and stops at memory that can't be read or written, as
/// foliocopy_copy_mc_pages does: the pairs before the failed one are copied then, and error speaks of the
/// ranges of the failed one.
///
/// # Safety
///
/// `pairs` points to so many pairs, of which each is as `foliocopy_copy_mc_pages` says; `failed_pair` and
/// `error` are null or point to what their types say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_copy_mc_folios(
    pairs: *const FolioPair,
    nr_pairs: usize,
    failed_pair: *mut usize,
    error: *mut MemoryError,
) -> c_int {
    // SAFETY: the caller's promises.
    unsafe {
        let copied = batch(pairs, nr_pairs, |batch| match foliocopy::copy_mc_folios(batch) {
            Ok(()) => Ok(()),
            Err(BatchError { index, error: failed }) => {
                let index = match &failed {
                    CopyMcError::Refused(refused) => at_fault(refused, index, nr_pairs),
                    _ => index,
                };
                Err((index, fail(failed, error)))
            }
        });
        answer(copied, failed_pair)
    }
}

/// Copies what can be copied, zeroes the pages of which the source is lost, and calls report with each run
/// of them in ascending order: one page, or as many as the kernel says are lost at once. context is passed
/// on to report, which may be null.
///
/// Stores the number of pages skipped in what skipped points to unless that is null. Answers what
/// foliocopy_copy_mc_pages does, but -EHWPOISON and -EFAULT only where the destination can't be written:
/// the copy stops there.
///
/// # Safety
///
/// As `foliocopy_copy_mc_pages`. `report` doesn't unwind or jump out, and `skipped` is null or points to
/// a `size_t`.
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
    if is_null(dst, src, nr_pages) {
        return -libc::EINVAL;
    }
    let each = |pages: &foliocopy::Skipped| {
        if let Some(report) = report {
            let pages =
                Skipped { page_index: pages.page_index, nr_pages: pages.nr_pages, error: pages.error.into() };
            // SAFETY: what the caller asked to be called with.
            unsafe { report(&pages, context) };
        }
    };
    // SAFETY: this function's contract is about both ranges.
    let ranges = unsafe {
        PageRangeMut::new(dst.cast(), nr_pages)
            .and_then(|dst| Ok((dst, PageRange::new(src.cast(), nr_pages)?)))
    };
    let (dst, src) = match ranges {
        Ok(ranges) => ranges,
        Err(error) => return errno::of(error),
    };
    // SAFETY: the caller's promises.
    unsafe {
        match foliocopy::copy_mc_pages_skipping(dst, src, each) {
            Ok(nr_skipped) => {
                if !skipped.is_null() {
                    skipped.write(nr_skipped);
                }
                0
            }
            Err(failed) => fail(failed, error),
        }
    }
}

/// Says in `error` and as an errno why a copy failed.
///
/// # Safety
///
/// `error` is null or points to a `struct foliocopy_memory_error`.
unsafe fn fail(failed: CopyMcError, error: *mut MemoryError) -> c_int {
    match failed {
        CopyMcError::Memory(memory) => {
            if !error.is_null() {
                // SAFETY: it points to room for an error.
                unsafe { error.write(memory.into()) };
            }
            errno_of(memory.cause)
        }
        CopyMcError::Refused(refused) => errno::of(refused),
        _ => -libc::EIO,
    }
}

/// Poison has an errno of its own.
fn errno_of(cause: foliocopy::Cause) -> c_int {
    match cause {
        foliocopy::Cause::HardwareMemoryError => -libc::EHWPOISON,
        _ => -libc::EFAULT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The host's kernel may never say that memory is poisoned.
    #[test]
    fn poison_has_an_errno_of_its_own() {
        assert_eq!(errno_of(foliocopy::Cause::HardwareMemoryError), -libc::EHWPOISON);
        assert_eq!(errno_of(foliocopy::Cause::BeyondEnd), -libc::EFAULT);
        assert_eq!(errno_of(foliocopy::Cause::Other), -libc::EFAULT);
    }
}
