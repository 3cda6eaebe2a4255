//! The measurement: every contender in every round, in shuffled order, on real memory.

mod case;
mod layout;
mod load;
mod run;
mod sampler;

use std::time::{Duration, Instant};

use thiserror::Error;

use crate::contender::Contender;
use crate::eviction::EvictionBuffer;
use crate::latency::TimeStampCounter;
use crate::memory::{Available, MemoryError, MemoryKind, RESERVED_HUGE_PAGES};
use crate::result::{Cache, Cell, Evict, MemoryGiven};
use crate::statistics::{corrected_confidence, median_interval, rounds_needed};
use crate::turns::{self, Visit};

pub use case::{Case, Crew, LOAD, Then};
use layout::Layout;
use run::CaseRun;
use sampler::Sampler;

/// The plan of a measurement.
#[derive(Debug)]
pub struct Plan {
    /// The contenders.
    pub contenders: Vec<Contender>,
    /// The situations, which take turns.
    pub cases: Vec<Case>,
    /// The contenders of each case, by their places in `contenders`. All of them in every case where this is empty.
    pub lineups: Vec<Vec<usize>>,
    /// At most so many rounds of each case.
    pub rounds: u32,
    /// About so long for all cases together; every case gets one round at least.
    pub time: Duration,
    /// The kind of memory.
    pub memory: MemoryKind,
    /// Bytes streamed through the caches before each cold run.
    pub evict_bytes: usize,
    /// Whether these are read or written.
    pub evict: Evict,
    /// Rounds after which the buffers are laid out anew, and another case has its turn.
    pub layout_rounds: u32,
    /// When a case has rounds enough, before it has all of them.
    pub until: Option<Until>,
    /// Seed of everything that is shuffled.
    pub seed: u64,
    /// Whether latencies can be sampled.
    pub counter: TimeStampCounter,
    /// The CPUs for copiers and threads beyond the first, which stays where its caller put it.
    pub cpus: Vec<u32>,
    /// Whether the time of every copy is kept. A copy of a folio is timed by itself then.
    pub latency: bool,
    /// The CPUs for threads that load the memory, and the bytes that each streams.
    pub load: LoadPlan,
}

/// Where and what threads stream that load the memory.
#[derive(Clone, Debug, Default)]
pub struct LoadPlan {
    /// Their CPUs, in turn.
    pub cpus: Vec<u32>,
    /// Bytes of each, more than the caches hold.
    pub bytes: usize,
}

/// A precision that ends the rounds.
#[derive(Clone, Debug)]
pub struct Until {
    /// The contender that ratios refer to.
    pub baseline: String,
    /// The corrected interval of each ratio is to be no wider than this part of it: 0.04 is 4 %.
    pub width: f64,
    /// How many ratios the intervals are corrected for.
    pub tests: usize,
}

impl Until {
    /// Whether these ratios, one a round, are precise enough.
    pub fn suffices(&self, ratios: &[f64]) -> bool {
        ratios.len() >= rounds_needed(self.tests)
            && median_interval(ratios, corrected_confidence(self.tests))
                .is_some_and(|interval| interval.width() <= self.width)
    }
}

/// An observer of a measurement, which may end it.
pub trait Observer {
    /// The `index`th case has its turn, not for the last time.
    fn case(&mut self, index: usize, case: &Case);

    /// The part that is done, between 0 and 1.
    fn progress(&mut self, done: f64);

    /// Whether to stop here.
    fn interrupted(&self) -> bool;
}

/// The cells that were measured.
#[derive(Debug)]
pub struct Outcome {
    /// The cells, without ratios.
    pub cells: Vec<Cell>,
    /// Whether every case was measured to its end.
    pub complete: bool,
}

