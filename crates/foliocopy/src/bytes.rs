//! Machine-check-safe copies of any bytes in a process.

use core::mem::MaybeUninit;

use crate::arch::{self, Work};
use crate::byte_range::{ByteRange, ByteRangeMut, check_pair};
use crate::error::CopyError;
use crate::execute::{self, DEFAULT_CHUNK_BYTES, NoYield};
use crate::extable::{Fault, Recovery};
use crate::locality::Locality;
use crate::memory_error::{Cause, CopyMcError, MemoryError};
use crate::page::PAGE_SIZE;
use crate::pages::machine_check_safe;
use crate::policy::Policy;
use crate::sigbus;
use crate::skip::skip_lost;

/// Copies `bytes` bytes from `src` to `dst`, of any alignment, and stops at memory that can't be read or written, like
/// [`copy_mc_pages`](crate::copy_mc_pages).
///
/// The bytes before the error are the source's, to the byte, and none behind it is written. 1, 2, 4 and 8 bytes are copied by
/// one load and one store where both are aligned to that. Whole pages are copied by the loop of the page copies.
///
/// # Errors
///
/// [`CopyMcError::Memory`] where memory went bad. [`CopyMcError::Refused`] where nothing was copied: [`CopyError::Null`],
/// [`CopyError::ByteOverflow`], [`CopyError::NotCanonical`], [`CopyError::Overlap`], or [`CopyError::Unsupported`] where a
/// fault would not be survived; with `FOLIOCOPY_STRICT=1` also [`CopyError::Environment`]. A copy of nothing succeeds.
///
/// # Safety
///
/// What [`ByteRangeMut::new`] and [`ByteRange::new`] ask for.
#[inline]
pub unsafe fn copy_mc(dst: *mut u8, src: *const u8, bytes: usize) -> Result<(), CopyMcError> {
    if bytes == 0 {
        return Ok(());
    }
    let policy = admit(dst, src, bytes)?;
    // SAFETY: the ranges were checked, and this function's contract is about their memory.
    match unsafe { run(policy, dst, src, bytes) } {
        Ok(()) => Ok(()),
        Err(fault) => Err(memory_error(fault, dst, src, bytes)),
    }
}

/// Copies `src` to `dst` like [`copy_mc`], of ranges that were made once by `unsafe`, or of slices.
///
/// ```
/// use foliocopy::{ByteRange, CopyMcError, copy_mc_bytes};
///
/// # let file = vec![7_u8; 1000];
/// # let (start, length) = (file.as_ptr(), file.len());
/// // SAFETY: a file mapped for as long as the range is used. Whoever truncates it makes reads raise SIGBUS.
/// let file = unsafe { ByteRange::new(start, length)? };
/// let mut header = [0; 44];
/// match copy_mc_bytes((&mut header[..]).into(), file.part(3, 44).expect("the file has a header")) {
///     Ok(()) => assert_eq!(header, [7; 44]),
///     Err(CopyMcError::Memory(bad)) => println!("only {} bytes are left", bad.bytes_copied),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// As [`copy_mc`], and [`CopyError::ByteLengthMismatch`].
#[inline]
pub fn copy_mc_bytes(dst: ByteRangeMut<'_>, src: ByteRange<'_>) -> Result<(), CopyMcError> {
    same_length(&dst, &src)?;
    // SAFETY: both ranges are mapped, as their types promise.
    unsafe { copy_mc(dst.as_ptr(), src.as_ptr(), src.bytes()) }
}

/// Copies every byte whose source can be read, zeroes the others in the destination, and reports those: what
/// [`copy_mc_pages_skipping`](crate::copy_mc_pages_skipping) does for pages.
///
/// `report` is called with each [`SkippedBytes`] in ascending order. A bad page is lost whole, as far as it lies in the range,
/// with all that the kernel says is lost with it. Returns how many bytes were skipped.
///
/// # Errors
///
/// As [`copy_mc_bytes`]; [`CopyMcError::Memory`] for the destination only, and then the copy stops.
pub fn copy_mc_skipping(
    dst: ByteRangeMut<'_>,
    src: ByteRange<'_>,
    mut report: impl FnMut(&SkippedBytes),
) -> Result<usize, CopyMcError> {
    same_length(&dst, &src)?;
    let (dst, src, bytes) = (dst.as_ptr(), src.as_ptr(), src.bytes());
    if bytes == 0 {
        return Ok(0);
    }
    let policy = admit(dst, src, bytes)?;
    let skipped = skip_lost(
        dst,
        src,
        bytes,
        // SAFETY: parts of both ranges, or of the destination and zeros of ours. The ranges are mapped, as their types promise.
        |dst, src, bytes| unsafe { run(policy, dst, src, bytes) },
        |lost, error| report(&SkippedBytes { offset: lost.start, bytes: lost.len(), error }),
    )?;
    Ok(skipped)
}

/// Bytes that [`copy_mc_skipping`] left zeroed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkippedBytes {
    /// The first of them, counted from the start of the range.
    pub offset: usize,
    /// How many they are.
    pub bytes: usize,
    /// What is wrong with them. Its counts are those of the whole range, up to this error.
    pub error: MemoryError,
}

/// An integer of 1, 2, 4 or 8 bytes: what one access can copy.
pub trait Integer: Copy + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! integers {
    ($($integer:ty),*) => {
        $(
            impl Integer for $integer {}
            impl sealed::Sealed for $integer {}
        )*
    };
}

integers!(u8, i8, u16, i16, u32, i32, u64, i64, usize, isize);

