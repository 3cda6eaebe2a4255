//! Limits of version 2 cgroups, which a process inherits from all its ancestors.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, mount};

use super::{Ending, Scenario};
use crate::guest::Guest;
use crate::machine::Machine;

pub(super) const CGROUPS: Scenario = Scenario {
    name: "cgroups",
    proves: "the program keeps the limits of cgroups of version 2: memory and CPUs of every parent; a quota is a warning",
    machine: Machine::ERMS,
    limit: Duration::from_secs(180),
    ending: Ending::Verdict,
    run,
};

const ROOT: &str = "/sys/fs/cgroup";

/// The cgroup with the limits, and the one below it in which the program runs.
const OUTER: &str = "/sys/fs/cgroup/outer";
const INNER: &str = "/sys/fs/cgroup/outer/inner";

/// A bench that needs very little memory.
const SMALL: &str = "bench --rounds 2 --folio 4K --total 64K --cache cold --evict 1M";

fn run(guest: &Guest) -> Result<()> {
    mount("cgroup2", ROOT, "cgroup2", MountFlags::empty(), None).context("cannot mount cgroup2")?;
    let controllers = "+memory +cpu +cpuset";
    guest.write(format!("{ROOT}/cgroup.subtree_control"), controllers)?;
    fs::create_dir(OUTER)?;
    guest.write(format!("{OUTER}/cgroup.subtree_control"), controllers)?;
    fs::create_dir(INNER)?;

    let unlimited = inside(SMALL, 0)?;
    for word in ["in its cgroup", "the time of"] {
        ensure!(!unlimited.contains(word), "nothing is limited, and yet: {unlimited}");
    }
    memory(guest)?;
    quota(guest)?;
    cpuset(guest)
}

/// Runs the program in the inner cgroup, and checks its status. Returns its output.
fn inside(arguments: &str, status: i32) -> Result<String> {
    let output = command("/bin/foliocopy", arguments).output().context("can't run the program")?;
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    println!("# foliocopy {arguments}\n{said}");
    ensure!(
        output.status.code() == Some(status),
        "`foliocopy {arguments}` ended with {}: {said}",
        output.status
    );
    Ok(said)
}

/// The command that runs a program in the inner cgroup.
fn command(program: &str, arguments: &str) -> Command {
    let mut command = Command::new("/bin/busybox");
    command.args(["sh", "-euc", &format!("echo $$ >{INNER}/cgroup.procs; exec {program} {arguments}")]);
    command
}

/// 96 MiB, less than a bench of cold folios needs. A process that takes more is killed.
fn memory(guest: &Guest) -> Result<()> {
    guest.write(format!("{OUTER}/memory.max"), "96M")?;
    for refused in ["bench --cache cold --folio 2M", "roofline --memory 128M"] {
        let said = inside(refused, 2)?;
        ensure!(said.contains("memory in its cgroup") && said.contains("available"), "{refused}: {said}");
    }
    inside(SMALL, 0)?;
    let killed = || -> Result<bool> {
        let events = guest.read(format!("{OUTER}/memory.events"))?;
        Ok(!events.lines().any(|line| line == "oom_kill 0"))
    };
    ensure!(!killed()?, "the program took more memory than it may");
    let greedy = command("/bin/busybox", "dd if=/dev/zero of=/dev/null bs=120M count=1").status()?;
    ensure!(greedy.signal() == Some(libc::SIGKILL), "120 MiB were to be had: {greedy}");
    ensure!(killed()?, "the limit is none");
    guest.write(format!("{OUTER}/memory.max"), "max")
}

/// A quota of half a CPU.
fn quota(guest: &Guest) -> Result<()> {
    guest.write(format!("{OUTER}/cpu.max"), "50000 100000")?;
    let said = inside(SMALL, 0)?;
    ensure!(said.contains("the time of 0.50 CPUs"), "{said}");
    guest.write(format!("{OUTER}/cpu.max"), "max 100000")
}

/// Only the first of the guest's two CPUs.
fn cpuset(guest: &Guest) -> Result<()> {
    guest.write(format!("{OUTER}/cpuset.cpus"), "0")?;
    inside(&format!("{SMALL} --export-json /tmp/results.json"), 0)?;
    ensure!(
        guest.read("/tmp/results.json")?.contains("\"cpu\": 0"),
        "the bench ran on a CPU that it may not use"
    );
    for refused in ["bench --cpu 1", "roofline --threads 2", "bench --copiers 2"] {
        let said = inside(refused, 2)?;
        ensure!(said.contains("this process may run on"), "{refused}: {said}");
    }
    Ok(())
}
