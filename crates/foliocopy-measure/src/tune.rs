//! Finds out by what decisions copies are fastest on this CPU.
//!
//! What is built in stays unless something else is measured faster: a candidate takes its place where the
//! geometric mean of its speed-ups, over all situations in which the decision counts, lies above 1 with its
//! whole interval, corrected for the number of candidates. So noise changes nothing, and a profile that
//! differs from the built-in policy differs for a reason.

mod candidate;
mod threshold;
mod trial;

use std::time::{Duration, Instant};

use foliocopy::profile::{Evidence, Gain};
use foliocopy::{CopyError, Cpu, Decisions, Features, Locality, Policy, Registers};
use thiserror::Error;

use crate::affinity;
use crate::bench::{BenchError, Case, Crew, Observer, Plan, Then};
use crate::contender::{Contender, ContenderError};
use crate::eviction;
use crate::latency::TimeStampCounter;
use crate::memory::MemoryKind;
use crate::result::{Cache, Cell};
use candidate::Candidate;
use trial::Trial;

/// Rounds of a measurement at most.
const ROUNDS: u32 = 41;

/// Rounds after which the buffers are laid out anew.
const LAYOUT_ROUNDS: u32 = 8;

/// Bytes copied in a hot run.
const TOTAL_HOT: u64 = 4 << 20;

/// The folios by which it is decided how the cache is passed.
const PAST: [u64; 4] = [16 << 10, 64 << 10, 256 << 10, 2 << 20];
/// From this length on the long prefetch distance counts ([`Decisions::long_prefetch_distance`]).
const LONG_FROM: u64 = 128 << 10;
/// Those by which it is decided what copies through it: a page, and more.
const THROUGH: [u64; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 2 << 20];
/// Those of which the first page may tell how the rest is copied.
const FEW_PAGES: [u64; 3] = [8 << 10, 16 << 10, 32 << 10];
/// Where passing the cache may begin.
const THRESHOLDS: [u64; 7] = [32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, 2 << 20];

/// Where leaving prefetching to the CPU may begin.
const UNPREFETCHED: [u64; 4] = [512 << 10, 1 << 20, 2 << 20, 8 << 20];

/// How much copy and one read of the destination together may keep of their speed by passing the cache before that begins
/// later: the copy alone gains four times what they lose, and not every destination is read.
const TOLERABLE_WITH_READ: f64 = 0.9;

/// How many cases an observer hears of at most.
pub const CASES: usize =
    2 * PAST.len() + UNPREFETCHED.len() + 4 * THROUGH.len() + 2 * FEW_PAGES.len() + THRESHOLDS.len();

/// How the measurement is made.
#[derive(Debug)]
pub struct Settings {
    /// The CPU, less what a mask hides.
    pub cpu: Cpu,
    /// About so long.
    pub time: Duration,
    /// Bytes streamed through the caches before each cold run.
    pub evict_bytes: usize,
    /// Bytes copied in a cold run.
    pub cold_run_bytes: u64,
    /// Seed of all that is shuffled and resampled.
    pub seed: u64,
    /// Whether latencies can be sampled.
    pub counter: TimeStampCounter,
}

