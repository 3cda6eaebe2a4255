//! The line by which the guest tells the host how a scenario ended.

use std::fmt;
use std::fs;
use std::io::Write;

use anyhow::{Context, Result};

/// The start of a verdict line.
const PREFIX: &str = "foliocopy-vm verdict: ";

/// The start of a note, a line beside the verdict.
pub(crate) const NOTE: &str = "foliocopy-vm note: ";

/// The guest's end of the port for these lines. The kernel prints elsewhere.
const PORT: &str = if cfg!(target_arch = "aarch64") { "/dev/ttyS0" } else { "/dev/ttyS1" };

/// Writes a line to the port, and waits until it is sent.
pub(crate) fn to_port(line: impl fmt::Display) -> Result<()> {
    let mut port = fs::OpenOptions::new().write(true).open(PORT).context(PORT)?;
    writeln!(port, "{line}")?;
    rustix::termios::tcdrain(&port)?;
    Ok(())
}

/// The notes among the guest's lines on its second serial port.
pub fn notes(port: &str) -> impl Iterator<Item = &str> {
    port.lines().filter_map(|line| line.trim_end().strip_prefix(NOTE))
}

/// How a scenario ended, as the guest saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The scenario saw everything that it demands.
    Pass,
    /// The scenario failed; the reason, on one line.
    Fail(String),
}

impl Verdict {
    /// The verdict for the result of a scenario. The chain of causes becomes one line.
    pub fn of(outcome: &Result<()>) -> Self {
        match outcome {
            Ok(()) => Self::Pass,
            Err(error) => Self::Fail(format!("{error:#}").replace(['\n', '\r'], " ")),
        }
    }

    /// Sends the verdict to the host.
    pub fn give(&self) -> Result<()> {
        to_port(self)
    }

    /// Reads the guest's lines from its second serial port. Exactly one of them must be a verdict.
    pub fn read(port: &str) -> std::result::Result<Self, String> {
        let mut verdicts = port.lines().filter_map(|line| line.trim_end().strip_prefix(PREFIX));
        let verdict = match (verdicts.next(), verdicts.next()) {
            (Some(verdict), None) => verdict,
            (None, _) => return Err("the guest gave no verdict".into()),
            (Some(_), Some(_)) => return Err("the guest gave more than one verdict".into()),
        };
        match verdict.split_once(' ') {
            None if verdict == "pass" => Ok(Self::Pass),
            Some(("fail", why)) => Ok(Self::Fail(why.into())),
            _ => Err(format!("the guest's verdict makes no sense: {verdict:?}")),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => write!(f, "{PREFIX}pass"),
            Self::Fail(why) => write!(f, "{PREFIX}fail {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_survives_the_serial_port() {
        for verdict in [Verdict::Pass, Verdict::Fail("node 2 has CPUs".into())] {
            assert_eq!(Verdict::read(&format!("noise\r\n{verdict}\r\n")), Ok(verdict));
        }
    }

    #[test]
    fn none_two_or_a_garbled_verdict_is_refused() {
        let pass = Verdict::Pass;
        assert!(Verdict::read("").unwrap_err().contains("no verdict"));
        assert!(Verdict::read(&format!("{pass}\n{pass}\n")).unwrap_err().contains("more than one"));
        assert!(Verdict::read(&format!("{PREFIX}perhaps\n")).unwrap_err().contains("no sense"));
    }

    #[test]
    fn causes_become_one_line() {
        let outcome = Err(anyhow::anyhow!("deep\nreason").context("shallow"));
        assert_eq!(Verdict::of(&outcome), Verdict::Fail("shallow: deep reason".into()));
    }
}
