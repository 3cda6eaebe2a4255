//! The ratio of two groups of runs, which have no rounds in common: a figure a run.
//!
//! Between runs nothing cancels, so nothing can be paired. The estimate is the median of all ratios between a new
//! and an old sample (Hodges and Lehmann, "Estimates of Location Based on Rank Tests", 1963) and its interval is
//! read from the order of those ratios (Moses; Lehmann, "Nonparametrics", chapter 2): the interval excludes 1
//! exactly where the Mann-Whitney test finds a difference. No shape of noise is assumed, and unlike a bootstrap it
//! says of two rounds that nothing can be said. That test is also what `benchstat` of Go goes by.

use std::collections::HashMap;

use crate::statistics::{Interval, median};

/// More runs of one thing than this add nothing that anybody could notice, and would take a while to order.
const MOST_RUNS: usize = 60;

/// How many runs of each of two there must be before any interval has this confidence: all orders of theirs are equally likely
/// where they are alike, and in two of these all runs of one come before all of the other.
pub fn runs_needed(confidence: f64) -> usize {
    (1..MOST_RUNS).find(|runs| trimmed_pairs(*runs, *runs, (1.0 - confidence) / 2.0) > 0).unwrap_or(MOST_RUNS)
}

/// Ratios of unpaired samples at one confidence. It remembers what depends on the numbers of samples alone.
#[derive(Debug)]
pub struct Unpaired {
    confidence: f64,
    trimmed: HashMap<(usize, usize), usize>,
}

impl Unpaired {
    /// For intervals at `confidence`, between 0 and 1.
    pub fn new(confidence: f64) -> Self {
        Self { confidence, trimmed: HashMap::new() }
    }

    /// How many times `old` is `new`. `None` where there are too few samples for this confidence.
    pub fn ratio(&mut self, new: &[f64], old: &[f64]) -> Option<Interval> {
        let (new, old) = (&new[..new.len().min(MOST_RUNS)], &old[..old.len().min(MOST_RUNS)]);
        let (n, m) = (new.len(), old.len());
        let tail = (1.0 - self.confidence) / 2.0;
        let trimmed = *self.trimmed.entry((n, m)).or_insert_with(|| trimmed_pairs(n, m, tail));
        // The interval reaches from the `trimmed`-th smallest to the `trimmed`-th largest ratio.
        let lowest = trimmed.checked_sub(1)?;
        let mut ratios: Vec<f64> = new.iter().flat_map(|new| old.iter().map(move |old| new / old)).collect();
        let highest = ratios.len() - 1 - lowest;
        let median = median(&ratios)?;
        let low = *ratios.select_nth_unstable_by(lowest, f64::total_cmp).1;
        let high = *ratios.select_nth_unstable_by(highest, f64::total_cmp).1;
        Some(Interval { median, low, high })
    }
}

/// How many of the ordered ratios may be cut off at each end so that no more than `tail` of the distribution goes
/// with them: the largest k with P(U ≤ k − 1) ≤ `tail`, U being the Mann-Whitney statistic of `n` and `m` samples.
fn trimmed_pairs(n: usize, m: usize, tail: f64) -> usize {
    // counts[j][u] orders of i and j samples have the statistic u: f(i, j, u) = f(i − 1, j, u − j) + f(i, j − 1, u).
    let pairs = n * m;
    let mut counts = vec![vec![0.0; pairs + 1]; m + 1];
    for row in &mut counts {
        row[0] = 1.0;
    }
    for _ in 0..n {
        let mut before = vec![0.0; pairs + 1];
        before[0] = 1.0;
        for (j, row) in counts.iter_mut().enumerate() {
            for u in (0..=pairs).rev() {
                row[u] = if u >= j && j > 0 { row[u - j] } else { 0.0 };
                row[u] += if j > 0 { before[u] } else { f64::from(u == 0) };
            }
            before.clone_from(row);
        }
    }
    let total: f64 = counts[m].iter().sum();
    let mut below = 0.0;
    counts[m]
        .iter()
        .take_while(|count| {
            below += **count / total;
            below <= tail
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    #[test]
    fn critical_values_are_those_of_the_tables() {
        // Mann and Whitney's two-sided 5 % table gives the largest U that rejects: one less than what is trimmed.
        for (n, m, critical) in
            [(4, 4, 0), (5, 5, 2), (6, 5, 3), (8, 8, 13), (10, 10, 23), (20, 20, 127), (7, 20, 34)]
        {
            assert_eq!(trimmed_pairs(n, m, 0.025), critical + 1, "{n} {m}");
            assert_eq!(trimmed_pairs(m, n, 0.025), critical + 1, "{m} {n}");
        }
    }

    #[test]
    fn few_runs_cannot_tell_many_cells_apart() {
        // 5 and 5 runs have 252 orders, two of which are extreme: 0.8 %; 7 and 7 have 3432.
        assert_eq!(runs_needed(0.99), 5);
        assert_eq!(runs_needed(1.0 - 0.01 / 12.0), 7);
    }

    #[test]
    fn too_few_rounds_say_nothing() {
        let ratio = |n: usize, confidence| Unpaired::new(confidence).ratio(&vec![1.0; n], &vec![2.0; n]);
        assert!(ratio(3, 0.95).is_none());
        assert!(ratio(4, 0.95).is_some());
        assert!(ratio(5, 0.9999).is_none());
        assert!(ratio(0, 0.95).is_none());
    }

    #[test]
    fn the_ratio_is_that_of_new_to_old() {
        let old: Vec<f64> = (0..11).map(|i| 10.0 + f64::from(i) * 0.01).collect();
        let new: Vec<f64> = old.iter().map(|gbps| gbps * 1.5).collect();
        let interval = Unpaired::new(0.95).ratio(&new, &old).unwrap();
        assert!((interval.median - 1.5).abs() < 1e-9);
        assert!(interval.low < 1.5 && 1.5 < interval.high && interval.low > 1.49);
    }

    #[test]
    fn the_interval_covers_as_often_as_it_says() {
        let mut rng = Rng::with_seed(3);
        let mut unpaired = Unpaired::new(0.95);
        let mut run = |factor: f64| -> Vec<f64> {
            (0..15).map(|_| factor * (1.0 - 0.3 * (1.0 - rng.f64()).ln())).collect()
        };
        let covered = (0..1000)
            .filter(|_| {
                let interval = unpaired.ratio(&run(1.2), &run(1.0)).unwrap();
                (interval.low..=interval.high).contains(&1.2)
            })
            .count();
        assert!((935..=975).contains(&covered), "{covered} of 1000");
    }
}
