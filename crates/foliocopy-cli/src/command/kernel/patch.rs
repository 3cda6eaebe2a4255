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
use foliocopy_measure::text::{harmless, harmless_lines};

use super::module;
use crate::exit::Exit;
use crate::interrupt::{self, Interrupt};
use crate::printer;

const ENGINE: &str = "foliocopy";
const LIVEPATCH: &str = "foliocopy_livepatch";

/// Where the kernel shows livepatches.
const LIVEPATCHES: &str = "/sys/kernel/livepatch";

/// Tasks are named from here on: most transitions are over by then.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many tasks are named.
const NAMED: usize = 5;

/// What `foliocopy kernel patch` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Load the livepatch and wait until every task runs it; nothing is left of it where that fails
    On(Transition),
    /// Give every task the kernel's own functions back, and unload the livepatch
    Off(Transition),
    /// Show whether the kernel is patched, by which method it copies, and what was copied
    Status,
    /// Choose how the patched functions copy, to compare both in one boot
    Method {
        /// Who copies
        method: Method,
    },
}

/// Who copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Method {
    /// As foliocopy's policy has it
    Foliocopy,
    /// Page by page, as the kernel's own functions
    Stock,
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
    /// Who wants no long way there gets the way back all the same.
    fn time_to_go_back(&self) -> Duration {
        self.timeout.max(Duration::from_secs(60))
    }
}

/// What is said to whoever interrupts twice.
const PUT_BACK: &str = "the kernel is being put back as it was";

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::On(transition) => on(&transition),
        Command::Off(transition) => off(&transition),
        Command::Status => status(),
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

