//! The one place that decides how to copy: from the CPU, the locality and the length to a [`Step`], for plain and
//! machine-check-safe copies alike.

use core::fmt;

use crate::cpu::{Cpu, Features};
use crate::error::{CopyError, RowError, RowProblem};
use crate::execute::{Function, function};
use crate::locality::Locality;
use crate::page::PAGE_SIZE;
use crate::primitive::Primitive;
use crate::step::{Band, Bands, Limit, MOST_BANDS, Row, Step};
use crate::tuning::{self, Registers};

/// A band of a policy: its limit in bytes, its step, and the function that runs it in a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resolved {
    pub(crate) up_to: usize,
    pub(crate) step: Step,
    /// A kernel has no indirect calls, and matches on the step instead.
    #[cfg_attr(foliocopy_kernel, allow(dead_code))]
    pub(crate) function: Function,
}

/// The source of a policy's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(&'static str);

impl Source {
    /// The general rule: the CPU was never measured, or a row for it can't be followed.
    pub const GENERAL: Self = Self("the general rule");
    /// A profile of this CPU.
    pub const PROFILE: Self = Self("a profile of this CPU");
    /// The program's own row.
    pub const ROW: Self = Self("a row of the program's own");
    /// One primitive, asked for by name.
    pub const FORCED: Self = Self("asked for by name");

    /// Describes the source in a few words. A measured row names its CPU: this one's kind, or the newest of its vendor.
    pub const fn text(self) -> &'static str {
        self.0
    }
}

/// How copies are made on one CPU: a table of [`Step`]s by length for each [`Locality`].
///
/// A policy is for the CPU on which it was made. A policy for another CPU than this machine's explains, and copies nothing. On
/// hybrid CPUs all cores have the same features, so a policy is safe on each core, and tuned for the one on which it was made.
/// Features are never checked again. Hypervisors move virtual machines only between CPUs that show the same features. After any
/// other move a process must not use a policy from before.
///
/// # Invariants
///
/// In each table the last limit is `usize::MAX`. The CPU has what each step's primitives require, and the time-stamp counter
/// where a step reads it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Policy {
    /// By locality. First, so that `auto`'s bands of short copies lie beside the state of the host's policy: copies of 16 KiB fill
    /// the L1 to its last line.
    tables: [[Resolved; MOST_BANDS]; 3],
    cpu: Cpu,
    registers: Registers,
    source: Source,
    /// Whether it may copy on this machine.
    usable: Result<(), CopyError>,
}

impl Policy {
    /// The policy for `cpu`: the row of its microarchitecture, or the general rule.
    pub fn new(cpu: Cpu, registers: Registers) -> Self {
        let (rows, name) = tuning::measured(&cpu, registers);
        match rows.iter().find(|row| validate(&cpu, registers, row).is_ok()) {
            Some(row) => Self::of(cpu, registers, Source(name), row),
            None => Self::of(cpu, registers, Source::GENERAL, &tuning::general(&cpu, registers)),
        }
    }

    /// The policy for `cpu` that copies as `row` says.
    ///
    /// # Errors
    ///
    /// [`RowError`] where the CPU could not follow the row.
    pub fn with_row(cpu: Cpu, registers: Registers, row: &Row) -> Result<Self, RowError> {
        validate(&cpu, registers, row)?;
        Ok(Self::of(cpu, registers, Source::ROW, row))
    }

    /// The policy for the same CPU and registers that uses `primitive` for everything.
    ///
    /// # Errors
    ///
    /// [`CopyError::Unavailable`] where the CPU can't run it.
    pub fn forcing(&self, primitive: Primitive) -> Result<Self, CopyError> {
        self.available(primitive)?;
        Ok(Self::always(self.cpu, self.registers, Source::FORCED, Step::copy(primitive)))
    }

    /// The policy for a row that is valid.
    fn of(cpu: Cpu, registers: Registers, source: Source, row: &Row) -> Self {
        let mut policy = Self::always(cpu, registers, source, Step::copy(Primitive::Portable));
        for locality in Locality::ALL {
            policy.put(*locality, row.bands(*locality));
        }
        policy
    }

    /// The policy that is correct on every CPU, but slow.
    pub(crate) const fn baseline(registers: Registers) -> Self {
        let by = if Primitive::Movq.is_built() { Primitive::Movq } else { Primitive::Portable };
        Self::always(Cpu::BASELINE, registers, Source::GENERAL, Step::copy(by))
    }

    /// The policy of one step for every length. The caller makes sure that the CPU can follow the step.
    const fn always(cpu: Cpu, registers: Registers, source: Source, step: Step) -> Self {
        let usable = if cpu.is_host() { Ok(()) } else { Err(CopyError::ForeignCpu) };
        let band = Resolved { up_to: usize::MAX, step, function: function(step) };
        // INVARIANT: the limit is the greatest, and the caller makes sure that the CPU can follow the step.
        Self { tables: [[band; MOST_BANDS]; 3], cpu, registers, source, usable }
    }

    /// Replaces the bands of a table by valid ones.
    fn put(&mut self, locality: Locality, bands: &Bands) {
        let cpu = self.cpu;
        let resolved =
            |Band { up_to, step }| Resolved { up_to: up_to.bytes(&cpu), step, function: function(step) };
        // INVARIANT: the bands were validated, so the last is unlimited.
        self.tables[locality as usize] = bands.padded().map(resolved);
    }

    /// Replaces the table for one locality by one of the caller's.
    ///
    /// # Errors
    ///
    /// [`RowError`] where the CPU could not follow it. Nothing is changed then.
    #[cfg(foliocopy_kernel)]
    #[inline(never)]
    pub(crate) fn replace(&mut self, locality: Locality, bands: &Bands) -> Result<(), RowError> {
        validate_bands(&self.cpu, self.registers, locality, bands.as_slice())?;
        self.put(locality, bands);
        Ok(())
    }

