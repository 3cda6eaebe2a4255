//! Compares measurements with older ones, cell by cell, and tells how the machines differ.
//!
//! Two runs of one program differ by more than their rounds do: each has memory, a layout of its code and an hour of the
//! host of its own. Only several runs of each tell by how much. So a run is one observation here, and the interval of the
//! ratio is read from the order of the runs ([`crate::unpaired`]). Where there are fewer runs, a fixed difference between
//! runs is allowed for.

mod differences;

use std::collections::BTreeMap;

use crate::result::{Cache, Cell, Results};
use crate::statistics::{
    Interval, corrected_confidence, geometric_mean, median, median_interval, rounds_needed,
};
use crate::unpaired::{Unpaired, runs_needed};
use crate::verdict::{Rule, Standing};

pub use differences::{Difference, differences};

/// The figure of a cell that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Its GB/s. Nothing cancels between two runs: a host that has become slower shows as a slower cell.
    Throughput,
    /// Its speed-up over its own run's baseline, which a slower host leaves as it was.
    SpeedUp,
}

impl Measure {
    /// The speed-up where every run has one, else the throughput.
    pub fn best(runs: &[&Results]) -> Self {
        let same = runs.windows(2).all(|pair| pair[0].parameters.baseline == pair[1].parameters.baseline);
        match same && runs.iter().all(|results| results.tests() > 0) {
            true => Self::SpeedUp,
            false => Self::Throughput,
        }
    }

    /// The difference between two runs of one program that is allowed for, where the runs do not tell: 0.1 is a tenth.
    /// Measured on shared machines: docs/reading-the-numbers.md.
    pub fn between_runs(self) -> f64 {
        match self {
            Self::SpeedUp => 0.1,
            Self::Throughput => 1.0,
        }
    }
}

/// One cell then and now.
#[derive(Clone, Debug)]
pub struct Pair<'a> {
    /// The cell of the first new measurement.
    pub cell: &'a Cell,
    /// The median of the old runs' figures.
    pub old: f64,
    /// The median of the new runs' figures.
    pub new: f64,
    /// New by old, with its interval at 99 % for all cells together. The difference between runs is part of the interval.
    pub ratio: Interval,
    /// Faster, slower, neither or undecided.
    pub standing: Standing,
    /// About how many runs of each decide whether it is slower. `None` where it is decided, or where no number would do.
    pub runs_to_decide: Option<usize>,
}

/// Old measurements and new ones, cell by cell.
#[derive(Clone, Debug)]
pub struct Comparison<'a> {
    /// The figure that was compared.
    pub measure: Measure,
    /// The cells that all have, in the order of the first new measurement.
    pub pairs: Vec<Pair<'a>>,
    /// Cells that the new ones lack.
    pub only_old: Vec<&'a Cell>,
    /// Cells that the old ones lack.
    pub only_new: Vec<&'a Cell>,
    /// The number of runs of each that an interval takes. With fewer, [`Measure::between_runs`] is allowed for.
    pub runs_needed: usize,
    /// The smallest difference that counts.
    pub minimal_effect: f64,
}

