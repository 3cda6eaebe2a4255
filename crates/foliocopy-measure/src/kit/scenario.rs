//! What the kit's module is made to measure.

use crate::result::Cache;

/// What a hot run copies at least before it is timed.
const WARMUP_BYTES: u64 = 32 << 20;

/// The folios that the kit measures unless told otherwise: orders 0, 2, 4, 6, 7, 8 and 9.
const FOLIOS: [u64; 7] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 512 << 10, 1 << 20, 2 << 20];

/// One of the kit's four scenarios. Each copies one folio to another again and again, and times each copy by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// 2 MiB, hot.
    A,
    /// 2 MiB or eight copies, evicted before each.
    B,
    /// 1 GiB, hot.
    C,
    /// 1 GiB or 32 copies, evicted before each, of folios of 256 KiB and more.
    D,
}

impl Scenario {
    /// What the caches hold.
    pub fn cache(self) -> Cache {
        match self {
            Self::A | Self::C => Cache::Hot,
            Self::B | Self::D => Cache::Cold,
        }
    }

    /// Bytes of a run, however few copies it has.
    pub fn total_bytes(self) -> u64 {
        match self {
            Self::A | Self::B => 2 << 20,
            Self::C | Self::D => 1 << 30,
        }
    }

    /// How many copies of a folio of `folio_bytes` a run of `total_bytes` has.
    pub fn copies(self, folio_bytes: u64, total_bytes: u64) -> u64 {
        let copies = total_bytes.div_ceil(folio_bytes).max(1);
        match self {
            Self::A | Self::C => copies,
            Self::B => copies.min(8),
            Self::D => copies.min(32),
        }
    }

    /// How many copies go before a run of `total_bytes`, untimed.
    pub fn warmup(self, folio_bytes: u64, total_bytes: u64) -> u64 {
        match total_bytes < WARMUP_BYTES {
            true => WARMUP_BYTES.div_ceil(folio_bytes),
            false => 1,
        }
    }

    /// Bytes of a folio, in turn.
    pub fn folios(self) -> &'static [u64] {
        match self {
            Self::A | Self::B | Self::C => &FOLIOS,
            Self::D => &FOLIOS[3..],
        }
    }

    /// Bytes that are streamed through the caches before each cold copy.
    pub fn evict_bytes(self) -> u64 {
        super::EVICT_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_those_of_the_kit() {
        // id:bytes_total:flush:warmup:max_iters:min_order, as the heads of its logs have them.
        for (scenario, total, flush, most, least_order) in [
            (Scenario::A, 2_097_152, false, u64::MAX, 0),
            (Scenario::B, 2_097_152, true, 8, 0),
            (Scenario::C, 1_073_741_824, false, u64::MAX, 0),
            (Scenario::D, 1_073_741_824, true, 32, 6),
        ] {
            assert_eq!(scenario.total_bytes(), total);
            assert_eq!(scenario.cache() == Cache::Cold, flush);
            assert_eq!(scenario.folios()[0], 4096 << least_order);
            for folio in scenario.folios() {
                assert_eq!(scenario.copies(*folio, total), (total / folio).min(most), "{scenario:?} {folio}");
            }
        }
        let warmup = |scenario: Scenario, folio| scenario.warmup(folio, scenario.total_bytes());
        assert_eq!(
            [warmup(Scenario::A, 4096), warmup(Scenario::A, 2 << 20), warmup(Scenario::C, 4096)],
            [8192, 16, 1]
        );
    }
}
