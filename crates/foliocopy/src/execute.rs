//! Runs a [`Step`]: probes, copies in chunks, yields between them, fences. One path for plain and machine-check-safe copies,
//! in a process and in a kernel.

use core::ptr;

use crate::arch::{self, Loop, Stopped, Work};
use crate::chunks::Yield;
use crate::extable::{Fault, Recovery};
use crate::page::PAGE_SIZE;
use crate::primitive::Primitive;
use crate::probe;
use crate::step::Step;

#[cfg(not(foliocopy_kernel))]
mod function;

#[cfg(not(foliocopy_kernel))]
pub(crate) use function::{Function, function};

/// A kernel makes no indirect calls.
#[cfg(foliocopy_kernel)]
pub(crate) type Function = ();
#[cfg(foliocopy_kernel)]
pub(crate) const fn function(_: Step) {}

/// The ranges of a copy: destination, source, and length in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    pub(crate) dst: *mut u8,
    pub(crate) src: *const u8,
    pub(crate) bytes: usize,
}

impl Range {
    /// Its first `bytes` bytes, and the rest.
    #[inline(always)]
    fn split(self, bytes: usize) -> (Self, Self) {
        let (dst, src) = (self.dst.wrapping_add(bytes), self.src.wrapping_add(bytes));
        (Self { bytes, ..self }, Self { dst, src, bytes: self.bytes - bytes })
    }
}

/// Adds the bytes behind the part that faulted.
#[inline(always)]
fn and_left(bytes: usize) -> impl Fn(Fault) -> Fault {
    move |fault| Fault { bytes_left: fault.bytes_left + bytes, ..fault }
}

/// Copies `bytes` bytes in chunks, and yields between two chunks. A chunk has `chunk_bytes` bytes, rounded up to whole pages,
/// and at least one page. With `MC` the copy is machine-check safe; without, it never returns an error.
///
/// # Safety
///
/// `src` is readable and `dst` writable for `bytes` bytes, or with `MC` their faults are caught. They don't overlap. They start
/// at pages, and `bytes` is a multiple of a page. For a step that does not probe, lines suffice instead of pages. The CPU has
/// the features that the step's primitives and its probe require.
#[inline]
pub(crate) unsafe fn copy<const MC: bool>(
    step: Step,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    chunk_bytes: usize,
    between_chunks: impl Yield,
) -> Result<(), Fault> {
    let range = Range { dst, src, bytes };
    // SAFETY: this function's contract is that of both.
    unsafe {
        match bytes <= chunk_bytes {
            true => one::<MC>(step, range),
            false => many::<MC>(step, range, chunk_bytes, between_chunks),
        }
    }
}

/// Copies one chunk.
///
/// # Safety
///
/// As [`copy`].
#[inline]
unsafe fn one<const MC: bool>(step: Step, range: Range) -> Result<(), Fault> {
    if range.bytes == 0 {
        return Ok(());
    }
    // SAFETY: this function's contract is that of all.
    unsafe {
        match step {
            Step::Copy { by, distance } => run::<MC>(by, distance, range),
            Step::TimeFirstPage { first, rest, burst } => {
                let copy_first = |range| copy_before::<MC>(first, PAGE_LOOP_DISTANCE, range, ptr::null());
                by_first_page::<MC>(first, rest, burst, copy_first, range)
            }
            Step::Glance { near, far, distance } => match probe::glance::<MC>(range.src, range.bytes) {
                true => run::<MC>(far, distance, range),
                false => run::<MC>(near, 0, range),
            },
        }
    }
}

/// Copies more than one chunk. The whole range is probed once.
///
/// # Safety
///
/// As [`copy`].
#[inline(never)]
unsafe fn many<const MC: bool>(
    step: Step,
    mut range: Range,
    chunk_bytes: usize,
    mut between_chunks: impl Yield,
) -> Result<(), Fault> {
    // SAFETY: this function's contract.
    let resolved = unsafe { resolve::<MC>(step, range.src, range.bytes) };
    let chunk_bytes = chunk_bytes.max(1).checked_next_multiple_of(PAGE_SIZE).unwrap_or(usize::MAX);
    loop {
        let (chunk, rest) = range.split(chunk_bytes.min(range.bytes));
        // SAFETY: a part of the range.
        unsafe { one::<MC>(resolved, chunk) }.map_err(and_left(rest.bytes))?;
        if rest.bytes == 0 {
            return Ok(());
        }
        between_chunks.yield_now();
        range = rest;
    }
}

