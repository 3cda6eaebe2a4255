//! A kernel with the patch series for Linux (`cargo xtask upstream boot`). Each CPU, or kernel command line, leads it to
//! another copy.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::livepatch::{foliocopy, once, only_ours_moves};
use super::poison::{account, accounts, before_the_worker};
use super::{Ending, Scenario};
use crate::exception_table;
use crate::guest::Guest;
use crate::machine::{Machine, NODES};
use crate::memory::{Memory, PAGE};
use crate::poison::{Poison, machine_checks};

/// The common parts of these scenarios.
const UPSTREAM: Scenario = Scenario {
    name: "upstream",
    proves: "",
    machine: Machine::ERMS,
    limit: Duration::from_secs(1800),
    ending: Ending::Verdict,
    run: |_| Ok(()),
};

pub(super) const ERMS: Scenario = Scenario {
    name: "upstream-erms",
    proves: "with ERMS the series copies by rep movsb, keeps the contract and survives a machine check",
    run: |guest| run(guest, Some(MOVSB), "copy_mc_enhanced_fast_string"),
    ..UPSTREAM
};

pub(super) const REP_GOOD: Scenario = Scenario {
    name: "upstream-rep-good",
    proves: "the series with REP_GOOD alone: rep movsq",
    machine: Machine { cpu: "Haswell,vendor=GenuineIntel,-erms", ..UPSTREAM.machine },
    run: |guest| run(guest, Some(MOVSQ), "copy_mc_fast_string_qwords"),
    ..UPSTREAM
};

pub(super) const NEITHER: Scenario = Scenario {
    name: "upstream-neither",
    proves: "the series with neither: the unrolled loop, and copy_mc_fragile()",
    machine: UPSTREAM.machine.with("clearcpuid=erms,rep_good"),
    run: |guest| run(guest, None, "copy_mc_fragile"),
    ..UPSTREAM
};

pub(super) const RECOVERY: Scenario = Scenario {
    name: "upstream-mce-recovery",
    proves: "the series with mce=recovery: rep movsb, and copy_mc_fragile()",
    machine: UPSTREAM.machine.with("mce=recovery"),
    run: |guest| run(guest, Some(MOVSB), "copy_mc_fragile"),
    ..UPSTREAM
};

/// `rep movsb`, and `shr $3,%rcx; rep movsq`: the code to which copy_pages() is patched at boot.
const MOVSB: &[u8] = &[0xf3, 0xa4];
const MOVSQ: &[u8] = &[0x48, 0xc1, 0xe9, 0x03, 0xf3, 0x48, 0xa5];

/// The results of the series' KUnit tests, and their last line when all passed.
const KUNIT: &str = "/sys/kernel/debug/kunit/copy_pages/results";
const ALL_PASSED: &str = "# Totals: pass:4 fail:0 skip:0 total:4";

/// `plain` is the code of copy_pages(), a loop where it is `None`. `safe` is the function behind copy_mc_pages().
fn run(guest: &Guest, plain: Option<&[u8]>, safe: &str) -> Result<()> {
    let results = guest.read(KUNIT)?;
    println!("{results}");
    ensure!(results.contains(ALL_PASSED), "the KUnit tests say {results}");

    let code = exception_table::code_of_function(guest, "folio_copy")?;
    for instruction in [MOVSB, MOVSQ] {
        let there = code.windows(instruction.len()).any(|part| part == instruction);
        ensure!(there == (plain == Some(instruction)), "{instruction:x?} in folio_copy(): {there}");
    }
    only_ours_moves(guest)?;
    // A kernel that preempts does not yield, and the row says that it was not tested.
    guest.load("foliocopy_contract", "yields_large=0").context("the contract")?.unload()?;

    for node in 0..NODES as u32 {
        compact(guest, node).with_context(|| format!("compaction of node {node}"))?;
    }
    for src in 0..NODES as u32 {
        for dst in (0..NODES as u32).filter(|dst| *dst != src) {
            for folio_pages in [1, 16, 64, 512] {
                once(guest, folio_pages, src, dst)
                    .with_context(|| format!("move_pages(2) of {folio_pages} pages from {src} to {dst}"))?;
            }
            migrate_pages(src, dst).with_context(|| format!("migrate_pages(2) from {src} to {dst}"))?;
        }
    }
    let stress = ["migrate", "--stress", "10", "--folio", "64K", "--total", "16M", "--threads", "2"];
    let report = foliocopy(&stress)?;
    ensure!(report.contains(" 0 of them wrong"), "pages were wrong: {report}");
    lockdep_is_on(guest)?;

    let instructions = exception_table::of_function(guest, safe)?;
    for (order, bad) in [(0, 64), (0, 4032), (9, 299 * PAGE), (9, 511 * PAGE + 2048)] {
        poisoned_copy(guest, order, bad, &instructions)
            .with_context(|| format!("order {order}, byte {bad}"))?;
    }
    before_the_worker(guest)?;
    for account in accounts(guest, &instructions)? {
        guest.note(&account)?;
    }
    once(guest, 512, 0, 1).context("after all machine checks")?;
    nothing_warned(guest)
}

