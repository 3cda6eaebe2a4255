//! The statistics behind every figure: medians, the ratio within a round, bootstrap intervals.
//!
//! These numbers come from shared machines whose speed drifts by a factor of two within minutes. What survives
//! is the ratio of two copies taken in the same round, so a speed-up is the median over rounds of that ratio.
//! Its interval is the sign test's ([`median_interval`]): no assumption about the shape of the noise, which here is skewed
//! and has outliers.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The confidence of an interval that is not corrected for anything.
pub const CONFIDENCE: f64 = 0.95;

/// The confidence of all corrected intervals of a run together: of a hundred runs in which nothing differs, one has an interval
/// that excludes the truth.
pub const FAMILY_CONFIDENCE: f64 = 0.99;

/// The median; of an even number of values the mean of the two in the middle. `None` of no values.
pub fn median(values: &[f64]) -> Option<f64> {
    median_interval(values, 0.0).map(|interval| interval.median)
}

/// The arithmetic mean. `None` of no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The sample standard deviation (n − 1), zero of a single value. `None` of no values.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    if values.len() == 1 {
        return Some(0.0);
    }
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// The geometric mean of positive values. `None` of no values.
pub fn geometric_mean(values: &[f64]) -> Option<f64> {
    mean(&values.iter().map(|value| value.ln()).collect::<Vec<_>>()).map(f64::exp)
}

/// Sample by baseline sample, round by round: what a speed-up is made of.
///
/// Both slices hold one sample a round, in the order of the rounds; rounds that only one of them has
/// (an interrupted run) are left out.
pub fn paired_ratios(samples: &[f64], baseline: &[f64]) -> Vec<f64> {
    samples.iter().zip(baseline).map(|(sample, baseline)| sample / baseline).collect()
}

/// The best of several series of one length, a sample a round: in every second round the sample of the series whose median over the
/// other rounds is the largest, and the other way round. The largest of several noisy figures is too large; chosen by one half of
/// the rounds and taken from the other, it is not. A single round has no other half and chooses for itself. `None` of no series.
pub fn best_of_halves(series: &[&[f64]]) -> Option<Vec<f64>> {
    let rounds = series.first()?.len();
    let best_of = |half: usize| {
        let half = half.min(rounds.saturating_sub(1));
        let median_of =
            |samples: &[f64]| median(&samples.iter().skip(half).step_by(2).copied().collect::<Vec<_>>());
        series
            .iter()
            .max_by(|one, other| median_of(one).partial_cmp(&median_of(other)).unwrap_or(Ordering::Equal))
    };
    let best_of = [best_of(0)?, best_of(1)?];
    Some((0..rounds).map(|round| best_of[1 - round % 2][round]).collect())
}

/// A median with the interval that holds it at some confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The median itself.
    pub median: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// The distance between the ends, as a part of the median.
    pub fn width(&self) -> f64 {
        (self.high - self.low) / self.median
    }
}

/// Such as `1.02 [0.99, 1.04]`, to as many places as the formatter asks for. From 10 on a figure has one place less, and from 100
/// on two, so that none is wider.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = f.precision().unwrap_or(2);
        let figure = |value: f64| {
            let places = places.saturating_sub(usize::from(value >= 9.995) + usize::from(value >= 99.95));
            format!("{value:.places$}")
        };
        write!(f, "{} [{}, {}]", figure(self.median), figure(self.low), figure(self.high))
    }
}

/// The confidence that each of `tests` intervals needs so that all of them together hold at [`FAMILY_CONFIDENCE`]
/// (Bonferroni's correction).
pub fn corrected_confidence(tests: usize) -> f64 {
    1.0 - (1.0 - FAMILY_CONFIDENCE) / tests.max(1) as f64
}

/// How many rounds it takes before `tests` corrected intervals could exclude the truth by chance alone no more often than they
/// may: all ratios of a cell fall on one side of it once in 2^(rounds - 1).
pub fn rounds_needed(tests: usize) -> usize {
    1 + (tests.max(1) as f64 / (1.0 - FAMILY_CONFIDENCE)).log2().ceil() as usize
}

