//! `foliocopy compare`: compares results with older ones.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use anyhow::{Result, bail};
use clap::ValueEnum;
use comfy_table::Table;
use foliocopy_measure::compare::{Comparison, Difference, Measure, Pair, differences};
use foliocopy_measure::kit;
use foliocopy_measure::result::{Cell, ReadError, Results};
use foliocopy_measure::text::shown;
use foliocopy_measure::verdict::{Percent, Rule, Standing};

use crate::exit::Exit;
use crate::percent;
use crate::printer;
use crate::table::{align_right, empty_table, trimmed};
use crate::wrap::{COLUMNS, wrap};

/// Arguments of `foliocopy compare`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The old results, then the new ones: of the same bench, on the same CPU. JSON of `--export-json`, or logs of AMD's
    /// folio-bench-kit
    #[arg(value_name = "FILE", num_args = 2, value_names = ["OLD", "NEW"], required_unless_present_all = ["old", "new"],
        conflicts_with_all = ["old", "new"])]
    files: Vec<PathBuf>,
    /// Several runs of the old build
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "new")]
    old: Vec<PathBuf>,
    /// Several runs of the new one
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "old")]
    new: Vec<PathBuf>,
    #[command(flatten)]
    bounds: Bounds,
    /// Show only the cells that became faster or slower
    #[arg(long)]
    changed: bool,
    /// Compare even across CPUs or parameters
    #[arg(long)]
    force: bool,
}

/// Arguments of a comparison, here and in `bench --baseline`.
#[derive(clap::Args)]
pub(crate) struct Bounds {
    /// The smallest difference that counts, in percent: a cell is faster or slower where its whole interval lies beyond
    #[arg(long, value_name = "PERCENT", default_value = "2", value_parser = percent::parse)]
    pub(crate) threshold: f64,
    /// The figure that is compared [default: speedup where all have one baseline, else throughput]
    #[arg(long, value_enum)]
    by: Option<By>,
}

/// How results are compared.
pub(crate) struct How<'a> {
    pub(crate) bounds: &'a Bounds,
    /// Whether cells without a difference are left out.
    pub(crate) changed: bool,
    /// Whether other CPUs and parameters are let through.
    pub(crate) force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// GB/s of the machine, with its drift between the runs
    Throughput,
    /// The speed-up over each run's own baseline, in which the drift cancels out
    Speedup,
}

/// A run and its name.
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) results: Results,
}

impl Run {
    /// Reads those in `files`.
    pub(crate) fn read(files: &[PathBuf]) -> Result<Vec<Self>, ReadError> {
        let read =
            |file: &PathBuf| Ok(Self { name: format!("`{}`", shown(file)), results: kit::read(file)? });
        files.iter().map(read).collect()
    }
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let how = How { bounds: &args.bounds, changed: args.changed, force: args.force };
    let (old, new) = match &args.files[..] {
        [old, new] => (Run::read(std::slice::from_ref(old))?, Run::read(std::slice::from_ref(new))?),
        _ => (Run::read(&args.old)?, Run::read(&args.new)?),
    };
    // Whatever is refused is refused before anything is printed.
    for run in old[1..].iter().chain(&new) {
        permit(&old[0], run, &how)?;
    }
    let mut output = Vec::new();
    let good = print(&mut output, &old, &new, &how)?;
    printer::print(output)?;
    Ok(if good { Exit::Good } else { Exit::Negative }.into())
}

/// Refuses, with the reason, a comparison that is known to be wrong before `new` has cells: other CPUs and parameters, and
/// emulators.
pub(crate) fn permit(old: &Run, new: &Run, how: &How<'_>) -> Result<()> {
    if how.force {
        return Ok(());
    }
    let forbidding: Vec<String> = differences(&old.results, &new.results)
        .iter()
        .filter(|found| found.forbids)
        .map(Difference::to_string)
        .collect();
    if !forbidding.is_empty() {
        bail!(
            "{} and {} answer different questions: {}; compare runs of one CPU and of the same parameters, \
             or force it with `foliocopy compare --force`",
            old.name,
            new.name,
            forbidding.join("; ")
        );
    }
    if new.results.environment.emulated {
        bail!(
            "{} and {} were measured on an emulated CPU: their speed says nothing; measure on real machines, \
             or force it with `foliocopy compare --force`",
            old.name,
            new.name
        );
    }
    Ok(())
}

