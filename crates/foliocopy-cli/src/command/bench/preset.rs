//! The parameters of the RFC's own benchmarks ("mm: batch page copies in folio_copy() and folio_mc_copy()",
//! linux-mm, 2026-04-27).

use clap::ValueEnum;

use super::CacheChoice;

/// A named set of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Preset {
    /// The RFC's cold table: folios of 256K to 2M, 2M a run, 128M evicted
    RfcCold,
    /// The RFC's hot table: folios of 16K to 2M, 1G a run
    RfcHot,
    /// The RFC's Zen 3 machine, which has neither ERMS nor FSRM: folios of 1M and 2M, cold and hot
    RfcZen3,
}

impl Preset {
    pub(super) fn cache(self) -> CacheChoice {
        match self {
            Self::RfcCold => CacheChoice::Cold,
            Self::RfcHot => CacheChoice::Hot,
            Self::RfcZen3 => CacheChoice::Both,
        }
    }

    pub(super) fn folios(self) -> &'static [u64] {
        match self {
            Self::RfcCold => &[256 << 10, 512 << 10, 1 << 20, 2 << 20],
            Self::RfcHot => &[16 << 10, 64 << 10, 256 << 10, 512 << 10, 1 << 20, 2 << 20],
            Self::RfcZen3 => &[1 << 20, 2 << 20],
        }
    }

    /// Bytes a cold run.
    pub(super) fn total_cold(self) -> u64 {
        2 << 20
    }

    /// Bytes a hot run.
    pub(super) fn total_hot(self) -> u64 {
        1 << 30
    }

    /// Features that the RFC's machine lacks, as `--mask` takes them.
    pub(super) fn mask(self) -> Option<&'static str> {
        match self {
            Self::RfcCold | Self::RfcHot => None,
            Self::RfcZen3 => Some("erms,fsrm"),
        }
    }
}
