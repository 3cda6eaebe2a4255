//! A real machine check, raised by QEMU in a copy that reads a poisoned line.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Ending, Scenario};
use crate::exception_table;
use crate::guest::{DEBUGFS, Guest, Module};
use crate::machine::Machine;
use crate::memory::PAGE;
use crate::poison::{Poison, machine_checks};

/// The primitives under test.
const PRIMITIVES: &[&str] = &["rep_movsb", "rep_movsq", "movq", "movnti"];

/// The bad lines: order of the folio, page, and byte of the page. None is the first of a folio. There a string copy has read no
/// byte before the line, by which the host could stop it.
const LINES: &[(u32, usize, usize)] = &[(0, 0, 64), (0, 0, 4032), (9, 299, 0), (9, 511, 2048)];

/// `-EHWPOISON`
const HWPOISON: &str = "-133";

pub(super) const RECOVERED: Scenario = Scenario {
    name: "machine-check",
    proves: "a machine check in a safe copy is survived by every primitive, exact to the line",
    machine: Machine::ERMS,
    limit: Duration::from_secs(120),
    ending: Ending::Verdict,
    run: recovered,
};

pub(super) const PLAIN_TYPE: Scenario = Scenario {
    name: "machine-check-plain-type",
    proves: "the type of the table's entries saves the kernel: with EX_TYPE_FAULT it panics in our copy",
    machine: Machine::ERMS,
    limit: Duration::from_secs(120),
    ending: Ending::MachineCheckPanic,
    run: |guest| {
        let module = Foliocopy::load(guest, "/lib/foliocopy-plain-type.ko")?;
        module.copy_poisoned(guest, 9, 299 * PAGE)?;
        anyhow::bail!("a machine check was survived without an entry that says so")
    },
};

/// foliocopy.ko, and the instructions of its copies.
struct Foliocopy {
    module: Module,
    instructions: Vec<u64>,
}

/// The result of a copy.
#[derive(Debug, PartialEq)]
struct Copied {
    result: String,
    bytes: usize,
    machine_checks: u64,
    /// The page of the folio that was reported, and the number of reports.
    page: u64,
    errors: u64,
}

impl Foliocopy {
    fn load(guest: &Guest, file: &str) -> Result<Self> {
        let module = guest.load_file("foliocopy", file, "")?;
        let instructions = exception_table::of_module(guest, "foliocopy", file)?;
        Ok(Self { module, instructions })
    }

    /// Copies a folio with a bad line, which starts at byte `bad`.
    fn copy_poisoned(&self, guest: &Guest, order: u32, bad: usize) -> Result<Copied> {
        self.copy(guest, &format!("order={order}"), bad)
    }

    /// Copies a folio with a bad line, with these parameters of the test's module.
    fn copy(&self, guest: &Guest, parameters: &str, bad: usize) -> Result<Copied> {
        let folio = guest.load("foliocopy_machine_check", parameters)?;
        let parameter = |name| format!("/sys/module/foliocopy_machine_check/parameters/{name}");
        let physical: u64 = guest.read(parameter("physical"))?.parse()?;
        Poison::at(guest, physical + bad as u64, self.instructions.clone())?.spread(guest)?;

        let (errors, checks) = (reported(guest)?.0, machine_checks(guest)?);
        guest.write(parameter("copy"), "1").context("the destination has bytes that it should not have")?;
        let (errors_after, frame) = reported(guest)?;
        let copied = Copied {
            result: guest.read(parameter("result"))?,
            bytes: guest.read(parameter("copied"))?.parse()?,
            machine_checks: machine_checks(guest)? - checks,
            page: frame.wrapping_sub(physical / PAGE as u64),
            errors: errors_after - errors,
        };
        folio.unload()?;
        Ok(copied)
    }
}

fn recovered(guest: &Guest) -> Result<()> {
    let foliocopy = Foliocopy::load(guest, "/lib/foliocopy.ko")?;
    let parameter = |name| format!("/sys/module/foliocopy/parameters/{name}");
    for primitive in PRIMITIVES {
        guest.write(parameter("primitive_temporal"), primitive)?;
        for (order, page, byte) in LINES {
            let bad = page * PAGE + byte;
            let copied = foliocopy.copy_poisoned(guest, *order, bad)?;
            is_stopped_at(bad, 1, copied)
                .with_context(|| format!("{primitive}, order {order}, byte {bad}"))?;
        }
    }

    // A batch stops at its second folio, and does not write behind the bad line. One of the primitives goes past the cache.
    for primitive in ["rep_movsb", "movnti"] {
        guest.write(parameter("primitive_temporal"), primitive)?;
        for (order, page, byte) in LINES {
            let bad = page * PAGE + byte;
            let copied = foliocopy.copy(guest, &format!("order={order} batch=1"), bad)?;
            is_stopped_at(bad, 1, copied)
                .with_context(|| format!("a batch by {primitive}, order {order}, byte {bad}"))?;
        }
    }

    // A glance at the source loads words of it. It learns nothing, and leaves the error to the copy.
    guest.write(parameter("primitive_temporal"), "auto")?;
    guest.write(parameter("sampling"), "Y")?;
    let glanced_at = (PAGE << 9) / 8;
    let copied = foliocopy.copy_poisoned(guest, 9, glanced_at)?;
    let checks = copied.machine_checks;
    if checks == 1 {
        guest.note("not tested: a glance that is hit: the emulator's counter can't tell cached lines from others, so none is made")?;
    }
    ensure!(matches!(checks, 1 | 2), "{checks} machine checks in a glance and a copy");
    is_stopped_at(glanced_at, checks, copied).context("a glance at a bad line")?;

    // The machine lives, and further copies work.
    guest.benchmark("contenders=foliocopy-mc,folio_mc_copy order=9")?;
    foliocopy.module.unload()
}

/// Checks that the copy stopped at the bad line, and reported it once.
fn is_stopped_at(bad: usize, machine_checks: u64, copied: Copied) -> Result<()> {
    let page = (bad / PAGE) as u64;
    let expected = Copied { result: HWPOISON.to_owned(), bytes: bad, machine_checks, page, errors: 1 };
    ensure!(copied == expected, "{copied:?}, not {expected:?}");
    Ok(())
}

/// How many errors the module counted, and the last bad page frame.
pub(super) fn reported(guest: &Guest) -> Result<(u64, u64)> {
    let counters = guest.read(format!("{DEBUGFS}/counters"))?;
    let value = |name: &str| counters.lines().find_map(|line| line.strip_prefix(name));
    let errors = value("errors ").context("no count of errors")?.parse()?;
    let frame = value("last_bad_pfn 0x").map_or(Ok(u64::MAX), |frame| u64::from_str_radix(frame, 16))?;
    Ok((errors, frame))
}
