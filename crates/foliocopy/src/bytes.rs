//! Machine-check-safe copies of any bytes in a process.

use core::mem::MaybeUninit;

use crate::arch::{self, ByteLoop, Work};
use crate::byte_range::{ByteRange, ByteRangeMut, check_pair};
use crate::chunks::{DEFAULT_CHUNK_BYTES, NoYield};
use crate::cpu::Features;
use crate::error::CopyError;
use crate::execute;
use crate::extable::{Fault, Recovery};
use crate::locality::Locality;
use crate::memory_error::{Cause, CopyMcError, MemoryError};
use crate::once::Once;
use crate::page::PAGE_SIZE;
use crate::pages::machine_check_safe;
use crate::policy::Policy;
use crate::sigbus;
use crate::skip::skip_lost;
use crate::step::Step;

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
    let plan = validate(dst, src, bytes)?;
    // SAFETY: the ranges were checked, and this function's contract is about their memory.
    match unsafe { run(plan, dst, src, bytes) } {
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

/// Copies every byte whose source can be read, zeroes the others in the destination, and reports those, as
/// [`copy_mc_pages_skipping`](crate::copy_mc_pages_skipping) does for pages.
///
/// `report` is called with each [`SkippedBytes`] in ascending order. A bad page is lost whole, as far as it lies in the range.
/// So is all memory that the kernel reports lost with it. Returns how many bytes were skipped.
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
    let plan = validate(dst, src, bytes)?;
    let skipped = skip_lost(
        dst,
        src,
        bytes,
        // SAFETY: parts of both ranges, or of the destination and zeros of ours. The ranges are mapped, as their types promise.
        |dst, src, bytes| unsafe { run(plan, dst, src, bytes) },
        |lost, error| report(&SkippedBytes { offset: lost.start, bytes: lost.len(), error }),
    )?;
    Ok(skipped)
}

/// Bytes that [`copy_mc_skipping`] left zeroed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkippedBytes {
    /// The first of them, counted from the start of the range.
    pub offset: usize,
    /// The number of bytes.
    pub bytes: usize,
    /// The error at their start. Its counts are those of the whole range, up to this error.
    pub error: MemoryError,
}

/// An integer of 1, 2, 4 or 8 bytes, which one access can copy.
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

/// The part of the policy that copies of bytes need, in one line of the cache.
#[derive(Clone, Copy)]
struct Plan {
    /// Whether the CPU has 32-byte vectors.
    avx2: bool,
    /// The length from which the policy may go past the cache, in bytes.
    ask_from: usize,
}

static PLAN: Once<Plan> = Once::new();

impl Plan {
    /// The plan, worked out by the first copy.
    #[inline(always)]
    fn ready() -> Result<Self, CopyError> {
        match PLAN.get() {
            Some(plan) => Ok(*plan),
            None => Self::work_out(),
        }
    }

    #[cold]
    fn work_out() -> Result<Self, CopyError> {
        let policy = Policy::host();
        policy.check_usable()?;
        let through = |step: &Step| step.primitives().iter().all(|by| !by.is_non_temporal());
        let bands = policy.bands(Locality::Auto).take_while(|(_, step)| through(step));
        let ask_from = bands.last().map_or(0, |(up_to, _)| up_to.saturating_add(1));
        let plan = Self { avx2: policy.cpu().has(Features::AVX2), ask_from: ask_from.max(PAGE_SIZE) };
        // While another thread works out the policy, `policy` is a temporary one: a plan for it is not kept.
        if Policy::ready_host().is_some() {
            PLAN.keep_with(|| plan);
        }
        Ok(plan)
    }
}

/// Checks a request of at least one byte, and that a fault in the copy would be survived. Returns the plan.
#[inline(always)]
fn validate(dst: *mut u8, src: *const u8, bytes: usize) -> Result<Plan, CopyError> {
    check_pair(dst.addr(), src.addr(), bytes)?;
    sigbus::ensure(bytes).map_err(CopyError::Unsupported)?;
    Plan::ready()
}

/// Copies two ranges that were checked.
///
/// # Safety
///
/// The ranges are mapped and apart, and their faults are caught. There is at least one byte.
#[inline(always)]
unsafe fn run(plan: Plan, dst: *mut u8, src: *const u8, bytes: usize) -> Result<(), Fault> {
    if bytes >= PAGE_SIZE && (dst.addr() | src.addr() | bytes).is_multiple_of(PAGE_SIZE) {
        // A policy may be forced to a primitive that can't survive.
        if let Ok(step) = machine_check_safe(Policy::host().step(Locality::Auto, bytes)) {
            // SAFETY: whole pages; the policy is usable, and this function's contract is about the memory.
            return unsafe { execute::copy::<true>(step, dst, src, bytes, DEFAULT_CHUNK_BYTES, NoYield) };
        }
    }
    // SAFETY: this function's contract.
    let past_the_cache = bytes >= plan.ask_from && unsafe { is_in_memory(src, bytes) };
    let by = ByteLoop { avx2: plan.avx2, past_the_cache };
    let mut recovery = Recovery { dst: dst.addr(), src: src.addr(), bytes, signal: None };
    let work = Work { dst, src, bytes, prefetch: 0, recovery: &raw mut recovery };
    // SAFETY: this function's contract, and a recovery that lives as long as the loop.
    let stopped = unsafe { arch::copy_bytes(work, by) };
    if stopped.bytes_left == 0 {
        return Ok(());
    }
    let fault = Fault { bytes_left: stopped.bytes_left, trap: stopped.trap as u32, signal: recovery.signal };
    // SAFETY: this function's contract.
    unsafe { find_byte(dst, src, bytes, fault) }
}

/// Whether the policy sends a copy of pages of this source past the cache.
///
/// # Safety
///
/// As [`run`], for a page at least.
#[inline(never)]
unsafe fn is_in_memory(src: *const u8, bytes: usize) -> bool {
    let step = Policy::host().step(Locality::Auto, bytes);
    // SAFETY: a probe reads within a range of any place that is a page long, and its faults are caught.
    let resolved = unsafe { execute::resolve::<true>(step, src, bytes) };
    resolved.primitives()[0].is_non_temporal()
}

/// Copies the bytes before the one at which memory fails, after a fault in the block that holds it. Succeeds if memory has
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
        signal.covers(dst.addr()) || signal.covers(src.addr()) || Cause::of(&signal) == Cause::Other
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
