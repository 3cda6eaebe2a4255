//! `foliocopy kernel patch`: the livepatch, on and off.
//!
//! The kernel moves task by task to the patched functions or back
//! (Documentation/livepatch/livepatch.rst, "Consistency model"); until the last is there, the transition can be reversed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Subcommand, ValueEnum};
use serde::Serialize;

use super::debugfs::{self, Counters, ENGINE};
use super::livepatch::{LIVEPATCH, LIVEPATCHES, Livepatch, Other, State, describe, others, tasks_behind};
use super::{module, status};
use crate::exit::Exit;
use crate::interrupt::{self, Interrupt};
use crate::printer;

/// Tasks are named from here on: most transitions are over by then.
const PATIENCE: Duration = Duration::from_secs(2);

/// Arguments of `foliocopy kernel patch`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Load the livepatch and wait until every task runs it; nothing is left of it where that fails
    On(On),
    /// Give every task the kernel's own functions back, and unload the livepatch
    Off(Transition),
    /// Show whether the kernel is patched, by which method it copies, and what was copied; exit code 0 where it is patched,
    /// 3 where it is not, 4 where tasks are still switching
    Status(StatusArgs),
    /// Choose how the patched functions copy, to compare both in one boot
    Method {
        /// The method
        method: Method,
    },
}

/// The methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Method {
    /// By foliocopy's policy
    Foliocopy,
    /// Page by page, as the kernel's own functions
    Stock,
}

#[derive(clap::Args)]
struct On {
    #[command(flatten)]
    transition: Transition,
    /// Patch also where another livepatch replaces one of the functions: the one that was loaded last wins
    #[arg(long)]
    on_top: bool,
}

#[derive(clap::Args)]
struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Transition {
    /// How long to wait for every task before going back
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// The folder that has foliocopy.ko and foliocopy_livepatch.ko [default: as modprobe finds them]
    #[arg(long, value_name = "DIRECTORY")]
    modules: Option<PathBuf>,
}

impl Transition {
    /// A short time limit for the way there is none for the way back.
    fn time_to_go_back(&self) -> Duration {
        self.timeout.max(Duration::from_secs(60))
    }
}

/// The answer to a second interrupt.
const PUT_BACK: &str = "the kernel is being put back as it was";

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::On(args) => on(&args.transition, args.on_top),
        Command::Off(transition) => off(&transition),
        Command::Status(args) => show(&args),
        Command::Method { method } => set_method(method),
    }
}

/// How a transition ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Done,
    Late,
    Interrupted,
}

fn on(args: &Transition, on_top: bool) -> Result<ExitCode> {
    check_machine()?;
    if State::detect()? == State::On {
        printer::line("the kernel is patched already")?;
        return Ok(Exit::Good.into());
    }
    let others = others();
    if let Some(rival) = others.iter().find(|other| !on_top && !other.functions.is_empty()) {
        bail!(
            "the livepatch {name} replaces {} already, and ours would undo what it mends: take it off \
             (`echo 0 > {LIVEPATCHES}/{name}/enabled`), or, where it need not count, add --on-top",
            rival.functions(),
            name = rival.name
        );
    }
    if !others.is_empty() {
        let others: Vec<String> = others.iter().map(Other::to_string).collect();
        printer::note(format_args!("note: other livepatches are there: {}", others.join(", ")));
    }
    let interrupt = Interrupt::catch()?;
    let _whole = interrupt::hold(PUT_BACK);
    let loaded_engine = module::load(ENGINE, args.modules.as_deref())?;
    if let Err(error) = module::load(LIVEPATCH, args.modules.as_deref()) {
        if loaded_engine {
            module::unload(ENGINE)?;
        }
        return Err(error);
    }
    let ended = wait(args.timeout, Some(&interrupt), State::On)?;
    if ended == Ended::Done {
        printer::line("folio_copy() and folio_mc_copy() are foliocopy's")?;
        return Ok(Exit::Good.into());
    }
    // The kernel as it was found. Tasks that have not switched yet stay there.
    let waiting = describe(&tasks_behind());
    enable(false)?;
    ensure!(
        wait(args.time_to_go_back(), None, State::Off)? == Ended::Done,
        "the kernel neither took the livepatch nor let it go yet; `foliocopy kernel patch off` goes on with that"
    );
    module::unload(LIVEPATCH)?;
    if loaded_engine {
        module::unload(ENGINE)?;
    }
    if ended == Ended::Interrupted {
        printer::note("interrupted: the kernel is as it was");
        return Ok(Exit::Interrupted.into());
    }
    bail!(
        "not every task took the livepatch within {:?}, so the kernel is as it was; behind were {waiting}",
        args.timeout
    )
}

