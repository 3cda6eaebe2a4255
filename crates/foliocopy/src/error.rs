//! Errors of requests to copy.

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
    /// The destination has another length than the source; both in bytes.
    ByteLengthMismatch {
        /// Bytes in the destination.
        dst: usize,
        /// Bytes in the source.
        src: usize,
    },
    /// There is something to copy, and source or destination is null.
    Null,
    /// A range does not start where it must.
    Misaligned {
        /// The start of the range.
        address: usize,
        /// The alignment that its start must have, in bytes.
        alignment: usize,
    },
    /// The range would be longer than `isize::MAX` bytes, or wrap around the end of the address space.
    Overflow {
        /// The length asked for, in pages.
        nr_pages: usize,
    },
    /// The range would be longer than `isize::MAX` bytes, or wrap around the end of the address space.
    ByteOverflow {
        /// The length asked for, in bytes.
        bytes: usize,
    },
    /// The range reaches an address that no process can have.
    NotCanonical {
        /// The start of the range.
        address: usize,
    },
    /// Source and destination have bytes in common.
    Overlap,
    /// This CPU lacks a feature that the primitive needs.
    Unavailable {
        /// The primitive asked for.
        primitive: Primitive,
        /// The missing feature.
        missing: Features,
    },
    /// A fault in this machine-check-safe copy would not be survived.
    Unsupported(Unsupported),
    /// The policy is for another CPU than this machine's.
    ForeignCpu,
    /// `FOLIOCOPY_STRICT` is set, and an environment variable or a profile can't be followed.
    #[cfg(feature = "std")]
    Environment(EnvironmentError),
}

impl fmt::Display for CopyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::LengthMismatch { dst, src } => {
                write!(formatter, "the destination has {dst} pages and the source {src}: they must be equal")
            }
            Self::ByteLengthMismatch { dst, src } => {
                write!(formatter, "the destination has {dst} bytes and the source {src}: they must be equal")
            }
            Self::Null => formatter.write_str("source or destination is null"),
            Self::Misaligned { address, alignment } => {
                write!(formatter, "address {address:#x} is not a multiple of {alignment}")
            }
            Self::Overflow { nr_pages } => {
                write!(formatter, "a range of {nr_pages} pages does not fit the address space")
            }
            Self::ByteOverflow { bytes } => {
                write!(formatter, "a range of {bytes} bytes does not fit the address space")
            }
            Self::NotCanonical { address } => {
                write!(formatter, "the range at {address:#x} does not lie in the address space of a process")
            }
            Self::Overlap => formatter.write_str("source and destination overlap"),
            Self::Unavailable { primitive, missing } => unavailable(formatter, primitive, missing),
            Self::Unsupported(unsupported) => unsupported.fmt(formatter),
            Self::ForeignCpu => {
                formatter.write_str("the policy is for another CPU: it explains and copies nothing")
            }
            #[cfg(feature = "std")]
            Self::Environment(error) => error.fmt(formatter),
        }
    }
}

impl core::error::Error for CopyError {}

/// Why a primitive can't run: it is of another architecture, or the CPU lacks something.
fn unavailable(formatter: &mut fmt::Formatter<'_>, primitive: Primitive, missing: Features) -> fmt::Result {
    match missing.is_empty() {
        true => write!(formatter, "this build has no {primitive}"),
        false => write!(formatter, "this CPU can't run {primitive}: it lacks {missing}"),
    }
}

/// Why a fault in a machine-check-safe copy would not be survived in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsupported {
    /// No way is known to survive faults on this operating system or architecture.
    Platform,
    /// The primitive has no machine-check-safe variant.
    Primitive(Primitive),
    /// Another handler of SIGBUS was installed in the place of foliocopy's.
    HandlerReplaced,
    /// Another handler of SIGSEGV was installed in the place of that of `sigbus::catch_sigsegv`.
    SegvHandlerReplaced,
    /// The kernel refused to install the handler, with this errno.
    Sigaction(i32),
}

