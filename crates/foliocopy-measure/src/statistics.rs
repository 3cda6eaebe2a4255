//! The statistics behind every figure: medians, the ratio within a round, bootstrap intervals.
//!
//! These numbers come from shared machines whose speed drifts by a factor of two within minutes. What survives
//! is the ratio of two copies taken in the same round, so a speed-up is the median over rounds of that ratio.
//! Its interval is the percentile bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993,
//! chapter 13): no assumption about the shape of the noise, which here is skewed and has outliers.

use std::num::NonZeroUsize;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// The confidence of an interval that is not corrected for anything.
pub const CONFIDENCE: f64 = 0.95;

/// Resamples a bootstrap. With a hundred cells the corrected tails hold 0.025 % each, which is five of these.
const RESAMPLES: usize = 20_000;

/// The median; of an even number of values the mean of the two in the middle. `None` of no values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    (!values.is_empty()).then(|| median_in_place(&mut values))
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
    /// Whether the whole interval lies below `bound`.
    pub fn is_below(&self, bound: f64) -> bool {
        self.high < bound
    }

    /// Whether the whole interval lies above `bound`.
    pub fn is_above(&self, bound: f64) -> bool {
        self.low > bound
    }
}

/// The confidence that each of `tests` intervals needs so that all of them together hold at [`CONFIDENCE`]
/// (Bonferroni's correction).
pub fn corrected_confidence(tests: NonZeroUsize) -> f64 {
    1.0 - (1.0 - CONFIDENCE) / tests.get() as f64
}

/// How many rounds it takes before `tests` corrected intervals could exclude 1 at all: were there no difference,
/// all ratios of a cell would still fall on one side of it once in 2^(rounds - 1).
pub fn rounds_needed(tests: usize) -> usize {
    let chance = (1.0 - CONFIDENCE) / tests.max(1) as f64;
    1 + (-chance.log2()).ceil() as usize
}

/// The bootstrap distribution of one statistic, from which intervals at any confidence are read.
///
/// # Invariants
///
/// `resampled` is sorted and not empty.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    median: f64,
    resampled: Vec<f64>,
}

impl Bootstrap {
    /// Resamples the median of `values`. The same seed gives the same distribution. `None` of no values.
    pub fn of_median(values: &[f64], seed: u64) -> Option<Self> {
        let median = median(values)?;
        let mut rng = Rng::with_seed(seed);
        let mut scratch = vec![0.0; values.len()];
        let resampled = (0..RESAMPLES).map(|_| resampled_median(values, &mut scratch, &mut rng)).collect();
        Some(Self::new(median, resampled))
    }

    /// Resamples the geometric mean of the groups' medians, each group (a cell's ratios) on its own.
    /// `None` without groups or where one is empty.
    pub fn of_geometric_mean(groups: &[Vec<f64>], seed: u64) -> Option<Self> {
        let medians = groups.iter().map(|group| median(group)).collect::<Option<Vec<_>>>()?;
        let center = geometric_mean(&medians)?;
        let mut rng = Rng::with_seed(seed);
        let mut scratch: Vec<_> = groups.iter().map(|group| vec![0.0; group.len()]).collect();
        let resampled = (0..RESAMPLES / 4)
            .map(|_| {
                let logarithms = groups
                    .iter()
                    .zip(&mut scratch)
                    .map(|(group, scratch)| resampled_median(group, scratch, &mut rng).ln());
                (logarithms.sum::<f64>() / groups.len() as f64).exp()
            })
            .collect();
        Some(Self::new(center, resampled))
    }

    fn new(median: f64, mut resampled: Vec<f64>) -> Self {
        resampled.sort_unstable_by(f64::total_cmp);
        // INVARIANT: sorted just now; every caller passes as many values as there are resamples.
        Self { median, resampled }
    }

