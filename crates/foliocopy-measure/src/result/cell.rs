//! One contender in one situation.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Latency, Load};
use crate::size::Size;
use crate::statistics::{self, CONFIDENCE, Interval, median_interval};

/// The state of the cache before each run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cache {
    /// Neither source nor destination: an eviction buffer was streamed through.
    Cold,
    /// Source and destination, as far as they fit.
    Hot,
    /// A random half of the folios, in bursts.
    Mixed,
}

impl fmt::Display for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Cache::Cold => "cold",
            Cache::Hot => "hot",
            Cache::Mixed => "mixed",
        })
    }
}

/// The memory that the system gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryGiven {
    /// Bytes of source and destination together.
    pub bytes: u64,
    /// How many of these lie in huge pages (transparent or hugetlb).
    pub huge_bytes: u64,
    /// How many lie on the nodes that were asked for. `None` where the system does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_node_bytes: Option<u64>,
}

/// A speed-up: the median over the rounds of the ratio within a round, and its intervals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// At 95 % for this cell alone.
    #[serde(flatten)]
    pub interval: Interval,
    /// Lower end at 99 % for all cells of the run together (Bonferroni). Verdicts rest on this one.
    pub corrected_low: f64,
    /// Upper end at 99 % for all cells of the run together.
    pub corrected_high: f64,
}

impl Ratio {
    /// From the ratios within the rounds, when `tests` cells are looked at together. `None` of no ratios.
    pub fn of(ratios: &[f64], tests: usize) -> Option<Self> {
        let corrected = median_interval(ratios, statistics::corrected_confidence(tests))?;
        Some(Self {
            interval: median_interval(ratios, CONFIDENCE)?,
            corrected_low: corrected.low,
            corrected_high: corrected.high,
        })
    }

    /// The median with the corrected interval.
    pub fn corrected(&self) -> Interval {
        Interval { median: self.interval.median, low: self.corrected_low, high: self.corrected_high }
    }
}

/// One contender in one situation, with a sample a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The state of the cache. `None` where it is not controlled, as in `move_pages(2)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// Bytes of one folio.
    pub folio_bytes: u64,
    /// NUMA node of the source.
    #[serde(default)]
    pub src_node: Option<u32>,
    /// NUMA node of the destination.
    #[serde(default)]
    pub dst_node: Option<u32>,
    /// Further dimensions of this situation, such as `then: read`, `threads: 2` or `method: move_pages`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dimensions: BTreeMap<String, String>,
    /// The contender.
    pub contender: String,
    /// Decimal GB/s, a copied byte counted once, in the order of the rounds.
    pub samples_gbps: Vec<f64>,
    /// Median of the samples.
    pub median_gbps: f64,
    /// Mean of the samples.
    pub mean_gbps: f64,
    /// Sample standard deviation of the samples.
    pub stdev_gbps: f64,
    /// The speed-up over the baseline. `None` where the situation has no baseline.
    pub ratio_to_baseline: Option<Ratio>,
    /// Cycles of a load of a few sampled lines of source and destination, taken before each run: the proof that cold was cold
    /// and hot was hot. Where the cache is mixed, lines that should be hot and lines that should be cold take turns.
    #[serde(default, alias = "latency_cycles", skip_serializing_if = "Vec::is_empty")]
    pub probe_load_cycles: Vec<Vec<u32>>,
    /// How long each copy took, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// What streamed memory meanwhile, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// How long its situation was measured, all contenders together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// The memory that the system gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryGiven>,
    /// The decisions of the policy's probe, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probed: Option<Probed>,
}

/// Decisions of a probe, in rounds of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// How many copies were asked about.
    pub copies: u64,
    /// How many of them it sent past the cache.
    pub past_cache: u64,
}

/// The fields of a cell without the contender. Cells of one situation are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Situation<'a> {
    /// As in [`Cell`].
    pub cache: Option<Cache>,
    /// As in [`Cell`].
    pub folio_bytes: u64,
    /// As in [`Cell`].
    pub src_node: Option<u32>,
    /// As in [`Cell`].
    pub dst_node: Option<u32>,
    /// As in [`Cell`].
    pub dimensions: &'a BTreeMap<String, String>,
}

