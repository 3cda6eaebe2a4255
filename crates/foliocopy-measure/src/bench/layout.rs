//! The buffers of one copier: folios of source and destination, and the order in which they are copied.

use std::time::Instant;

use fastrand::Rng;
use foliocopy::{FolioPair, Locality, PAGE_SIZE, PageRange, Policy};

use super::Case;
use crate::contender::Copier;
use crate::eviction::{self, flush_lines, read_lines};
use crate::memory::{Mapping, MemoryError, MemoryKind, PMD_BYTES};
use crate::result::{MemoryGiven, Probed};

/// Source and destination, and which folio goes where.
///
/// # Invariants
///
/// Every pair holds offsets of whole folios inside `src` and `dst`; no two pairs share a folio. A batch names the same
/// folios in the same order.
pub(super) struct Layout {
    src: Mapping,
    dst: Mapping,
    folio_bytes: usize,
    pairs: Vec<Pair>,
    /// The pairs as the engine takes them, made before anything is timed, where they are scattered.
    batch: Option<Vec<FolioPair>>,
    /// Folios that fit into each mapping; `pairs` may be fewer.
    slots: usize,
}

/// Offsets of one folio in the source and in the destination.
#[derive(Clone, Copy, Debug)]
struct Pair {
    src: usize,
    dst: usize,
}

impl Layout {
    /// Maps and fills the buffers of `case`.
    pub(super) fn new(case: &Case, kind: MemoryKind, rng: &mut Rng) -> Result<Self, MemoryError> {
        let folio_bytes = case.folio_bytes as usize;
        let bytes = case.slots() * folio_bytes;
        // Naturally aligned, as the kernel's folios are.
        let align = folio_bytes.next_power_of_two();
        let mut src = Mapping::new(kind, bytes, align, case.nodes.map(|(src, _)| src))?;
        let dst = Mapping::new(kind, bytes, align, case.nodes.map(|(_, dst)| dst))?;
        fill(src.as_mut_slice(), rng.u64(..));
        let slots = bytes.next_multiple_of(PMD_BYTES) / folio_bytes;
        // INVARIANT: shuffling gives every pair its folios.
        let pairs = vec![Pair { src: 0, dst: 0 }; case.folios_a_pass()];
        let batch = case.scattered.then(Vec::new);
        let mut layout = Self { src, dst, folio_bytes, pairs, batch, slots };
        layout.shuffle(rng);
        Ok(layout)
    }

    /// Puts source and destination folios into a new order, each on its own.
    pub(super) fn shuffle(&mut self, rng: &mut Rng) {
        let mut order = || {
            let mut slots: Vec<usize> = (0..self.slots).collect();
            rng.shuffle(&mut slots);
            slots
        };
        let (src, dst) = (order(), order());
        // INVARIANT: `slots` whole folios fit into either mapping; a permutation names each once.
        for (pair, (src, dst)) in self.pairs.iter_mut().zip(src.into_iter().zip(dst)) {
            *pair = Pair { src: src * self.folio_bytes, dst: dst * self.folio_bytes };
        }
        let (src, dst) = (self.src.as_ptr(), self.dst.as_mut_ptr());
        if let Some(batch) = &mut self.batch {
            batch.clear();
            batch.extend(self.pairs.iter().map(|pair| FolioPair {
                dst: dst.wrapping_add(pair.dst).cast(),
                src: src.wrapping_add(pair.src).cast(),
                nr_pages: self.folio_bytes / PAGE_SIZE,
            }));
        }
    }

    /// Copies every folio with `copier`, in order, `repeats` times; scattered ones at once where it can.
    pub(super) fn copy(&mut self, copier: &Copier, repeats: usize) {
        let (src, dst) = (self.src.as_ptr(), self.dst.as_mut_ptr());
        for _ in 0..repeats {
            // SAFETY: whole folios inside the two mappings (INVARIANT), which are ours and apart.
            let done = self.batch.as_ref().is_some_and(|batch| unsafe { copier.copy_at_once(batch) });
            if !done {
                let folios =
                    self.pairs.iter().map(|pair| (dst.wrapping_add(pair.dst), src.wrapping_add(pair.src)));
                // SAFETY: whole folios inside the two mappings (INVARIANT), which are ours and apart.
                unsafe { copier.copy_each(self.folio_bytes, folios) };
            }
        }
    }

