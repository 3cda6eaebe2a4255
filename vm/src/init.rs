//! The guest's init: mounts, runs the scenario that the kernel's command line names, gives one verdict, powers off.
//!
//! The kernel hands it the words after `--` on its command line. `shell` in place of a scenario gives a prompt. A scenario that
//! makes systemd the init is started once more, as a service.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, anyhow};
use foliocopy_vm::guest::{BELOW_SYSTEMD, Guest};
use foliocopy_vm::{Verdict, scenario};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot};

/// The file systems and the places where they are mounted.
const MOUNTS: &[(&str, &str)] = &[
    ("devtmpfs", "/dev"),
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("debugfs", "/sys/kernel/debug"),
    ("tmpfs", "/tmp"),
];

fn main() {
    let is_init = std::process::id() == 1;
    // Only in the guest, since it powers the machine off.
    let in_guest = is_init || env::args().nth(2).as_deref() == Some(BELOW_SYSTEMD);
    assert!(in_guest, "this is the init of foliocopy's test guest: `cargo xtask vm` runs it");
    let outcome = if is_init { boot() } else { Ok(Guest::booted()) }.and_then(|guest| run(&guest));
    if let Some(verdict) = outcome.transpose().map(|outcome| Verdict::of(&outcome)) {
        println!("{verdict}");
        if let Err(error) = verdict.give() {
            println!("cannot give the verdict: {error:#}");
        }
    }
    rustix::fs::sync();
    let error = reboot(RebootCommand::PowerOff).expect_err("a powered-off machine runs nothing");
    panic!("cannot power off: {error}");
}

/// Mounts the file systems that every scenario needs.
fn boot() -> Result<Guest> {
    for &(kind, place) in MOUNTS {
        fs::create_dir_all(place).with_context(|| format!("cannot make {place}"))?;
        mount(kind, place, kind, MountFlags::empty(), None)
            .with_context(|| format!("cannot mount {kind} on {place}"))?;
    }
    Ok(Guest::booted())
}

/// Runs the scenario; `None` where nobody waits for a verdict.
fn run(guest: &Guest) -> Result<Option<()>> {
    let name = env::args().nth(1).context("the kernel's command line names no scenario")?;
    if name == "shell" {
        // The machine powers off, however the shell ends.
        let _ = Command::new("/bin/busybox").args(["setsid", "-c", "/bin/busybox", "sh", "-l"]).status();
        return Ok(None);
    }
    let scenario = scenario::find(&name).with_context(|| format!("there is no scenario `{name}`"))?;
    let outcome = catch_unwind(AssertUnwindSafe(|| (scenario.run)(guest)));
    outcome.unwrap_or_else(|_| Err(anyhow!("the scenario panicked: see the console"))).map(Some)
}