impl fmt::Display for Unsupported {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a fault would not be survived: ")?;
        match self {
            Self::Platform => formatter.write_str("only Linux on x86-64 and aarch64 is supported"),
            Self::Primitive(primitive) => write!(formatter, "{primitive} has no machine-check-safe variant"),
            Self::HandlerReplaced => {
                formatter.write_str("another handler of SIGBUS was installed in the place of ours")
            }
            Self::SegvHandlerReplaced => {
                formatter.write_str("another handler of SIGSEGV was installed in the place of ours")
            }
            Self::Sigaction(errno) => write!(formatter, "sigaction failed with errno {errno}"),
        }
    }
}

impl core::error::Error for Unsupported {}

/// An environment variable or a profile that this process leaves aside, and why.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvironmentError {
    pub(crate) message: &'static str,
}

#[cfg(feature = "std")]
impl fmt::Display for EnvironmentError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.message)
    }
}

#[cfg(feature = "std")]
impl core::error::Error for EnvironmentError {}

/// Why a CPU can't follow a [`Row`](crate::Row).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowError {
    /// The table.
    pub locality: Locality,
    /// The band in it, counted from 0.
    pub band: usize,
    /// The problem of the band.
    pub problem: RowProblem,
}

/// A problem of a band of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RowProblem {
    /// The last band has a limit.
    Limited,
    /// A band follows one without a limit.
    Unreachable,
    /// The limit is not a positive multiple of 4096 bytes.
    NoPages(usize),
    /// The limit is not above that of the band before.
    NotAscending {
        /// The limit, in bytes.
        up_to: usize,
        /// The limit of the band before.
        before: usize,
    },
    /// The primitive can't prefetch so far ahead.
    Distance {
        /// The primitive.
        primitive: Primitive,
        /// The distance or burst, in bytes.
        distance: u32,
    },
    /// The primitive stores through the cache in a table for copies past it, or past it in a table for copies through it.
    Cache(Primitive),
    /// The step reads the time-stamp counter, which this CPU lacks, or which is not usable here.
    NoCounter,
    /// The primitive's vector registers belong to processes.
    Registers(Primitive),
    /// The CPU lacks a feature that the primitive needs.
    Unavailable {
        /// The primitive.
        primitive: Primitive,
        /// The missing feature.
        missing: Features,
    },
}

impl fmt::Display for RowError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { locality, band, problem } = self;
        write!(formatter, "{locality}, band {band}: ")?;
        match *problem {
            RowProblem::Limited => formatter.write_str("the last band must be unlimited"),
            RowProblem::Unreachable => formatter.write_str("only the last band may be unlimited"),
            RowProblem::NoPages(bytes) => {
                write!(formatter, "its limit is {bytes}, and must be a positive multiple of 4096 bytes")
            }
            RowProblem::NotAscending { up_to, before } => {
                write!(formatter, "its limit is {up_to}, and must be more than {before}, that of the band before")
            }
            RowProblem::Distance { primitive, distance } => write!(
                formatter,
                "{primitive} can't prefetch {distance} bytes ahead: 0 is always possible; loops past the cache take a \
                 multiple of 64 bytes, 65536 at most, and avx2 and avx512 take 512"
            ),
            RowProblem::Cache(primitive) => {
                let through = if primitive.is_non_temporal() { "past" } else { "through" };
                write!(formatter, "{primitive} stores {through} the cache, which this table is not for")
            }
            RowProblem::NoCounter => formatter.write_str(
                "it reads the time-stamp counter, which is not usable on this CPU: name steps that do not probe",
            ),
            RowProblem::Registers(primitive) => {
                write!(formatter, "the vector registers of {primitive} belong to processes")
            }
            RowProblem::Unavailable { primitive, missing } => unavailable(formatter, primitive, missing),
        }
    }
}

impl core::error::Error for RowError {}

/// The kinds that `std::io` has for these.
#[cfg(feature = "std")]
impl From<CopyError> for std::io::Error {
    fn from(error: CopyError) -> Self {
        use std::io::ErrorKind;
        let kind = match error {
            CopyError::Unavailable { .. } | CopyError::Unsupported(_) | CopyError::ForeignCpu => {
                ErrorKind::Unsupported
            }
            _ => ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}
