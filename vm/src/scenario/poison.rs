//! A real machine check in the middle of a migration, by the stock method and by ours.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foliocopy::{Cause, CopyMcError, Page, PageRange, copy_mc_pages};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::livepatch::Patched;
use super::machine_check::MISSED;
use super::{Ending, Scenario};
use crate::guest::Guest;
use crate::machine::Machine;
use crate::memory::Memory;

pub(super) const POISON: Scenario = Scenario {
    name: "livepatch-poison",
    proves: "a machine check during move_pages() leaves folio, process and machine alive, by both methods alike",
    machine: Machine::ERMS,
    limit: Duration::from_secs(180),
    ending: Ending::Verdict,
    run,
};

fn run(guest: &Guest) -> Result<()> {
    guest.write("/proc/sys/kernel/numa_balancing", "0")?;
    let module = guest.load("foliocopy", "")?;
    let patch = Patched::apply_module(guest, "foliocopy_livepatch_hold")?;
    // Machine checks are injected into CPU 0.
    let mut cpus = CpuSet::new();
    cpus.set(0);
    sched_setaffinity(None, &cpus)?;

    let mut accounts = Vec::new();
    for method in ["stock", "foliocopy"] {
        patch.method(method)?;
        accounts.push(poisoned_move(guest, &patch, method)?);
    }
    let [stock, ours] = &accounts[..] else { unreachable!("two methods") };
    ensure!(
        stock == ours,
        "after the machine check the kernel says `{stock}` with its own copy, and `{ours}` with ours"
    );
    guest.note(&format!("what the kernel does with the page afterwards, by either method: {stock}"))?;
    // The machine lives, and other memory moves.
    let memory = Memory::map(512, true)?;
    ensure!(memory.move_to(0, 1)? == Some(1), "the next folio did not move");
    patch.revert()?;
    module.unload()
}

/// One page, hit while it is copied; what the kernel then says of it.
fn poisoned_move(guest: &Guest, patch: &Patched<'_>, method: &str) -> Result<String> {
    let memory = Memory::map(1, false)?;
    if memory.node(0)? != 0 {
        memory.move_to(0, 0)?;
    }
    ensure!(memory.node(0)? == 0, "the page does not start on node 0");
    let frame = memory.frame(0)?.context("the page is not mapped")?;
    let errors = || counter(guest, "errors ");
    let before = errors()?;
    guest.write(patch.parameter("hold_bad"), "N")?;
    guest.write(patch.parameter("hold_pfn"), &frame.to_string())?;
    let mut log = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg")?;

    let status = memory.move_to(0, 1)?;
    ensure!(guest.read(patch.parameter("hold_bad"))? == "Y", "{method}: {MISSED}");
    ensure!(status != Some(1), "{method}: move_pages says that the poisoned page moved");
    let queued = errors()? - before;
    let expected = u64::from(method == "foliocopy");
    ensure!(queued == expected, "{method}: foliocopy counted {queued} errors, not {expected}");
    if method == "foliocopy" {
        let reported = counter(guest, "last_bad_pfn ")?;
        ensure!(reported == frame, "frame {reported:#x} was reported instead of {frame:#x}");
    }
    let account = account(&mut log, frame).with_context(|| format!("{method}, frame {frame:#x}"))?;
    let fate = fate(&memory, frame).with_context(|| method.to_owned())?;
    Ok(format!("`{account}`, and {fate}"))
}

/// What the process has of its page. It must not be in another frame, and never be read as if nothing had happened to it
/// where the kernel has taken it away.
fn fate(memory: &Memory, frame: u64) -> Result<&'static str> {
    let destination = Memory::map(1, false)?;
    let range = |memory: &Memory| PageRange::new(memory.page(0).cast::<Page>(), 1);
    // SAFETY: both are mapped, nobody holds references to them, and SIGBUS is not blocked.
    let copied = unsafe { copy_mc_pages(range(&destination)?, range(memory)?) };
    match (memory.frame(0)?, copied) {
        (Some(stays), Ok(())) => {
            ensure!(stays == frame, "the page moved from frame {frame:#x} to {stays:#x}");
            // SAFETY: mapped by `Memory`.
            let value = unsafe { destination.page(0).read_volatile() };
            ensure!(value == Memory::value(0), "the page holds {value:#x}");
            Ok("the page stays mapped where it was")
        }
        (None, Err(CopyMcError::Memory(error))) if error.cause == Cause::HardwareMemoryError => {
            Ok("the process has lost the page: who reads it gets SIGBUS (BUS_MCEERR_AR)")
        }
        (now, copied) => anyhow::bail!("the page is in frame {now:?} now, and a copy of it gives {copied:?}"),
    }
}

/// What memory_failure() says of a frame, without its number. It works in a queue: this waits for it.
fn account(log: &mut fs::File, frame: u64) -> Result<String> {
    let start = format!("Memory failure: {frame:#x}: ");
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut record = [0; 8192];
    while Instant::now() < deadline {
        // One record a read; an error where there is none yet.
        let Ok(bytes) = log.read(&mut record) else {
            thread::sleep(Duration::from_millis(20));
            continue;
        };
        let text = String::from_utf8_lossy(&record[..bytes]);
        if let Some((_, account)) = text.lines().next().unwrap_or_default().split_once(&start) {
            return Ok(account.to_owned());
        }
    }
    anyhow::bail!("memory_failure() said nothing of it")
}

fn counter(guest: &Guest, name: &str) -> Result<u64> {
    let counters = guest.read(format!("{}/counters", crate::guest::DEBUGFS))?;
    let Some(value) = counters.lines().find_map(|line| line.strip_prefix(name)) else { return Ok(0) };
    Ok(match value.strip_prefix("0x") {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16)?,
        None => value.parse()?,
    })
}
