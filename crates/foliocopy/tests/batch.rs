//! Batches of scattered ranges.

use foliocopy::{
    BatchError, CopyError, CopyOptions, Cpu, FolioPair, Locality, PAGE_SIZE, Page, Primitive, copy_folios,
};
use proptest::prelude::*;

const CANARY: Page = Page::filled(0xee);

/// Pages of which no two are alike.
fn pattern(nr_pages: usize) -> Vec<Page> {
    let mut pages = vec![Page::zeroed(); nr_pages];
    for (index, page) in pages.iter_mut().enumerate() {
        for (at, byte) in page.as_bytes_mut().iter_mut().enumerate() {
            *byte = (index.wrapping_mul(31) ^ at ^ (at >> 8)) as u8;
        }
    }
    pages
}

/// Pairs of the given lengths: the sources in reverse order, a page left out between destinations.
struct Scattered {
    src: Vec<Page>,
    dst: Vec<Page>,
    pairs: Vec<FolioPair>,
}

impl Scattered {
    fn new(lengths: &[usize]) -> Self {
        let total: usize = lengths.iter().sum();
        let (src, mut dst) = (pattern(total), vec![CANARY; total + lengths.len() + 1]);
        let (mut from, mut to) = (total, 1);
        let pairs = lengths.iter().map(|&nr_pages| {
            from -= nr_pages;
            let pair = FolioPair { dst: dst[to..].as_mut_ptr(), src: src[from..].as_ptr(), nr_pages };
            to += nr_pages + 1;
            pair
        });
        let pairs = pairs.collect();
        Self { src, dst, pairs }
    }

    /// Whether the first `copied` pairs are in place, and nothing else was written.
    fn is_copied(&self, copied: usize) -> bool {
        let (mut from, mut to) = (self.src.len(), 1);
        let pairs_right = self.pairs.iter().enumerate().all(|(index, pair)| {
            from -= pair.nr_pages;
            let found = &self.dst[to..to + pair.nr_pages];
            let right = match index < copied {
                true => found == &self.src[from..from + pair.nr_pages],
                false => found.iter().all(|page| *page == CANARY),
            };
            to += pair.nr_pages + 1;
            right && self.dst[to - 1] == CANARY
        });
        pairs_right && self.dst[0] == CANARY
    }
}

fn available() -> impl Iterator<Item = Primitive> {
    let cpu = Cpu::detect();
    Primitive::ALL.iter().copied().filter(move |primitive| primitive.is_available(&cpu))
}

const LENGTHS: &[&[usize]] =
    &[&[], &[0], &[1], &[1, 0, 1], &[1; 70], &[3, 1, 4, 1, 5, 9, 2, 6], &[64, 1, 64], &[80]];

#[test]
fn every_primitive_copies_scattered_ranges() {
    for primitive in available() {
        for lengths in LENGTHS {
            let batch = Scattered::new(lengths);
            // SAFETY: the pairs are ours and apart.
            unsafe { CopyOptions::new().primitive(primitive).copy_folios(&batch.pairs) }.unwrap();
            assert!(batch.is_copied(lengths.len()), "{primitive} {lengths:?}");
        }
    }
}

#[test]
fn every_locality_copies_scattered_ranges() {
    for locality in Locality::ALL {
        for lengths in LENGTHS {
            let batch = Scattered::new(lengths);
            // SAFETY: the pairs are ours and apart.
            unsafe { CopyOptions::new().locality(*locality).copy_folios(&batch.pairs) }.unwrap();
            assert!(batch.is_copied(lengths.len()), "{locality} {lengths:?}");
        }
    }
}

#[test]
fn a_batch_yields_between_chunks() {
    let batch = Scattered::new(&[2, 2, 2, 8, 1]);
    let mut yields = 0;
    let options = CopyOptions::new().chunk_bytes(4 * PAGE_SIZE).yield_with(|| yields += 1);
    // SAFETY: the pairs are ours and apart.
    unsafe { options.copy_folios(&batch.pairs) }.unwrap();
    assert!(batch.is_copied(5));
    assert_eq!(yields, 4, "2+2, 2, 4, 4, 1");
}

