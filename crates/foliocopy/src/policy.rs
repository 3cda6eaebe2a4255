//! The one place that decides how to copy: from the CPU, the locality and the length to a [`Step`], for plain and
//! machine-check-safe copies alike.

use core::fmt;

use crate::cpu::{Cpu, Features};
use crate::error::{CopyError, RowError, RowProblem};
#[cfg(not(foliocopy_kernel))]
use crate::execute::{Function, function};
use crate::locality::Locality;
use crate::page::PAGE_SIZE;
use crate::primitive::Primitive;
use crate::step::{Band, Limit, MOST_BANDS, Row, Step};
use crate::tuning::{self, Registers};

/// A band of a policy: its limit in bytes, its step, and the function that runs it in a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settled {
    pub(crate) up_to: usize,
    pub(crate) step: Step,
    #[cfg(not(foliocopy_kernel))]
    pub(crate) function: Function,
}

impl Settled {
    const fn new(up_to: usize, step: Step) -> Self {
        Self {
            up_to,
            step,
            #[cfg(not(foliocopy_kernel))]
            function: function(step),
        }
    }
}

/// Where a policy's table comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// It was measured, on the CPU that the text names: one like this, or the newest of its vendor.
    Measured(&'static str),
    /// The general rule: the CPU was never measured, or a row for it can't be followed.
    General,
    /// A profile of this CPU.
    Profile,
    /// The program's own row.
    Row,
    /// One primitive, asked for by name.
    Forced,
}

impl Source {
    /// In a few words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Measured(text) => text,
            Self::General => "the general rule",
            Self::Profile => "a profile of this CPU",
            Self::Row => "a row of the program's own",
            Self::Forced => "asked for by name",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text())
    }
}

/// How copies are made on one CPU: a table of [`Step`]s by length for each [`Locality`].
///
/// A policy is for the CPU on which it was made. A policy for a CPU that is not the one under us explains, and
/// copies nothing. On hybrid CPUs all cores have the same features, so a policy is safe on each, and tuned for the one on which
/// it was made. Features are never checked again. Hypervisors move virtual machines only between CPUs that show the same
/// features; after any other move a process must not copy by a policy from before.
///
/// # Invariants
///
/// In each table the last limit is `usize::MAX`. The CPU has what each step's primitives require, and the time-stamp counter
/// where a step reads it.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    cpu: Cpu,
    registers: Registers,
    source: Source,
    /// Whether it may copy here.
    admitted: Result<(), CopyError>,
    tables: [[Settled; MOST_BANDS]; 3],
}

impl Policy {
    /// The policy for `cpu`: the row of its microarchitecture, or the general rule.
    pub const fn new(cpu: Cpu, registers: Registers) -> Self {
        let (mut rows, name) = tuning::measured(&cpu, registers);
        while let [row, others @ ..] = rows {
            if validate(&cpu, registers, row).is_ok() {
                return Self::of(cpu, registers, Source::Measured(name), row);
            }
            rows = others;
        }
        Self::of(cpu, registers, Source::General, &tuning::general(&cpu, registers))
    }

    /// The policy for `cpu` that copies as `row` says.
    ///
    /// # Errors
    ///
    /// [`RowError`] where the row is not one that the CPU could follow: see there.
    pub const fn with_row(cpu: Cpu, registers: Registers, row: &Row) -> Result<Self, RowError> {
        match validate(&cpu, registers, row) {
            Ok(()) => Ok(Self::of(cpu, registers, Source::Row, row)),
            Err(error) => Err(error),
        }
    }

    /// Puts a table in the place of its own for one locality.
    ///
    /// # Errors
    ///
    /// [`RowError`] where the CPU could not follow it. Nothing is changed then.
    #[cfg(foliocopy_kernel)]
    #[inline(never)]
    pub(crate) fn replace(&mut self, locality: Locality, bands: &[Band]) -> Result<(), RowError> {
        validate_bands(&self.cpu, self.registers, locality, bands)?;
        self.tables[locality as usize] = settle(bands, &self.cpu);
        Ok(())
    }

