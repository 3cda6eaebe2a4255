//! Cells as tables for people: a row a folio size, a column a contender.
//!
//! Where a table is wider than the terminal, the deviation goes first. Then contenders go to further tables.

use std::collections::HashMap;

use comfy_table::{Attribute, Cell as Field, CellAlignment, Color, ContentArrangement, Table, presets};
use foliocopy_measure::result::{Cache, Cell, Evict, Results, Situation};
use foliocopy_measure::size::Size;
use foliocopy_measure::verdict::{Rule, Standing};

use crate::wrap::{COLUMNS, paragraph};

/// The tables of all cells, each under its heading, in lines of at most `width` columns where that is possible.
pub(crate) fn tables(results: &Results, width: Option<u16>) -> String {
    let mut text = String::new();
    let rule = Rule::of(results);
    let width = width.map_or(COLUMNS, usize::from);
    let mut deviations = false;
    for (situation, cells) in groups(results) {
        let (tables, with_deviation) = fitting(results, rule, &cells, width);
        deviations |= with_deviation;
        text += &format!("{}\n", heading(results, &situation));
        for table in tables {
            text += &format!("{}\n\n", trimmed(&table));
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    if results.environment.emulated {
        return text;
    }
    let throughput = if deviations { "mean ± standard deviation" } else { "mean" };
    let mut legend = format!("\nEach cell: GB/s ({throughput})");
    if results.tests() > 0 {
        let baseline = &results.parameters.baseline;
        legend += &format!(
            ", and below it the speed-up over {baseline} with its interval at 99 % for all cells together: {}.",
            rule.legend()
        );
    } else {
        legend.push('.');
    }
    text + "\n" + &paragraph(&legend)
}

/// The cells in as few tables as fit, and whether these have the deviation.
fn fitting(results: &Results, rule: Rule, cells: &[&Cell], width: usize) -> (Vec<Table>, bool) {
    let mut contenders: Vec<&str> = Vec::new();
    for cell in cells {
        if !contenders.contains(&cell.contender.as_str()) {
            contenders.push(&cell.contender);
        }
    }
    for deviation in [true, false] {
        let table = by_contender(results, rule, cells, &contenders, deviation);
        if columns(&table) <= width {
            return (vec![table], deviation);
        }
    }
    // Twins that survive bad memory come last.
    let (plain, safe): (Vec<&str>, Vec<&str>) = contenders.iter().partition(|name| !name.ends_with("-mc"));
    let baseline = &results.parameters.baseline;
    let others: Vec<&str> = plain.into_iter().chain(safe).filter(|name| name != baseline).collect();
    let has_baseline = others.len() < contenders.len();
    for count in 2..=others.len() {
        let mut groups: Vec<Vec<&str>> =
            others.chunks(others.len().div_ceil(count)).map(<[_]>::to_vec).collect();
        if has_baseline {
            groups[0].insert(0, baseline);
        }
        let tables: Vec<Table> =
            groups.iter().map(|group| by_contender(results, rule, cells, group, false)).collect();
        if count == others.len() || tables.iter().all(|table| columns(table) <= width) {
            return (tables, false);
        }
    }
    (vec![by_contender(results, rule, cells, &contenders, false)], false)
}

/// The table without the blanks at the ends of its lines, which stand before the escape that ends a colour.
pub(crate) fn trimmed(table: &Table) -> String {
    let trim = |line: &str| {
        let is_escape = |end: &str| end.ends_with('m') && end.len() <= "\u{1b}[39m".len();
        let end = line.rfind('\u{1b}').filter(|start| is_escape(&line[*start..])).unwrap_or(line.len());
        format!("{}{}", line[..end].trim_end(), &line[end..])
    };
    table.lines().map(|line| trim(&line)).collect::<Vec<_>>().join("\n")
}

/// How wide a table is, without the escapes that colour it and the blanks at its end.
pub(crate) fn columns(table: &Table) -> usize {
    let plain = anstream::adapter::strip_str(&table.to_string()).to_string();
    plain.lines().map(|line| line.trim_end().chars().count()).max().unwrap_or(0)
}

/// Cells that differ in folio and contender alone, in the order in which they were measured.
pub(crate) fn groups(results: &Results) -> Vec<(Situation<'_>, Vec<&Cell>)> {
    let mut places: HashMap<Situation<'_>, usize> = HashMap::new();
    let mut groups: Vec<(Situation<'_>, Vec<&Cell>)> = Vec::new();
    for cell in &results.cells {
        let situation = Situation { folio_bytes: 0, ..cell.situation() };
        let place = *places.entry(situation).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, cells)) => cells.push(cell),
            None => groups.push((situation, vec![cell])),
        }
    }
    groups
}

/// Such as `cold, node 0 to 1, then=read`.
fn heading(results: &Results, situation: &Situation<'_>) -> String {
    let mut parts = vec![self::situation(results, situation)];
    if results.environment.emulated {
        parts.push("every copy was right (no speeds: the CPU is emulated)".to_owned());
    }
    parts.retain(|part| !part.is_empty());
    if parts.is_empty() { "all runs".to_owned() } else { parts.join(", ") }
}

