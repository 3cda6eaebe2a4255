//! The parameters of a measurement.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Cache;

/// A contender and its description.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contender {
    /// The name that cells carry.
    pub name: String,
    /// The contender in a few words, on this CPU.
    pub description: String,
    /// `LIBRARY:SYMBOL` of a function that was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<String>,
}

/// The lines that an eviction leaves in the caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evict {
    /// Clean lines: the buffer is read.
    #[default]
    Read,
    /// Dirty lines, as on a busy machine: the buffer is written to. Each line that a copy brings in then costs a write-back.
    Write,
}

impl Evict {
    /// The participle of the eviction's verb.
    pub const fn done(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "written",
        }
    }
}

/// As `bench --evict` takes it.
impl fmt::Display for Evict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

/// The parameters of a run. Two runs can be compared where these agree.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parameters {
    /// The contender that ratios refer to.
    pub baseline: String,
    /// All contenders, the baseline included.
    pub contenders: Vec<Contender>,
    /// The states of the cache, in turn.
    pub cache: Vec<Cache>,
    /// Bytes of a folio, in turn.
    pub folio_bytes: Vec<u64>,
    /// Bytes copied a run when cold or mixed.
    pub total_bytes_cold: u64,
    /// Bytes copied a run when hot.
    pub total_bytes_hot: u64,
    /// Rounds asked for. `None` where time decided.
    pub rounds: Option<u32>,
    /// The time budget in seconds, where that decided the rounds.
    pub time_seconds: Option<f64>,
    /// The kind of memory asked for: `thp`, `anon`, `hugetlb` or `memfd`.
    pub memory: String,
    /// Pairs of source and destination node that were asked for.
    pub nodes: Vec<(u32, u32)>,
    /// The CPU that the copying thread was pinned to.
    pub cpu: Option<u32>,
    /// Bytes streamed through the caches before each cold run.
    pub evict_bytes: u64,
    /// Whether these are read or written.
    pub evict: Evict,
    /// Rounds after which the buffers were laid out anew.
    pub layout_rounds: u32,
    /// Seed of all that is shuffled and resampled.
    pub seed: u64,
    /// The smallest difference that counts, where another than the usual was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimal_effect: Option<f64>,
    /// `--preset`, where one was named.
    pub preset: Option<String>,
    /// Parameters of one command alone, such as `then: read`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub other: BTreeMap<String, String>,
}
