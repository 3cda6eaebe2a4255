//! `cargo xtask test`: the one command that tests a change.
//!
//! It installs the needs of its steps where that is allowed, and runs every step that it can. After a step that fails, or that
//! lacks something, it goes on with the next. It ends with a summary.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, ensure};
use xshell::Shell;

use crate::need::{self, BROWSER, CXX, FISH, MAKE, Missing, Need, PKG_CONFIG, ZSH};
use crate::programs::{self, Program};
use crate::vm::emulator;
use crate::{dist, imports, lanes, length, release_check, vm};

/// The arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The steps to run; all when none is named
    steps: Vec<String>,
    /// List the steps and what each needs
    #[arg(long)]
    list: bool,
    /// Also fail where a step can't run, as continuous integration does
    #[arg(long)]
    strict: bool,
}

/// One step: its name, its needs beside cargo, a C compiler and git, and its work.
struct Step(&'static str, &'static [Need], Check);

/// The work of a step.
enum Check {
    /// A command line without quotes.
    Run(&'static str),
    /// A function. It adds the parts that it could not check to the notes.
    Call(fn(&Shell, &mut Vec<String>) -> Result<()>),
}

use Check::{Call, Run};

/// The components of Rust that its minimal profile lacks.
const FMT: Need = Need::Cargo("fmt", "rustfmt");
const CLIPPY: Need = Need::Cargo("clippy", "clippy");

/// The oldest toolchain that the manifest promises to support.
const OLDEST: Need = Need::Toolchain(concat!(env!("CARGO_PKG_RUST_VERSION"), ".0"), &[]);

/// Builds everything by [`OLDEST`], in a folder of its own, since it can't use builds of another toolchain. Nothing of it runs, so
/// nothing is optimized.
const BUILD_BY_OLDEST: &str = concat!(
    "rustup run ",
    env!("CARGO_PKG_RUST_VERSION"),
    ".0 cargo --config profile.dev.package.foliocopy-measure.opt-level=0 build -q --locked --workspace --target-dir \
     target/oldest-rust"
);

/// Interprets the tests of a program that uses the crate.
const MIRI: Need = Need::Toolchain("nightly", &["miri", "rust-src"]);

/// Tests such a program by Miri, in a folder of its own.
const TEST_BY_MIRI: &str = "rustup run nightly cargo miri test --manifest-path crates/foliocopy/tests/miri/Cargo.toml \
                            --target-dir target/miri";

/// Targets on which the engine has no exception table, or only the portable copy.
const WINDOWS: &str = "x86_64-pc-windows-gnu";
const MACOS: &str = "x86_64-apple-darwin";
const AARCH64: &str = "aarch64-unknown-linux-gnu";

/// Runs the examples in the documentation, built for aarch64.
const DOC_TESTS_OF_AARCH64: &str = "cargo test -q -p foliocopy -p foliocopy-vm-memory --doc --target aarch64-unknown-linux-gnu --target-dir target/elsewhere";

/// The target of a kernel.
const BARE: &str = "x86_64-unknown-none";

/// The needs of testing programs for aarch64 on another machine.
const NEEDS_OF_AARCH64: &[Need] =
    &[Need::Target(AARCH64), need::GCC_AARCH64, need::QEMU_USER_AARCH64, PKG_CONFIG];

/// The steps, in the order in which they start, two at a time: each has long parts that use one CPU. Those that find the most in
/// the least time come first, and beside a step that builds stands one that builds elsewhere.
const STEPS: &[Step] = &[
    Step("format", &[FMT], Run("cargo fmt --all --check")),
    Step("lints", &[CLIPPY], Run("cargo clippy -q --workspace --all-targets -- -Dwarnings")),
    Step("imports", &[], Call(imports::check)),
    Step("length", &[], Call(length::check)),
    Step("no-std", &[CLIPPY], Run("cargo clippy -q -p foliocopy --no-default-features -- -Dwarnings")),
    Step("windows", &[Need::Target(WINDOWS)], Call(|shell, notes| elsewhere(shell, WINDOWS, notes))),
    Step("macos", &[Need::Target(MACOS)], Call(|shell, notes| elsewhere(shell, MACOS, notes))),
    Step("aarch64", &[Need::Target(AARCH64)], Call(|shell, notes| elsewhere(shell, AARCH64, notes))),
    Step("kernel", &[Need::Target(BARE), MAKE], Run("make -sC kmod check TARGET=x86_64-unknown-none")),
    Step("kernel-hosted", &[MAKE], Run("make -sC kmod check TARGET=x86_64-unknown-linux-gnu")),
    Step(
        "fuzz",
        &[CXX],
        Run("cargo check --locked --manifest-path fuzz/Cargo.toml --target-dir target/fuzz"),
    ),
    Step("docs", &[], Run("cargo --config build.rustdocflags=['-Dwarnings'] doc -q --workspace --no-deps")),
    Step("oldest-rust", &[OLDEST], Run(BUILD_BY_OLDEST)),
    Step("tests", release_check::NEEDS_OF_TEST, Call(release_check::test)),
    Step("packages", dist::NEEDS, Call(|shell, _| dist::make(shell))),
    Step("archive", &[], Call(|shell, _| release_check::check_archive(shell))),
    Step("registers", &[], Run("cargo test --test outside -- --ignored")),
    Step("miri", &[MIRI], Run(TEST_BY_MIRI)),
    Step("completions", &[ZSH, FISH], Run("cargo test --test generated -- --ignored")),
    Step("browser", &[BROWSER, Need::Fonts], Run("cargo test --test browser -- --ignored")),
    Step(
        "lower-bounds",
        release_check::NEEDS_OF_LOWER_BOUNDS,
        Call(|shell, _| release_check::check_lower_bounds(shell)),
    ),
    Step("clean-root", dist::NEEDS_OF_TEST, Call(|shell, _| dist::test(shell))),
    Step("vm", vm::NEEDS, Call(vm::test)),
    Step("dkms", dist::NEEDS_OF_TEST, Call(|shell, _| dist::test_dkms(shell))),
    Step("aarch64-user", NEEDS_OF_AARCH64, Call(aarch64_user)),
    Step("aarch64-packages", dist::NEEDS_OF_AARCH64, Call(|shell, _| dist::test_aarch64(shell))),
    Step("aarch64-vm", vm::NEEDS_OF_AARCH64, Call(vm::test_aarch64)),
    Step("newest-kernel", vm::NEEDS_OF_NEWEST, Call(vm::test_newest)),
];

/// How a step ended.
enum Outcome {
    Passed,
    Failed(Error),
    NotChecked(Missing),
}

/// The state of a step in the summary.
struct Report {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
    /// Parts of the step that could not be checked.
    notes: Vec<String>,
}

/// Runs the steps. The error says that one failed, or with `--strict` that one could not run.
pub(crate) fn run(shell: &Shell, args: Args) -> Result<()> {
    if args.list {
        for Step(name, needs, _) in STEPS {
            let needs: Vec<_> = needs.iter().map(Need::to_string).collect();
            println!("{name:16} {}", if needs.is_empty() { "-".to_owned() } else { needs.join(", ") });
        }
        return Ok(());
    }
    let steps = chosen(&args.steps)?;
    let needs: Vec<Need> = steps.iter().flat_map(|step| step.1).copied().collect();
    need::install(shell, &needs);
    let reports = run_at_once(steps, &shell.current_dir())?;

    eprintln!("== summary");
    reports.iter().for_each(|report| eprint!("{report}"));
    verdict(&reports, args.strict)
}

/// Runs two of the steps at a time, each with a shell of its own in the folder.
fn run_at_once(steps: Vec<&Step>, folder: &Path) -> Result<Vec<Report>> {
    let run = |step: &Step| {
        let shell = Shell::new()?;
        shell.change_dir(folder);
        Ok(step.run(&shell))
    };
    lanes::work(2, steps, run).into_iter().collect()
}

/// Returns an error if a step failed, or with `strict` if one could not run.
fn verdict(reports: &[Report], strict: bool) -> Result<()> {
    let count = |is: fn(&Outcome) -> bool| reports.iter().filter(|report| is(&report.outcome)).count();
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    let not_checked = count(|outcome| matches!(outcome, Outcome::NotChecked(_)));
    let passed = count(|outcome| matches!(outcome, Outcome::Passed));
    eprintln!("{passed} steps passed, {failed} failed, {not_checked} could not be checked");
    ensure!(failed == 0, "a step failed");
    ensure!(not_checked == 0 || !strict, "a step could not be checked");
    Ok(())
}

/// The steps of these names, or all steps.
fn chosen(names: &[String]) -> Result<Vec<&'static Step>> {
    if names.is_empty() {
        return Ok(STEPS.iter().collect());
    }
    let find = |name: &String| {
        STEPS.iter().find(|step| step.0 == name).with_context(|| {
            let all: Vec<_> = STEPS.iter().map(|step| step.0).collect();
            format!("there is no step `{name}`; there are: {}", all.join(", "))
        })
    };
    names.iter().map(find).collect()
}

