//! `foliocopy kernel`: its messages before the module is loaded, and its bench.

use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, Signal, kill_process};

use super::livepatch::wait_until_it_catches_signals;
use super::{Ending, Scenario};
use crate::guest::Guest;
use crate::machine::Machine;

pub(super) const PROGRAM: Scenario = Scenario {
    name: "program",
    proves: "foliocopy kernel status, load, bench, selftest and unload do what they say, and say what is missing or refused",
    machine: Machine::ERMS,
    limit: Duration::from_secs(240),
    ending: Ending::Verdict,
    run,
};

/// The program, at its usual path.
const FOLIOCOPY: &str = "/bin/foliocopy";

fn foliocopy(arguments: &str) -> Command {
    let mut command = Command::new(FOLIOCOPY);
    command.args(arguments.split(' ')).stdin(Stdio::null());
    command
}

/// Runs the program, checks the exit code, and returns all its output.
fn demand(arguments: &str, code: i32) -> Result<String> {
    let output = foliocopy(arguments).output().with_context(|| format!("can't run {FOLIOCOPY}"))?;
    judge(arguments, output, code)
}

fn judge(arguments: &str, output: Output, code: i32) -> Result<String> {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("# foliocopy {arguments}\n{text}");
    ensure!(
        output.status.code() == Some(code),
        "`foliocopy {arguments}` ended with {}, not {code}: {text}",
        output.status
    );
    Ok(text)
}

/// Runs the program, and checks its exit code and parts of its output.
fn says(arguments: &str, code: i32, expected: &[&str]) -> Result<()> {
    let text = demand(arguments, code)?;
    for part in expected {
        ensure!(text.contains(part), "`foliocopy {arguments}` does not say {part:?}, but {text}");
    }
    Ok(())
}

fn run(guest: &Guest) -> Result<()> {
    says("kernel status", 3, &["foliocopy: not loaded", "headers", "linux-headers-"])?;
    for needs_it in ["kernel bench", "kernel selftest"] {
        says(needs_it, 2, &["foliocopy.ko is not loaded", "foliocopy kernel load"])?;
    }
    says("kernel load", 2, &["no modprobe here", "--modules"])?;
    says("kernel load --modules /proc", 2, &["/proc/foliocopy.ko"])?;
    says("kernel load --modules /lib", 0, &["is loaded", "temporal, any length: rep_movsb"])?;
    says("kernel load --modules /lib", 0, &["was loaded already"])?;
    says("kernel status", 0, &["loaded, version 0.", "nontemporal_nodes      auto", "errors 0"])?;
    says("kernel selftest", 0, &["ok rep_movsb", "ok movnti", " checks, 0 failures"])?;

    bench(guest)?;
    says("kernel bench --folio 8M", 2, &["powers of two from 4K to 4M"])?;
    says("kernel bench --nodes 0:7", 2, &["node 7 does not exist"])?;
    says("kernel bench --contender movdir64b", 2, &["no contender movdir64b on this CPU"])?;
    says("kernel bench --folio 4M --total 4G --rounds 1", 2, &["half of what is available"])?;
    timed(guest)?;
    interrupted(guest)?;

    // This program is linked statically.
    says("bench --contender x=-:memcpy", 2, &["linked statically", "no dlopen(3)"])?;

    // Two benches would disturb each other.
    let busy =
        std::fs::File::options().read(true).write(true).open("/sys/kernel/debug/foliocopy/benchmark")?;
    says("kernel bench", 2, &["one bench at a time"])?;
    drop(busy);
    says("kernel unload", 0, &["is unloaded"])?;
    says("kernel unload", 0, &["is not loaded"])?;
    refused(guest)
}

/// Refusals of a kernel under secure boot: it locks itself down, and takes only signed modules. Neither can be undone.
fn refused(guest: &Guest) -> Result<()> {
    const LOAD: &str = "kernel load --modules /lib";
    demand(LOAD, 0)?;
    mount("securityfs", "/sys/kernel/security", "securityfs", MountFlags::empty(), None)
        .context("can't mount securityfs")?;
    guest.write("/sys/kernel/security/lockdown", "integrity")?;
    says("kernel bench --folio 4K --rounds 1", 2, &["locked down (integrity)", "`foliocopy migrate`"])?;
    says("kernel status", 0, &["loaded, version 0.", "errors 0"])?;
    demand("kernel unload", 0)?;
    for load in [LOAD, "kernel patch on --modules /lib"] {
        says(load, 2, &["locked down (integrity;", "mokutil --import", "docs/KERNEL.md"])?;
    }
    guest.write("/sys/module/module/parameters/sig_enforce", "Y")?;
    says(LOAD, 2, &["checks signatures", "mokutil --import", "docs/KERNEL.md"])?;
    says("kernel status", 3, &["foliocopy: not loaded"])
}

