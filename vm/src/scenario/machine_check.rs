//! A real machine check, injected by QEMU into a copy that runs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Ending, Scenario};
use crate::guest::{DEBUGFS, Guest};
use crate::machine::Machine;

/// What our functions are called in a panic's account of where it happened: the engine's, which alone copy.
pub const OURS: &[&str] = &["{foliocopy_engine_", "{_ZN9foliocopy"];

/// What is copied while machine checks come. QEMU raises one between two blocks of translated code: anywhere within
/// `rep movs`, but for a loop only where a turn starts. A loop over one page would spend too much of its time elsewhere.
const COPIES: &[(&str, &[u32])] =
    &[("rep_movsb", &[0, 9]), ("rep_movsq", &[0, 9]), ("movq", &[9]), ("movnti", &[9])];

/// `-EHWPOISON`
const HWPOISON: &str = "-133";

/// What the guest says of a window in which none was injected in time.
pub const MISSED: &str = "no machine check arrived in time";

pub(super) const RECOVERED: Scenario = Scenario {
    name: "machine-check",
    proves: "a machine check in a safe copy is survived by every primitive, and the exact page reported",
    machine: Machine::ERMS,
    limit: Duration::from_secs(120),
    ending: Ending::Verdict,
    run: recovered,
};

pub(super) const PLAIN_TYPE: Scenario = Scenario {
    name: "machine-check-plain-type",
    proves: "what saves it is the type of the table's entries: with EX_TYPE_FAULT the kernel panics in our copy",
    machine: Machine::ERMS,
    limit: Duration::from_secs(120),
    ending: Ending::MachineCheckPanic { inside: OURS },
    run: |guest| {
        let _module = guest.load_file("foliocopy", "/lib/foliocopy-plain-type.ko", "")?;
        let _window = guest.load("foliocopy_machine_check", "order=9")?;
        anyhow::bail!(MISSED)
    },
};

fn recovered(guest: &Guest) -> Result<()> {
    let module = guest.load("foliocopy", "")?;
    let mut errors = 0;
    for (primitive, orders) in COPIES {
        guest.write("/sys/module/foliocopy/parameters/primitive_temporal", primitive)?;
        for order in *orders {
            let window = guest.load("foliocopy_machine_check", &format!("order={order}"))?;
            let parameter =
                |name| guest.read(format!("/sys/module/foliocopy_machine_check/parameters/{name}"));
            let (result, copies) = (parameter("result")?, parameter("copies")?);
            ensure!(result != "0", "{primitive}, order {order}: {MISSED} ({copies} copies)");
            ensure!(
                result == HWPOISON,
                "{primitive}, order {order}: the copy returned {result}, not -EHWPOISON"
            );
            errors += 1;
            let first: u64 = parameter("pfn")?.parse()?;
            let bad = reported(guest, errors)?;
            // QEMU raises it wherever the copy stands: at order 0 that is the page whose address it gave.
            ensure!(
                (first..first + (1 << order)).contains(&bad),
                "{primitive}, order {order}: page frame {bad:#x} was reported, the source starts at {first:#x}"
            );
            window.unload()?;
        }
    }
    // The machine lives, and copies on.
    guest.benchmark("contenders=foliocopy-mc,folio_mc_copy order=9")?;
    module.unload()
}

/// The last bad page frame, if that many errors were counted.
fn reported(guest: &Guest, errors: u64) -> Result<u64> {
    let counters = guest.read(format!("{DEBUGFS}/counters"))?;
    let value = |name: &str| counters.lines().find_map(|line| line.strip_prefix(name));
    let counted = value("errors ").context("no count of errors")?;
    ensure!(counted == errors.to_string(), "{counted} errors were counted, not {errors}");
    let pfn = value("last_bad_pfn 0x").context("no last_bad_pfn")?;
    Ok(u64::from_str_radix(pfn, 16)?)
}