impl<'a> Situation<'a> {
    /// The situation without folio and nodes. Situations that agree in it share a geometric mean.
    pub fn kind(self) -> Situation<'a> {
        Situation { folio_bytes: 0, src_node: None, dst_node: None, ..self }
    }

    /// The kind's name, such as `cold then=read`.
    pub fn kind_name(self) -> String {
        let cache = self.cache.map(|cache| cache.to_string());
        let dimensions = self.dimensions.iter().map(|(name, value)| format!("{name}={value}"));
        cache.into_iter().chain(dimensions).collect::<Vec<_>>().join(" ")
    }
}

/// Such as `cold 64K 0->1 then=read`.
impl fmt::Display for Situation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(cache) = self.cache {
            write!(f, "{cache} ")?;
        }
        write!(f, "{}", Size(self.folio_bytes))?;
        if let (Some(src), Some(dst)) = (self.src_node, self.dst_node) {
            write!(f, " {src}->{dst}")?;
        }
        self.dimensions.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

impl Cell {
    /// A cell with its statistics. The caller fills in the situation.
    ///
    /// # Panics
    ///
    /// Without a sample.
    pub fn new(contender: impl Into<String>, folio_bytes: u64, samples_gbps: Vec<f64>) -> Self {
        let of =
            |statistic: fn(&[f64]) -> Option<f64>| statistic(&samples_gbps).expect("a cell has a sample");
        Self {
            cache: None,
            folio_bytes,
            src_node: None,
            dst_node: None,
            dimensions: BTreeMap::new(),
            contender: contender.into(),
            median_gbps: of(statistics::median),
            mean_gbps: of(statistics::mean),
            stdev_gbps: of(statistics::standard_deviation),
            samples_gbps,
            ratio_to_baseline: None,
            probe_load_cycles: Vec::new(),
            latency: None,
            load: None,
            seconds: None,
            memory: None,
            probed: None,
        }
    }

    /// The cell with these samples, and their statistics.
    ///
    /// # Panics
    ///
    /// Without a sample.
    pub fn with_samples(self, samples_gbps: Vec<f64>) -> Self {
        let Self { median_gbps, mean_gbps, stdev_gbps, samples_gbps, .. } =
            Self::new("", self.folio_bytes, samples_gbps);
        Self { median_gbps, mean_gbps, stdev_gbps, samples_gbps, ..self }
    }

    /// Everything but the contender.
    pub fn situation(&self) -> Situation<'_> {
        Situation {
            cache: self.cache,
            folio_bytes: self.folio_bytes,
            src_node: self.src_node,
            dst_node: self.dst_node,
            dimensions: &self.dimensions,
        }
    }

    /// Cycles of the sampled loads of lines that should be hot.
    pub fn hot_loads(&self) -> impl Iterator<Item = u32> {
        self.probe_loads(match self.cache {
            Some(Cache::Hot) => Some((0, 1)),
            Some(Cache::Mixed) => Some((0, 2)),
            Some(Cache::Cold) | None => None,
        })
    }

    /// Cycles of the sampled loads of lines that should be cold.
    pub fn cold_loads(&self) -> impl Iterator<Item = u32> {
        self.probe_loads(match self.cache {
            Some(Cache::Cold) => Some((0, 1)),
            Some(Cache::Mixed) => Some((1, 2)),
            Some(Cache::Hot) | None => None,
        })
    }

    /// Those of each run, from the `first` on, `step` apart.
    fn probe_loads(&self, turns: Option<(usize, usize)>) -> impl Iterator<Item = u32> {
        let of_runs = move |(first, step)| {
            self.probe_load_cycles.iter().flat_map(move |run| run.iter().skip(first).step_by(step))
        };
        turns.into_iter().flat_map(of_runs).copied()
    }

    /// This cell's samples by those of `baseline`, a cell of the same situation, round by round.
    pub fn ratios_to(&self, baseline: &Cell) -> Vec<f64> {
        statistics::paired_ratios(&self.samples_gbps, &baseline.samples_gbps)
    }
}
