//! Many scattered ranges as one piece of work: what page migration has.

use core::fmt;
use core::ptr;

use crate::arch;
use crate::chunk::{self, Yield};
use crate::error::CopyError;
use crate::extable::Fault;
use crate::fence::FenceGuard;
use crate::locality::{self, Locality};
use crate::page::{PAGE_SHIFT, PAGE_SIZE, Page, PageRange};
use crate::pages::CopyOptions;
use crate::policy::{Choice, Policy};

/// One pair of ranges in a batch: a folio, or any other run of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FolioPair {
    /// Where to copy to, aligned to a page.
    pub dst: *mut Page,
    /// Where to copy from, aligned to a page.
    pub src: *const Page,
    /// How many pages.
    pub nr_pages: usize,
}

impl FolioPair {
    #[inline]
    pub(crate) const fn bytes(&self) -> usize {
        self.nr_pages * PAGE_SIZE
    }

    /// Whether the ranges are what they must be, as far as that can be told without a branch.
    #[cfg(all(target_arch = "x86_64", not(foliocopy_kernel)))]
    #[inline]
    pub(crate) fn is_plainly_good(&self) -> bool {
        self.doubts() == 0
    }

    /// What speaks against that, as bits: that the ranges are not shorter than 4 GiB, in the lower half of the address space
    /// and not at its start, on pages, and apart. None is set where all of it is so; gathered over a batch, they are tested
    /// once.
    #[inline]
    fn doubts(&self) -> usize {
        const SIGN: usize = !(usize::MAX >> 1);
        let (dst, src) = (self.dst.addr(), self.src.addr());
        let bytes = self.nr_pages << PAGE_SHIFT;
        let low_or_high = dst | src | dst.wrapping_sub(1) | src.wrapping_sub(1);
        // The destination ends behind the start of the source, and starts before its end: two signs of distances, of
        // lower halves, where an absolute value has to compare.
        let (ends_behind, starts_before) = (
            !(dst.wrapping_sub(1).wrapping_sub(src).wrapping_add(bytes)),
            dst.wrapping_sub(src).wrapping_sub(bytes),
        );
        ((low_or_high | (ends_behind & starts_before)) & SIGN)
            | ((dst | src) % PAGE_SIZE)
            | (self.nr_pages >> (32 - PAGE_SHIFT))
    }

    /// Destination and source, checked.
    pub(crate) fn ranges(&self) -> Result<(PageRange, PageRange), CopyError> {
        if self.nr_pages != 0 && (self.dst.is_null() || self.src.is_null()) {
            return Err(CopyError::Null);
        }
        let dst = PageRange::new(self.dst, self.nr_pages)?;
        let src = PageRange::new(self.src.cast_mut(), self.nr_pages)?;
        if dst.overlaps(src) { Err(CopyError::Overlap) } else { Ok((dst, src)) }
    }
}

/// What went wrong in a batch, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchError<E> {
    /// The pair, counted from 0. Those before it were copied if `error` says that memory went bad, and
    /// none was if it says that the request can't be met.
    pub index: usize,
    /// What is wrong with it.
    pub error: E,
}

impl<E: fmt::Display> fmt::Display for BatchError<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "pair {}: {}", self.index, self.error)
    }
}

impl<E: core::error::Error> core::error::Error for BatchError<E> {}

/// Copies scattered ranges as one piece of work: one look at where the sources are, the next source
/// prefetched while this one is copied, one fence at the end.
///
/// 512 scattered pages in memory, against `rep movsq` page by page on Zen 5: 1.64
/// (`results/zen5/scatter.json`). In a trial of the loops alone prefetching the next page made 1.70 of 1.20.
///
/// # Errors
///
/// As [`copy_pages_raw`](crate::copy_pages_raw), for the first pair that is not what it must be. Nothing
/// has been copied then.
///
/// # Safety
///
/// For each pair as [`copy_pages_raw`](crate::copy_pages_raw); and no destination overlaps any other range
/// of the batch.
pub unsafe fn copy_folios(batch: &[FolioPair]) -> Result<(), BatchError<CopyError>> {
    // SAFETY: the caller keeps the same promises.
    unsafe { CopyOptions::new().copy_folios(batch) }
}

