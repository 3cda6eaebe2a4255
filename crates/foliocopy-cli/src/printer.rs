//! What a measurement tells people.

use std::fmt;
use std::io::Write;

use anyhow::{Context, Result};
use foliocopy_measure::warning::Warning;

/// Prints to standard output. It may be full or closed, where `println!` would panic.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<()> {
    let mut output = anstream::stdout().lock();
    output.write_all(text.as_ref()).and_then(|()| output.flush()).context("can't write to standard output")
}

/// Prints a line of its own.
pub(crate) fn line(text: impl fmt::Display) -> Result<()> {
    print(format!("{text}\n"))
}

/// Says something beside the results, on standard error. Where that can't be written, nobody listens.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Where words go: results to standard output unless an export is there, warnings to standard error.
pub(crate) struct Printer {
    pub(crate) to_standard_error: bool,
    pub(crate) quiet: bool,
}

impl Printer {
    /// How wide the terminal is. `None` where the output goes to none.
    pub(crate) fn width(&self) -> Option<u16> {
        let size = match self.to_standard_error {
            true => terminal_size::terminal_size_of(std::io::stderr()),
            false => terminal_size::terminal_size_of(std::io::stdout()),
        };
        size.map(|(width, _)| width.0)
    }

    /// Prints what was asked for.
    pub(crate) fn result(&self, text: &str) -> Result<()> {
        match self.to_standard_error {
            true => Ok(anstream::stderr().write_all(text.as_bytes())?),
            false => print(text),
        }
    }

    /// Prints what explains it.
    pub(crate) fn aside(&self, text: &str) -> Result<()> {
        if self.quiet { Ok(()) } else { self.result(text) }
    }

    /// Prints each warning with its advice.
    pub(crate) fn warn(&self, warnings: &[Warning]) -> Result<()> {
        if self.quiet {
            return Ok(());
        }
        let style = anstyle::AnsiColor::Yellow.on_default().bold();
        for warning in warnings {
            note(format_args!("{style}warning:{style:#} {warning} {}", warning.advice()));
        }
        Ok(())
    }
}