/// Prints the comparison and returns whether no cell became slower.
pub(crate) fn print(output: &mut impl Write, old: &[Run], new: &[Run], how: &How<'_>) -> Result<bool> {
    let (olds, news): (Vec<&Results>, Vec<&Results>) =
        (old.iter().map(|run| &run.results).collect(), new.iter().map(|run| &run.results).collect());
    let measure = match how.bounds.by {
        Some(By::Throughput) => Measure::Throughput,
        Some(By::Speedup) => Measure::SpeedUp,
        None => Measure::best(&[&olds[..], &news[..]].concat()),
    };
    if let (Measure::SpeedUp, Some(run)) =
        (measure, old.iter().chain(new).find(|run| run.results.parameters.baseline.is_empty()))
    {
        bail!("{} has no baseline, and so no speed-up: compare with `--by throughput`", run.name);
    }
    let comparison = Comparison::of(&olds, &news, measure, how.bounds.threshold);
    if comparison.pairs.is_empty() {
        bail!(
            "{} and {} have no cell in common: measure the same contenders, folio sizes, caches and nodes in all",
            old[0].name,
            new[0].name
        );
    }
    header(output, old, new)?;
    summary(output, &comparison, &olds, &news)?;
    let shown: Vec<&Pair<'_>> = comparison
        .pairs
        .iter()
        .filter(|pair| !how.changed || matches!(pair.standing, Standing::Faster | Standing::Slower))
        .collect();
    if !shown.is_empty() {
        writeln!(output, "\n{}\n", trimmed(&table(&shown)))?;
        let figure = match comparison.measure {
            Measure::Throughput => "GB/s",
            Measure::SpeedUp => "speed-up",
        };
        let rule = Rule { minimal_effect: comparison.minimal_effect, rounds_needed: 0 };
        let legend = format!(
            "old and new: median {figure}. new/old: [99 % for all cells together, the difference between runs included]: {}.",
            rule.legend()
        );
        say(output, "", &legend)?;
    }
    only(output, "only in the old results", &comparison.only_old)?;
    only(output, "only in the new results", &comparison.only_new)?;
    Ok(comparison.is_good())
}

/// Writes a paragraph in lines for a terminal, after `bullet`.
fn say(output: &mut impl Write, bullet: &str, paragraph: &str) -> io::Result<()> {
    let mut lines = String::new();
    wrap(&mut lines, bullet, paragraph, COLUMNS);
    output.write_all(lines.as_bytes())
}

fn header(output: &mut impl Write, old: &[Run], new: &[Run]) -> io::Result<()> {
    for (name, runs) in [("old", old), ("new", new)] {
        for run in runs {
            let Results { environment, started, program, .. } = &run.results;
            let about = format!("{}: {}, {started}, {program}", run.name, environment.cpu.model_name);
            say(output, &format!("{name}  "), &about)?;
        }
    }
    for found in differences(&old[0].results, &new[0].results) {
        say(output, "     ", &format!("differs in {found}"))?;
    }
    writeln!(output)
}

