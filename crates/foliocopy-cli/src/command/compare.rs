//! `foliocopy compare`: what became of the speed since then.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use anyhow::{Result, bail};
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use foliocopy_measure::compare::{Change, Comparison, Difference, Measure, Pair, differences};
use foliocopy_measure::result::{self, Cell, Results};

use crate::exit::Exit;
use crate::printer;

/// What `foliocopy compare` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The results that the others are held against
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// Results of the same bench on the same CPU
    #[arg(required = true, value_name = "NEW")]
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

/// What of the comparison is asked for here and by `bench --baseline`.
#[derive(clap::Args)]
pub(crate) struct Bounds {
    /// Exit with 1 when a cell is slower than it was by more than this percentage beyond its interval
    #[arg(long, value_name = "PERCENT", default_value = "3", value_parser = percent)]
    threshold: f64,
    /// What of old and new to hold against each other
    #[arg(long, value_enum, default_value_t = By::Throughput)]
    by: By,
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
    /// GB/s: what the machine gives, its drift between the two runs included
    Throughput,
    /// The speed-up over each run's own baseline, in which the drift cancels out
    Speedup,
}

impl From<By> for Measure {
    fn from(by: By) -> Self {
        match by {
            By::Throughput => Measure::Throughput,
            By::Speedup => Measure::SpeedUp,
        }
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').trim().parse().ok();
    number
        .filter(|percent| (0.0..100.0).contains(percent))
        .ok_or_else(|| "a percentage is a number from 0 to below 100, such as 3".to_owned())
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let how = How { bounds: &args.bounds, changed: args.changed, force: args.force };
    let old = result::read(&args.old)?;
    let new =
        args.new.iter().map(|file| Ok((file.as_path(), result::read(file)?))).collect::<Result<Vec<_>>>()?;
    // Whatever is refused is refused before anything is printed.
    for (file, new) in &new {
        permit(&args.old, &old, file, new, &how)?;
    }
    let mut output = Vec::new();
    let mut good = true;
    for (file, new) in &new {
        good &= print(&mut output, (&args.old, &old), (file, new), &how)?;
    }
    printer::print(output)?;
    Ok(if good { Exit::Good } else { Exit::Negative }.into())
}

/// Refuses what can't be compared, with the reason.
fn permit(old_file: &Path, old: &Results, new_file: &Path, new: &Results, how: &How<'_>) -> Result<()> {
    permit_machines(old_file, old, &format!("`{}`", new_file.display()), new, how)?;
    let comparison = Comparison::of(old, new, how.bounds.by.into());
    if comparison.pairs.is_empty() {
        bail!(
            "`{}` and `{}` have no cell in common: measure the same contenders, folio sizes, caches and nodes in both",
            old_file.display(),
            new_file.display()
        );
    }
    Ok(())
}

/// Refuses what can be refused before `new` has cells: other CPUs and parameters, and emulators.
pub(crate) fn permit_machines(
    old_file: &Path,
    old: &Results,
    new_name: &str,
    new: &Results,
    how: &How<'_>,
) -> Result<()> {
    if how.force {
        return Ok(());
    }
    let forbidding: Vec<String> =
        differences(old, new).iter().filter(|found| found.forbids).map(Difference::to_string).collect();
    if !forbidding.is_empty() {
        bail!(
            "`{}` and {new_name} answer different questions: {}; compare runs of one CPU and of the same parameters, \
             or force it with `foliocopy compare --force`",
            old_file.display(),
            forbidding.join("; ")
        );
    }
    if new.environment.emulated {
        bail!(
            "`{}` and {new_name} were measured on an emulated CPU: their speed says nothing; measure on real machines, \
             or force it with `foliocopy compare --force`",
            old_file.display()
        );
    }
    Ok(())
}

/// Prints the comparison and returns whether no cell is slower beyond the threshold.
pub(crate) fn print(
    output: &mut impl Write,
    (old_file, old): (&Path, &Results),
    (new_file, new): (&Path, &Results),
    how: &How<'_>,
) -> Result<bool> {
    let comparison = Comparison::of(old, new, how.bounds.by.into());
    header(output, old_file, old, new_file, new)?;
    let shown: Vec<&Pair<'_>> = comparison
        .pairs
        .iter()
        .filter(|pair| !how.changed || matches!(pair.change, Change::Faster | Change::Slower))
        .collect();
    if !shown.is_empty() {
        writeln!(output, "{}\n", table(&shown, comparison.measure).trim_fmt())?;
    }
    only(output, "only in the old results", &comparison.only_old)?;
    only(output, "only in the new results", &comparison.only_new)?;
    summary(output, &comparison, old, new, how)
}

fn header(
    output: &mut impl Write,
    old_file: &Path,
    old: &Results,
    new_file: &Path,
    new: &Results,
) -> io::Result<()> {
    let name = |results: &Results| results.environment.cpu.model_name.clone();
    writeln!(output, "old  {}: {}, {}", foliocopy_measure::text::shown(old_file), name(old), old.started)?;
    writeln!(output, "new  {}: {}, {}", foliocopy_measure::text::shown(new_file), name(new), new.started)?;
    for found in differences(old, new) {
        writeln!(output, "     differs in {found}")?;
    }
    writeln!(output)
}

fn table(pairs: &[&Pair<'_>], measure: Measure) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let (old, new) = match measure {
        Measure::Throughput => ("old GB/s", "new GB/s"),
        Measure::SpeedUp => ("old speed-up", "new speed-up"),
    };
    table.set_header(["situation", "contender", old, new, "new/old", "95 %", ""]);
    for pair in pairs {
        let figure = |cell: &Cell| match (measure, cell.ratio_to_baseline) {
            (Measure::SpeedUp, Some(ratio)) => format!("{:.2}", ratio.interval.median),
            (Measure::SpeedUp, None) => "-".into(),
            (Measure::Throughput, _) => format!("{:.2}", cell.median_gbps),
        };
        let (ratio, interval) = match pair.ratio {
            Some(ratio) => (format!("{:.3}", ratio.median), format!("[{:.3}, {:.3}]", ratio.low, ratio.high)),
            None => ("-".into(), "-".into()),
        };
        table.add_row([
            pair.new.situation().to_string(),
            pair.new.contender.clone(),
            figure(pair.old),
            figure(pair.new),
            ratio,
            interval,
            format!("{}{}{:#}", style(pair.change), pair.change, style(pair.change)),
        ]);
    }
    for index in 2..5 {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn style(change: Change) -> Style {
    match change {
        Change::Faster => AnsiColor::Green.on_default(),
        Change::Slower => AnsiColor::Red.on_default(),
        Change::NoDifference => Style::new(),
        Change::TooFewRounds => AnsiColor::Yellow.on_default(),
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
    writeln!(output, "{} cells are {what}: {}{more}", cells.len(), named.join(", "))
}

fn summary(
    output: &mut impl Write,
    comparison: &Comparison<'_>,
    old: &Results,
    new: &Results,
    how: &How<'_>,
) -> Result<bool> {
    let count = |change| comparison.count(change);
    write!(
        output,
        "{} cells: {} faster, {} slower, {} no difference",
        comparison.pairs.len(),
        count(Change::Faster),
        count(Change::Slower),
        count(Change::NoDifference)
    )?;
    if count(Change::TooFewRounds) > 0 {
        write!(output, ", {} with too few rounds for a verdict", count(Change::TooFewRounds))?;
    }
    let means = |contender| {
        let means = comparison.geometric_means(contender).into_iter();
        let told = means.map(|(cache, mean)| match cache {
            Some(cache) => format!("{cache} {mean:.3}"),
            None => format!("{mean:.3}"),
        });
        told.collect::<Vec<_>>().join(", ")
    };
    writeln!(output, "; geometric mean of new/old {}", means(None))?;
    if comparison.measure == Measure::Throughput && old.parameters.baseline == new.parameters.baseline {
        let moved = comparison.geometric_means(Some(&new.parameters.baseline));
        let far = moved.iter().any(|(_, mean)| (mean - 1.0).abs() * 100.0 > how.bounds.threshold);
        if far {
            writeln!(
                output,
                "The baseline itself moved ({} {}): the machine gave both runs different speeds. \
                 `--by speedup` compares what that leaves.",
                new.parameters.baseline,
                means(Some(&new.parameters.baseline))
            )?;
        }
    }
    let regressions: Vec<&Pair<'_>> = comparison.regressions(how.bounds.threshold / 100.0).collect();
    if regressions.is_empty() {
        writeln!(output, "No cell is slower by more than {} % beyond its interval.", how.bounds.threshold)?;
        return Ok(true);
    }
    writeln!(output, "Slower by more than {} % beyond the interval:", how.bounds.threshold)?;
    for pair in regressions {
        let ratio = pair.ratio.map_or(f64::NAN, |ratio| ratio.median);
        writeln!(output, "  {} {}: {ratio:.3}", pair.new.situation(), pair.new.contender)?;
    }
    Ok(false)
}
