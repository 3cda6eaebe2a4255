//! `foliocopy tune`: finds the rows by which copies are fastest on this CPU, and writes them as a profile.

mod undecided;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use foliocopy::profile::{PROFILE_VERSION, ProfiledCpu};
use foliocopy::{Caches, Cpu, Locality, Policy, Profile, Registers, Step, Vendor};
use foliocopy_measure::contender::step_name;
use foliocopy_measure::environment;
use foliocopy_measure::result::{self, Results};
use foliocopy_measure::survey::{Samples, Scope};
use foliocopy_measure::text::shown;
use foliocopy_measure::tune::{self, Tuned};

use crate::budget;
use crate::command::kernel::NO_MODULE;
use crate::command::survey::{EMULATED, How};
use crate::exit::Exit;
use crate::header;
use crate::output_file::OutputFile;
use crate::printer::{self, Printer};
use crate::wrap::paragraph;
use crate::{profile, row_source, shares};

/// Arguments of `foliocopy tune`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the profile to FILE (`-` for standard output) [default: foliocopy/profile.toml in $XDG_CONFIG_HOME or
    /// ~/.config]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite a profile that exists
    #[arg(long)]
    force: bool,
    /// About how long to measure, such as 90s or 5m
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = budget::parse)]
    time: Duration,
    /// Measure nothing, and decide by a survey, of this CPU or of another
    #[arg(long, value_name = "FILE", conflicts_with_all = ["time", "cpu", "mask", "evict", "seed"])]
    from: Option<PathBuf>,
    /// Print instead of writing a profile
    #[arg(long, value_enum, value_name = "FORM")]
    emit: Option<Emit>,
    /// Measure nothing, and emit the tables of this profile
    #[arg(long, value_name = "FILE", requires = "emit", conflicts_with_all = ["output", "force", "from"])]
    profile: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

/// `--emit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Emit {
    /// The parameters of the module foliocopy.ko, as modprobe.d(5) takes them
    Kernel,
    /// The source of a file in crates/foliocopy/src/tuning
    Row,
}

impl Emit {
    fn text(self, profile: &Profile, name: &str) -> Result<String> {
        match self {
            Self::Kernel if profiled(&profile.cpu).is_aarch64() => bail!(NO_MODULE),
            Self::Kernel => module_parameters(profile),
            Self::Row => Ok(row_source::source(name, &profile.process, &profile.kernel)),
        }
    }
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    // What replaces a profile is not measured by one.
    // SAFETY: the program has no other thread yet.
    unsafe { env::set_var(profile::VARIABLE, "none") };
    let emitted = Printer { to_standard_error: false, quiet: false };
    if let (Some(file), Some(emit)) = (&args.profile, args.emit) {
        let profile = profile::read(file)?;
        let name = profile.cpu.model_name.clone();
        emitted.result(&emit.text(&profile, &name)?)?;
        return Ok(Exit::Good.into());
    }
    let survey = args.from.as_deref().map(read).transpose()?;
    let is_foreign = survey.as_ref().is_some_and(|survey| !is_here(survey));
    let output = output(&args, is_foreign)?;
    let to_standard_error =
        args.emit.is_some() || output.as_ref().is_some_and(|(_, file)| file.is_standard_output());
    let printer = Printer { to_standard_error, quiet: args.how.quiet };
    let (results, cpu, kernel) = match survey {
        Some(survey) => {
            args.how.allows(&survey.environment)?;
            let identity = &survey.environment.cpu;
            let (cpu, kernel) = (environment::described(identity), environment::described_kernel(identity));
            (survey, cpu, kernel)
        }
        None => {
            let ready = args.how.prepare(Scope::Brief, args.time)?;
            let results = ready.measure("tune", &printer)?;
            if !results.complete {
                printer::note("interrupted: half a measurement decides nothing, so nothing was written");
                return Ok(Exit::Interrupted.into());
            }
            (results, ready.settings.cpu, ready.settings.kernel)
        }
    };
    let tuned = tune::tune(&Samples::of(&results.cells), cpu, kernel)?;
    let time = results.parameters.time_seconds.map(Duration::try_from_secs_f64).and_then(Result::ok);
    let found = found(&tuned, cpu, kernel, time.unwrap_or(args.time));
    let found = match results.environment.emulated {
        true => found.map(|_| EMULATED.to_owned()),
        false => found,
    };
    let profile = profile(tuned, cpu, results);
    // The profile is saved before anything is shown.
    let written = match output {
        Some((path, output)) => {
            output.keep(profile.to_string().as_bytes()).map(|()| how_to_use(&path, is_foreign, cpu))
        }
        None => Ok(String::new()),
    };
    printer.result(&found?)?;
    if let Some(emit) = args.emit {
        let name = match cpu.microarchitecture().name() {
            "unknown" => profile.cpu.model_name.as_str(),
            name => name,
        };
        emitted.result(&emit.text(&profile, name)?)?;
    }
    printer.aside(&written?)?;
    Ok(Exit::Good.into())
}

