//! Takes the samples of one case: prepares the caches, times a run, proves the state of the caches.

use std::sync::Barrier;
use std::time::{Duration, Instant};
use std::{iter, thread};

use fastrand::Rng;
use foliocopy::{FolioPair, PAGE_SIZE};

use super::case::LIMIT_BYTES;
use super::layout::{self, Layout};
use super::load::Streams;
use super::{BenchError, Case, Crew, Plan, Then};
use crate::affinity;
use crate::contender::{Contender, Copier, Kind};
use crate::eviction::{self, EvictionBuffer, read_lines};
use crate::latency;
use crate::memory::{Mapping, MemoryError, MemoryKind};
use crate::result::{Cache, MemoryGiven, Probed};

/// The most folios in a row that are all hot or all cold, where the cache is mixed. It is a quarter of the folios where
/// that is less: otherwise a few large folios would all be hot in one round and all cold in the next.
const LONGEST_BURST: usize = 64;

/// A probe is asked as often about a folio that is copied again and again, in a round.
const PROBED_REPEATS: usize = 64;

/// The times of one contender in one round.
pub(super) struct Sample {
    /// The copies alone, by each copier. Mostly there is one; of several the fastest counts.
    pub(super) copy_gbps: Vec<f64>,
    /// The copies and one read of the destination.
    pub(super) with_read_gbps: Option<f64>,
    /// Reading the victim before and after the copies.
    pub(super) victim_gbps: Option<(f64, f64)>,
    /// Cycles of loads of sampled lines of source and destination before the run.
    pub(super) probe_loads: Vec<u32>,
    /// The time of each copy, in ns, where that is kept.
    pub(super) times: Vec<u32>,
    /// What was streamed meanwhile.
    pub(super) load_gbps: Option<f64>,
}

impl Sample {
    /// Of copies alone.
    fn of_copies(copy_gbps: Vec<f64>) -> Self {
        Self {
            copy_gbps,
            with_read_gbps: None,
            victim_gbps: None,
            probe_loads: Vec::new(),
            times: Vec::new(),
            load_gbps: None,
        }
    }
}

/// The buffers and the means to sample one case.
pub(super) struct Sampler<'a> {
    plan: &'a Plan,
    case: &'a Case,
    eviction: &'a EvictionBuffer,
    /// One for each copier.
    layouts: Vec<Layout>,
    /// Folios that are hot, where the cache is mixed.
    hot: Vec<bool>,
    victim: Option<Mapping>,
    /// Source and destination of the contender `limit`.
    stream: Option<(Mapping, Mapping)>,
    /// A page that each contender copies before it is timed, so that its code is in the cache.
    scratch: Mapping,
    /// What loads the memory.
    streams: Option<Streams>,
}

