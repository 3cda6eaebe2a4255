//! The folio layer of a kernel: the functions of `include/linux/highmem.h` and `mm/util.c`, with the kernel's names and
//! meanings, over a [`Platform`].
//!
//! All of it is generic over the platform, so that a kernel build has no indirect call in it. Nothing in it panics or
//! allocates.

use core::fmt;

use crate::chunks::DEFAULT_CHUNK_BYTES;
use crate::execute;
use crate::extable::Fault;
use crate::locality::Locality;
use crate::page::{PAGE_SHIFT, PAGE_SIZE, Page};
use crate::policy::{Policy, Source};
#[cfg(foliocopy_kernel)]
use crate::primitive::Primitive;
use crate::step::Step;

/// A frame of memory, the size of a page: the kernel's `struct page`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageFrame {
    /// Its number: the physical address divided by [`PAGE_SIZE`].
    pub pfn: u64,
    /// The NUMA node it belongs to (`page_to_nid()`).
    pub node: i32,
}

impl PageFrame {
    /// The frame `index` frames further on, of the same node: `folio_page(folio, index)`.
    #[inline]
    #[must_use]
    pub const fn nth(self, index: u64) -> Self {
        Self { pfn: self.pfn.wrapping_add(index), ..self }
    }
}

/// A folio: 2^order physically contiguous page frames that are managed as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Folio {
    /// Its first page frame.
    pub first: PageFrame,
    /// The logarithm of its length in pages: 0 is one page, 9 is 2 MiB, 18 is 1 GiB.
    pub order: u32,
}

impl Folio {
    /// Its length in pages: `folio_nr_pages()`.
    #[inline]
    pub const fn nr_pages(self) -> u64 {
        1_u64.unbounded_shl(self.order)
    }
}

/// Why a machine-check-safe copy of pages failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum McError {
    /// The source has a poisoned page, and [`Platform::memory_failure_queue`] was told of the first:
    /// the kernel's `-EHWPOISON`.
    HwPoison,
    /// The platform survives machine checks, but the policy was forced to
    /// [`Primitive::Portable`](crate::Primitive::Portable), which can't: `-EOPNOTSUPP`. Nothing was
    /// copied.
    Unsupported,
}

impl fmt::Display for McError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::HwPoison => "the source has a poisoned page",
            Self::Unsupported => "the primitive that was asked for can't survive a machine check",
        })
    }
}

impl core::error::Error for McError {}

/// What the folio layer asks of a kernel.
///
/// # Safety
///
/// - [`Platform::map_page`] and [`Platform::page_address`] give addresses at which the frame's memory,
///   and nothing else, is readable and writable.
/// - The policy is for the platform's CPU, or for one that has less.
/// - [`Platform::RECOVERS_FROM_MACHINE_CHECKS`] is true only where a fault at an instruction of the
///   [exception table](crate::extable) resumes at its landing pad.
pub unsafe trait Platform: Sized {
    /// `CONFIG_HIGHMEM`: not all memory is mapped all the time. Pages are mapped one by one then.
    const HIGHMEM: bool;

    /// `__HAVE_ARCH_COPY_HIGHPAGE`: the architecture copies a page its own way, as arm64 does with the
    /// tags of MTE. Pages are copied one by one by [`Platform::copy_highpage`] then.
    const ARCH_COPY_HIGHPAGE: bool = false;

    /// `CONFIG_ARCH_HAS_COPY_MC`: a machine check in a copy can be survived. Otherwise the machine-check-safe functions are the
    /// plain ones, as in Linux; [`explain_mc`] says so.
    const RECOVERS_FROM_MACHINE_CHECKS: bool;

    /// How copies are made on this CPU.
    fn policy(&self) -> &Policy;

    /// Maps the page for as long as `use_page` runs: `kmap_local_page()`, `kunmap_local()`.
    fn map_page<R>(&self, frame: PageFrame, use_page: impl FnOnce(*mut Page) -> R) -> R;

    /// The address at which the page is always mapped, with the pages of its folio behind it: `page_address()`. Not called
    /// where the platform has HIGHMEM.
    fn page_address(&self, frame: PageFrame) -> *mut Page;

