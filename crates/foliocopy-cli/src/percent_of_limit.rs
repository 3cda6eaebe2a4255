//! Cells of a bench as percents of the limits that `foliocopy roofline` found.

use std::path::Path;

use anyhow::{Result, ensure};
use comfy_table::{CellAlignment, Table, TableComponent, presets};
use foliocopy_measure::compare::differences;
use foliocopy_measure::result::{self, Cache, Cell, Environment, Results};
use foliocopy_measure::roofline::COPY_LIMIT;
use foliocopy_measure::size::Size;

use crate::wrap::paragraph;

/// A machine's limits.
pub(crate) struct Limits(Results);

impl Limits {
    /// Reads what `foliocopy roofline --export-json` wrote to `file`, on the CPU of `environment`.
    pub(crate) fn read(file: &Path, environment: &Environment) -> Result<Self> {
        let results = result::read(file)?;
        ensure!(
            results.command == "roofline",
            "`{}` is of `foliocopy {}`: write limits with `foliocopy roofline --export-json FILE`",
            file.display(),
            results.command
        );
        let here = Results { environment: environment.clone(), ..results.clone() };
        if let Some(other) = differences(&results, &here).iter().find(|found| found.what == "CPU") {
            anyhow::bail!("the limits in `{}` are those of another machine: {other}", file.display());
        }
        Ok(Self(results))
    }

    /// The copy limit of one thread, in GB/s, where `cell` copied: memory when cold, else the smallest cache that
    /// holds source and destination.
    fn of(&self, cell: &Cell) -> Option<f64> {
        let cached = (cell.cache == Some(Cache::Hot)).then(|| {
            let caches = &self.0.environment.cpu.caches;
            caches
                .iter()
                .find(|cache| 2 * cell.folio_bytes <= cache.bytes)
                .map(|cache| format!("L{}", cache.level))
        });
        let level = cached.flatten().unwrap_or_else(|| "memory".to_owned());
        let limit = self.0.cells.iter().find(|limit| {
            limit.contender == COPY_LIMIT
                && limit.dimensions.get("level") == Some(&level)
                && limit.dimensions.get("threads").is_some_and(|threads| threads == "1")
        });
        limit.map(|limit| limit.median_gbps)
    }

    /// A table of all cells of `results` that copied alone.
    pub(crate) fn table(&self, results: &Results) -> String {
        let mut contenders: Vec<&str> = Vec::new();
        for cell in &results.cells {
            if !contenders.contains(&cell.contender.as_str()) {
                contenders.push(&cell.contender);
            }
        }
        let mut table = Table::new();
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY).remove_style(TableComponent::HorizontalLines);
        table.remove_style(TableComponent::MiddleIntersections);
        table.set_header(["cache", "folio"].into_iter().chain(contenders.iter().copied()));
        for (situation, cells) in results.situations() {
            let alone = situation.dimensions.is_empty() && situation.cache != Some(Cache::Mixed);
            let Some(limit) = cells.first().filter(|_| alone).and_then(|cell| self.of(cell)) else {
                continue;
            };
            let cache = situation.cache.map(|cache| cache.to_string()).unwrap_or_default();
            let parts = contenders.iter().map(|name| {
                let cell = cells.iter().find(|cell| cell.contender == *name);
                cell.map_or_else(String::new, |cell| format!("{:.0} %", cell.median_gbps / limit * 100.0))
            });
            table.add_row([cache, Size(situation.folio_bytes).to_string()].into_iter().chain(parts));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let heading = paragraph(&format!(
            "percent of the copy limit of one thread, as `foliocopy roofline` measured it on {}",
            self.0.started
        ));
        format!("{heading}{}\n", table.trim_fmt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::sample;
    use foliocopy_measure::result::CacheLevel;
    use std::collections::BTreeMap;

    fn limits() -> Limits {
        let mut results = sample();
        results.command = "roofline".into();
        results.environment.cpu.caches =
            vec![CacheLevel { level: 2, bytes: 1 << 20, shared_cpus: "0".into() }];
        let limit = |level: &str, gbps: f64| Cell {
            dimensions: BTreeMap::from([("level".into(), level.into()), ("threads".into(), "1".into())]),
            ..Cell::new(COPY_LIMIT, 1 << 20, vec![gbps; 3])
        };
        results.cells = vec![limit("L2", 25.0), limit("memory", 12.0)];
        Limits(results)
    }

    #[test]
    fn cold_is_held_against_memory_and_hot_against_the_cache_it_fits() {
        let text = limits().table(&sample());
        // The sample's per-page has a median of 12 GB/s at 64K; foliocopy 0.8 of it cold and 1.25 hot.
        let row = |cache: &str| {
            let line = text.lines().find(|line| line.contains(cache)).unwrap().to_owned();
            line.split_whitespace().filter_map(|word| word.parse::<f64>().ok()).collect::<Vec<_>>()
        };
        assert_eq!(row("cold"), [100.0, 80.0]);
        assert_eq!(row("hot"), [48.0, 60.0]);
    }

    #[test]
    fn a_folio_that_no_cache_holds_is_held_against_memory() {
        let cell = Cell { cache: Some(Cache::Hot), ..Cell::new("foliocopy", 1 << 20, vec![1.0]) };
        assert_eq!(limits().of(&cell), Some(12.0));
    }
}
