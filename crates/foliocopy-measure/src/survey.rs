//! Every step that a table can have, measured in the situations in which tables are judged: what `foliocopy survey` keeps, what
//! `foliocopy tune` decides by, and what the built-in tables are tested against.
//!
//! Losers are dropped early. A first pass gives every copy a few rounds; a second one gives many rounds to those that are close to
//! the best in some state of the cache, to what is built in, and to the probes that can be made of them.

mod choose;
mod judge;
mod samples;
mod steps;

use std::time::{Duration, Instant};

use foliocopy::{Cpu, Features, Primitive, Registers, Step};
use thiserror::Error;

use crate::affinity;
use crate::bench::{BenchError, Case, Crew, LoadPlan, Observer, Outcome, Plan, Then};
use crate::contender::{BASELINE, Contender, ContenderError};
use crate::eviction;
use crate::latency::TimeStampCounter;
use crate::memory::{Available, MemoryKind};
use crate::result::{Cache, Cell, Evict, Parameters};
pub use choose::{Choice, Rival, choose};
use judge::SHORT;
pub use judge::{Share, judge};
use samples::Rounds;
pub use samples::{Samples, State};
use steps::{allows, is_past, is_through, push};

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every distance at every length: for a survey.
    Full,
    /// The distances and lengths by which tables differ: for tuning in a minute.
    Brief,
}

impl Scope {
    /// The lengths, in bytes.
    pub fn lengths(self) -> &'static [u64] {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;
        match self {
            Self::Full => &[
                4 * KIB,
                8 * KIB,
                16 * KIB,
                32 * KIB,
                64 * KIB,
                128 * KIB,
                256 * KIB,
                512 * KIB,
                MIB,
                2 * MIB,
                4 * MIB,
                16 * MIB,
                64 * MIB,
            ],
            Self::Brief => {
                &[4 * KIB, 8 * KIB, 16 * KIB, 32 * KIB, 64 * KIB, 128 * KIB, 256 * KIB, MIB, 4 * MIB]
            }
        }
    }

    /// How many of the best copies go on to the second pass, at a length in a state.
    fn survivors(self) -> usize {
        match self {
            Self::Full => 4,
            Self::Brief => 2,
        }
    }
}

/// Rounds of the first pass at most, and of the second.
const FIRST_ROUNDS: u32 = 3;
const SECOND_ROUNDS: u32 = 41;

/// The part of the time that the first pass may take.
const FIRST_SHARE: f64 = 0.4;

/// Rounds after which the buffers are laid out anew.
const LAYOUT_ROUNDS: u32 = 8;

/// Bytes copied in a hot run.
const HOT_RUN_BYTES: u64 = 4 << 20;

/// The longest hot copy.
const LONGEST_HOT: u64 = 4 << 20;

/// The longest copy whose rest may depend on its first page.
const LONGEST_FIRST_PAGE: u64 = 32 << 10;

/// How the measurement is made.
#[derive(Debug)]
pub struct Settings {
    /// The CPU, less the masked features.
    pub cpu: Cpu,
    /// The CPU as the running kernel sees it, less the masked features.
    pub kernel: Cpu,
    /// How much is measured.
    pub scope: Scope,
    /// About so long.
    pub time: Duration,
    /// Bytes streamed through the caches before each cold run.
    pub evict_bytes: usize,
    /// Bytes copied in a cold run.
    pub cold_run_bytes: u64,
    /// Bytes of the last-level cache, if they are known.
    pub last_level_cache: Option<u64>,
    /// Seed of all that is shuffled.
    pub seed: u64,
    /// Whether latencies can be sampled.
    pub counter: TimeStampCounter,
}

/// Why there are no samples.
#[derive(Debug, Error)]
pub enum SurveyError {
    /// A measurement could not be made.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// A step can't run here.
    #[error(transparent)]
    Contender(#[from] ContenderError),
}

impl Settings {
    /// The situations, a length after the other.
    pub fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for &bytes in self.scope.lengths() {
            let fits = self.last_level_cache.is_none_or(|cache| 2 * bytes <= cache);
            let states = [
                Some(State::Cold),
                (bytes > SHORT && bytes <= LONGEST_HOT).then_some(State::Read),
                (fits && bytes <= LONGEST_HOT).then_some(State::Hot),
            ];
            cases.extend(states.into_iter().flatten().map(|state| self.case(state, bytes)));
        }
        cases
    }

    /// The survey as results keep it.
    pub fn parameters(&self, cpu: u32) -> Parameters {
        Parameters {
            baseline: BASELINE.to_owned(),
            cache: vec![Cache::Cold, Cache::Hot],
            folio_bytes: self.scope.lengths().to_vec(),
            total_bytes_cold: self.cold_run_bytes,
            total_bytes_hot: HOT_RUN_BYTES,
            time_seconds: Some(self.time.as_secs_f64()),
            memory: MemoryKind::Thp.name().to_owned(),
            cpu: Some(cpu),
            evict_bytes: self.evict_bytes as u64,
            layout_rounds: LAYOUT_ROUNDS,
            seed: self.seed,
            ..Parameters::default()
        }
    }

