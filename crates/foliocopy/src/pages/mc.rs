//! Machine-check-safe copies of pages in a process.

use core::mem::MaybeUninit;

use crate::chunks::{NoYield, Yield};
use crate::error::{CopyError, Unsupported};
use crate::execute;
use crate::extable::Fault;
use crate::memory_error::{CopyMcError, MemoryError};
use crate::options::CopyOptions;
use crate::page::{PAGE_SIZE, Page, PageRange, PageRangeMut, Span};
use crate::pair::FolioPair;
use crate::policy::Policy;
use crate::sigbus;
use crate::skip::skip_lost;
use crate::step::Step;

/// Copies `src` to `dst`, and stops at memory that can't be read or written: poisoned memory, or a
/// mapping whose file was cut short.
///
/// The bytes before the error are the source's, nothing outside the destination is written, and the
/// next copy on the thread works. The loop is that of [`copy_pages`](crate::copy_pages), with an exception table beside it.
/// Before the copy comes a check that the handler of SIGBUS is still installed. [`sigbus`] says how faults are caught, and what
/// that means for the rest of the program.
///
/// ```
/// use foliocopy::{CopyMcError, Page, copy_mc_pages};
///
/// let source = vec![Page::filled(0xa5); 64];
/// let mut destination = vec![Page::zeroed(); 64];
/// match copy_mc_pages(destination.as_mut_slice().into(), source.as_slice().into()) {
///     Ok(()) => assert!(source == destination),
///     Err(CopyMcError::Memory(bad)) => println!("page {} is lost: {}", bad.page_index, bad.cause),
///     Err(error) => println!("{error}"),
/// }
/// ```
///
/// A fault on a thread that blocks SIGBUS kills the process.
///
/// # Errors
///
/// [`CopyMcError::Memory`] where memory went bad. [`CopyMcError::Refused`] where nothing was copied:
/// [`CopyError::LengthMismatch`], [`CopyError::Overlap`], or [`CopyError::Unsupported`] where a fault would not be survived;
/// with `FOLIOCOPY_STRICT=1` also [`CopyError::Environment`].
#[inline]
pub fn copy_mc_pages(dst: PageRangeMut<'_>, src: PageRange<'_>) -> Result<(), CopyMcError> {
    CopyOptions::new().copy_mc_pages(dst, src)
}

/// Copies `nr_pages` pages of 4096 bytes from `src` to `dst` like [`copy_mc_pages`].
///
/// # Errors
///
/// As [`copy_mc_pages`]. Where an address is not the start of a page, or a range is too long, [`CopyMcError::Refused`] with the
/// error of [`PageRange::new`].
///
/// # Safety
///
/// What [`PageRangeMut::new`] and [`PageRange::new`] ask for.
#[inline]
pub unsafe fn copy_mc_pages_raw(
    dst: *mut Page,
    src: *const Page,
    nr_pages: usize,
) -> Result<(), CopyMcError> {
    // SAFETY: this function's contract.
    unsafe { CopyOptions::new().copy_mc_pages_raw(dst, src, nr_pages) }
}

/// Copies every page whose source can be read, zeroes the others in the destination, and reports those.
///
/// It serves snapshots of virtual machines and crash dumps. `report` is called with each [`Skipped`] run of pages in ascending
/// order. A run is one page, or as many as the kernel reports lost at once, so a poisoned huge page costs one fault.
///
/// Returns how many pages were skipped.
///
/// # Errors
///
/// As [`copy_mc_pages`]; [`CopyMcError::Memory`] for the destination only, and then the copy stops.
#[inline]
pub fn copy_mc_pages_skipping(
    dst: PageRangeMut<'_>,
    src: PageRange<'_>,
    report: impl FnMut(&Skipped),
) -> Result<usize, CopyMcError> {
    CopyOptions::new().copy_mc_pages_skipping(dst, src, report)
}

/// Pages that [`copy_mc_pages_skipping`] left zeroed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The first of them, counted from the start of the range.
    pub page_index: usize,
    /// The number of pages.
    pub nr_pages: usize,
    /// The error at their start. Its counts are those of the whole range, up to this error.
    pub error: MemoryError,
}