/// Why a measurement could not be finished.
#[derive(Debug, Error)]
pub enum BenchError {
    /// Memory could not be had.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// More memory is needed than there is.
    #[error(
        "{case} needs {} MiB of {what} and {} MiB are available: choose a smaller {largest}{}",
        needed >> 20,
        available >> 20,
        if *what == HUGETLB { format!(", or reserve more with `echo N > {RESERVED_HUGE_PAGES}`") } else { String::new() }
    )]
    TooLarge {
        /// The case, as it is printed.
        case: String,
        /// The kind of memory.
        what: String,
        /// The options that ask for most of it.
        largest: &'static str,
        /// Bytes needed.
        needed: u64,
        /// Bytes available.
        available: u64,
    },
    /// A contender copied something else than the source.
    #[error(
        "contender `{contender}` copied wrongly ({case}): byte {offset} of a folio is {found:#04x} and should be {expected:#04x}"
    )]
    WrongByte {
        /// The contender.
        contender: String,
        /// The case, as it is printed.
        case: String,
        /// The offset in the folio.
        offset: usize,
        /// The byte that is there.
        found: u8,
        /// The byte that should be there.
        expected: u8,
    },
}

/// The size of the pool of huge pages.
const HUGETLB: &str = "reserved huge pages";

impl Plan {
    /// Finds out before anything runs whether memory suffices.
    pub fn check(&self, available: &Available) -> Result<(), BenchError> {
        self.cases.iter().try_for_each(|case| {
            let suffices = |what: &str, parts: &[(u64, &'static str)], available: u64| {
                let needed = parts.iter().fold(0, |sum: u64, (bytes, _)| sum.saturating_add(*bytes));
                match parts.iter().max() {
                    Some((_, largest)) if needed > available => Err(BenchError::TooLarge {
                        case: case.to_string(),
                        what: what.to_owned(),
                        largest,
                        needed,
                        available,
                    }),
                    _ => Ok(()),
                }
            };
            let side = (case.side_bytes_needed(), "--folio or --total");
            let besides = [
                (case.victim_bytes(), "--then victim"),
                (if self.evicts() { self.evict_bytes as u64 } else { 0 }, "--evict"),
                (case.load_bytes(self.load.bytes), "--load"),
            ];
            if self.memory == MemoryKind::Hugetlb {
                suffices(HUGETLB, &[side, side], available.hugetlb_bytes)?;
                return suffices(available.what(), &besides, available.bytes);
            }
            suffices(available.what(), &[&[side, side][..], &besides].concat(), available.bytes)?;
            let Some((src, dst)) = case.nodes else { return Ok(()) };
            for node in [src, dst] {
                let sides = if src == dst { &[side, side][..] } else { &[side] };
                suffices(
                    &format!("memory on node {node}"),
                    sides,
                    available.on_node(node).unwrap_or(u64::MAX),
                )?;
            }
            Ok(())
        })
    }

    /// The contenders of the `index`th case.
    fn lineup(&self, index: usize) -> impl Iterator<Item = &Contender> {
        let lineup = self.lineups.get(index);
        let contenders = self.contenders.iter().enumerate();
        contenders
            .filter(move |(place, contender)| {
                self.cases[index].includes(contender) && lineup.is_none_or(|lineup| lineup.contains(place))
            })
            .map(|(_, contender)| contender)
    }

    /// Whether any case needs its caches evicted.
    fn evicts(&self) -> bool {
        self.cases.iter().any(|case| case.cache != Cache::Hot)
    }

    /// Measures. An interrupted measurement ends early and well.
    pub fn run(&self, observer: &mut dyn Observer) -> Result<Outcome, BenchError> {
        let mut bench = Bench::new(self)?;
        let complete = turns::take(self.cases.len(), self.time, observer, |index, until, observer| {
            bench.visit(index, until, observer)
        })?;
        Ok(Outcome { cells: bench.into_cells(), complete })
    }
}

/// A plan being carried out.
pub(crate) struct Bench<'a> {
    plan: &'a Plan,
    eviction: EvictionBuffer,
    runs: Vec<CaseRun<'a>>,
    /// The memory of the last visit. It is kept until the next visit has memory of its own, so that the two differ.
    kept: Vec<Layout>,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Result<Self, BenchError> {
        Ok(Self {
            plan,
            eviction: EvictionBuffer::new(if plan.evicts() { plan.evict_bytes } else { 0 }, plan.evict)?,
            runs: plan
                .cases
                .iter()
                .enumerate()
                .map(|(index, case)| CaseRun::new(plan, index, case))
                .collect(),
            kept: Vec::new(),
        })
    }