/// The median with its interval at `confidence`, between 0 and 1: the sign test's, between two of the ordered values. `None` of no
/// values; from the smallest to the largest of too few.
///
/// The numbers of values on either side of the true median are binomial, whatever their distribution. So the interval is exact.
/// Where two that are alike run in shuffled order in every round, it holds 1 as often as it says even if their noise drifts,
/// comes in bursts or jumps between two speeds.
pub fn median_interval(values: &[f64], confidence: f64) -> Option<Interval> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let median = f64::midpoint(sorted[last / 2], sorted[sorted.len() / 2]);
    let cut = values_outside(sorted.len(), (1.0 - confidence) / 2.0);
    Some(Interval { median, low: sorted[cut], high: sorted[last - cut] })
}

/// How many of `n` ordered values lie outside of the interval at each end: the most `k` for which `n` throws of a coin give `k` heads
/// or fewer with a chance of no more than `tail`.
fn values_outside(n: usize, tail: f64) -> usize {
    let mut logarithm = -(n as f64) * std::f64::consts::LN_2;
    let (mut chance, mut outside) = (0.0, 0);
    for heads in 0..n.div_ceil(2) {
        chance += logarithm.exp();
        if chance > tail {
            break;
        }
        outside = heads;
        logarithm += ((n - heads) as f64 / (heads + 1) as f64).ln();
    }
    outside
}