    /// The policy for the same CPU and registers that uses `primitive` for everything.
    ///
    /// # Errors
    ///
    /// [`CopyError::Unavailable`] where the CPU can't run it.
    pub const fn forcing(&self, primitive: Primitive) -> Result<Self, CopyError> {
        match self.available(primitive) {
            Ok(()) => Ok(Self::of(self.cpu, self.registers, Source::Forced, &Row::always(primitive))),
            Err(error) => Err(error),
        }
    }

    /// The policy for a row that is valid.
    const fn of(cpu: Cpu, registers: Registers, source: Source, row: &Row) -> Self {
        let admitted = if cpu.is_host() { Ok(()) } else { Err(CopyError::ForeignCpu) };
        let tables = [
            settle(row.temporal.as_slice(), &cpu),
            settle(row.non_temporal.as_slice(), &cpu),
            settle(row.auto.as_slice(), &cpu),
        ];
        // INVARIANT: the row was validated.
        Self { cpu, registers, source, admitted, tables }
    }

    /// The same table, from elsewhere.
    #[cfg(feature = "profile")]
    pub(crate) const fn with_source(self, source: Source) -> Self {
        Self { source, ..self }
    }

    /// Makes the policy refuse every copy, with that reason.
    #[cfg(feature = "std")]
    pub(crate) const fn refusing(self, refusal: CopyError) -> Self {
        Self { admitted: Err(refusal), ..self }
    }

    /// The CPU for which it decides.
    pub const fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// The registers that it may use.
    pub const fn registers(&self) -> Registers {
        self.registers
    }

    /// Where its table comes from.
    pub const fn source(&self) -> Source {
        self.source
    }

    /// The band that covers `bytes` bytes.
    #[inline(always)]
    pub(crate) fn band(&self, locality: Locality, bytes: usize) -> &Settled {
        let [first, others @ ..] = &self.tables[locality as usize];
        let mut band = first;
        for next in others {
            if bytes <= band.up_to {
                break;
            }
            band = next;
        }
        band
    }

    /// How `bytes` bytes are copied.
    #[inline]
    pub fn step(&self, locality: Locality, bytes: usize) -> Step {
        self.band(locality, bytes).step
    }

    /// The table for a locality: up to how many bytes, `usize::MAX` at its end, what is done.
    pub fn bands(&self, locality: Locality) -> impl Iterator<Item = (usize, Step)> {
        let mut longest = 0;
        self.tables[locality as usize].iter().filter_map(move |band| {
            let is_new = band.up_to > longest;
            longest = longest.max(band.up_to);
            is_new.then_some((band.up_to, band.step))
        })
    }

    /// How `bytes` bytes are copied by a primitive that the caller names: with the prefetch distance that the table for
    /// copies past the cache has for it, if it stands there.
    ///
    /// # Errors
    ///
    /// [`CopyError::Unavailable`] where the CPU can't run it.
    #[inline]
    pub(crate) fn named(&self, primitive: Primitive, bytes: usize) -> Result<Step, CopyError> {
        self.available(primitive)?;
        match self.step(Locality::NonTemporal, bytes) {
            step @ Step::Copy { by, .. } if by == primitive => Ok(step),
            _ => Ok(Step::copy(primitive)),
        }
    }

    const fn available(&self, primitive: Primitive) -> Result<(), CopyError> {
        match primitive.is_available(&self.cpu) {
            true => Ok(()),
            false => Err(CopyError::Unavailable { primitive, missing: primitive.missing(&self.cpu) }),
        }
    }

    /// Refuses, with the reason, where the policy may not copy here.
    #[inline(always)]
    pub(crate) const fn admit(&self) -> Result<(), CopyError> {
        self.admitted
    }

    /// How `bytes` bytes are copied, and why, to be printed.
    pub fn explain(&self, locality: Locality, bytes: usize) -> impl fmt::Display + use<> {
        let (step, source) = (self.step(locality, bytes), self.source);
        fmt::from_fn(move |formatter| write!(formatter, "{step} ({source})"))
    }
}

