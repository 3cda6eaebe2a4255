//! Chooses tables by the samples of a survey.
//!
//! What is built in stays unless something else is faster for sure, or unless it breaks a rule by which tables are judged. Over the
//! lengths it is the cheapest way: each band more has to gain a little, so that noise makes no bands.

use foliocopy::{Band, Bands, Limit, Locality, MOST_BANDS, PAGE_SIZE, Policy, Row, Step};

use super::judge::{HOT, KEPT_SHORT, KEPT_WITH_READ, SHORT};
use super::samples::{Rounds, Samples, State, interval, least_rounds};
use super::steps::{allows, is_past, is_through};
use crate::statistics::{CONFIDENCE, Interval, geometric_mean_interval, median};

/// The least gain of a change from a built-in step: a hundredth.
const CHANGE: f64 = 0.01;

/// A candidate that is no faster for sure does not replace another: this cost keeps it from that.
const UNSURE: f64 = 0.003;

/// More than any speed makes up for: a broken rule.
const BROKEN: f64 = 10.0;

/// The choice for one length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The table.
    pub locality: Locality,
    /// Bytes of the copy.
    pub bytes: u64,
    /// The built-in step.
    pub built_in: Step,
    /// The chosen step.
    pub chosen: Step,
    /// The speed of the chosen step as a ratio to the built-in one: the mean over the states of the cache that count.
    pub gain: Interval,
    /// The step that may be faster than the chosen one, or may be not: more rounds would tell.
    pub undecided: Option<Rival>,
}

/// A step that may be faster than the chosen one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rival {
    /// The step.
    pub step: Step,
    /// How many times as many rounds would tell whether it is faster than the built-in step. An estimate: an interval is
    /// half as wide after four times as many.
    pub times: f64,
}

/// The row that `registers` have by these samples, with the choice for each length, beside what `built_in` has.
pub fn choose(samples: &Samples, built_in: &Policy) -> (Row, Vec<Choice>) {
    let chooser = Chooser { samples, built_in };
    let mut choices = Vec::new();
    let mut bands = |locality: Locality| {
        let (bands, chosen) = chooser.table(locality);
        choices.extend(chosen);
        bands
    };
    let row = Row {
        temporal: bands(Locality::Temporal),
        non_temporal: bands(Locality::NonTemporal),
        auto: bands(Locality::Auto),
    };
    (row, choices)
}

struct Chooser<'a> {
    samples: &'a Samples,
    built_in: &'a Policy,
}

/// A step at one length, and what it costs to have it in the table: the logarithm of how much slower than what is built in.
#[derive(Clone, Copy)]
struct Candidate {
    step: Step,
    cost: f64,
    gain: Interval,
    may_be_faster: bool,
    /// As [`Rival`] has it.
    times: f64,
}

/// As fast as another.
const EVEN: Interval = Interval { median: 1.0, low: 1.0, high: 1.0 };