impl<Y: Yield> CopyOptions<'_, Y> {
    /// Copies scattered ranges like [`copy_folios`].
    ///
    /// # Errors
    ///
    /// As [`copy_folios`], and [`CopyError::Unavailable`] where this CPU lacks what the named primitive
    /// needs.
    ///
    /// # Safety
    ///
    /// As [`copy_folios`].
    pub unsafe fn copy_folios(self, batch: &[FolioPair]) -> Result<(), BatchError<CopyError>> {
        let checked = check(batch)?;
        let refused = |error| BatchError { index: 0, error };
        // SAFETY: the caller vouches for every pair.
        unsafe { self.run_batch::<false>(batch, checked, |_| Ok(())) }.map_err(refused)?;
        Ok(())
    }

    /// Copies the pairs, of which it was `checked` what they are; the pair that faulted and how, if one did.
    ///
    /// # Safety
    ///
    /// As [`copy_folios`], except that with `MACHINE_CHECK_SAFE` memory may fault and somebody catches it.
    pub(crate) unsafe fn run_batch<const MACHINE_CHECK_SAFE: bool>(
        mut self,
        batch: &[FolioPair],
        checked: Checked,
        admit: impl Fn(Choice) -> Result<(), CopyError>,
    ) -> Result<Option<(usize, Fault)>, CopyError> {
        let mut own = None;
        let policy = self.policy_or(&mut own)?;
        let named = self.primitive.map(|primitive| policy.with_primitive(primitive)).transpose()?;
        let locality = match named {
            Some(_) => self.locality,
            // SAFETY: the caller vouches for the sources.
            None => unsafe {
                locality::settle::<MACHINE_CHECK_SAFE>(policy, self.locality, batch, checked.nr_pages)
            },
        };
        let choose = |pair: &FolioPair| match named {
            Some(choice) => choice,
            None => match policy.few_pages(pair.bytes()) {
                Some(choice) if locality != Locality::NonTemporal => choice,
                _ => policy.choose(locality, pair.bytes()),
            },
        };
        let kinds = if checked.alike { &batch[..batch.len().min(1)] } else { batch };
        for pair in kinds {
            admit(choose(pair))?;
        }
        // One fence for the batch, on whichever way this ends. Where the pairs differ in what they are copied
        // by, they differ between temporal primitives.
        let _fence = batch.first().map(|pair| FenceGuard::new(choose(pair).primitive));
        let (mut done, mut since_yield) = (0, 0_usize);
        while let [first, ..] = &batch[done..] {
            let (choice, bytes) = (choose(first), first.bytes());
            if since_yield != 0 && since_yield.saturating_add(bytes) > self.chunk_bytes {
                arch::store_fence();
                self.between_chunks.yield_now();
                since_yield = 0;
            }
            let failed = if choice.is_open() || bytes > self.chunk_bytes {
                let (dst, src) = (first.dst.cast(), first.src.cast());
                let between = || self.between_chunks.yield_now();
                // SAFETY: the caller's promises.
                let copied = unsafe {
                    chunk::copy::<MACHINE_CHECK_SAFE>(choice, dst, src, bytes, self.chunk_bytes, between)
                };
                done += 1;
                since_yield = since_yield.saturating_add(bytes);
                copied.err().map(|fault| (done - 1, fault))
            } else {
                let room = (self.chunk_bytes - since_yield) / bytes.max(1);
                let fitting = &batch[done..][..room.max(1).min(batch.len() - done)];
                let alike = match checked.alike {
                    true => fitting.len(),
                    false => fitting.iter().take_while(|pair| pair.nr_pages == first.nr_pages).count(),
                };
                let pairs = &batch[done..done + alike];
                let after = batch.get(done + alike).filter(|after| after.nr_pages >= first.nr_pages);
                // SAFETY: the caller's promises; what comes after is at least as long.
                let failed = unsafe { copy_alike::<MACHINE_CHECK_SAFE>(choice, bytes, pairs, after) };
                done += alike;
                since_yield += alike * bytes;
                failed.map(|(index, fault)| (done - alike + index, fault))
            };
            if failed.is_some() {
                return Ok(failed);
            }
        }
        Ok(None)
    }
}

/// Copies pairs of `bytes` bytes each, one after the other, while the next source is prefetched; the one that faulted and
/// how, if one did. A loop of its own, that fits the registers: what a loop over pages keeps on the stack waits behind
/// the stores of the page before, a tenth of a page in the cache.
///
/// # Safety
///
/// As [`CopyOptions::run_batch`]; the pair `after` them is as long.
#[inline(never)]
unsafe fn copy_alike<const MACHINE_CHECK_SAFE: bool>(
    choice: Choice,
    bytes: usize,
    pairs: &[FolioPair],
    after: Option<&FolioPair>,
) -> Option<(usize, Fault)> {
    let distance = bytes.min(choice.prefetch_distance as usize);
    #[cfg(all(target_arch = "x86_64", not(foliocopy_kernel)))]
    if let (false, 0, Some(copy)) = (MACHINE_CHECK_SAFE, distance, arch::before_next(choice.primitive)) {
        let mut rest = pairs;
        while let [pair, others @ ..] = rest {
            // The last one's own source again, where nothing comes after.
            let next = others.first().or(after).unwrap_or(pair).src;
            // SAFETY: the caller's promises; the next source is as long as this one.
            unsafe { copy(pair.dst.cast(), pair.src.cast(), bytes, next.cast()) };
            rest = others;
        }
        return None;
    }
    for (index, pair) in pairs.iter().enumerate() {
        let next = pairs.get(index + 1).or(after).map_or(ptr::null(), |next| next.src.cast());
        let (dst, src) = (pair.dst.cast(), pair.src.cast());
        // SAFETY: the caller's promises; the next source is as long as this one, hence as the distance.
        let copied =
            unsafe { chunk::run::<MACHINE_CHECK_SAFE>(choice.primitive, dst, src, bytes, distance, next) };
        if let Err(fault) = copied {
            return Some((index, fault));
        }
    }
    None
}

