//! Machine-check-safe copies of pages in a process.

use super::CopyOptions;
use crate::batch::{self, BatchError, FolioPair};
use crate::chunk::{self, Yield};
use crate::error::{CopyError, Unsupported};
use crate::memory_error::{CopyMcError, MemoryError, Side};
use crate::page::{PAGE_SIZE, Page, PageRange};
use crate::policy::Choice;
use crate::sigbus;

/// Copies `src` to `dst`, and stops at memory that can't be read or written: poisoned memory, or a
/// mapping whose file was cut short.
///
/// The bytes before the error are the source's, nothing outside the destination is written, and the
/// next copy on the thread works. It is the copy of [`copy_pages`](crate::copy_pages) with a table beside
/// it: as fast from 16 KiB up in memory and from 64 KiB up in the cache (Zen 5). Before that shows what a copy asks first,
/// whether the handler still stands: a page has 0.91 of it in memory and 0.76 in the L1
/// (`results/zen5/machine-check-safe.json`). How faults get here, and what they mean for the rest of the program:
/// [`sigbus`].
///
/// ```
/// use foliocopy::{CopyMcError, Page, PageRange, copy_mc_pages};
///
/// let mut source = vec![Page::filled(0xa5); 64];
/// let mut destination = vec![Page::zeroed(); 64];
/// let (src, dst) = (PageRange::from(&mut source[..]), PageRange::from(&mut destination[..]));
/// // SAFETY: both are ours, and mapped.
/// match unsafe { copy_mc_pages(dst, src) } {
///     Ok(()) => assert!(source == destination),
///     Err(CopyMcError::Memory(bad)) => println!("page {} is lost: {}", bad.page_index, bad.cause),
///     Err(CopyMcError::Refused(error)) => println!("{error}"),
/// }
/// ```
///
/// # Errors
///
/// [`CopyMcError::Memory`] where memory went bad. [`CopyMcError::Refused`] where nothing was copied:
/// [`CopyError::LengthMismatch`], [`CopyError::Overlap`], what [`Policy::host`](crate::Policy::host)
/// answers, or [`CopyError::Unsupported`] where a fault would not be survived.
///
/// # Safety
///
/// `src` is mapped readable and `dst` writable, except that either may raise SIGBUS (an address that is
/// not mapped raises SIGSEGV, which is not caught). Others may read and write either meanwhile: the bytes
/// copied are then some mix of old and new. Nobody holds a reference to the pages of `dst`. The thread
/// doesn't block SIGBUS.
#[inline]
pub unsafe fn copy_mc_pages(dst: PageRange, src: PageRange) -> Result<(), CopyMcError> {
    // SAFETY: the caller keeps the same promises.
    unsafe { CopyOptions::new().copy_mc_pages(dst, src) }
}

/// Copies `nr_pages` pages of 4096 bytes from `src` to `dst` like [`copy_mc_pages`].
///
/// # Errors
///
/// As [`copy_mc_pages`]; and where an address is no page's start, or a range too long,
/// [`CopyMcError::Refused`] with what [`PageRange::new`] answers.
///
/// # Safety
///
/// As [`copy_mc_pages`].
#[inline]
pub unsafe fn copy_mc_pages_raw(
    dst: *mut Page,
    src: *const Page,
    nr_pages: usize,
) -> Result<(), CopyMcError> {
    // SAFETY: the caller keeps the same promises.
    unsafe { CopyOptions::new().copy_mc_pages_raw(dst, src, nr_pages) }
}

/// Copies scattered ranges like [`copy_folios`](crate::copy_folios), and stops at memory that can't be read
/// or written.
///
/// # Errors
///
/// As [`copy_mc_pages_raw`], for the pair named: those before it are copied if memory went bad, and nothing
/// is if the request can't be met.
///
/// # Safety
///
/// For each pair as [`copy_mc_pages`]; and no destination overlaps any other range of the batch.
pub unsafe fn copy_mc_folios(batch: &[FolioPair]) -> Result<(), BatchError<CopyMcError>> {
    // SAFETY: the caller keeps the same promises.
    unsafe { CopyOptions::new().copy_mc_folios(batch) }
}

