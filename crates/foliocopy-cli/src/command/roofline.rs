//! `foliocopy roofline`: the limits of this machine's memory, and each primitive as a share of them.

use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use comfy_table::{CellAlignment, Table, TableComponent, presets};
use foliocopy::Policy;
use foliocopy_measure::bench::Observer;
use foliocopy_measure::latency::TimeStampCounter;
use foliocopy_measure::memory::Available;
use foliocopy_measure::result::{Cell, Origin, Parameters, Results, SCHEMA_VERSION};
use foliocopy_measure::roofline::{self, COPY_LIMIT, Level, Plan};
use foliocopy_measure::size::Size;
use foliocopy_measure::{affinity, environment, warning::Warning};

use crate::exit::Exit;
use crate::export::ExportArgs;
use crate::header;
use crate::interrupt::Interrupt;
use crate::printer::{self, Printer};
use crate::progress::Progress;
use crate::table::columns;
use crate::wrap::COLUMNS;

/// Arguments of `foliocopy roofline`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds; each loop runs once in each
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Bytes of the working set in memory, a thread [default: 128M, or 4 times the last-level cache if larger]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// Numbers of threads [default: 1 and all]
    #[arg(long, value_name = "N", value_delimiter = ',')]
    threads: Vec<usize>,
    /// Seed of every shuffle [default: another each time]
    #[arg(long)]
    seed: Option<u32>,
    /// Print the tables alone
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    exports: ExportArgs,
}

/// Limits beside the primitives, in the order of the columns.
const LIMITS: [&str; 4] = ["read", "write", "write non-temporal", COPY_LIMIT];

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let exports = args.exports.open()?;
    let environment = environment::detect()?;
    let plan = plan(&args, &environment.cpu.caches)?;
    let printer = Printer { to_standard_error: exports.to_standard_output(), quiet: args.quiet };
    printer.aside(&format!("{}\n", header::environment(&environment)))?;
    let before = Warning::about_environment(&environment, TimeStampCounter::detect());
    printer.warn(&before)?;

    let interrupt = Interrupt::catch()?;
    let (started, clock) = (SystemTime::now(), Instant::now());
    let mut progress = Progress::new(1, args.quiet, interrupt);
    progress.message("reads, writes and copies");
    let measured = roofline::measure(&plan, |done| {
        progress.progress(done);
        !progress.interrupted()
    });
    progress.finish();
    let (cells, complete) = measured?;
    if cells.is_empty() {
        printer::note("interrupted before a round was complete: nothing to show");
        return Ok(Exit::Interrupted.into());
    }
    let after: Vec<Warning> = (!complete).then_some(Warning::Interrupted).into_iter().collect();
    let mut results = Results {
        schema_version: SCHEMA_VERSION,
        program: crate::PROGRAM.to_owned(),
        command: "roofline".to_owned(),
        origin: Origin::UserSpace,
        started: humantime::format_rfc3339_seconds(started).to_string(),
        elapsed_seconds: clock.elapsed().as_secs_f64(),
        complete,
        environment,
        parameters: Parameters {
            baseline: COPY_LIMIT.to_owned(),
            rounds: Some(plan.rounds),
            memory: "thp".to_owned(),
            seed: plan.seed,
            ..Parameters::default()
        },
        warnings: before.iter().chain(&after).map(ToString::to_string).collect(),
        cells,
    };
    results.rate();
    let saved = exports.write(&results);
    printer.result(&tables(&results))?;
    printer.warn(&after)?;
    saved?;
    Ok(if complete { Exit::Good } else { Exit::Interrupted }.into())
}

