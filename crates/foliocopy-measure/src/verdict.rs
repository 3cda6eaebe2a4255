//! What the figures come to for one contender.

use std::fmt;

use crate::result::{Cache, Cell, Results, Situation};
use crate::statistics::{Bootstrap, CONFIDENCE, Interval, rounds_needed};

/// Where a cell stands against the baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The corrected interval lies above 1.
    Faster,
    /// It holds 1.
    Even,
    /// It lies below 1.
    Slower,
    /// There are too few rounds for it to exclude 1 by anything but chance.
    Undecided,
}

/// Says where the cells of one run stand.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    needed: usize,
}

impl Judge {
    /// For the cells of these.
    pub fn of(results: &Results) -> Self {
        Self { needed: rounds_needed(results.tests()) }
    }

    /// `None` where the cell was held against no baseline.
    pub fn standing(self, cell: &Cell) -> Option<Standing> {
        let corrected = cell.ratio_to_baseline?.corrected();
        Some(match cell.samples_gbps.len() {
            rounds if rounds < self.needed => Standing::Undecided,
            _ if corrected.is_above(1.0) => Standing::Faster,
            _ if corrected.is_below(1.0) => Standing::Slower,
            _ => Standing::Even,
        })
    }
}

/// Where one contender stands against the baseline.
#[derive(Clone, Debug)]
pub struct Verdict<'a> {
    /// Who is judged.
    pub contender: &'a str,
    /// Whom it is held against.
    pub baseline: &'a str,
    /// Cells whose corrected interval lies wholly below 1.
    pub slower: Vec<&'a Cell>,
    /// Cells whose corrected interval lies wholly above 1.
    pub faster: Vec<&'a Cell>,
    /// How many cells were judged.
    pub cells: usize,
    /// How many of these have too few rounds for their interval to exclude 1 by anything but chance.
    pub undecided: usize,
    /// The geometric mean of the speed-ups by state of the cache, with its interval at 95 %.
    pub geometric_means: Vec<(Option<Cache>, Interval)>,
}

impl<'a> Verdict<'a> {
    /// Judges `contender`. `None` where it has no ratios, or where the timings are an emulator's.
    pub fn of(results: &'a Results, contender: &'a str) -> Option<Self> {
        if results.environment.emulated {
            return None;
        }
        let baseline = results.parameters.baseline.as_str();
        let mut verdict = Self {
            contender,
            baseline,
            slower: vec![],
            faster: vec![],
            cells: 0,
            undecided: 0,
            geometric_means: vec![],
        };
        let judge = Judge::of(results);
        let mut groups: Vec<(Option<Cache>, Vec<Vec<f64>>)> = vec![];
        // A neighbour's speed is no copy's.
        let copies = |situation: &Situation<'_>| !situation.dimensions.contains_key("victim");
        for (_, cells) in results.situations().into_iter().filter(|(situation, _)| copies(situation)) {
            let find = |name: &str| cells.iter().copied().find(|cell| cell.contender == name);
            let (Some(cell), Some(base)) = (find(contender), find(baseline)) else { continue };
            let Some(standing) = judge.standing(cell) else { continue };
            let ratios = cell.ratios_to(base);
            verdict.cells += 1;
            match standing {
                Standing::Undecided => verdict.undecided += 1,
                Standing::Slower => verdict.slower.push(cell),
                Standing::Faster => verdict.faster.push(cell),
                Standing::Even => {}
            }
            match groups.iter_mut().find(|(cache, _)| *cache == cell.cache) {
                Some((_, group)) => group.push(ratios),
                None => groups.push((cell.cache, vec![ratios])),
            }
        }
        let seed = results.parameters.seed;
        verdict.geometric_means = groups
            .iter()
            .filter_map(|(cache, group)| {
                Some((*cache, Bootstrap::of_geometric_mean(group, seed)?.interval(CONFIDENCE)))
            })
            .collect();
        (verdict.cells > 0).then_some(verdict)
    }

    /// Whether there were too few rounds to tell anything.
    pub fn is_open(&self) -> bool {
        self.undecided == self.cells
    }

    /// Whether no cell is slower than the baseline.
    pub fn is_good(&self) -> bool {
        self.slower.is_empty()
    }
}

/// The verdict in one line, such as
/// `foliocopy: no cell slower than the kernel's copy (per-page); geometric mean cold 1.31 [1.27, 1.36], hot 1.08 [1.05, 1.10]`.
impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.contender)?;
        if self.is_open() {
            write!(f, "too few rounds to tell it from {}", self.baseline)?;
        } else if self.is_good() {
            write!(f, "no cell slower than the kernel's copy ({})", self.baseline)?;
        } else {
            write!(
                f,
                "slower than the kernel's copy ({}) in {} of {} cells (",
                self.baseline,
                self.slower.len(),
                self.cells
            )?;
            for (index, cell) in self.slower.iter().enumerate() {
                write!(f, "{}{}", if index == 0 { "" } else { ", " }, cell.situation())?;
            }
            write!(f, ")")?;
        }
        for (index, (cache, mean)) in self.geometric_means.iter().enumerate() {
            f.write_str(if index == 0 { "; geometric mean " } else { ", " })?;
            if let Some(cache) = cache {
                write!(f, "{cache} ")?;
            }
            write!(f, "{:.2} [{:.2}, {:.2}]", mean.median, mean.low, mean.high)?;
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
            "foliocopy: slower than the kernel's copy (per-page) in 1 of 2 cells (cold 64K 0->0); \
             geometric mean cold 0.80 [0.80, 0.80], hot 1.25 [1.25, 1.25]"
        );
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
            "foliocopy: no cell slower than the kernel's copy (per-page); geometric mean hot 1.25 [1.25, 1.25]"
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
        assert_eq!(verdict.undecided, 2);
        assert!(verdict.to_string().starts_with("foliocopy: too few rounds to tell it from per-page;"));
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
