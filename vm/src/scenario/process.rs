//! `foliocopy selftest` in a process of the guest.

use std::time::Duration;

use anyhow::ensure;

use super::livepatch::foliocopy;
use super::{Ending, Scenario};
use crate::machine::Machine;

pub(super) const PROCESS: Scenario = Scenario {
    name: "selftest-process",
    proves: "`foliocopy selftest` finds every copy right, and every fault at its place, with CONFIG_MEMORY_FAILURE",
    machine: Machine::ERMS,
    limit: Duration::from_secs(300),
    ending: Ending::Verdict,
    run: |_guest| {
        // The policy's primitives on this CPU: an emulator takes minutes for all primitives.
        let report = foliocopy(&["selftest", "rep_movsb", "movnti"])?;
        ensure!(
            report.contains("rep_movsb") && report.contains("movnti"),
            "the report lacks a primitive: {report}"
        );
        Ok(())
    },
};
