//! What the program's exit says.

use std::process::ExitCode;

/// The ways to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Good = 0,
    /// The verdict is negative.
    Negative = 1,
    /// Bad input or usage, or something that this machine can't run. As clap itself exits.
    CannotRun = 2,
    /// Interrupted; what there was has been printed.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// For `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    it did what was asked
  1    the verdict is negative: something is slower than it should be, or a copy was wrong
  2    bad input or usage, or this machine can't run it
  130  interrupted; what had been measured until then was printed";