impl<'a> Comparison<'a> {
    /// Compares all cells that agree in contender and situation, of one run each at least.
    pub fn of(old: &[&'a Results], new: &[&'a Results], measure: Measure, minimal_effect: f64) -> Self {
        let runs = |all: &[&'a Results]| -> Vec<Run<'a>> {
            all.iter().map(|results| Run::of(results, measure)).collect()
        };
        let (old, new) = (runs(old), runs(new));
        let in_all = |runs: &[Run<'_>], key: &Key<'_>| runs.iter().all(|run| run.0.contains_key(key));
        let cells = |runs: &[Run<'a>]| -> Vec<(Key<'a>, &'a Cell)> {
            let mut cells: Vec<_> = runs[0].0.iter().map(|(key, figure)| (*key, figure)).collect();
            cells.sort_by_key(|(_, figure)| figure.place);
            cells.into_iter().map(|(key, figure)| (key, figure.cell)).collect()
        };
        let (old_cells, new_cells) = (cells(&old), cells(&new));
        let only = |cells: &[(Key<'a>, &'a Cell)], others: &[Run<'_>]| -> Vec<&'a Cell> {
            cells.iter().filter(|(key, _)| !in_all(others, key)).map(|(_, cell)| *cell).collect()
        };
        let common = |(key, _): &&(Key<'a>, &'a Cell)| in_all(&old, key) && in_all(&new, key);
        let common: Vec<_> = new_cells.iter().filter(common).copied().collect();
        let mut judge = Judge {
            measure,
            rule: Rule { minimal_effect, rounds_needed: rounds_needed(common.len()) },
            confidence: corrected_confidence(common.len()),
            unpaired: Unpaired::new(corrected_confidence(common.len())),
            runs_needed: runs_needed(corrected_confidence(common.len())),
        };
        let figures = |runs: &[Run<'a>], key: &Key<'a>| -> Vec<Figure<'a>> {
            runs.iter().map(|run| run.0[key]).collect()
        };
        let pairs = common
            .iter()
            .map(|(key, cell)| judge.pair(cell, &figures(&old, key), &figures(&new, key)))
            .collect();
        Self {
            measure,
            pairs,
            only_old: only(&old_cells, &new),
            only_new: only(&new_cells, &old),
            runs_needed: judge.runs_needed,
            minimal_effect,
        }
    }

    /// The pairs that are faster, slower, neither or undecided.
    pub fn standing(&self, standing: Standing) -> impl Iterator<Item = &Pair<'a>> {
        self.pairs.iter().filter(move |pair| pair.standing == standing)
    }

    /// Whether nothing became slower.
    pub fn is_good(&self) -> bool {
        self.standing(Standing::Slower).next().is_none()
    }

    /// The geometric mean of the ratios of `contender`'s cells, or of all cells, by state of the cache.
    pub fn geometric_means(&self, contender: Option<&str>) -> Vec<(Option<Cache>, f64)> {
        let mut groups: BTreeMap<Option<Cache>, Vec<f64>> = BTreeMap::new();
        for pair in &self.pairs {
            if contender.is_none_or(|contender| contender == pair.cell.contender) {
                groups.entry(pair.cell.cache).or_default().push(pair.ratio.median);
            }
        }
        groups.into_iter().filter_map(|(cache, ratios)| Some((cache, geometric_mean(&ratios)?))).collect()
    }
}

/// Gives each pair its ratio and its standing.
struct Judge {
    measure: Measure,
    rule: Rule,
    confidence: f64,
    unpaired: Unpaired,
    runs_needed: usize,
}

impl Judge {
    fn pair<'a>(&mut self, cell: &'a Cell, old: &[Figure<'_>], new: &[Figure<'_>]) -> Pair<'a> {
        let mut rounds = usize::MAX;
        let mut intervals = |runs: &[Figure<'_>]| -> Vec<Interval> {
            let of_run = |figure: &Figure<'_>| {
                let (interval, of_run) = figure.interval(self.confidence);
                rounds = rounds.min(of_run);
                interval
            };
            runs.iter().map(of_run).collect()
        };
        let (old_runs, new_runs) = (intervals(old), intervals(new));
        let medians = |runs: &[Interval]| runs.iter().map(|run| run.median).collect::<Vec<_>>();
        let middle = |runs: &[Interval]| median(&medians(runs)).expect("there is a run");
        let (old_median, new_median) = (middle(&old_runs), middle(&new_runs));
        let ratio = self.unpaired.ratio(&medians(&new_runs), &medians(&old_runs));
        if ratio.is_some() {
            // Its interval is that of the runs, however few rounds each has.
            rounds = usize::MAX;
        }
        let ratio = ratio.unwrap_or_else(|| {
            let lowest = |runs: &[Interval]| runs.iter().map(|run| run.low).fold(f64::INFINITY, f64::min);
            let highest = |runs: &[Interval]| runs.iter().map(|run| run.high).fold(0.0, f64::max);
            let unknown = 1.0 + self.measure.between_runs();
            Interval {
                median: new_median / old_median,
                low: lowest(&new_runs) / highest(&old_runs) / unknown,
                high: highest(&new_runs) / lowest(&old_runs) * unknown,
            }
        });
        let runs = old.len().min(new.len());
        Pair {
            cell,
            old: old_median,
            new: new_median,
            ratio,
            standing: self.rule.standing(ratio, rounds),
            runs_to_decide: match self.rule.may_be_slower(ratio, rounds) {
                true if runs < self.runs_needed => Some(self.runs_needed),
                true => self.rule.times_to_decide(ratio).map(|times| (runs as f64 * times).ceil() as usize),
                false => None,
            },
        }
    }
}

