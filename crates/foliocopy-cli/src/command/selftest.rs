//! `foliocopy selftest`: are copies right on this machine, and do they stop at bad memory?

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use comfy_table::{ContentArrangement, Table, presets};
use foliocopy::{CopyError, Policy, Primitive, sigbus};

use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::printer;
use crate::selftest::{Bench, Mismatch, Outcome, plain, safe};

/// Arguments of `foliocopy selftest`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Check these primitives alone, such as rep_movsb [default: all that this CPU has]
    #[arg(value_name = "PRIMITIVE")]
    primitives: Vec<Primitive>,
}

/// The checks, by name.
type Check = (&'static str, fn(&mut Bench, Primitive) -> Outcome);

/// In the order of the columns.
const PLAIN: Check = ("plain copies", |bench, primitive| bench.lengths_and_offsets(plain(primitive)));
const SAFE: [Check; 3] = [
    ("safe copies", |bench, primitive| bench.lengths_and_offsets(safe(primitive))),
    ("faults by page", Bench::faults_by_page),
    ("faults by line", |bench, primitive| bench.faults_by_line(safe(primitive))),
];

/// The findings.
#[derive(Default)]
struct Findings {
    rows: Vec<Vec<String>>,
    /// Lines below the rows, whose reasons would make a column too wide.
    unchecked: Vec<String>,
    checked: usize,
    right: usize,
    mismatches: Vec<(Primitive, &'static str, Mismatch)>,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let interrupt = Interrupt::catch()?;
    let cpu = *Policy::host().cpu();
    sigbus::install().context("machine-check-safe copies can't be checked")?;
    let mut bench = Bench::new().context("no memory to copy")?;
    let asked = if args.primitives.is_empty() { Primitive::ALL } else { &args.primitives };
    if let Some(primitive) = args.primitives.iter().find(|primitive| !primitive.is_available(&cpu)) {
        anyhow::bail!(CopyError::Unavailable { primitive: *primitive, missing: primitive.missing(&cpu) });
    }

    let started = Instant::now();
    let mut findings = Findings::default();
    for primitive in asked {
        if interrupt.is_set() {
            break;
        }
        if primitive.is_available(&cpu) {
            findings.check(*primitive, &mut bench);
        } else {
            let why = match primitive.is_built() {
                true => format!("not checked: lacks {}", primitive.missing(&cpu)),
                false => "not checked: not on this architecture".to_owned(),
            };
            findings.unchecked.push(format!("{primitive:<10} {why}\n"));
        }
    }

    printer::line(format_args!("{cpu}\n\n{}\n{}", findings.table().trim_fmt(), findings.unchecked.concat()))?;
    for (primitive, check, mismatch) in &findings.mismatches {
        printer::line(format_args!("{primitive}, {check}: {mismatch}"))?;
    }
    let seconds = started.elapsed().as_secs_f32();
    let Findings { checked, right, mismatches, .. } = &findings;
    let (verdict, exit) = match (interrupt.is_set(), mismatches.len()) {
        (_, wrong @ 1..) => {
            (format!("wrong: {wrong} checks failed, {right} copies were right"), Exit::Negative)
        }
        (true, 0) => (format!("interrupted; all {right} copies until then were right"), Exit::Interrupted),
        (false, 0) => {
            (format!("all right: {checked} primitives, {right} copies, in {seconds:.1} s"), Exit::Good)
        }
    };
    printer::line(verdict)?;
    Ok(exit.into())
}

impl Findings {
    /// Makes every check of a primitive, and a row of the findings.
    fn check(&mut self, primitive: Primitive, bench: &mut Bench) {
        let mut row = vec![primitive.to_string(), self.make(PLAIN, primitive, bench)];
        if primitive.is_machine_check_safe() {
            row.extend(SAFE.map(|check| self.make(check, primitive, bench)));
        } else {
            row.push("has no safe variant".to_owned());
        }
        self.rows.push(row);
        self.checked += 1;
    }

    fn make(&mut self, (name, check): Check, primitive: Primitive, bench: &mut Bench) -> String {
        match check(bench, primitive) {
            Ok(right) => {
                self.right += right;
                format!("{right} right")
            }
            Err(mismatch) => {
                self.mismatches.push((primitive, name, mismatch));
                "WRONG".to_owned()
            }
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["primitive", PLAIN.0].into_iter().chain(SAFE.map(|(name, _)| name)));
        table.add_rows(&self.rows);
        if let Some(first) = table.column_mut(0) {
            first.set_padding((0, 1));
        }
        table
    }
}
