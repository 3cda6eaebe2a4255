//! The subcommands, a file each: `Args` has the arguments, `run` does the work.

pub(crate) mod bench;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod info;
pub(crate) mod kernel;
pub(crate) mod man;
pub(crate) mod migrate;
pub(crate) mod report;
pub(crate) mod reproduce;
pub(crate) mod roofline;
pub(crate) mod selftest;
pub(crate) mod survey;
pub(crate) mod tune;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, ExitCode, ExitStatus};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Subcommand;
use rustix::process::{Pid, Signal, kill_process};

use crate::interrupt::Interrupt;

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Find out which copy is fastest on this machine: the kernel's, the RFC's or foliocopy's
    Bench(Box<bench::Args>),
    /// Find out how fast this kernel moves pages between NUMA nodes, and what foliocopy gains there
    Migrate(migrate::Args),
    /// Check that copies on this CPU are right, and that they survive bad memory
    Selftest(selftest::Args),
    /// Show how foliocopy copies on this machine, and why
    Info(info::Args),
    /// Have the running kernel copy by foliocopy: check, measure, patch, undo
    Kernel(kernel::Args),
    /// Find out what became faster or slower between two results
    Compare(compare::Args),
    /// Make a page, charts or a mail of results
    Report(report::Args),
    /// Check the RFC's published figures on this machine
    Reproduce(reproduce::Args),
    /// Find out how fast copies can be at most on this machine's memory
    Roofline(roofline::Args),
    /// Measure every way to copy on this CPU, so that the next version has a table for it
    Survey(survey::Args),
    /// Make programs copy by a table that was measured on this very CPU
    Tune(tune::Args),
    /// Complete the words of foliocopy in a shell
    Completions(completions::Args),
    /// Write the manual pages of all commands
    Man(man::Args),
}

/// This program, to be started once more. It is found though its file has been replaced or removed since.
pub(crate) fn this_program() -> Result<PathBuf> {
    const THIS: &str = "/proc/self/exe";
    // This link names the parent until the child has become the program.
    fs::symlink_metadata(THIS).context("can't find this program itself: is /proc mounted?")?;
    Ok(THIS.into())
}

/// Waits for such a process, and passes an interruption on to it, once. Started in a process group of its own, it is out of the
/// terminal's reach, and told by this alone. Answers also whether it was told.
pub(crate) fn wait(
    child: &mut Child,
    interrupt: Option<&Interrupt>,
    mut meanwhile: impl FnMut(),
) -> Result<(ExitStatus, bool)> {
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait().context("can't wait for a part of the run")? {
            return Ok((status, told));
        }
        if interrupt.is_some_and(Interrupt::is_set) && !told {
            kill_process(Pid::from_child(child), Signal::INT).context("can't interrupt a part of the run")?;
            told = true;
        }
        meanwhile();
        thread::sleep(Duration::from_millis(100));
    }
}

impl Command {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self {
            Command::Bench(args) => bench::run(*args),
            Command::Migrate(args) => migrate::run(args),
            Command::Selftest(args) => selftest::run(args),
            Command::Info(args) => info::run(args),
            Command::Kernel(args) => kernel::run(args),
            Command::Compare(args) => compare::run(args),
            Command::Report(args) => report::run(args),
            Command::Reproduce(args) => reproduce::run(args),
            Command::Roofline(args) => roofline::run(args),
            Command::Survey(args) => survey::run(args),
            Command::Tune(args) => tune::run(args),
            Command::Completions(args) => completions::run(args),
            Command::Man(args) => man::run(args),
        }
    }
}