/// Probes the source if the step asks for it, and returns the copy that the step becomes. Copies in parts call this once.
///
/// # Safety
///
/// As [`copy`], for the source.
pub(crate) unsafe fn resolve<const MC: bool>(step: Step, src: *const u8, bytes: usize) -> Step {
    let glances = matches!(step, Step::Glance { .. }) && bytes != 0;
    // SAFETY: this function's contract.
    let in_memory = glances && unsafe { probe::glance::<MC>(src, bytes) };
    if in_memory { step.far() } else { step.near() }
}

/// Copies by one primitive, and fences if its stores need it.
///
/// # Safety
///
/// As [`copy`]; the range is not empty.
#[inline]
unsafe fn run<const MC: bool>(by: Primitive, distance: u32, range: Range) -> Result<(), Fault> {
    if !by.is_non_temporal() {
        // SAFETY: this function's contract.
        return unsafe { copy_before::<MC>(by, distance, range, ptr::null()) };
    }
    let distance = range.bytes.min(distance as usize);
    // SAFETY: this function's contract. The prefetch is for a part of the source.
    let copied = unsafe {
        // The loop would prefetch these lines too late.
        probe::prefetch(range.src, distance);
        copy_before::<MC>(by, distance as u32, range, ptr::null())
    };
    arch::store_fence();
    copied
}

/// Copies the first page by `copy_first`, and picks the copy of the rest by the time that the page took.
///
/// # Safety
///
/// As [`copy`]; the range has at least one page. `copy_first` copies as [`copy_before`] does.
#[inline(always)]
unsafe fn by_first_page<const MC: bool>(
    first: Primitive,
    rest: Primitive,
    burst: u32,
    copy_first: impl Fn(Range) -> Result<(), Fault>,
    range: Range,
) -> Result<(), Fault> {
    let Some(times) = probe::page_times(first) else {
        // SAFETY: this function's contract.
        return unsafe { run::<MC>(rest, 0, range) };
    };
    let (page, left) = range.split(PAGE_SIZE);
    let start = probe::now();
    copy_first(page).map_err(and_left(left.bytes))?;
    let cycles = probe::now().wrapping_sub(start);
    if left.bytes == 0 {
        return Ok(());
    }
    if cycles <= times.in_l1_up_to {
        return copy_first(left);
    }
    // SAFETY: the rest of the range.
    unsafe {
        if cycles > times.near_up_to {
            probe::prefetch(left.src, left.bytes.min(burst as usize));
        }
        run::<MC>(rest, 0, left)
    }
}

/// The prefetch distance of a first page, for primitives that can prefetch. In bytes.
const PAGE_LOOP_DISTANCE: u32 = 512;

/// Copies by one primitive without a fence. If the distance is not 0, it also prefetches the start of the `next` range, unless
/// that is null.
///
/// # Safety
///
/// As [`copy`]; the range is not empty. `next` is readable for as many bytes as the distance, or as the range if that is
/// shorter.
#[inline]
pub(crate) unsafe fn copy_before<const MC: bool>(
    by: Primitive,
    distance: u32,
    range: Range,
    next: *const u8,
) -> Result<(), Fault> {
    let mut recovery =
        Recovery { dst: range.dst.addr(), src: range.src.addr(), bytes: range.bytes, signal: None };
    let handed = if MC { &raw mut recovery } else { ptr::null_mut() };
    let run = |prefetches, Range { dst, src, bytes }, prefetch| {
        let work = Work { dst, src, bytes, prefetch, recovery: handed };
        // SAFETY: a part of the range that is not empty, and a recovery that lives as long as the loop.
        unsafe { arch::run_any::<MC>(Loop { by, prefetches }, work) }
    };
    // Past the cache the loop runs twice. The second run, over the last `distance` bytes, has nothing of this range to
    // prefetch.
    let past = by.is_non_temporal();
    let (ahead, rest) =
        range.split(if past && distance != 0 { range.bytes.saturating_sub(distance as usize) } else { 0 });
    let mut stopped = Stopped { bytes_left: 0, trap: 0 };
    if ahead.bytes != 0 {
        stopped = run(true, ahead, distance as isize);
    }
    if stopped.bytes_left != 0 {
        stopped.bytes_left += rest.bytes;
    } else {
        let prefetch = if next.is_null() { 0 } else { next.addr().wrapping_sub(rest.src.addr()) as isize };
        stopped = run(distance != 0 && !(past && next.is_null()), rest, prefetch);
    }
    let Stopped { bytes_left, trap } = stopped;
    if MC && bytes_left != 0 {
        return Err(Fault { bytes_left, trap: trap as u32, signal: recovery.signal });
    }
    Ok(())
}