/// What was found.
#[derive(Debug)]
pub struct Tuned {
    /// How a process copies best.
    pub process: Decisions,
    /// How a kernel does, in general-purpose registers.
    pub kernel: Decisions,
    /// By how much the process's decisions are faster than those built in; empty where they are the same.
    pub gains: Vec<Gain>,
    /// On what the decisions rest.
    pub evidence: Vec<Evidence>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum TuneError {
    /// A measurement could not be made.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// A candidate can't take part.
    #[error(transparent)]
    Contender(#[from] ContenderError),
    /// A candidate can't run here.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// Somebody ended it.
    #[error("interrupted")]
    Interrupted,
}

/// Measures.
///
/// # Errors
///
/// Where it can't, or was interrupted.
pub fn tune(settings: &Settings, observer: &mut dyn Observer) -> Result<Tuned, TuneError> {
    let policy = Policy::new(settings.cpu, Registers::Vector);
    let mut tuner = Tuner {
        settings,
        policy,
        process: *policy.decisions(),
        kernel: *Policy::new(settings.cpu, Registers::GeneralPurpose).decisions(),
        evidence: Vec::new(),
        cases: 0,
        done: 0.0,
        started: Instant::now(),
        observer,
    };
    tuner.past_the_cache()?;
    tuner.no_prefetch()?;
    tuner.through_the_cache()?;
    tuner.in_l1()?;
    tuner.threshold()?;
    let gains = tuner.gains()?;
    let Tuner { process, kernel, evidence, .. } = tuner;
    Ok(Tuned { process, kernel, gains, evidence })
}

struct Tuner<'a> {
    settings: &'a Settings,
    /// What is built in.
    policy: Policy,
    process: Decisions,
    kernel: Decisions,
    evidence: Vec<Evidence>,
    /// Cases measured so far, and the part of the time that was given to them.
    cases: usize,
    done: f64,
    started: Instant,
    observer: &'a mut dyn Observer,
}

impl Tuner<'_> {
    /// What stores past the cache, and how far ahead it prefetches.
    fn past_the_cache(&mut self) -> Result<(), TuneError> {
        let candidates = Candidate::all_non_temporal(&self.settings.cpu, [&self.process, &self.kernel]);
        let decisions = |candidate: &Candidate| Decisions {
            non_temporal: candidate.primitive,
            prefetch_distance: candidate.prefetch_distance,
            long_prefetch_distance: None,
            no_prefetch_from: None,
            ..self.process
        };
        let contenders = self.contenders(&candidates, decisions, Locality::NonTemporal)?;
        let cells = self.measure(contenders, self.cases(&[Cache::Cold], &PAST, None), 0.35)?;
        self.process = self.decide_past_the_cache("process", self.process, &candidates, &cells);
        self.kernel = self.decide_past_the_cache("kernel", self.kernel, &of_kernel(&candidates), &cells);
        Ok(())
    }

    /// Long copies decide the primitive, short ones how far ahead of them it prefetches.
    fn decide_past_the_cache(
        &mut self,
        place: &str,
        built_in: Decisions,
        candidates: &[Candidate],
        cells: &[Cell],
    ) -> Decisions {
        let (long, short) = cells.iter().partition(|cell| cell.folio_bytes >= LONG_FROM);
        let decision = format!("{place}.non_temporal");
        let best = self.decide(&decision, Candidate::long(&built_in), candidates, long);
        let decisions = Decisions {
            non_temporal: best.primitive,
            long_prefetch_distance: Some(best.prefetch_distance),
            no_prefetch_from: built_in.no_prefetch_from.filter(|_| best.primitive == built_in.non_temporal),
            ..built_in
        };
        let same = candidates.iter().copied().filter(|candidate| candidate.primitive == best.primitive);
        let same: Vec<Candidate> = same.collect();
        // Of another primitive than the one built in the short distance may not have been tried.
        let incumbent =
            Some(Candidate::short(&decisions)).filter(|short| same.contains(short)).unwrap_or(best);
        let decision = format!("{place}.prefetch_distance");
        let best = self.decide(&decision, incumbent, &same, short);
        Decisions { prefetch_distance: best.prefetch_distance, ..decisions }
    }

    /// From which length on what stores past the cache leaves prefetching to the CPU.
    fn no_prefetch(&mut self) -> Result<(), TuneError> {
        let places = [
            ("process.no_prefetch_from", ["process, prefetching", "process, not prefetching"], self.process),
            ("kernel.no_prefetch_from", ["kernel, prefetching", "kernel, not prefetching"], self.kernel),
        ];
        let mut contenders = Vec::new();
        for (_, names, decisions) in places {
            for (name, no_prefetch_from) in names.into_iter().zip([None, Some(0)]) {
                let policy = self.policy.deciding(Decisions { no_prefetch_from, ..decisions })?;
                contenders.push(Contender::of_policy(name, policy, Locality::NonTemporal)?);
            }
        }
        let cells = self.measure(contenders, self.cases(&[Cache::Cold], &UNPREFETCHED, None), 0.05)?;
        let [process, kernel] = places.map(|(decision, [prefetching, not], decisions)| {
            let trial = Trial {
                decision,
                incumbent: prefetching,
                challengers: &[not.to_owned()],
                cells: cells.iter().collect(),
            };
            trial.decide(&mut self.evidence);
            let gains: Vec<_> = trial.gains(not, false).collect();
            threshold::decide(decisions.no_prefetch_from, &gains, 1.0)
        });
        self.process.no_prefetch_from = process;
        self.kernel.no_prefetch_from = kernel;
        Ok(())
    }

