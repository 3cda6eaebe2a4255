//! A mail for a mailing list: plain text, 72 columns, in the shape of the tables in the RFC "mm: batch page
//! copies in folio_copy() and folio_mc_copy()" (linux-mm, 2026-04-27).

use std::collections::HashMap;
use std::fmt::Write;

use anyhow::{Result, bail};
use foliocopy_measure::choice::choices;
use foliocopy_measure::kit;
use foliocopy_measure::result::{Cache, Cell, Environment, Origin, Results, Situation};
use foliocopy_measure::size::Size;
use foliocopy_measure::statistics::Interval;
use foliocopy_measure::verdict::{Rule, Verdict};

use crate::conclusion;
use crate::report::method;
use crate::wrap;

/// The widest line: it survives quoting in a mail.
const COLUMNS: usize = 72;

fn wrap(text: &mut String, bullet: &str, paragraph: &str) {
    wrap::wrap(text, bullet, paragraph, COLUMNS);
}

/// The tables of all `results`, one machine after the other. Emulated ones are refused.
pub(crate) fn mail(results: &[Results]) -> Result<String> {
    let mut text = String::new();
    for (index, results) in results.iter().enumerate() {
        if results.environment.emulated {
            bail!("these results come from an emulated CPU: its timings are no speeds, so none are mailed");
        }
        if index > 0 {
            text.push('\n');
        }
        setup(&mut text, results);
        verdict(&mut text, results);
        tables(&mut text, results);
        text.push('\n');
        wrap(&mut text, "", &method::paragraph(results));
    }
    Ok(text)
}

fn setup(text: &mut String, results: &Results) {
    let environment = &results.environment;
    let cpu = &environment.cpu;
    let heading = match &cpu.microarchitecture {
        Some(name) => format!("Test setup on {name}"),
        None => "Test setup".to_owned(),
    };
    let _ = writeln!(text, "{heading}\n{}\n", "=".repeat(heading.len()));
    let mut item = |line: &str| wrap(text, "  - ", line);
    if kit::is_log(results) {
        item(&cpu.model_name);
    } else {
        item(&format!(
            "{} ({} {}), microcode {}",
            cpu.model_name,
            cpu.vendor,
            cpu.signature(),
            cpu.microcode.as_deref().unwrap_or("unknown"),
        ));
        let mut features = format!("Features: {}", cpu.features.join(" "));
        if !cpu.masked.is_empty() {
            let _ = write!(features, " (masked: {})", cpu.masked.join(" "));
        }
        item(&features);
    }
    for node in &environment.nodes {
        let name = memory_name(environment, Some(node.id));
        let cpus = if node.cpus.is_empty() { "no CPUs".into() } else { format!("CPUs {}", node.cpus) };
        item(&format!("Node {} ({name}): {} MiB, {cpus}", node.id, node.memory_bytes >> 20));
    }
    item(&match &environment.hypervisor {
        Some(hypervisor) => format!("{}, under {hypervisor}", environment.kernel),
        None => environment.kernel.clone(),
    });
    if let Some(governor) = &environment.governor {
        item(&format!("{governor} governor"));
    }
    if let Some(cpu) = results.parameters.cpu {
        item(&format!("Bench thread pinned to CPU {cpu}"));
    }
    item(&format!("Measured {} by {}", results.started, results.program));
    if !results.complete {
        item("Interrupted: these are the figures it had until then");
    }
    for warning in &results.warnings {
        item(&format!("Doubtful: {warning}"));
    }
}

