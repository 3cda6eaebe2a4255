//! Shows the RFC's figures beside this machine's, row by row.

use std::fmt::Write;

use comfy_table::CellAlignment;
use foliocopy_measure::result::{Cell, Results};
use foliocopy_measure::size::Size;
use foliocopy_measure::statistics::{CONFIDENCE, Interval, median_interval};
use foliocopy_measure::text::harmless;

use super::rfc::{Function, Memory, Row, TABLES, Table};
use super::{Measured, Nodes, obstacle, pair};
use crate::export::markdown::plain;
use crate::table::{empty_table, trimmed};
use crate::wrap::paragraph;

/// The explanation that comes with the tables.
const PREFACE: &str = "\
The RFC timed functions of the kernel in a module. Here the same instructions run in a process. `folio_copy`: \
before is `per-page`, after is `rfc`. `folio_mc_copy`: before is `per-page-mc`, after is `rfc-mc`. What the \
kernel does around the copy is not in these figures: `foliocopy kernel bench` measures it. Before and after are \
GB/s; a copied byte counts once. A speed-up here is the median over the rounds of the ratio within a round, with \
its 95 % interval. The column `foliocopy` has its speed-up over the same baseline, in the same rounds. Rows \
`node N->N` stand in for nodes that this machine lacks.";

/// One shown row: the RFC's cells, then this machine's or the reason why there are none.
struct Shown {
    direction: String,
    folio: String,
    reported: [String; 3],
    here: Result<[String; 4], String>,
}

/// The CPUs whose figures a table compares: the RFC's and this one.
fn cpus(table: &Table, measured: &Measured) -> [String; 2] {
    let here = measured.0.first().map(|(_, results)| {
        let cpu = &results.environment.cpu;
        cpu.microarchitecture.clone().unwrap_or_else(|| cpu.model_name.clone())
    });
    let rfc = if table.zen3 { "Zen 3" } else { "Zen 5" };
    [format!("{rfc} (RFC)"), here.map_or("here".to_owned(), |name| format!("{} (here)", harmless(&name)))]
}

/// The heads of the columns of figures, under the CPUs.
const FIGURES: [&str; 7] = ["before", "after", "speed-up", "before", "after", "speed-up", "foliocopy"];

/// The rows of `table` as fields, and the reasons that some of them refer to by number.
fn numbered(table: &Table, measured: &Measured, nodes: &Nodes) -> (Vec<Vec<String>>, Vec<String>) {
    let mut reasons: Vec<String> = Vec::new();
    let mut fields = Vec::new();
    for row in rows(table, measured, nodes) {
        let here = row.here.unwrap_or_else(|reason| {
            let known = reasons.iter().position(|known| *known == reason);
            let number = known.unwrap_or_else(|| {
                reasons.push(reason);
                reasons.len() - 1
            });
            [String::new(), String::new(), format!("not here ({})", number + 1), String::new()]
        });
        fields.push([row.direction, row.folio].into_iter().chain(row.reported).chain(here).collect());
    }
    let reasons = reasons.into_iter().enumerate().map(|(index, reason)| format!("({}) {reason}", index + 1));
    (fields, reasons.collect())
}

/// The tables for a terminal, without the deviations, which would not fit.
pub(super) fn text(measured: &Measured, nodes: &Nodes) -> String {
    let mut text = String::new();
    for table in &TABLES {
        let (rows, reasons) = numbered(table, measured, nodes);
        let mut drawn = empty_table(["folio"].into_iter().chain(FIGURES));
        for column in drawn.column_iter_mut() {
            column.set_padding((0, 1)).set_cell_alignment(CellAlignment::Right);
        }
        let plain = |field: &String| match field.split_once(" ± ") {
            Some((mean, _)) => mean.to_owned(),
            None => field.replace('x', ""),
        };
        drawn.add_rows(rows.iter().map(|row| row[1..].iter().map(plain).collect::<Vec<_>>()));
        let drawn = anstream::adapter::strip_str(&trimmed(&drawn)).to_string();
        let mut lines = drawn.lines();
        let _ = writeln!(text, "{}\n", table.title);
        let head = lines.next().unwrap_or_default();
        let [rfc, here] = cpus(table, measured);
        let at = head.match_indices(FIGURES[0]).map(|(at, _)| at).collect::<Vec<_>>();
        if let [first, second] = at[..] {
            let _ = writeln!(text, "{:first$}{rfc:<width$}{here}", "", width = second - first);
        }
        let _ = writeln!(text, "{head}");
        let mut direction = None;
        for (row, line) in rows.iter().zip(lines) {
            if direction != Some(&row[0]) {
                direction = Some(&row[0]);
                let _ = writeln!(text, "{}", row[0]);
            }
            let _ = writeln!(text, "{}", line.trim_end());
        }
        for reason in reasons {
            text += &paragraph(&reason);
        }
        text.push('\n');
    }
    text + &paragraph(PREFACE) + &completeness(measured)
}