/// Reads an integer by one load.
///
/// # Errors
///
/// As [`copy_mc`], and [`CopyError::Misaligned`].
///
/// # Safety
///
/// What [`ByteRange::new`] asks for.
#[inline]
pub unsafe fn read_mc<T: Integer>(src: *const T) -> Result<T, CopyMcError> {
    aligned(src)?;
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the value is ours and aligned, and this function's contract is about the source. What was copied is an integer.
    unsafe {
        copy_mc(value.as_mut_ptr().cast(), src.cast(), size_of::<T>())?;
        Ok(value.assume_init())
    }
}

/// Writes an integer by one store.
///
/// # Errors
///
/// As [`copy_mc`], and [`CopyError::Misaligned`].
///
/// # Safety
///
/// What [`ByteRangeMut::new`] asks for.
#[inline]
pub unsafe fn write_mc<T: Integer>(dst: *mut T, value: T) -> Result<(), CopyMcError> {
    aligned(dst)?;
    // SAFETY: the value is ours and aligned, and this function's contract is about the destination.
    unsafe { copy_mc(dst.cast(), (&raw const value).cast(), size_of::<T>()) }
}

/// Refuses an address that is not a multiple of the integer's length.
#[inline(always)]
fn aligned<T: Integer>(address: *const T) -> Result<(), CopyError> {
    let (address, alignment) = (address.addr(), size_of::<T>());
    if address.is_multiple_of(alignment) { Ok(()) } else { Err(CopyError::Misaligned { address, alignment }) }
}

#[inline(always)]
fn same_length(dst: &ByteRangeMut<'_>, src: &ByteRange<'_>) -> Result<(), CopyError> {
    let (dst, src) = (dst.bytes(), src.bytes());
    if dst == src { Ok(()) } else { Err(CopyError::ByteLengthMismatch { dst, src }) }
}

/// Checks the request, which is about a byte at least, and that a fault in the copy would be survived. Answers the policy.
#[inline(always)]
fn admit(dst: *mut u8, src: *const u8, bytes: usize) -> Result<&'static Policy, CopyError> {
    check_pair(dst.addr(), src.addr(), bytes)?;
    sigbus::ensure().map_err(CopyError::Unsupported)?;
    match Policy::ready_host().filter(|policy| policy.copies()) {
        Some(policy) => Ok(policy),
        None => Policy::host().admit().map(|()| Policy::host()),
    }
}

/// Copies two ranges that were checked.
///
/// # Safety
///
/// The ranges are mapped, except that their faults are caught, and apart. The policy is for this CPU. There is a byte at least.
#[inline(always)]
unsafe fn run(policy: &Policy, dst: *mut u8, src: *const u8, bytes: usize) -> Result<(), Fault> {
    if bytes >= PAGE_SIZE && (dst.addr() | src.addr() | bytes).is_multiple_of(PAGE_SIZE) {
        // A policy may be forced to a primitive that can't survive.
        if let Ok(step) = machine_check_safe(policy.step(Locality::Auto, bytes)) {
            // SAFETY: whole pages; the step is for this CPU, and this function's contract is about the memory.
            return unsafe { execute::copy::<true>(step, dst, src, bytes, DEFAULT_CHUNK_BYTES, NoYield) };
        }
    }
    let mut recovery = Recovery { dst: dst.addr(), src: src.addr(), bytes, signal: None };
    let work = Work { dst, src, bytes, prefetch: 0, recovery: &raw mut recovery };
    // SAFETY: this function's contract, and a recovery that lives as long as the loop.
    let stopped = unsafe { arch::copy_bytes(work, policy.cpu()) };
    if stopped.bytes_left == 0 {
        return Ok(());
    }
    let fault = Fault { bytes_left: stopped.bytes_left, trap: stopped.trap as u32, signal: recovery.signal };
    // SAFETY: this function's contract.
    unsafe { find_byte(dst, src, bytes, fault) }
}

/// Copies what lies before the byte at which memory fails, after a fault in the block that holds it. Succeeds if memory has
/// become good meanwhile.
///
/// # Safety
///
/// As [`run`].
#[cold]
unsafe fn find_byte(dst: *mut u8, src: *const u8, bytes: usize, fault: Fault) -> Result<(), Fault> {
    let done = bytes - fault.bytes_left;
    let (dst, src, bytes) = (dst.wrapping_add(done), src.wrapping_add(done), fault.bytes_left);
    let is_exact = fault.signal.is_none_or(|signal| {
        // A bus error has no granule, and is not provoked again.
        signal.covers(dst.addr()) || signal.covers(src.addr()) || Cause::of_code(signal.code) == Cause::Other
    });
    if is_exact {
        return Err(fault);
    }
    let mut recovery = Recovery { dst: dst.addr(), src: src.addr(), bytes, signal: None };
    let work = Work { dst, src, bytes, prefetch: 0, recovery: &raw mut recovery };
    // SAFETY: the rest of both ranges, and a recovery that lives as long as the loop.
    let stopped = unsafe { arch::copy_each_byte(work) };
    match stopped.bytes_left {
        0 => Ok(()),
        bytes_left => Err(Fault { bytes_left, trap: stopped.trap as u32, signal: recovery.signal }),
    }
}

#[cold]
#[inline(never)]
fn memory_error(fault: Fault, dst: *mut u8, src: *const u8, bytes: usize) -> CopyMcError {
    sigbus::suspect();
    MemoryError::new(fault, dst.addr(), src.addr(), bytes).into()
}
