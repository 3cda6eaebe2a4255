//! The module's self-test for each CPU, or kernel command line, that leads the policy to another primitive.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Ending, Scenario};
use crate::guest::{DEBUGFS, Guest, Module};
use crate::machine::Machine;

/// The common parts of these scenarios.
const SELFTEST: Scenario = Scenario {
    name: "selftest",
    proves: "",
    machine: Machine::ERMS,
    limit: Duration::from_secs(240),
    ending: Ending::Verdict,
    run: |_| Ok(()),
};

pub(super) const ERMS: Scenario = Scenario {
    name: "selftest-erms",
    proves: "the self-test passes where the CPU has ERMS, and the policy picks rep movsb",
    run: |guest| run(guest, "rep_movsb"),
    ..SELFTEST
};

pub(super) const REP_GOOD: Scenario = Scenario {
    name: "selftest-rep-good",
    proves: "the self-test passes with REP_GOOD alone, by CPU model: rep movsq",
    machine: Machine { cpu: "Haswell,vendor=GenuineIntel,-erms", ..Machine::ERMS },
    run: |guest| run(guest, "rep_movsq"),
    ..SELFTEST
};

pub(super) const NEITHER: Scenario = Scenario {
    name: "selftest-neither",
    proves: "the self-test passes with neither, by clearcpuid=: the unrolled loop",
    machine: Machine::ERMS.with("clearcpuid=erms,rep_good"),
    run: |guest| run(guest, "movq"),
    ..SELFTEST
};

pub(super) const FSRM: Scenario = Scenario {
    name: "selftest-fsrm",
    proves: "FSRM does not decide: without ERMS the policy picks rep movsq",
    machine: Machine { cpu: "Haswell,vendor=GenuineIntel,-erms,+fsrm", ..Machine::ERMS },
    run: |guest| {
        if !guest.read("/proc/cpuinfo")?.contains(" fsrm") {
            guest.note("not tested: a CPU with FSRM, which this QEMU can't emulate")?;
        }
        run(guest, "rep_movsq")
    },
    ..SELFTEST
};

pub(super) const RECOVERY: Scenario = Scenario {
    name: "selftest-mce-recovery",
    proves: "the self-test passes with mce=recovery, where the kernel's own copy may be copy_mc_fragile",
    machine: Machine::ERMS.with("mce=recovery"),
    run: |guest| run(guest, "rep_movsb"),
    ..SELFTEST
};

pub(super) const HOSTED: Scenario = Scenario {
    name: "selftest-hosted",
    proves: "the self-test passes with an engine compiled for the target of Linux programs, without vector registers",
    run: |guest| check(guest, guest.load_file("foliocopy", "/lib/foliocopy-hosted.ko", "")?, "rep_movsb"),
    ..SELFTEST
};

fn run(guest: &Guest, primitive: &str) -> Result<()> {
    check(guest, guest.load("foliocopy", "")?, primitive)
}

/// Runs the self-test, and then copies some folios by the policy, which must be by `primitive`.
fn check(guest: &Guest, module: Module, primitive: &str) -> Result<()> {
    let report = guest.read(format!("{DEBUGFS}/selftest"))?;
    println!("{report}");
    let summary = report.lines().last().context("the self-test says nothing")?;
    ensure!(summary.ends_with(" checks, 0 failures"), "self-test: {summary}");
    for tested in ["rep_movsb", "rep_movsq", "movq", "movnti"] {
        let line = report.lines().find(|line| line.starts_with(&format!("ok {tested}: ")));
        ensure!(line.is_some(), "the self-test left {tested} out");
    }
    for (contender, path) in [("foliocopy", "plain"), ("foliocopy-mc", "machine-check-safe")] {
        let before = guest.folios_copied(path, primitive)?;
        guest.benchmark(&format!("contenders={contender} order=4 folios=3 passes=2 dst_node=1"))?;
        let copied = guest.folios_copied(path, primitive)? - before;
        // One pass verifies, one warms up, and two are timed.
        ensure!(copied == 3 * 4, "{contender}: {copied} of 12 folios were copied by {primitive}");
        let before = guest.folios_copied(path, "movnti")?;
        guest.benchmark(&format!("contenders={contender} order=4 folios=3 passes=2 dst_node=2"))?;
        let copied = guest.folios_copied(path, "movnti")? - before;
        ensure!(
            copied == 3 * 4,
            "{contender}: {copied} of 12 folios went past the cache to the memory-only node"
        );
    }
    module.unload()
}
