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
    /// It was measured on this microarchitecture, which is the CPU's, or the newest of its vendor.
    Measured(&'static str),
    /// The general rule: the CPU was never measured.
    General,
    /// A profile of this CPU.
    Profile,
    /// The program's own row.
    Row,
    /// One primitive, asked for by name.
    Forced,
}

impl Source {
    /// In a few words: what a kernel logs, which can't use `Display`.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Measured(_) => "measured on such a CPU",
            Self::General => "the general rule, for this CPU was never measured",
            Self::Profile => "a profile of this CPU",
            Self::Row => "a row of the program's own",
            Self::Forced => "asked for by name",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measured(name) => write!(formatter, "measured on {name}"),
            _ => formatter.write_str(self.text()),
        }
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
/// In each table the limits ascend and the last is `usize::MAX`. The CPU has what each step's primitives require, and the
/// time-stamp counter where a step reads it.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    cpu: Cpu,
    registers: Registers,
    source: Source,
    refusal: Option<CopyError>,
    /// One band more than a row has: a probe without a counter becomes two.
    tables: [[Settled; MOST_BANDS + 1]; 3],
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
        if let Err((band, problem)) = validate_bands(&self.cpu, self.registers, locality, bands) {
            return Err(RowError { locality, band, problem });
        }
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
        let refusal = if cpu.is_host() { None } else { Some(CopyError::ForeignCpu) };
        let tables = [
            settle(row.temporal.as_slice(), &cpu),
            settle(row.non_temporal.as_slice(), &cpu),
            settle(row.auto.as_slice(), &cpu),
        ];
        // INVARIANT: the row was validated, and without a counter its probes are settled.
        Self { cpu, registers, source, refusal, tables }
    }

    /// The same table, from elsewhere.
    #[cfg(feature = "profile")]
    pub(crate) const fn with_source(self, source: Source) -> Self {
        Self { source, ..self }
    }

    /// Makes the policy refuse every copy, with that reason.
    #[cfg(feature = "std")]
    pub(crate) const fn refusing(self, refusal: CopyError) -> Self {
        Self { refusal: Some(refusal), ..self }
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
        match self.refusal {
            None => Ok(()),
            Some(refusal) => Err(refusal),
        }
    }

    /// Whether the policy may copy here.
    #[inline(always)]
    #[cfg(not(foliocopy_kernel))]
    pub(crate) const fn copies(&self) -> bool {
        self.refusal.is_none()
    }

    /// How `bytes` bytes are copied, and why, to be printed.
    pub fn explain(&self, locality: Locality, bytes: usize) -> Explanation {
        Explanation { step: self.step(locality, bytes), source: self.source }
    }
}

/// Two policies are equal if they decide alike for the same CPU.
impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        let decisions = |policy: &Self| (policy.cpu, policy.registers, policy.source, policy.refusal);
        decisions(self) == decisions(other)
            && Locality::ALL.iter().all(|locality| self.bands(*locality).eq(other.bands(*locality)))
    }
}

impl Eq for Policy {}

/// A step and the source of its table, to be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    step: Step,
    source: Source,
}

impl Explanation {
    /// The step.
    pub const fn step(&self) -> Step {
        self.step
    }

    /// Where the table comes from.
    pub const fn source(&self) -> Source {
        self.source
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.step, self.source)
    }
}

/// A table of one locality with its limits in bytes. Without a counter a probe becomes two bands: what exceeds the last-level
/// cache can't be in it.
const fn settle(bands: &[Band], cpu: &Cpu) -> [Settled; MOST_BANDS + 1] {
    let rest = if let [.., longest] = bands { longest.step.near() } else { Step::copy(Primitive::Portable) };
    let mut table = [Settled::new(usize::MAX, rest); MOST_BANDS + 1];
    let last_level = cpu.caches().l3 / PAGE_SIZE * PAGE_SIZE;
    let (mut index, mut done, mut rest) = (0, 0, bands);
    while let [band, others @ ..] = rest {
        rest = others;
        let up_to = match band.up_to {
            Limit::Bytes(bytes) => bytes,
            Limit::LastLevelCache => last_level,
            Limit::Unlimited => usize::MAX,
        };
        if up_to <= done || index >= table.len() {
            continue;
        }
        let blind = band.step.is_probe() && !cpu.has(Features::TSC);
        let exceeds = last_level != 0 && up_to > last_level;
        if blind && exceeds && done < last_level && index + 1 < table.len() {
            table[index] = Settled::new(last_level, band.step.near());
            index += 1;
        }
        table[index] = Settled::new(
            up_to,
            match blind {
                false => band.step,
                true if exceeds => band.step.far(),
                true => band.step.near(),
            },
        );
        index += 1;
        done = up_to;
    }
    while index < table.len() && index != 0 {
        table[index] = table[index - 1];
        index += 1;
    }
    table
}