/// A bench from end to end, to a memory-only node too, and its results read back. No speed of an emulated CPU is shown.
fn bench(guest: &Guest) -> Result<()> {
    const BENCH: &str = "kernel bench --nodes 0:0,1:2 --folio 4K,64K,2M --total 256K --evict 1M --rounds 3 --seed 1 \
                         --contender movnti-mc --batch 3 --export-json /tmp/kernel.json --export-csv /tmp/kernel.csv";
    let text = demand(BENCH, 0)?;
    ensure!(text.contains("the CPU is emulated"), "the bench does not say that the CPU is emulated: {text}");
    ensure!(!text.contains("GB/s"), "the bench shows speeds of an emulated CPU: {text}");
    let json = guest.read("/tmp/kernel.json")?;
    ensure!(json.contains("\"origin\": \"kernel\""), "the results do not say that they are the kernel's");
    ensure!(json.contains("\"emulated\": true"), "the results do not say that the CPU is emulated");
    // 2 states of the cache, 2 pairs of nodes, 3 sizes, and 10 contenders: the 8 usual ones and two more.
    let cells = json.matches("\"samples_gbps\"").count();
    ensure!(cells == 2 * 2 * 3 * 10, "the results have {cells} cells, not 120");
    says("report /tmp/kernel.json -o /tmp/kernel.html", 0, &[])?;
    ensure!(guest.read("/tmp/kernel.html")?.contains("foliocopy"), "the report is empty");
    Ok(())
}

/// Times of single copies, and the scenarios of AMD's kit: every copy that was asked for has its time.
fn timed(guest: &Guest) -> Result<()> {
    for (options, expected) in [
        // Three rounds of 16 copies. The first copy of each round comes after an eviction.
        ("--cache cold --folio 16K --total 256K", &["\"copies\"", "\"first_ns\"", "\"p50_ns\""][..]),
        (
            "--preset kit-a --folio 64K --total 256K",
            &["\"preset\": \"kit-a\"", "\"total\": \"256K\"", "\"cache\": \"hot\""],
        ),
        (
            "--preset kit-b --folio 64K",
            &["\"preset\": \"kit-b\"", "\"total\": \"2M\"", "\"cache\": \"cold\""],
        ),
        ("--preset kit-c --folio 2M --total 4M", &["\"preset\": \"kit-c\"", "\"total\": \"4M\""]),
        ("--preset kit-d --folio 2M", &["\"preset\": \"kit-d\"", "\"total\": \"1G\""]),
    ] {
        let bench = format!(
            "kernel bench {options} --latency --evict 1M --rounds 3 --export-json /tmp/timed.json --force"
        );
        demand(&bench, 0)?;
        let json = guest.read("/tmp/timed.json")?;
        for part in expected.iter().chain(&["\"latency\"", "\"clock_ns\""]) {
            ensure!(json.contains(part), "the results of `{options}` lack {part}");
        }
        ensure!(
            json.contains("\"first_ns\"") == options.contains("--cache cold"),
            "{options}: the first copy after an eviction stands apart where one eviction serves many copies"
        );
    }
    says("kernel bench --preset kit-a --cache cold", 2, &["cannot be used with"])
}

/// A signal ends the bench in the middle of a round, or while it compares the copies before the first, which takes an emulator
/// minutes. Finished rounds are kept.
fn interrupted(guest: &Guest) -> Result<()> {
    for (cache, seconds) in [("hot", 8), ("cold", 3)] {
        interrupted_after(guest, cache, seconds)?;
    }
    Ok(())
}

fn interrupted_after(guest: &Guest, cache: &str, seconds: u64) -> Result<()> {
    let request = format!(
        "kernel bench --folio 2M --total 512M --evict 1M --cache {cache} --time 10m --export-json /tmp/half-{cache}.json"
    );
    let bench = foliocopy(&request).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    wait_until_it_catches_signals(guest, bench.id())?;
    thread::sleep(Duration::from_secs(seconds));
    let pid = Pid::from_child(&bench);
    kill_process(pid, Signal::INT)?;
    let text = judge(&request, bench.wait_with_output()?, 130)?;
    if !text.contains("nothing to show") {
        let json = guest.read(format!("/tmp/half-{cache}.json"))?;
        ensure!(json.contains("\"complete\": false"), "interrupted results call themselves complete");
    }
    Ok(())
}