/// Copies what can be copied, zeroes the pages of which the source is lost, and reports each.
///
/// What a snapshot of a virtual machine or a crash dump wants. `report` is called with each
/// [`Skipped`] run of pages in ascending order: one page at a time, or as many as the kernel says are
/// lost at once, so that a poisoned huge page costs one fault.
///
/// Returns how many pages were skipped.
///
/// # Errors
///
/// As [`copy_mc_pages`]; [`CopyMcError::Memory`] for the destination only, and then the copy stops.
///
/// # Safety
///
/// As [`copy_mc_pages`].
#[inline]
pub unsafe fn copy_mc_pages_skipping(
    dst: PageRange,
    src: PageRange,
    report: impl FnMut(&Skipped),
) -> Result<usize, CopyMcError> {
    // SAFETY: the caller keeps the same promises.
    unsafe { CopyOptions::new().copy_mc_pages_skipping(dst, src, report) }
}

/// Pages that [`copy_mc_pages_skipping`] left zeroed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The first of them, counted from the start of the range.
    pub page_index: usize,
    /// How many they are.
    pub nr_pages: usize,
    /// What is wrong with them. Its counts are those of the whole range, up to this error.
    pub error: MemoryError,
}

impl<Y: Yield> CopyOptions<'_, Y> {
    /// Copies `src` to `dst` like [`copy_mc_pages`].
    ///
    /// # Errors
    ///
    /// As [`copy_mc_pages`], and [`CopyError::Unavailable`] where this CPU lacks what the named primitive
    /// needs.
    ///
    /// # Safety
    ///
    /// As [`copy_mc_pages`].
    #[inline]
    pub unsafe fn copy_mc_pages(mut self, dst: PageRange, src: PageRange) -> Result<(), CopyMcError> {
        // SAFETY: the caller's promises.
        let choice = unsafe { self.mc_choice(dst, src)? };
        // SAFETY: the caller's promises, and what was checked.
        Ok(unsafe { self.run_mc(choice, dst, src) }?)
    }

    /// Copies `nr_pages` pages of 4096 bytes from `src` to `dst` like [`copy_mc_pages`].
    ///
    /// # Errors
    ///
    /// As [`copy_mc_pages_raw`], and [`CopyError::Unavailable`] where this CPU lacks what the named
    /// primitive needs.
    ///
    /// # Safety
    ///
    /// As [`copy_mc_pages`].
    #[inline]
    pub unsafe fn copy_mc_pages_raw(
        self,
        dst: *mut Page,
        src: *const Page,
        nr_pages: usize,
    ) -> Result<(), CopyMcError> {
        let (dst, src) = (PageRange::new(dst, nr_pages)?, PageRange::new(src.cast_mut(), nr_pages)?);
        // SAFETY: the caller keeps the same promises.
        unsafe { self.copy_mc_pages(dst, src) }
    }

    /// Copies what can be copied like [`copy_mc_pages_skipping`].
    ///
    /// # Errors
    ///
    /// As [`copy_mc_pages_skipping`], and [`CopyError::Unavailable`] where this CPU lacks what the named
    /// primitive needs.
    ///
    /// # Safety
    ///
    /// As [`copy_mc_pages`].
    pub unsafe fn copy_mc_pages_skipping(
        mut self,
        dst: PageRange,
        src: PageRange,
        mut report: impl FnMut(&Skipped),
    ) -> Result<usize, CopyMcError> {
        // SAFETY: the caller's promises.
        let choice = unsafe { self.mc_choice(dst, src)? };
        let (mut done, mut skipped) = (0, 0);
        while done < src.nr_pages() {
            let (rest_dst, rest_src) = (dst.skip(done), src.skip(done));
            // SAFETY: parts of what the caller vouches for.
            let Err(error) = (unsafe { self.run_mc(choice, rest_dst, rest_src) }) else {
                break;
            };
            let error = error.in_range(done, src.nr_pages());
            if error.side == Side::Destination {
                return Err(error.into());
            }
            let page_index = error.page_index;
            let nr_pages = pages_lost(src, &error);
            for index in page_index..page_index + nr_pages {
                // SAFETY: a page of the caller's destination, and one of zeros.
                unsafe { self.zero(choice, dst, index) }?;
            }
            report(&Skipped { page_index, nr_pages, error });
            skipped += nr_pages;
            done = page_index + nr_pages;
        }
        Ok(skipped)
    }

    /// Copies scattered ranges like [`copy_mc_folios`].
    ///
    /// # Errors
    ///
    /// As [`copy_mc_folios`], and [`CopyError::Unavailable`] where this CPU lacks what the named primitive
    /// needs.
    ///
    /// # Safety
    ///
    /// As [`copy_mc_folios`].
    pub unsafe fn copy_mc_folios(self, batch: &[FolioPair]) -> Result<(), BatchError<CopyMcError>> {
        let refused = |error: CopyError| BatchError { index: 0, error: error.into() };
        let checked = batch::check(batch)
            .map_err(|BatchError { index, error }| BatchError { index, error: error.into() })?;
        sigbus::ensure().map_err(|unsupported| refused(CopyError::Unsupported(unsupported)))?;
        let admit = |choice| machine_check_safe(choice).map(drop);
        // SAFETY: the caller vouches for every pair, and its faults are caught.
        let Some((index, fault)) =
            unsafe { self.run_batch::<true>(batch, checked, admit) }.map_err(refused)?
        else {
            return Ok(());
        };
        sigbus::suspect();
        let error = match batch[index].ranges() {
            Ok((dst, src)) => MemoryError::new(fault, dst, src).into(),
            Err(error) => error.into(),
        };
        Err(BatchError { index, error })
    }

    /// Checks the request, and that a fault in the copy would be survived.
    ///
    /// # Safety
    ///
    /// As [`copy_mc_pages`], for the source.
    #[inline(always)]
    unsafe fn mc_choice(&self, dst: PageRange, src: PageRange) -> Result<Choice, CopyError> {
        if dst.nr_pages() != src.nr_pages() {
            return Err(CopyError::LengthMismatch { dst: dst.nr_pages(), src: src.nr_pages() });
        }
        if dst.overlaps(src) {
            return Err(CopyError::Overlap);
        }
        sigbus::ensure().map_err(CopyError::Unsupported)?;
        let mut own = None;
        let policy = self.policy_or(&mut own)?;
        // SAFETY: the caller vouches for the source, and its faults are caught.
        machine_check_safe(unsafe { self.choice::<true>(policy, src.start(), src.bytes())? })
    }

    /// # Safety
    ///
    /// The choice is `mc_choice`'s for two such ranges, of which the caller vouches for the memory.
    #[inline]
    unsafe fn run_mc(&mut self, choice: Choice, dst: PageRange, src: PageRange) -> Result<(), MemoryError> {
        // SAFETY: the caller's promises.
        let copied = unsafe {
            chunk::copy::<true>(
                choice,
                dst.start().cast(),
                src.start().cast(),
                dst.bytes(),
                self.chunk_bytes,
                || self.between_chunks.yield_now(),
            )
        };
        copied.map_err(|fault| {
            sigbus::suspect();
            MemoryError::new(fault, dst, src)
        })
    }

    /// Zeroes a page of the destination, which may be lost like any other.
    ///
    /// # Safety
    ///
    /// As `run_mc`.
    unsafe fn zero(&mut self, choice: Choice, dst: PageRange, index: usize) -> Result<(), MemoryError> {
        static ZEROS: Page = Page::zeroed();
        let zeros = PageRange::of(&ZEROS);
        // SAFETY: the zeros are only read.
        unsafe { self.run_mc(choice, dst.part(index, 1), zeros) }
            .map_err(|error| error.in_range(index, dst.nr_pages()))
    }
}

/// The choice, if a fault in it can be survived.
#[inline(always)]
fn machine_check_safe(choice: Choice) -> Result<Choice, CopyError> {
    match choice.is_machine_check_safe() {
        true => Ok(choice),
        false => Err(CopyError::Unsupported(Unsupported::Primitive(choice.primitive))),
    }
}

/// How many pages of the source from the bad one on are lost with it.
fn pages_lost(src: PageRange, error: &MemoryError) -> usize {
    let bad = src.start().addr() + error.page_index * PAGE_SIZE;
    let granule = error.granule_bytes();
    // The granule that holds the bad page ends here, or the range does.
    let end = (bad & !(granule - 1)).saturating_add(granule).min(src.start().addr() + src.bytes());
    (end - bad) / PAGE_SIZE
}
