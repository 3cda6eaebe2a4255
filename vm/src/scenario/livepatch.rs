//! The livepatch: it can be applied and reverted, it keeps the contract, and the patched functions call ours.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::{Ending, Scenario};
use crate::guest::{Guest, Module};
use crate::machine::{MEMORY_ONLY_NODE, Machine};
use crate::memory::Memory;

/// The program, at its usual path.
const PROGRAM: &str = "/bin/foliocopy";

pub(super) const CONTRACT: Scenario = Scenario {
    name: "livepatch-contract",
    proves: "folio_copy() and folio_mc_copy() keep their contract unpatched, patched, and patched with the stock method",
    machine: Machine::ERMS,
    limit: Duration::from_secs(180),
    ending: Ending::Verdict,
    run: contract,
};

pub(super) const MIGRATE: Scenario = Scenario {
    name: "migrate",
    proves: "base pages and folios of 64K, 256K and 2M move over all node pairs; ours copied each once, as the policy names",
    machine: Machine::ERMS,
    limit: Duration::from_secs(400),
    ending: Ending::Verdict,
    run: migrate,
};

pub(super) const CYCLES: Scenario = Scenario {
    name: "livepatch-cycles",
    proves: "20 times on and off, and 200 switches of the method, while memory moves, is written and checked",
    machine: Machine::ERMS,
    limit: Duration::from_secs(400),
    ending: Ending::Verdict,
    run: cycles,
};

pub(super) const PROGRAM_TURNS: Scenario = Scenario {
    name: "livepatch-program",
    proves: "`foliocopy kernel patch` turns it on and off, leaves nothing behind when that takes too long, and undoes nobody else's",
    machine: Machine::ERMS,
    limit: Duration::from_secs(180),
    ending: Ending::Verdict,
    run: program,
};

pub(super) const RECOVERY: Scenario = Scenario {
    name: "livepatch-mce-recovery",
    proves: "with mce=recovery safe copies are copy_mc_to_kernel()'s, and pages move as they should",
    machine: Machine::ERMS.with("mce=recovery"),
    limit: Duration::from_secs(180),
    ending: Ending::Verdict,
    run: recovery,
};

/// The applied livepatch.
pub(super) struct Patched<'a> {
    guest: &'a Guest,
    module: Option<Module>,
}

impl<'a> Patched<'a> {
    /// Loads the livepatch, and waits until every task runs it.
    pub(super) fn apply(guest: &'a Guest) -> Result<Self> {
        let module = guest.load("foliocopy_livepatch", "")?;
        let patched = Self { guest, module: Some(module) };
        wait(Duration::from_secs(60), || Ok(guest.read(Self::state("transition"))? == "0"))
            .context("not every task took the patch")?;
        ensure!(guest.read(Self::state("enabled"))? == "1", "the patch is not enabled");
        Ok(patched)
    }

    /// A file of the livepatch in sysfs.
    fn state(name: &str) -> String {
        format!("/sys/kernel/livepatch/foliocopy_livepatch/{name}")
    }

    /// A parameter of the module.
    fn parameter(name: &str) -> String {
        format!("/sys/module/foliocopy_livepatch/parameters/{name}")
    }

    /// Switches between the stock method and ours.
    pub(super) fn method(&self, method: &str) -> Result<()> {
        self.guest.write(Self::parameter("method"), method)
    }

    /// Reverts and unloads the livepatch.
    pub(super) fn revert(mut self) -> Result<()> {
        let enabled = Self::state("enabled");
        self.guest.write(&enabled, "0")?;
        wait(Duration::from_secs(60), || Ok(!Path::new(&enabled).exists()))
            .context("not every task left the patch")?;
        self.module.take().context("loaded")?.unload_within(Duration::from_secs(10))
    }
}

