//! `foliocopy survey`: everything that the tables of a CPU are decided by, in one file.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use foliocopy::{Policy, Registers};
use foliocopy_measure::activity::Activity;
use foliocopy_measure::bench::Outcome;
use foliocopy_measure::contender::Contender;
use foliocopy_measure::latency::TimeStampCounter;
use foliocopy_measure::memory::MemoryKind;
use foliocopy_measure::result::{self, Cell, Environment, Origin, Results, SCHEMA_VERSION};
use foliocopy_measure::size::Size;
use foliocopy_measure::survey::{self, Samples, Scope, Settings};
use foliocopy_measure::text::shown;
use foliocopy_measure::topology::Topology;
use foliocopy_measure::warning::Warning;
use foliocopy_measure::{affinity, environment, eviction};

use crate::budget;
use crate::exit::Exit;
use crate::header;
use crate::interrupt::Interrupt;
use crate::mask::MaskArg;
use crate::output_file::OutputFile;
use crate::printer::{self, Printer};
use crate::progress::Progress;
use crate::shares;
use crate::wrap::paragraph;

/// Arguments of `foliocopy survey`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the survey to FILE (`-` for standard output)
    #[arg(long, short, value_name = "FILE", default_value = "foliocopy-survey.json")]
    output: PathBuf,
    /// Overwrite a file that exists
    #[arg(long)]
    force: bool,
    /// About how long to measure, such as 90s or 5m
    #[arg(long, value_name = "DURATION", default_value = "8m", value_parser = budget::parse)]
    time: Duration,
    #[command(flatten)]
    how: How,
}

/// How a survey is made, for whatever reason.
#[derive(clap::Args)]
pub(crate) struct How {
    /// The CPU to copy on [default: the last that is allowed]
    #[arg(long, value_name = "N")]
    cpu: Option<u32>,
    #[command(flatten)]
    mask: MaskArg,
    /// Bytes streamed through the caches before each cold run [default: 128M, or 4 times the last-level cache if larger, 256M
    /// at most]
    #[arg(long, value_name = "SIZE")]
    evict: Option<Size>,
    /// Seed of all that is shuffled [default: another each time]
    #[arg(long)]
    seed: Option<u32>,
    /// Print neither the machine nor warnings
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Measure under emulation too. What comes of it says nothing of copies: it tests this program
    #[arg(long, hide = true)]
    pub(crate) emulated_anyway: bool,
}

/// A survey has a thousand cold runs, and a host may show a last-level cache of hundreds of megabytes. What is copied is flushed
/// anyway, so this much leaves time for enough rounds.
const MOST_EVICTED: u64 = 256 << 20;

/// What is shown of an emulator's timings.
pub(crate) const EMULATED: &str =
    "The CPU is emulated, so no shares are shown. Nobody can use what was measured.\n";

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let ready = args.how.prepare(Scope::Full, args.time)?;
    let output = OutputFile::create(&args.output, args.force)?;
    let to_standard_error = output.is_standard_output();
    let printer = Printer { to_standard_error, quiet: args.how.quiet };
    let mut results = ready.measure("survey", &printer)?;
    if results.cells.is_empty() {
        printer::note("interrupted before anything was measured: nothing was written");
        return Ok(Exit::Interrupted.into());
    }
    results.rate();
    let mut text = Vec::new();
    result::write_to(&results, &mut text)?;
    output.keep(&text)?;
    if !results.complete {
        printer::note("interrupted: the survey holds what was measured until then, too little to decide by");
        return Ok(Exit::Interrupted.into());
    }

    let samples = Samples::of(&results.cells);
    let process = Policy::new(ready.settings.cpu, Registers::Vector);
    let kernel = Policy::new(ready.settings.kernel, Registers::GeneralPurpose);
    let judged = survey::judge(&samples, &process, &kernel).map_err(anyhow::Error::msg)?;
    if results.environment.emulated {
        printer.result(EMULATED)?;
        return Ok(Exit::Good.into());
    }
    printer.result(&shares::table(&[(process.source().text(), &judged)]))?;
    if !to_standard_error {
        let file = shown(&args.output);
        let use_it = format!(
            "Send it to those who keep the tables (CONTRIBUTING.md), and the next version knows this CPU. \
             `foliocopy tune --from {file}` makes a profile of it. `foliocopy report {file} -o survey.html` shows it."
        );
        printer.aside(&format!("\nwritten to {file}\n{}", paragraph(&use_it)))?;
    }
    Ok(Exit::Good.into())
}

