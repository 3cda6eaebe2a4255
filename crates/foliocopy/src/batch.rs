//! Many scattered ranges as one piece of work, as page migration has them.

use core::fmt;
use core::ptr;

use crate::arch;
use crate::chunks::Yield;
use crate::error::CopyError;
use crate::execute::{self, Range};
use crate::extable::Fault;
use crate::locality::Locality;
use crate::options::CopyOptions;
use crate::page::PAGE_SIZE;
use crate::pair::FolioPair;
use crate::policy::Policy;
use crate::primitive::Primitive;
use crate::probe;
use crate::step::Step;

#[cfg(feature = "std")]
mod mc;

#[cfg(feature = "std")]
pub use mc::copy_mc_folios;

/// The first pair of a batch that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchError<E> {
    /// The pair, counted from 0. Where memory went bad, the pairs before it were copied. Where the request was refused,
    /// none was.
    pub index: usize,
    /// The error of that pair.
    pub error: E,
}

impl<E: fmt::Display> fmt::Display for BatchError<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "pair {}: {}", self.index, self.error)
    }
}

impl<E: core::error::Error> core::error::Error for BatchError<E> {}

#[cfg(feature = "std")]
impl<E: Into<std::io::Error>> From<BatchError<E>> for std::io::Error {
    fn from(error: BatchError<E>) -> Self {
        error.error.into()
    }
}

/// Copies scattered ranges as one piece of work. The sources are probed once, the next source is prefetched while this one is
/// copied, and one fence ends the batch.
///
/// The total length resolves [`Locality::Auto`]; the length of each pair picks its step.
///
/// # Errors
///
/// As [`copy_pages_raw`](crate::copy_pages_raw), for the first invalid pair. Nothing is copied then.
///
/// # Safety
///
/// For each pair as [`copy_pages_raw`](crate::copy_pages_raw); and no destination overlaps any other range
/// of the batch.
pub unsafe fn copy_folios(batch: &[FolioPair]) -> Result<(), BatchError<CopyError>> {
    // SAFETY: this function's contract.
    unsafe { CopyOptions::new().copy_folios(batch) }
}

