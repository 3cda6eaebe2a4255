//! `cargo xtask vm`: tests the kernel modules in stock Debian kernels under QEMU.

pub(crate) mod archive;
mod chroot;
mod console;
mod debugger;
pub(crate) mod emulator;
mod initramfs;
pub(crate) mod kernel;
mod module;
mod poison;
mod programs;
mod qemu;
mod selftests;

use std::env;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use foliocopy_vm::machine::Programs;
use foliocopy_vm::scenario::Ending;
use foliocopy_vm::{Architecture, Machine, Poison, Scenario, Verdict, scenario, verdict};
use xshell::{Shell, cmd};

use crate::need::{self, Need};
use crate::{lanes, test};
use archive::Archive;
use initramfs::Initramfs;
use kernel::Kernel;
use module::Module;
use qemu::{Boot, Event};

/// How many lines of a console are shown after a scenario has failed.
const TAIL: usize = 60;

/// The default series: the long-term kernel of current Debian.
pub(crate) const SERIES: &str = "6.12";

/// Its needs on this machine.
pub(crate) const NEEDS: &[Need] = &[need::APT, need::MAKE, need::QEMU];

/// The needs of the newest kernel: [`Kernel::fetch`] makes a root for the compiler of another suite.
pub(crate) const NEEDS_OF_NEWEST: &[Need] =
    &[need::APT, need::MAKE, need::QEMU, Need::Root, need::DEBOOTSTRAP];

/// The needs of the scenarios of aarch64.
pub(crate) const NEEDS_OF_AARCH64: &[Need] =
    &[need::APT, need::QEMU_AARCH64, need::GCC_AARCH64, Need::Target(AARCH64)];

/// The targets of the programs that run in the guests.
const PC: &str = "x86_64-unknown-linux-gnu";
const AARCH64: &str = "aarch64-unknown-linux-gnu";

/// The arguments of `cargo xtask vm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The scenarios to run, in this order; all but the long ones when none is named. `shell` gives a prompt in the guest
    scenarios: Vec<String>,
    /// The series of the kernel, of which the archive's newest is taken; `newest` is that of Debian's backports
    #[arg(long, default_value = SERIES)]
    kernel: String,
    /// List the scenarios and what each proves
    #[arg(long)]
    list: bool,
}

/// The parts that all boots of one run share.
struct Bench {
    release: String,
    /// QEMU's program.
    qemu: PathBuf,
    image: PathBuf,
    /// An image for each set of programs.
    initramfs: Vec<(Programs, PathBuf)>,
    runs: PathBuf,
}

/// Runs the chosen scenarios. It is an error if one fails.
pub(crate) fn run(shell: &Shell, args: Args) -> Result<()> {
    if args.list {
        for scenario in all() {
            println!("{:25} {}", scenario.name, scenario.proves);
        }
        return Ok(());
    }
    let mut names: Vec<_> = args.scenarios.iter().collect();
    names.sort_unstable();
    names.dedup();
    ensure!(names.len() == args.scenarios.len(), "a scenario is named twice");
    let shell_asked = args.scenarios.iter().any(|name| name == "shell");
    ensure!(!shell_asked || args.scenarios.len() == 1, "`shell` goes alone");
    let scenarios = if args.scenarios.is_empty() || shell_asked {
        scenario::ALL.to_vec()
    } else {
        args.scenarios.iter().map(|name| named(name)).collect::<Result<_>>()?
    };
    if shell_asked {
        return Bench::prepare(shell, &args.kernel, &[])?.boot(&Machine::ERMS, "shell").interact();
    }
    let (aarch64, pc): (Vec<_>, Vec<_>) =
        scenarios.into_iter().partition(|one| one.machine.architecture == Architecture::Aarch64);
    if !pc.is_empty() {
        Bench::prepare(shell, &args.kernel, &pc)?.pass(&pc, &mut Vec::new())?;
    }
    if !aarch64.is_empty() {
        Bench::prepare_aarch64(shell)?.pass(&aarch64, &mut Vec::new())?;
    }
    Ok(())
}

/// Runs every scenario on the default kernel.
pub(crate) fn test(shell: &Shell, notes: &mut Vec<String>) -> Result<()> {
    Bench::prepare(shell, SERIES, scenario::ALL)?.pass(scenario::ALL, notes)
}

/// Runs some scenarios on the newest kernel.
pub(crate) fn test_newest(shell: &Shell, notes: &mut Vec<String>) -> Result<()> {
    Bench::prepare(shell, kernel::NEWEST, scenario::NEWEST)?.pass(scenario::NEWEST, notes)
}

