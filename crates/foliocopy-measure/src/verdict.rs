//! The rule of a verdict, for every command that gives one, and what the figures of one run come to.

use std::fmt;

use crate::contender::RFC;
use crate::result::{Cell, Origin, Results, Situation};
use crate::statistics::{Interval, geometric_mean_interval, rounds_needed};

/// The smallest difference that counts unless told otherwise: 0.02 is 2 %.
pub const MINIMAL_EFFECT: f64 = 0.02;

/// How many cells are named at most.
const SHOWN: usize = 12;

/// How many geometric means stand in the verdict's own sentence. More of them make a list.
const IN_THE_SENTENCE: usize = 2;

/// Beyond so many times the rounds it had, a cell is not promised a decision.
const PATIENCE: f64 = 100.0;

/// How one stands to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Faster by more than the smallest difference that counts.
    Faster,
    /// Neither faster nor slower by more than that.
    Even,
    /// Slower by more than that.
    Slower,
    /// The interval is too wide to tell, or there are too few rounds for any.
    Undecided,
}

/// In tables: `faster`, `same`, `slower` or `undecided`.
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Faster => "faster",
            Self::Even => "same",
            Self::Slower => "slower",
            Self::Undecided => "undecided",
        })
    }
}

impl Standing {
    /// Such as ▲, with a blank before it.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Faster => " ▲",
            Self::Even => " =",
            Self::Slower => " ▼",
            Self::Undecided => " ?",
        }
    }
}

/// When a ratio of speeds counts as a difference: its whole interval, corrected for the number of cells, lies beyond the smallest
/// difference that counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// The smallest difference that counts; 0.02 is 2 %.
    pub minimal_effect: f64,
    /// How many rounds a corrected interval needs.
    pub rounds_needed: usize,
}

impl Rule {
    /// For the cells of these.
    pub fn of(results: &Results) -> Self {
        Self {
            minimal_effect: results.parameters.minimal_effect.unwrap_or(MINIMAL_EFFECT),
            rounds_needed: rounds_needed(results.tests()),
        }
    }

    /// Where a ratio of `rounds` rounds with this corrected interval stands.
    pub fn standing(self, corrected: Interval, rounds: usize) -> Standing {
        let (below, above) = (1.0 - self.minimal_effect, 1.0 + self.minimal_effect);
        if rounds < self.rounds_needed {
            Standing::Undecided
        } else if corrected.low > above {
            Standing::Faster
        } else if corrected.high < below {
            Standing::Slower
        } else if corrected.low >= below && corrected.high <= above {
            Standing::Even
        } else {
            Standing::Undecided
        }
    }

    /// `None` where the cell was held against no baseline.
    pub fn standing_of(self, cell: &Cell) -> Option<Standing> {
        Some(self.standing(cell.ratio_to_baseline?.corrected(), cell.samples_gbps.len()))
    }

    /// Whether the ratio may still turn out to be slower.
    pub fn may_be_slower(self, corrected: Interval, rounds: usize) -> bool {
        match self.standing(corrected, rounds) {
            Standing::Undecided => rounds < self.rounds_needed || corrected.low < 1.0 - self.minimal_effect,
            _ => false,
        }
    }

    /// How many times the observations it takes to decide whether a ratio is slower: an interval shrinks with the square root of
    /// their number. `None` where the ratio lies so near the smallest difference that counts that no patience suffices.
    pub fn times_to_decide(self, corrected: Interval) -> Option<f64> {
        let Interval { median, low, high } = corrected;
        let distance = median - (1.0 - self.minimal_effect);
        let reach = if distance > 0.0 { median - low } else { high - median };
        let times = (reach / distance).powi(2).max(1.0);
        (times <= PATIENCE).then_some(times)
    }

    /// What it takes to decide whether `cell` is slower. `None` where no patience suffices, or nothing is to be decided.
    pub fn to_decide(self, cell: &Cell) -> Option<ToDecide> {
        let rounds = cell.samples_gbps.len() as f64;
        // Too few rounds have no interval to reckon from.
        let least = (self.rounds_needed as f64 / rounds).max(1.0);
        let times = self.times_to_decide(cell.ratio_to_baseline?.corrected())? * least;
        Some(ToDecide {
            rounds: (rounds * times).ceil() as usize,
            seconds: cell.seconds.map(|seconds| seconds * times),
        })
    }