fn off(args: &Transition) -> Result<ExitCode> {
    check_machine()?;
    if State::detect()? == State::Off {
        // Its transition may be over without anybody having unloaded it.
        module::unload(LIVEPATCH)?;
        printer::line("the kernel is not patched")?;
        return Ok(Exit::Good.into());
    }
    let interrupt = Interrupt::catch()?;
    let _whole = interrupt::hold(PUT_BACK);
    enable(false)?;
    let ended = wait(args.timeout, Some(&interrupt), State::Off)?;
    if ended == Ended::Done {
        module::unload(LIVEPATCH)?;
        printer::line(format_args!(
            "folio_copy() and folio_mc_copy() are the kernel's own; {ENGINE}.ko stays loaded and does nothing"
        ))?;
        return Ok(Exit::Good.into());
    }
    let waiting = describe(&tasks_behind());
    enable(true)?;
    ensure!(
        wait(args.time_to_go_back(), None, State::On)? == Ended::Done,
        "the kernel is between both: run `foliocopy kernel patch off` again"
    );
    if ended == Ended::Interrupted {
        printer::note("interrupted: the kernel is patched as before");
        return Ok(Exit::Interrupted.into());
    }
    bail!(
        "not every task left the livepatch within {:?}, so it is on as before; behind were {waiting}",
        args.timeout
    )
}

/// The parts of the kernel and of the user interface that a transition needs.
fn check_machine() -> Result<()> {
    ensure!(
        Path::new(LIVEPATCHES).exists(),
        "this kernel has no livepatching (CONFIG_LIVEPATCH): {LIVEPATCHES} is missing"
    );
    ensure!(rustix::process::geteuid().is_root(), "patching the kernel needs root");
    Ok(())
}

fn enable(on: bool) -> Result<()> {
    let file = Path::new(LIVEPATCHES).join(LIVEPATCH).join("enabled");
    fs::write(&file, if on { "1" } else { "0" }).with_context(|| format!("can't write {}", file.display()))
}

/// Waits until the transition ends, and names the tasks that are behind. Nothing interrupts the way back.
fn wait(timeout: Duration, interrupt: Option<&Interrupt>, aim: State) -> Result<Ended> {
    let started = Instant::now();
    let mut shown = String::new();
    while State::detect()? != aim {
        if interrupt.is_some_and(Interrupt::is_set) {
            return Ok(Ended::Interrupted);
        }
        if started.elapsed() >= timeout {
            return Ok(Ended::Late);
        }
        if started.elapsed() >= PATIENCE {
            let waiting = describe(&tasks_behind());
            if waiting != shown {
                printer::note(format_args!("{:3} s: waiting for {waiting}", started.elapsed().as_secs()));
                shown = waiting;
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(Ended::Done)
}

fn set_method(method: Method) -> Result<ExitCode> {
    ensure!(module::is_loaded(LIVEPATCH), "the kernel is not patched: `foliocopy kernel patch on` first");
    let name = method.to_possible_value().expect("no method is skipped");
    let file = format!("/sys/module/{LIVEPATCH}/parameters/method");
    fs::write(&file, name.get_name()).with_context(|| format!("can't write {file}: this needs root"))?;
    Ok(Exit::Good.into())
}

/// All that is told.
#[derive(Serialize)]
struct Status {
    #[serde(flatten)]
    livepatch: Livepatch,
    /// Not there where the module is not loaded, or for others than root.
    counters: Option<Counters>,
}

/// Prints it. The exit code says whether the kernel is patched.
fn show(args: &StatusArgs) -> Result<ExitCode> {
    let counters = debugfs::folder().ok().map(|folder| Counters::read(&folder)).transpose()?;
    let told = Status { livepatch: Livepatch::detect()?, counters };
    let text = match &told.counters {
        _ if args.json => serde_json::to_string_pretty(&told)? + "\n",
        Some(counters) => format!("{}{}", told.livepatch, status::described("counters", counters)),
        None if module::is_loaded(ENGINE) => {
            format!("{}counters:          in debugfs, which only root may read\n", told.livepatch)
        }
        None => told.livepatch.to_string(),
    };
    printer::print(text)?;
    Ok(told.livepatch.state.exit().into())
}