    /// Some rounds of the `index`th case on memory of their own, one at least.
    pub(crate) fn visit(
        &mut self,
        index: usize,
        until: Option<Instant>,
        observer: &mut dyn Observer,
    ) -> Result<Visit, BenchError> {
        let (plan, run) = (self.plan, &mut self.runs[index]);
        observer.case(index, run.case);
        if !run.case.keeps_old_layout() {
            self.kept.clear();
        }
        let begun = Instant::now();
        let mut sampler = Sampler::new(plan, run.case, &self.eviction, &mut run.rng)?;
        self.kept.clear();
        let visit = run.measure(plan, &mut sampler, until, observer)?;
        run.spent += begun.elapsed();
        if run.case.keeps_old_layout() {
            self.kept = sampler.into_layouts();
        }
        Ok(visit)
    }

    /// The cells of cases in order.
    pub(crate) fn into_cells(self) -> Vec<Cell> {
        self.runs.into_iter().flat_map(CaseRun::into_cells).collect()
    }
}

fn add(total: &mut MemoryGiven, more: &MemoryGiven) {
    total.bytes += more.bytes;
    total.huge_bytes += more.huge_bytes;
    total.on_node_bytes = total.on_node_bytes.zip(more.on_node_bytes).map(|(total, more)| total + more);
}

#[cfg(test)]
mod tests {
    use super::*;
    use foliocopy::{Features, Policy};
    use std::ffi::c_void;

    /// Counts rounds, and stops after some of them.
    struct Watcher {
        rounds: u32,
        stop_after: u32,
    }

    impl Observer for Watcher {
        fn case(&mut self, _: usize, _: &Case) {}

        fn progress(&mut self, done: f64) {
            assert!((0.0..=1.0).contains(&done), "{done}");
            self.rounds += 1;
        }

        fn interrupted(&self) -> bool {
            self.rounds >= self.stop_after
        }
    }

    fn plan(names: &[&str], cases: Vec<Case>) -> Plan {
        Plan {
            contenders: Contender::all_named(names.iter().copied()).unwrap(),
            cases,
            lineups: vec![],
            rounds: 5,
            time: Duration::from_secs(60),
            memory: MemoryKind::Thp,
            evict_bytes: 4 << 20,
            evict: Evict::default(),
            layout_rounds: 2,
            until: None,
            seed: 1,
            counter: TimeStampCounter::detect(),
            cpus: crate::affinity::allowed_cpus().unwrap(),
            latency: false,
            load: LoadPlan { cpus: crate::affinity::allowed_cpus().unwrap(), bytes: 4 << 20 },
        }
    }

    fn case(cache: Cache) -> Case {
        Case {
            cache,
            folio_bytes: 16 << 10,
            total_bytes: 1 << 20,
            nodes: None,
            then: None,
            crew: Crew::One,
            scattered: false,
            load: None,
        }
    }

    fn run(plan: &Plan) -> Outcome {
        plan.run(&mut Watcher { rounds: 0, stop_after: u32::MAX }).unwrap()
    }

    #[test]
    fn every_contender_has_a_sample_in_every_round() {
        let caches = [Cache::Cold, Cache::Hot, Cache::Mixed];
        let plan = plan(&["per-page", "rfc", "foliocopy"], caches.map(case).to_vec());
        let outcome = run(&plan);
        assert!(outcome.complete);
        assert_eq!(outcome.cells.len(), 9);
        for cell in &outcome.cells {
            assert_eq!(cell.samples_gbps.len(), 5, "{}", cell.contender);
            assert!(cell.samples_gbps.iter().all(|sample| sample.is_finite() && *sample > 0.0));
            assert_eq!(cell.probe_load_cycles.len(), if plan.counter.hertz().is_some() { 5 } else { 0 });
            // Laid out three times in five rounds, 1 MiB in whole huge pages for source and destination each.
            assert_eq!(cell.memory.as_ref().unwrap().bytes, 3 * 2 * (2 << 20));
        }
    }

    #[test]
    fn reading_the_destination_costs_time_and_a_victim_is_timed_twice() {
        for cache in [Cache::Cold, Cache::Hot] {
            let cells = run(&plan(&["per-page"], vec![Case { then: Some(Then::Read), ..case(cache) }])).cells;
            assert_eq!(cells.len(), 2);
            assert_eq!(cells[1].dimensions["then"], "read");
        }
        let then = Some(Then::Victim { bytes: 1 << 20 });
        let cells = run(&plan(&["per-page"], vec![Case { then, ..case(Cache::Cold) }])).cells;
        let victims: Vec<&str> = cells[1..].iter().map(|cell| cell.dimensions["victim"].as_str()).collect();
        assert_eq!(victims, ["before", "after"]);
    }