impl<Y: Yield> CopyOptions<'_, Y> {
    /// Copies scattered ranges like [`copy_folios`].
    ///
    /// # Errors
    ///
    /// As [`copy_folios`]; [`CopyError::Unavailable`] where this CPU lacks what the named primitive needs; and
    /// [`CopyError::ForeignCpu`] where the policy is for another CPU.
    ///
    /// # Safety
    ///
    /// As [`copy_folios`].
    pub unsafe fn copy_folios(self, batch: &[FolioPair]) -> Result<(), BatchError<CopyError>> {
        let checked = check(self.deciding(), batch)?;
        let refused = |error| BatchError { index: 0, error };
        // SAFETY: every pair was checked, and this function's contract is about their memory.
        unsafe { self.run_batch::<false>(batch, checked, Ok) }.map_err(refused)?;
        Ok(())
    }

    /// Copies pairs that were `checked`. Returns the pair that faulted and its fault, if one did.
    ///
    /// # Safety
    ///
    /// As [`copy_folios`], except that with `MC` memory may fault and the faults are caught.
    unsafe fn run_batch<const MC: bool>(
        mut self,
        batch: &[FolioPair],
        checked: Checked,
        check_step: impl Fn(Step) -> Result<Step, CopyError>,
    ) -> Result<Option<(usize, Fault)>, CopyError> {
        let policy = self.deciding();
        policy.check_usable()?;
        // SAFETY: the sources are readable, or their faults are caught.
        let locality = unsafe { resolve::<MC>(policy, self.locality, batch, checked.nr_pages) };
        let step = |pair: &FolioPair| match self.primitive {
            Some(primitive) => policy.named(primitive, pair.bytes()),
            None => Ok(policy.step(locality, pair.bytes())),
        };
        let to_check = if checked.alike { &batch[..batch.len().min(1)] } else { batch };
        for pair in to_check {
            check_step(step(pair)?)?;
        }
        let (mut done, mut since_yield) = (0, 0_usize);
        while let [first, ..] = &batch[done..] {
            let (step, bytes) = (step(first)?, first.bytes());
            if since_yield != 0 && since_yield.saturating_add(bytes) > self.chunk_bytes {
                arch::store_fence();
                self.between_chunks.yield_now();
                since_yield = 0;
            }
            let failed = match step {
                Step::Copy { by, distance } if bytes <= self.chunk_bytes => {
                    let room = (self.chunk_bytes - since_yield) / bytes.max(1);
                    let fitting = &batch[done..][..room.max(1).min(batch.len() - done)];
                    let alike = match checked.alike {
                        true => fitting.len(),
                        false => fitting.iter().take_while(|pair| pair.nr_pages == first.nr_pages).count(),
                    };
                    let pairs = &batch[done..done + alike];
                    let after = batch.get(done + alike).filter(|after| after.nr_pages >= first.nr_pages);
                    // SAFETY: pairs of the batch; the range after them is at least as long.
                    let failed = unsafe { copy_alike::<MC>(by, distance, bytes, pairs, after) };
                    done += alike;
                    since_yield = since_yield.saturating_add(alike * bytes);
                    failed.map(|(index, fault)| (done - alike + index, fault))
                }
                _ => {
                    let (dst, src) = (first.dst.cast(), first.src.cast());
                    let between = || self.between_chunks.yield_now();
                    // SAFETY: a pair of the batch.
                    let copied =
                        unsafe { execute::copy::<MC>(step, dst, src, bytes, self.chunk_bytes, between) };
                    done += 1;
                    since_yield = since_yield.saturating_add(bytes);
                    copied.err().map(|fault| (done - 1, fault))
                }
            };
            if failed.is_some() {
                arch::store_fence();
                return Ok(failed);
            }
        }
        // One fence for all pairs.
        arch::store_fence();
        Ok(None)
    }
}

/// Resolves [`Locality::Auto`] for the whole batch. Any other locality stays.
///
/// # Safety
///
/// Every source is readable, or with `MC` its faults are caught.
unsafe fn resolve<const MC: bool>(
    policy: &Policy,
    locality: Locality,
    batch: &[FolioPair],
    nr_pages: usize,
) -> Locality {
    if locality != Locality::Auto {
        return locality;
    }
    let bytes = nr_pages.saturating_mul(PAGE_SIZE);
    let past_the_cache = match policy.step(Locality::Auto, bytes) {
        Step::Copy { by, .. } => by.is_non_temporal(),
        Step::TimeFirstPage { .. } => false,
        Step::Glance { .. } => {
            let start = batch.first().map_or(ptr::null(), |first| first.src.cast());
            let all_have_pages = batch.iter().all(|pair| pair.nr_pages != 0);
            // SAFETY: each source has a page, and each word lies within one.
            all_have_pages && unsafe { probe::glance_at::<MC>(bytes, start, |index| place(batch, index)) }
        }
    };
    if past_the_cache { Locality::NonTemporal } else { Locality::Temporal }
}

/// Where the glance of that index looks: in another pair each time, while there are others, and never twice at one word. A second
/// look would find it in the cache.
fn place(batch: &[FolioPair], index: usize) -> *const u8 {
    let number = batch.len() / 8 + index * (batch.len() / 4).max(1);
    let pair = batch.get(number % batch.len().max(1));
    pair.map_or(ptr::null(), |pair| probe::place(pair.src.cast(), pair.bytes(), index))
}

