//! A real machine check in the middle of a migration: in the unpatched kernel, in the livepatch's copy of the stock method, and
//! in ours.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use foliocopy::{Cause, CopyMcError, copy_mc_pages_raw};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::livepatch::{Patched, wait};
use super::machine_check::reported;
use super::{Ending, Scenario};
use crate::exception_table;
use crate::guest::Guest;
use crate::machine::Machine;
use crate::memory::{Memory, PAGE};
use crate::poison::{Poison, machine_checks};

pub(super) const POISON: Scenario = Scenario {
    name: "livepatch-poison",
    proves: "a machine check during move_pages() leaves folio, process and machine alive, as in the kernel without our modules",
    machine: Machine::ERMS,
    limit: Duration::from_secs(240),
    ending: Ending::Verdict,
    run,
};

/// The folios: their length in base pages, and the index of the bad page.
const FOLIOS: [(usize, usize); 2] = [(1, 0), (512, 299)];

/// The offset of the bad line in its page. It is not 0, so that no copy starts at it.
const LINE: usize = 1344;

fn run(guest: &Guest) -> Result<()> {
    guest.write("/proc/sys/kernel/numa_balancing", "0")?;
    before_the_worker(guest)?;

    // The copy function where the CPU has ERMS, in the kernel and in the livepatch's stock method.
    let of_kernel = exception_table::of_function(guest, "copy_mc_enhanced_fast_string")?;
    // The first machine check of a boot taints the kernel, and lets the worker run in between. So it is not compared.
    poisoned_move(guest, 1, 0, &of_kernel)?;
    let unpatched = accounts(guest, &of_kernel)?;

    let module = guest.load("foliocopy", "")?;
    let patch = Patched::apply(guest)?;
    patch.method("stock")?;
    let errors = reported(guest)?.0;
    same("the livepatch's stock method", &accounts(guest, &of_kernel)?, &unpatched)?;
    ensure!(reported(guest)?.0 == errors, "the stock method was counted as ours");

    patch.method("foliocopy")?;
    let checks = machine_checks(guest)?;
    let of_foliocopy = exception_table::of_module(guest, "foliocopy", "/lib/foliocopy.ko")?;
    same("foliocopy", &accounts(guest, &of_foliocopy)?, &unpatched)?;
    let (counted, checks) = (reported(guest)?.0 - errors, machine_checks(guest)? - checks);
    ensure!(counted == checks, "foliocopy counted {counted} errors of {checks} machine checks");

    for ((pages, _), account) in FOLIOS.iter().zip(&unpatched) {
        guest.note(&format!("{} KiB, by stock and by ours: {account}", pages * PAGE / 1024))?;
    }
    // The machine lives, and other memory can be moved.
    let memory = Memory::map_on(0, 512, true)?;
    ensure!(memory.move_to(0, 1)? == Some(1), "the next folio did not move");
    patch.revert()?;
    module.unload()
}

/// Keeps the kernel's worker of memory failures waiting until a move is over. It runs on the CPU that took the machine check.
/// Its result depends on whether the folio is still isolated for migration or back in place.
pub(super) fn before_the_worker(guest: &Guest) -> Result<()> {
    // A real-time thread keeps the worker out, with two exceptions in which the kernel gives it 50 ms of each second. One is
    // throttling. The other, since Linux 6.12, is a deadline server for fair tasks (`fair_server_init()`, kernel/sched/fair.c).
    guest.write("/proc/sys/kernel/sched_rt_runtime_us", "-1")?;
    guest.write("/sys/kernel/debug/sched/fair_server/cpu0/runtime", "0")?;
    let mut cpus = CpuSet::new();
    cpus.set(0);
    sched_setaffinity(None, &cpus)?;
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: this thread's own scheduling.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()).context("sched_setscheduler"),
    }
}

fn same(method: &str, accounts: &[String], unpatched: &[String]) -> Result<()> {
    for (account, unpatched) in accounts.iter().zip(unpatched) {
        ensure!(account == unpatched, "{method}: {account}; and without our modules: {unpatched}");
    }
    Ok(())
}

/// Describes in words what happens to each folio.
pub(super) fn accounts(guest: &Guest, instructions: &[u64]) -> Result<Vec<String>> {
    let account = |(pages, bad): &(usize, usize)| {
        poisoned_move(guest, *pages, *bad, instructions).with_context(|| format!("{pages} pages"))
    };
    FOLIOS.iter().map(account).collect()
}