    #[test]
    fn copiers_copy_at_once() {
        let cells =
            run(&plan(&["per-page"], vec![Case { crew: Crew::Copiers(2), ..case(Cache::Cold) }])).cells;
        assert_eq!(cells[0].dimensions["copiers"], "2");
        assert_eq!(cells[0].samples_gbps.len(), 5);
    }

    #[test]
    fn scattered_folios_are_a_situation_of_their_own() {
        for cache in [Cache::Cold, Cache::Hot] {
            let cells = run(&plan(&["per-page"], vec![Case { scattered: true, ..case(cache) }])).cells;
            assert_eq!(cells[0].dimensions["folios"], "scattered");
        }
    }

    #[test]
    fn every_copy_is_timed_and_the_first_after_an_eviction_stands_apart() {
        let plan = Plan {
            latency: true,
            ..plan(&["per-page", "foliocopy"], [Cache::Cold, Cache::Hot].map(case).to_vec())
        };
        for cell in run(&plan).cells {
            let latency = cell.latency.unwrap();
            // 64 folios a round in five rounds.
            let first = if cell.cache == Some(Cache::Cold) { 5 } else { 0 };
            assert_eq!((latency.count(), latency.first_ns.len()), (5 * 64 - first, first as usize));
            assert!(latency.p50_ns > 0 && latency.p50_ns <= latency.max_ns && latency.clock_ns.is_some());
            assert!(latency.p99_ns.is_some() && latency.p99_9_ns.is_none());
            // A copy takes no longer than its whole run.
            let slowest = cell.samples_gbps.iter().copied().fold(f64::INFINITY, f64::min);
            assert!((latency.max_ns as f64) <= f64::from(1 << 20) / slowest * 1.001);
        }
    }

    #[test]
    fn load_is_measured_with_what_it_loads() {
        let cases = [None, Some(0), Some(1)].map(|load| Case { load, ..case(Cache::Hot) });
        let cells = run(&plan(&["per-page"], cases.to_vec())).cells;
        assert_eq!(cells[0].load, None);
        assert!(!cells[0].dimensions.contains_key(LOAD));
        for (cell, threads) in cells[1..].iter().zip(0..) {
            let load = cell.load.as_ref().unwrap();
            assert_eq!(
                (load.threads, load.gbps.len(), &cell.dimensions[LOAD]),
                (threads, 5, &threads.to_string())
            );
            assert!(threads > 0 || load.gbps.iter().all(|gbps| *gbps == 0.0));
        }
    }

    /// Every copy by a step with a probe has a decision of the probe. No other copy has one.
    #[test]
    fn a_probe_is_asked_what_it_decides() {
        if !Policy::host().cpu().has(Features::TSC | Features::ERMS) {
            println!("not tested: no counter, or no rep movsb worth a probe");
            return;
        }
        let probe = "glance:rep_movsb:movnti@0";
        let caches = [Cache::Cold, Cache::Hot, Cache::Mixed];
        let outcome = run(&plan(&["per-page", probe, "movnti@0"], caches.map(case).to_vec()));
        for cell in outcome.cells {
            match (cell.probed, cell.contender == probe) {
                // 64 folios a round, or one folio 64 times, in three rounds of their own.
                (Some(probed), true) => {
                    assert_eq!(probed.copies, 3 * 64);
                    assert!(probed.past_cache <= probed.copies);
                }
                (None, false) => {}
                other => panic!("{}: {other:?}", cell.contender),
            }
        }
    }

    #[test]
    fn a_case_may_have_a_lineup_of_its_own() {
        let plan = Plan {
            lineups: vec![vec![0, 1], vec![0]],
            ..plan(&["per-page", "rfc"], vec![case(Cache::Cold), case(Cache::Hot)])
        };
        let who: Vec<_> = run(&plan).cells.into_iter().map(|cell| (cell.cache, cell.contender)).collect();
        let [cold, hot] = [Some(Cache::Cold), Some(Cache::Hot)];
        assert_eq!(who, [(cold, "per-page".into()), (cold, "rfc".into()), (hot, "per-page".into())]);
    }