    /// What stores through the cache: a page, and more.
    fn through_the_cache(&mut self) -> Result<(), TuneError> {
        let candidates = Candidate::all_temporal(&self.settings.cpu);
        let decisions = |Candidate { primitive, .. }: &Candidate| Decisions {
            temporal: *primitive,
            page: *primitive,
            in_l1: None,
            in_l1_up_to: 0,
            ..self.process
        };
        let contenders = self.contenders(&candidates, decisions, Locality::Temporal)?;
        let cells = self.measure(contenders, self.cases(&[Cache::Cold, Cache::Hot], &THROUGH, None), 0.25)?;
        let of =
            |counts: fn(u64) -> bool| cells.iter().filter(move |cell| counts(cell.folio_bytes)).collect();
        let (page, more, all) = (of(|bytes| bytes == 4096), of(|bytes| bytes >= 64 << 10), of(|_| true));
        let incumbent = Candidate::temporal(self.process.page);
        self.process.page = self.decide("process.page", incumbent, &candidates, page).primitive;
        let incumbent = Candidate::temporal(self.process.temporal);
        self.process.temporal = self.decide("process.temporal", incumbent, &candidates, more).primitive;
        // The module has one parameter for a page and for more.
        let incumbent = Candidate::temporal(self.kernel.temporal);
        self.kernel.temporal =
            self.decide("kernel.temporal", incumbent, &of_kernel(&candidates), all).primitive;
        self.kernel.page = self.kernel.temporal;
        Ok(())
    }

    /// What copies a few pages if the first turns out to be in the L1, and how many.
    fn in_l1(&mut self) -> Result<(), TuneError> {
        const ALONE: &str = "temporal";
        if !self.settings.cpu.has(Features::TSC) {
            return Ok(());
        }
        let temporal = self.process.temporal;
        let mut candidates = Candidate::all_temporal(&self.settings.cpu);
        candidates.retain(|candidate| !candidate.primitive.is_kernel() && candidate.primitive != temporal);
        let up_to = FEW_PAGES[FEW_PAGES.len() - 1] as usize;
        let alone = Decisions { in_l1: None, in_l1_up_to: 0, ..self.process };
        let decisions = |Candidate { primitive, .. }: &Candidate| Decisions {
            in_l1: Some(*primitive),
            in_l1_up_to: up_to,
            ..alone
        };
        let mut contenders = self.contenders(&candidates, decisions, Locality::Temporal)?;
        contenders.push(Contender::of_policy(ALONE, self.policy.deciding(alone)?, Locality::Temporal)?);
        let names: Vec<String> = contenders.iter().map(|contender| contender.name().to_owned()).collect();
        let cells =
            self.measure(contenders, self.cases(&[Cache::Cold, Cache::Hot], &FEW_PAGES, None), 0.15)?;
        let built_in = *self.policy.decisions();
        let mut best = (None, 0);
        for bytes in FEW_PAGES {
            let incumbent =
                built_in.in_l1.filter(|one| bytes as usize <= built_in.in_l1_up_to && *one != temporal);
            let incumbent = incumbent.map_or(ALONE, |primitive| primitive.name());
            let winner = Trial {
                decision: "process.in_l1",
                incumbent,
                challengers: &names,
                cells: cells.iter().filter(|cell| cell.folio_bytes == bytes).collect(),
            }
            .decide(&mut self.evidence);
            let winner = candidates.iter().map(|one| one.primitive).find(|one| one.name() == winner);
            match (winner, best) {
                (Some(primitive), (None, 0)) => best = (Some(primitive), bytes as usize),
                (Some(primitive), (Some(first), _)) if primitive == first => best.1 = bytes as usize,
                _ => break,
            }
        }
        (self.process.in_l1, self.process.in_l1_up_to) = best;
        self.process.prefetch_up_to = self.process.prefetch_up_to.min(self.process.in_l1_up_to);
        Ok(())
    }