    /// The policy with another source of its table.
    #[cfg(feature = "profile")]
    pub(crate) const fn with_source(self, source: Source) -> Self {
        Self { source, ..self }
    }

    /// Makes the policy refuse every copy, with that reason.
    #[cfg(feature = "std")]
    pub(crate) const fn refusing(self, refusal: CopyError) -> Self {
        Self { usable: Err(refusal), ..self }
    }

    /// The CPU for which it decides.
    pub const fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// The registers that it may use.
    pub const fn registers(&self) -> Registers {
        self.registers
    }

    /// The source of its table.
    pub const fn source(&self) -> Source {
        self.source
    }

    /// The band that covers `bytes` bytes.
    #[inline(always)]
    pub(crate) fn band(&self, locality: Locality, bytes: usize) -> &Resolved {
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

    /// The step for `bytes` bytes.
    #[inline]
    pub fn step(&self, locality: Locality, bytes: usize) -> Step {
        self.band(locality, bytes).step
    }

    /// The table for a locality: each band's limit in bytes, `usize::MAX` at the end, and its step.
    pub fn bands(&self, locality: Locality) -> impl Iterator<Item = (usize, Step)> {
        let mut longest = 0;
        self.tables[locality as usize].iter().filter_map(move |band| {
            let is_new = band.up_to > longest;
            longest = longest.max(band.up_to);
            is_new.then_some((band.up_to, band.step))
        })
    }

    /// The step for `bytes` bytes by a primitive that the caller names. It has the prefetch distance that the table for copies
    /// past the cache gives that primitive, if any.
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

    fn available(&self, primitive: Primitive) -> Result<(), CopyError> {
        match primitive.is_available(&self.cpu) {
            true => Ok(()),
            false => Err(CopyError::Unavailable { primitive, missing: primitive.missing(&self.cpu) }),
        }
    }

    /// Returns the reason as an error where the policy may not copy here.
    #[inline(always)]
    pub(crate) const fn check_usable(&self) -> Result<(), CopyError> {
        self.usable
    }

    /// Returns the policy if it may copy on this machine.
    #[cfg(not(foliocopy_kernel))]
    #[inline(always)]
    pub(crate) fn if_usable(&self) -> Option<&Self> {
        self.usable.is_ok().then_some(self)
    }

    /// Explains how `bytes` bytes are copied, and why.
    pub fn explain(&self, locality: Locality, bytes: usize) -> impl fmt::Display + use<> {
        let (step, source) = (self.step(locality, bytes), self.source);
        fmt::from_fn(move |formatter| write!(formatter, "{step} ({})", source.text()))
    }
}

/// Whether a CPU could follow the row.
fn validate(cpu: &Cpu, registers: Registers, row: &Row) -> Result<(), RowError> {
    let mut localities = Locality::ALL.iter();
    localities
        .try_for_each(|locality| validate_bands(cpu, registers, *locality, row.bands(*locality).as_slice()))
}

fn validate_bands(
    cpu: &Cpu,
    registers: Registers,
    locality: Locality,
    bands: &[Band],
) -> Result<(), RowError> {
    let mut before = 0;
    for (band, Band { up_to, step }) in bands.iter().enumerate() {
        let is_last = band + 1 == bands.len();
        let checked = match *up_to {
            Limit::Unlimited if !is_last => Err(RowProblem::Unreachable),
            Limit::Bytes(_) | Limit::LastLevelCache if is_last => Err(RowProblem::Limited),
            Limit::Bytes(bytes) if bytes == 0 || !bytes.is_multiple_of(PAGE_SIZE) => {
                Err(RowProblem::NoPages(bytes))
            }
            Limit::Bytes(up_to) if up_to <= before => Err(RowProblem::NotAscending { up_to, before }),
            _ => validate_step(cpu, registers, locality, *step),
        };
        checked.map_err(|problem| RowError { locality, band, problem })?;
        if let Limit::Bytes(bytes) = *up_to {
            before = bytes;
        }
    }
    Ok(())
}

fn validate_step(cpu: &Cpu, registers: Registers, locality: Locality, step: Step) -> Result<(), RowProblem> {
    if step.is_probe() && !cpu.has(Features::TSC) {
        return Err(RowProblem::NoCounter);
    }
    // Each primitive, how far ahead it prefetches, and whether it must go past the cache.
    let parts = match step {
        Step::Copy { by, distance } => [(by, distance, by.is_non_temporal()); 2],
        Step::TimeFirstPage { rest, burst, .. } if burst > 64 << 10 || !burst.is_multiple_of(64) => {
            return Err(RowProblem::Distance { primitive: rest, distance: burst });
        }
        Step::TimeFirstPage { first, rest, .. } => [(first, 0, false), (rest, 0, false)],
        Step::Glance { near, far, distance } => [(near, 0, false), (far, distance, true)],
    };
    for (primitive, distance, past) in parts {
        let has_place = match locality {
            Locality::Auto => true,
            Locality::Temporal => !past,
            Locality::NonTemporal => past || matches!(primitive, Primitive::Portable),
        };
        if !registers.allow(primitive) {
            return Err(RowProblem::Registers(primitive));
        } else if !primitive.is_available(cpu) {
            return Err(RowProblem::Unavailable { primitive, missing: primitive.missing(cpu) });
        } else if !primitive.prefetches(distance) {
            return Err(RowProblem::Distance { primitive, distance });
        } else if primitive.is_non_temporal() != past || !has_place {
            return Err(RowProblem::Cache(primitive));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