    #[test]
    fn the_limit_is_cold_alone() {
        if Contender::named("limit").is_err() {
            println!("not tested: no vector loop");
            return;
        }
        let cells = run(&plan(&["per-page", "limit"], vec![case(Cache::Cold), case(Cache::Hot)])).cells;
        let limits: Vec<_> =
            cells.iter().filter(|cell| cell.contender == "limit").map(|cell| cell.cache).collect();
        assert_eq!(limits, [Some(Cache::Cold)]);
    }

    #[test]
    fn an_interrupted_measurement_keeps_whole_rounds() {
        let plan = plan(&["per-page", "foliocopy"], vec![case(Cache::Hot), case(Cache::Cold)]);
        let outcome = plan.run(&mut Watcher { rounds: 0, stop_after: 3 }).unwrap();
        assert!(!outcome.complete);
        let rounds: Vec<usize> = outcome.cells.iter().map(|cell| cell.samples_gbps.len()).collect();
        // After three turns of two rounds each: one of each case, and one of that which had taken less time.
        assert!(rounds == [4, 4, 2, 2] || rounds == [2, 2, 4, 4], "{rounds:?}");
        let outcome = plan.run(&mut Watcher { rounds: 0, stop_after: 0 }).unwrap();
        assert!(!outcome.complete && outcome.cells.is_empty());
    }

    #[test]
    fn rounds_end_unlimited_time() {
        let mut plan = plan(&["per-page"], vec![case(Cache::Hot)]);
        plan.time = Duration::MAX;
        assert_eq!(run(&plan).cells[0].samples_gbps.len(), 5);
    }

    #[test]
    fn time_ends_rounds() {
        let mut plan = plan(&["per-page"], vec![case(Cache::Hot)]);
        plan.rounds = u32::MAX;
        plan.time = Duration::from_millis(50);
        plan.cases.push(case(Cache::Cold));
        assert!(!run(&plan).cells[0].samples_gbps.is_empty());
    }

    /// Copies everything but the last byte.
    unsafe extern "C" fn short_copy(dst: *mut c_void, src: *const c_void, bytes: usize) -> *mut c_void {
        // SAFETY: the bench passes ranges of `bytes`.
        unsafe { std::ptr::copy_nonoverlapping(src.cast::<u8>(), dst.cast::<u8>(), bytes - 1) };
        dst
    }

    #[test]
    fn a_wrong_byte_is_an_error() {
        for cache in [Cache::Cold, Cache::Hot, Cache::Mixed] {
            let mut plan = plan(&["per-page"], vec![case(cache)]);
            plan.contenders.push(Contender::from_function("short", short_copy));
            let error = plan.run(&mut Watcher { rounds: 0, stop_after: u32::MAX }).unwrap_err();
            let BenchError::WrongByte { contender, offset, .. } = error else { panic!("{error}") };
            assert_eq!((contender.as_str(), offset), ("short", (16 << 10) - 1));
        }
    }

    #[test]
    fn what_exceeds_memory_is_refused_before_it_runs() {
        let mut plan = plan(
            &["per-page"],
            vec![Case { folio_bytes: 1 << 30, nodes: Some((0, 2)), ..case(Cache::Cold) }],
        );
        let mut available = Available {
            limited_by_cgroup: false,
            bytes: 4 << 30,
            hugetlb_bytes: 1 << 30,
            node_bytes: vec![(0, 2 << 30), (2, 2 << 30)],
        };
        plan.check(&available).unwrap();
        available.node_bytes[1].1 = 512 << 20;
        let error = plan.check(&available).unwrap_err().to_string();
        assert!(
            error.starts_with("cold 1G 0->2 needs 1024 MiB of memory on node 2 and 512 MiB are available"),
            "{error}"
        );
        available.bytes = 2 << 30;
        let error = plan.check(&available).unwrap_err().to_string();
        assert!(error.contains("needs 2052 MiB of memory and 2048 MiB are available"), "{error}");
        plan.memory = MemoryKind::Hugetlb;
        let error = plan.check(&available).unwrap_err().to_string();
        assert!(
            error.contains("2048 MiB of reserved huge pages") && error.contains(RESERVED_HUGE_PAGES),
            "{error}"
        );
    }
}
