//! The exit codes of the program.

use std::process::ExitCode;

use crate::wrap::{COLUMNS, wrap};

/// The ways to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The work is done.
    Good = 0,
    /// The verdict is negative.
    Negative = 1,
    /// Bad input or usage, or something that this machine can't run. As clap itself exits.
    CannotRun = 2,
    /// A status: it is not there. As init scripts say that something does not run.
    Absent = 3,
    /// A status: it is coming or going.
    Between = 4,
    /// Interrupted; what there was has been printed.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// What each says to people.
pub(crate) const MEANINGS: [(Exit, &str); 6] = [
    (Exit::Good, "it did what was asked"),
    (Exit::Negative, "the verdict is negative: something is slower than it should be, or a copy was wrong"),
    (Exit::CannotRun, "bad input or usage, or this machine can't run it"),
    (Exit::Absent, "a status: the module is not loaded, or the kernel is not patched"),
    (Exit::Between, "a status: the kernel is between patched and not patched"),
    (Exit::Interrupted, "interrupted; what had been measured until then was printed"),
];

/// For `--help`.
pub(crate) fn help() -> String {
    let mut text = "Exit codes:\n".to_owned();
    for (exit, meaning) in MEANINGS {
        wrap(&mut text, &format!("  {:<5}", exit as u8), meaning, COLUMNS);
    }
    text.trim_end().to_owned()
}