impl<'a> Sampler<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        case: &'a Case,
        eviction: &'a EvictionBuffer,
        rng: &mut Rng,
    ) -> Result<Self, MemoryError> {
        let victim = match case.then {
            Some(Then::Victim { bytes }) => Some(Mapping::new(MemoryKind::Thp, bytes as usize, 1, None)?),
            _ => None,
        };
        let streams =
            plan.contenders.iter().any(|contender| !contender.copies_folios() && case.includes(contender));
        let load = &plan.load;
        let near = case.nodes.map(|(src, _)| src);
        let start = |threads| Streams::start(threads, &load.cpus, load.bytes, near);
        let range = |node| Mapping::new(plan.memory, LIMIT_BYTES, LIMIT_BYTES, node);
        let stream = match streams {
            true => {
                let mut src = range(case.nodes.map(|(src, _)| src))?;
                // Pages that nobody has written are all the one huge zero page, which fits the cache.
                layout::fill(src.as_mut_slice(), rng.u64(..));
                Some((src, range(case.nodes.map(|(_, dst)| dst))?))
            }
            false => None,
        };
        Ok(Self {
            plan,
            case,
            eviction,
            layouts: lay_out(plan, case, rng)?,
            hot: vec![false; case.folios_a_pass()],
            victim,
            stream,
            scratch: Mapping::new(MemoryKind::Anon, 2 * 4096, 4096, None)?,
            // Last, so that it does not slow the laying out.
            streams: case.load.map(start).transpose()?,
        })
    }

    /// The memory, to be kept until the next is laid out.
    pub(super) fn into_layouts(self) -> Vec<Layout> {
        self.layouts
    }

    /// Changes the order of the folios, and which of them are hot.
    pub(super) fn shuffle(&mut self, rng: &mut Rng) {
        self.layouts.iter_mut().for_each(|layout| layout.shuffle(rng));
        choose_hot(&mut self.hot, rng);
    }

    /// The memory that the system gave.
    pub(super) fn given(&self) -> MemoryGiven {
        let mut given = self.layouts[0].given();
        self.layouts[1..].iter().for_each(|layout| super::add(&mut given, &layout.given()));
        given
    }

    /// The nodes of source and destination: as asked for, else where they lie.
    pub(super) fn nodes(&self) -> (Option<u32>, Option<u32>) {
        match self.case.nodes {
            Some((src, dst)) => (Some(src), Some(dst)),
            None => self.layouts[0].nodes(),
        }
    }

    /// Runs `contender` once on a cleared destination and compares every byte.
    pub(super) fn verify(&mut self, contender: &Contender) -> Result<(), BenchError> {
        for layout in &mut self.layouts {
            let Kind::Folios(copier) = contender.kind() else { return Ok(()) };
            layout.clear_destination();
            layout.copy(copier, 1);
            if let Some((offset, found, expected)) = layout.first_wrong_byte() {
                let (contender, case) = (contender.name().to_owned(), self.case.to_string());
                return Err(BenchError::WrongByte { contender, case, offset, found, expected });
            }
        }
        Ok(())
    }

    /// Times one run of `contender`.
    pub(super) fn sample(&mut self, contender: &Contender, rng: &mut Rng) -> Sample {
        match contender.kind() {
            Kind::Folios(copier) => match self.case.crew {
                Crew::One => self.sample_one(copier, rng),
                Crew::Copiers(_) => self.sample_copiers(copier),
            },
            Kind::Limit(copiers) => self.sample_limit(copiers),
        }
    }

    fn sample_one(&mut self, copier: &Copier, rng: &mut Rng) -> Sample {
        self.make_cold();
        let victim_before = self.victim.as_ref().map(|victim| {
            eviction::warm(iter::once(victim.as_slice()));
            gbps(victim.bytes(), timed(|| read_lines(victim.as_slice())))
        });
        self.warm_code(copier);
        let layout = &mut self.layouts[0];
        let repeats = prepare(layout, self.case, copier, &self.hot);
        let probe_loads = match self.plan.counter.hertz() {
            Some(_) => sample_loads(layout, self.case.cache, &self.hot, rng),
            None => Vec::new(),
        };
        layout.warm_list(copier);
        let bytes = layout.bytes() * repeats;
        let mut times = Vec::new();
        let streamed = self.streams.as_ref().map(Streams::read);
        let copying = match self.plan.latency {
            true => {
                times.reserve_exact(layout.folios() * repeats);
                timed(|| layout.copy_timed(copier, repeats, &mut times))
            }
            false => timed(|| layout.copy(copier, repeats)),
        };
        let load_gbps = self.streams.as_ref().zip(streamed).map(|(streams, before)| {
            let bytes = streams.read() - before;
            bytes as f64 / copying.as_nanos().max(1) as f64
        });
        let with_read = match (self.case.then, self.case.cache) {
            (Some(Then::Read), Cache::Hot) => Some(timed(|| layout.copy_and_read(copier, repeats))),
            (Some(Then::Read), _) => Some(copying + timed(|| layout.read_destination())),
            _ => None,
        };
        let victim_after =
            self.victim.as_ref().map(|victim| gbps(victim.bytes(), timed(|| read_lines(victim.as_slice()))));
        Sample {
            copy_gbps: vec![gbps(bytes, copying)],
            with_read_gbps: with_read.map(|time| gbps(bytes, time)),
            victim_gbps: victim_before.zip(victim_after),
            probe_loads,
            times,
            load_gbps,
        }
    }

    /// The decisions of `contender`'s probe about the copies of a run. The copies are made and not timed. `None` where it
    /// has no probe, or one probe for all of the copies.
    pub(super) fn probe(&mut self, contender: &Contender) -> Option<Probed> {
        let Kind::Folios(copier) = contender.kind() else { return None };
        let (policy, locality) = copier.decides_by()?;
        let far = policy.step(locality, self.case.folio_bytes as usize).far();
        let is_probe = policy.step(locality, self.case.folio_bytes as usize).is_probe();
        let past = far.primitives()[0].is_non_temporal();
        let at_once = self.case.scattered && copier.takes_batches();
        if !is_probe || !past || at_once || self.case.crew != Crew::One {
            return None;
        }
        self.make_cold();
        self.warm_code(copier);
        let layout = &mut self.layouts[0];
        let repeats = prepare(layout, self.case, copier, &self.hot).min(PROBED_REPEATS);
        Some(layout.probe(copier, policy, locality, repeats))
    }

    /// Evicts everything, unless the case is hot.
    fn make_cold(&mut self) {
        if self.case.cache != Cache::Hot {
            self.layouts[0].flush(|_| true);
            self.eviction.evict();
        }
    }

    /// All copiers at once: their bytes by the time from the first start to the last end.
    fn sample_copiers(&mut self, copier: &Copier) -> Sample {
        self.warm_code(copier);
        let (case, eviction, hot, cpus) = (self.case, self.eviction, &self.hot, &self.plan.cpus);
        let barrier = Barrier::new(self.layouts.len());
        let mut bytes = 0;
        let spans: Vec<(Instant, Instant, usize)> = thread::scope(|scope| {
            let copiers: Vec<_> = self
                .layouts
                .iter_mut()
                .enumerate()
                .map(|(index, layout)| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        // A thread that cannot be pinned runs wherever the scheduler puts it.
                        let _ = affinity::pin(cpus[index % cpus.len()]);
                        if case.cache != Cache::Hot {
                            layout.flush(|_| true);
                            eviction.evict();
                        }
                        let repeats = prepare(layout, case, copier, hot);
                        layout.warm_list(copier);
                        barrier.wait();
                        let started = Instant::now();
                        layout.copy(copier, repeats);
                        (started, Instant::now(), layout.bytes() * repeats)
                    })
                })
                .collect();
            copiers.into_iter().map(|copier| copier.join().expect("a copier doesn't panic")).collect()
        });
        let first = spans.iter().map(|(started, ..)| *started).min().expect("there is a copier");
        let last = spans.iter().map(|(_, ended, _)| *ended).max().expect("there is a copier");
        spans.iter().for_each(|(.., copied)| bytes += copied);
        Sample::of_copies(vec![gbps(bytes, last - first)])
    }

    /// Each of `copiers` on one large range.
    fn sample_limit(&mut self, copiers: &[Copier]) -> Sample {
        let mut copy_gbps = Vec::new();
        for copier in copiers {
            self.eviction.evict();
            self.warm_code(copier);
            let (src, dst) = self.stream.as_mut().expect("mapped where a limit takes part");
            let (src, dst) = (src.as_ptr(), dst.as_mut_ptr());
            // SAFETY: two mappings of LIMIT_BYTES each.
            let time = timed(|| unsafe { copier.copy_each(LIMIT_BYTES, [(dst, src)].into_iter()) });
            copy_gbps.push(gbps(LIMIT_BYTES, time));
        }
        Sample::of_copies(copy_gbps)
    }

    fn warm_code(&mut self, copier: &Copier) {
        let start = self.scratch.as_mut_ptr();
        let (dst, src) = (start, start.wrapping_add(PAGE_SIZE).cast_const());
        let pair = FolioPair { dst: dst.cast(), src: src.cast(), nr_pages: 1 };
        // SAFETY: the second page of the scratch to the first.
        let done = self.case.scattered && unsafe { copier.copy_at_once(&[pair]) };
        if !done {
            // SAFETY: as above.
            unsafe { copier.copy_each(PAGE_SIZE, [(dst, src)].into_iter()) };
        }
    }
}

