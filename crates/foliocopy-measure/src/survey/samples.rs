//! The samples of a survey, by state of the cache, length and step.

use std::collections::BTreeMap;

use foliocopy::Step;

use super::FIRST_PASS;
use crate::contender::{BASELINE, StepName, step_name};
use crate::result::{Cache, Cell};
use crate::statistics::{Interval, median, median_interval, paired_ratios};

/// The state of the caches, and the work that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Neither source nor destination is in a cache.
    Cold,
    /// Neither is in a cache, and the destination is read once after the copy.
    Read,
    /// Both.
    Hot,
}

impl State {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Read => "read",
            Self::Hot => "hot",
        }
    }

    fn of(cell: &Cell) -> Option<Self> {
        let reads = cell.dimensions.get("then").map(String::as_str);
        match (cell.cache?, reads) {
            (Cache::Cold, None) => Some(Self::Cold),
            (Cache::Hot, None) => Some(Self::Hot),
            (Cache::Cold, Some("read")) => Some(Self::Read),
            _ => None,
        }
    }
}

/// How far ahead a first page is prefetched.
const PAGE_DISTANCE: u32 = 512;

/// The rounds that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounds {
    All,
    /// The rounds in which the best is chosen.
    Even,
    /// The rounds in which others are compared with the best.
    Odd,
}

impl Rounds {
    fn of(self, values: Vec<f64>) -> Vec<f64> {
        let chosen: Vec<f64> = match self {
            Self::All => return values,
            Self::Even => values.iter().step_by(2).copied().collect(),
            Self::Odd => values.iter().skip(1).step_by(2).copied().collect(),
        };
        // One round has no halves.
        if chosen.is_empty() { values } else { chosen }
    }
}

/// Samples in GB/s by the step's name. Samples at one place of any two steps come from one round.
type Steps = BTreeMap<String, Vec<f64>>;

/// Samples, by state and length.
#[derive(Debug, Default)]
pub struct Samples {
    cells: BTreeMap<(State, u64), Steps>,
    /// Samples of the first pass, with every copy.
    first: BTreeMap<(State, u64), Steps>,
}

impl Samples {
    /// Those of a survey's cells.
    pub fn of(cells: &[Cell]) -> Self {
        let mut samples = Self::default();
        for cell in cells {
            let is_known = cell.contender == BASELINE || cell.contender.parse::<StepName>().is_ok();
            let is_first = cell.dimensions.get(FIRST_PASS.0).is_some_and(|pass| pass == FIRST_PASS.1);
            let pass = if is_first { &mut samples.first } else { &mut samples.cells };
            if let (Some(state), true) = (State::of(cell), is_known) {
                let steps = pass.entry((state, cell.folio_bytes)).or_default();
                steps.insert(cell.contender.clone(), cell.samples_gbps.clone());
            }
        }
        samples
    }

    /// Those of the first pass alone.
    pub(super) fn first_pass(cells: &[Cell]) -> Self {
        let Self { first, .. } = Self::of(cells);
        Self { cells: first, ..Self::default() }
    }

    /// The lengths that were measured in that state, shortest first.
    pub fn lengths(&self, state: State) -> Vec<u64> {
        self.cells.keys().filter(|(of, _)| *of == state).map(|(_, bytes)| *bytes).collect()
    }

    /// The steps that were measured there to the end, in an order that does not change.
    pub(super) fn steps(&self, at: (State, u64)) -> Vec<Step> {
        let names = self.cells.get(&at).into_iter().flatten();
        names.filter_map(|(name, _)| name.parse().ok()).map(|StepName(step)| step).collect()
    }

    /// How many rounds there are.
    pub fn rounds(&self, at: (State, u64)) -> usize {
        self.cells.get(&at).and_then(|steps| steps.get(BASELINE)).map_or(0, Vec::len)
    }

    /// The ratios of two, round by round: of the first pass, where one of them was dropped after it.
    fn paired(
        &self,
        at: (State, u64),
        find: impl Fn(&Steps) -> Option<(&Vec<f64>, &Vec<f64>)>,
    ) -> Option<Vec<f64>> {
        let passes = [self.cells.get(&at), self.first.get(&at)];
        let (one, other) = passes.into_iter().flatten().find_map(find)?;
        Some(paired_ratios(one, other))
    }

    /// The speed of a step as a ratio to the kernel's copy, round by round.
    pub(super) fn to_baseline(&self, rounds: Rounds, at: (State, u64), step: Step) -> Option<Vec<f64>> {
        let ratios = self.paired(at, |steps| Some((of_step(steps, at.0, step)?, steps.get(BASELINE)?)));
        ratios.map(|ratios| rounds.of(ratios))
    }

    /// The speed of one step as a ratio to another's, with its interval at `confidence`.
    pub(super) fn ratio(
        &self,
        rounds: Rounds,
        at: (State, u64),
        [step, to]: [Step; 2],
        confidence: f64,
    ) -> Option<Interval> {
        let ratios = self.paired(at, |steps| Some((of_step(steps, at.0, step)?, of_step(steps, at.0, to)?)));
        interval(&rounds.of(ratios?), confidence)
    }

    /// The speed of one step as a ratio to another's, over all rounds, with its interval at `confidence`.
    pub fn of_two(
        &self,
        state: State,
        bytes: u64,
        step: Step,
        to: Step,
        confidence: f64,
    ) -> Option<Interval> {
        self.ratio(Rounds::All, (state, bytes), [step, to], confidence)
    }

    /// The fastest copy by one primitive of those that `counts`, in the rounds in which the best is chosen.
    pub(super) fn best(&self, at: (State, u64), counts: impl Fn(Step) -> bool) -> Option<Step> {
        let copies = self.steps(at).into_iter().filter(|step| !step.is_probe() && counts(*step));
        copies
            .filter_map(|step| Some((step, median(&self.to_baseline(Rounds::Even, at, step)?)?)))
            .max_by(|(_, one), (_, other)| one.total_cmp(other))
            .map(|(step, _)| step)
    }
}

/// How many rounds an interval at `confidence` takes at least: all of them lie on one side of the truth once in 2^(rounds - 1).
pub(super) fn least_rounds(confidence: f64) -> usize {
    1 + (-(1.0 - confidence).log2()).ceil() as usize
}

/// The median with its interval at `confidence`. After too few rounds it may be anywhere.
pub(super) fn interval(ratios: &[f64], confidence: f64) -> Option<Interval> {
    let interval = median_interval(ratios, confidence)?;
    Some(if ratios.len() >= least_rounds(confidence) {
        interval
    } else {
        Interval { low: 0.0, high: f64::INFINITY, ..interval }
    })
}

/// The samples of a step. A probe without samples counts as the copy that it becomes in that state, without its own cost.
fn of_step(steps: &Steps, state: State, step: Step) -> Option<&Vec<f64>> {
    let resolved = match (step, state) {
        (Step::TimeFirstPage { first: by, .. }, State::Hot) => {
            Step::Copy { by, distance: if by.prefetches(PAGE_DISTANCE) { PAGE_DISTANCE } else { 0 } }
        }
        (_, State::Hot) => step.near(),
        _ => step.far(),
    };
    steps.get(&step_name(step)).or_else(|| steps.get(&step_name(resolved)))
}
