//! Runs a [`Step`]: probes, copies in chunks, yields between them, fences. One path for plain and machine-check-safe copies,
//! in a process and in a kernel.

use core::ptr;

use crate::arch::{self, Loop, Work};
use crate::extable::{Fault, Recovery};
use crate::page::PAGE_SIZE;
use crate::primitive::Primitive;
use crate::probe::{self, GLANCE_PREFETCHES};
use crate::step::Step;

#[cfg(not(foliocopy_kernel))]
mod function;

#[cfg(not(foliocopy_kernel))]
pub(crate) use function::{Function, before_next, function};

/// How much is copied between two yields unless told otherwise: 32 MiB, as Linux's `clear_pages()` does
/// (`PROCESS_PAGES_NON_PREEMPT_BATCH`).
pub const DEFAULT_CHUNK_BYTES: usize = 32 << 20;

/// An action between two chunks. Every `FnMut()` is one.
pub trait Yield {
    /// Lets others run. Everything copied so far is visible to them.
    fn yield_now(&mut self);
}

/// Goes straight on with the next chunk.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoYield;

impl Yield for NoYield {
    #[inline]
    fn yield_now(&mut self) {}
}

impl<F: FnMut()> Yield for F {
    #[inline]
    fn yield_now(&mut self) {
        self();
    }
}

/// Copies `bytes` bytes, at most `chunk_bytes` (rounded up to whole pages, a page at least) between two
/// yields: not before the first chunk, not after the last. Never an error unless `MACHINE_CHECK_SAFE`.
///
/// # Safety
///
/// `src` is readable and `dst` writable for `bytes` bytes, or with `MACHINE_CHECK_SAFE` their faults are caught. They start at
/// pages and don't overlap, and `bytes` is a multiple of a page. The CPU has what the step's primitives and its probe
/// require.
#[inline]
pub(crate) unsafe fn copy<const MACHINE_CHECK_SAFE: bool>(
    step: Step,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    chunk_bytes: usize,
    between_chunks: impl Yield,
) -> Result<(), Fault> {
    // SAFETY: this function's contract is that of both.
    unsafe {
        match bytes <= chunk_bytes {
            true => one::<MACHINE_CHECK_SAFE>(step, dst, src, bytes),
            false => many::<MACHINE_CHECK_SAFE>(step, dst, src, bytes, chunk_bytes, between_chunks),
        }
    }
}

/// One chunk.
///
/// # Safety
///
/// As [`copy`].
#[inline]
unsafe fn one<const MACHINE_CHECK_SAFE: bool>(
    step: Step,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
) -> Result<(), Fault> {
    if bytes == 0 {
        return Ok(());
    }
    // SAFETY: this function's contract is that of all.
    unsafe {
        match step {
            Step::Copy { by, distance } => run::<MACHINE_CHECK_SAFE>(by, distance, dst, src, bytes, 0),
            Step::TimeFirstPage { first, rest, burst } => {
                let copy_first = |dst, src, bytes| {
                    let next = ptr::null();
                    copy_before::<MACHINE_CHECK_SAFE>(first, PAGE_LOOP_DISTANCE, dst, src, bytes, next)
                };
                by_first_page::<MACHINE_CHECK_SAFE>((first, rest, burst), copy_first, dst, src, bytes)
            }
            Step::Glance { near, far, distance } => match probe::glance::<MACHINE_CHECK_SAFE>(src, bytes) {
                true => run::<MACHINE_CHECK_SAFE>(far, distance, dst, src, bytes, GLANCE_PREFETCHES),
                false => run::<MACHINE_CHECK_SAFE>(near, 0, dst, src, bytes, 0),
            },
        }
    }
}

/// More than one chunk: the whole range is probed once.
///
/// # Safety
///
/// As [`copy`].
#[inline(never)]
unsafe fn many<const MACHINE_CHECK_SAFE: bool>(
    step: Step,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    chunk_bytes: usize,
    mut between_chunks: impl Yield,
) -> Result<(), Fault> {
    // SAFETY: this function's contract.
    let settled = unsafe { settle::<MACHINE_CHECK_SAFE>(step, src, bytes) };
    let chunk_bytes = chunk_bytes.max(1).checked_next_multiple_of(PAGE_SIZE).unwrap_or(usize::MAX);
    let mut copied = 0;
    while copied < bytes {
        if copied != 0 {
            between_chunks.yield_now();
        }
        let chunk = chunk_bytes.min(bytes - copied);
        // SAFETY: `copied + chunk` is at most `bytes`, the length of both ranges.
        let answer = unsafe { one::<MACHINE_CHECK_SAFE>(settled, dst.add(copied), src.add(copied), chunk) };
        copied += chunk;
        if let Err(fault) = answer {
            return Err(Fault { bytes_left: fault.bytes_left + (bytes - copied), ..fault });
        }
    }
    Ok(())
}

/// Probes the source where the step asks for it, and answers the copy that the step becomes. For copies in parts, which
/// probe once.
///
/// # Safety
///
/// As [`copy`], for the source.
pub(crate) unsafe fn settle<const MACHINE_CHECK_SAFE: bool>(
    step: Step,
    src: *const u8,
    bytes: usize,
) -> Step {
    let glances = matches!(step, Step::Glance { .. }) && bytes != 0;
    // SAFETY: this function's contract.
    let in_memory = glances && unsafe { probe::glance::<MACHINE_CHECK_SAFE>(src, bytes) };
    if in_memory { step.far() } else { step.near() }
}