impl Chooser<'_> {
    fn step(&self, locality: Locality, bytes: u64) -> Step {
        self.built_in.step(locality, bytes as usize)
    }

    /// The table, with the choice for each length that was measured.
    fn table(&self, locality: Locality) -> (Bands, Vec<Choice>) {
        let lengths = self.lengths(locality);
        let candidates: Vec<Vec<Candidate>> =
            lengths.iter().map(|bytes| self.candidates(locality, *bytes)).collect();
        // Limits of what is built in may lie between two lengths, and then there are more bands than changes.
        let tables = (0..MOST_BANDS).rev().find_map(|changes| {
            let choices = self.choices(locality, &lengths, &candidates, changes);
            Some((self.bands(locality, &choices)?, choices))
        });
        tables.unwrap_or_else(|| (Bands::always(self.step(locality, u64::MAX >> 1)), Vec::new()))
    }

    fn choices(
        &self,
        locality: Locality,
        lengths: &[u64],
        candidates: &[Vec<Candidate>],
        changes: usize,
    ) -> Vec<Choice> {
        let is_built_in = |length: usize, step| self.step(locality, lengths[length]) == step;
        let path = cheapest(candidates, is_built_in, changes);
        let choice = |((bytes, candidates), place): ((&u64, &Vec<Candidate>), usize)| {
            let chosen = candidates[place];
            let rival = candidates.iter().filter(|other| other.may_be_faster && other.step != chosen.step);
            let rival = rival.max_by(|one, other| one.gain.median.total_cmp(&other.gain.median));
            Choice {
                locality,
                bytes: *bytes,
                built_in: self.step(locality, *bytes),
                chosen: chosen.step,
                gain: chosen.gain,
                undecided: rival
                    .filter(|rival| rival.gain.median > chosen.gain.median * (1.0 + CHANGE))
                    .map(|rival| Rival { step: rival.step, times: rival.times }),
            }
        };
        lengths.iter().zip(candidates).zip(path).map(choice).collect()
    }

    /// The lengths at which the table is chosen: where it can be told what a hot source loses, as far as that counts.
    fn lengths(&self, locality: Locality) -> Vec<u64> {
        let longest_hot = self.samples.lengths(State::Hot).last().copied().unwrap_or(0);
        let last_level = self.built_in.cpu().caches().l3 as u64;
        let mut lengths = self.samples.lengths(State::Cold);
        lengths.retain(|bytes| {
            locality == Locality::NonTemporal
                || *bytes <= longest_hot
                || last_level != 0 && *bytes > last_level
        });
        lengths
    }

    /// The states of the cache that count.
    fn states(&self, locality: Locality, bytes: u64) -> Vec<State> {
        let hot = locality != Locality::NonTemporal && self.samples.rounds((State::Hot, bytes)) != 0;
        let states = [Some(State::Cold), hot.then_some(State::Hot)];
        states.into_iter().flatten().collect()
    }

    fn candidates(&self, locality: Locality, bytes: u64) -> Vec<Candidate> {
        let built_in = self.step(locality, bytes);
        let measured = self.samples.steps((State::Cold, bytes));
        let mut steps: Vec<Step> =
            measured.into_iter().filter(|step| self.has_place(locality, bytes, *step)).collect();
        if !steps.contains(&built_in) {
            steps.push(built_in);
        }
        let confidence = 1.0 - (1.0 - CONFIDENCE) / steps.len() as f64;
        let candidate = |step| self.candidate(locality, bytes, [step, built_in], confidence);
        steps.into_iter().filter_map(candidate).collect()
    }

    fn candidate(
        &self,
        locality: Locality,
        bytes: u64,
        [step, built_in]: [Step; 2],
        confidence: f64,
    ) -> Option<Candidate> {
        let broken = BROKEN * self.broken_rules(locality, bytes, step, step == built_in) as f64;
        if step == built_in {
            return Some(Candidate { step, cost: broken, gain: EVEN, may_be_faster: false, times: 1.0 });
        }
        let ratio = |state| self.samples.ratio(Rounds::All, (state, bytes), [step, built_in], confidence);
        let states = self.states(locality, bytes);
        let rounds = states.iter().map(|state| self.samples.rounds((*state, bytes))).min()?;
        let gain = geometric_mean_interval(&states.into_iter().map(ratio).collect::<Option<Vec<_>>>()?)?;
        let slower = -gain.median.ln();
        let cost = if gain.low > 1.0 { slower } else { slower.max(0.0) + UNSURE };
        let may_be_faster = gain.high > 1.0 && broken == 0.0;
        let times = match gain.high.is_finite() {
            true => times_to_tell(gain),
            false => least_rounds(confidence) as f64 / rounds.max(1) as f64,
        };
        Some(Candidate { step, cost: cost + broken, gain, may_be_faster, times })
    }

    /// Whether the step may be in that table at that length.
    fn has_place(&self, locality: Locality, bytes: u64, step: Step) -> bool {
        let fits = match locality {
            Locality::Temporal => is_through(step),
            Locality::NonTemporal => is_past(step),
            Locality::Auto => bytes > SHORT || is_through(step),
        };
        // One page has no rest.
        let times_a_page = matches!(step, Step::TimeFirstPage { .. }) && bytes <= PAGE_SIZE as u64;
        let cpu = self.built_in.cpu();
        let is_available = step.primitives().iter().all(|by| by.is_available(cpu));
        fits && !times_a_page && is_available && allows(self.built_in.registers(), step)
    }

    /// The number of rules that it breaks. A built-in step breaks one only for sure.
    fn broken_rules(&self, locality: Locality, bytes: u64, step: Step, is_built_in: bool) -> usize {
        if locality == Locality::NonTemporal {
            return 0;
        }
        let is_below = |ratios: Option<Vec<f64>>, bound: f64| {
            let interval = ratios.and_then(|ratios| interval(&ratios, CONFIDENCE));
            interval.is_some_and(|interval| match is_built_in {
                true => interval.high < bound,
                false => interval.median < bound,
            })
        };
        let to_kernel = |state| self.samples.to_baseline(Rounds::All, (state, bytes), step);
        let registers = self.built_in.registers();
        let to_best = |state| {
            let at = (state, bytes);
            let best = self.samples.best(at, |step| allows(registers, step) && is_through(step))?;
            let own = self.samples.to_baseline(Rounds::All, at, step)?;
            let best = median(&self.samples.to_baseline(Rounds::All, at, best)?)?;
            Some(own.into_iter().map(|ratio| ratio / best).collect())
        };
        let rules = match bytes <= SHORT {
            true => vec![is_below(to_kernel(State::Cold), KEPT_SHORT)],
            false => vec![
                is_below(to_best(State::Hot), HOT),
                locality == Locality::Auto && is_below(to_kernel(State::Read), KEPT_WITH_READ),
            ],
        };
        rules.into_iter().filter(|is_broken| *is_broken).count()
    }

    /// The bands of the chosen steps: what is built in keeps its own limits. A band begins at the length at which its step was
    /// measured. `None` where they are more than a table has.
    fn bands(&self, locality: Locality, chosen: &[Choice]) -> Option<Bands> {
        let mut bands: Vec<(usize, Step)> = Vec::new();
        let mut add = |up_to: usize, step: Step| match bands.last_mut() {
            Some(last) if last.1 == step => last.0 = up_to,
            _ => bands.push((up_to, step)),
        };
        let built_in: Vec<(usize, Step)> = self.built_in.bands(locality).collect();
        let ends = chosen.iter().skip(1).map(|next| next.bytes as usize - PAGE_SIZE).chain([usize::MAX]);
        let mut begin = PAGE_SIZE;
        for (choice, end) in chosen.iter().zip(ends) {
            if choice.chosen == choice.built_in {
                for (up_to, step) in &built_in {
                    if *up_to >= begin {
                        add(end.min(*up_to), *step);
                    }
                    if *up_to >= end {
                        break;
                    }
                }
            } else {
                add(end, choice.chosen);
            }
            begin = end.saturating_add(PAGE_SIZE);
        }
        // Nothing was measured: the built-in table.
        let bands = if chosen.is_empty() { built_in } else { bands };
        let band = |(up_to, step): &(usize, Step)| match *up_to {
            usize::MAX => Band::rest(*step),
            bytes => Band { up_to: Limit::Bytes(bytes), step: *step },
        };
        Bands::try_of(&bands.iter().map(band).collect::<Vec<_>>())
    }
}