fn lay_out(plan: &Plan, case: &Case, rng: &mut Rng) -> Result<Vec<Layout>, MemoryError> {
    (0..case.crew.threads()).map(|_| Layout::new(case, plan.memory, rng)).collect()
}

/// Chooses a random half of the folios, in bursts that are hot or cold alike.
fn choose_hot(folios: &mut [bool], rng: &mut Rng) {
    let longest = (folios.len() / 4).clamp(1, LONGEST_BURST);
    let mut hot = rng.bool();
    let mut burst = 0;
    for folio in folios {
        if burst == 0 {
            hot = !hot;
            burst = rng.usize(1..=longest);
        }
        burst -= 1;
        *folio = hot;
    }
}

/// Brings the folios into the state of the cache that the case asks for. The caches are evicted before. Answers how many
/// times the folios are to be copied.
fn prepare(layout: &mut Layout, case: &Case, copier: &Copier, hot: &[bool]) -> usize {
    match case.cache {
        Cache::Cold => 1,
        Cache::Mixed => {
            layout.warm(|index| hot[index]);
            // A reader of a folio prefetches the start of the next one: a fifth of the lines of cold pages came back that
            // way.
            layout.flush(|index| !hot[index]);
            1
        }
        Cache::Hot => {
            layout.warm(|_| true);
            // One untimed pass, so that the first copy finds the caches as every further one does.
            layout.copy(copier, 1);
            case.passes()
        }
    }
}