/// Copies a folio with a bad line by folio_mc_copy(). The copy stops there, and only that frame is reported.
fn poisoned_copy(guest: &Guest, order: u32, bad: usize, instructions: &[u64]) -> Result<()> {
    let folio = guest.load("foliocopy_machine_check", &format!("order={order}"))?;
    let parameter = |name| format!("/sys/module/foliocopy_machine_check/parameters/{name}");
    let physical: u64 = guest.read(parameter("physical"))?.parse()?;
    Poison::at(guest, physical + bad as u64, instructions.to_vec())?.spread(guest)?;

    let checks = machine_checks(guest)?;
    let mut log = guest.log_from_now()?;
    guest.write(parameter("copy"), "1").context("the destination has bytes that it should not have")?;
    let result = guest.read(parameter("result"))?;
    ensure!(result == "-133", "folio_mc_copy() returned {result}, not -EHWPOISON");
    let checks = machine_checks(guest)? - checks;
    ensure!(checks == 1, "{checks} machine checks, not 1");
    account(&mut log, (physical + bad as u64) / PAGE as u64, 1)?;
    // A loop of words has read one word of the line when the emulator raises the machine check at the next.
    let copied: usize = guest.read(parameter("copied"))?.parse()?;
    ensure!((bad..bad + 64).contains(&copied), "{copied} bytes were copied, and the bad line is at {bad}");
    folio.unload()
}

/// Moves all memory of this process from one node to another, as migratepages(8) does.
fn migrate_pages(src: u32, dst: u32) -> Result<()> {
    let memory = Memory::map_on(src, 1024, false)?;
    let (from, to) = (1u64 << src, 1u64 << dst);
    // SAFETY: masks of 64 bits, of which the kernel reads one bit less than it is told; 0 is this process.
    let left = unsafe { libc::syscall(libc::SYS_migrate_pages, 0, 65, &raw const from, &raw const to) };
    ensure!(left >= 0, "{}", std::io::Error::last_os_error());
    let dst = i32::try_from(dst)?;
    for page in 0..memory.pages() {
        ensure!(memory.node(page)? == dst, "page {page} is on node {}", memory.node(page)?);
        ensure!(memory.has_its_bytes(page), "page {page} has wrong bytes");
    }
    memory.unmap();
    Ok(())
}

/// Fragments the memory of a node, and compacts it, so that pages move to other frames.
fn compact(guest: &Guest, node: u32) -> Result<()> {
    // Several times as many pages as a node has of other memory, such as the init's files, which are moved first.
    const PAGES: usize = 32768;
    // Otherwise a CPU keeps freed pages to itself, where compaction does not find them.
    guest.write("/proc/sys/vm/percpu_pagelist_high_fraction", "1000000")?;
    let memory = Memory::map_on(node, PAGES, false)?;
    let kept = || (0..PAGES).filter(|page| page % 4 == 0);
    (0..PAGES).filter(|page| page % 4 != 0).try_for_each(|page| memory.give_back(page))?;
    let frames = || kept().map(|page| memory.frame(page)).collect::<Result<Vec<_>>>();
    let before = frames()?;
    guest.write(format!("/sys/devices/system/node/node{node}/compact"), "1")?;
    let moved = before.iter().zip(frames()?).filter(|(before, after)| **before != *after).count();
    ensure!(moved >= PAGES / 16, "of {} pages {moved} were moved", before.len());
    for page in kept() {
        ensure!(memory.has_its_bytes(page), "page {page} has wrong bytes");
    }
    memory.unmap();
    Ok(())
}

/// Checks that lockdep, if the kernel has it, still works. It stops at the first complaint, and after a machine check.
fn lockdep_is_on(guest: &Guest) -> Result<()> {
    let lockdep = Path::new("/proc/lockdep_stats");
    if lockdep.exists() {
        let text = guest.read(lockdep)?;
        let alive = text.lines().any(|line| line.trim().starts_with("debug_locks:") && line.ends_with('1'));
        ensure!(alive, "lockdep has switched itself off");
    }
    Ok(())
}

/// Checks that the kernel is not tainted by a warning or an error.
fn nothing_warned(guest: &Guest) -> Result<()> {
    // `TAINT_BAD_PAGE`, `TAINT_DIE`, `TAINT_WARN`, `TAINT_SOFTLOCKUP` (include/linux/panic.h). KASAN uses the first.
    const HURT: u64 = 1 << 5 | 1 << 7 | 1 << 9 | 1 << 14;
    let tainted: u64 = guest.read("/proc/sys/kernel/tainted")?.parse()?;
    ensure!(tainted & HURT == 0, "the kernel is tainted: {tainted:#x}");
    Ok(())
}