#[test]
fn a_pair_that_is_wrong_is_named_and_nothing_is_copied() {
    let wrong = |change: fn(&mut FolioPair)| {
        let mut batch = Scattered::new(&[1, 2, 3]);
        let good = batch.pairs.clone();
        change(&mut batch.pairs[1]);
        // SAFETY: refused before anything is touched, which is what is tested.
        let answer = unsafe { copy_folios(&batch.pairs) };
        batch.pairs = good;
        assert!(batch.is_copied(0), "something was copied");
        answer.unwrap_err()
    };
    let overlap = wrong(|pair| pair.src = pair.dst.cast_const().wrapping_add(1));
    assert_eq!(overlap, BatchError { index: 1, error: CopyError::Overlap });
    assert_eq!(overlap.to_string(), "pair 1: source and destination overlap");
    let misaligned = wrong(|pair| pair.dst = pair.dst.wrapping_byte_add(64));
    assert!(matches!(misaligned, BatchError { index: 1, error: CopyError::Misaligned { .. } }));
    let overflow = wrong(|pair| pair.nr_pages = usize::MAX);
    assert!(matches!(overflow, BatchError { index: 1, error: CopyError::Overflow { .. } }));
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod faults {
    use foliocopy::{CopyMcError, copy_mc_folios};

    use super::*;

    /// Four pages of which the file under the last two was cut off, at the end of a page of the system.
    fn cut_off() -> *const Page {
        // SAFETY: only asks.
        let system_page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let good = (2 * PAGE_SIZE).next_multiple_of(system_page);
        let bytes = good + (2 * PAGE_SIZE).next_multiple_of(system_page);
        // SAFETY: a file and a mapping of our own, checked at each step.
        unsafe {
            let file = libc::memfd_create(c"cut".as_ptr(), 0);
            assert!(file >= 0 && libc::ftruncate(file, bytes as libc::off_t) == 0);
            let start = libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file,
                0,
            );
            assert!(start != libc::MAP_FAILED);
            assert!(libc::ftruncate(file, good as libc::off_t) == 0 && libc::close(file) == 0);
            start.byte_add(good - 2 * PAGE_SIZE).cast()
        }
    }

    #[test]
    fn the_pair_that_fails_is_named_and_those_before_it_are_copied() {
        for primitive in available().filter(|primitive| primitive.is_machine_check_safe()) {
            let mut batch = Scattered::new(&[1, 2, 3, 1]);
            batch.pairs[2].src = cut_off();
            // SAFETY: the pairs are apart, and the one that faults is caught.
            let answer = unsafe { CopyOptions::new().primitive(primitive).copy_mc_folios(&batch.pairs) };
            let BatchError { index, error: CopyMcError::Memory(error) } = answer.unwrap_err() else {
                panic!("{primitive}: {answer:?}");
            };
            assert_eq!((index, error.page_index, error.bytes_copied), (2, 2, 2 * PAGE_SIZE), "{primitive}");
            assert!(batch.dst[6..8] == [Page::zeroed(); 2] && batch.dst[8] == CANARY, "{primitive}");
            batch.pairs.truncate(2);
            let (src, dst) = (&batch.src, &batch.dst);
            assert!(dst[1] == src[6] && dst[3..5] == src[4..6] && dst[10] == CANARY, "{primitive}");
        }
    }

    /// A glance at a batch may meet bad memory. It answers nothing then, and the copy finds the error.
    #[test]
    fn a_glance_at_bad_memory_does_no_harm() {
        let mut batch = Scattered::new(&[1; 128]);
        let cut_off = cut_off();
        for pair in &mut batch.pairs[8..] {
            pair.src = cut_off.wrapping_add(2);
        }
        // SAFETY: the pairs are apart, and those that fault are caught.
        let answer = unsafe { copy_mc_folios(&batch.pairs) };
        assert!(matches!(answer, Err(BatchError { index: 8, error: CopyMcError::Memory(_) })), "{answer:?}");
    }
}

proptest! {
    #[test]
    fn any_batch(
        primitive in prop::sample::select(available().collect::<Vec<_>>()),
        lengths in prop::collection::vec(0..40_usize, 0..20),
        chunk_bytes in 0..(64 * PAGE_SIZE),
    ) {
        let batch = Scattered::new(&lengths);
        let options = CopyOptions::new().primitive(primitive).chunk_bytes(chunk_bytes);
        // SAFETY: the pairs are ours and apart.
        unsafe { options.copy_folios(&batch.pairs) }.unwrap();
        prop_assert!(batch.is_copied(lengths.len()));
    }
}
