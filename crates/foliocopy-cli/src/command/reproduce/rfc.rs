//! The tables of the RFC "mm: batch page copies in folio_copy() and folio_mc_copy()" (Shivank Garg, linux-mm,
//! 2026-04-27): every row and every figure that it reports, as it reports them.

use foliocopy_measure::result::Cache;

/// The timed function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    FolioCopy,
    FolioMcCopy,
    MovePages,
}

/// Source and destination in the RFC's words. Its DRAM nodes 0 and 1 have CPUs, its node 2 is CXL.mem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    Dram0,
    Dram1,
    Cxl,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) from: Memory,
    pub(super) to: Memory,
    pub(super) folio_bytes: u64,
    /// GB/s, mean and standard deviation, before and after. The Zen 3 tables report speed-ups alone.
    pub(super) gbps: Option<[(f64, f64); 2]>,
    pub(super) speed_up: f64,
}

/// One table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub(super) title: &'static str,
    pub(super) function: Function,
    pub(super) cache: Option<Cache>,
    pub(super) total_bytes: u64,
    /// Whether the machine has neither ERMS nor FSRM.
    pub(super) zen3: bool,
    pub(super) rows: &'static [Row],
}

use Memory::{Cxl, Dram0, Dram1};

const K: u64 = 1 << 10;
const M: u64 = 1 << 20;
const G: u64 = 1 << 30;

const fn row(from: Memory, to: Memory, folio_bytes: u64, gbps: [(f64, f64); 2], speed_up: f64) -> Row {
    Row { from, to, folio_bytes, gbps: Some(gbps), speed_up }
}

const fn ratio(from: Memory, to: Memory, folio_bytes: u64, speed_up: f64) -> Row {
    Row { from, to, folio_bytes, gbps: None, speed_up }
}

