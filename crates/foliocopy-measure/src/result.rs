//! The result schema: what a measurement leaves behind, as JSON, and reads back.
//!
//! One file holds the environment, the parameters and the cells of one run. A cell is one contender in one
//! situation; cells in the same situation ([`Cell::situation`]) were measured in the same rounds, so that
//! sample `i` of each comes from round `i` and the ratio of the two is free of the machine's drift.

mod cell;
mod environment;
mod file;
mod latency;
mod parameters;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

pub use cell::{Cache, Cell, MemoryGiven, Probed, Ratio, Situation};
pub use environment::{CacheLevel, CpuIdentity, Environment, Node, PolicyBand, PolicyTables};
pub(crate) use file::LONGEST;
pub use file::{ReadError, read, read_from, read_value, write_to};
pub(crate) use latency::Times;
pub use latency::{Latency, Load};
pub use parameters::{Contender, Evict, Parameters};

/// The version of the schema that this program writes. Older ones are still read.
///
/// Version 2 calls `probe_load_cycles` what version 1 called `latency_cycles`, and has `latency` and `load`.
pub const SCHEMA_VERSION: u32 = 2;

/// The place of the copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// In a process: `foliocopy bench`, and `foliocopy migrate`, which times the kernel from outside.
    UserSpace,
    /// In the kernel: the module's own bench.
    Kernel,
}

/// One measurement, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA_VERSION`] of the program that wrote it.
    pub schema_version: u32,
    /// The program and its version, such as `foliocopy 0.1.0`.
    pub program: String,
    /// The command, such as `bench` or `migrate`.
    pub command: String,
    /// The place of the copies.
    pub origin: Origin,
    /// When it began, in UTC, as RFC 3339 has it.
    pub started: String,
    /// How long it took, in seconds.
    pub elapsed_seconds: f64,
    /// False if it was interrupted: the cells hold what was measured until then.
    pub complete: bool,
    /// The machine and the environment.
    pub environment: Environment,
    /// The parameters.
    pub parameters: Parameters,
    /// Reasons to doubt the result, one sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The figures.
    pub cells: Vec<Cell>,
}

impl Results {
    /// The cells by situation, in the order in which the situations first appear.
    pub fn situations(&self) -> Vec<(Situation<'_>, Vec<&Cell>)> {
        let mut places: HashMap<Situation<'_>, usize> = HashMap::new();
        let mut situations: Vec<(Situation<'_>, Vec<&Cell>)> = Vec::new();
        for cell in &self.cells {
            let place = *places.entry(cell.situation()).or_insert(situations.len());
            match situations.get_mut(place) {
                Some((_, cells)) => cells.push(cell),
                None => situations.push((cell.situation(), vec![cell])),
            }
        }
        situations
    }

    /// Keeps the cells of `contenders` and of the baseline. The intervals stay corrected for all cells that were measured.
    /// Answers a name that has no cell, if there is one.
    pub fn retain_contenders<'a>(&mut self, contenders: &'a [String]) -> Result<(), &'a str> {
        for contender in contenders {
            if !self.cells.iter().any(|cell| cell.contender == *contender) {
                return Err(contender);
            }
        }
        let baseline = &self.parameters.baseline;
        self.cells.retain(|cell| cell.contender == *baseline || contenders.contains(&cell.contender));
        Ok(())
    }

    /// The number of cells that are compared with a baseline: intervals are corrected for it.
    pub fn tests(&self) -> usize {
        let baseline = &self.parameters.baseline;
        let situations = self.situations();
        let rated =
            situations.iter().filter(|(_, cells)| cells.iter().any(|cell| cell.contender == *baseline));
        rated.map(|(_, cells)| cells.len() - 1).sum()
    }

    /// Computes every cell's ratio to the baseline contender of its situation, with intervals corrected for
    /// the number of cells that have one. Call it once all samples are in.
    pub fn rate(&mut self) {
        let baselines: HashMap<Situation<'_>, &Cell> = self
            .cells
            .iter()
            .filter(|cell| cell.contender == self.parameters.baseline)
            .map(|cell| (cell.situation(), cell))
            .collect();
        let tests = self.tests();
        let ratios: Vec<Option<Ratio>> = self
            .cells
            .iter()
            .map(|cell| Ratio::of(&cell.ratios_to(baselines.get(&cell.situation())?), tests))
            .collect();
        for (cell, ratio) in self.cells.iter_mut().zip(ratios) {
            cell.ratio_to_baseline = ratio;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Results with two situations and two contenders, the second 1.25 times as fast when hot and 0.8 when cold.
    pub(crate) fn sample() -> Results {
        let mut results = Results {
            schema_version: SCHEMA_VERSION,
            program: "foliocopy 0.1.0".into(),
            command: "bench".into(),
            origin: Origin::UserSpace,
            started: "2026-11-23T09:00:00Z".into(),
            elapsed_seconds: 1.5,
            complete: true,
            environment: Environment::default(),
            parameters: Parameters { baseline: "per-page".into(), ..Parameters::default() },
            warnings: vec![],
            cells: vec![],
        };
        for (cache, speed_up) in [(Cache::Cold, 0.8), (Cache::Hot, 1.25)] {
            for (contender, factor) in [("per-page", 1.0), ("foliocopy", speed_up)] {
                let samples = (0..9).map(|round| factor * f64::from(8 + round)).collect();
                results.cells.push(Cell {
                    cache: Some(cache),
                    src_node: Some(0),
                    dst_node: Some(0),
                    ..Cell::new(contender, 65536, samples)
                });
            }
        }
        results.rate();
        results
    }

    #[test]
    fn ratios_are_taken_within_the_situation() {
        let results = sample();
        let medians: Vec<f64> =
            results.cells.iter().map(|cell| cell.ratio_to_baseline.unwrap().interval.median).collect();
        assert_eq!(medians.len(), 4);
        for (found, expected) in medians.iter().zip([1.0, 0.8, 1.0, 1.25]) {
            assert!((found - expected).abs() < 1e-12, "{medians:?}");
        }
    }

    #[test]
    fn a_situation_without_its_baseline_has_no_ratio() {
        let mut results = sample();
        results.cells.remove(0);
        results.rate();
        assert_eq!(results.cells[0].ratio_to_baseline, None);
        assert!(results.cells[2].ratio_to_baseline.is_some());
    }

    #[test]
    fn situations_keep_their_order() {
        let results = sample();
        let situations = results.situations();
        assert_eq!(situations.len(), 2);
        assert_eq!(situations[0].0.cache, Some(Cache::Cold));
        assert_eq!(situations[1].1[1].contender, "foliocopy");
    }
}