    /// From which length on what is in memory passes the cache.
    fn threshold(&mut self) -> Result<(), TuneError> {
        let policy = self.policy.deciding(self.process)?;
        let localities = [Locality::Temporal, Locality::NonTemporal];
        let [temporal, non_temporal] = localities.map(Locality::name);
        let contenders = localities.map(|locality| Contender::of_policy(locality.name(), policy, locality));
        let contenders = contenders.into_iter().collect::<Result<_, _>>()?;
        let cells =
            self.measure(contenders, self.cases(&[Cache::Cold], &THRESHOLDS, Some(Then::Read)), 0.1)?;
        let trial = Trial {
            decision: "process.non_temporal_from",
            incumbent: temporal,
            challengers: &[non_temporal.to_owned()],
            cells: cells.iter().collect(),
        };
        // The threshold has its own rule, but rests on the same evidence.
        trial.decide(&mut self.evidence);
        let gains: Vec<_> = trial.gains(non_temporal, true).collect();
        let threshold =
            threshold::decide(self.policy.decisions().non_temporal_from, &gains, TOLERABLE_WITH_READ);
        self.process.non_temporal_from = threshold;
        // It was measured with the process's loop, which gains more than a kernel's by passing the cache.
        if self.process.non_temporal.is_kernel() {
            self.kernel.non_temporal_from = threshold;
        }
        Ok(())
    }

    /// How much faster the process's decisions are than those built in.
    fn gains(&mut self) -> Result<Vec<Gain>, TuneError> {
        const BUILT_IN: &str = "built-in";
        const PROFILE: &str = "profile";
        if self.process == *self.policy.decisions() {
            return Ok(Vec::new());
        }
        let profile = self.policy.deciding(self.process)?;
        let mut gains = Vec::new();
        for (locality, caches, folios, share) in [
            (Locality::Auto, &[Cache::Cold, Cache::Hot][..], &THROUGH[..], 0.06),
            (Locality::NonTemporal, &[Cache::Cold], &PAST, 0.04),
        ] {
            let contenders = vec![
                Contender::of_policy(BUILT_IN, self.policy, locality)?,
                Contender::of_policy(PROFILE, profile, locality)?,
            ];
            let cells = self.measure(contenders, self.cases(caches, folios, None), share)?;
            let all: Vec<&Cell> = cells.iter().collect();
            for baseline in cells.iter().filter(|cell| cell.contender == BUILT_IN) {
                let ratio =
                    trial::find(&all, PROFILE, baseline).and_then(|cell| trial::ratio(cell, baseline));
                gains.extend(ratio.zip(baseline.cache).map(|(ratio, cache)| Gain {
                    locality,
                    cache: cache.to_string(),
                    bytes: baseline.folio_bytes,
                    ratio: trial::rounded(ratio),
                }));
            }
        }
        Ok(gains)
    }

    fn cases(&self, caches: &[Cache], folios: &[u64], then: Option<Then>) -> Vec<Case> {
        let total_bytes = |cache| match (cache, then) {
            (Cache::Hot, _) => TOTAL_HOT,
            (_, Some(Then::Read)) => eviction::COLD_RUN_READ_BYTES,
            _ => self.settings.cold_run_bytes,
        };
        let case = |cache, folio_bytes| Case {
            cache,
            folio_bytes,
            total_bytes: total_bytes(cache),
            nodes: None,
            then,
            crew: Crew::One,
            scattered: false,
        };
        caches.iter().flat_map(|cache| folios.iter().map(|bytes| case(*cache, *bytes))).collect()
    }

    /// A contender for each candidate, by its name.
    fn contenders(
        &self,
        candidates: &[Candidate],
        decisions: impl Fn(&Candidate) -> Decisions,
        locality: Locality,
    ) -> Result<Vec<Contender>, TuneError> {
        let contender = |candidate: &Candidate| {
            let policy = self.policy.deciding(decisions(candidate))?;
            Ok(Contender::of_policy(candidate.to_string(), policy, locality)?)
        };
        candidates.iter().map(contender).collect()
    }

    fn decide(
        &mut self,
        decision: &str,
        incumbent: Candidate,
        candidates: &[Candidate],
        cells: Vec<&Cell>,
    ) -> Candidate {
        let challengers: Vec<String> = candidates.iter().map(Candidate::to_string).collect();
        let incumbent_name = incumbent.to_string();
        let trial = Trial { decision, incumbent: &incumbent_name, challengers: &challengers, cells };
        let winner = trial.decide(&mut self.evidence);
        candidates.iter().copied().find(|candidate| candidate.to_string() == winner).unwrap_or(incumbent)
    }