/// The tables as Markdown, with the machine.
pub(super) fn markdown(measured: &Measured, nodes: &Nodes) -> String {
    let mut text = measured.0.first().map(|(_, results)| measured_on(results)).unwrap_or_default();
    let _ = writeln!(text, "{PREFACE}\n");
    for table in &TABLES {
        let (rows, reasons) = numbered(table, measured, nodes);
        let _ = writeln!(text, "## {}\n", table.title);
        let [rfc, here] = cpus(table, measured).map(|name| plain(&name));
        let heads = FIGURES.iter().enumerate().map(|(index, figure)| match index {
            0..3 => format!("{rfc}: {figure}"),
            _ => format!("{here}: {figure}"),
        });
        let heads: Vec<String> = ["direction", "folio"].map(str::to_owned).into_iter().chain(heads).collect();
        let _ = writeln!(text, "| {} |", heads.join(" | "));
        let _ = writeln!(text, "|---|--:|--:|--:|--:|--:|--:|--:|--:|");
        for row in rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        text.push('\n');
        for reason in reasons {
            let _ = writeln!(text, "{reason}  ");
        }
        text.push('\n');
    }
    let mut warnings: Vec<&String> = Vec::new();
    for warning in measured.0.iter().flat_map(|(_, results)| &results.warnings) {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    if !warnings.is_empty() {
        let _ = writeln!(text, "What makes these figures doubtful:\n");
        for warning in warnings {
            let _ = writeln!(text, "- {warning}");
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text + "\n" + &completeness(measured)
}

fn measured_on(results: &Results) -> String {
    let environment = &results.environment;
    let cpu = &environment.cpu;
    let mut text =
        format!("Measured {} by `{}` on {}", results.started, results.program, plain(&cpu.model_name));
    if let Some(name) = &cpu.microarchitecture {
        let _ = write!(text, " ({})", plain(name));
    }
    let _ = match cpu.is_aarch64() {
        true => write!(text, ", {}", cpu.signature()),
        false => write!(text, ", family {} model {}", cpu.family, cpu.model),
    };
    if let Some(microcode) = &cpu.microcode {
        let _ = write!(text, ", microcode {microcode}");
    }
    let _ = write!(text, ", {}", plain(&environment.kernel));
    if let Some(hypervisor) = &environment.hypervisor {
        let _ = write!(text, ", under {}", plain(hypervisor));
    }
    text + ".\n\n"
}

fn completeness(measured: &Measured) -> String {
    if measured.is_complete() {
        String::new()
    } else {
        "Interrupted: some benches were not measured to their end.\n".into()
    }
}

/// The rows of `table`. Where its nodes are missing, rows for its sizes on the local node follow.
fn rows(table: &Table, measured: &Measured, nodes: &Nodes) -> Vec<Shown> {
    let results = measured.of(table);
    let mut shown: Vec<Shown> =
        table.rows.iter().map(|row| reported(row, here(table, row, results, nodes))).collect();
    if obstacle(table).is_some() || table.rows.iter().all(|row| pair(row, nodes).is_ok()) {
        return shown;
    }
    let Some(local) = nodes.dram.first() else { return shown };
    let mut sizes: Vec<u64> = table.rows.iter().map(|row| row.folio_bytes).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for bytes in sizes {
        let here = figures(table, bytes, (*local, *local), results);
        shown.push(Shown {
            direction: format!("node {local}->{local}"),
            folio: Size(bytes).to_string(),
            reported: std::array::from_fn(|_| "–".into()),
            here,
        });
    }
    shown
}

fn reported(row: &Row, here: Result<[String; 4], String>) -> Shown {
    let name = |memory| match memory {
        Memory::Dram0 => "DRAM0",
        Memory::Dram1 => "DRAM1",
        Memory::Cxl => "CXL",
    };
    let figure = |index: usize| match row.gbps {
        Some(gbps) => format!("{:.2} ± {:.2}", gbps[index].0, gbps[index].1),
        None => "–".into(),
    };
    Shown {
        direction: format!("{}->{}", name(row.from), name(row.to)),
        folio: Size(row.folio_bytes).to_string(),
        reported: [figure(0), figure(1), format!("{:.2}x", row.speed_up)],
        here,
    }
}

fn here(table: &Table, row: &Row, results: Option<&Results>, nodes: &Nodes) -> Result<[String; 4], String> {
    let pair = pair(row, nodes)?;
    if let Some(obstacle) = obstacle(table) {
        return Err(obstacle.to_owned());
    }
    figures(table, row.folio_bytes, pair, results)
}

/// Before, after, speed-up, and foliocopy's speed-up.
fn figures(
    table: &Table,
    folio_bytes: u64,
    (src, dst): (u32, u32),
    results: Option<&Results>,
) -> Result<[String; 4], String> {
    let results = results.ok_or("interrupted before it was measured")?;
    if results.environment.emulated {
        return Err("emulated CPU: its timings are no speeds".into());
    }
    let (before, after) = match table.function {
        Function::FolioMcCopy => ("per-page-mc", "rfc-mc"),
        Function::FolioCopy | Function::MovePages => ("per-page", "rfc"),
    };
    let find = |contender: &str| -> Result<&Cell, String> {
        let cell = results.cells.iter().find(|cell| {
            cell.contender == contender
                && cell.folio_bytes == folio_bytes
                && cell.src_node.is_none_or(|node| node == src)
                && cell.dst_node.is_none_or(|node| node == dst)
        });
        cell.ok_or_else(|| "interrupted before it was measured".to_owned())
    };
    let (before, after, ours) = (find(before)?, find(after)?, find("foliocopy")?);
    let figure = |cell: &Cell| format!("{:.2} ± {:.2}", cell.mean_gbps, cell.stdev_gbps);
    let ratio = |cell: &Cell| {
        median_interval(&cell.ratios_to(before), CONFIDENCE).map_or_else(|| "–".into(), interval)
    };
    Ok([figure(before), figure(after), ratio(after), ratio(ours)])
}

fn interval(ratio: Interval) -> String {
    ratio.to_string().replacen(" [", "x [", 1)
}
