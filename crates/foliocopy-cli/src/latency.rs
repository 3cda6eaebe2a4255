//! How long single copies took, as a table and in words.

use std::fmt;

use foliocopy_measure::result::{Cell, Results};
use foliocopy_measure::size::Size;

use crate::table;
use crate::wrap::paragraph;

/// A time as people read it: `812 ns`, `12.3 µs`, `1.24 ms`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")];
        let text = match units.into_iter().find(|(unit, _)| self.0 >= *unit) {
            None => format!("{} ns", self.0),
            Some((unit, name)) => {
                let value = self.0 as f64 / unit as f64;
                let places = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
                format!("{value:.places$} {name}")
            }
        };
        f.pad(&text)
    }
}

/// A table a situation; nothing where no times were kept.
pub(crate) fn text(results: &Results) -> String {
    if results.environment.emulated {
        return String::new();
    }
    let mut text = String::new();
    for (situation, cells) in table::groups(results) {
        let timed: Vec<&Cell> = cells.into_iter().filter(|cell| cell.latency.is_some()).collect();
        let Some(latency) = timed.first().and_then(|cell| cell.latency.as_ref()) else { continue };
        let heading = table::situation(results, &situation);
        let clock = match latency.clock_ns {
            Some(ns) => format!("; {} of each are the clock's", Time(ns)),
            None => String::new(),
        };
        let first = timed.iter().any(|cell| cell.latency.as_ref().is_some_and(|of| !of.first_ns.is_empty()));
        let separator = if heading.is_empty() { "" } else { ": " };
        text += &format!("\n{heading}{separator}time of a copy{clock}\n{}\n", lines(&timed, first));
    }
    match text.is_empty() {
        true => text,
        false => text + "\n" + &paragraph(LEGEND),
    }
}

/// What the columns are.
const LEGEND: &str = "p50, p99, p99.9: so many percent of the copies took no longer; left out where there are too few to tell. \
                      First: the median of the first copies after an eviction, which are not among the others.";

fn lines(cells: &[&Cell], first: bool) -> String {
    let mut header = vec!["folio", "contender", "copies", "p50", "p99", "p99.9", "longest"];
    if first {
        header.push("first");
    }
    let columns = header.len();
    let mut table = table::empty_table(header);
    let mut last = None;
    for cell in cells {
        let Some(latency) = &cell.latency else { continue };
        let folio = (last != Some(cell.folio_bytes)).then(|| Size(cell.folio_bytes).to_string());
        last = Some(cell.folio_bytes);
        let shown = |ns: Option<u64>| ns.map_or_else(|| "–".to_owned(), |ns| Time(ns).to_string());
        let mut row = vec![
            folio.unwrap_or_default(),
            cell.contender.clone(),
            latency.count().to_string(),
            Time(latency.p50_ns).to_string(),
            shown(latency.p99_ns),
            shown(latency.p99_9_ns),
            Time(latency.max_ns).to_string(),
        ];
        if first {
            row.push(shown(latency.first_median_ns()));
        }
        table.add_row(row);
    }
    [0].into_iter().chain(2..columns).for_each(|column| table::align_right(&mut table, column));
    table::trimmed(&table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::sample;
    use foliocopy_measure::result::Latency;

    #[test]
    fn times_have_three_digits() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1000, "1.00 µs"),
            (12_345, "12.3 µs"),
            (123_456, "123 µs"),
            (9_999_000, "10.0 ms"),
            (2_500_000_000, "2.50 s"),
        ] {
            assert_eq!(Time(ns).to_string(), text);
        }
    }

    #[test]
    fn a_row_a_cell_with_the_first_copy_apart() {
        let mut results = sample();
        assert_eq!(text(&results), "");
        for cell in &mut results.cells[..2] {
            cell.latency = Some(Latency {
                p50_ns: 1500,
                p99_ns: Some(2500),
                max_ns: 40_000,
                clock_ns: Some(21),
                ns: vec![1500, 40_000],
                copies: vec![110, 1],
                first_ns: vec![3000, 5000, 4000],
                ..Latency::default()
            });
        }
        let shown = anstream::adapter::strip_str(&text(&results)).to_string();
        assert!(
            shown.contains("cold, node 0 to 0: time of a copy; 21 ns of each are the clock's"),
            "{shown}"
        );
        let row = shown.lines().find(|line| line.contains("per-page")).unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words.join(" "), "64K per-page 111 1.50 µs 2.50 µs – 40.0 µs 4.00 µs");
        assert!(!shown.contains("hot, node"), "{shown}");
        results.environment.emulated = true;
        assert_eq!(text(&results), "");
    }
}
