//! What can be wrong with a request to copy.

use core::fmt;

use crate::cpu::Features;
use crate::locality::Locality;
use crate::primitive::Primitive;

/// Why nothing was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyError {
    /// The destination has another length than the source; both in pages.
    LengthMismatch {
        /// Pages in the destination.
        dst: usize,
        /// Pages in the source.
        src: usize,
    },
    /// There is something to copy, and source or destination is null.
    Null,
    /// A range does not start where it must.
    Misaligned {
        /// Where it starts.
        address: usize,
        /// Of what its start must be a multiple, in bytes.
        alignment: usize,
    },
    /// The range would be longer than `isize::MAX` bytes, or wrap around the end of the address space.
    Overflow {
        /// The length asked for, in pages.
        nr_pages: usize,
    },
    /// Source and destination have pages in common.
    Overlap,
    /// This CPU lacks what the primitive needs.
    Unavailable {
        /// The primitive asked for.
        primitive: Primitive,
        /// What is missing.
        missing: Features,
    },
    /// A fault in this machine-check-safe copy would not be survived.
    Unsupported(Unsupported),
    /// `FOLIOCOPY_MASK`, `FOLIOCOPY_PRIMITIVE` or `FOLIOCOPY_PROFILE` says something that can't be done.
    #[cfg(feature = "std")]
    Environment(crate::environment::EnvironmentError),
}

impl fmt::Display for CopyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::LengthMismatch { dst, src } => {
                write!(formatter, "the destination has {dst} pages and the source {src}: they must be equal")
            }
            Self::Null => formatter.write_str("source or destination is null"),
            Self::Misaligned { address, alignment } => {
                write!(formatter, "address {address:#x} is not a multiple of {alignment}")
            }
            Self::Overflow { nr_pages } => {
                write!(formatter, "a range of {nr_pages} pages does not fit the address space")
            }
            Self::Overlap => formatter.write_str("source and destination overlap"),
            Self::Unavailable { primitive, missing } => {
                write!(formatter, "this CPU can't run {primitive}: it lacks {missing}")
            }
            Self::Unsupported(unsupported) => unsupported.fmt(formatter),
            #[cfg(feature = "std")]
            Self::Environment(error) => error.fmt(formatter),
        }
    }
}

impl core::error::Error for CopyError {}

/// Why a fault in a machine-check-safe copy would not be survived in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsupported {
    /// Neither the operating system nor the architecture is one of which we know how.
    Platform,
    /// The primitive has no machine-check-safe variant.
    Primitive(Primitive),
    /// Somebody has put another handler of SIGBUS in the place of ours.
    HandlerReplaced,
    /// The kernel refused to install the handler, with this errno.
    Sigaction(i32),
}

impl fmt::Display for Unsupported {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a fault would not be survived: ")?;
        match self {
            Self::Platform => formatter.write_str("only Linux on x86-64 is supported"),
            Self::Primitive(primitive) => write!(formatter, "{primitive} has no machine-check-safe variant"),
            Self::HandlerReplaced => {
                formatter.write_str("another handler of SIGBUS was installed in the place of ours")
            }
            Self::Sigaction(errno) => write!(formatter, "sigaction failed with errno {errno}"),
        }
    }
}

impl core::error::Error for Unsupported {}

/// A name that is none of the known ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownName(pub(crate) Named);

/// What has names by which a user asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Feature,
    Locality,
    Primitive,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, known) = match self.0 {
            Named::Feature => ("CPU feature", Features::NAMES),
            Named::Locality => ("locality", Locality::NAMES),
            Named::Primitive => ("primitive", Primitive::NAMES),
        };
        write!(formatter, "unknown {kind}; known are")?;
        for (index, name) in known.iter().enumerate() {
            let separator = if index == 0 { " " } else { ", " };
            write!(formatter, "{separator}{name}")?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownName {}