/// The geometric mean of the medians of independent `intervals`, with its own at their confidence: on the logarithmic scale the
/// distances to their ends add up as standard errors do. `None` of none.
pub fn geometric_mean_interval(intervals: &[Interval]) -> Option<Interval> {
    let medians: Vec<f64> = intervals.iter().map(|interval| interval.median).collect();
    let median = geometric_mean(&medians)?;
    let spread = |end: fn(&Interval) -> f64| {
        let squares = intervals.iter().map(|interval| (end(interval) / interval.median).ln().powi(2));
        (squares.sum::<f64>().sqrt() / intervals.len() as f64).exp()
    };
    Some(Interval {
        median,
        low: median / spread(|interval| interval.low),
        high: median * spread(|interval| interval.high),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;
    use proptest::prelude::*;

    #[test]
    fn an_interval_keeps_its_width() {
        let shown = |median, low, high| Interval { median, low, high }.to_string();
        assert_eq!(shown(1.05, 0.994, 1.1), "1.05 [0.99, 1.10]");
        assert_eq!(shown(21.69, 9.994, 9.996), "21.7 [9.99, 10.0]");
        assert_eq!(shown(217.4, 99.94, 99.96), "217 [99.9, 100]");
    }

    #[test]
    fn location_and_spread_of_known_values() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(mean(&[1.0, 2.0, 6.0]), Some(3.0));
        // NIST/SEMATECH e-Handbook, NumAcc1: the standard deviation of these is exactly 1.
        assert_eq!(standard_deviation(&[10_000_001.0, 10_000_003.0, 10_000_002.0]), Some(1.0));
        assert_eq!(standard_deviation(&[7.0]), Some(0.0));
        assert!((geometric_mean(&[0.5, 2.0, 8.0]).unwrap() - 2.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_has_no_statistics() {
        assert_eq!((median(&[]), mean(&[]), standard_deviation(&[])), (None, None, None));
        assert!(geometric_mean(&[]).is_none());
        assert!(median_interval(&[], 0.5).is_none() && geometric_mean_interval(&[]).is_none());
    }

    #[test]
    fn drift_of_the_machine_cancels_within_the_round() {
        // The machine halves its speed from round to round; the contender is 1.25 times the baseline throughout.
        let baseline = [16.0, 8.0, 4.0, 2.0];
        let contender = [20.0, 10.0, 5.0, 2.5];
        assert_eq!(paired_ratios(&contender, &baseline), [1.25; 4]);
        assert_eq!(paired_ratios(&contender[..3], &baseline).len(), 3);
    }

    #[test]
    fn interval_widens_with_the_number_of_cells() {
        let mut rng = Rng::with_seed(1);
        let values: Vec<f64> = (0..41).map(|_| rng.f64()).collect();
        let interval = |confidence| median_interval(&values, confidence).unwrap();
        let (one, many) = (interval(CONFIDENCE), interval(corrected_confidence(100)));
        assert!(many.low < one.low && one.low < one.median);
        assert!(one.median < one.high && one.high < many.high);
    }

    #[test]
    fn as_many_values_are_outside_as_in_the_tables_of_the_sign_test() {
        // Dixon and Mood, "The Statistical Sign Test", 1946: the largest rarer count that is significant at 5 and at 1 %, two-sided.
        for (n, five, one) in [(8, 0, 0), (12, 2, 1), (17, 4, 2), (25, 7, 5), (50, 17, 15), (100, 39, 36)] {
            assert_eq!((values_outside(n, 0.025), values_outside(n, 0.005)), (five, one), "{n}");
        }
        assert_eq!([0, 1, 2, 5].map(|n| values_outside(n, 0.025)), [0; 4]);
        // Half of it less 2.576 standard deviations, and no underflow.
        assert_eq!(values_outside(50_000, 0.005), 24_711);
    }

    #[test]
    fn interval_covers_the_true_median_as_often_as_it_says() {
        // 41 rounds of skewed noise (exponential, median ln 2): at least 95 % of the intervals hold the median.
        let mut rng = Rng::with_seed(2);
        let covered = (0..1000)
            .filter(|_| {
                let values: Vec<f64> = (0..41).map(|_| -(1.0 - rng.f64()).ln()).collect();
                let interval = median_interval(&values, CONFIDENCE).unwrap();
                (interval.low..=interval.high).contains(&std::f64::consts::LN_2)
            })
            .count();
        assert!((940..=985).contains(&covered), "{covered} of 1000");
    }

    #[test]
    fn the_geometric_mean_of_many_cells_is_surer_than_one() {
        let exact = |median| Interval { median, low: median, high: median };
        assert_eq!(geometric_mean_interval(&[exact(0.5), exact(2.0)]), Some(exact(1.0)));
        let wide = Interval { median: 2.0, low: 2.0 / 1.2, high: 2.0 * 1.2 };
        let interval = geometric_mean_interval(&[wide; 4]).unwrap();
        // A fourth of the squares' root: half of 20 % on the logarithmic scale.
        for (found, expected) in [(interval.low, 2.0 / 1.2f64.sqrt()), (interval.high, 2.0 * 1.2f64.sqrt())] {
            assert!((found - expected).abs() < 1e-12, "{interval:?}");
        }
    }

    #[test]
    fn the_best_of_many_alike_is_no_better_than_one() {
        let mut rng = Rng::with_seed(4);
        let series: Vec<Vec<f64>> =
            (0..15).map(|_| (0..200).map(|_| 1.0 + 0.2 * rng.f64()).collect()).collect();
        let best = best_of_halves(&series.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
        let inflated = (0..200).map(|round| series.iter().map(|samples| samples[round]).fold(0.0, f64::max));
        assert!((mean(&best).unwrap() - 1.1).abs() < 0.015);
        assert!(mean(&inflated.collect::<Vec<_>>()).unwrap() > 1.18);
    }

    #[test]
    fn the_best_is_taken_where_it_was_not_chosen() {
        let series: [&[f64]; 2] = [&[9.0, 1.0, 9.0, 1.0], &[2.0, 3.0, 2.0, 3.0]];
        // Even rounds choose the first and odd ones the second.
        assert_eq!(best_of_halves(&series), Some(vec![2.0, 1.0, 2.0, 1.0]));
        assert_eq!(best_of_halves(&series[..1]), Some(series[0].to_vec()));
        assert_eq!(best_of_halves(&[&[1.0], &[2.0]]), Some(vec![2.0]));
        assert_eq!(best_of_halves(&[]), None);
    }

    #[test]
    fn corrections_add_up_to_the_confidence() {
        assert!((corrected_confidence(1) - FAMILY_CONFIDENCE).abs() < 1e-12);
        assert!((corrected_confidence(10) - 0.999).abs() < 1e-12);
    }

    #[test]
    fn few_rounds_cannot_tell_many_cells_apart() {
        // All of eight ratios lie on one side by chance once in 128, all of seven once in 64: 1 % lies between.
        assert_eq!([rounds_needed(1), rounds_needed(0), rounds_needed(48)], [8, 8, 14]);
    }

    #[test]
    fn an_interval_says_how_wide_it_is() {
        let interval = Interval { median: 0.5, low: 0.45, high: 0.5501 };
        assert!((interval.width() - 0.2002).abs() < 1e-12);
        assert_eq!(
            (format!("{interval}"), format!("{interval:.3}")),
            ("0.50 [0.45, 0.55]".into(), "0.500 [0.450, 0.550]".into())
        );
    }

    proptest! {
        #[test]
        fn median_is_what_sorting_finds(mut values in prop::collection::vec(0.0..1e9f64, 1..50)) {
            let found = median(&values).unwrap();
            values.sort_unstable_by(f64::total_cmp);
            let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
            prop_assert_eq!(found, f64::midpoint(values[low], values[high]));
        }
    }
}