    /// Copies every folio, one by one, `repeats` times, and adds the time of each to `times`, in ns.
    pub(super) fn copy_timed(&mut self, copier: &Copier, repeats: usize, times: &mut Vec<u32>) {
        let (src, dst) = (self.src.as_ptr(), self.dst.as_mut_ptr());
        let mut last = Instant::now();
        for pair in (0..repeats).flat_map(|_| &self.pairs) {
            let folio = (dst.wrapping_add(pair.dst), src.wrapping_add(pair.src));
            // SAFETY: a whole folio inside each of the two mappings (INVARIANT), which are ours and apart.
            unsafe { copier.copy_each(self.folio_bytes, [folio].into_iter()) };
            // One reading ends a copy and begins the next.
            let now = Instant::now();
            times.push((now - last).as_nanos().try_into().unwrap_or(u32::MAX));
            last = now;
        }
    }

    /// Copies as [`Layout::copy`] does, one by one, and asks before each copy where the policy sends it now.
    pub(super) fn probe(
        &mut self,
        copier: &Copier,
        policy: &Policy,
        locality: Locality,
        repeats: usize,
    ) -> Probed {
        let (src, dst) = (self.src.as_ptr(), self.dst.as_mut_ptr());
        let mut probed = Probed::default();
        for pair in (0..repeats).flat_map(|_| &self.pairs) {
            let (dst, src) = (dst.wrapping_add(pair.dst), src.wrapping_add(pair.src));
            // SAFETY: a whole folio inside the mapping (INVARIANT).
            let range = unsafe { PageRange::new(src.cast(), self.folio_bytes / PAGE_SIZE) };
            let resolved = range.map(|range| policy.resolve(locality, range));
            let is_past = resolved.is_ok_and(|step| step.primitives()[0].is_non_temporal());
            probed.copies += 1;
            probed.past_cache += u64::from(is_past);
            // SAFETY: whole folios inside the two mappings (INVARIANT), which are ours and apart.
            unsafe { copier.copy_each(self.folio_bytes, [(dst, src)].into_iter()) };
        }
        probed
    }

    /// Copies and reads, folio by folio, `repeats` times.
    pub(super) fn copy_and_read(&mut self, copier: &Copier, repeats: usize) {
        for _ in 0..repeats {
            self.copy(copier, 1);
            self.read_destination();
        }
    }

    /// Reads every destination folio, in the order of the copies.
    pub(super) fn read_destination(&self) {
        (0..self.pairs.len()).for_each(|index| read_lines(self.destination(index)));
    }

    /// Brings source and destination of the folios that `chosen` says into the cache.
    pub(super) fn warm(&self, chosen: impl Fn(usize) -> bool) {
        let folios = (0..self.pairs.len()).filter(|index| chosen(*index));
        eviction::warm(folios.flat_map(|index| [self.source(index), self.destination(index)]));
    }

    /// Puts source and destination of the folios that `chosen` says out of every cache.
    pub(super) fn flush(&self, chosen: impl Fn(usize) -> bool) {
        for index in (0..self.pairs.len()).filter(|index| chosen(*index)) {
            flush_lines(self.source(index));
            flush_lines(self.destination(index));
        }
    }

    /// Brings the list of pairs that `copier` goes through into the cache, and no other.
    pub(super) fn warm_list(&self, copier: &Copier) {
        let sum = match &self.batch {
            Some(batch) if copier.takes_batches() => {
                batch.iter().fold(0, |sum, pair| sum ^ pair.src.addr() ^ pair.dst.addr() ^ pair.nr_pages)
            }
            _ => self.pairs.iter().fold(0, |sum, pair| sum ^ pair.src ^ pair.dst),
        };
        std::hint::black_box(sum);
    }

    /// Zeroes the destination.
    pub(super) fn clear_destination(&mut self) {
        self.dst.as_mut_slice().fill(0);
    }

    /// The first byte in which a destination folio differs from its source: its offset in the folio, the byte that is
    /// there, and the byte that should be there.
    pub(super) fn first_wrong_byte(&self) -> Option<(usize, u8, u8)> {
        (0..self.pairs.len()).find_map(|index| {
            let (found, expected) = (self.destination(index), self.source(index));
            if found == expected {
                return None;
            }
            let offset = found.iter().zip(expected).position(|(found, expected)| found != expected)?;
            Some((offset, found[offset], expected[offset]))
        })
    }

    /// The source folio of one pair.
    pub(super) fn source(&self, index: usize) -> &[u8] {
        &self.src.as_slice()[self.pairs[index].src..][..self.folio_bytes]
    }

    /// The destination folio of one pair.
    pub(super) fn destination(&self, index: usize) -> &[u8] {
        &self.dst.as_slice()[self.pairs[index].dst..][..self.folio_bytes]
    }

    /// How many folios a pass copies.
    pub(super) fn folios(&self) -> usize {
        self.pairs.len()
    }

    /// Bytes a pass copies.
    pub(super) fn bytes(&self) -> usize {
        self.pairs.len() * self.folio_bytes
    }