/// Whether a CPU could follow the row.
const fn validate(cpu: &Cpu, registers: Registers, row: &Row) -> Result<(), RowError> {
    let mut index = 0;
    while index < Locality::ALL.len() {
        let locality = Locality::ALL[index];
        if let Err((band, problem)) = validate_bands(cpu, registers, locality, row.bands(locality).as_slice())
        {
            return Err(RowError { locality, band, problem });
        }
        index += 1;
    }
    Ok(())
}

const fn validate_bands(
    cpu: &Cpu,
    registers: Registers,
    locality: Locality,
    bands: &[Band],
) -> Result<(), (usize, RowProblem)> {
    let (mut index, mut done) = (0, 0);
    while index < bands.len() {
        let is_last = index + 1 == bands.len();
        match (is_last, bands[index].up_to) {
            (true, Limit::Unlimited) => {}
            (true, _) => return Err((index, RowProblem::Limited)),
            (false, Limit::Bytes(bytes)) => {
                if !bytes.is_multiple_of(PAGE_SIZE) || bytes == 0 {
                    return Err((index, RowProblem::NoPages(bytes)));
                }
                if bytes <= done {
                    return Err((index, RowProblem::NotAscending { up_to: bytes, before: done }));
                }
                done = bytes;
            }
            (false, Limit::LastLevelCache) => {}
            (false, Limit::Unlimited) => return Err((index, RowProblem::Unreachable)),
        }
        if let Some(problem) = problem_of(cpu, registers, locality, bands[index].step) {
            return Err((index, problem));
        }
        index += 1;
    }
    Ok(())
}

/// What keeps a CPU from following the step.
const fn problem_of(cpu: &Cpu, registers: Registers, locality: Locality, step: Step) -> Option<RowProblem> {
    let [one, other] = step.primitives();
    let mut rest: &[Primitive] = &[one, other];
    while let [by, others @ ..] = rest {
        if !registers.allow(*by) {
            return Some(RowProblem::Registers(*by));
        }
        if !by.is_available(cpu) {
            return Some(RowProblem::Unavailable { primitive: *by, missing: by.missing(cpu) });
        }
        rest = others;
    }
    // Near copies go through the cache, far copies past it.
    let past_allowed = !matches!(locality, Locality::Temporal);
    let through_allowed = !matches!(locality, Locality::NonTemporal);
    let (near, far) = match step {
        Step::Copy { by, distance } => {
            if !by.prefetches(distance) {
                return Some(RowProblem::Distance { primitive: by, distance });
            }
            let fits = if by.is_non_temporal() { past_allowed } else { through_allowed };
            return if fits || matches!(by, Primitive::Portable) {
                None
            } else {
                Some(RowProblem::Cache(by))
            };
        }
        Step::TimeFirstPage { first, rest, burst } => {
            if !burst.is_multiple_of(64) || burst > 64 << 10 {
                return Some(RowProblem::Distance { primitive: rest, distance: burst });
            }
            if rest.is_non_temporal() || !through_allowed {
                return Some(RowProblem::Cache(rest));
            }
            (first, None)
        }
        Step::Glance { near, far, distance } => {
            if !far.prefetches(distance) {
                return Some(RowProblem::Distance { primitive: far, distance });
            }
            (near, Some(far))
        }
    };
    match far {
        _ if near.is_non_temporal() || !through_allowed => Some(RowProblem::Cache(near)),
        Some(far) if !far.is_non_temporal() || !past_allowed => Some(RowProblem::Cache(far)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
