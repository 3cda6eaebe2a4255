//! The conclusion above the tables: the verdict, the advice, and the contender to take at each size.

use foliocopy_measure::choice::{Choice, choices};
use foliocopy_measure::gate;
use foliocopy_measure::result::{Origin, Results, Situation};
use foliocopy_measure::size::Size;
use foliocopy_measure::verdict::Verdict;

use crate::table::{align_right, empty_table, trimmed};
use crate::wrap::{COLUMNS, paragraph, wrap};

/// The number of states of the cache in one table.
const BESIDE: usize = 2;

/// The verdicts, each with its advice, and the table of choices.
pub(crate) fn text(results: &Results, verdicts: &[Verdict<'_>]) -> String {
    let mut text = String::new();
    for (index, verdict) in verdicts.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        judged(&mut text, results, verdict, COLUMNS);
    }
    if verdicts.is_empty() {
        text += match results.environment.emulated {
            true => "no verdict: the CPU is emulated, so only that every copy was right is shown\n",
            false => "no verdict: nothing was measured against a baseline here\n",
        };
    }
    text.push('\n');
    let choices = choices(results);
    if is_of_copies(results) && choices.iter().any(|choice| choice.cell.is_some()) {
        text += &format!("{}:\n", heading(results));
        text += &table(&choices);
    }
    text
}

/// A verdict and its advice, in lines of at most `columns`.
pub(crate) fn judged(text: &mut String, results: &Results, verdict: &Verdict<'_>, columns: usize) {
    wrap(text, "", &verdict.to_string(), columns);
    for mean in verdict.list_of_means() {
        wrap(text, "  ", &mean, columns);
    }
    wrap(text, "", &advice(results, verdict), columns);
}

/// The open questions of the verdicts, for below the tables.
pub(crate) fn open_questions(verdicts: &[Verdict<'_>]) -> String {
    let lines: String =
        verdicts.iter().flat_map(Verdict::open_questions).map(|line| paragraph(&line)).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

/// The heading of the table of choices.
pub(crate) fn heading(results: &Results) -> String {
    format!("What to take on this CPU, with the speed-up over {}", results.parameters.baseline)
}

/// Whether the contenders of these results are ways to copy.
pub(crate) fn is_of_copies(results: &Results) -> bool {
    ["bench", "kernel bench"].contains(&results.command.as_str())
}

/// The advice after a verdict.
pub(crate) fn advice(results: &Results, verdict: &Verdict<'_>) -> String {
    let (name, cells) = (verdict.contender, verdict.cells);
    if name == gate::NEW {
        return match (verdict.is_good(), verdict.undecided.is_empty()) {
            (false, _) => "Find out why the new build is slower before you take it.".to_owned(),
            (true, true) => "Take the new build.".to_owned(),
            (true, false) => "Measure longer before you take the new build.".to_owned(),
        };
    }
    if verdict.is_open() || verdict.slower.is_empty() && verdict.undecided.len() > verdict.faster.len() {
        return "Measure longer before you decide.".to_owned();
    }
    let take = match (results.origin, results.command.as_str()) {
        (Origin::Kernel, _) => format!("Have the kernel copy by {name} (`foliocopy kernel patch on`)"),
        (_, "migrate") => "Leave the livepatch on".to_owned(),
        _ => format!("Take {name}"),
    };
    match (verdict.faster.len(), verdict.slower.len()) {
        (faster, 0) if faster > 0 => {
            format!("{take}: it is faster in {faster} of {cells} cells and slower in none.")
        }
        (_, 0) if verdict.maybe_faster > 0 => format!(
            "Measure longer: {name} may be faster in {} of {cells} cells, and is slower in none.",
            verdict.maybe_faster
        ),
        (_, 0) => format!("Stay with {}: nothing is gained for sure.", verdict.baseline),
        (_, _)
            if results.origin == Origin::UserSpace && name == "foliocopy" && results.command == "bench" =>
        {
            "Run `foliocopy tune`: it looks for a table that suits this CPU better.".to_owned()
        }
        (0, slower) => format!(
            "Prefer {} to {name}, which is faster in none of {cells} cells and slower in {slower}.",
            verdict.baseline
        ),
        (faster, slower) => format!(
            "Prefer {} to {name} there. Of {cells} cells {name} is faster in {faster} and slower in {slower}.",
            verdict.baseline
        ),
    }
}

/// The column of a choice: its situation without the size.
fn column<'a>(choice: &Choice<'a>) -> Situation<'a> {
    Situation { folio_bytes: 0, ..choice.situation }
}

/// The name of a column, such as `cold` or `cold, node 0 to 1`.
pub(crate) fn column_name(situation: &Situation<'_>, nodes: bool) -> String {
    let kind = situation.kind().kind_name();
    match situation.src_node.zip(situation.dst_node).filter(|_| nodes) {
        Some((src, dst)) => format!("{kind}, node {src} to {dst}"),
        None => kind,
    }
}