/// What a check has found out about a batch that is what it must be.
#[derive(Clone, Copy)]
pub(crate) struct Checked {
    /// How many pages all pairs have together.
    nr_pages: usize,
    /// Whether all are of one length.
    alike: bool,
}

/// What a batch comes to that is gathered without a branch.
struct Gathered {
    doubts: usize,
    /// Bits in which a number of pages is not the first one.
    differences: usize,
    nr_pages: usize,
}

#[inline(always)]
fn gather(batch: &[FolioPair]) -> Gathered {
    let first = batch.first().map_or(0, |pair| pair.nr_pages);
    let mut gathered = Gathered { doubts: 0, differences: 0, nr_pages: 0 };
    for pair in batch {
        gathered.doubts |= pair.doubts();
        gathered.differences |= pair.nr_pages ^ first;
        gathered.nr_pages = gathered.nr_pages.wrapping_add(pair.nr_pages);
    }
    gathered
}

/// Checks every pair, before anything is copied: first all of them at once and without a branch, eight abreast where the
/// CPU can. What a batch of pages in the cache can gain is a tenth, of which the check would take a third one by one.
pub(crate) fn check(batch: &[FolioPair]) -> Result<Checked, BatchError<CopyError>> {
    let Gathered { doubts, differences, mut nr_pages } = match Policy::kept_host() {
        // SAFETY: a policy decides for no primitive that its CPU lacks, and this is the host's.
        Some(host) => unsafe { arch::on_vectors_of(host.decisions().page, || gather(batch)) },
        None => gather(batch),
    };
    if doubts != 0 {
        nr_pages = 0;
        for (index, pair) in batch.iter().enumerate() {
            pair.ranges().map_err(|error| BatchError { index, error })?;
            nr_pages = nr_pages.saturating_add(pair.nr_pages);
        }
    }
    Ok(Checked { nr_pages, alike: differences == 0 })
}

#[cfg(test)]
mod tests {
    use core::ptr;

    use super::*;

    /// However many are checked at once, and whatever is left over.
    #[test]
    fn a_bad_pair_is_found_wherever_it_is() {
        extern crate std;
        Policy::host().unwrap();
        let good = |index: usize| FolioPair {
            dst: ptr::without_provenance_mut((2 * index + 2) * PAGE_SIZE),
            src: ptr::without_provenance((2 * index + 3) * PAGE_SIZE),
            nr_pages: 1,
        };
        for length in 0..=50 {
            let batch: std::vec::Vec<FolioPair> = (0..length).map(good).collect();
            let checked = check(&batch).unwrap();
            assert!((checked.nr_pages, checked.alike) == (length, true), "{length}");
            for index in 0..length {
                let with = |pair: FolioPair| {
                    let mut batch = batch.clone();
                    batch[index] = pair;
                    check(&batch)
                };
                let refused = with(FolioPair { src: good(index).dst, ..good(index) }).err();
                assert_eq!(refused, Some(BatchError { index, error: CopyError::Overlap }), "{length}");
                let checked = with(FolioPair { nr_pages: 0, ..good(index) }).unwrap();
                assert!((checked.nr_pages, checked.alike) == (length - 1, length == 1), "{length} {index}");
            }
        }
    }

    /// Without a branch or with them: what has no doubts is what it must be, and nothing else but what is out of the ordinary.
    #[test]
    fn doubts_are_what_the_thorough_check_refuses() {
        const HIGH: usize = !(usize::MAX >> 1);
        let page = |number: usize| number * PAGE_SIZE;
        let addresses = [0, 1, page(1), page(2), page(3) + 64, page(5), page(1000), HIGH - PAGE_SIZE];
        for (dst, src) in addresses.iter().flat_map(|dst| addresses.map(|src| (*dst, src))) {
            for nr_pages in [0, 1, 2, 3, 4, 5, 900, 1000, (1 << 20) - 1] {
                let (dst, src) = (ptr::without_provenance_mut(dst), ptr::without_provenance(src));
                let pair = FolioPair { dst, src, nr_pages };
                let refused = pair.ranges().is_err() || pair.dst.is_null() || pair.src.is_null();
                assert_eq!(pair.doubts() != 0, refused, "{pair:?}");
            }
        }
        let at = |dst: usize, src: usize, nr_pages| FolioPair {
            dst: ptr::without_provenance_mut(dst),
            src: ptr::without_provenance(src),
            nr_pages,
        };
        for unusual in [at(HIGH, page(1), 1), at(page(1), HIGH, 1), at(page(1 << 21), page(1), 1 << 20)] {
            assert!(unusual.doubts() != 0, "{unusual:?}");
        }
    }
}