impl<Y: Yield> CopyOptions<'_, Y> {
    /// Copies `src` to `dst` like [`copy_mc_pages`].
    ///
    /// # Errors
    ///
    /// As [`copy_mc_pages`]; [`CopyError::Unavailable`] where this CPU lacks what the named primitive needs; and
    /// [`CopyError::ForeignCpu`] where the policy is for another CPU.
    #[inline]
    pub fn copy_mc_pages(self, dst: PageRangeMut<'_>, src: PageRange<'_>) -> Result<(), CopyMcError> {
        let (dst, src) = (dst.span(), src.span());
        if dst.nr_pages() == src.nr_pages() {
            let pair = FolioPair { dst: dst.start(), src: src.start(), nr_pages: src.nr_pages() };
            // SAFETY: both ranges are mapped, as their types promise.
            return unsafe { self.copy_mc_pair(pair, Ok(()), Err) };
        }
        // SAFETY: both ranges are mapped, as their types promise.
        unsafe { self.copy_mc_spans(dst, src) }
    }

    /// Copies a pair like [`CopyOptions::copy_mc_pages_raw`]. Returns `done`, or the result of `failed` for the error. The stores
    /// of a page in the L1 are its bottleneck, so this path stores little, and reserves no stack for an error. See
    /// docs/tuning-notes.md, "the way to the loop".
    ///
    /// # Safety
    ///
    /// If the pair's ranges are valid, they are mapped.
    #[doc(hidden)]
    #[inline(always)]
    pub unsafe fn copy_mc_pair<R>(
        self,
        pair: FolioPair,
        done: R,
        failed: impl FnOnce(CopyMcError) -> R,
    ) -> R {
        let FolioPair { dst, src, .. } = pair;
        let mut fault = MaybeUninit::uninit();
        let step = self.mc_step_at_once(pair);
        // SAFETY: where there is a step the ranges are pages and apart, and the handler catches their faults. A fault that ends
        // the copy is filled in. This function's contract is about the memory.
        unsafe {
            match step.map(|step| run_one_chunk(step, dst.cast(), src.cast(), pair.bytes(), &mut fault)) {
                Some(true) => done,
                Some(false) => lost(fault.assume_init_ref(), dst, src, pair.bytes(), failed),
                None => self.copy_mc_any(dst, src, pair.nr_pages, done, failed),
            }
        }
    }

    /// The step for a valid pair of one chunk, once a handler catches its faults; `None` in any other case.
    #[inline(always)]
    fn mc_step_at_once(&self, pair: FolioPair) -> Option<Step> {
        let policy = match self.policy {
            Some(policy) => policy.if_usable()?,
            None => Policy::ready_host()?,
        };
        if self.primitive.is_some() || !pair.is_one_chunk(self.chunk_bytes) {
            return None;
        }
        let step = machine_check_safe(policy.step(self.locality, pair.bytes())).ok()?;
        sigbus::ensure(pair.bytes()).ok()?;
        Some(step)
    }

    /// Copies any pair.
    ///
    /// # Safety
    ///
    /// As [`CopyOptions::copy_mc_pair`].
    #[inline(never)]
    unsafe fn copy_mc_any<R>(
        self,
        dst: *mut Page,
        src: *const Page,
        nr_pages: usize,
        done: R,
        failed: impl FnOnce(CopyMcError) -> R,
    ) -> R {
        let copied = || {
            let (dst, src) = (Span::new(dst, nr_pages)?, Span::new(src.cast_mut(), nr_pages)?);
            // SAFETY: this function's contract.
            unsafe { self.copy_mc_spans(dst, src) }
        };
        copied().map_or_else(failed, |()| done)
    }

    /// Copies any two ranges, or returns the reason why not.
    ///
    /// # Safety
    ///
    /// Both ranges are mapped.
    #[inline(never)]
    unsafe fn copy_mc_spans(mut self, dst: Span, src: Span) -> Result<(), CopyMcError> {
        let step = self.mc_step(dst, src)?;
        // SAFETY: both ranges are mapped, and the step is for two such ranges.
        let copied = unsafe { self.run_mc(step, dst.start().cast(), src.start().cast(), src.bytes()) };
        Ok(copied.map_err(|fault| memory_error(fault, dst, src))?)
    }

    /// Copies `nr_pages` pages of 4096 bytes from `src` to `dst` like [`copy_mc_pages`].
    ///
    /// # Errors
    ///
    /// As [`copy_mc_pages_raw`]; [`CopyError::Unavailable`] where this CPU lacks what the named primitive needs; and
    /// [`CopyError::ForeignCpu`] where the policy is for another CPU.
    ///
    /// # Safety
    ///
    /// As [`copy_mc_pages_raw`].
    #[inline]
    pub unsafe fn copy_mc_pages_raw(
        self,
        dst: *mut Page,
        src: *const Page,
        nr_pages: usize,
    ) -> Result<(), CopyMcError> {
        // SAFETY: valid ranges are mapped: this function's contract.
        unsafe { self.copy_mc_pair(FolioPair { dst, src, nr_pages }, Ok(()), Err) }
    }

    /// Copies like [`copy_mc_pages_skipping`].
    ///
    /// # Errors
    ///
    /// As [`copy_mc_pages_skipping`]; [`CopyError::Unavailable`] where this CPU lacks what the named primitive needs; and
    /// [`CopyError::ForeignCpu`] where the policy is for another CPU.
    pub fn copy_mc_pages_skipping(
        mut self,
        dst: PageRangeMut<'_>,
        src: PageRange<'_>,
        mut report: impl FnMut(&Skipped),
    ) -> Result<usize, CopyMcError> {
        let (dst, src) = (dst.span(), src.span());
        let step = self.mc_step(dst, src)?;
        // SAFETY: the source is mapped, as its type promises, and its faults are caught.
        let step = unsafe { execute::resolve::<true>(step, src.start().cast(), src.bytes()) };
        let skipped = skip_lost(
            dst.start().cast(),
            src.start().cast(),
            src.bytes(),
            // SAFETY: parts of both ranges, or of the destination and a page of zeros.
            |dst, src, bytes| unsafe { self.run_mc(step, dst, src, bytes) },
            |lost, error| {
                let (page_index, nr_pages) = (lost.start / PAGE_SIZE, lost.len() / PAGE_SIZE);
                report(&Skipped { page_index, nr_pages, error });
            },
        )?;
        Ok(skipped / PAGE_SIZE)
    }

    /// Checks the request, and that a fault in the copy would be survived.
    #[inline(always)]
    pub(crate) fn mc_step(&self, dst: Span, src: Span) -> Result<Step, CopyError> {
        if dst.nr_pages() != src.nr_pages() {
            return Err(CopyError::LengthMismatch { dst: dst.nr_pages(), src: src.nr_pages() });
        }
        if dst.overlaps(src) {
            return Err(CopyError::Overlap);
        }
        sigbus::ensure(src.bytes()).map_err(CopyError::Unsupported)?;
        machine_check_safe(self.step(src.bytes())?)
    }

    /// # Safety
    ///
    /// The step is [`CopyOptions::mc_step`]'s for two such ranges, or the copy that it was resolved to. The ranges are pages,
    /// mapped, and apart.
    #[inline]
    unsafe fn run_mc(&mut self, step: Step, dst: *mut u8, src: *const u8, bytes: usize) -> Result<(), Fault> {
        let between_chunks = || self.between_chunks.yield_now();
        // SAFETY: mapped ranges, apart, of one length, whose faults the handler catches.
        unsafe { execute::copy::<true>(step, dst, src, bytes, self.chunk_bytes, between_chunks) }
    }
}