/// In the order of the mail.
pub(super) const TABLES: [Table; 7] = [
    Table {
        title: "Zen 5, cache-cold (2 MB total per run), folio_mc_copy",
        function: Function::FolioMcCopy,
        cache: Some(Cache::Cold),
        total_bytes: 2 * M,
        zen3: false,
        rows: &[
            row(Dram0, Dram1, 256 * K, [(15.63, 0.55), (30.81, 2.10)], 1.97),
            row(Dram0, Dram1, 512 * K, [(16.14, 0.66), (33.74, 2.74)], 2.09),
            row(Dram0, Dram1, M, [(17.09, 0.63), (36.04, 1.85)], 2.11),
            row(Dram0, Dram1, 2 * M, [(18.65, 1.37), (38.03, 3.21)], 2.04),
            row(Dram0, Cxl, 256 * K, [(22.55, 0.37), (36.34, 1.32)], 1.61),
            row(Dram0, Cxl, 512 * K, [(22.24, 0.86), (37.42, 1.89)], 1.68),
            row(Dram0, Cxl, M, [(23.28, 0.94), (39.23, 0.97)], 1.68),
            row(Dram0, Cxl, 2 * M, [(25.46, 2.89), (39.29, 1.17)], 1.54),
            row(Cxl, Dram0, M, [(17.88, 3.88), (33.53, 0.40)], 1.88),
            row(Cxl, Dram0, 2 * M, [(20.61, 3.95), (35.07, 0.62)], 1.70),
        ],
    },
    Table {
        title: "Zen 5, cache-cold (2 MB total per run), folio_copy",
        function: Function::FolioCopy,
        cache: Some(Cache::Cold),
        total_bytes: 2 * M,
        zen3: false,
        rows: &[
            row(Dram0, Dram1, 256 * K, [(14.93, 0.55), (29.66, 2.44)], 1.99),
            row(Dram0, Dram1, 512 * K, [(15.60, 0.36), (34.21, 1.23)], 2.19),
            row(Dram0, Dram1, M, [(17.47, 0.41), (36.20, 1.40)], 2.07),
            row(Dram0, Dram1, 2 * M, [(19.36, 1.97), (38.92, 1.58)], 2.01),
            row(Dram0, Cxl, 256 * K, [(21.49, 0.39), (34.92, 2.95)], 1.63),
            row(Dram0, Cxl, 512 * K, [(21.01, 0.69), (37.09, 2.13)], 1.76),
            row(Dram0, Cxl, M, [(24.37, 1.99), (38.94, 0.90)], 1.60),
            row(Dram0, Cxl, 2 * M, [(26.59, 2.78), (38.40, 2.59)], 1.44),
            row(Cxl, Dram0, M, [(19.05, 3.87), (33.93, 0.42)], 1.78),
            row(Cxl, Dram0, 2 * M, [(20.50, 4.53), (35.78, 0.93)], 1.75),
        ],
    },
    Table {
        title: "Zen 5, cache-hot (1G total), folio_copy",
        function: Function::FolioCopy,
        cache: Some(Cache::Hot),
        total_bytes: G,
        zen3: false,
        rows: &[
            row(Dram0, Dram0, 16 * K, [(83.61, 0.41), (96.70, 0.58)], 1.16),
            row(Dram0, Dram0, 64 * K, [(65.95, 1.14), (78.77, 0.20)], 1.19),
            row(Dram0, Dram0, 256 * K, [(68.59, 0.88), (82.55, 0.10)], 1.20),
            row(Dram0, Dram0, 512 * K, [(66.02, 0.50), (82.66, 0.17)], 1.25),
            row(Dram0, Dram0, M, [(38.07, 0.06), (41.53, 0.05)], 1.09),
            row(Dram0, Dram0, 2 * M, [(38.54, 0.02), (41.60, 0.04)], 1.08),
        ],
    },
    Table {
        title: "Zen 5, move_pages(2), 1 GiB migrated per run",
        function: Function::MovePages,
        cache: None,
        total_bytes: G,
        zen3: false,
        rows: &[
            row(Dram0, Dram1, 256 * K, [(4.77, 0.01), (5.09, 0.01)], 1.07),
            row(Dram0, Dram1, M, [(4.83, 0.02), (5.19, 0.02)], 1.08),
            row(Dram0, Dram1, 2 * M, [(7.20, 0.03), (8.01, 0.02)], 1.11),
            row(Dram0, Cxl, 256 * K, [(6.07, 0.02), (6.65, 0.01)], 1.10),
            row(Dram0, Cxl, M, [(6.29, 0.02), (6.74, 0.02)], 1.07),
            row(Dram0, Cxl, 2 * M, [(11.12, 0.15), (13.07, 0.03)], 1.18),
            row(Dram1, Dram0, 256 * K, [(4.72, 0.01), (5.06, 0.01)], 1.07),
            row(Dram1, Dram0, M, [(4.83, 0.02), (5.17, 0.02)], 1.07),
            row(Dram1, Dram0, 2 * M, [(7.21, 0.02), (7.95, 0.02)], 1.10),
            row(Cxl, Dram0, 256 * K, [(5.08, 0.06), (5.24, 0.05)], 1.03),
            row(Cxl, Dram0, M, [(5.30, 0.05), (5.44, 0.05)], 1.03),
            row(Cxl, Dram0, 2 * M, [(9.10, 0.05), (9.49, 0.01)], 1.04),
        ],
    },
    Table {
        title: "Zen 3 (no ERMS, no FSRM), cache-cold (2M), folio_copy",
        function: Function::FolioCopy,
        cache: Some(Cache::Cold),
        total_bytes: 2 * M,
        zen3: true,
        rows: &[
            ratio(Dram0, Dram1, M, 0.90),
            row(Dram0, Dram1, 2 * M, [(13.03, 0.76), (11.59, 0.18)], 0.89),
            ratio(Dram1, Dram0, M, 0.85),
            row(Dram1, Dram0, 2 * M, [(12.85, 0.25), (11.02, 0.10)], 0.86),
        ],
    },
    Table {
        title: "Zen 3 (no ERMS, no FSRM), cache-hot (2M), folio_copy",
        function: Function::FolioCopy,
        cache: Some(Cache::Hot),
        total_bytes: 2 * M,
        zen3: true,
        rows: &[
            ratio(Dram0, Dram1, M, 0.60),
            ratio(Dram0, Dram1, 2 * M, 0.61),
            ratio(Dram1, Dram0, M, 0.60),
            ratio(Dram1, Dram0, 2 * M, 0.60),
        ],
    },
    Table {
        title: "Zen 3 (no ERMS, no FSRM), cache-hot (1G), folio_copy",
        function: Function::FolioCopy,
        cache: Some(Cache::Hot),
        total_bytes: G,
        zen3: true,
        rows: &[
            ratio(Dram0, Dram1, M, 0.59),
            ratio(Dram0, Dram1, 2 * M, 0.59),
            ratio(Dram1, Dram0, M, 0.59),
            ratio(Dram1, Dram0, 2 * M, 0.61),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A slip of the pen shows here: the reported speed-up is the quotient of the reported means.
    #[test]
    fn figures_agree_with_each_other() {
        let rows = TABLES.iter().flat_map(|table| table.rows);
        assert_eq!(rows.clone().count(), 50);
        for row in rows {
            if let Some([(before, _), (after, _)]) = row.gbps {
                assert!((after / before - row.speed_up).abs() < 0.011, "{row:?}");
            }
        }
    }
}
