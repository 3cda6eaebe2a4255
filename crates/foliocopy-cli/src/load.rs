//! Copies against the load that other threads put on the memory: the curve as a table.

use std::collections::BTreeMap;

use foliocopy_measure::bench::LOAD;
use foliocopy_measure::result::{Cell, Results, Situation};
use foliocopy_measure::size::Size;
use foliocopy_measure::statistics::median;

use crate::latency::Time;
use crate::table;
use crate::wrap::paragraph;

/// The cells of one situation and one folio size, by the load.
pub(crate) struct Curve<'a> {
    /// Of its cells, without the load.
    pub(crate) situation: Situation<'a>,
    /// By the number of threads, ascending.
    pub(crate) points: Vec<(usize, Vec<&'a Cell>)>,
}

/// The dimensions of each cell without its load; `None` of cells without one.
pub(crate) fn dimensions(results: &Results) -> Vec<Option<BTreeMap<String, String>>> {
    let without = |cell: &Cell| {
        cell.load.as_ref()?;
        let mut dimensions = cell.dimensions.clone();
        dimensions.remove(LOAD);
        Some(dimensions)
    };
    results.cells.iter().map(without).collect()
}

/// The curves in the order in which they were measured. `dimensions` are those of [`dimensions`].
pub(crate) fn curves<'a>(
    results: &'a Results,
    dimensions: &'a [Option<BTreeMap<String, String>>],
) -> Vec<Curve<'a>> {
    let mut curves: Vec<Curve<'a>> = Vec::new();
    for (cell, dimensions) in results.cells.iter().zip(dimensions) {
        let (Some(load), Some(dimensions)) = (&cell.load, dimensions) else { continue };
        let situation = Situation { dimensions, ..cell.situation() };
        let place = curves.iter().position(|curve| curve.situation == situation).unwrap_or_else(|| {
            curves.push(Curve { situation, points: Vec::new() });
            curves.len() - 1
        });
        let points = &mut curves[place].points;
        match points.iter_mut().find(|(threads, _)| *threads == load.threads) {
            Some((_, cells)) => cells.push(cell),
            None => points.push((load.threads, vec![cell])),
        }
    }
    for curve in &mut curves {
        curve.points.sort_by_key(|(threads, _)| *threads);
    }
    curves
}

/// What the load of a cell came to, in GB/s.
pub(crate) fn gbps(cell: &Cell) -> Option<f64> {
    median(&cell.load.as_ref()?.gbps)
}

/// A table a situation; nothing where nothing was loaded.
pub(crate) fn text(results: &Results) -> String {
    if results.environment.emulated {
        return String::new();
    }
    let dimensions = dimensions(results);
    let curves = curves(results, &dimensions);
    let mut text = String::new();
    let mut rest = &curves[..];
    while let Some(first) = rest.first() {
        let alike = |curve: &Curve<'_>| {
            let with_folio = Situation { folio_bytes: first.situation.folio_bytes, ..curve.situation };
            with_folio == first.situation
        };
        let (group, others) = rest.split_at(rest.iter().take_while(|curve| alike(curve)).count());
        rest = others;
        let heading = table::situation(results, &first.situation);
        let separator = if heading.is_empty() { "" } else { ": " };
        text += &format!("\n{heading}{separator}copies under load\n{}\n", lines(group));
    }
    match text.is_empty() {
        true => text,
        false => text + "\n" + &paragraph(LEGEND),
    }
}

/// What the figures are.
const LEGEND: &str = "Threads: how many read memory meanwhile; read: what all of them read while the copies were timed, in GB/s. \
                      Below each contender its copies' GB/s, and the median time of a copy where times were kept.";

fn lines(curves: &[Curve<'_>]) -> String {
    let mut contenders: Vec<&str> = Vec::new();
    for cell in curves.iter().flat_map(|curve| &curve.points).flat_map(|(_, cells)| cells) {
        if !contenders.contains(&cell.contender.as_str()) {
            contenders.push(&cell.contender);
        }
    }
    let header = ["folio", "threads", "read"].into_iter().chain(contenders.iter().copied());
    let mut table = table::empty_table(header);
    for curve in curves {
        for (index, (threads, cells)) in curve.points.iter().enumerate() {
            let loads: Vec<f64> = cells.iter().filter_map(|cell| gbps(cell)).collect();
            let folio =
                if index == 0 { Size(curve.situation.folio_bytes).to_string() } else { String::new() };
            let mut row = vec![
                folio,
                threads.to_string(),
                median(&loads).map_or_else(String::new, |gbps| format!("{gbps:.1}")),
            ];
            row.extend(contenders.iter().map(|contender| {
                cells.iter().find(|cell| cell.contender == *contender).map_or_else(String::new, |cell| {
                    match &cell.latency {
                        Some(latency) => format!("{:.2}\n{}", cell.median_gbps, Time(latency.p50_ns)),
                        None => format!("{:.2}", cell.median_gbps),
                    }
                })
            }));
            table.add_row(row);
        }
    }
    (0..3 + contenders.len()).for_each(|column| table::align_right(&mut table, column));
    table::trimmed(&table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::sample;
    use foliocopy_measure::result::{Latency, Load};

    /// The sample under a load of no thread, and of two.
    pub(crate) fn loaded() -> Results {
        let mut results = sample();
        let cells = std::mem::take(&mut results.cells);
        for threads in [2, 0] {
            results.cells.extend(cells.iter().cloned().map(|mut cell| {
                cell.dimensions.insert(LOAD.into(), threads.to_string());
                cell.load = Some(Load { threads, gbps: vec![5.0 * threads as f64; 9] });
                cell.latency = Some(Latency { p50_ns: 1000 + 500 * threads as u64, ..Latency::default() });
                cell
            }));
        }
        results.rate();
        results
    }

    #[test]
    fn a_row_a_load_and_a_table_a_situation() {
        assert_eq!(text(&sample()), "");
        let shown = anstream::adapter::strip_str(&text(&loaded())).to_string();
        assert_eq!(shown.matches("copies under load").count(), 2, "{shown}");
        let rows: Vec<String> = shown
            .lines()
            .filter(|line| line.contains("µs") || line.contains(".0 "))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            rows,
            [
                "64K 0 0.0 12.00 9.60",
                "1.00 µs 1.00 µs",
                "2 10.0 12.00 9.60",
                "2.00 µs 2.00 µs",
                "64K 0 0.0 12.00 15.00",
                "1.00 µs 1.00 µs",
                "2 10.0 12.00 15.00",
                "2.00 µs 2.00 µs",
            ],
            "{shown}"
        );
        let mut emulated = loaded();
        emulated.environment.emulated = true;
        assert_eq!(text(&emulated), "");
    }
}