/// The step, if a fault in it can be survived.
#[inline(always)]
pub(crate) fn machine_check_safe(step: Step) -> Result<Step, CopyError> {
    match step.primitives() {
        [one, other] if one.is_machine_check_safe() && other.is_machine_check_safe() => Ok(step),
        [one, _] => Err(CopyError::Unsupported(Unsupported::Primitive(one))),
    }
}

/// Takes its arguments in registers, and returns in one whether the copy is complete. Otherwise it fills in the fault.
///
/// # Safety
///
/// As [`CopyOptions::run_mc`].
#[inline(never)]
unsafe fn run_one_chunk(
    step: Step,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    fault: &mut MaybeUninit<Fault>,
) -> bool {
    // SAFETY: this function's contract.
    let copied = unsafe { execute::copy::<true>(step, dst, src, bytes, usize::MAX, NoYield) };
    copied.map_err(|ended_by| fault.write(ended_by)).is_ok()
}

/// Returns the result of `failed` for a fault.
#[cold]
#[inline(never)]
fn lost<R>(
    fault: &Fault,
    dst: *mut Page,
    src: *const Page,
    bytes: usize,
    failed: impl FnOnce(CopyMcError) -> R,
) -> R {
    sigbus::suspect();
    failed(MemoryError::new(*fault, dst.addr(), src.addr(), bytes).into())
}

/// The meaning of a fault that ended a copy from `src` to `dst`.
pub(crate) fn memory_error(fault: Fault, dst: Span, src: Span) -> MemoryError {
    sigbus::suspect();
    MemoryError::new(fault, dst.start().addr(), src.start().addr(), src.bytes())
}
