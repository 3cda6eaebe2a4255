//! The module loads and unloads.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use rustix::system::delete_module;

use super::{Ending, Scenario};
use crate::guest::{DEBUGFS, Guest};
use crate::machine::Machine;

pub(super) const LOAD: Scenario = Scenario {
    name: "load",
    proves: "the module loads and unloads 50 times, leaves nothing behind, and stays while one of its files is open",
    machine: Machine::ERMS,
    limit: Duration::from_secs(180),
    ending: Ending::Verdict,
    run,
};

fn run(guest: &Guest) -> Result<()> {
    for _ in 0..50 {
        let module = guest.load("foliocopy", "")?;
        ensure!(Path::new(DEBUGFS).is_dir(), "the loaded module has no {DEBUGFS}");
        guest.benchmark("contenders=foliocopy,foliocopy-mc order=2")?;
        module.unload()?;
        ensure!(!Path::new(DEBUGFS).exists(), "the unloaded module left {DEBUGFS} behind");
    }
    let module = guest.load("foliocopy", "")?;
    for name in ["counters", "policy", "selftest", "benchmark"] {
        let file = File::open(format!("{DEBUGFS}/{name}")).with_context(|| name.to_owned())?;
        let unloaded = delete_module(c"foliocopy", 0);
        ensure!(unloaded == Err(Errno::AGAIN), "unloading while {name} is open gives {unloaded:?}");
        drop(file);
    }
    module.unload()
}