fn on(args: &Transition) -> Result<ExitCode> {
    check_machine()?;
    if state()? == State::On {
        printer::line("the kernel is patched already")?;
        return Ok(Exit::Good.into());
    }
    let others = other_livepatches();
    if !others.is_empty() {
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
    // As it was found. Going back has the tasks that have not come along already.
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
    if state()? == State::Off {
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

/// What this takes of the kernel and of whoever runs it.
fn check_machine() -> Result<()> {
    ensure!(
        Path::new(LIVEPATCHES).exists(),
        "this kernel has no livepatching (CONFIG_LIVEPATCH): {LIVEPATCHES} is missing"
    );
    ensure!(rustix::process::geteuid().is_root(), "patching the kernel needs root");
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Off,
    TurningOn,
    On,
    TurningOff,
}

fn state() -> Result<State> {
    let patch = Path::new(LIVEPATCHES).join(LIVEPATCH);
    let read = |name: &str| match fs::read_to_string(patch.join(name)) {
        Ok(text) => Ok(Some(text.trim() == "1")),
        // It vanishes as a whole, at any moment of its last transition.
        Err(_) if !patch.exists() => Ok(None),
        Err(error) => Err(error).with_context(|| format!("can't read {}", patch.join(name).display())),
    };
    Ok(match (read("enabled")?, read("transition")?) {
        (None, _) | (_, None) => State::Off,
        (Some(true), Some(false)) => State::On,
        (Some(true), Some(true)) => State::TurningOn,
        (Some(false), _) => State::TurningOff,
    })
}

fn enable(on: bool) -> Result<()> {
    let file = Path::new(LIVEPATCHES).join(LIVEPATCH).join("enabled");
    fs::write(&file, if on { "1" } else { "0" }).with_context(|| format!("can't write {}", file.display()))
}

/// Waits until the kernel is there, and shows who is behind. Nothing interrupts the way back.
fn wait(timeout: Duration, interrupt: Option<&Interrupt>, aim: State) -> Result<Ended> {
    let started = Instant::now();
    let mut shown = String::new();
    while state()? != aim {
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

/// A task that has not switched yet.
struct Task {
    id: u32,
    name: String,
}

/// Tasks whose patch state is not the one aimed at (`/proc/PID/patch_state`: 0 unpatched, 1 patched, -1 where no
/// transition runs).
fn tasks_behind() -> Vec<Task> {
    let aim = match state() {
        Ok(State::TurningOn) => "1",
        Ok(State::TurningOff) => "0",
        _ => return Vec::new(),
    };
    let entries = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
    let number = |entry: &fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let mut behind = Vec::new();
    for process in entries("/proc".into()).filter(|entry| number(entry).is_some()) {
        for thread in entries(process.path().join("task")) {
            let read = |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            let patch_state = read("patch_state");
            if let Some(id) = number(&thread)
                && !["", "-1", aim].contains(&patch_state.trim())
            {
                behind.push(Task { id, name: read("comm").trim().to_owned() });
            }
        }
    }
    behind
}

/// The first of them by name, and how many there are.
fn describe(tasks: &[Task]) -> String {
    let named: Vec<String> =
        tasks.iter().take(NAMED).map(|task| format!("{} ({})", harmless(&task.name), task.id)).collect();
    match tasks.len() {
        0 => "tasks that are just switching".to_owned(),
        1 => format!("1 task: {}", named[0]),
        count if count > NAMED => format!("{count} tasks, such as {}", named.join(", ")),
        count => format!("{count} tasks: {}", named.join(", ")),
    }
}

fn other_livepatches() -> Vec<String> {
    let entries = fs::read_dir(LIVEPATCHES).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name != LIVEPATCH).map(|name| harmless(&name).into_owned()).collect()
}

fn parameter(module: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/sys/module/{module}/parameters/{name}")).ok()?;
    Some(harmless(text.trim()).into_owned())
}

fn set_method(method: Method) -> Result<ExitCode> {
    ensure!(module::is_loaded(LIVEPATCH), "the kernel is not patched: `foliocopy kernel patch on` first");
    let name = method.to_possible_value().expect("no method is skipped");
    let file = format!("/sys/module/{LIVEPATCH}/parameters/method");
    fs::write(&file, name.get_name()).with_context(|| format!("can't write {file}: this needs root"))?;
    Ok(Exit::Good.into())
}

fn status() -> Result<ExitCode> {
    if !Path::new(LIVEPATCHES).exists() {
        printer::line("livepatch:         this kernel has no livepatching (CONFIG_LIVEPATCH)")?;
        return Ok(Exit::Good.into());
    }
    let text = match state()? {
        State::Off => "off".to_owned(),
        State::On => "on".to_owned(),
        State::TurningOn => format!("turning on, behind are {}", describe(&tasks_behind())),
        State::TurningOff => format!("turning off, behind are {}", describe(&tasks_behind())),
    };
    printer::line(format_args!("livepatch:         {text}"))?;
    let shown = [
        ("method:", parameter(LIVEPATCH, "method")),
        ("nontemporal nodes:", parameter(ENGINE, "nontemporal_nodes")),
    ];
    for (name, value) in shown {
        if let Some(value) = value {
            printer::line(format_args!("{name:<19}{value}"))?;
        }
    }
    let others = other_livepatches();
    if !others.is_empty() {
        printer::line(format_args!("other livepatches: {}", others.join(", ")))?;
    }
    match fs::read_to_string("/sys/kernel/debug/foliocopy/counters") {
        Ok(counters) => printer::print(format!("counters:\n{}", indented(&counters)))?,
        Err(_) if module::is_loaded(ENGINE) => {
            printer::line("counters:          in debugfs, which only root may read")?;
        }
        Err(_) => {}
    }
    Ok(Exit::Good.into())
}

fn indented(text: &str) -> String {
    harmless_lines(text).lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_tasks_are_named_and_many_counted() {
        let tasks = |count: u32| (0..count).map(|id| Task { id, name: "kworker".into() }).collect::<Vec<_>>();
        assert_eq!(describe(&tasks(1)), "1 task: kworker (0)");
        assert_eq!(describe(&tasks(2)), "2 tasks: kworker (0), kworker (1)");
        assert!(describe(&tasks(9)).starts_with("9 tasks, such as kworker (0), "));
        assert_eq!(describe(&tasks(9)).matches("kworker").count(), NAMED);
    }
}