    /// Measures `cases` in about `share` of the whole time, or in what earlier ones have left of theirs.
    fn measure(
        &mut self,
        contenders: Vec<Contender>,
        cases: Vec<Case>,
        share: f64,
    ) -> Result<Vec<Cell>, TuneError> {
        let settings = self.settings;
        let (number, until) = (cases.len(), self.done + share);
        let plan = Plan {
            contenders,
            cases,
            rounds: ROUNDS,
            time: settings.time.mul_f64(until.min(1.0)).saturating_sub(self.started.elapsed()),
            memory: MemoryKind::Thp,
            evict_bytes: settings.evict_bytes,
            layout_rounds: LAYOUT_ROUNDS,
            until: None,
            seed: settings.seed,
            counter: settings.counter,
            cpus: affinity::allowed_cpus().unwrap_or_default(),
        };
        plan.check(&crate::memory::Available::detect())?;
        let mut part = Part { observer: self.observer, first: self.cases, done: self.done, share };
        let outcome = plan.run(&mut part)?;
        (self.cases, self.done) = (self.cases + number, until);
        if outcome.complete { Ok(outcome.cells) } else { Err(TuneError::Interrupted) }
    }
}

/// One of several measurements, as part of the whole.
struct Part<'a> {
    observer: &'a mut dyn Observer,
    first: usize,
    done: f64,
    share: f64,
}

impl Observer for Part<'_> {
    fn case(&mut self, index: usize, case: &Case) {
        self.observer.case(self.first + index, case);
    }

    fn progress(&mut self, done: f64) {
        self.observer.progress((self.done + done * self.share).min(1.0));
    }

    fn interrupted(&self) -> bool {
        self.observer.interrupted()
    }
}

/// Those that need general-purpose registers only.
fn of_kernel(candidates: &[Candidate]) -> Vec<Candidate> {
    candidates.iter().copied().filter(|candidate| candidate.primitive.is_kernel()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Watcher {
        cases: usize,
        stop_after: usize,
    }

    impl Observer for Watcher {
        fn case(&mut self, index: usize, _: &Case) {
            assert_eq!(index, self.cases);
            self.cases += 1;
        }

        fn progress(&mut self, done: f64) {
            assert!((0.0..=1.0).contains(&done), "{done}");
        }

        fn interrupted(&self) -> bool {
            self.cases > self.stop_after
        }
    }

    fn settings() -> Settings {
        Settings {
            cpu: *Policy::host().unwrap().cpu(),
            time: Duration::ZERO,
            evict_bytes: 1 << 20,
            cold_run_bytes: 2 << 20,
            seed: 1,
            counter: TimeStampCounter::detect(),
        }
    }

    /// One round each: too few for anything to change.
    #[test]
    fn without_rounds_enough_what_is_built_in_stays() {
        let mut watcher = Watcher { cases: 0, stop_after: usize::MAX };
        let settings = settings();
        let tuned = tune(&settings, &mut watcher).unwrap();
        let built_in = |registers| *Policy::new(settings.cpu, registers).decisions();
        assert_eq!(tuned.process, built_in(Registers::Vector));
        assert_eq!(tuned.kernel, built_in(Registers::GeneralPurpose));
        assert!(tuned.gains.is_empty(), "nothing to compare");
        assert!(watcher.cases <= CASES);
        for decision in [
            "process.non_temporal",
            "process.no_prefetch_from",
            "kernel.temporal",
            "process.page",
            "process.non_temporal_from",
        ] {
            assert!(tuned.evidence.iter().any(|evidence| evidence.decision == decision), "{decision}");
        }
        for evidence in &tuned.evidence {
            assert_eq!(evidence.rounds, 1);
            assert!(evidence.ratios.values().flatten().all(|ratio| ratio.is_finite() && *ratio > 0.0));
            assert!(!evidence.ratios.contains_key(&evidence.baseline));
        }
    }

    #[test]
    fn it_can_be_ended() {
        let answer = tune(&settings(), &mut Watcher { cases: 0, stop_after: 4 });
        assert!(matches!(answer, Err(TuneError::Interrupted)));
    }
}
