//! The guest boots and has the nodes that every other scenario relies on.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Ending, Scenario};
use crate::guest::Guest;
use crate::machine::{MEMORY_ONLY_NODE, Machine, NODES};

pub(super) const BOOT: Scenario = Scenario {
    name: "boot",
    proves: "a stock kernel boots with three NUMA nodes, one of them memory-only",
    machine: Machine::ERMS,
    limit: Duration::from_secs(120),
    ending: Ending::Verdict,
    run,
};

fn run(guest: &Guest) -> Result<()> {
    let online = guest.read("/sys/devices/system/node/online")?;
    ensure!(online == format!("0-{}", NODES - 1), "online nodes are {online}, not 0-{}", NODES - 1);
    for node in 0..NODES {
        let cpus = guest.read(format!("/sys/devices/system/node/node{node}/cpulist"))?;
        ensure!(
            cpus.is_empty() == (node == MEMORY_ONLY_NODE),
            "node {node} has CPUs {cpus:?}, but only node {MEMORY_ONLY_NODE} must have none"
        );
    }
    Ok(())
}