    /// The memory that the system gave.
    pub(super) fn given(&self) -> MemoryGiven {
        let (src, dst) = (self.src.given(), self.dst.given());
        MemoryGiven {
            bytes: src.bytes + dst.bytes,
            huge_bytes: src.huge_bytes + dst.huge_bytes,
            on_node_bytes: src.on_node_bytes.zip(dst.on_node_bytes).map(|(src, dst)| src + dst),
        }
    }

    /// The nodes on which source and destination begin.
    pub(super) fn nodes(&self) -> (Option<u32>, Option<u32>) {
        (self.src.node_of_first_page(), self.dst.node_of_first_page())
    }
}

/// Fills with words that differ between any two pages (Steele, Lea and Flood's SplitMix64).
pub(super) fn fill(memory: &mut [u8], seed: u64) {
    let mut state = seed;
    for word in memory.chunks_exact_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Crew;
    use crate::contender::{Contender, Kind};
    use crate::result::Cache;
    use std::collections::HashSet;

    fn layout(cache: Cache, folio_bytes: u64) -> Layout {
        lay_out(cache, folio_bytes, false)
    }

    fn lay_out(cache: Cache, folio_bytes: u64, scattered: bool) -> Layout {
        let case = Case {
            cache,
            folio_bytes,
            total_bytes: 3 << 20,
            nodes: None,
            then: None,
            crew: Crew::One,
            scattered,
            load: None,
        };
        Layout::new(&case, MemoryKind::Thp, &mut Rng::with_seed(1)).unwrap()
    }

    #[test]
    fn every_folio_is_copied_once_in_an_order_of_its_own() {
        let mut layout = layout(Cache::Cold, 64 << 10);
        assert_eq!((layout.folios(), layout.bytes()), (48, 3 << 20));
        let sources = |layout: &Layout| layout.pairs.iter().map(|pair| pair.src).collect::<Vec<_>>();
        let first = sources(&layout);
        layout.shuffle(&mut Rng::with_seed(2));
        assert_ne!(first, sources(&layout));
        for offsets in [sources(&layout), layout.pairs.iter().map(|pair| pair.dst).collect()] {
            assert_eq!(offsets.iter().collect::<HashSet<_>>().len(), 48);
            assert!(offsets.iter().all(|offset| offset % (64 << 10) == 0));
        }
    }

    #[test]
    fn a_hot_layout_is_one_folio() {
        assert_eq!(layout(Cache::Hot, 4 << 10).folios(), 1);
    }

    #[test]
    fn scattered_folios_are_spread_over_more_memory() {
        let cold = lay_out(Cache::Cold, 4 << 10, true);
        assert_eq!((cold.folios(), cold.src.bytes()), (768, 12 << 20));
        assert!(cold.pairs.iter().any(|pair| pair.src >= 3 << 20));
        let hot = lay_out(Cache::Hot, 4 << 10, true);
        assert_eq!((hot.folios(), hot.src.bytes()), (512, 8 << 20));
    }

    #[test]
    fn a_scattered_run_is_one_batch_of_its_pairs() {
        let mut layout = lay_out(Cache::Cold, 16 << 10, true);
        layout.shuffle(&mut Rng::with_seed(2));
        let Some(batch) = &layout.batch else { panic!("a scattered layout has a batch") };
        assert_eq!(batch.len(), layout.pairs.len());
        for (index, pair) in batch.iter().enumerate() {
            assert_eq!(pair.src.cast(), layout.source(index).as_ptr());
            assert_eq!(pair.dst.cast_const().cast(), layout.destination(index).as_ptr());
            assert_eq!(pair.nr_pages, 4);
        }
        assert!(lay_out(Cache::Cold, 16 << 10, false).batch.is_none());
    }

    #[test]
    fn scattered_folios_are_copied_by_who_takes_them_at_once_and_by_who_does_not() {
        for name in ["foliocopy", "rfc"] {
            let contender = Contender::named(name).unwrap();
            let Kind::Folios(copier) = contender.kind() else { panic!("{contender:?}") };
            for scattered in [false, true] {
                let mut layout = lay_out(Cache::Cold, 16 << 10, scattered);
                assert!(layout.first_wrong_byte().is_some());
                layout.copy(copier, 1);
                assert_eq!(layout.first_wrong_byte(), None, "{name}");
            }
        }
    }

    #[test]
    fn a_folio_that_is_no_power_of_two_fits() {
        let layout = layout(Cache::Cold, 12 << 10);
        assert!(layout.pairs.iter().all(|pair| pair.src + (12 << 10) <= layout.src.bytes()));
    }

    #[test]
    fn pages_differ() {
        let mut memory = vec![0; 1 << 20];
        fill(&mut memory, 5);
        assert_eq!(memory.chunks(4096).collect::<HashSet<_>>().len(), 256);
    }
}