/// The fields in which two comparable cells agree.
type Key<'a> = (Option<Cache>, u64, Option<u32>, Option<u32>, &'a BTreeMap<String, String>, &'a str);

fn key(cell: &Cell) -> Key<'_> {
    (cell.cache, cell.folio_bytes, cell.src_node, cell.dst_node, &cell.dimensions, &cell.contender)
}

/// The figure of one run.
struct Run<'a>(BTreeMap<Key<'a>, Figure<'a>>);

/// A cell. Where speed-ups are compared, the cell of its baseline too.
#[derive(Clone, Copy)]
struct Figure<'a> {
    /// In the order of the run.
    place: usize,
    cell: &'a Cell,
    baseline: Option<&'a Cell>,
}

impl<'a> Run<'a> {
    /// The figure of every cell. Cells without it are left out: a speed-up without a baseline, and the baseline's own.
    fn of(results: &'a Results, measure: Measure) -> Self {
        let name = results.parameters.baseline.as_str();
        let baselines: BTreeMap<Key<'_>, &Cell> = results
            .cells
            .iter()
            .filter(|cell| cell.contender == name)
            .map(|cell| (key(cell), cell))
            .collect();
        let figure = |(place, cell): (usize, &'a Cell)| {
            let (cache, bytes, src, dst, dimensions, _) = key(cell);
            let baseline = baselines.get(&(cache, bytes, src, dst, dimensions, name)).copied();
            let baseline = match measure {
                Measure::Throughput => None,
                Measure::SpeedUp => Some(baseline.filter(|_| cell.contender != name)?),
            };
            Some((key(cell), Figure { place, cell, baseline }))
        };
        Self(results.cells.iter().enumerate().filter_map(figure).collect())
    }
}