/// Reads a survey, or the results of anything that has its cells.
fn read(file: &Path) -> Result<Results> {
    let results = result::read(file)?;
    ensure!(
        results.command == "survey",
        "`{}` holds the results of `foliocopy {}`, and not of `foliocopy survey`",
        shown(file),
        results.command
    );
    ensure!(
        results.complete,
        "`{}` holds a survey that was interrupted, which is too little to decide by: make another one",
        shown(file)
    );
    Ok(results)
}

/// Whether results are of this CPU.
fn is_here(results: &Results) -> bool {
    let (then, now) = (environment::described(&results.environment.cpu), *Policy::host().cpu());
    let identity = |cpu: &Cpu| (cpu.vendor(), cpu.family(), cpu.model(), cpu.stepping());
    identity(&then) == identity(&now)
}

/// The profile's file, proved writable. None if it is only to be emitted.
fn output(args: &Args, is_foreign: bool) -> Result<Option<(PathBuf, OutputFile)>> {
    let path = match (&args.output, args.emit) {
        (Some(path), _) => path.clone(),
        (None, Some(_)) => return Ok(None),
        (None, None) if is_foreign => {
            bail!(
                "the survey is of another CPU, so its profile is of no use here: name a file with --output, or use --emit"
            )
        }
        (None, None) => {
            let path = profile::default_path().context(
                "neither XDG_CONFIG_HOME nor HOME says where profiles lie: name a file with --output",
            )?;
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).with_context(|| format!("can't make `{}`", shown(folder)))?;
            }
            path
        }
    };
    let file = OutputFile::create(&path, args.force)?;
    ensure!(
        args.emit.is_none() || !file.is_standard_output(),
        "--emit prints to standard output, so the profile needs a file of its own: --output FILE"
    );
    Ok(Some((path, file)))
}

fn profile(tuned: Tuned, cpu: Cpu, results: Results) -> Profile {
    let emulated = results.environment.emulated;
    Profile {
        version: PROFILE_VERSION,
        program: crate::PROGRAM.to_owned(),
        measured: results.started,
        cpu: ProfiledCpu {
            vendor: cpu.vendor().name().to_owned(),
            family: cpu.family(),
            model: cpu.model(),
            stepping: cpu.stepping(),
            features: cpu.features(),
            model_name: results.environment.cpu.model_name + if emulated { " (emulated)" } else { "" },
            microcode: results.environment.cpu.microcode,
        },
        process: tuned.process,
        kernel: tuned.kernel,
        gains: if emulated { vec![] } else { tuned.gains },
        evidence: tuned.evidence,
    }
}