    fn case(&self, state: State, folio_bytes: u64) -> Case {
        let (cache, total_bytes, then) = match state {
            State::Cold => (Cache::Cold, self.cold_run_bytes, None),
            State::Read => (Cache::Cold, eviction::COLD_RUN_READ_BYTES, Some(Then::Read)),
            State::Hot => (Cache::Hot, HOT_RUN_BYTES, None),
        };
        Case {
            cache,
            folio_bytes,
            total_bytes,
            nodes: None,
            then,
            crew: Crew::One,
            scattered: false,
            load: None,
        }
    }
}

/// Measures. What was measured until an interruption is not complete: of some cases it has the first pass alone, or nothing.
///
/// # Errors
///
/// Where it can't.
pub fn measure(settings: &Settings, observer: &mut dyn Observer) -> Result<Outcome, SurveyError> {
    let mut survey =
        Survey { settings, cases: settings.cases(), cells: Vec::new(), started: Instant::now(), observer };
    let first: Vec<Vec<Step>> = survey.cases.iter().map(|case| survey.first(case)).collect();
    let mut complete = survey.pass(&first, Pass::First)?;
    if complete {
        let samples = Samples::first_pass(&survey.cells);
        let second: Vec<Vec<Step>> = survey.cases.iter().map(|case| survey.second(case, &samples)).collect();
        complete = survey.pass(&second, Pass::Second)?;
    }
    Ok(Outcome { cells: survey.cells, complete })
}

fn state(case: &Case) -> State {
    match (case.cache, case.then) {
        (_, Some(_)) => State::Read,
        (Cache::Hot, None) => State::Hot,
        _ => State::Cold,
    }
}

/// The two passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    First,
    Second,
}

/// What tells the cells of the first pass.
const FIRST_PASS: (&str, &str) = ("pass", "first");

struct Survey<'a> {
    settings: &'a Settings,
    cases: Vec<Case>,
    cells: Vec<Cell>,
    started: Instant,
    observer: &'a mut dyn Observer,
}