/// Moves a folio with a bad line in one of its pages from node 0 to node 1.
fn poisoned_move(guest: &Guest, pages: usize, bad: usize, instructions: &[u64]) -> Result<String> {
    let memory = Memory::map_on(0, pages, pages > 1)?;
    let first = memory.frame(0)?.context("the folio is not mapped")?;
    let frame = memory.frame(bad)?.context("the page is not mapped")?;
    ensure!(frame == first + bad as u64, "the memory is not one folio");
    ensure!(memory.node(bad)? == 0, "the folio does not start on node 0");
    let mut log = guest.log_from_now()?;
    let physical = frame * PAGE as u64 + LINE as u64;
    Poison::at(guest, physical, instructions.to_vec())?.spread(guest)?;

    let before = machine_checks(guest)?;
    let status = memory.move_to(0, 1)?;
    let checks = machine_checks(guest)? - before;
    ensure!(checks > 0, "move_pages gives status {status:?}, and no machine check came");
    ensure!(status != Some(1), "move_pages says that the poisoned folio moved");
    let log = account(&mut log, frame, checks)?;
    Ok(format!(
        "{checks} machine checks, move_pages status {status:?}; {log}; {}",
        fate(&memory, bad, frame)?
    ))
}

/// Describes the memory of the process afterwards. No good page may be in another frame, or hold other bytes than before.
fn fate(memory: &Memory, bad: usize, frame: u64) -> Result<String> {
    let destination = Memory::map(1, false)?;
    let (mut kept, mut lost) = (Vec::new(), Vec::new());
    for page in 0..memory.pages() {
        // SAFETY: both are mapped, and nobody holds references to them.
        match unsafe { copy_mc_pages_raw(destination.page(0).cast(), memory.page(page).cast(), 1) } {
            Ok(()) => {
                // SAFETY: mapped by `Memory`, and written by the copy alone.
                let bytes = unsafe { std::slice::from_raw_parts(destination.page(0), PAGE) };
                ensure!(bytes.iter().all(|byte| *byte == Memory::value(page)), "page {page} has wrong bytes");
                kept.push(page);
            }
            Err(CopyMcError::Memory(error)) if error.cause == Cause::HardwareMemoryError => lost.push(page),
            Err(error) => bail!("page {page} gives {error}"),
        }
    }
    let stays = memory.frame(bad)?;
    ensure!(
        stays.is_none_or(|stays| stays == frame),
        "the bad page moved from frame {frame:#x} to {stays:x?}"
    );
    let nodes = kept.iter().map(|page| memory.node(*page)).collect::<Result<Vec<_>>>()?;
    ensure!(nodes.iter().all(|node| *node == 0), "pages are on other nodes now: {nodes:?}");
    Ok(match (&lost[..], kept.contains(&bad)) {
        ([], _) => "the process keeps every page, the bad one too".into(),
        ([one], _) if *one == bad => {
            "a read of the bad page gets SIGBUS (BUS_MCEERR_AR), other pages stay".into()
        }
        _ => format!("a read of one of {} pages gets SIGBUS (BUS_MCEERR_AR)", lost.len()),
    })
}

/// The messages of memory_failure() about a frame, without its number, until it has dealt with every report. It works in a
/// queue. No other frame may be reported.
pub(super) fn account(log: &mut File, frame: u64, reports: u64) -> Result<String> {
    const START: &str = "Memory failure: ";
    let frame = format!("{frame:#x}: ");
    let (mut lines, mut others) = (Vec::new(), Vec::new());
    let mut record = [0; 8192];
    let mut dealt_with = 0;
    wait(Duration::from_secs(60), || {
        while let Ok(bytes) = log.read(&mut record) {
            let text = String::from_utf8_lossy(&record[..bytes]);
            let Some((_, line)) = text.lines().next().unwrap_or_default().split_once(START) else { continue };
            match line.strip_prefix(&frame) {
                Some(line) => {
                    dealt_with += u64::from(line.starts_with("recovery action for "));
                    lines.push(format!("`{line}`"));
                }
                None => others.push(line.to_owned()),
            }
        }
        Ok(dealt_with >= reports)
    })
    .with_context(|| format!("memory_failure() dealt with {dealt_with} of {reports} reports: {lines:?}"))?;
    ensure!(
        dealt_with == reports,
        "memory_failure() dealt with {dealt_with} reports, and {reports} were made: {lines:?}"
    );
    ensure!(others.is_empty(), "other frames were reported: {others:?}");
    Ok(lines.join(", "))
}
