//! Names that a user writes, and the error for one that is unknown.

use core::fmt;

/// A name that is none of the known ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownName {
    kind: &'static str,
    known: &'static [&'static str],
}

impl UnknownName {
    /// The kind of name, such as `primitive`, and the known names.
    pub(crate) const fn new(kind: &'static str, known: &'static [&'static str]) -> Self {
        Self { kind, known }
    }
}

impl fmt::Display for UnknownName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "unknown {}; known are", self.kind)?;
        for (index, name) in self.known.iter().enumerate() {
            let separator = if index == 0 { " " } else { ", " };
            write!(formatter, "{separator}{name}")?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownName {}
