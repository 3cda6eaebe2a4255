//! Decides by the samples of a survey: the rows of a profile, their gain, and the evidence.

use std::collections::BTreeMap;

use foliocopy::profile::{Evidence, Gain};
use foliocopy::{Cpu, Locality, Policy, Registers, Row, RowError, Step};

use crate::contender::step_name;
use crate::statistics::{CONFIDENCE, Interval};
use crate::survey::{Choice, Samples, Share, State, choose, judge};

/// What was found.
#[derive(Debug)]
pub struct Tuned {
    /// How a process copies best.
    pub process: Row,
    /// The row of a kernel, in general-purpose registers.
    pub kernel: Row,
    /// By how much the process's row is faster than the one built in, where they differ.
    pub gains: Vec<Gain>,
    /// The evidence, where the rows differ or more rounds would tell.
    pub evidence: Vec<Evidence>,
    /// What more rounds would tell.
    pub undecided: Vec<Undecided>,
    /// The shares of the best that the built-in rows reach.
    pub built_in: Vec<Share>,
    /// Those of the rows.
    pub tuned: Vec<Share>,
}

/// A decision that is open: another step may be faster than the chosen one, and may be not.
#[derive(Clone, Debug, PartialEq)]
pub struct Undecided {
    /// The table, such as `process.auto`.
    pub decision: String,
    /// Bytes of the copy.
    pub bytes: u64,
    /// The name of the chosen step.
    pub chosen: String,
    /// The name of the other.
    pub rival: String,
    /// How many times as many rounds would tell: an estimate.
    pub times: f64,
}

impl Undecided {
    fn of(place: &str, choice: &Choice) -> Option<Self> {
        let rival = choice.undecided?;
        Some(Self {
            decision: format!("{place}.{}", choice.locality),
            bytes: choice.bytes,
            chosen: step_name(choice.chosen),
            rival: step_name(rival.step),
            times: rival.times,
        })
    }
}

/// Why the samples say nothing.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// A step of a table has no samples.
    #[error("the survey lacks something, so measure anew: {0}")]
    Missing(String),
    /// The CPU can't follow the row that was found.
    #[error("a row can't be followed: {0}")]
    Row(#[from] RowError),
}

/// Decides by the samples of a survey of `cpu`, which the kernel there sees as `kernel`.
///
/// # Errors
///
/// Where they are not enough to judge by.
pub fn tune(samples: &Samples, cpu: Cpu, kernel: Cpu) -> Result<Tuned, TuneError> {
    let places = [(cpu, Registers::Vector), (kernel, Registers::GeneralPurpose)];
    let built_in = places.map(|(cpu, registers)| Policy::new(cpu, registers));
    let [(process, of_process), (kernel_row, of_kernel)] =
        built_in.each_ref().map(|policy| choose(samples, policy));
    let tuned = [
        Policy::with_row(cpu, Registers::Vector, &process)?,
        Policy::with_row(kernel, Registers::GeneralPurpose, &kernel_row)?,
    ];
    let choices = || {
        let of_process = of_process.iter().map(|choice| ("process", choice));
        of_process.chain(of_kernel.iter().map(|choice| ("kernel", choice)))
    };
    Ok(Tuned {
        gains: gains(samples, &of_process),
        evidence: choices().flat_map(|(place, choice)| evidence(samples, place, choice)).collect(),
        undecided: choices().filter_map(|(place, choice)| Undecided::of(place, choice)).collect(),
        built_in: judge(samples, &built_in[0], &built_in[1]).map_err(TuneError::Missing)?,
        tuned: judge(samples, &tuned[0], &tuned[1]).map_err(TuneError::Missing)?,
        process,
        kernel: kernel_row,
    })
}

/// The states of the cache in which a choice counts.
fn states(choice: &Choice) -> &'static [State] {
    match choice.locality {
        Locality::Temporal => &[State::Cold, State::Hot],
        Locality::NonTemporal => &[State::Cold],
        Locality::Auto => &[State::Cold, State::Hot, State::Read],
    }
}

/// What the chosen steps gain where they are not those built in, length by length for each locality and state of the cache.
fn gains(samples: &Samples, choices: &[Choice]) -> Vec<Gain> {
    let differing = choices.iter().filter(|choice| choice.chosen != choice.built_in);
    let mut gains = Vec::new();
    for state in [State::Cold, State::Read, State::Hot] {
        let counts = differing.clone().filter(|choice| states(choice).contains(&state));
        gains.extend(counts.filter_map(|choice| {
            let Choice { locality, bytes, chosen, built_in, .. } = *choice;
            let ratio = samples.of_two(state, bytes, chosen, built_in, CONFIDENCE)?;
            let cache = if state == State::Read { "cold, then read" } else { state.name() }.to_owned();
            Some(Gain { locality, cache, bytes, ratio: rounded(ratio) })
        }));
    }
    gains
}

/// How the chosen step and its closest rival stand to what is built in.
fn evidence(samples: &Samples, place: &str, choice: &Choice) -> Vec<Evidence> {
    let others: Vec<Step> = [Some(choice.chosen), choice.undecided.map(|rival| rival.step)]
        .into_iter()
        .flatten()
        .filter(|step| *step != choice.built_in)
        .collect();
    let of_state = |state: &State| {
        let ratios: BTreeMap<String, [f64; 3]> = others
            .iter()
            .filter_map(|step| {
                let ratio = samples.of_two(*state, choice.bytes, *step, choice.built_in, CONFIDENCE)?;
                Some((step_name(*step), rounded(ratio)))
            })
            .collect();
        (!ratios.is_empty()).then(|| Evidence {
            decision: format!("{place}.{}", choice.locality),
            cache: if *state == State::Hot { "hot" } else { "cold" }.to_owned(),
            bytes: choice.bytes,
            with_read: *state == State::Read,
            rounds: samples.rounds((*state, choice.bytes)),
            baseline: step_name(choice.built_in),
            ratios,
        })
    };
    states(choice).iter().filter_map(of_state).collect()
}

/// Median, lower and upper end, as a profile keeps them: to four places.
fn rounded(interval: Interval) -> [f64; 3] {
    [interval.median, interval.low, interval.high].map(|value| (value * 1e4).round() / 1e4)
}