    /// Lets others run: `cond_resched()`. Never called for a single page.
    fn cond_resched(&self);

    /// Tells the kernel, once for each failed copy, of the first frame that couldn't be read:
    /// `memory_failure_queue()`.
    fn memory_failure_queue(&self, pfn: u64);

    /// Whether the node has CPUs: `node_state(node, N_CPU)`.
    fn node_has_cpus(&self, node: i32) -> bool;

    /// The locality of a copy to this frame. The node alone decides, without a probe of the source: past the cache to a
    /// node without CPUs, which is memory of a slower tier.
    #[inline]
    fn locality(&self, to: PageFrame) -> Locality {
        match self.node_has_cpus(to.node) {
            true => Locality::Temporal,
            false => Locality::NonTemporal,
        }
    }

    /// How many bytes are copied between two calls of [`Platform::cond_resched`] where memory is
    /// mapped. A kernel that can be preempted anywhere (`preempt_model_preemptible()`) answers
    /// `usize::MAX`.
    #[inline]
    fn chunk_bytes(&self) -> usize {
        DEFAULT_CHUNK_BYTES
    }

    /// Copies the metadata of a page, such as the shadow of KMSAN. Called for every page of a copy that succeeded, and for
    /// none of one that failed.
    #[inline]
    fn copy_page_metadata(&self, to: PageFrame, from: PageFrame) {
        let _ = (to, from);
    }

    /// Copies a page and its metadata: `copy_highpage()`. An architecture with its own `copy_highpage()` provides it here.
    #[inline]
    fn copy_highpage(&self, to: PageFrame, from: PageFrame) {
        let step = page_step(self);
        self.map_page(from, |src| {
            self.map_page(to, |dst| {
                // SAFETY: a mapped page each, see `Platform`. Only a safe copy can fail.
                let _ = unsafe { copy_mapped::<false, _>(self, step, dst, src, 1) };
            });
        });
        self.copy_page_metadata(to, from);
    }

    /// Copies a page like [`Platform::copy_highpage`] unless its memory is poisoned, and tells the
    /// kernel if it is: `copy_mc_highpage()`. A platform that brings its own [`Platform::copy_highpage`]
    /// and recovers from machine checks brings this too, unless [`Platform::copy_page_metadata`] is all
    /// that its own way adds.
    ///
    /// # Errors
    ///
    /// [`McError::HwPoison`], after a call of [`Platform::memory_failure_queue`], or
    /// [`McError::Unsupported`].
    #[inline]
    fn copy_mc_highpage(&self, to: PageFrame, from: PageFrame) -> Result<(), McError> {
        if !Self::RECOVERS_FROM_MACHINE_CHECKS {
            self.copy_highpage(to, from);
            return Ok(());
        }
        let step = machine_check_safe(page_step(self))?;
        let copied = self.map_page(from, |src| {
            self.map_page(to, |dst| {
                // SAFETY: a mapped page each, and a platform that recovers, see `Platform`.
                unsafe { copy_mapped::<true, _>(self, step, dst, src, 1) }
            })
        });
        finish_mc(self, to, from, 1, copied)
    }
}

/// Copies `nr_pages` contiguous pages and their metadata. Where all memory is mapped and the architecture has no
/// `copy_highpage()` of its own, they are copied in one piece, otherwise page by page.
///
/// It may sleep in [`Platform::cond_resched`]: between chunks of one piece, or between pages; never for
/// a single page.
///
/// # Safety
///
/// `to` and `from` are the first of `nr_pages` frames each that the platform knows, contiguous where it
/// maps them, that don't overlap. Nobody else relies on the contents of `to`.
#[inline]
pub unsafe fn copy_highpages<P: Platform>(platform: &P, to: PageFrame, from: PageFrame, nr_pages: u64) {
    if page_by_page::<P>() {
        for index in 0..nr_pages {
            if index != 0 {
                platform.cond_resched();
            }
            platform.copy_highpage(to.nth(index), from.nth(index));
        }
        return;
    }
    let step = step(platform, to, nr_pages);
    let (dst, src) = (platform.page_address(to), platform.page_address(from));
    // SAFETY: the platform maps these frames there. Only a safe copy can fail.
    let _ = unsafe { copy_mapped::<false, _>(platform, step, dst, src, nr_pages) };
    copy_metadata(platform, to, from, nr_pages);
}

