//! Programs of others under the livepatch: stress-ng and migratepages as Debian has them, and the kernel's own tests of moving
//! memory (tools/testing/selftests/mm).

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::livepatch::{Patched, added, copied, only_ours_moves};
use super::{Ending, Scenario};
use crate::guest::Guest;
use crate::machine::{Machine, NODES, Programs};
use crate::memory::Memory;

pub(super) const STRESS: Scenario = Scenario {
    name: "stress",
    proves: "stress-ng, migratepages, compaction and the kernel's own tests find no wrong byte while every folio is copied by ours",
    // The kernel's test of migration wants a CPU beside its own and the one that moves.
    machine: Machine { cpus_per_node: 2, ..Machine::ERMS.with_programs(Programs::Stress) },
    limit: Duration::from_secs(1800),
    ending: Ending::Verdict,
    run,
};

/// The kernel's tests, by the names of their programs.
pub const SELFTESTS: [&str; 4] = ["migration", "rmap", "hugetlb-soft-offline", "compaction_test"];

/// The test that passes by luck. It has 20 seconds to move a page of hugetlb that other processes read. Linux 6.12 fails it
/// now and then, without our modules too.
const BY_LUCK: &str = " migration.shared_anon_htlb";

/// The stressors of stress-ng, each of which has a process at least.
const STRESSORS: [&str; 5] = ["numa", "vm", "aio", "shm", "mremap"];

/// Its options. Each stressor checks its memory, for two minutes.
const HOW: &str = "--verify --timeout 120 --temp-path /tmp --vm-bytes 64M --shm-bytes 16M --mremap-bytes 32M";

fn run(guest: &Guest) -> Result<()> {
    // A test has a shell write to a file, others take shared memory.
    symlink("/bin/busybox", "/bin/sh")?;
    fs::create_dir_all("/dev/shm")?;
    only_ours_moves(guest)?;
    let module = guest.load("foliocopy", "")?;
    let patch = Patched::apply(guest)?;
    let mut before = copied(guest)?;
    let mut note_copies = |of: &str| -> Result<usize> {
        let now = copied(guest)?;
        let ways = added(&before, now.clone());
        before = now;
        let ways: Vec<_> = ways.iter().map(|(way, folios)| format!("{folios} {way}")).collect();
        let list = if ways.is_empty() { "none".to_owned() } else { ways.join(", ") };
        guest.note(&format!("folios of {of} that ours copied: {list}"))?;
        Ok(ways.len())
    };
    stress(guest)?;
    // Through the cache, and past it to the node without CPUs.
    ensure!(note_copies("stress-ng")? == 2, "ours did not copy in both ways under stress-ng");
    for name in SELFTESTS {
        selftest(guest, name).with_context(|| format!("the kernel's {name}"))?;
        note_copies(name)?;
    }
    patch.revert()?;
    module.unload()
}

/// Runs stress-ng. migratepages moves its processes, and this one, from node to node, and the kernel compacts memory.
fn stress(guest: &Guest) -> Result<()> {
    let mut stress = Command::new("/bin/stress-ng")
        .args(STRESSORS.map(|name| format!("--{name}=1")))
        .args(HOW.split(' '))
        .current_dir("/tmp")
        .stdin(Stdio::null())
        .spawn()
        .context("can't run stress-ng")?;
    let memory = Memory::map_on(0, 2048, false)?;
    let (mut turns, mut most) = (0, 0);
    while stress.try_wait()?.is_none() {
        for src in 0..NODES {
            let dst = (src + 1) % NODES;
            let processes = processes(&stress)?;
            most = most.max(processes.len());
            for process in processes {
                migratepages(process, src, dst)?;
            }
            ensure!(migratepages(std::process::id(), src, dst)?, "migratepages did not move this process");
            let node = i32::try_from(dst)?;
            let mut moved = 0;
            for page in 0..memory.pages() {
                ensure!(memory.has_its_bytes(page), "page {page} has wrong bytes");
                moved += usize::from(memory.node(page)? == node);
            }
            // A page that is in use for a moment stays, and is moved the next time.
            ensure!(2 * moved > memory.pages(), "migratepages moved {moved} of {} pages", memory.pages());
        }
        guest.write("/proc/sys/vm/compact_memory", "1")?;
        turns += 1;
    }
    memory.unmap();
    let status = stress.wait()?;
    // It fails where a stressor found a wrong byte, and where one could not run.
    ensure!(status.success(), "stress-ng ended with {status}");
    ensure!(most > STRESSORS.len(), "{most} processes of stress-ng were moved");
    guest.note(&format!("{most} processes of stress-ng went round the nodes {turns} times"))
}

/// A program's process, and all that descend from it.
fn processes(program: &Child) -> Result<Vec<u32>> {
    let mut found = vec![program.id()];
    let mut next = 0;
    while let Some(process) = found.get(next) {
        // A process that has ended has no such file.
        let children =
            fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
        found.extend(children.split_whitespace().map(str::parse::<u32>).collect::<Result<Vec<_>, _>>()?);
        next += 1;
    }
    Ok(found)
}

/// Moves the pages of a process. It is false where the process has ended.
fn migratepages(process: u32, src: usize, dst: usize) -> Result<bool> {
    let mut command = Command::new("/bin/migratepages");
    command.args([process.to_string(), src.to_string(), dst.to_string()]);
    let output = command.output().context("can't run migratepages")?;
    Ok(output.status.success())
}

/// Runs one of the kernel's programs of tests, and notes the skipped ones as not tested.
fn selftest(guest: &Guest, name: &str) -> Result<()> {
    let output = Command::new(format!("/tests/{name}")).current_dir("/tmp").stdin(Stdio::null()).output()?;
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    println!("# {name}\n{text}");
    // A plan, and a line for each test (Documentation/dev-tools/ktap.rst).
    let plan = text.lines().find_map(|line| line.strip_prefix("1..")?.parse().ok());
    let starting =
        |start: &str| -> Vec<&str> { text.lines().filter(|line| line.starts_with(start)).collect() };
    let (ok, failed) = (starting("ok "), starting("not ok "));
    ensure!(plan == Some(ok.len() + failed.len()), "it did not run all its tests: {}", output.status);
    let (skipped, passed): (Vec<_>, Vec<_>) = ok.into_iter().partition(|line| line.contains("# SKIP"));
    guest.note(&format!("{name}: {} tests of the kernel's passed", passed.len()))?;
    for line in skipped.iter().chain(&failed) {
        guest.note(&format!("not tested by the kernel's {name}: {line}"))?;
    }
    ensure!(failed.iter().all(|line| line.ends_with(BY_LUCK)), "{}", failed.join(", "));
    Ok(())
}