    /// The percentile interval at `confidence`, between 0 and 1.
    pub fn interval(&self, confidence: f64) -> Interval {
        let tail = (1.0 - confidence) / 2.0;
        let last = (self.resampled.len() - 1) as f64;
        // Outwards, so that an interval is never narrower than its confidence.
        let low = (tail * last).floor() as usize;
        let high = ((1.0 - tail) * last).ceil() as usize;
        Interval { median: self.median, low: self.resampled[low], high: self.resampled[high] }
    }
}

fn resampled_median(values: &[f64], scratch: &mut [f64], rng: &mut Rng) -> f64 {
    for slot in scratch.iter_mut() {
        *slot = values[rng.usize(..values.len())];
    }
    median_in_place(scratch)
}

/// `values` must not be empty.
fn median_in_place(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    let odd = values.len() % 2 == 1;
    let (below, &mut upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    if odd {
        return upper;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    f64::midpoint(lower, upper)
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

    fn tests(number: usize) -> NonZeroUsize {
        NonZeroUsize::new(number).unwrap()
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
        assert!(Bootstrap::of_median(&[], 1).is_none());
        assert!(Bootstrap::of_geometric_mean(&[], 1).is_none());
        assert!(Bootstrap::of_geometric_mean(&[vec![1.0], vec![]], 1).is_none());
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
    fn same_seed_same_interval() {
        let values: Vec<f64> = (0..41).map(|i| f64::from(i * 37 % 41)).collect();
        let interval = |seed| Bootstrap::of_median(&values, seed).unwrap().interval(CONFIDENCE);
        assert_eq!(interval(7), interval(7));
    }

    #[test]
    fn interval_widens_with_the_number_of_cells() {
        let mut rng = Rng::with_seed(1);
        let values: Vec<f64> = (0..41).map(|_| rng.f64()).collect();
        let bootstrap = Bootstrap::of_median(&values, 7).unwrap();
        let (one, many) =
            (bootstrap.interval(CONFIDENCE), bootstrap.interval(corrected_confidence(tests(100))));
        assert!(many.low < one.low && one.low < one.median);
        assert!(one.median < one.high && one.high < many.high);
    }

    #[test]
    fn interval_covers_the_true_median_as_often_as_it_says() {
        // 41 rounds of skewed noise (exponential, median ln 2): 95 % of the intervals should hold the median.
        let mut rng = Rng::with_seed(2);
        let trials = 200;
        let covered = (0..trials)
            .filter(|&trial| {
                let values: Vec<f64> = (0..41).map(|_| -(1.0 - rng.f64()).ln()).collect();
                let interval = Bootstrap::of_median(&values, trial).unwrap().interval(CONFIDENCE);
                (interval.low..=interval.high).contains(&std::f64::consts::LN_2)
            })
            .count();
        assert!((180..=199).contains(&covered), "{covered} of {trials}");
    }

    #[test]
    fn geometric_mean_of_cells_without_noise_is_exact() {
        let groups = [vec![0.5; 9], vec![2.0; 5], vec![8.0; 7]];
        let interval = Bootstrap::of_geometric_mean(&groups, 3).unwrap().interval(CONFIDENCE);
        for value in [interval.low, interval.median, interval.high] {
            assert!((value - 2.0).abs() < 1e-12);
        }
    }

    #[test]
    fn corrections_add_up_to_the_confidence() {
        assert_eq!(corrected_confidence(tests(1)), CONFIDENCE);
        assert!((corrected_confidence(tests(10)) - 0.995).abs() < 1e-12);
    }

    #[test]
    fn few_rounds_cannot_tell_many_cells_apart() {
        // All of six ratios lie on one side by chance once in 32, all of five once in 16: 5 % lies between.
        assert_eq!(rounds_needed(1), 6);
        assert_eq!(rounds_needed(0), 6);
        assert_eq!(rounds_needed(48), 11);
    }

    #[test]
    fn sides_of_an_interval() {
        let interval = Interval { median: 0.9, low: 0.8, high: 1.0 };
        assert!(!interval.is_below(1.0) && interval.is_below(1.01));
        assert!(!interval.is_above(0.8) && interval.is_above(0.79));
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
