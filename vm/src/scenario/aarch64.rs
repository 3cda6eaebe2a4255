//! User space on aarch64, where pages may be larger: the engine's own tests, the program, and poison.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::ptr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use foliocopy::{Cause, CopyMcError, CopyOptions, Cpu, PAGE_SIZE, Page, Primitive, Side};

use super::livepatch::foliocopy;
use super::{Ending, Scenario, hwpoison};
use crate::guest::Guest;
use crate::machine::Machine;

pub(super) const AARCH64: Scenario = Scenario {
    name: "aarch64",
    proves: "copies and faults are right on aarch64 with pages of 16 KiB: the engine's tests, the program, real poison",
    machine: Machine::AARCH64,
    limit: Duration::from_secs(480),
    ending: Ending::Verdict,
    run,
};

/// The page size of the kernel.
const PAGE_BYTES: usize = 16 << 10;

/// The folder of the tests of the engine and of what measures it.
const TESTS: &str = "/tests";

/// Tests that read the sources, which QEMU's emulator of user space runs in place; one that needs a system's `cp`; and those that
/// load a function of libc, which a program without libraries can't.
const ELSEWHERE: [&str; 7] = [
    "the_corpus_of_the_fuzzer",
    "every_primitive_has_its_file",
    "a_setuid_program_ignores_the_variables",
    "contender::tests::a_function_may_count_pages",
    "contender::tests::a_function_of_this_process_takes_part",
    "contender::tests::a_name_stands_once",
    "contender::tests::bad_names_say_what_would_be_right",
];

fn run(guest: &Guest) -> Result<()> {
    let bytes = rustix::param::page_size();
    ensure!(bytes == PAGE_BYTES, "pages have {bytes} bytes, not {PAGE_BYTES}");
    let cpu = Cpu::detect();
    let safe = |by: &Primitive| by.is_machine_check_safe() && by.is_available(&cpu);
    let primitives: Vec<Primitive> = Primitive::ALL.iter().copied().filter(safe).collect();
    if !primitives.contains(&Primitive::Mops) {
        guest.note("not tested: mops, which this machine's QEMU lacks (version 10 or later has it)")?;
    }
    hwpoison::run(guest)?;
    external_aborts(&primitives)?;
    let mut tests: Vec<PathBuf> =
        fs::read_dir(TESTS)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    tests.sort();
    ensure!(!tests.is_empty(), "there are no tests in {TESTS}");
    for test in &tests {
        engine(test)?;
    }
    program(guest, &primitives)
}

/// Copies from and to a place where no device answers: the bus refuses each access. The handler of SIGBUS has been installed.
fn external_aborts(primitives: &[Primitive]) -> Result<()> {
    /// In the memory map of QEMU's board (`hw/arm/virt.c`), between devices.
    const NOWHERE: libc::off_t = 0x0b00_0000;
    let devices = fs::OpenOptions::new().read(true).write(true).open("/dev/mem").context("/dev/mem")?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: new memory, behind which there is nothing.
    let nowhere = unsafe {
        libc::mmap(ptr::null_mut(), PAGE_BYTES, protection, libc::MAP_SHARED, devices.as_raw_fd(), NOWHERE)
    };
    ensure!(nowhere != libc::MAP_FAILED, "mmap: {}", io::Error::last_os_error());
    let nowhere = nowhere.cast::<Page>();
    let mut good = vec![Page::filled(0x5a); PAGE_BYTES / PAGE_SIZE];
    for (primitive, side) in primitives.iter().flat_map(|by| [(by, Side::Source), (by, Side::Destination)]) {
        let (dst, src) = match side {
            Side::Source => (good.as_mut_ptr(), nowhere.cast_const()),
            Side::Destination => (nowhere, good.as_ptr()),
        };
        let options = CopyOptions::new().primitive(*primitive);
        // SAFETY: both have that many pages, which nobody else uses.
        let answer = unsafe { options.copy_mc_pages_raw(dst, src, PAGE_BYTES / PAGE_SIZE) };
        let Err(CopyMcError::Memory(error)) = answer else { bail!("{primitive}, {side}: {answer:?}") };
        let found = (error.cause, error.side, error.bytes_copied, error.address);
        ensure!(found == (Cause::Other, side, 0, nowhere.addr()), "{primitive}, {side}: {error:?}");
    }
    ensure!(good.iter().all(|page| *page == Page::filled(0x5a)), "something was copied from nowhere");
    Ok(())
}

/// Runs a test program. Its faults must include poison, and not only the end of a file.
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
fn program(guest: &Guest, primitives: &[Primitive]) -> Result<()> {
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
    says(&["info", "--mask", "mops"], &["this CPU lacks mops", "ldp_stp"])?;
    let names: Vec<&str> = primitives.iter().map(|by| by.name()).collect();
    let right = format!("all right: {} primitives", names.len());
    says(&[&["selftest"], &names[..]].concat(), &[&right])?;
    let bench = "bench --folio 4K,64K --cache both --rounds 3 --evict 1M --memory anon -q";
    let contenders = names.iter().flat_map(|name| ["--contender", name]);
    says(&bench.split(' ').chain(contenders).collect::<Vec<_>>(), &["every copy was right", "ldp_stnp"])?;
    // Those of the kernel's default size have 32 MiB.
    guest.write("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "48")?;
    let bench = "bench --folio 2M --cache cold --rounds 3 --evict 1M --total 8M --memory hugetlb -q";
    says(&bench.split(' ').collect::<Vec<_>>(), &["every copy was right"])?;
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
