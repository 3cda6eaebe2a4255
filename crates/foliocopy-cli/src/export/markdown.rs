//! Tables for issues and web pages, a row a cell.

use std::fmt::Write;

use foliocopy_measure::result::{Cell, Results};
use foliocopy_measure::size::Size;
use foliocopy_measure::verdict::{Rule, Verdict};

pub(crate) fn text(results: &Results) -> Vec<u8> {
    let environment = &results.environment;
    let cpu = &environment.cpu;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}{}, microcode {}, {}{}.\n",
        plain(if cpu.model_name.is_empty() { &cpu.vendor } else { &cpu.model_name }),
        cpu.microarchitecture.as_ref().map_or_else(String::new, |name| format!(" ({})", plain(name))),
        plain(cpu.microcode.as_deref().unwrap_or("unknown")),
        plain(&environment.kernel),
        environment.hypervisor.as_ref().map_or_else(String::new, |name| format!(", under {}", plain(name))),
    );
    if !results.complete {
        text += "**Incomplete: the measurement was interrupted.**\n\n";
    }
    if environment.emulated {
        text += "The CPU is emulated, so no speeds are shown; every copy was right.\n";
        return text.into_bytes();
    }
    let baseline = &results.parameters.baseline;
    let nodes = results.cells.iter().any(|cell| cell.src_node.is_some());
    let dimensions = results.cells.iter().any(|cell| !cell.dimensions.is_empty());
    let columns = |names: &[(&str, bool)]| -> String {
        names.iter().filter(|(_, shown)| *shown).map(|(name, _)| format!("| {name} ")).collect::<String>()
            + "|"
    };
    let speed_up = format!("Speed-up over {} [99 % for all cells together]", plain(baseline));
    let header = [
        ("Cache", true),
        ("Folio", true),
        ("Nodes", nodes),
        ("Situation", dimensions),
        ("Contender", true),
        ("Median GB/s", true),
        ("Mean ± σ GB/s", true),
        (speed_up.as_str(), true),
    ];
    let _ = writeln!(text, "{}", columns(&header));
    let _ = writeln!(
        text,
        "{}",
        columns(&header.map(|(name, shown)| (
            if name.contains("GB/s") || name == "Folio" { "---:" } else { "---" },
            shown
        )))
    );
    let rule = Rule::of(results);
    for cell in &results.cells {
        let fields = fields(results, rule, cell);
        let mut shown = header.iter().map(|(_, shown)| *shown);
        let row: [(&str, bool); 8] =
            std::array::from_fn(|index| (fields[index].as_str(), shown.next().unwrap_or_default()));
        let _ = writeln!(text, "{}", columns(&row));
    }
    let _ = writeln!(
        text,
        "\nGB/s are decimal and count a copied byte once; sizes are binary. {}.",
        rule.legend()
    );
    for verdict in Verdict::all(results) {
        let _ = writeln!(text, "\n{}", plain(&verdict.to_string()));
        for (index, mean) in verdict.list_of_means().iter().enumerate() {
            let _ = writeln!(text, "{}- {}", if index == 0 { "\n" } else { "" }, plain(mean));
        }
    }
    text.into_bytes()
}

/// `text` as Markdown shows it literally: no table, link, emphasis, heading, list or HTML begins in it.
pub(crate) fn plain(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if r"\`*[]<>|~&".contains(letter) || (escaped.is_empty() && "#+-=".contains(letter)) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

fn fields(results: &Results, rule: Rule, cell: &Cell) -> [String; 8] {
    let dimensions: Vec<String> =
        cell.dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let ratio = cell.ratio_to_baseline.filter(|_| cell.contender != results.parameters.baseline);
    [
        cell.cache.map_or_else(String::new, |cache| cache.to_string()),
        Size(cell.folio_bytes).to_string(),
        cell.src_node.zip(cell.dst_node).map_or_else(String::new, |(src, dst)| format!("{src} → {dst}")),
        plain(&dimensions.join(" ")),
        // A loaded contender may be called anything.
        plain(&cell.contender),
        format!("{:.2}", cell.median_gbps),
        format!("{:.2} ± {:.2}", cell.mean_gbps, cell.stdev_gbps),
        ratio.zip(rule.standing_of(cell)).map_or_else(String::new, |(ratio, standing)| {
            format!("{}{}", ratio.corrected(), standing.mark())
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::sample;

    fn markdown(results: &Results) -> String {
        String::from_utf8(text(results)).unwrap()
    }

    #[test]
    fn a_row_a_cell_under_the_header() {
        let mut results = sample();
        results.cells[3].contender = "a|b".into();
        let text = markdown(&results);
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(rows.len(), 2 + 4);
        assert_eq!(
            rows[0],
            "| Cache | Folio | Nodes | Contender | Median GB/s | Mean ± σ GB/s | Speed-up over per-page [99 % for all cells together] |"
        );
        assert_eq!(rows[3], "| cold | 64K | 0 → 0 | foliocopy | 9.60 | 9.60 ± 2.19 | 0.80 [0.80, 0.80] ▼ |");
        assert!(rows[5].contains("a\\|b"));
    }

    #[test]
    fn names_stay_text() {
        for (name, expected) in [
            ("rep_movsb", "rep_movsb"),
            ("AMD EPYC(TM) 7713 - 64", "AMD EPYC(TM) 7713 - 64"),
            ("# [a](b) <img>", r"\# \[a\](b) \<img\>"),
            ("a|`b`", r"a\|\`b\`"),
            (r"a\", r"a\\"),
        ] {
            assert_eq!(plain(name), expected);
        }
    }

    #[test]
    fn incomplete_and_emulated_results_say_so() {
        let mut results = sample();
        results.complete = false;
        assert!(markdown(&results).contains("**Incomplete"));
        results.environment.emulated = true;
        let text = markdown(&results);
        assert!(text.contains("emulated") && !text.contains("9.60"), "{text}");
    }
}