/// Runs scenarios on a kernel with the patch series. `build` names its configuration.
pub(crate) fn test_upstream(
    shell: &Shell,
    kernel: &Kernel,
    build: &str,
    scenarios: &[&Scenario],
) -> Result<()> {
    let runs =
        fs::canonicalize(shell.current_dir())?.join("target/vm").join(format!("{}-{build}", kernel.release));
    fs::create_dir_all(&runs)?;
    let modules = module::build_tests(shell, kernel, &runs)?;
    Bench::pack(shell, kernel, &modules, runs, scenarios)?.pass(scenarios, &mut Vec::new())
}

/// Runs every scenario of aarch64.
pub(crate) fn test_aarch64(shell: &Shell, notes: &mut Vec<String>) -> Result<()> {
    Bench::prepare_aarch64(shell)?.pass(scenario::AARCH64, notes)
}

/// Every scenario that can be named.
fn all() -> impl Iterator<Item = &'static Scenario> {
    scenario::ALL.iter().chain(scenario::LONG).chain(scenario::AARCH64).copied()
}

/// The scenario of that name, or an error that lists all names.
fn named(name: &str) -> Result<&'static Scenario> {
    all().find(|scenario| scenario.name == name).with_context(|| {
        let names: Vec<_> = all().map(|scenario| scenario.name).collect();
        format!("there is no scenario `{name}`; there are: {}", names.join(", "))
    })
}

impl Bench {
    /// Fetches the kernel, builds the guest's programs and packs them.
    fn prepare(shell: &Shell, series: &str, scenarios: &[&Scenario]) -> Result<Self> {
        let here = fs::canonicalize(shell.current_dir())?;
        let cache = here.join(kernel::CACHE);
        fs::create_dir_all(&cache)?;
        need::demand(shell, NEEDS)?;
        let kernel = Kernel::fetch(shell, series, &cache)?;

        let runs = here.join("target/vm").join(&kernel.release);
        fs::create_dir_all(&runs)?;
        let modules = module::build(shell, &kernel, &runs)?;
        Self::pack(shell, &kernel, &modules, runs, scenarios)
    }

    /// Builds the programs, and packs them with the modules and the needs of these scenarios.
    fn pack(
        shell: &Shell,
        kernel: &Kernel,
        modules: &[Module],
        runs: PathBuf,
        scenarios: &[&Scenario],
    ) -> Result<Self> {
        let cache = shell.current_dir().join(kernel::CACHE);
        let programs = static_programs(shell, PC, &["foliocopy-vm", "foliocopy-cli", "foliocopy"])?;
        let root = cache.join("busybox");
        if !root.join("bin/busybox").exists() {
            let archive = Archive::of_this_machine(&cache)?;
            archive.refresh(shell)?;
            archive.unpack(shell, &["busybox-static".to_owned()], &root)?;
        }
        let pack = |others: Programs| -> Result<(Programs, PathBuf)> {
            let file = runs.join(format!("initramfs-{others:?}.cpio").to_lowercase());
            let mut packing = Initramfs::create(&file)?;
            packing.program("init", &programs.join("init"))?;
            packing.program("bin/foliocopy", &programs.join("foliocopy"))?;
            for example in ["snapshot", "checksum"] {
                packing.program(&format!("bin/{example}"), &programs.join("examples").join(example))?;
            }
            for module in modules {
                packing.program(&format!("lib/{}.ko", module.name), &module.file)?;
            }
            packing.program("bin/busybox", &root.join("bin/busybox"))?;
            programs::pack(shell, &cache, others, &mut packing)?;
            packing.finish()?;
            Ok((others, file))
        };
        let wanted = |others: &Programs| {
            *others == Programs::Ours || scenarios.iter().any(|one| one.machine.programs == *others)
        };
        let sets = [Programs::Ours, Programs::System, Programs::Stress];
        Ok(Self {
            qemu: "qemu-system-x86_64".into(),
            image: kernel.image(),
            release: kernel.release.clone(),
            initramfs: sets.into_iter().filter(wanted).map(pack).collect::<Result<_>>()?,
            runs,
        })
    }