impl Figure<'_> {
    /// The median of its rounds, with an interval; and how many they are.
    fn interval(&self, confidence: f64) -> (Interval, usize) {
        let ratios = self.baseline.map(|baseline| self.cell.ratios_to(baseline));
        let figures = ratios.as_ref().unwrap_or(&self.cell.samples_gbps);
        (median_interval(figures, confidence).expect("a cell has a sample"), figures.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::tests::sample;

    fn scaled(contender: &str, factor: f64) -> Results {
        let mut results = sample();
        for cell in results.cells.iter_mut().filter(|cell| cell.contender == contender) {
            for gbps in &mut cell.samples_gbps {
                *gbps *= factor;
            }
        }
        results.rate();
        results
    }

    fn compared<'a>(old: &'a Results, new: &'a Results, measure: Measure) -> Comparison<'a> {
        Comparison::of(&[old], &[new], measure, 0.02)
    }

    /// The numbers of cells that are faster, equal, slower and undecided.
    fn standings(comparison: &Comparison<'_>) -> [usize; 4] {
        [Standing::Faster, Standing::Even, Standing::Slower, Standing::Undecided]
            .map(|standing| comparison.standing(standing).count())
    }

    fn forbidding(change: impl FnOnce(&mut Results)) -> Vec<(&'static str, bool)> {
        let mut new = sample();
        change(&mut new);
        differences(&sample(), &new).into_iter().map(|found| (found.what, found.forbids)).collect()
    }

    #[test]
    fn another_question_forbids_and_another_machine_state_does_not() {
        assert_eq!(differences(&sample(), &sample()), []);
        assert_eq!(forbidding(|new| new.environment.cpu.family = 26), [("CPU", true)]);
        assert_eq!(forbidding(|new| new.parameters.memory = "hugetlb".into()), [("memory", true)]);
        assert_eq!(
            forbidding(|new| new.environment.cpu.masked = vec!["erms".into()]),
            [("masked features", true)]
        );
        assert_eq!(
            forbidding(|new| new.environment.cpu.microcode = Some("0x2".into())),
            [("microcode", false)]
        );
        assert_eq!(forbidding(|new| new.environment.kernel = "Linux 7.3".into()), [("kernel", false)]);
        assert_eq!(
            forbidding(|new| new.environment.governor = Some("powersave".into())),
            [("governor", false)]
        );
        assert_eq!(forbidding(|new| new.started = "2027-01-01T00:00:00Z".into()), []);
    }

    #[test]
    fn one_run_of_each_does_not_know_what_runs_differ_by() {
        let old = sample();
        for (factor, expected) in
            [(1.0, [0, 0, 0, 2]), (0.93, [0, 0, 0, 2]), (0.85, [0, 0, 2, 0]), (1.2, [2, 0, 0, 0])]
        {
            let new = scaled("foliocopy", factor);
            let comparison = compared(&old, &new, Measure::SpeedUp);
            assert_eq!(standings(&comparison), expected, "{factor}");
            assert_eq!(comparison.is_good(), factor > 0.9);
            for pair in comparison.standing(Standing::Undecided) {
                assert_eq!(pair.runs_to_decide, Some(comparison.runs_needed));
            }
        }
    }

    #[test]
    fn several_runs_of_each_find_what_one_cannot() {
        // Runs of one program differ by up to 1 %.
        let runs = |factor: f64| -> Vec<Results> {
            (0..7).map(|run| scaled("foliocopy", factor * (1.0 + 0.0015 * f64::from(run * 5 % 7)))).collect()
        };
        let (old, same, slower) = (runs(1.0), runs(1.0), runs(0.95));
        let compare = |new: &[Results]| {
            let old: Vec<&Results> = old.iter().collect();
            let new: Vec<&Results> = new.iter().collect();
            let comparison = Comparison::of(&old, &new, Measure::SpeedUp, 0.02);
            assert!(comparison.runs_needed <= 7);
            standings(&comparison)
        };
        assert_eq!(compare(&same), [0, 2, 0, 0]);
        assert_eq!(compare(&slower), [0, 0, 2, 0]);
    }

    #[test]
    fn a_slower_host_leaves_the_speed_up() {
        let mut new = sample();
        for cell in &mut new.cells {
            for gbps in &mut cell.samples_gbps {
                *gbps *= 0.2;
            }
        }
        new.rate();
        let old = sample();
        assert_eq!(Measure::best(&[&old, &new]), Measure::SpeedUp);
        // Ten rounds could tell it from the host's two speeds; nine can't.
        assert_eq!(standings(&compared(&old, &new, Measure::Throughput)), [0, 0, 0, 4]);
        let by_speed_up = compared(&old, &new, Measure::SpeedUp);
        assert_eq!((by_speed_up.only_old.len(), by_speed_up.only_new.len()), (0, 0));
        assert_eq!((by_speed_up.pairs.len(), by_speed_up.is_good()), (2, true));
        new.parameters.baseline = "rfc".into();
        assert_eq!(Measure::best(&[&old, &new]), Measure::Throughput);
    }

    #[test]
    fn the_estimate_belongs_to_its_interval() {
        let (old, new) = (sample(), scaled("foliocopy", 1.1));
        for pair in compared(&old, &new, Measure::SpeedUp).pairs {
            assert!((pair.ratio.median - pair.new / pair.old).abs() < 1e-12);
            assert!(pair.ratio.low < pair.ratio.median && pair.ratio.median < pair.ratio.high);
        }
    }

    #[test]
    fn cells_of_one_side_are_named() {
        let (old, mut new) = (sample(), sample());
        new.cells.remove(1);
        new.cells[0].contender = "stranger".into();
        let comparison = compared(&old, &new, Measure::Throughput);
        assert_eq!(comparison.pairs.len(), 2);
        assert_eq!(comparison.only_old.len(), 2);
        assert_eq!(comparison.only_new[0].contender, "stranger");
    }

    #[test]
    fn few_rounds_give_no_verdict() {
        let mut new = scaled("foliocopy", 0.1);
        for cell in &mut new.cells {
            cell.samples_gbps.truncate(2);
        }
        let old = sample();
        assert_eq!(standings(&compared(&old, &new, Measure::Throughput)), [0, 0, 0, 4]);
    }
}