/// Copies pairs of `bytes` bytes each by one primitive, and prefetches the next source during each copy. Returns the pair that
/// faulted and its fault, if one did. A separate function, so that the loop fits the registers.
///
/// # Safety
///
/// As [`CopyOptions::run_batch`]; the pair `after` them is as long.
#[inline(never)]
unsafe fn copy_alike<const MC: bool>(
    by: Primitive,
    distance: u32,
    bytes: usize,
    pairs: &[FolioPair],
    after: Option<&FolioPair>,
) -> Option<(usize, Fault)> {
    if bytes == 0 {
        return None;
    }
    let distance = distance.min(bytes.min(u32::MAX as usize) as u32);
    for (index, pair) in pairs.iter().enumerate() {
        let next = pairs.get(index + 1).or(after).map_or(ptr::null(), |next| next.src.cast());
        let range = Range { dst: pair.dst.cast(), src: pair.src.cast(), bytes };
        // SAFETY: a pair of the batch; the next source is as long as this one, hence as the distance.
        let copied = unsafe { execute::copy_before::<MC>(by, distance, range, next) };
        if let Err(fault) = copied {
            return Some((index, fault));
        }
    }
    None
}

/// The findings of a check of a valid batch.
#[derive(Clone, Copy)]
struct Checked {
    /// How many pages all pairs have together.
    nr_pages: usize,
    /// Whether all are of one length.
    alike: bool,
}

/// The sums over a batch, gathered without a branch.
struct Gathered {
    flaws: usize,
    /// Bits in which a number of pages is not the first one.
    differences: usize,
    nr_pages: usize,
}

#[inline(always)]
fn gather(batch: &[FolioPair]) -> Gathered {
    let first = batch.first().map_or(0, |pair| pair.nr_pages);
    let mut gathered = Gathered { flaws: 0, differences: 0, nr_pages: 0 };
    for pair in batch {
        gathered.flaws |= pair.flaws();
        gathered.differences |= pair.nr_pages ^ first;
        gathered.nr_pages = gathered.nr_pages.wrapping_add(pair.nr_pages);
    }
    gathered
}

/// Checks every pair before anything is copied. The first pass takes all pairs without a branch, with the vectors of the
/// policy's CPU.
fn check(policy: &Policy, batch: &[FolioPair]) -> Result<Checked, BatchError<CopyError>> {
    let Gathered { flaws, differences, mut nr_pages } = arch::on_vectors(policy.cpu(), || gather(batch));
    if flaws != 0 {
        nr_pages = 0;
        for (index, pair) in batch.iter().enumerate() {
            pair.spans().map_err(|error| BatchError { index, error })?;
            nr_pages = nr_pages.saturating_add(pair.nr_pages);
        }
    }
    Ok(Checked { nr_pages, alike: differences == 0 })
}

#[cfg(test)]
mod tests {
    use core::ptr;

    use super::*;

    /// In the part that is checked by vectors, and in the rest.
    #[test]
    fn a_bad_pair_is_found_wherever_it_is() {
        extern crate std;
        let good = |index: usize| FolioPair {
            dst: ptr::without_provenance_mut((2 * index + 2) * PAGE_SIZE),
            src: ptr::without_provenance((2 * index + 3) * PAGE_SIZE),
            nr_pages: 1,
        };
        let check = |batch: &[FolioPair]| check(Policy::host(), batch);
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

    /// A word that was glanced at is in the cache, so another glance at it would tell nothing.
    #[test]
    fn no_two_glances_look_at_one_word() {
        extern crate std;
        use std::collections::BTreeSet;
        for nr_pages in [32, 64, 512] {
            let bytes = nr_pages * PAGE_SIZE;
            let pair = |index: usize| FolioPair {
                dst: ptr::null_mut(),
                src: ptr::without_provenance((index + 1) * bytes),
                nr_pages,
            };
            for length in 1..=100 {
                let batch: std::vec::Vec<FolioPair> = (0..length).map(pair).collect();
                let words: BTreeSet<usize> = (0..4).map(|index| place(&batch, index).addr()).collect();
                assert_eq!(words.len(), 4, "{length} of {nr_pages} pages");
                let glanced: BTreeSet<usize> = words.iter().map(|word| word / bytes).collect();
                assert_eq!(glanced.len(), length.min(4), "{length} of {nr_pages} pages");
                assert!(
                    glanced.iter().all(|pair| (1..=length).contains(pair)),
                    "{length} of {nr_pages} pages"
                );
            }
        }
    }
}
