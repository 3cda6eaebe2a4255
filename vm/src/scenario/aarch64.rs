//! User space on aarch64, where pages may be larger: the engine's own tests, the program, and poison.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use foliocopy::{Cpu, Features};

use super::livepatch::foliocopy;
use super::{Ending, Scenario, hwpoison};
use crate::guest::Guest;
use crate::machine::Machine;

pub(super) const AARCH64: Scenario = Scenario {
    name: "aarch64",
    proves: "copies and faults are right on aarch64 with pages of 16 KiB: the engine's tests, the program, real poison",
    machine: Machine::AARCH64,
    limit: Duration::from_secs(300),
    ending: Ending::Verdict,
    run,
};

/// The page size of the kernel.
const PAGE_BYTES: usize = 16 << 10;

/// The folder of the engine's tests.
const TESTS: &str = "/tests";

/// Tests that read the sources, which QEMU's emulator of user space runs in place; and one that needs a system's `cp`.
const ELSEWHERE: [&str; 3] =
    ["the_corpus_of_the_fuzzer", "every_primitive_has_its_file", "a_setuid_program_ignores_the_variables"];

fn run(guest: &Guest) -> Result<()> {
    let bytes = rustix::param::page_size();
    ensure!(bytes == PAGE_BYTES, "pages have {bytes} bytes, not {PAGE_BYTES}");
    if !Cpu::detect().has(Features::MOPS) {
        guest.note("not tested: mops, which this machine's QEMU lacks (version 10 or later has it)")?;
    }
    hwpoison::run(guest)?;
    let mut tests: Vec<PathBuf> =
        fs::read_dir(TESTS)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    tests.sort();
    ensure!(!tests.is_empty(), "there are no tests in {TESTS}");
    for test in &tests {
        engine(test)?;
    }
    program()
}

/// Runs a test program of the engine. Its faults must include poison, and not only the end of a file.
fn engine(test: &PathBuf) -> Result<()> {
    let output = Command::new(test)
        .arg("--show-output")
        .args(ELSEWHERE.iter().flat_map(|test| ["--skip", test]))
        .env("PROPTEST_CASES", "16")
        .env("FOLIOCOPY_TEST_PAGE_BYTES", PAGE_BYTES.to_string())
        .current_dir("/tmp")
        .output()
        .with_context(|| format!("can't run {}", test.display()))?;
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if !output.status.success() {
        println!("{text}");
    }
    ensure!(output.status.success(), "{}: {}", test.display(), output.status);
    let summary = text.lines().find(|line| line.starts_with("test result: ")).unwrap_or_default();
    println!("{}: {summary}", test.display());
    ensure!(!text.contains("not tested on this kernel"), "{} left out a kind of poison", test.display());
    Ok(())
}

/// Runs the program: its description of the machine, its measurements, and folios that move between nodes.
fn program() -> Result<()> {
    let says = |arguments: &[&str], expected: &[&str]| -> Result<()> {
        let text = foliocopy(arguments)?;
        for part in expected {
            ensure!(
                text.contains(part),
                "`foliocopy {}` does not say {part:?}, but {text}",
                arguments.join(" ")
            );
        }
        Ok(())
    };
    says(&["info"], &["emulated CPU", "ldp_stp", "auto", "The kernel module is for x86-64 alone"])?;
    says(&["selftest", "ldp_stp", "ldp_stnp"], &["all right: 2 primitives"])?;
    let bench = "bench --folio 4K,64K --cache both --rounds 3 --evict 1M --memory anon -q";
    says(&bench.split(' ').collect::<Vec<_>>(), &["emulated"])?;
    let migrate = "migrate --folio 16K --nodes 0:1 --total 16M --rounds 1";
    says(&migrate.split(' ').collect::<Vec<_>>(), &["16K", "is for x86-64 alone"])?;
    // Nobody should tune by timings of an emulator.
    refuses(&["tune", "-o", "/tmp/profile.toml"], "the CPU is emulated")?;
    refuses(&["survey", "-o", "/tmp/survey.json"], "the CPU is emulated")?;
    refuses(&["kernel", "status"], "the kernel modules are for x86-64 alone")
}

/// Runs the program with a command that it must refuse, and checks the reason.
fn refuses(arguments: &[&str], why: &str) -> Result<()> {
    let output = Command::new("/bin/foliocopy").args(arguments).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(2) && text.contains(why),
        "`foliocopy {}` ended with {} and says {text}, not {why:?}",
        arguments.join(" "),
        output.status
    );
    Ok(())
}
