//! Copies from node to node: one grid a situation, with the distances that the machine tells.

use comfy_table::{Cell as Field, CellAlignment, Table};
use foliocopy_measure::result::{Cell, Results, Situation};
use foliocopy_measure::size::Size;

use crate::table;

/// A grid for each situation that was measured between several pairs of nodes: of the contender that the results are about, at
/// its largest folio. Nothing where there is but one pair.
pub(crate) fn text(results: &Results) -> String {
    if results.environment.emulated {
        return String::new();
    }
    let mut text = String::new();
    for (situation, cells) in kinds(results) {
        let Some(contender) = about(&cells) else { continue };
        let cells: Vec<&Cell> = cells.into_iter().filter(|cell| cell.contender == contender).collect();
        let Some(folio) = cells.iter().map(|cell| cell.folio_bytes).max() else { continue };
        let cells: Vec<&Cell> = cells.into_iter().filter(|cell| cell.folio_bytes == folio).collect();
        if cells.len() < 2 {
            continue;
        }
        let heading = table::situation(results, &situation);
        let separator = if heading.is_empty() { "" } else { ", " };
        text += &format!(
            "\n{heading}{separator}{contender} in folios of {}, node to node: {}\n{}\n",
            Size(folio),
            legend(results, &cells),
            table::trimmed(&grid(results, &cells))
        );
    }
    text
}

/// The cells between known nodes, by all that they have in common but folio, nodes and contender.
fn kinds(results: &Results) -> Vec<(Situation<'_>, Vec<&Cell>)> {
    let mut kinds: Vec<(Situation<'_>, Vec<&Cell>)> = Vec::new();
    let between = |cell: &&Cell| cell.src_node.is_some() && cell.dst_node.is_some();
    for cell in results.cells.iter().filter(between) {
        let kind = cell.situation().kind();
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, cells)) => cells.push(cell),
            None => kinds.push((kind, vec![cell])),
        }
    }
    kinds
}

/// Whom a grid is about: ours, where it took part.
fn about<'a>(cells: &[&'a Cell]) -> Option<&'a str> {
    let ours = cells.iter().find(|cell| cell.contender == "foliocopy");
    ours.or(cells.first()).map(|cell| cell.contender.as_str())
}

fn legend(results: &Results, cells: &[&Cell]) -> String {
    let mut parts = vec!["GB/s".to_owned()];
    if cells.iter().any(|cell| rated(results, cell).is_some()) {
        parts.push(format!("speed-up over {}", results.parameters.baseline));
    }
    if cells.iter().any(|cell| distance(results, cell).is_some()) {
        parts.push("distance (d)".to_owned());
    }
    parts.join(", ")
}

fn rated(results: &Results, cell: &Cell) -> Option<f64> {
    let ratio = cell.ratio_to_baseline.filter(|_| cell.contender != results.parameters.baseline)?;
    Some(ratio.interval.median)
}

fn distance(results: &Results, cell: &Cell) -> Option<u32> {
    results.environment.distance(cell.src_node?, cell.dst_node?)
}

/// A row a source, a column a destination.
fn grid(results: &Results, cells: &[&Cell]) -> Table {
    let nodes = |side: fn(&Cell) -> Option<u32>| -> Vec<u32> {
        let mut nodes: Vec<u32> = cells.iter().filter_map(|cell| side(cell)).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    };
    let (sources, destinations) = (nodes(|cell| cell.src_node), nodes(|cell| cell.dst_node));
    let header: Vec<String> =
        [String::new()].into_iter().chain(destinations.iter().map(|node| format!("to {node}"))).collect();
    let mut table = table::empty_table(header.iter().map(String::as_str));
    for src in sources {
        let mut row = vec![Field::new(format!("node {src}"))];
        row.extend(destinations.iter().map(|dst| {
            let cell = cells.iter().find(|cell| (cell.src_node, cell.dst_node) == (Some(src), Some(*dst)));
            let text = cell.map_or_else(|| "–".to_owned(), |cell| field(results, cell));
            Field::new(text).set_alignment(CellAlignment::Right)
        }));
        table.add_row(row);
    }
    table
}

/// Throughput above; speed-up and distance below.
fn field(results: &Results, cell: &Cell) -> String {
    let ratio = rated(results, cell).map(|ratio| format!("{ratio:.2}×"));
    let distance = distance(results, cell).map(|distance| format!("d {distance}"));
    let beneath: Vec<String> = ratio.into_iter().chain(distance).collect();
    format!("{:.2}\n{}", cell.median_gbps, beneath.join("  "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::sample;
    use foliocopy_measure::result::Node;

    /// The sample between two nodes with CPUs and one without.
    fn three_nodes() -> Results {
        let mut results = sample();
        let cells = std::mem::take(&mut results.cells);
        for (src, dst) in [(0, 0), (0, 2), (2, 0), (1, 0)] {
            results.cells.extend(cells.iter().cloned().map(|mut cell| {
                (cell.src_node, cell.dst_node) = (Some(src), Some(dst));
                cell
            }));
        }
        results.environment.nodes = (0..3).map(|id| Node { id, ..Node::default() }).collect();
        results.environment.node_distances = vec![vec![10, 21, 50], vec![21, 10, 60], vec![50, 60, 10]];
        results.rate();
        results
    }

    fn plain(results: &Results) -> String {
        anstream::adapter::strip_str(&text(results)).to_string()
    }

    #[test]
    fn a_grid_a_state_of_the_cache_with_distances() {
        let shown = plain(&three_nodes());
        assert_eq!(shown.matches("node to node").count(), 2, "{shown}");
        assert!(
            shown.contains(
                "cold, foliocopy in folios of 64K, node to node: GB/s, speed-up over per-page, distance (d)"
            ),
            "{shown}"
        );
        let lines: Vec<String> = shown
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .filter(|line| line.contains("node 0") || line.contains("d 10"))
            .collect();
        assert_eq!(lines[..2], ["node 0 9.60 9.60", "0.80× d 10 0.80× d 50"], "{shown}");
        assert!(shown.contains('–'), "what was not measured is no zero: {shown}");
    }

    #[test]
    fn one_pair_and_emulators_have_no_grid() {
        assert_eq!(text(&sample()), "");
        let mut results = three_nodes();
        results.environment.emulated = true;
        assert_eq!(text(&results), "");
    }

    #[test]
    fn machines_that_tell_no_distances_have_a_grid_without() {
        let mut results = three_nodes();
        results.environment.node_distances.clear();
        let shown = plain(&results);
        assert!(shown.contains("0.80×") && !shown.contains("d 10") && !shown.contains("distance"), "{shown}");
    }
}