/// How many times as many rounds the interval takes to leave 1 out.
fn times_to_tell(ratio: Interval) -> f64 {
    let reach = if ratio.median > 1.0 { ratio.median - ratio.low } else { ratio.high - ratio.median };
    (reach / (ratio.median - 1.0)).powi(2).max(1.0)
}

/// The cheapest way to a candidate, and from which one it comes.
#[derive(Clone, Copy)]
struct Way {
    cost: f64,
    from: usize,
}

const NO_WAY: Way = Way { cost: f64::INFINITY, from: 0 };

/// The place of the candidate for each length, so that all costs and the changes between them add up to the least, with so many
/// changes at most.
fn cheapest(
    candidates: &[Vec<Candidate>],
    is_built_in: impl Fn(usize, Step) -> bool,
    changes: usize,
) -> Vec<usize> {
    // For each length, candidate and number of changes.
    let mut ways: Vec<Vec<Vec<Way>>> = Vec::new();
    for (length, own) in candidates.iter().enumerate() {
        let before = length.checked_sub(1).map(|before| (before, &candidates[before], &ways[before]));
        let to = |candidate: &Candidate| {
            let mut to = vec![NO_WAY; changes + 1];
            let Some((before, steps, ways)) = before else {
                to[0].cost = candidate.cost;
                return to;
            };
            for (from, (step, ways)) in steps.iter().zip(ways).enumerate() {
                let is_change = step.step != candidate.step;
                let is_free = is_built_in(before, step.step) && is_built_in(length, candidate.step);
                let price = if is_change && !is_free { CHANGE } else { 0.0 };
                for (used, way) in ways.iter().enumerate().take(changes + usize::from(!is_change)) {
                    let (cost, place) = (way.cost + candidate.cost + price, used + usize::from(is_change));
                    if cost < to[place].cost {
                        to[place] = Way { cost, from };
                    }
                }
            }
            to
        };
        let all = own.iter().map(to).collect();
        ways.push(all);
    }
    let ends = ways.last().into_iter().flatten().enumerate();
    let ends =
        ends.flat_map(|(place, ways)| ways.iter().enumerate().map(move |(used, way)| (place, used, way)));
    let Some((mut place, mut used, _)) = ends.min_by(|one, other| one.2.cost.total_cmp(&other.2.cost)) else {
        return vec![];
    };
    let mut path = vec![place];
    for length in (1..ways.len()).rev() {
        let from = ways[length][place][used].from;
        used -= usize::from(candidates[length - 1][from].step != candidates[length][place].step);
        place = from;
        path.push(place);
    }
    path.reverse();
    path
}