/// Such as `cold, node 0 to 1, then=read`: all but the folio. Nothing where there is nothing else.
pub(crate) fn situation(results: &Results, situation: &Situation<'_>) -> String {
    let mut parts: Vec<String> = situation.cache.iter().map(ToString::to_string).collect();
    if results.parameters.evict == Evict::Write && situation.cache.is_some_and(|cache| cache != Cache::Hot) {
        parts.push("caches full of dirty lines".to_owned());
    }
    if let (Some(src), Some(dst)) = (situation.src_node, situation.dst_node) {
        parts.push(format!("node {src} to {dst}"));
    }
    parts.extend(situation.dimensions.iter().map(|(name, value)| format!("{name}={value}")));
    parts.join(", ")
}

fn by_contender(
    results: &Results,
    rule: Rule,
    cells: &[&Cell],
    contenders: &[&str],
    deviation: bool,
) -> Table {
    let mut folios: Vec<u64> = Vec::new();
    for cell in cells {
        if !folios.contains(&cell.folio_bytes) {
            folios.push(cell.folio_bytes);
        }
    }
    let mut table = empty_table(["folio"].into_iter().chain(contenders.iter().copied()));
    for folio in folios {
        let mut row = vec![Field::new(Size(folio))];
        row.extend(contenders.iter().map(|contender| {
            let cell = cells.iter().find(|cell| cell.contender == *contender && cell.folio_bytes == folio);
            cell.map_or_else(|| Field::new(""), |cell| field(results, rule, cell, deviation))
        }));
        table.add_row(row);
    }
    align_right(&mut table, 0);
    table
}

/// Throughput above, speed-up below.
fn field(results: &Results, rule: Rule, cell: &Cell, deviation: bool) -> Field {
    let throughput = throughput(results, cell, deviation);
    match speed_up(results, rule, cell) {
        Some((text, standing)) => paint(Field::new(format!("{throughput}\n{text}")), standing),
        None => Field::new(throughput),
    }
}

/// A table without lines, and with its columns two blanks apart.
pub(crate) fn empty_table<'a>(header: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    // The caller prints through anstream, which takes the colours away where they aren't wanted.
    table.enforce_styling();
    table.set_header(header.into_iter().map(|name| Field::new(name).add_attribute(Attribute::Bold)));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

pub(crate) fn align_right(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn throughput(results: &Results, cell: &Cell, deviation: bool) -> String {
    match (results.environment.emulated, deviation) {
        (true, _) => "right".to_owned(),
        (false, true) => format!("{:.2} ± {:.2}", cell.mean_gbps, cell.stdev_gbps),
        (false, false) => format!("{:.2}", cell.mean_gbps),
    }
}

/// The ratio with its corrected interval and the mark of where it stands. `None` for the baseline itself.
fn speed_up(results: &Results, rule: Rule, cell: &Cell) -> Option<(String, Standing)> {
    let ratio = cell.ratio_to_baseline.filter(|_| cell.contender != results.parameters.baseline)?;
    if results.environment.emulated {
        return None;
    }
    let standing = rule.standing_of(cell)?;
    Some((format!("{}{}", ratio.corrected(), standing.mark()), standing))
}

fn paint(field: Field, standing: Standing) -> Field {
    match standing {
        Standing::Faster => field.fg(Color::Green),
        Standing::Even | Standing::Undecided => field,
        Standing::Slower => field.fg(Color::Red),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::sample;

    fn plain(results: &Results, width: Option<u16>) -> String {
        anstream::adapter::strip_str(&tables(results, width)).to_string()
    }

    #[test]
    fn a_row_a_folio_and_a_column_a_contender() {
        let text = plain(&sample(), None);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(lines[0], "cold, node 0 to 0");
        let row = lines.iter().find(|line| line.starts_with("64K")).unwrap();
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>(),
            ["64K", "12.00", "±", "2.74", "9.60", "±", "2.19"]
        );
        assert!(text.contains("0.80 [0.80, 0.80] ▼") && text.contains("1.25 [1.25, 1.25] ▲"), "{text}");
        assert!(text.contains("the speed-up over\nper-page"), "{text}");
    }

    /// Five contenders, as `foliocopy bench` has them.
    fn five() -> Results {
        let mut results = sample();
        for name in ["per-page-mc", "rfc", "rfc-mc"] {
            let twins: Vec<Cell> =
                results.cells.iter().filter(|cell| cell.contender == "foliocopy").cloned().collect();
            results.cells.extend(twins.into_iter().map(|cell| Cell { contender: name.into(), ..cell }));
        }
        results.rate();
        results
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let results = five();
        let (wide, usual, narrow) =
            (plain(&results, Some(200)), plain(&results, Some(80)), plain(&results, Some(40)));
        let widest = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(wide.contains("12.00 ± 2.74"), "{wide}");
        assert!(widest(&usual) <= 80 && !usual.contains('±'), "{usual}");
        let tables = |text: &str| text.lines().filter(|line| line.starts_with("folio")).count();
        assert_eq!((tables(&wide), tables(&usual)), (2, 4), "{usual}");
        assert!(tables(&narrow) > 4, "{narrow}");
        let heads: Vec<Vec<&str>> = usual
            .lines()
            .filter(|line| line.starts_with("folio"))
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(heads[0], ["folio", "per-page", "foliocopy", "rfc"]);
        assert_eq!(heads[1], ["folio", "per-page-mc", "rfc-mc"]);
    }

    #[test]
    fn an_emulated_cpu_shows_no_speed() {
        let mut results = sample();
        results.environment.emulated = true;
        let text = plain(&results, None);
        assert!(text.contains("the CPU is emulated") && text.contains("right"));
        assert!(!text.contains("12.00") && !text.contains("GB/s") && !text.contains("1.25"), "{text}");
    }
}