/// A table of one locality with its limits in bytes.
const fn settle(bands: &[Band], cpu: &Cpu) -> [Settled; MOST_BANDS] {
    let [.., last] = bands else {
        return [Settled::new(usize::MAX, Step::copy(Primitive::Movq)); MOST_BANDS];
    };
    let mut table = [Settled::new(usize::MAX, last.step); MOST_BANDS];
    let (mut index, mut rest) = (0, bands);
    while let [band, others @ ..] = rest {
        if index < table.len() {
            table[index] = Settled::new(band.up_to.bytes(cpu), band.step);
        }
        index += 1;
        rest = others;
    }
    table
}

/// Whether a CPU could follow the row.
const fn validate(cpu: &Cpu, registers: Registers, row: &Row) -> Result<(), RowError> {
    let mut localities = Locality::ALL;
    while let [locality, others @ ..] = localities {
        if let Err(error) = validate_bands(cpu, registers, *locality, row.bands(*locality).as_slice()) {
            return Err(error);
        }
        localities = others;
    }
    Ok(())
}

const fn validate_bands(
    cpu: &Cpu,
    registers: Registers,
    locality: Locality,
    bands: &[Band],
) -> Result<(), RowError> {
    let (mut band, mut before, mut rest) = (0, 0, bands);
    while let [Band { up_to, step }, others @ ..] = rest {
        rest = others;
        let problem = match *up_to {
            Limit::Unlimited if !rest.is_empty() => Some(RowProblem::Unreachable),
            Limit::Bytes(_) | Limit::LastLevelCache if rest.is_empty() => Some(RowProblem::Limited),
            Limit::Bytes(bytes) if bytes == 0 || !bytes.is_multiple_of(PAGE_SIZE) => {
                Some(RowProblem::NoPages(bytes))
            }
            Limit::Bytes(up_to) if up_to <= before => Some(RowProblem::NotAscending { up_to, before }),
            _ => problem_of(cpu, registers, locality, *step),
        };
        if let Some(problem) = problem {
            return Err(RowError { locality, band, problem });
        }
        if let Limit::Bytes(bytes) = *up_to {
            before = bytes;
        }
        band += 1;
    }
    Ok(())
}

/// What keeps a CPU from following the step.
const fn problem_of(cpu: &Cpu, registers: Registers, locality: Locality, step: Step) -> Option<RowProblem> {
    if step.is_probe() && !cpu.has(Features::TSC) {
        return Some(RowProblem::NoCounter);
    }
    // A primitive, how far ahead it prefetches, and whether it is to go past the cache.
    let parts = match step {
        Step::Copy { by, distance } => [(by, distance, by.is_non_temporal()); 2],
        Step::TimeFirstPage { rest, burst, .. } if burst > 64 << 10 || !burst.is_multiple_of(64) => {
            return Some(RowProblem::Distance { primitive: rest, distance: burst });
        }
        Step::TimeFirstPage { first, rest, .. } => [(first, 0, false), (rest, 0, false)],
        Step::Glance { near, far, distance } => [(near, 0, false), (far, distance, true)],
    };
    let mut rest: &[_] = &parts;
    while let [(primitive, distance, past), others @ ..] = rest {
        let (primitive, distance, past) = (*primitive, *distance, *past);
        let has_place = match locality {
            Locality::Auto => true,
            Locality::Temporal => !past,
            Locality::NonTemporal => past || matches!(primitive, Primitive::Portable),
        };
        if !registers.allow(primitive) {
            return Some(RowProblem::Registers(primitive));
        } else if !primitive.is_available(cpu) {
            return Some(RowProblem::Unavailable { primitive, missing: primitive.missing(cpu) });
        } else if !primitive.prefetches(distance) {
            return Some(RowProblem::Distance { primitive, distance });
        } else if primitive.is_non_temporal() != past || !has_place {
            return Some(RowProblem::Cache(primitive));
        }
        rest = others;
    }
    None
}

#[cfg(test)]
mod tests;