/// The columns that choices make, in their order, and whether several pairs of nodes are among them.
pub(crate) fn columns<'a>(choices: &[Choice<'a>]) -> (Vec<Situation<'a>>, bool) {
    let mut found: Vec<Situation<'a>> = Vec::new();
    for choice in choices {
        if !found.contains(&column(choice)) {
            found.push(column(choice));
        }
    }
    let pairs = |situation: &Situation<'_>| (situation.src_node, situation.dst_node);
    let several = found.iter().any(|situation| pairs(situation) != pairs(&found[0]));
    (found, several)
}

/// The sizes of `choices`, in their order.
pub(crate) fn sizes(choices: &[Choice<'_>]) -> Vec<u64> {
    let mut sizes: Vec<u64> = Vec::new();
    for choice in choices {
        if !sizes.contains(&choice.situation.folio_bytes) {
            sizes.push(choice.situation.folio_bytes);
        }
    }
    sizes
}

/// The choice in a column, at a size.
pub(crate) fn find<'c, 'a>(
    choices: &'c [Choice<'a>],
    of: &Situation<'a>,
    bytes: u64,
) -> Option<&'c Choice<'a>> {
    choices.iter().find(|choice| column(choice) == *of && choice.situation.folio_bytes == bytes)
}

/// Such as `foliocopy 1.35 (avx2_nt@1024)`.
pub(crate) fn field(choice: &Choice<'_>) -> String {
    let Some(cell) = choice.cell else { return "undecided".to_owned() };
    let mut text = cell.contender.clone();
    if let Some(ratio) = cell.ratio_to_baseline.filter(|ratio| ratio.interval.median != 1.0) {
        text += &format!(" {:.2}", ratio.interval.median);
    }
    if let Some(instruction) = &choice.instruction {
        text += &format!(" ({instruction})");
    }
    text
}

/// A row a size; where there are many columns, several tables.
pub(crate) fn table(choices: &[Choice<'_>]) -> String {
    let mut text = String::new();
    let (found, several) = columns(choices);
    for beside in found.chunks(BESIDE) {
        let names: Vec<String> = beside.iter().map(|situation| column_name(situation, several)).collect();
        let mut table = empty_table(["folio"].into_iter().chain(names.iter().map(String::as_str)));
        for bytes in sizes(choices) {
            let fields: Vec<String> =
                beside.iter().map(|of| find(choices, of, bytes).map_or_else(String::new, field)).collect();
            if fields.iter().any(|field| !field.is_empty()) {
                table.add_row([Size(bytes).to_string()].into_iter().chain(fields));
            }
        }
        align_right(&mut table, 0);
        text += &format!("{}\n\n", trimmed(&table));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::sample;
    use foliocopy_measure::result::Cell;

    #[test]
    fn the_verdict_comes_first_and_says_what_to_do() {
        let results = sample();
        let verdicts = Verdict::all(&results);
        let text = anstream::adapter::strip_str(&text(&results, &verdicts)).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("foliocopy: slower than the kernel's copy"), "{text}");
        assert!(text.contains("Run `foliocopy tune`"), "{text}");
        let row: Vec<&str> = lines
            .iter()
            .find(|line| line.trim_start().starts_with("64K"))
            .unwrap()
            .split_whitespace()
            .collect();
        assert_eq!(row, ["64K", "per-page", "foliocopy", "1.25"]);
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn the_kernels_copy_is_kept_where_the_rfcs_is_slower() {
        let mut results = sample();
        let samples = results.cells[0].samples_gbps.iter().map(|sample| 0.8 * sample).collect();
        let rfc = Cell { contender: "rfc".into(), samples_gbps: samples, ..results.cells[0].clone() };
        results.cells.push(rfc);
        // Twice the rounds, since more cells widen the intervals.
        for cell in &mut results.cells {
            cell.samples_gbps = cell.samples_gbps.repeat(2);
        }
        results.rate();
        let text = text(&results, &Verdict::all(&results));
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words.contains("rfc: slower than the kernel's copy (per-page) by more than 2 % in 1 of 1 cells")
        );
        assert!(
            words.contains("Prefer per-page to rfc, which is faster in none of 1 cells and slower in 1."),
            "{text}"
        );
    }

    #[test]
    fn what_gains_is_taken_and_what_gains_nothing_is_left() {
        let mut results = sample();
        results.cells.drain(..2);
        results.rate();
        let told = |results: &Results| advice(results, &Verdict::of(results, "foliocopy").unwrap());
        assert_eq!(told(&results), "Take foliocopy: it is faster in 1 of 1 cells and slower in none.");
        results.origin = Origin::Kernel;
        assert!(told(&results).contains("`foliocopy kernel patch on`"));
        for cell in &mut results.cells {
            cell.samples_gbps = vec![10.0; 9];
        }
        results.rate();
        assert_eq!(told(&results), "Stay with per-page: nothing is gained for sure.");
        for (cell, factor) in results.cells.iter_mut().zip([1.0, 1.03]) {
            cell.samples_gbps =
                (0..9).map(|round| if round % 2 == 0 { 10.0 } else { 10.0 * factor }).collect();
        }
        results.rate();
        assert_eq!(
            told(&results),
            "Measure longer: foliocopy may be faster in 1 of 1 cells, and is slower in none."
        );
    }
}