/// Copies like [`copy_highpages`], and stops at poisoned memory. The first frame that couldn't be read goes to
/// [`Platform::memory_failure_queue`], once. Where the pages are copied in one piece, no metadata is copied then.
///
/// Where the platform can't recover from machine checks this is [`copy_highpages`], as in Linux.
///
/// # Errors
///
/// [`McError`]. The contents of the destination are the source's up to the bad page, and unspecified
/// from there on.
///
/// # Safety
///
/// As [`copy_highpages`].
#[inline]
pub unsafe fn copy_mc_highpages<P: Platform>(
    platform: &P,
    to: PageFrame,
    from: PageFrame,
    nr_pages: u64,
) -> Result<(), McError> {
    if !P::RECOVERS_FROM_MACHINE_CHECKS {
        // SAFETY: this function's contract is that of `copy_highpages`.
        unsafe { copy_highpages(platform, to, from, nr_pages) };
        return Ok(());
    }
    if page_by_page::<P>() {
        for index in 0..nr_pages {
            if index != 0 {
                platform.cond_resched();
            }
            platform.copy_mc_highpage(to.nth(index), from.nth(index))?;
        }
        return Ok(());
    }
    let step = machine_check_safe(step(platform, to, nr_pages))?;
    let (dst, src) = (platform.page_address(to), platform.page_address(from));
    // SAFETY: the platform maps these frames there, and recovers.
    let copied = unsafe { copy_mapped::<true, _>(platform, step, dst, src, nr_pages) };
    finish_mc(platform, to, from, nr_pages, copied)
}

/// Copies the contents of a folio, and the metadata of its pages.
///
/// # Safety
///
/// As [`copy_highpages`], for the pages of `src`; `dst` is of the same order at least.
#[inline]
pub unsafe fn folio_copy<P: Platform>(platform: &P, dst: Folio, src: Folio) {
    // SAFETY: this function's contract is that of `copy_highpages`, for the frames of both folios.
    unsafe { copy_highpages(platform, dst.first, src.first, src.nr_pages()) }
}

/// Copies the contents of a folio unless its memory is poisoned.
///
/// # Errors
///
/// As [`copy_mc_highpages`].
///
/// # Safety
///
/// As [`folio_copy`].
#[inline]
pub unsafe fn folio_mc_copy<P: Platform>(platform: &P, dst: Folio, src: Folio) -> Result<(), McError> {
    // SAFETY: this function's contract is that of `copy_mc_highpages`, for the frames of both folios.
    unsafe { copy_mc_highpages(platform, dst.first, src.first, src.nr_pages()) }
}

/// Why the machine-check-safe functions copy `nr_pages` pages to `to` the way they do, and whether the
/// copy is as safe as its name says.
pub fn explain_mc<P: Platform>(platform: &P, to: PageFrame, nr_pages: u64) -> McExplanation {
    let (locality, bytes) = match page_by_page::<P>() {
        true => (Locality::Temporal, PAGE_SIZE),
        false => (platform.locality(to), bytes(nr_pages)),
    };
    McExplanation {
        step: platform.policy().step(locality, bytes),
        source: platform.policy().source(),
        page_by_page: page_by_page::<P>(),
        recovers: P::RECOVERS_FROM_MACHINE_CHECKS,
    }
}

/// How a machine-check-safe copy of pages is made and why, to be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct McExplanation {
    step: Step,
    source: Source,
    page_by_page: bool,
    recovers: bool,
}

impl McExplanation {
    /// Whether a machine check is survived: the platform can, and so can the primitive.
    pub fn is_machine_check_safe(&self) -> bool {
        self.recovers && machine_check_safe(self.step).is_ok()
    }
}

