//! The scenarios, a file each.

mod aarch64;
mod boot;
mod cgroups;
mod garbage;
mod guide;
mod hwpoison;
mod livepatch;
mod load;
mod machine_check;
mod parameters;
mod poison;
mod process;
mod program;
mod run_all;
mod selftest;
mod service;
mod snapshot;
mod stress;
mod upstream;

use std::time::Duration;

use crate::Machine;
use crate::guest::Guest;
pub use stress::SELFTESTS;

/// One test in one boot.
pub struct Scenario {
    /// The name on the command line of `cargo xtask vm`.
    pub name: &'static str,
    /// The claim that it proves, in a phrase.
    pub proves: &'static str,
    /// The machine that it boots.
    pub machine: Machine,
    /// How long it may take from power-on under TCG on an otherwise idle machine. After that it counts as hung.
    pub limit: Duration,
    /// How a passing run ends.
    pub ending: Ending,
    /// Runs in the guest once it has booted. `Ok` is a pass.
    pub run: fn(&Guest) -> anyhow::Result<()>,
}

/// The end of a scenario that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The guest's verdict.
    Verdict,
    /// The kernel panics on the machine check, at the instruction at which it was raised.
    MachineCheckPanic,
}

/// Every scenario, in the order in which they run.
pub const ALL: &[&Scenario] = &[
    &boot::BOOT,
    &load::LOAD,
    &parameters::PARAMETERS,
    &garbage::GARBAGE,
    &program::PROGRAM,
    &selftest::ERMS,
    &selftest::REP_GOOD,
    &selftest::NEITHER,
    &selftest::FSRM,
    &selftest::RECOVERY,
    &selftest::HOSTED,
    &machine_check::RECOVERED,
    &machine_check::PLAIN_TYPE,
    &livepatch::CONTRACT,
    &livepatch::PROGRAM_TURNS,
    &run_all::RUN_ALL,
    &livepatch::MIGRATE,
    &livepatch::RECOVERY,
    &livepatch::CYCLES,
    &guide::GUIDE,
    &service::SERVICE,
    &poison::POISON,
    &hwpoison::HWPOISON,
    &snapshot::SNAPSHOT,
    &process::PROCESS,
    &cgroups::CGROUPS,
];

/// Those that run on the newest kernel too.
pub const NEWEST: &[&Scenario] =
    &[&machine_check::RECOVERED, &livepatch::MIGRATE, &livepatch::CONTRACT, &selftest::ERMS, &load::LOAD];

/// The scenarios that take long. They run only where they are named.
pub const LONG: &[&Scenario] = &[&stress::STRESS];

/// Every scenario of user space on aarch64, for which there is no module.
pub const AARCH64: &[&Scenario] = &[&aarch64::AARCH64];

/// Every scenario of a kernel with the patch series for Linux, which runs without our modules.
pub const UPSTREAM: [&Scenario; 4] =
    [&upstream::ERMS, &upstream::REP_GOOD, &upstream::NEITHER, &upstream::RECOVERY];

/// The scenario of that name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().chain(LONG).chain(AARCH64).chain(&UPSTREAM).copied().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_fit_a_kernel_command_line() {
        let all: Vec<_> = ALL.iter().chain(LONG).chain(AARCH64).chain(&UPSTREAM).collect();
        for (index, scenario) in all.iter().enumerate() {
            assert!(scenario.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            assert!(all[..index].iter().all(|earlier| earlier.name != scenario.name), "{}", scenario.name);
        }
    }
}