impl Survey<'_> {
    /// The contenders of the first pass: every copy that could be the best in that state, and the built-in steps.
    fn first(&self, case: &Case) -> Vec<Step> {
        let Settings { cpu, kernel, scope, .. } = self.settings;
        let mut lineup = steps::built_in(cpu, kernel, case.folio_bytes);
        let copies = steps::copies(cpu, *scope == Scope::Brief);
        let takes_part = |step: &Step| match state(case) {
            State::Cold => true,
            // A hot copy past the cache is slow everywhere, and one through it keeps its speed with the read.
            State::Hot => is_through(*step),
            State::Read => is_past(*step) || *scope == Scope::Full,
        };
        copies.into_iter().filter(takes_part).for_each(|step| push(&mut lineup, step));
        lineup
    }

    /// The contenders of the second pass: the built-in steps, the best, and probes made of them.
    fn second(&self, case: &Case, samples: &Samples) -> Vec<Step> {
        let Settings { cpu, kernel, scope, .. } = self.settings;
        let bytes = case.folio_bytes;
        let mut lineup = steps::built_in(cpu, kernel, bytes);
        let mut fars = Vec::new();
        let mut nears = Vec::new();
        for registers in [Registers::Vector, Registers::GeneralPurpose] {
            let best = |state, counts: &dyn Fn(Step) -> bool| {
                ranked(samples, (state, bytes), |step| allows(registers, step) && counts(step))
            };
            let count = scope.survivors();
            for state in [State::Cold, State::Hot] {
                best(state, &is_through).into_iter().take(count).for_each(|step| push(&mut lineup, step));
            }
            let past = best(State::Cold, &is_past);
            past.iter().take(count).for_each(|step| push(&mut lineup, *step));
            fars.push(past.into_iter().take(count.div_ceil(2)).collect::<Vec<_>>());
            let near = best(State::Hot, &|step| is_through(step) && step.near() == step);
            nears.push(near.first().map(|near| near.primitives()[0]));
        }
        let has_counter = cpu.has(Features::TSC);
        if has_counter && bytes <= LONGEST_FIRST_PAGE && bytes > 4 << 10 {
            let rests = strings(cpu);
            steps::first_pages(cpu, &rests).into_iter().for_each(|step| push(&mut lineup, step));
        }
        if has_counter && bytes > SHORT {
            for (near, fars) in nears.iter().zip(&fars) {
                let near: Vec<Primitive> = near.iter().copied().collect();
                steps::probes(&near, fars).into_iter().for_each(|step| push(&mut lineup, step));
            }
        }
        lineup.retain(|step| match state(case) {
            State::Cold => true,
            State::Hot => !is_past(*step),
            State::Read => *scope == Scope::Full || !step.is_probe(),
        });
        lineup
    }

    /// Measures who takes part in each case, in what is left of that share of the time, and adds the samples to the cells. Whether
    /// every case had its turn.
    fn pass(&mut self, lineups: &[Vec<Step>], pass: Pass) -> Result<bool, SurveyError> {
        let (rounds, share) = match pass {
            Pass::First => (FIRST_ROUNDS, FIRST_SHARE),
            Pass::Second => (SECOND_ROUNDS, 1.0),
        };
        let mut all = Vec::new();
        lineups.iter().flatten().for_each(|step| push(&mut all, *step));
        let place = |step: &Step| all.iter().position(|other| other == step);
        let mut contenders = vec![Contender::named(BASELINE)?];
        for step in &all {
            contenders.push(Contender::of_step(*step)?);
        }
        // The kernel's copy comes first, and is everywhere.
        let lineups = lineups.iter().map(|lineup| {
            let steps = lineup.iter().filter_map(place).map(|place| 1 + place);
            [0].into_iter().chain(steps).collect()
        });
        let settings = self.settings;
        let plan = Plan {
            contenders,
            cases: self.cases.clone(),
            lineups: lineups.collect(),
            rounds,
            time: settings.time.mul_f64(share).saturating_sub(self.started.elapsed()),
            memory: MemoryKind::Thp,
            evict_bytes: settings.evict_bytes,
            evict: Evict::Read,
            layout_rounds: LAYOUT_ROUNDS,
            until: None,
            seed: settings.seed ^ u64::from(rounds),
            counter: settings.counter,
            cpus: affinity::allowed_cpus().unwrap_or_default(),
            latency: false,
            load: LoadPlan::default(),
        };
        plan.check(&Available::detect()).map_err(SurveyError::Bench)?;
        let done = self.started.elapsed().as_secs_f64() / settings.time.as_secs_f64().max(f64::MIN_POSITIVE);
        let mut part = Part { observer: self.observer, from: done.min(share), to: share };
        let Outcome { cells, complete } = plan.run(&mut part)?;
        cells.into_iter().for_each(|cell| self.keep(cell, pass));
        Ok(complete)
    }

    /// Keeps a cell of a pass. Of a run that is read afterwards only copy and read together: the copies alone are of another length
    /// than those of the cold run, which comes before it.
    fn keep(&mut self, mut cell: Cell, pass: Pass) {
        if pass == Pass::First {
            cell.dimensions.insert(FIRST_PASS.0.to_owned(), FIRST_PASS.1.to_owned());
        }
        let is_known = self
            .cells
            .iter()
            .any(|known| known.contender == cell.contender && known.situation() == cell.situation());
        if !is_known {
            cell.samples_gbps.iter_mut().for_each(|sample| *sample = rounded(*sample));
            // The proof that cold was cold is the kernel's, once.
            if cell.contender != BASELINE || pass == Pass::First {
                cell.probe_load_cycles.clear();
            }
            self.cells.push(cell);
        }
    }
}

/// To four significant digits: more is noise, and makes the file longer.
fn rounded(gbps: f64) -> f64 {
    let scale = 10f64.powi(3 - gbps.log10().floor() as i32);
    (gbps * scale).round() / scale
}

/// The copies that count, fastest first.
fn ranked(samples: &Samples, at: (State, u64), counts: impl Fn(Step) -> bool) -> Vec<Step> {
    let speed = |step: Step| {
        let ratios = samples.to_baseline(Rounds::All, at, step)?;
        Some((step, crate::statistics::median(&ratios)?))
    };
    let copies = samples.steps(at).into_iter().filter(|step| !step.is_probe() && counts(*step));
    let mut ranked: Vec<(Step, f64)> = copies.filter_map(speed).collect();
    ranked.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    ranked.into_iter().map(|(step, _)| step).collect()
}

/// The string instructions that the CPU is good at.
fn strings(cpu: &Cpu) -> Vec<Primitive> {
    match (cpu.has(Features::ERMS), cpu.has(Features::REP_GOOD)) {
        (true, _) => vec![Primitive::RepMovsb],
        (false, true) => vec![Primitive::RepMovsq],
        (false, false) => vec![],
    }
}

/// One of several measurements, as part of the whole.
struct Part<'a> {
    observer: &'a mut dyn Observer,
    from: f64,
    to: f64,
}

impl Observer for Part<'_> {
    fn case(&mut self, index: usize, case: &Case) {
        self.observer.case(index, case);
    }

    fn progress(&mut self, done: f64) {
        self.observer.progress(self.from + done * (self.to - self.from));
    }

    fn interrupted(&self) -> bool {
        self.observer.interrupted()
    }
}

#[cfg(test)]
mod tests;