    /// What the marks in a table mean.
    pub fn legend(self) -> String {
        format!(
            "▲ faster, ▼ slower by more than {percent}, = neither, ? undecided: the interval is too wide to tell",
            percent = Percent(self.minimal_effect)
        )
    }
}

/// A part of one, as people write it: 0.02 is `2 %`.
#[derive(Clone, Copy, Debug)]
pub struct Percent(pub f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", (self.0 * 1e4).round() / 1e2)
    }
}

/// Where one contender stands against the baseline.
#[derive(Clone, Debug)]
pub struct Verdict<'a> {
    /// Who is judged.
    pub contender: &'a str,
    /// Whom it is held against.
    pub baseline: &'a str,
    /// By which rule.
    pub rule: Rule,
    /// Cells that are slower.
    pub slower: Vec<&'a Cell>,
    /// Cells that are faster.
    pub faster: Vec<&'a Cell>,
    /// Cells that may be slower.
    pub undecided: Vec<&'a Cell>,
    /// How many cells are not slower, and may be faster.
    pub maybe_faster: usize,
    /// How many cells were judged.
    pub cells: usize,
    /// The geometric mean of the speed-ups by what is named before it, such as the state of the cache, with its interval at 95 %.
    pub geometric_means: Vec<(String, Interval)>,
}

impl<'a> Verdict<'a> {
    /// The verdicts that these results are made for: on the new build, or on foliocopy, and on the RFC's copy where that is slower.
    /// Where neither build nor foliocopy was measured, or is shown, on every contender.
    pub fn all(results: &'a Results) -> Vec<Self> {
        let ours: &[&str] = match results.origin {
            Origin::Kernel => &["foliocopy", "foliocopy-mc"],
            Origin::UserSpace => &["foliocopy", crate::gate::NEW],
        };
        let mut verdicts: Vec<Self> =
            ours.iter().filter_map(|contender| Self::of(results, contender)).collect();
        if !verdicts.is_empty() || results.command == "roofline" {
            verdicts.extend(Self::of(results, RFC).filter(|rfc| !rfc.is_good()));
            return verdicts;
        }
        let mut others: Vec<&str> = results.cells.iter().map(|cell| cell.contender.as_str()).collect();
        others.sort_unstable();
        others.dedup();
        others.retain(|contender| *contender != results.parameters.baseline);
        others.into_iter().filter_map(|contender| Self::of(results, contender)).collect()
    }

    /// Judges `contender`. `None` where it has no ratios, or where the timings are an emulator's.
    pub fn of(results: &'a Results, contender: &'a str) -> Option<Self> {
        if results.environment.emulated {
            return None;
        }
        let rule = Rule::of(results);
        let mut verdict = Self {
            contender,
            baseline: &results.parameters.baseline,
            rule,
            slower: vec![],
            faster: vec![],
            undecided: vec![],
            maybe_faster: 0,
            cells: 0,
            geometric_means: vec![],
        };
        let mut groups: Vec<(Situation<'_>, Vec<Interval>)> = vec![];
        // A neighbour's speed is no copy's.
        let copies = |cell: &&Cell| cell.contender == contender && !cell.dimensions.contains_key("victim");
        for cell in results.cells.iter().filter(copies) {
            let (Some(ratio), Some(standing)) = (cell.ratio_to_baseline, rule.standing_of(cell)) else {
                continue;
            };
            verdict.cells += 1;
            match standing {
                Standing::Slower => verdict.slower.push(cell),
                Standing::Faster => verdict.faster.push(cell),
                Standing::Undecided if rule.may_be_slower(ratio.corrected(), cell.samples_gbps.len()) => {
                    verdict.undecided.push(cell);
                }
                Standing::Undecided => verdict.maybe_faster += 1,
                Standing::Even => {}
            }
            let kind = cell.situation().kind();
            match groups.iter_mut().find(|(group, _)| *group == kind) {
                Some((_, group)) => group.push(ratio.interval),
                None => groups.push((kind, vec![ratio.interval])),
            }
        }
        let mean = |(kind, group): &(Situation<'_>, Vec<Interval>)| {
            Some((kind.kind_name(), geometric_mean_interval(group)?))
        };
        verdict.geometric_means = groups.iter().filter_map(mean).collect();
        (verdict.cells > 0).then_some(verdict)
    }

    /// Whether there were too few rounds to tell anything.
    pub fn is_open(&self) -> bool {
        self.undecided.len() == self.cells
    }

    /// Whether no cell is slower than the baseline.
    pub fn is_good(&self) -> bool {
        self.slower.is_empty()
    }

    /// The geometric means, such as `1.00 [0.99, 1.00] hot api=c:copy_pages`, where they are more than the verdict's sentence holds.
    pub fn list_of_means(&self) -> Vec<String> {
        match self.geometric_means.len() {
            ..=IN_THE_SENTENCE => vec![],
            _ => self.geometric_means.iter().map(|(kind, mean)| format!("{mean:.2} {kind}")).collect(),
        }
    }

    /// A line for each undecided cell with how long a run takes that decides it, and one for all of them.
    pub fn open_questions(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let mut seconds: Vec<(Situation<'_>, f64)> = Vec::new();
        for cell in &self.undecided {
            let Some(ratio) = cell.ratio_to_baseline else { continue };
            let answer = match self.rule.to_decide(cell) {
                Some(answer) => format!("{answer} would tell"),
                None => "too near to the smallest difference that counts for any run to tell".to_owned(),
            };
            lines.push(format!("undecided: {} {}: {answer}", cell.situation(), ratio.corrected()));
            if let Some(ToDecide { seconds: Some(more), .. }) = self.rule.to_decide(cell) {
                seconds.retain(|(situation, _)| *situation != cell.situation());
                seconds.push((cell.situation(), more));
            }
        }
        if lines.len() > SHOWN {
            lines.truncate(SHOWN);
            lines.push(format!("and {} more", self.undecided.len() - SHOWN));
        }
        if seconds.len() > 1 {
            let all = seconds.iter().map(|(_, seconds)| seconds).sum();
            lines.push(format!("A run of these cells alone would tell in about {}.", duration(all)));
        }
        lines
    }
}

/// What it takes to decide a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ToDecide {
    /// About so many rounds.
    pub rounds: usize,
    /// About so long, where it is known how long a round takes.
    pub seconds: Option<f64>,
}

/// Such as `344 rounds (14 s)`.
impl fmt::Display for ToDecide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rounds", self.rounds)?;
        self.seconds.map_or(Ok(()), |seconds| write!(f, " ({})", duration(seconds)))
    }
}