/// Waits until the condition holds.
pub(super) fn wait(limit: Duration, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !so()? {
        ensure!(Instant::now() < deadline, "still not so after {limit:?}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Waits until a process catches SIGINT, which would end it otherwise.
pub(super) fn wait_until_it_catches_signals(guest: &Guest, process: u32) -> Result<()> {
    wait(Duration::from_secs(60), || {
        let status = guest.read(format!("/proc/{process}/status"))?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.context("no mask of signals")?.trim(), 16)?;
        Ok(caught & 1 << (libc::SIGINT - 1) != 0)
    })
    .context("foliocopy catches no signal")
}

/// Runs `foliocopy` with these arguments. Returns its standard output.
pub(super) fn foliocopy(arguments: &[&str]) -> Result<String> {
    foliocopy_ends(arguments, 0)
}

/// Runs `foliocopy`, which must end with this exit code. Returns its output and messages.
pub(super) fn foliocopy_ends(arguments: &[&str], code: i32) -> Result<String> {
    let output = Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    println!("$ foliocopy {}\n{stdout}{stderr}", arguments.join(" "));
    ensure!(
        output.status.code() == Some(code),
        "foliocopy {} ended with {}, not {code}: {stderr}",
        arguments.join(" "),
        output.status
    );
    Ok(if code == 0 { stdout } else { stdout + &stderr })
}

fn contract(guest: &Guest) -> Result<()> {
    let module = guest.load("foliocopy", "")?;
    // A folio of order 9 yields after each of its 512 pages except the last.
    const STOCK: &str = "yields_large=511";
    guest.load("foliocopy_contract", STOCK).context("the stock kernel")?.unload()?;

    let patch = Patched::apply(guest)?;
    // One chunk: 2 MiB are less than 32 MiB.
    guest.load("foliocopy_contract", "yields_large=0").context("patched")?.unload()?;
    // Eight chunks.
    guest.write("/sys/module/foliocopy/parameters/chunk_bytes", "262144")?;
    guest.load("foliocopy_contract", "yields_large=7").context("patched, in chunks of 256 KiB")?.unload()?;
    patch.method("stock")?;
    guest.load("foliocopy_contract", STOCK).context("patched, stock method")?.unload()?;
    ensure!(patch.method("memcpy").is_err(), "an unknown method was taken");
    patch.revert()?;

    guest.load("foliocopy_contract", STOCK).context("the stock kernel again")?.unload()?;
    module.unload()
}

/// The folios copied on each path by each primitive: `PATH PRIMITIVE` and the count.
pub(super) fn copied(guest: &Guest) -> Result<Vec<(String, u64)>> {
    let counters = guest.read(format!("{}/counters", crate::guest::DEBUGFS))?;
    let line = |line: &str| {
        let (name, rest) = line.split_once(" folios ")?;
        Some((name.to_owned(), rest.split(' ').next()?.parse().ok()?))
    };
    Ok(counters.lines().filter_map(line).collect())
}

/// The counts since `before`.
pub(super) fn added(before: &[(String, u64)], after: Vec<(String, u64)>) -> Vec<(String, u64)> {
    let earlier = |name: &str| before.iter().find(|(other, _)| other == name).map_or(0, |(_, count)| *count);
    after
        .into_iter()
        .map(|(name, count)| (name.clone(), count - earlier(&name)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn migrate(guest: &Guest) -> Result<()> {
    only_ours_moves(guest)?;
    let module = guest.load("foliocopy", "")?;
    let patch = Patched::apply(guest)?;
    for (size, folio_pages) in [("4K", 1), ("64K", 16), ("256K", 64), ("2M", 512)] {
        for (src, dst) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
            once_a_folio(guest, folio_pages, src, dst)
                .with_context(|| format!("{size} from {src} to {dst}"))?;
        }
    }
    aio(guest, RING_MOVES.len() as u64)?;
    let report = foliocopy(&[
        "migrate",
        "--folio",
        "4K,64K,256K,2M",
        "--total",
        "4M",
        "--rounds",
        "1",
        "--export-json",
        "-",
        "--quiet",
    ])?;
    check_report(&report)?;
    let timed = foliocopy(&[
        "migrate",
        "--latency",
        "--folio",
        "64K",
        "--total",
        "4M",
        "--nodes",
        "0:1",
        "--rounds",
        "1",
        "--export-json",
        "-",
        "--quiet",
    ])?;
    for part in ["\"latency\": \"a call a folio\"", "\"p50_ns\"", "\"clock_ns\""] {
        ensure!(timed.contains(part), "the results of `migrate --latency` lack {part}: {timed}");
    }
    patch.method("stock")?;
    let before = copied(guest)?;
    once(guest, 512, 0, 1)?;
    ensure!(added(&before, copied(guest)?).is_empty(), "the stock method was counted as ours");
    aio(guest, 0).context("the stock method")?;
    patch.revert()?;

    aio(guest, 0).context("unpatched")?;
    let before = copied(guest)?;
    once(guest, 512, 0, 1)?;
    once(guest, 1, 0, 2)?;
    let added = added(&before, copied(guest)?);
    ensure!(added.is_empty(), "unpatched, and still counted: {added:?}");
    for signal in [libc::SIGKILL, libc::SIGINT] {
        killed(guest, signal)?;
    }
    module.unload()
}

/// Kills `foliocopy migrate` in the middle: the switches of huge pages must go back to their old values.
fn killed(guest: &Guest, signal: libc::c_int) -> Result<()> {
    const SWITCHES: [(&str, &str); 2] = [
        ("/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled", "[never]"),
        ("/sys/kernel/mm/transparent_hugepage/hugepages-2048kB/enabled", "[inherit]"),
    ];
    for (switch, value) in SWITCHES {
        guest.write(switch, value.trim_matches(['[', ']']))?;
    }
    let mut program = Command::new(PROGRAM)
        .args(["migrate", "--folio", "64K", "--total", "8M", "--rounds", "1000000", "--quiet"])
        .stdin(Stdio::null())
        .spawn()?;
    let as_found = || -> Result<bool> {
        let values = SWITCHES.map(|(switch, value)| Ok(guest.read(switch)?.contains(value)));
        values.into_iter().try_fold(true, |all, one: Result<bool>| Ok(all && one?))
    };
    wait(Duration::from_secs(20), || Ok(guest.read(SWITCHES[0].0)?.contains("[madvise]")))
        .context("the switch was never set")?;
    ensure!(!as_found()?, "the switches are as they were, in the middle of it");
    thread::sleep(Duration::from_millis(300));
    // SAFETY: a signal to our own child.
    unsafe { libc::kill(libc::pid_t::try_from(program.id())?, signal) };
    program.wait()?;
    // Another process than our child restores them, and outlives it.
    wait(Duration::from_secs(20), as_found)
        .with_context(|| format!("after signal {signal} switches stay changed"))
}

/// Moves folios that never moved before. Ours must copy each once, by the policy's primitive for the destination.
fn once_a_folio(guest: &Guest, folio_pages: usize, src: u32, dst: u32) -> Result<()> {
    let before = copied(guest)?;
    let folios = once(guest, folio_pages, src, dst)?;
    let primitive = match usize::try_from(dst) {
        Ok(MEMORY_ONLY_NODE) => "machine-check-safe movnti",
        _ => "machine-check-safe rep_movsb",
    };
    let added = added(&before, copied(guest)?);
    ensure!(added == [(primitive.to_owned(), folios)], "{folios} folios moved, and counted are {added:?}");
    Ok(())
}

/// Moves 2 MiB of folios, 64 at most, from one node to another. Returns how many folios moved.
pub(super) fn once(guest: &Guest, folio_pages: usize, src: u32, dst: u32) -> Result<u64> {
    let switches = "/sys/kernel/mm/transparent_hugepage";
    for kibibytes in [64, 256, 2048] {
        let chosen = if kibibytes == 4 * folio_pages { "madvise" } else { "never" };
        guest.write(format!("{switches}/hugepages-{kibibytes}kB/enabled"), chosen)?;
    }
    let pages = 512.min(64 * folio_pages);
    let memory = Memory::map_on(src, pages, folio_pages > 1)?;
    let node = i32::try_from(dst)?;
    for folio in (0..pages).step_by(folio_pages) {
        let status = memory.move_to(folio, node)?;
        ensure!(status == Some(node), "the folio at page {folio} has status {status:?}");
    }
    for page in 0..pages {
        ensure!(memory.node(page)? == node, "page {page} is on node {}", memory.node(page)?);
        ensure!(memory.has_its_bytes(page), "page {page} has wrong bytes");
    }
    memory.unmap();
    guest.write(format!("{switches}/hugepages-64kB/enabled"), "never")?;
    Ok((pages / folio_pages) as u64)
}

/// Keeps the kernel from moving pages by itself, which would be counted too.
pub(super) fn only_ours_moves(guest: &Guest) -> Result<()> {
    guest.write("/proc/sys/kernel/numa_balancing", "0")?;
    guest.write("/proc/sys/vm/compaction_proactiveness", "0")
}

/// Checks a report: both methods are there, nothing was refused, and every folio had its size.
fn check_report(report: &str) -> Result<()> {
    for text in ["\"stock\"", "\"foliocopy\"", "\"complete\": true"] {
        ensure!(report.contains(text), "the result lacks {text}: {report}");
    }
    for text in ["did not move everything", "of the memory lay in folios", "is not known"] {
        ensure!(!report.contains(text), "the result warns `{text}`: {report}");
    }
    Ok(())
}

fn program(guest: &Guest) -> Result<()> {
    const ON: [&str; 5] = ["kernel", "patch", "on", "--modules", "/lib"];
    const OFF: [&str; 3] = ["kernel", "patch", "off"];
    let loaded = |name: &str| Path::new("/sys/module").join(name).exists();
    let shows = |code: i32, expected: &str| {
        let text = foliocopy_ends(&["kernel", "patch", "status"], code)?;
        ensure!(text.contains(expected), "the status lacks `{expected}`: {text}");
        Ok(())
    };

    shows(3, "livepatch:         off")?;
    ensure!(foliocopy(&OFF)?.contains("not patched"), "off, and it did not say so");
    // The timeout is too short: everything must be as before.
    let hasty = Command::new(PROGRAM).args(ON).args(["--timeout", "1ms"]).output()?;
    let complaint = String::from_utf8_lossy(&hasty.stderr).into_owned();
    if hasty.status.success() {
        println!("all tasks switched at once");
        foliocopy(&OFF)?;
        foliocopy(&["kernel", "patch", "off"])?;
    } else {
        ensure!(
            hasty.status.code() == Some(2) && complaint.contains("as it was"),
            "{}: {complaint}",
            hasty.status
        );
        ensure!(!loaded("foliocopy"), "foliocopy.ko was left behind");
    }
    ensure!(!loaded("foliocopy_livepatch"), "foliocopy_livepatch.ko was left behind");

    foliocopy(&ON)?;
    shows(0, "livepatch:         on")?;
    shows(0, "method:            foliocopy")?;
    ensure!(foliocopy(&ON)?.contains("already"), "on twice, and it did not say so");
    foliocopy(&["kernel", "patch", "method", "stock"])?;
    shows(0, "method:            stock")?;
    foliocopy(&OFF)?;
    shows(3, "livepatch:         off")?;
    ensure!(!loaded("foliocopy_livepatch"), "foliocopy_livepatch.ko stayed");
    let error = Command::new(PROGRAM).args(["kernel", "patch", "method", "stock"]).status()?;
    ensure!(error.code() == Some(2), "a method was chosen without the livepatch");

    let rival = guest.load("foliocopy_rival", "")?;
    let of_rival = |name: &str| format!("/sys/kernel/livepatch/foliocopy_rival/{name}");
    wait(Duration::from_secs(60), || Ok(guest.read(of_rival("transition"))? == "0")).context("the rival")?;
    let refused = foliocopy_ends(&ON, 2)?;
    ensure!(
        refused.contains("foliocopy_rival replaces folio_mc_copy() already") && refused.contains("--on-top"),
        "another livepatch is there, and it says: {refused}"
    );
    ensure!(!loaded("foliocopy_livepatch"), "foliocopy_livepatch.ko was loaded beside another livepatch");
    foliocopy(&[&ON[..], &["--on-top"]].concat())?;
    shows(0, "other livepatches: foliocopy_rival (replaces folio_mc_copy() too)")?;
    foliocopy(&OFF)?;
    guest.write(of_rival("enabled"), "0")?;
    wait(Duration::from_secs(60), || Ok(!Path::new(&of_rival("enabled")).exists())).context("the rival")?;
    rival.unload_within(Duration::from_secs(10))
}

fn recovery(guest: &Guest) -> Result<()> {
    let module = guest.load("foliocopy", "")?;
    let patch = Patched::apply(guest)?;
    let used = guest.read(Patched::parameter("use_copy_mc_to_kernel"))?;
    ensure!(used == "Y", "with mce=recovery use_copy_mc_to_kernel is {used}");
    // The contract holds, with no chunk smaller than the folio.
    guest.load("foliocopy_contract", "yields_large=0")?.unload()?;
    let before = copied(guest)?;
    foliocopy(&["migrate", "--folio", "2M,64K,4K", "--total", "8M", "--rounds", "1", "--quiet"])?;
    let added = added(&before, copied(guest)?);
    ensure!(
        added.iter().all(|(name, _)| name.starts_with("plain ")),
        "machine-check-safe copies were ours: {added:?}"
    );
    patch.revert()?;
    module.unload()
}

/// The nodes to which the ring of an aio context is moved in turn.
const RING_MOVES: [libc::c_int; 3] = [1, 0, 1];

/// Calls plain folio_copy() under a spinlock: the ring of an aio context migrates by it (aio_migrate_folio(), fs/aio.c). `ours`
/// of its copies must be ours.
fn aio(guest: &Guest, ours: u64) -> Result<()> {
    let mut ring: usize = 0;
    // SAFETY: io_setup(2) writes the context into `ring`, which is zero as it asks for.
    if unsafe { libc::syscall(libc::SYS_io_setup, 256, &raw mut ring) } != 0 {
        bail!("io_setup: {}", std::io::Error::last_os_error());
    }
    // SAFETY: the context is the address of the ring, whose first page is mapped readable; a read maps it in.
    unsafe { (ring as *const u32).read_volatile() };
    let move_to = |node: libc::c_int| -> Result<()> {
        let (page, mut status) = (ring as *mut libc::c_void, -1);
        // SAFETY: the ring's first page, and arrays of one element each; MPOL_MF_MOVE.
        let result = unsafe {
            libc::syscall(libc::SYS_move_pages, 0, 1, &raw const page, &raw const node, &raw mut status, 2)
        };
        ensure!(result >= 0, "move_pages: {}", std::io::Error::last_os_error());
        ensure!(status == node, "the aio ring was moved to node {node}, and has status {status}");
        Ok(())
    };
    // The ring may have been made on any node.
    move_to(0)?;
    let before = copied(guest)?;
    RING_MOVES.into_iter().try_for_each(move_to)?;
    let added = added(&before, copied(guest)?);
    // SAFETY: the context made above.
    unsafe { libc::syscall(libc::SYS_io_destroy, ring) };
    let expected = [("plain rep_movsb".to_owned(), ours)];
    ensure!(added == expected[..usize::from(ours > 0)], "the aio ring moved, and counted are {added:?}");
    Ok(())
}

fn cycles(guest: &Guest) -> Result<()> {
    let module = guest.load("foliocopy", "")?;
    let patch = Patched::apply(guest)?;
    under_stress(guest, || {
        for turn in 0..200 {
            patch.method(if turn % 2 == 0 { "stock" } else { "foliocopy" })?;
            thread::sleep(Duration::from_millis(10));
        }
        let before = copied(guest)?;
        wait(Duration::from_secs(20), || Ok(!added(&before, copied(guest)?).is_empty()))
            .context("nothing was copied by ours under stress")
    })?;
    patch.revert()?;

    // From here on everything runs on one CPU, since the emulator runs both in turns and two would only wait for each
    // other.
    let mut cpus = CpuSet::new();
    cpus.set(0);
    sched_setaffinity(None, &cpus)?;
    let mut longest = Duration::ZERO;
    under_stress(guest, || {
        for _ in 0..20 {
            let started = Instant::now();
            Patched::apply(guest)?.revert()?;
            longest = longest.max(started.elapsed());
        }
        Ok(())
    })?;
    guest.note(&format!("the longest of 20 cycles under stress took {:.1} s", longest.as_secs_f32()))?;
    module.unload()
}

/// Works while memory moves, is written and checked. No byte may be wrong.
fn under_stress(guest: &Guest, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut stress = Command::new(PROGRAM)
        .args(["migrate", "--stress", "100000", "--folio", "64K", "--total", "16M", "--threads", "2"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    wait_until_it_catches_signals(guest, stress.id())?;
    let outcome = work();
    let ended = stress.try_wait()?;
    // After the signal it reports and exits with 130, or with 1 where a byte was wrong.
    let pid = libc::pid_t::try_from(stress.id())?;
    // SAFETY: a signal to our own child.
    unsafe { libc::kill(pid, libc::SIGINT) };
    let output = stress.wait_with_output()?;
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{report}");
    outcome?;
    ensure!(
        ended.is_none() && output.status.code() == Some(130),
        "the stress ended with {}: {report}",
        output.status
    );
    ensure!(report.contains(" 0 of them wrong"), "pages were wrong: {report}");
    Ok(())
}