/// The tables that were found, beside the built-in ones.
fn found(tuned: &Tuned, cpu: Cpu, kernel: Cpu, time: Duration) -> Result<String> {
    let mut text = shares::table(&[("built in", &tuned.built_in), ("profile", &tuned.tuned)]);
    let module = ("in a kernel", kernel, Registers::GeneralPurpose, &tuned.kernel);
    for (place, cpu, registers, row) in [("in a process", cpu, Registers::Vector, &tuned.process)]
        .into_iter()
        .chain((!cpu.is_aarch64()).then_some(module))
    {
        let built_in = environment::tables(&Policy::new(cpu, registers));
        let tuned = environment::tables(&Policy::with_row(cpu, registers, row)?);
        let _ = match built_in.bands == tuned.bands {
            true => writeln!(text, "\n{place}: as built in ({})", built_in.source),
            false => write!(text, "\n{place}:\n{}", header::tables(&tuned, None)),
        };
    }
    if !tuned.gains.is_empty() {
        let _ = write!(
            text,
            "\nThe profile's speed-up over the built-in tables, where they differ:\n{}",
            profile::gains(&tuned.gains)
        );
    }
    if !tuned.undecided.is_empty() {
        let _ = write!(text, "\n{}", undecided::lines(&tuned.undecided, time));
    }
    Ok(text)
}

fn how_to_use(path: &Path, is_foreign: bool, cpu: Cpu) -> String {
    if path == Path::new("-") || is_foreign {
        return String::new();
    }
    let usual = profile::default_path().is_some_and(|usual| usual == path);
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let path = shown(&path);
    let used = match usual {
        true => "Every program of yours that copies with foliocopy goes by it from now on.".to_owned(),
        false => format!("`export {}={path}` lets programs copy by it.", profile::VARIABLE),
    };
    let module = match cpu.is_aarch64() {
        true => String::new(),
        false => {
            format!(" `foliocopy tune --emit kernel --profile {path}` prints the kernel module's tables.")
        }
    };
    let used = paragraph(&format!("{used} `foliocopy info` shows it.{module}"));
    format!("\nwritten to {path}\n{used}")
}

/// The lines of a file in /etc/modprobe.d: every table of the module, with its limits, primitives and distances.
fn module_parameters(profile: &Profile) -> Result<String> {
    let Profile { program, cpu, measured, kernel, .. } = profile;
    let mut text = format!(
        "# {program} on {} (family {:#x} model {:#x} stepping {}), {measured}\n",
        cpu.model_name, cpu.family, cpu.model, cpu.stepping
    );
    let built_in = Policy::new(profiled(cpu), Registers::GeneralPurpose);
    // The module knows no last-level cache, and neither does this CPU: a band up to its size is the last one of both.
    let tuned = Policy::with_row(profiled(cpu), Registers::GeneralPurpose, kernel)?;
    let mut options = "options foliocopy".to_owned();
    for (locality, parameter) in [
        (Locality::Temporal, "table_temporal"),
        (Locality::NonTemporal, "table_nontemporal"),
        (Locality::Auto, "table_sampling"),
    ] {
        if tuned.bands(locality).eq(built_in.bands(locality)) {
            let _ = writeln!(text, "# {parameter}: as built in");
        }
        let bands: Vec<String> = tuned.bands(locality).map(band).collect();
        let _ = write!(options, " {parameter}={}", bands.join(","));
    }
    Ok(format!("{text}{options}\n"))
}

/// Such as `60K:movnti@1024`, as the module takes it.
fn band((up_to, step): (usize, Step)) -> String {
    let step = step_name(step);
    let step = step.strip_suffix("@0").unwrap_or(&step);
    match up_to {
        usize::MAX => step.to_owned(),
        bytes => format!("{}K:{step}", bytes >> 10),
    }
}

/// The CPU of a profile.
fn profiled(cpu: &ProfiledCpu) -> Cpu {
    let vendor = *Vendor::ALL.iter().find(|vendor| vendor.name() == cpu.vendor).unwrap_or(&Vendor::Other);
    Cpu::foreign(vendor, [cpu.family, cpu.model, cpu.stepping], cpu.features, Caches::default())
}
