//! How long single copies took, and what streamed meanwhile.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Times keep so many bits: 0.1 %.
const BITS: u32 = 11;

/// How long each copy of a cell took, as `--latency` keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// Half of the copies took no longer, in ns.
    pub p50_ns: u64,
    /// 99 % of the copies took no longer. `None` of fewer than 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ns: Option<u64>,
    /// 99.9 % of the copies took no longer. `None` of fewer than 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_9_ns: Option<u64>,
    /// The longest.
    pub max_ns: u64,
    /// What one reading of the clock takes, which is part of every time. `None` where that is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_ns: Option<u64>,
    /// All times that were seen, ascending; above 2 µs rounded up to 11 bits.
    pub ns: Vec<u64>,
    /// How many copies took each.
    pub copies: Vec<u64>,
    /// The first copy after each eviction, in the order of the rounds. These are not among the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub first_ns: Vec<u64>,
}

impl Latency {
    /// How many copies there were, without the first ones.
    pub fn count(&self) -> u64 {
        self.copies.iter().sum()
    }

    /// The time that so large a `part` of the copies, 0 to 1, did not exceed. `None` where there are too few to tell it from the
    /// longest.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((part * count as f64).ceil() as u64).max(1);
        if count == 0 || part > 0.5 && ((1.0 - part) * count as f64) < 1.0 - 1e-9 {
            return None;
        }
        let mut reached = 0;
        let mut times = self.ns.iter().zip(&self.copies);
        let time = times.find(|(_, copies)| {
            reached += **copies;
            reached >= rank
        });
        time.map(|(ns, _)| *ns)
    }

    /// The median of the first copies after an eviction.
    pub fn first_median_ns(&self) -> Option<u64> {
        let mut first = self.first_ns.clone();
        first.sort_unstable();
        first.get(first.len().saturating_sub(1) / 2).copied()
    }

    /// Whether the lists can be those of copies.
    pub(super) fn is_possible(&self) -> bool {
        self.ns.len() == self.copies.len()
            && !self.ns.is_empty()
            && self.ns.windows(2).all(|pair| pair[0] < pair[1])
            && self.copies.iter().all(|copies| *copies > 0)
            && self.copies.iter().try_fold(0u64, |sum, copies| sum.checked_add(*copies)).is_some()
    }

    /// Works the figures out of the lists, by the rule of today.
    pub(super) fn summarize(&mut self) {
        self.p50_ns = self.quantile(0.5).unwrap_or_default();
        self.p99_ns = self.quantile(0.99);
        self.p99_9_ns = self.quantile(0.999);
        let last = self.ns.last().copied().unwrap_or_default();
        if rounded(self.max_ns) != last {
            self.max_ns = last;
        }
    }
}

/// Times of copies being gathered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    copies: BTreeMap<u64, u64>,
    longest: u64,
    first_ns: Vec<u64>,
}

impl Times {
    /// Adds the times of a run, in ns, in their order. The first copy after an eviction stands apart.
    pub(crate) fn add_run(&mut self, times: impl IntoIterator<Item = u64>, after_eviction: bool) {
        let mut times = times.into_iter();
        if after_eviction {
            self.first_ns.extend(times.next());
        }
        for ns in times {
            self.longest = self.longest.max(ns);
            *self.copies.entry(rounded(ns)).or_default() += 1;
        }
    }

    /// `None` where there was but the first copy of each run, or no copy at all.
    pub(crate) fn into_latency(mut self, clock_ns: Option<u64>) -> Option<Latency> {
        if self.copies.is_empty() {
            // A run of one copy has no others.
            let first = std::mem::take(&mut self.first_ns);
            if first.is_empty() {
                return None;
            }
            self.add_run(first, false);
        }
        let (ns, copies) = self.copies.into_iter().unzip();
        let mut latency = Latency {
            clock_ns,
            ns,
            copies,
            first_ns: self.first_ns,
            max_ns: self.longest,
            ..Latency::default()
        };
        latency.summarize();
        Some(latency)
    }
}

/// `ns` rounded up to [`BITS`] bits.
fn rounded(ns: u64) -> u64 {
    let unit = (u64::BITS - ns.leading_zeros()).saturating_sub(BITS);
    ns.div_ceil(1 << unit) << unit
}

/// What streamed memory while a cell was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// How many threads read memory.
    pub threads: usize,
    /// What all of them read while each sample was taken, in GB/s.
    pub gbps: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: &[u64]) -> Latency {
        let mut gathered = Times::default();
        gathered.add_run(times.iter().copied(), false);
        gathered.into_latency(Some(20)).unwrap()
    }

    #[test]
    fn quantiles_are_ranks() {
        let latency = of(&(1..=1000).collect::<Vec<_>>());
        assert_eq!((latency.p50_ns, latency.p99_ns, latency.p99_9_ns), (500, Some(990), Some(999)));
        assert_eq!((latency.max_ns, latency.count(), latency.clock_ns), (1000, 1000, Some(20)));
        assert_eq!(of(&[7]).p50_ns, 7);
    }

    #[test]
    fn few_copies_have_no_high_quantile() {
        let latency = of(&(1..=99).collect::<Vec<_>>());
        assert_eq!((latency.p50_ns, latency.p99_ns, latency.p99_9_ns), (50, None, None));
        assert_eq!(of(&(1..=100).collect::<Vec<_>>()).p99_ns, Some(99));
        assert_eq!(of(&(1..=999).collect::<Vec<_>>()).p99_9_ns, None);
    }

    #[test]
    fn long_times_are_rounded_up_and_the_longest_is_exact() {
        let latency = of(&[2047, 2049, 1_000_001]);
        assert_eq!(latency.ns, [2047, 2050, 1_000_448]);
        assert_eq!(latency.max_ns, 1_000_001);
        for ns in [0, 1, 2047, 2048, 123_456_789, u64::from(u32::MAX)] {
            assert!(rounded(ns) >= ns && rounded(ns) as f64 <= ns as f64 * 1.001, "{ns}");
        }
    }

    #[test]
    fn the_first_copy_after_an_eviction_stands_apart() {
        let mut times = Times::default();
        times.add_run([900, 100, 110], true);
        times.add_run([700, 120], true);
        times.add_run([800, 130], true);
        let latency = times.into_latency(None).unwrap();
        assert_eq!(latency.first_ns, [900, 700, 800]);
        assert_eq!((latency.first_median_ns(), latency.max_ns, latency.count()), (Some(800), 130, 4));
        let mut alone = Times::default();
        alone.add_run([900], true);
        let alone = alone.into_latency(None).unwrap();
        assert_eq!((alone.count(), alone.p50_ns, alone.first_ns.len()), (1, 900, 0));
        assert!(Times::default().into_latency(None).is_none());
    }
}