impl fmt::Display for McExplanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.page_by_page {
            formatter.write_str("page by page, ")?;
        }
        write!(formatter, "{} ({}); ", self.step, self.source.text())?;
        formatter.write_str(match (self.recovers, self.is_machine_check_safe()) {
            (_, true) => "machine-check safe",
            (true, false) => "refused, since it is not machine-check safe",
            (false, false) => {
                "not machine-check safe, since the platform can't recover: this is the plain copy"
            }
        })
    }
}

/// Whether pages are copied one by one, since the platform has something to do for each.
#[inline]
const fn page_by_page<P: Platform>() -> bool {
    P::HIGHMEM || P::ARCH_COPY_HIGHPAGE
}

/// The length of mapped pages, which therefore fits a `usize`.
#[inline]
const fn bytes(nr_pages: u64) -> usize {
    (nr_pages << PAGE_SHIFT) as usize
}

#[inline]
fn step<P: Platform>(platform: &P, to: PageFrame, nr_pages: u64) -> Step {
    platform.policy().step(platform.locality(to), bytes(nr_pages))
}

/// The step for pages that are copied one by one. It goes through the cache, whatever the node: past it, each page needs a
/// fence, which costs more than the page.
#[inline]
fn page_step<P: Platform>(platform: &P) -> Step {
    platform.policy().step(Locality::Temporal, PAGE_SIZE)
}

/// The step, if a fault in it can be survived.
#[inline]
fn machine_check_safe(step: Step) -> Result<Step, McError> {
    match step.primitives().iter().all(|one| one.is_machine_check_safe()) {
        true => Ok(step),
        false => Err(McError::Unsupported),
    }
}

/// The primitive and the prefetch distance of a machine-check-safe copy in one piece, without a probe or a yield.
#[cfg(foliocopy_kernel)]
#[inline]
pub(crate) fn in_one_piece<P: Platform>(
    platform: &P,
    to: PageFrame,
    nr_pages: u64,
) -> Option<(Primitive, u32)> {
    let whole = P::RECOVERS_FROM_MACHINE_CHECKS && !page_by_page::<P>() && nr_pages != 0;
    match step(platform, to, nr_pages) {
        Step::Copy { by, distance } if whole && bytes(nr_pages) <= platform.chunk_bytes() => {
            by.is_machine_check_safe().then_some((by, distance))
        }
        _ => None,
    }
}

/// # Safety
///
/// `src` and `dst` are what the platform maps for `nr_pages` pages; with `MC` it
/// recovers from faults.
#[inline]
unsafe fn copy_mapped<const MC: bool, P: Platform>(
    platform: &P,
    step: Step,
    dst: *mut Page,
    src: *const Page,
    nr_pages: u64,
) -> Result<(), Fault> {
    let (chunk_bytes, between_chunks) = (platform.chunk_bytes(), || platform.cond_resched());
    // SAFETY: mapped pages, and a policy that suits the CPU, see `Platform`.
    unsafe { execute::copy::<MC>(step, dst.cast(), src.cast(), bytes(nr_pages), chunk_bytes, between_chunks) }
}

#[inline]
fn copy_metadata<P: Platform>(platform: &P, to: PageFrame, from: PageFrame, nr_pages: u64) {
    for index in 0..nr_pages {
        platform.copy_page_metadata(to.nth(index), from.nth(index));
    }
}

/// Completes a machine-check-safe copy: copies the metadata of all pages, or reports the first bad one.
#[inline]
pub(crate) fn finish_mc<P: Platform>(
    platform: &P,
    to: PageFrame,
    from: PageFrame,
    nr_pages: u64,
    copied: Result<(), Fault>,
) -> Result<(), McError> {
    match copied {
        Ok(()) => {
            copy_metadata(platform, to, from, nr_pages);
            Ok(())
        }
        Err(fault) => {
            // `bytes_left` is never 0 and at most the length, so this is a page of the range.
            let pages_copied = (bytes(nr_pages) - fault.bytes_left) >> PAGE_SHIFT;
            platform.memory_failure_queue(from.nth(pages_copied as u64).pfn);
            Err(McError::HwPoison)
        }
    }
}
