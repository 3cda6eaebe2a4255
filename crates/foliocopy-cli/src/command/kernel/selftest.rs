//! `foliocopy kernel selftest`: has the module test itself.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use foliocopy_measure::text::harmless_lines;

use super::debugfs;
use crate::exit::Exit;
use crate::printer;

pub(super) fn run() -> Result<ExitCode> {
    let file = debugfs::folder()?.join("selftest");
    let report =
        fs::read_to_string(&file).with_context(|| format!("the self-test can't run ({})", file.display()))?;
    printer::print(harmless_lines(&report))?;
    match failures(&report) {
        Some(0) => Ok(Exit::Good.into()),
        Some(_) => Ok(Exit::Negative.into()),
        None => bail!("the self-test did not come to its end"),
    }
}

/// How many checks failed, by the last line: `10572 checks, 0 failures`.
fn failures(report: &str) -> Option<u64> {
    let (_, failures) = report.lines().last()?.split_once(" checks, ")?;
    failures.strip_suffix(" failures")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_report_has_a_count() {
        assert_eq!(failures("ok movq: 3 checks\n3 checks, 0 failures\n"), Some(0));
        assert_eq!(failures("FAIL movq: 3 checks\n3 checks, 2 failures\n"), Some(2));
        assert_eq!(failures("ok movq: 3 checks\n"), None);
        assert_eq!(failures(""), None);
    }
}
