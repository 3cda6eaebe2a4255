//! `foliocopy tune`: measures this CPU and writes what it found as a profile.

mod undecided;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use foliocopy::profile::{PROFILE_VERSION, ProfiledCpu};
use foliocopy::{Decisions, Policy, Profile, Registers};
use foliocopy_measure::latency::TimeStampCounter;
use foliocopy_measure::result::Environment;
use foliocopy_measure::size::Size;
use foliocopy_measure::topology::Topology;
use foliocopy_measure::tune::{self, Settings, TuneError};
use foliocopy_measure::warning::Warning;
use foliocopy_measure::{affinity, environment, eviction};

use crate::budget;
use crate::exit::Exit;
use crate::header;
use crate::interrupt::Interrupt;
use crate::output_file::OutputFile;
use crate::printer::{self, Printer};
use crate::profile;
use crate::progress::Progress;

/// What `foliocopy tune` takes.
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
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = budget::parse)]
    time: Duration,
    /// Print instead of writing a profile: the parameters of the kernel module, as modprobe.d(5) takes them
    #[arg(long, value_enum, value_name = "FORM")]
    emit: Option<Emit>,
    /// Measure nothing, and emit what this profile says
    #[arg(long, value_name = "FILE", requires = "emit", conflicts_with_all = ["output", "force"])]
    profile: Option<PathBuf>,
    /// The CPU to copy on [default: the last that is allowed]
    #[arg(long, value_name = "N")]
    cpu: Option<u32>,
    /// Bytes streamed through the caches before each cold run [default: 128M, or 4 times the last-level cache if larger]
    #[arg(long, value_name = "SIZE")]
    evict: Option<Size>,
    /// Seed of all that is shuffled and resampled [default: another each time]
    #[arg(long)]
    seed: Option<u32>,
    /// Print neither the machine nor warnings
    #[arg(long, short)]
    quiet: bool,
}

/// `--emit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Emit {
    /// The parameters of the module foliocopy.ko
    Kernel,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    // What replaces a profile must not be measured by one, nor refused for one.
    // SAFETY: the program has no other thread yet.
    unsafe { env::remove_var(profile::VARIABLE) };
    ensure!(
        env::var_os("FOLIOCOPY_PRIMITIVE").is_none_or(|value| value.is_empty()),
        "FOLIOCOPY_PRIMITIVE names one primitive for everything, so there is nothing to tune: unset it"
    );
    let policy = Policy::host()?;
    if let Some(file) = &args.profile {
        let profile = Profile::read(file)?;
        policy.with_profile(&profile)?;
        Printer { to_standard_error: false, quiet: false }.result(&module_parameters(&profile))?;
        return Ok(Exit::Good.into());
    }
    let environment = environment::detect()?;
    ensure!(!environment.emulated, "the CPU is emulated: its timings say nothing of copies");
    let cpu = cpu(args.cpu)?;
    affinity::pin(cpu).with_context(|| format!("can't stay on CPU {cpu}"))?;
    let output = output(&args)?;
    let last_level_cache = Topology::detect().last_level_cache();
    let evict = args.evict.map_or_else(|| eviction::default_bytes(last_level_cache), |size| size.0);
    let settings = Settings {
        cpu: *policy.cpu(),
        time: args.time,
        evict_bytes: usize::try_from(evict).context("--evict exceeds the address space")?,
        cold_run_bytes: eviction::cold_run_bytes(last_level_cache),
        seed: u64::from(args.seed.unwrap_or_else(|| fastrand::u32(..))),
        counter: TimeStampCounter::detect(),
    };
    let to_standard_error =
        args.emit.is_some() || output.as_ref().is_some_and(|(path, _)| path == Path::new("-"));
    let printer = Printer { to_standard_error, quiet: args.quiet };
    printer.aside(&format!("{}\n", header::environment(&environment)))?;
    printer.warn(&Warning::about_environment(&environment, settings.counter))?;

    let interrupt = Interrupt::catch().context("can't catch signals")?;
    let started = SystemTime::now();
    let mut progress = Progress::new(tune::CASES, args.quiet, interrupt);
    let tuned = tune::tune(&settings, &mut progress);
    progress.finish();
    let tuned = match tuned {
        Err(TuneError::Interrupted) => {
            printer::note("interrupted: half a measurement decides nothing, so nothing was written");
            return Ok(Exit::Interrupted.into());
        }
        tuned => tuned?,
    };
    let profile = Profile {
        version: PROFILE_VERSION,
        program: crate::PROGRAM.to_owned(),
        measured: humantime::format_rfc3339_seconds(started).to_string(),
        cpu: profiled(&policy, &environment),
        process: tuned.process,
        kernel: tuned.kernel,
        gains: tuned.gains,
        evidence: tuned.evidence,
    };
    printer.result(&found(&profile, &policy, args.time))?;
    if args.emit == Some(Emit::Kernel) {
        Printer { to_standard_error: false, quiet: false }.result(&module_parameters(&profile))?;
    }
    if let Some((path, output)) = output {
        output.write(profile.to_string().as_bytes())?;
        printer.aside(&how_to_use(&path))?;
    }
    Ok(Exit::Good.into())
}