/// Such as `40 s`, `3 min` or `2 h`.
fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 90.0 => format!("{:.0} s", seconds.max(1.0)),
        seconds if seconds < 5400.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.0} h", seconds / 3600.0),
    }
}

/// Whom a contender is held against, in words.
fn named(baseline: &str) -> String {
    match baseline {
        crate::gate::OLD => "the old build".to_owned(),
        name => format!("the kernel's copy ({name})"),
    }
}

/// The verdict, such as `foliocopy: no cell slower than the kernel's copy (per-page) by more than 2 %; geometric mean
/// cold 1.31 [1.27, 1.36], hot 1.08 [1.05, 1.10]`. It ends in `geometric means:` where [`Verdict::list_of_means`] goes on.
impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (baseline, effect) = (named(self.baseline), Percent(self.rule.minimal_effect));
        write!(f, "{}: ", self.contender)?;
        if self.is_open() {
            write!(f, "too few rounds to tell whether it is slower than {baseline} by more than {effect}")?;
        } else if self.is_good() {
            write!(f, "no cell slower than {baseline} by more than {effect}")?;
        } else {
            write!(
                f,
                "slower than {baseline} by more than {effect} in {} of {} cells (",
                self.slower.len(),
                self.cells
            )?;
            for (index, cell) in self.slower.iter().take(SHOWN).enumerate() {
                write!(f, "{}{}", if index == 0 { "" } else { ", " }, cell.situation())?;
            }
            match self.slower.len().saturating_sub(SHOWN) {
                0 => write!(f, ")")?,
                more => write!(f, ", and {more} more)")?,
            }
        }
        if !self.is_open() && !self.undecided.is_empty() {
            write!(f, ", {} undecided", self.undecided.len())?;
        }
        if self.geometric_means.len() > IN_THE_SENTENCE {
            return f.write_str("; geometric means:");
        }
        for (index, (kind, mean)) in self.geometric_means.iter().enumerate() {
            f.write_str(if index == 0 { "; geometric mean " } else { ", " })?;
            if !kind.is_empty() {
                write!(f, "{kind} ")?;
            }
            write!(f, "{mean:.2}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::tests::sample;

    #[test]
    fn names_each_slower_cell() {
        let results = sample();
        let verdict = Verdict::of(&results, "foliocopy").unwrap();
        assert!(!verdict.is_good());
        assert_eq!(
            verdict.to_string(),
            "foliocopy: slower than the kernel's copy (per-page) by more than 2 % in 1 of 2 cells (cold 64K 0->0); \
             geometric mean cold 0.80 [0.80, 0.80], hot 1.25 [1.25, 1.25]"
        );
    }

    #[test]
    fn the_rfcs_copy_is_judged_too_where_it_is_slower() {
        let mut results = sample();
        for (contender, factor) in [("rfc", 0.8), ("rfc-mc", 0.8), ("other", 0.8)] {
            let samples = results.cells[0].samples_gbps.iter().map(|sample| factor * sample).collect();
            let cell =
                Cell { contender: contender.into(), samples_gbps: samples, ..results.cells[0].clone() };
            results.cells.push(cell);
        }
        // Twice the rounds, since more cells widen the intervals.
        for cell in &mut results.cells {
            cell.samples_gbps = cell.samples_gbps.repeat(2);
        }
        results.rate();
        let judged = |results: &Results| {
            Verdict::all(results).iter().map(|one| one.contender.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(judged(&results), ["foliocopy", "rfc"]);
        results.cells[4].samples_gbps = results.cells[0].samples_gbps.clone();
        results.rate();
        assert_eq!(judged(&results), ["foliocopy"]);
    }

    #[test]
    fn says_so_when_none_is_slower() {
        let mut results = sample();
        results.cells.drain(..2);
        results.rate();
        let verdict = Verdict::of(&results, "foliocopy").unwrap();
        assert!(verdict.is_good());
        assert_eq!(verdict.faster.len(), 1);
        assert_eq!(
            verdict.to_string(),
            "foliocopy: no cell slower than the kernel's copy (per-page) by more than 2 %; geometric mean hot 1.25 [1.25, 1.25]"
        );
    }

    #[test]
    fn noise_around_one_is_neither_slower_nor_faster() {
        let mut results = sample();
        results.cells.truncate(2);
        results.cells[1].samples_gbps = results.cells[0]
            .samples_gbps
            .iter()
            .enumerate()
            .map(|(i, s)| s * (0.9 + 0.025 * i as f64))
            .collect();
        results.rate();
        let verdict = Verdict::of(&results, "foliocopy").unwrap();
        assert!(verdict.slower.is_empty() && verdict.faster.is_empty());
    }

    #[test]
    fn too_few_rounds_decide_nothing() {
        let mut results = sample();
        for cell in &mut results.cells {
            cell.samples_gbps.truncate(4);
        }
        results.rate();
        let verdict = Verdict::of(&results, "foliocopy").unwrap();
        assert!(verdict.is_good() && verdict.faster.is_empty());
        assert_eq!(verdict.undecided.len(), 2);
        assert!(verdict.to_string().starts_with("foliocopy: too few rounds to tell"));
        let open = verdict.open_questions();
        assert_eq!(open.len(), 2, "{open:?}");
        assert!(open[0].starts_with("undecided: cold 64K 0->0 "), "{open:?}");
    }

    #[test]
    fn many_means_are_a_list_behind_the_sentence() {
        let mut results = sample();
        for nth in ["1", "2"] {
            let mut more = sample().cells;
            for cell in &mut more {
                cell.dimensions.insert("threads".into(), nth.into());
            }
            results.cells.extend(more);
        }
        results.rate();
        let verdict = Verdict::of(&results, "foliocopy").unwrap();
        assert!(verdict.to_string().ends_with("; geometric means:"), "{verdict}");
        let means = verdict.list_of_means();
        assert_eq!(means.len(), 6);
        assert_eq!(means[3], "1.25 [1.25, 1.25] hot threads=1");
        results.cells.truncate(4);
        results.rate();
        assert!(Verdict::of(&results, "foliocopy").unwrap().list_of_means().is_empty());
    }

    #[test]
    fn a_neighbours_speed_is_not_judged() {
        let mut results = sample();
        for cell in &mut results.cells[..2] {
            cell.dimensions.insert("victim".into(), "after".into());
        }
        results.rate();
        let verdict = Verdict::of(&results, "foliocopy").unwrap();
        assert_eq!((verdict.cells, verdict.slower.len()), (1, 0));
    }

    #[test]
    fn an_emulated_cpu_and_an_absent_contender_get_none() {
        let mut results = sample();
        assert!(Verdict::of(&results, "rfc").is_none());
        results.environment.emulated = true;
        assert!(Verdict::of(&results, "foliocopy").is_none());
    }
}