/// Cycles of loads of a few lines, as a [`Cell`](crate::result::Cell) has them. Nothing where no folio is hot, or none cold, that
/// should be.
fn sample_loads(layout: &Layout, cache: Cache, hot: &[bool], rng: &mut Rng) -> Vec<u32> {
    let is_hot = |index: usize| cache == Cache::Hot || cache == Cache::Mixed && hot[index];
    let (hot, cold): (Vec<usize>, Vec<usize>) = (0..layout.folios()).partition(|index| is_hot(*index));
    let turns = match cache {
        Cache::Hot => [&hot, &hot],
        Cache::Cold => [&cold, &cold],
        Cache::Mixed => [&hot, &cold],
    };
    if turns.iter().any(|folios| folios.is_empty()) {
        return Vec::new();
    }
    let lines = (0..latency::SAMPLES).map(|sample| {
        let folios = turns[sample % 2];
        let index = folios[rng.usize(..folios.len())];
        let folio = if sample / 2 % 2 == 0 { layout.source(index) } else { layout.destination(index) };
        let line = rng.usize(..folio.len() / 64) * 64;
        latency::sample(folio, [line].into_iter(), !is_hot(index))
    });
    lines.flatten().collect()
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

/// Decimal gigabytes a second; the shortest time that can be told from none is a nanosecond.
fn gbps(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / time.as_nanos().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_half_is_hot_in_bursts() {
        let mut rng = Rng::with_seed(7);
        for (folios, longest) in [(4, 1), (64, 16), (2048, LONGEST_BURST)] {
            let mut hot = vec![false; folios];
            let mut of_all = 0;
            let mut seen = 0;
            for _ in 0..200 {
                choose_hot(&mut hot, &mut rng);
                of_all += hot.iter().filter(|hot| **hot).count();
                // The last one is cut off where the folios end.
                seen = seen.max(hot.chunk_by(|one, next| one == next).map(<[bool]>::len).max().unwrap());
            }
            assert_eq!(seen, longest, "{folios} folios");
            let part = of_all as f64 / (200 * folios) as f64;
            assert!((0.45..0.55).contains(&part), "{folios} folios: {part}");
        }
        let mut alone = [false];
        choose_hot(&mut alone, &mut rng);
    }
}