/// Everything that is needed to measure.
pub(crate) struct Ready {
    pub(crate) settings: Settings,
    environment: Environment,
    cpu: u32,
}

impl How {
    /// Detects the machine, and goes to the CPU to measure on.
    pub(crate) fn prepare(&self, scope: Scope, time: Duration) -> Result<Ready> {
        self.mask.apply(None);
        let environment = environment::detect()?;
        self.allows(&environment)?;
        let cpu = self.cpu()?;
        affinity::pin(cpu).with_context(|| format!("can't stay on CPU {cpu}"))?;
        let last_level_cache = Topology::detect().last_level_cache();
        let default = || eviction::default_bytes(last_level_cache).min(MOST_EVICTED);
        let evict = self.evict.map_or_else(default, |size| size.0);
        let settings = Settings {
            cpu: *Policy::host().cpu(),
            kernel: environment::as_the_kernel_sees(Policy::host().cpu()),
            scope,
            time,
            evict_bytes: usize::try_from(evict).context("--evict exceeds the address space")?,
            // No more is cold than was evicted.
            cold_run_bytes: eviction::cold_run_bytes(last_level_cache).min(evict.max(2 << 20)),
            last_level_cache,
            seed: u64::from(self.seed.unwrap_or_else(|| fastrand::u32(..))),
            counter: TimeStampCounter::detect(),
        };
        Ok(Ready { settings, environment, cpu })
    }

    /// An error where timings of an emulator would decide.
    pub(crate) fn allows(&self, environment: &Environment) -> Result<()> {
        ensure!(
            !environment.emulated || self.emulated_anyway,
            "the CPU is emulated: its timings say nothing of copies"
        );
        Ok(())
    }

    /// The CPU asked for, or the last that is allowed: CPU 0 serves most interrupts.
    fn cpu(&self) -> Result<u32> {
        let allowed = affinity::allowed_cpus().context("can't find out which CPUs are allowed")?;
        let cpu = self.cpu.or(allowed.last().copied()).context("this process may run on no CPU")?;
        let known = || allowed.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        ensure!(allowed.contains(&cpu), "CPU {cpu} can't be used: this process may run on {}", known());
        Ok(cpu)
    }
}

impl Ready {
    /// Measures, with the words before and after.
    pub(crate) fn measure(&self, command: &str, printer: &Printer) -> Result<Results> {
        let Self { settings, environment, cpu } = self;
        printer.aside(&format!("{}\n", header::environment(environment)))?;
        let before = Warning::about_environment(environment, settings.counter);
        printer.warn(&before)?;
        let interrupt = Interrupt::catch()?;
        let (started, clock, activity) = (SystemTime::now(), Instant::now(), Activity::start());
        let mut progress = Progress::new(settings.cases().len(), printer.quiet, interrupt);
        let measured = survey::measure(settings, &mut progress);
        progress.finish();
        let Outcome { cells, complete } = measured?;
        let shares = activity.and_then(|activity| activity.shares());
        let mut parameters = settings.parameters(*cpu);
        parameters.contenders = contenders(&cells);
        let mut results = Results {
            schema_version: SCHEMA_VERSION,
            program: crate::PROGRAM.to_owned(),
            command: command.to_owned(),
            origin: Origin::UserSpace,
            started: humantime::format_rfc3339_seconds(started).to_string(),
            elapsed_seconds: clock.elapsed().as_secs_f64(),
            complete,
            environment: environment.clone(),
            parameters,
            warnings: vec![],
            cells,
        };
        let mut after = shares.map(Warning::about_activity).unwrap_or_default();
        // Losers have few rounds, and should.
        let about_cells = Warning::about_cells(&results, MemoryKind::Thp);
        after.extend(about_cells.into_iter().filter(|warning| !matches!(warning, Warning::FewRounds { .. })));
        results.warnings = before.iter().chain(&after).map(ToString::to_string).collect();
        printer.warn(&after)?;
        Ok(results)
    }
}

/// The names in cells, in the order in which they first appear.
fn contenders(cells: &[Cell]) -> Vec<result::Contender> {
    let mut names: Vec<&str> = Vec::new();
    for cell in cells {
        if !names.contains(&cell.contender.as_str()) {
            names.push(&cell.contender);
        }
    }
    names.into_iter().filter_map(|name| Some(Contender::named(name).ok()?.describe())).collect()
}