impl Step {
    fn run(&self, shell: &Shell) -> Report {
        let &Step(name, needs, ref check) = self;
        eprintln!("== {name}");
        let started = Instant::now();
        let mut notes = Vec::new();
        let result = need::unmet(shell, needs).map_err(Error::from).and_then(|()| match check {
            Run(line) => command(shell, line, &mut notes),
            Call(function) => function(shell, &mut notes),
        });
        let outcome = Outcome::of(result);
        match &outcome {
            Outcome::Passed => {}
            Outcome::Failed(error) => eprintln!("FAILED {name}: {error:#}"),
            Outcome::NotChecked(missing) => eprintln!("not checked: {name}: {missing}"),
        }
        Report { name, outcome, took: started.elapsed(), notes }
    }
}

impl Outcome {
    /// A `Missing` is not a failure, however the error is wrapped.
    fn of(result: Result<()>) -> Self {
        match result.map_err(Error::downcast::<Missing>) {
            Ok(()) => Outcome::Passed,
            Err(Ok(missing)) => Outcome::NotChecked(missing),
            Err(Err(error)) => Outcome::Failed(error),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, took, .. } = self;
        match &self.outcome {
            Outcome::Passed => writeln!(f, "passed       {name} ({} s)", took.as_secs())?,
            Outcome::Failed(error) => {
                // The whole output was printed by the step.
                let error = format!("{error:#}");
                writeln!(f, "FAILED       {name}: {}", error.lines().next().unwrap_or_default())?;
            }
            Outcome::NotChecked(missing) => writeln!(f, "not checked  {name}: {missing}")?,
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  in part    {name}: {note}"))
    }
}

/// Builds the engine for another target, assembly included, with `std` and without.
fn elsewhere(shell: &Shell, target: &str, notes: &mut Vec<String>) -> Result<()> {
    let build = format!(
        "cargo --config build.rustflags=['-Dwarnings'] build -q -p foliocopy --target {target} --target-dir target/elsewhere"
    );
    command(shell, &build, notes)?;
    command(shell, &format!("{build} --no-default-features"), notes)
}

/// Tests the engine, guests' memory, the program's self-test and the C library for aarch64 by QEMU's emulator of user space. The
/// virtual machine runs the tests that start themselves anew and the tests of poison, which this emulator lacks.
fn aarch64_user(shell: &Shell, notes: &mut Vec<String>) -> Result<()> {
    let mut tests = vm::aarch64_tests(shell)?;
    tests.retain(|(name, _)| name != "environment");
    let program = vm::aarch64_program(shell)?;
    let run = |emulator: &[&str], page_bytes: &str, notes: &mut Vec<String>| {
        let emulated = |name: &str, file: &Path, arguments: &str| {
            let mut command = Command::new(emulator[0]);
            command.args(&emulator[1..]).arg(file).args(arguments.split(' '));
            command.env("PROPTEST_CASES", "16").env("FOLIOCOPY_TEST_PAGE_BYTES", page_bytes);
            command.current_dir(shell.current_dir());
            Program { name: name.to_owned(), command }
        };
        let mut programs = vec![emulated("the self-test", &program, "selftest")];
        let all_but = "--quiet --show-output --skip sigbus:: --skip sigsegv::";
        programs.extend(tests.iter().map(|(name, test)| emulated(name, test, all_but)));
        programs::run_at_once(programs, notes)
    };
    let newest = emulator::USER.newest(shell)?.display().to_string();
    run(&[newest.as_str()], "4096", notes)?;

    // Later versions have pages of this machine's size.
    let own = Path::new("qemu-aarch64");
    if emulator::version(shell, own)? < 9 {
        let mut lacking = Vec::new();
        run(&["qemu-aarch64", "-p", "65536"], "65536", &mut lacking)?;
        lacking.retain(|note| !notes.contains(note));
        notes.extend(lacking.into_iter().map(|note| format!("{note} (with pages of 64 KiB)")));
    } else {
        notes.push(
            "not tested: pages of 64 KiB, which QEMU's emulator of user space has up to version 8".into(),
        );
    }

    let linker = need::LINKER_AARCH64;
    let runner = format!("{newest} -L {}", need::SYSROOT_AARCH64);
    let environment = [linker, ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", &runner)];
    command_with(shell, DOC_TESTS_OF_AARCH64, &environment, notes)?;
    let environment = [("FOLIOCOPY_TEST_CROSS", "aarch64"), ("FOLIOCOPY_TEST_EMULATOR", &newest)];
    command_with(shell, "cargo test -q -p foliocopy-capi --test c", &environment, notes)
}

/// Runs a command line. Lines of its standard output that start with `not tested` go to the notes.
fn command(shell: &Shell, line: &str, notes: &mut Vec<String>) -> Result<()> {
    command_with(shell, line, &[], notes)
}

/// Runs a command line with additions to its environment.
fn command_with(
    shell: &Shell,
    line: &str,
    environment: &[(&str, &str)],
    notes: &mut Vec<String>,
) -> Result<()> {
    let mut words = line.split(' ');
    let program = words.next().context("an empty command line")?;
    let mut child = Command::new(program)
        .args(words)
        .envs(environment.iter().copied())
        .current_dir(shell.current_dir())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("can't run {program}"))?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        // A test may print it in each of a thousand cases.
        if !note(notes, &line) {
            println!("{line}");
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "`{line}`: {status}");
    Ok(())
}

/// Adds a line to the notes, if it starts with `not tested`. Returns whether the notes have the line.
pub(crate) fn note(notes: &mut Vec<String>, line: &str) -> bool {
    let known = notes.iter().any(|note| note == line);
    if !known && line.starts_with("not tested") {
        notes.push(line.to_owned());
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_names_the_oldest_rust() {
        let promise = concat!("Rust ", env!("CARGO_PKG_RUST_VERSION"), " or later");
        assert!(include_str!("../../README.md").contains(promise), "README.md does not say `{promise}`");
    }

    #[test]
    fn what_is_missing_fails_nothing_but_a_strict_test() {
        let report = |result: Result<()>| Report {
            name: "step",
            outcome: Outcome::of(result),
            took: Duration::ZERO,
            notes: vec!["not tested: a part".to_owned()],
        };
        let missing = Err(Missing("needs luck".into())).context("looking for luck").context("the step");
        let (passed, missing) = (report(Ok(())), report(missing));
        assert_eq!(passed.to_string(), "passed       step (0 s)\n  in part    step: not tested: a part\n");
        assert!(missing.to_string().starts_with("not checked  step: needs luck\n"));
        let failed = report(Err(Error::msg("it broke\nin two lines").context("the step")));
        assert!(failed.to_string().starts_with("FAILED       step: the step: it broke\n"));

        let reports = [passed, missing];
        assert!(verdict(&reports, false).is_ok() && verdict(&reports, true).is_err());
        assert!(verdict(&[failed], false).is_err());
    }

    #[test]
    fn a_command_that_fails_is_an_error() {
        let shell = Shell::new().unwrap();
        assert!(command(&shell, "true", &mut Vec::new()).is_ok());
        assert!(command(&shell, "false", &mut Vec::new()).is_err());
        assert!(command(&shell, "foliocopy-has-no-such-program", &mut Vec::new()).is_err());
    }

    #[test]
    fn what_was_not_tested_is_noted_once() {
        let mut notes = Vec::new();
        let lines = ["not tested: luck", "test luck ... ok", "not tested: luck"];
        assert_eq!(lines.map(|line| note(&mut notes, line)), [false, false, true]);
        assert_eq!(notes, ["not tested: luck"]);
    }

    #[test]
    fn names_are_unique() {
        for (index, step) in STEPS.iter().enumerate() {
            assert!(STEPS.iter().take(index).all(|earlier| earlier.0 != step.0), "{}", step.0);
        }
    }
}
