//! The module comes and goes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Ending, Scenario};
use crate::guest::{DEBUGFS, Guest};
use crate::machine::Machine;

pub(super) const LOAD: Scenario = Scenario {
    name: "load",
    proves: "the module loads and unloads 50 times and leaves nothing behind",
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
    Ok(())
}