fn table(pairs: &[&Pair<'_>]) -> Table {
    let mut table = empty_table(["situation", "contender", "old", "new", "new/old"]);
    for pair in pairs {
        let style = style(pair.standing);
        table.add_row([
            pair.cell.situation().to_string(),
            pair.cell.contender.clone(),
            format!("{:.2}", pair.old),
            format!("{:.2}", pair.new),
            format!("{:.3}{style}{}{style:#}", pair.ratio, pair.standing.mark()),
        ]);
    }
    align_right(&mut table, 2);
    align_right(&mut table, 3);
    table
}

fn style(standing: Standing) -> Style {
    match standing {
        Standing::Faster => AnsiColor::Green.on_default(),
        Standing::Slower => AnsiColor::Red.on_default(),
        Standing::Even => Style::new(),
        Standing::Undecided => AnsiColor::Yellow.on_default(),
    }
}

fn only(output: &mut impl Write, what: &str, cells: &[&Cell]) -> io::Result<()> {
    const SHOWN: usize = 6;
    if cells.is_empty() {
        return Ok(());
    }
    let named: Vec<String> =
        cells.iter().take(SHOWN).map(|cell| format!("{} {}", cell.situation(), cell.contender)).collect();
    let more = cells.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    say(output, "", &format!("{} cells are {what}: {}{more}", cells.len(), named.join(", ")))
}

fn summary(
    output: &mut impl Write,
    comparison: &Comparison<'_>,
    old: &[&Results],
    new: &[&Results],
) -> io::Result<()> {
    let count = |standing| comparison.standing(standing).count();
    let counts = format!(
        "{} cells: {} faster, {} slower, {} the same, {} undecided; geometric mean of new/old {}",
        comparison.pairs.len(),
        count(Standing::Faster),
        count(Standing::Slower),
        count(Standing::Even),
        count(Standing::Undecided),
        means(comparison, None)
    );
    say(output, "", &counts)?;
    if comparison.measure == Measure::Throughput && old[0].parameters.baseline == new[0].parameters.baseline {
        let baseline = &new[0].parameters.baseline;
        let moved = comparison.geometric_means(Some(baseline));
        if moved.iter().any(|(_, mean)| (mean - 1.0).abs() > comparison.minimal_effect) {
            let moved = format!(
                "The baseline itself moved ({baseline} {}): the machine gave the runs different speeds. \
                 `--by speedup` leaves that out.",
                means(comparison, Some(baseline))
            );
            say(output, "", &moved)?;
        }
    }
    between_runs(output, comparison, old.len(), new.len())?;
    undecided(output, comparison)?;
    let effect = Percent(comparison.minimal_effect);
    if comparison.is_good() {
        let is = if count(Standing::Undecided) > 0 { "is shown to be" } else { "is" };
        return writeln!(output, "No cell {is} slower by more than {effect}.");
    }
    writeln!(output, "Slower by more than {effect}:")?;
    for pair in comparison.standing(Standing::Slower) {
        let slower = format!("{} {}: {:.3}", pair.cell.situation(), pair.cell.contender, pair.ratio);
        say(output, "  ", &slower)?;
    }
    Ok(())
}

fn means(comparison: &Comparison<'_>, contender: Option<&str>) -> String {
    let told = comparison.geometric_means(contender).into_iter().map(|(cache, mean)| match cache {
        Some(cache) => format!("{cache} {mean:.3}"),
        None => format!("{mean:.3}"),
    });
    told.collect::<Vec<_>>().join(", ")
}

/// Tells how many runs are missing for an interval.
fn between_runs(
    output: &mut impl Write,
    comparison: &Comparison<'_>,
    old: usize,
    new: usize,
) -> io::Result<()> {
    if old.min(new) >= comparison.runs_needed {
        return Ok(());
    }
    let missing = format!(
        "{old} old and {new} new {runs} do not tell how much runs of one program differ, so {unknown} is allowed for. \
         {needed} of each tell, taken in turn; so does `foliocopy bench --against` in one run.",
        runs = if old + new == 2 { "run" } else { "runs" },
        unknown = Percent(comparison.measure.between_runs()),
        needed = comparison.runs_needed,
    );
    say(output, "", &missing)
}

/// Tells how many runs would decide the undecided cells.
fn undecided(output: &mut impl Write, comparison: &Comparison<'_>) -> io::Result<()> {
    const SHOWN: usize = 6;
    let open: Vec<&Pair<'_>> = comparison
        .standing(Standing::Undecided)
        .filter(|pair| pair.runs_to_decide.is_some_and(|runs| runs > comparison.runs_needed))
        .collect();
    for pair in open.iter().take(SHOWN) {
        let runs = pair.runs_to_decide.unwrap_or_default();
        let (situation, contender) = (pair.cell.situation(), &pair.cell.contender);
        let open = format!(
            "undecided: {situation} {contender} {:.3}: about {runs} runs of each would tell",
            pair.ratio
        );
        say(output, "", &open)?;
    }
    match open.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => writeln!(output, "and {more} more"),
    }
}
