//! `foliocopy kernel run-all`, complete and interrupted.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::livepatch::{foliocopy, wait};
use super::{Ending, Scenario};
use crate::guest::Guest;
use crate::machine::Machine;

pub(super) const RUN_ALL: Scenario = Scenario {
    name: "run-all",
    proves: "`foliocopy kernel run-all` does every part, keeps what it has when it is interrupted, and leaves nothing loaded",
    machine: Machine::ERMS,
    limit: Duration::from_secs(300),
    ending: Ending::Verdict,
    run,
};

const RUN: [&str; 5] = ["kernel", "run-all", "--quick", "--modules", "/lib"];

fn run(guest: &Guest) -> Result<()> {
    foliocopy(&[&RUN[..], &["--output", "/tmp/all.json"]].concat())?;
    let file = guest.read("/tmp/all.json")?;
    let ended = |how: &str| file.matches(&format!("\"outcome\": \"{how}\"")).count();
    ensure!(ended("done") == 10, "{} of 10 parts are done: {file}", ended("done"));
    for text in [
        "\"complete\": true",
        // From both measurements, and of both methods.
        "\"command\": \"kernel bench\"",
        "\"command\": \"migrate\"",
        "\"contender\": \"stock\"",
        "\"contender\": \"foliocopy\"",
        // From the self-test.
        " checks, 0 failures",
        // From the status before, and from the one in the middle.
        "\"state\": \"off\"",
        "\"state\": \"on\"",
        // From the kernel's log.
        "livepatch: enabling patch 'foliocopy_livepatch'",
    ] {
        ensure!(file.contains(text), "the file lacks {text}: {file}");
    }
    foliocopy(&["report", "/tmp/all.json", "-o", "/tmp/all.html"])?;
    let page = guest.read("/tmp/all.html")?;
    ensure!(page.contains("all: bench") && page.contains("all: migrate"), "the report lacks a part: {page}");
    as_it_was()?;
    interrupted(guest)
}

/// An interrupt unloads every module, and the file says which parts were not run.
fn interrupted(guest: &Guest) -> Result<()> {
    let mut program = Command::new("/bin/foliocopy")
        .args(RUN)
        .args(["--output", "/tmp/half.json"])
        .stdin(Stdio::null())
        .spawn()?;
    wait(Duration::from_secs(60), || Ok(Path::new("/sys/module/foliocopy").exists()))
        .context("the module was never loaded")?;
    kill_process(Pid::from_child(&program), Signal::INT)?;
    let status = program.wait()?;
    ensure!(status.code() == Some(130), "interrupted, it ended with {status}");
    let file = guest.read("/tmp/half.json")?;
    for text in ["\"outcome\": \"not-run\"", "\"complete\": false", "\"name\": \"unload\""] {
        ensure!(file.contains(text), "the file lacks {text}: {file}");
    }
    as_it_was()
}

fn as_it_was() -> Result<()> {
    for module in ["foliocopy", "foliocopy_livepatch"] {
        ensure!(!Path::new("/sys/module").join(module).exists(), "{module} stayed loaded");
    }
    Ok(())
}