/// The CPU asked for, or the last that is allowed: CPU 0 serves most interrupts.
fn cpu(asked: Option<u32>) -> Result<u32> {
    let allowed = affinity::allowed_cpus().context("can't find out which CPUs are allowed")?;
    let cpu = asked.or(allowed.last().copied()).context("this process may run on no CPU")?;
    let known = || allowed.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    ensure!(allowed.contains(&cpu), "CPU {cpu} can't be used: this process may run on {}", known());
    Ok(cpu)
}

/// Where the profile goes, proved writable: nowhere if it is only to be emitted.
fn output(args: &Args) -> Result<Option<(PathBuf, OutputFile)>> {
    let path = match (&args.output, args.emit) {
        (Some(path), _) if path == Path::new("-") && args.emit.is_some() => {
            bail!("--emit prints to standard output, so the profile needs a file of its own: --output FILE")
        }
        (Some(path), _) => path.clone(),
        (None, Some(_)) => return Ok(None),
        (None, None) => {
            let path = profile::default_path().context(
                "neither XDG_CONFIG_HOME nor HOME says where profiles lie: name a file with --output",
            )?;
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).with_context(|| format!("can't make `{}`", folder.display()))?;
            }
            path
        }
    };
    let file = OutputFile::create(&path, args.force)?;
    Ok(Some((path, file)))
}

fn profiled(policy: &Policy, environment: &Environment) -> ProfiledCpu {
    let cpu = policy.cpu();
    ProfiledCpu {
        vendor: cpu.vendor.name().to_owned(),
        family: cpu.family,
        model: cpu.model,
        stepping: cpu.stepping,
        features: cpu.features,
        model_name: environment.cpu.model_name.clone(),
        microcode: environment.cpu.microcode.clone(),
    }
}

/// What was found, beside what is built in.
fn found(profile: &Profile, policy: &Policy, time: Duration) -> String {
    let kernel = Policy::new(*policy.cpu(), Registers::GeneralPurpose);
    let built_in = [("in a process", *policy.decisions()), ("in a kernel", *kernel.decisions())];
    let mut text = String::new();
    for ((place, built_in), tuned) in built_in.into_iter().zip([profile.process, profile.kernel]) {
        let _ = writeln!(text, "{place}:\n{}", profile::beside(&built_in, &tuned));
    }
    let undecided = undecided::lines(&profile.evidence, time);
    match undecided.is_empty() {
        true => text + &profile::help(profile, policy),
        false if profile.process == *policy.decisions() => {
            text + &undecided + "What is undecided stays as it is built in.\n"
        }
        false => text + &undecided + &profile::help(profile, policy),
    }
}

fn how_to_use(path: &Path) -> String {
    if path == Path::new("-") {
        return String::new();
    }
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let path = path.display();
    format!(
        "\nwritten to {path}\n`export {}={path}` lets programs copy by it, `foliocopy info` holds it against what is built in,\n\
         `foliocopy tune --emit kernel --profile {path}` tells the kernel module.\n",
        profile::VARIABLE
    )
}

/// A line for a file in /etc/modprobe.d. The module has no parameters for distances and thresholds.
fn module_parameters(profile: &Profile) -> String {
    let Profile { program, cpu, measured, kernel, .. } = profile;
    let Decisions { temporal, non_temporal, .. } = kernel;
    format!(
        "# {program} on {} (family {:#x} model {:#x} stepping {}), {measured}\n\
         # {non_temporal} was measured prefetching {}; the module prefetches as is built in.\n\
         options foliocopy primitive_temporal={temporal} primitive_nontemporal={non_temporal}\n",
        cpu.model_name,
        cpu.family,
        cpu.model,
        cpu.stepping,
        profile::prefetching(kernel)
    )
}