fn plan(args: &Args, caches: &[foliocopy_measure::result::CacheLevel]) -> Result<Plan> {
    let cpus = affinity::allowed_cpus().context("can't find out which CPUs are allowed")?;
    let mut threads = args.threads.clone();
    if threads.is_empty() {
        threads = vec![1, cpus.len()];
    }
    threads.sort_unstable();
    threads.dedup();
    for &count in &threads {
        ensure!(
            (1..=cpus.len()).contains(&count),
            "--threads {count}: this process may run on {} CPUs, so from 1 to {}",
            cpus.len(),
            cpus.len()
        );
    }
    let mut levels = Level::all(caches);
    if let (Some(size), Some(level)) = (args.memory, levels.last_mut()) {
        level.bytes = usize::try_from(size.0).context("--memory exceeds the address space")?;
    }
    let most = threads.last().copied().unwrap_or(1) as u64;
    let needed = levels.iter().map(|level| level.bytes as u64).max().unwrap_or(0).saturating_mul(most);
    let available = Available::detect();
    ensure!(
        needed <= available.bytes,
        "{most} threads need {} MiB of {} and {} MiB are available: choose a smaller --memory or fewer --threads",
        needed >> 20,
        available.what(),
        available.bytes >> 20
    );
    Ok(Plan {
        cpu: *Policy::host().cpu(),
        levels,
        threads,
        cpus,
        rounds: args.rounds,
        seed: u64::from(args.seed.unwrap_or_else(|| fastrand::u32(..))),
    })
}

/// The limits, then the primitives against them; a pair of tables for each number of threads.
fn tables(results: &Results) -> String {
    if results.environment.emulated {
        return "The CPU is emulated: its timings say nothing about memory, so no speeds are shown.\n"
            .to_owned();
    }
    let dimension = |cell: &Cell, name: &str| cell.dimensions.get(name).cloned().unwrap_or_default();
    let distinct = |name: &str| {
        let mut values: Vec<String> = Vec::new();
        for cell in &results.cells {
            let value = dimension(cell, name);
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    };
    let find = |level: &str, threads: &str, contender: &str| {
        results.cells.iter().find(|cell| {
            cell.contender == contender
                && dimension(cell, "level") == level
                && dimension(cell, "threads") == threads
        })
    };
    let levels = distinct("level");
    let primitives = roofline::primitives(&results.cells);
    let mut text = String::new();
    for threads in distinct("threads") {
        let who = if threads == "1" { "one thread".to_owned() } else { format!("{threads} threads") };
        let limits = table(
            std::iter::once("level").chain(["working set"]).chain(LIMITS).map(str::to_owned),
            levels.iter().filter_map(|level| {
                let bytes = find(level, &threads, COPY_LIMIT)?.folio_bytes;
                let gbps = LIMITS.iter().map(|name| match find(level, &threads, name) {
                    Some(cell) => format!("{:.1}", cell.median_gbps),
                    None => String::new(),
                });
                Some([level.clone(), Size(bytes).to_string()].into_iter().chain(gbps).collect())
            }),
        );
        let standing = |between: &str| {
            let parts = |name: &str| {
                let part = |level: &String| {
                    let ratio = find(level, &threads, name)?.ratio_to_baseline?.interval;
                    let percent = |part: f64| format!("{:.0}", part * 100.0);
                    let (low, high) = (percent(ratio.low), percent(ratio.high));
                    Some(format!("{}{between}[{low}, {high}]", percent(ratio.median)))
                };
                levels.iter().map(part).map(Option::unwrap_or_default).collect::<Vec<_>>()
            };
            table(
                std::iter::once("primitive".to_owned()).chain(levels.iter().cloned()),
                primitives.iter().map(|name| [vec![(*name).to_owned()], parts(name)].concat()),
            )
        };
        // Where the intervals make the table too wide, they stand below.
        let beside = standing(" ");
        let standing = if columns(&beside) <= COLUMNS { beside } else { standing("\n") };
        text += &format!(
            "{who}: limits in GB/s, median of the rounds; a copied byte counts once\n{}\n\n\
             {who}: percent of the copy limit, within the round [95 %]\n{}\n\n",
            limits.trim_fmt(),
            standing.trim_fmt()
        );
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

fn table(header: impl Iterator<Item = String>, rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).remove_style(TableComponent::HorizontalLines);
    table.remove_style(TableComponent::MiddleIntersections).set_header(header).add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
