//! Cells as tables for people: a row a folio size, a column a contender; where the terminal is too narrow for that,
//! a row a cell.

use std::collections::HashMap;

use comfy_table::{Attribute, Cell as Field, CellAlignment, Color, ContentArrangement, Table, presets};
use foliocopy_measure::result::{Cache, Cell, Evict, Results, Situation};
use foliocopy_measure::size::Size;
use foliocopy_measure::verdict::{Rule, Standing};

/// Of what confidence the intervals in brackets are.
const FAMILY: &str = "99 % for all cells together";

/// The tables of all cells, those that differ in folio and contender alone in one, each under its heading. At most
/// `width` columns wide where one is given and that is possible.
pub(crate) fn tables(results: &Results, width: Option<u16>) -> String {
    let mut text = String::new();
    let rule = Rule::of(results);
    for (situation, cells) in groups(results) {
        let mut table = by_contender(results, rule, &cells);
        if width.is_some_and(|width| columns(&table) > usize::from(width)) {
            table = by_cell(results, rule, &cells);
        }
        text += &format!("{}\n{}\n\n", heading(results, &situation), trimmed(&table));
    }
    match results.environment.emulated || results.tests() == 0 {
        true => text.trim_end().to_owned() + "\n",
        false => format!("{}\n{}\n", text.trim_end(), rule.legend()),
    }
}

/// The table without the blanks at the ends of its lines, which stand before the escape that ends a colour.
fn trimmed(table: &Table) -> String {
    let trim = |line: &str| {
        let is_escape = |end: &str| end.ends_with('m') && end.len() <= "\u{1b}[39m".len();
        let end = line.rfind('\u{1b}').filter(|start| is_escape(&line[*start..])).unwrap_or(line.len());
        format!("{}{}", line[..end].trim_end(), &line[end..])
    };
    table.lines().map(|line| trim(&line)).collect::<Vec<_>>().join("\n")
}

/// How wide a table is, without the escapes that colour it.
fn columns(table: &Table) -> usize {
    anstream::adapter::strip_str(&table.to_string())
        .to_string()
        .lines()
        .map(|line| line.chars().count())
        .max()
        .unwrap_or(0)
}

/// Cells that differ in folio and contender alone, in the order in which they were measured.
fn groups(results: &Results) -> Vec<(Situation<'_>, Vec<&Cell>)> {
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

/// Such as `cold, node 0 to 1, then=read: GB/s (mean ± standard deviation) and speed-up over per-page [99 % for all cells together]`.
fn heading(results: &Results, situation: &Situation<'_>) -> String {
    let mut parts: Vec<String> = situation.cache.iter().map(ToString::to_string).collect();
    if results.parameters.evict == Evict::Write && situation.cache.is_some_and(|cache| cache != Cache::Hot) {
        parts.push("caches full of dirty lines".to_owned());
    }
    if let (Some(src), Some(dst)) = (situation.src_node, situation.dst_node) {
        parts.push(format!("node {src} to {dst}"));
    }
    parts.extend(situation.dimensions.iter().map(|(name, value)| format!("{name}={value}")));
    let measure = if results.environment.emulated {
        "every copy was right (no speeds: the CPU is emulated)".to_owned()
    } else {
        format!("GB/s (mean ± standard deviation), speed-up over {} [{FAMILY}]", results.parameters.baseline)
    };
    match parts.is_empty() {
        true => measure,
        false => format!("{}: {measure}", parts.join(", ")),
    }
}

fn by_contender(results: &Results, rule: Rule, cells: &[&Cell]) -> Table {
    let mut contenders: Vec<&str> = Vec::new();
    let mut folios: Vec<u64> = Vec::new();
    for cell in cells {
        if !contenders.contains(&cell.contender.as_str()) {
            contenders.push(&cell.contender);
        }
        if !folios.contains(&cell.folio_bytes) {
            folios.push(cell.folio_bytes);
        }
    }
    let mut table = empty_table(["folio"].into_iter().chain(contenders.iter().copied()));
    for folio in folios {
        let mut row = vec![Field::new(Size(folio))];
        row.extend(contenders.iter().map(|contender| {
            let cell = cells.iter().find(|cell| cell.contender == *contender && cell.folio_bytes == folio);
            cell.map_or_else(|| Field::new(""), |cell| field(results, rule, cell))
        }));
        table.add_row(row);
    }
    align_right(&mut table, 0);
    table
}

/// Throughput above, speed-up below.
fn field(results: &Results, rule: Rule, cell: &Cell) -> Field {
    match speed_up(results, rule, cell) {
        Some((text, standing)) => {
            paint(Field::new(format!("{}\n{text}", throughput(results, cell))), standing)
        }
        None => Field::new(throughput(results, cell)),
    }
}

fn by_cell(results: &Results, rule: Rule, cells: &[&Cell]) -> Table {
    let mut table = empty_table(["folio", "contender", "GB/s", "speed-up"]);
    let mut last = None;
    for cell in cells {
        let folio = (last != Some(cell.folio_bytes)).then(|| Size(cell.folio_bytes).to_string());
        last = Some(cell.folio_bytes);
        let speed_up = match speed_up(results, rule, cell) {
            Some((text, standing)) => paint(Field::new(text), standing),
            None => Field::new(""),
        };
        table.add_row([
            Field::new(folio.unwrap_or_default()),
            Field::new(&cell.contender),
            Field::new(throughput(results, cell)),
            speed_up,
        ]);
    }
    align_right(&mut table, 0);
    table
}

fn empty_table<'a>(header: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    // The caller prints through anstream, which takes the colours away where they aren't wanted.
    table.enforce_styling();
    table.set_header(header.into_iter().map(|name| Field::new(name).add_attribute(Attribute::Bold)));
    table
}

fn align_right(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn throughput(results: &Results, cell: &Cell) -> String {
    match results.environment.emulated {
        true => "right".to_owned(),
        false => format!("{:.2} ± {:.2}", cell.mean_gbps, cell.stdev_gbps),
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
        assert_eq!(
            lines[0],
            "cold, node 0 to 0: GB/s (mean ± standard deviation), speed-up over per-page [99 % for all cells together]"
        );
        let row = lines.iter().find(|line| line.starts_with("64K")).unwrap();
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>(),
            ["64K", "12.00", "±", "2.74", "9.60", "±", "2.19"]
        );
        assert!(text.contains("0.80 [0.80, 0.80] ▼") && text.contains("1.25 [1.25, 1.25] ▲"), "{text}");
    }

    #[test]
    fn a_narrow_terminal_gets_a_row_a_cell() {
        let text = plain(&sample(), Some(40));
        let row = text.lines().find(|line| line.contains("foliocopy")).unwrap();
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>(),
            ["foliocopy", "9.60", "±", "2.19", "0.80", "[0.80,", "0.80]", "▼"]
        );
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
