//! Prints results and warnings.

use std::fmt;
use std::io::{self, Write};

use anyhow::{Context, Result};
use foliocopy_measure::text::harmless;
use foliocopy_measure::warning::Warning;

use crate::wrap::paragraph;

/// Prints to standard output, without styles where that is no terminal. It may be full, where `println!` would panic.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<()> {
    write(anstream::stdout().lock(), text.as_ref())
}

/// Writes to standard output as it is.
pub(crate) fn raw(content: &[u8]) -> Result<()> {
    write(io::stdout().lock(), content)
}

/// Where the reader of standard output is gone (`foliocopy info | head`), the work goes on.
fn write(mut output: impl Write, content: &[u8]) -> Result<()> {
    match output.write_all(content).and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("can't write to standard output"),
    }
}

/// Prints a line of its own.
pub(crate) fn line(text: impl fmt::Display) -> Result<()> {
    print(format!("{text}\n"))
}

/// Says something beside the results, on standard error. Where that can't be written, nobody listens.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// The streams: results to standard output unless an export is there, warnings to standard error.
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

    /// Prints a result.
    pub(crate) fn result(&self, text: &str) -> Result<()> {
        match self.to_standard_error {
            true => Ok(anstream::stderr().write_all(text.as_bytes())?),
            false => print(text),
        }
    }

    /// Prints an explanation of the results.
    pub(crate) fn aside(&self, text: &str) -> Result<()> {
        if self.quiet { Ok(()) } else { self.result(text) }
    }

    /// Prints each warning with its advice.
    pub(crate) fn warn(&self, warnings: &[Warning]) -> Result<()> {
        if self.quiet {
            return Ok(());
        }
        const SIGN: &str = "warning:";
        let style = anstyle::AnsiColor::Yellow.on_default().bold();
        for warning in warnings {
            let text = paragraph(&format!("{SIGN} {}", harmless(&format!("{warning} {}", warning.advice()))));
            note(text.trim_end().replacen(SIGN, &format!("{style}{SIGN}{style:#}"), 1));
        }
        Ok(())
    }
}