/// Copies by one primitive, and fences if its stores need it. The first `prefetched` bytes of the source are prefetched
/// already.
///
/// # Safety
///
/// As [`copy`]; `bytes` is not 0.
#[inline]
unsafe fn run<const MACHINE_CHECK_SAFE: bool>(
    by: Primitive,
    distance: u32,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    prefetched: usize,
) -> Result<(), Fault> {
    if !by.is_non_temporal() {
        // SAFETY: this function's contract.
        return unsafe { copy_before::<MACHINE_CHECK_SAFE>(by, distance, dst, src, bytes, ptr::null()) };
    }
    let distance = bytes.min(distance as usize);
    let seen = distance.min(prefetched);
    // SAFETY: this function's contract, and of the source a part.
    let copied = unsafe {
        // The loop would prefetch these lines too late.
        probe::prefetch(src.add(seen), distance - seen);
        copy_before::<MACHINE_CHECK_SAFE>(by, distance as u32, dst, src, bytes, ptr::null())
    };
    arch::store_fence();
    copied
}

/// Copies the first page by `copy_first`, and decides by the time of that how the rest is copied.
///
/// # Safety
///
/// As [`copy`]; there is a page at least. `copy_first` copies as [`copy_before`] does.
#[inline(always)]
unsafe fn by_first_page<const MACHINE_CHECK_SAFE: bool>(
    step: (Primitive, Primitive, u32),
    copy_first: impl Fn(*mut u8, *const u8, usize) -> Result<(), Fault>,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
) -> Result<(), Fault> {
    let (first, rest, burst) = step;
    let Some(times) = probe::page_times(first) else {
        // SAFETY: this function's contract.
        return unsafe { run::<MACHINE_CHECK_SAFE>(rest, 0, dst, src, bytes, 0) };
    };
    let left = bytes - PAGE_SIZE;
    let start = probe::now();
    copy_first(dst, src, PAGE_SIZE)
        .map_err(|fault| Fault { bytes_left: fault.bytes_left + left, ..fault })?;
    let cycles = probe::now().wrapping_sub(start);
    if left == 0 {
        return Ok(());
    }
    // SAFETY: the first page is a part of both ranges, and what is left the other.
    unsafe {
        let (dst, src) = (dst.add(PAGE_SIZE), src.add(PAGE_SIZE));
        if cycles <= times.in_l1_up_to {
            return copy_first(dst, src, left);
        }
        if cycles > times.near_up_to {
            probe::prefetch(src, left.min(burst as usize));
        }
        run::<MACHINE_CHECK_SAFE>(rest, 0, dst, src, left, 0)
    }
}

/// A first page is copied by the loop that prefetches, where its primitive has one. In bytes.
const PAGE_LOOP_DISTANCE: u32 = 512;

/// Copies by one primitive without a fence, and prefetches the start of what comes `next`, unless that is null, if the
/// distance is not 0.
///
/// # Safety
///
/// As [`copy`]; `bytes` is not 0. `next` is readable for as many bytes as the distance, or as the range if that is
/// shorter.
#[inline]
pub(crate) unsafe fn copy_before<const MACHINE_CHECK_SAFE: bool>(
    by: Primitive,
    distance: u32,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    next: *const u8,
) -> Result<(), Fault> {
    let mut recovery = Recovery { dst: dst.addr(), src: src.addr(), bytes, signal: None };
    let handed = if MACHINE_CHECK_SAFE { &raw mut recovery } else { ptr::null_mut() };
    let work = Work { dst, src, bytes, prefetch: 0, recovery: handed };
    // Past the cache the loop runs twice: over what lies more than the distance before the end, and over the rest.
    let ahead =
        if by.is_non_temporal() && distance != 0 { bytes.saturating_sub(distance as usize) } else { 0 };
    let mut stopped = arch::Stopped { bytes_left: 0, trap: 0 };
    if ahead != 0 {
        let work = Work { bytes: ahead, prefetch: distance as isize, ..work };
        // SAFETY: the first of two parts of the range, and a recovery that lives as long as the loop.
        stopped = unsafe { arch::run_any::<MACHINE_CHECK_SAFE>(Loop { by, prefetches: true }, work) };
    }
    if stopped.bytes_left != 0 {
        stopped.bytes_left += bytes - ahead;
    } else {
        // SAFETY: `ahead` is less than `bytes`.
        let (dst, src) = unsafe { (dst.add(ahead), src.add(ahead)) };
        let prefetch = if next.is_null() { 0 } else { next.addr().wrapping_sub(src.addr()) as isize };
        let prefetches = distance != 0 && !(by.is_non_temporal() && next.is_null());
        let work = Work { dst, src, bytes: bytes - ahead, prefetch, ..work };
        // SAFETY: the second of the two.
        stopped = unsafe { arch::run_any::<MACHINE_CHECK_SAFE>(Loop { by, prefetches }, work) };
    }
    match stopped.bytes_left {
        bytes_left if MACHINE_CHECK_SAFE && bytes_left != 0 => {
            Err(Fault { bytes_left, trap: stopped.trap as u32, signal: recovery.signal })
        }
        _ => Ok(()),
    }
}

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
        let _ = unsafe { one::<false>(Step::copy(self), dst, src, bytes) };
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
    /// As [`Primitive::copy`], except that memory may fault, provided that the fault is caught:
    /// in a process [`sigbus::install`](crate::sigbus::install) must have succeeded and stand, in a
    /// kernel the exception table must be known to it. [`Primitive::Portable`] can't survive a fault.
    pub unsafe fn copy_mc(self, dst: *mut u8, src: *const u8, bytes: usize) -> Result<(), Fault> {
        // SAFETY: this function's contract.
        unsafe { one::<true>(Step::copy(self), dst, src, bytes) }
    }
}