fn verdict(text: &mut String, results: &Results) {
    for verdict in Verdict::all(results) {
        text.push('\n');
        conclusion::judged(text, results, &verdict, COLUMNS);
        for line in verdict.open_questions() {
            wrap(text, "", &line);
        }
    }
    let choices = choices(results);
    if conclusion::is_of_copies(results) && choices.iter().any(|choice| choice.cell.is_some()) {
        let _ = writeln!(text);
        wrap(text, "", &format!("{}:", conclusion::heading(results)));
        let _ = write!(text, "{}", anstream::adapter::strip_str(&conclusion::table(&choices)));
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
}

fn tables(text: &mut String, results: &Results) {
    let (baseline, rule) = (&results.parameters.baseline, Rule::of(results));
    let mut headings: Vec<(String, Vec<&Cell>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for cell in &results.cells {
        let heading = heading(results, cell);
        let place = *places.entry(heading.clone()).or_insert(headings.len());
        match headings.get_mut(place) {
            Some((_, cells)) => cells.push(cell),
            None => headings.push((heading, vec![cell])),
        }
    }
    for (heading, cells) in headings {
        let _ = writeln!(text);
        wrap(text, "", &format!("{heading}:"));
        let (bases, others): (Vec<&Cell>, Vec<&Cell>) =
            cells.into_iter().partition(|cell| cell.contender == *baseline);
        let bases: HashMap<Situation<'_>, &Cell> =
            bases.into_iter().map(|cell| (cell.situation(), cell)).collect();
        let mut contenders: Vec<(&str, Vec<&Cell>)> = Vec::new();
        for cell in others {
            match contenders.iter_mut().find(|(contender, _)| *contender == cell.contender) {
                Some((_, cells)) => cells.push(cell),
                None => contenders.push((&cell.contender, vec![cell])),
            }
        }
        if baseline.is_empty() {
            alone(text, &results.environment, &contenders);
            continue;
        }
        if contenders.is_empty() {
            let _ =
                writeln!(text, "\n  fn={baseline}, which is the baseline: no other contender was measured");
        }
        for (contender, cells) in contenders {
            let _ = writeln!(text, "\n  fn={contender}");
            let _ = writeln!(
                text,
                "  {:<13}{:>5} {:>14} {:>14}  speedup",
                "direction", "folio", "baseline GB/s", "optimized GB/s"
            );
            for cell in cells {
                row(text, &results.environment, rule, cell, bases.get(&cell.situation()).copied());
            }
        }
    }
    let _ = writeln!(text);
    let figures = match &baseline[..] {
        "" => "GB/s are mean ± standard deviation.".to_owned(),
        baseline => format!(
            "Baseline: {baseline}. GB/s are mean ± standard deviation; in brackets the interval of the speedup, at 99 % for \
             all cells together: {}.",
            rule.legend()
        ),
    };
    wrap(text, "", &figures);
}

/// The tables of contenders that nobody is held against.
fn alone(text: &mut String, environment: &Environment, contenders: &[(&str, Vec<&Cell>)]) {
    for (contender, cells) in contenders {
        let _ = writeln!(text, "\n  fn={contender}\n  {:<13}{:>5} {:>14}", "direction", "folio", "GB/s");
        for cell in cells {
            let direction = direction(environment, cell);
            let _ = writeln!(text, "  {direction:<13}{:>5} {:>14}", Size(cell.folio_bytes), figure(cell));
        }
    }
}

/// The heading of one table, in the RFC's words.
fn heading(results: &Results, cell: &Cell) -> String {
    let parameters = &results.parameters;
    let mut heading = match cell.cache {
        // What a log tells of a run is among its dimensions.
        Some(cache) if kit::is_log(results) => format!("Cache-{cache}"),
        Some(Cache::Cold) => format!(
            "Cache-cold ({}B total per run, {}B {} through the caches before each copy)",
            Size(parameters.total_bytes_cold),
            Size(parameters.evict_bytes),
            parameters.evict.done()
        ),
        Some(Cache::Hot) => {
            format!("Cache-hot ({}B total per run, no eviction)", Size(parameters.total_bytes_hot))
        }
        Some(Cache::Mixed) => {
            format!("Cache mixed ({}B total per run, a random half hot)", Size(parameters.total_bytes_cold))
        }
        None => "All runs".to_owned(),
    };
    for (name, value) in &cell.dimensions {
        let _ = write!(heading, ", {name} {value}");
    }
    if results.origin == Origin::Kernel {
        heading.push_str(", in the kernel");
    }
    heading
}

fn row(text: &mut String, environment: &Environment, rule: Rule, cell: &Cell, base: Option<&Cell>) {
    let direction = direction(environment, cell);
    let _ = write!(
        text,
        "  {direction:<13}{:>5} {:>14} {:>14}  ",
        Size(cell.folio_bytes),
        base.map_or_else(|| "-".into(), figure),
        figure(cell)
    );
    match cell.ratio_to_baseline.zip(rule.standing_of(cell)) {
        Some((ratio, standing)) => {
            let Interval { median, low, high } = ratio.corrected();
            let _ = writeln!(text, "{median:.2}x [{low:.2}, {high:.2}]{}", standing.mark().trim());
        }
        None => text.push_str("-\n"),
    }
}

fn direction(environment: &Environment, cell: &Cell) -> String {
    match (cell.src_node, cell.dst_node) {
        (None, None) => "any".to_owned(),
        (src, dst) => format!("{}->{}", memory_name(environment, src), memory_name(environment, dst)),
    }
}

fn figure(cell: &Cell) -> String {
    format!("{:.2} ± {:.2}", cell.mean_gbps, cell.stdev_gbps)
}

/// `DRAM0`, or `MEM2` of a node without CPUs: whether that is CXL, only its owner knows.
fn memory_name(environment: &Environment, node: Option<u32>) -> String {
    let Some(id) = node else { return "any".into() };
    let memory_only = environment.nodes.iter().any(|node| node.id == id && node.cpus.is_empty());
    if memory_only { format!("MEM{id}") } else { format!("DRAM{id}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn fixture() -> Results {
        let text = include_bytes!("../../tests/fixtures/schema-1.json");
        foliocopy_measure::result::read_from(text, Path::new("schema-1.json")).unwrap()
    }

    #[test]
    fn no_line_is_wider_than_72_columns() {
        let mut results = fixture();
        results.warnings = vec![
            "a warning that goes on for much longer than any line of a mail may be, and then some".into(),
        ];
        for cell in &mut results.cells {
            (cell.src_node, cell.dst_node) = (Some(10), Some(11));
            (cell.mean_gbps, cell.stdev_gbps) = (123.456, 10.987);
        }
        let text = mail(&[results]).unwrap();
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
    }

    #[test]
    fn tables_have_the_shape_of_the_rfc() {
        let text = mail(&[fixture()]).unwrap();
        assert!(text.contains("Cache-cold (2MB total per run"), "{text}");
        assert!(
            text.contains("  fn=foliocopy\n  direction    folio  baseline GB/s optimized GB/s  speedup\n"),
            "{text}"
        );
        assert!(
            text.lines().any(|line| line.starts_with("  DRAM0->DRAM0    2M ") && line.contains("x [")),
            "{text}"
        );
    }

    #[test]
    fn emulated_figures_are_not_mailed() {
        let mut results = fixture();
        results.environment.emulated = true;
        assert!(mail(&[results]).unwrap_err().to_string().contains("emulated"));
    }
}