    /// Fetches the kernel for aarch64, builds the programs and the engine's tests for it and packs them.
    fn prepare_aarch64(shell: &Shell) -> Result<Self> {
        let here = fs::canonicalize(shell.current_dir())?;
        let cache = here.join(kernel::CACHE);
        fs::create_dir_all(&cache)?;
        need::demand(shell, NEEDS_OF_AARCH64)?;
        let (release, image) = Kernel::fetch_aarch64(shell, &cache)?;
        let qemu = emulator::SYSTEM.newest(shell)?;

        let runs = here.join("target/vm").join(&release);
        fs::create_dir_all(&runs)?;
        let initramfs = runs.join("initramfs.cpio");
        let programs = static_programs(shell, AARCH64, &["foliocopy-vm", "foliocopy-cli"])?;
        let mut packing = Initramfs::create(&initramfs)?;
        packing.program("init", &programs.join("init"))?;
        packing.program("bin/foliocopy", &programs.join("foliocopy"))?;
        // Apart from the engine's: with them the engine would have all features.
        let of_measuring = static_tests(shell, &["foliocopy-measure"], &[])?;
        for (name, test) in aarch64_tests(shell)?.into_iter().chain(of_measuring) {
            packing.program(&format!("tests/{name}"), &test)?;
        }
        packing.finish()?;
        Ok(Self { qemu, image, release, initramfs: vec![(Programs::Ours, initramfs)], runs })
    }

    fn boot<'a>(&'a self, machine: &'a Machine, scenario: &'a str) -> Boot<'a> {
        let packed = self.initramfs.iter().find(|(programs, _)| *programs == machine.programs);
        let (_, initramfs) = packed.expect("what the scenarios want was packed");
        Boot { qemu: &self.qemu, machine, kernel: &self.image, initramfs, scenario }
    }

    /// Runs scenarios, one on each CPU of this machine at a time. The error says which failed and why.
    fn pass(&self, scenarios: &[&Scenario], notes: &mut Vec<String>) -> Result<()> {
        let notes = Mutex::new(notes);
        let failed: Vec<String> = lanes::work(lanes::cpus(), scenarios, |scenario| {
            let report = self.report(scenario);
            let notes = &mut *notes.lock().expect("no lane panics");
            eprint!("{}", report.text);
            report.notes.iter().for_each(|note| _ = test::note(notes, note));
            report.failed.map(|why| format!("{}: {why}", scenario.name))
        })
        .into_iter()
        .flatten()
        .collect();
        let (all, release) = (scenarios.len(), &self.release);
        ensure!(
            failed.is_empty(),
            "{} of {all} scenarios failed on Linux {release}: {}",
            failed.len(),
            failed.join("; ")
        );
        eprintln!("all {all} scenarios passed on Linux {release}");
        Ok(())
    }

    /// Runs one scenario, and returns its result.
    fn report(&self, scenario: &Scenario) -> Report {
        let started = Instant::now();
        let mut console = Vec::new();
        let outcome = self.run(scenario, &mut console);
        let mut text = format!("{:25} ", scenario.name);
        let seconds = started.elapsed().as_secs_f32();
        let record = self.runs.join(scenario.name).join("console");
        let mut add = |line: fmt::Arguments| _ = writeln!(text, "{line}");
        let (notes, failed) = match outcome {
            Ok(notes) => {
                add(format_args!("pass ({seconds:.1} s)"));
                notes.iter().for_each(|note| add(format_args!("{:25} note: {note}", "")));
                (notes, None)
            }
            Err(error) => {
                let why = format!("{error:#}");
                add(format_args!("FAIL ({seconds:.1} s): {why}"));
                let tail = &console[console.len().saturating_sub(TAIL)..];
                tail.iter().for_each(|line| add(format_args!("    | {line}")));
                add(format_args!("    the whole console is in {}", record.display()));
                (Vec::new(), Some(why))
            }
        };
        if let Err(error) = fs::write(&record, console.join("\n")) {
            add(format_args!("cannot write {}: {error}", record.display()));
        }
        Report { text, notes, failed }
    }

    /// Boots once: follows the console until the machine is off or its time is up, and then judges the result. Returns the
    /// guest's notes.
    fn run(&self, scenario: &Scenario, console: &mut Vec<String>) -> Result<Vec<String>> {
        let limit = scenario.limit * patience()?;
        let running = self.boot(&scenario.machine, scenario.name).start(&self.runs.join(scenario.name))?;
        let deadline = Instant::now() + limit;
        loop {
            match running.next(deadline) {
                Event::Line(line) => {
                    if let Some(poison) = Poison::read(&line) {
                        running.poison(poison);
                    }
                    console.push(line);
                }
                Event::Off => break,
                Event::Late => bail!("not done after {limit:?}: it hangs, or this machine is very slow"),
            }
        }
        let port = running.port()?;
        let mut raised = Vec::new();
        for one in running.raised() {
            match one {
                Ok(instruction) => raised.push(instruction),
                // The machine is off, or QEMU failed.
                Err(error) => console.push(format!("no more machine checks: {error:#}")),
            }
        }
        if let Some(hit) = console::machine_check_panic(console) {
            let wanted = scenario.ending == Ending::MachineCheckPanic
                && raised.iter().any(|instruction| console::is_at(hit, *instruction));
            ensure!(wanted, "a machine check was not survived: {hit}");
            return Ok(Vec::new());
        }
        if let Some(complaint) = console::complaint(console) {
            bail!("the kernel complained: {complaint}");
        }
        match Verdict::read(&port) {
            Ok(Verdict::Fail(why)) => bail!("{why}"),
            Ok(Verdict::Pass) if scenario.ending != Ending::Verdict => bail!("the kernel lives on"),
            Ok(Verdict::Pass) => Ok(verdict::notes(&port).map(str::to_owned).collect()),
            Err(why) => bail!("{why}"),
        }
    }
}

/// The result of a scenario.
struct Report {
    /// The lines for the terminal.
    text: String,
    /// The parts that it could not test, and its other notes.
    notes: Vec<String>,
    /// The reason why it failed.
    failed: Option<String>,
}

/// The factor of the time limits: `FOLIOCOPY_VM_PATIENCE`, for machines that are slow or busy. By default 2, since another step may
/// emulate at the same time.
fn patience() -> Result<u32> {
    match env::var("FOLIOCOPY_VM_PATIENCE") {
        Ok(factor) => factor.parse().context("FOLIOCOPY_VM_PATIENCE must be a whole number"),
        Err(_) => Ok(2),
    }
}

/// The folder in which the programs of the guests are built.
const BUILT: &str = "target/vm/cargo";

/// Builds programs and examples that need no library in the guest, and returns their folder.
fn static_programs(shell: &Shell, target: &str, packages: &[&str]) -> Result<PathBuf> {
    let packages = packages.iter().flat_map(|package| ["--package", package]);
    let _static = build_statically(shell);
    cmd!(shell, "cargo build --quiet --bins --examples --target {target} --target-dir {BUILT} {packages...}")
        .quiet()
        .run()?;
    Ok(fs::canonicalize(shell.current_dir())?.join(BUILT).join(target).join("debug"))
}

/// Builds the program for aarch64, and returns its file.
pub(crate) fn aarch64_program(shell: &Shell) -> Result<PathBuf> {
    Ok(static_programs(shell, AARCH64, &["foliocopy-cli"])?.join("foliocopy"))
}

/// Builds the tests of the engine and of `foliocopy-vm-memory` for aarch64, and returns their names and files: unit tests are
/// named after their crate.
pub(crate) fn aarch64_tests(shell: &Shell) -> Result<Vec<(String, PathBuf)>> {
    const TESTS: [&str; 8] =
        ["batch", "environment", "fabricated", "guest", "mc", "parallel", "primitives", "requests"];
    static_tests(shell, &["foliocopy", "foliocopy-vm-memory"], &TESTS)
}

/// Builds the unit tests of these crates and these other tests for aarch64.
fn static_tests(shell: &Shell, crates: &[&str], tests: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let expected = crates.len() + tests.len();
    let crates = crates.iter().flat_map(|name| ["--package", name]);
    let tests = tests.iter().flat_map(|test| ["--test", test]);
    let _static = build_statically(shell);
    let messages = cmd!(
        shell,
        "cargo test --quiet --no-run --message-format json --target {AARCH64} --target-dir {BUILT} {crates...} --lib {tests...}"
    );
    let messages = messages.quiet().read()?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let built: Vec<_> = messages
        .filter_map(|message| {
            let name = message["target"]["name"].as_str()?.to_owned();
            Some((name, PathBuf::from(message["executable"].as_str()?)))
        })
        .collect();
    ensure!(built.len() == expected, "cargo built {} tests, not {expected}", built.len());
    Ok(built)
}

/// Makes cargo link statically. With --target the flags apply only to programs of the guest, and not to build scripts.
fn build_statically(shell: &Shell) -> [xshell::PushEnv<'_>; 4] {
    [
        shell.push_env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=symbols"),
        shell.push_env("CARGO_PROFILE_DEV_OPT_LEVEL", "1"),
        shell.push_env("CARGO_PROFILE_TEST_OPT_LEVEL", "1"),
        shell.push_env(need::LINKER_AARCH64.0, need::LINKER_AARCH64.1),
    ]
}
