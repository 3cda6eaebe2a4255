//! The one place that decides how to copy: from the CPU, the locality and the length to a primitive
//! and its parameters, for plain and machine-check-safe copies alike.

use core::fmt;

use crate::cpu::{Cpu, Features};
use crate::error::CopyError;
use crate::locality::Locality;
use crate::once::Once;
use crate::primitive::Primitive;

/// Which registers a copy may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Registers {
    /// General-purpose registers only: a kernel, where the vector registers belong to the process.
    GeneralPurpose,
    /// All of them: a process.
    Vector,
}

/// What the policy chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// How to copy.
    pub primitive: Primitive,
    /// How far ahead of its loads the loop prefetches, in bytes; 0 where it doesn't.
    pub prefetch_distance: usize,
    reason: Reason,
}

/// Why a primitive was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Forced,
    EnhancedRepMovsb,
    RepGood,
    NoFastStrings,
    NonTemporal,
    NotX86,
}

impl Reason {
    const fn text(self) -> &'static str {
        match self {
            Self::Forced => "it was asked for by name",
            Self::EnhancedRepMovsb => "the CPU has ERMS",
            Self::RepGood => "the CPU has REP_GOOD and no ERMS",
            Self::NoFastStrings => "the CPU has neither ERMS nor REP_GOOD",
            Self::NonTemporal => "the destination should not displace what the cache holds",
            Self::NotX86 => "nothing else is known of this architecture",
        }
    }
}

/// How copies are made on one CPU.
///
/// Without a measurement of the CPU it follows the plain rule. Temporal copies use `rep movsb` where
/// the CPU has ERMS, else `rep movsq` where it has REP_GOOD, else the unrolled loop: the order of
/// `clear_pages()` and `copy_user_generic()` in Linux. FSRM never decides: it speaks of short copies.
/// Non-temporal copies use `movnti`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    cpu: Cpu,
    registers: Registers,
    forced: Option<Primitive>,
}

/// How far ahead `movnti` prefetches, in bytes. On Zen 3 with cold data, against `rep movsq` page by
/// page: 1024 gave 1.32 to 1.49, 512 gave 1.25 to 1.33, none 1.14 to 1.23.
const NON_TEMPORAL_PREFETCH_DISTANCE: usize = 1024;

impl Policy {
    /// The policy for `cpu`.
    pub const fn new(cpu: Cpu, registers: Registers) -> Self {
        Self { cpu, registers, forced: None }
    }

    /// The policy of this process, worked out once: for the CPU under it, less what `FOLIOCOPY_MASK`
    /// takes away, or `FOLIOCOPY_PRIMITIVE` for everything.
    ///
    /// # Errors
    ///
    /// [`CopyError::Environment`] where one of the two names something unknown, and
    /// [`CopyError::Unavailable`] where this CPU can't run the primitive.
    #[inline]
    pub fn host() -> Result<Self, CopyError> {
        static HOST: Once<Result<Policy, CopyError>> = Once::new();
        HOST.get(Self::of_environment)
    }

    #[cfg(feature = "std")]
    fn of_environment() -> Result<Self, CopyError> {
        let environment = crate::environment::Environment::read().map_err(CopyError::Environment)?;
        let policy = Self::new(Cpu::detect().without(environment.mask), Registers::Vector);
        environment.primitive.map_or(Ok(policy), |primitive| policy.forcing(primitive))
    }

    #[cfg(not(feature = "std"))]
    fn of_environment() -> Result<Self, CopyError> {
        Ok(Self::new(Cpu::detect(), Registers::GeneralPurpose))
    }

    /// The same policy, with `primitive` for everything.
    ///
    /// # Errors
    ///
    /// [`CopyError::Unavailable`] where the CPU can't run it.
    pub fn forcing(self, primitive: Primitive) -> Result<Self, CopyError> {
        self.check(primitive)?;
        Ok(Self { forced: Some(primitive), ..self })
    }

    /// The CPU for which it decides.
    pub const fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// The registers that it may use.
    pub const fn registers(&self) -> Registers {
        self.registers
    }

    /// How to copy `bytes` bytes. [`Locality::Auto`] here is what it is without a look at the source:
    /// temporal.
    #[inline]
    pub fn choose(&self, locality: Locality, bytes: usize) -> Choice {
        let _ = bytes;
        if let Some(primitive) = self.forced {
            return self.choice(primitive, Reason::Forced);
        }
        if !Primitive::Movq.is_built() {
            return self.choice(Primitive::Portable, Reason::NotX86);
        }
        match locality {
            Locality::NonTemporal => self.choice(Primitive::Movnti, Reason::NonTemporal),
            Locality::Temporal | Locality::Auto if self.cpu.has(Features::ERMS) => {
                self.choice(Primitive::RepMovsb, Reason::EnhancedRepMovsb)
            }
            Locality::Temporal | Locality::Auto if self.cpu.has(Features::REP_GOOD) => {
                self.choice(Primitive::RepMovsq, Reason::RepGood)
            }
            Locality::Temporal | Locality::Auto => self.choice(Primitive::Movq, Reason::NoFastStrings),
        }
    }

    /// `primitive` with the parameters that suit it on this CPU.
    ///
    /// # Errors
    ///
    /// [`CopyError::Unavailable`] where the CPU can't run it.
    #[inline]
    pub fn with_primitive(&self, primitive: Primitive) -> Result<Choice, CopyError> {
        self.check(primitive)?;
        Ok(self.choice(primitive, Reason::Forced))
    }

    /// Why `bytes` bytes are copied the way they are, in a sentence.
    pub fn explain(&self, locality: Locality, bytes: usize) -> Explanation {
        Explanation { choice: self.choose(locality, bytes) }
    }

    #[inline]
    fn check(&self, primitive: Primitive) -> Result<(), CopyError> {
        match primitive.is_available(&self.cpu) {
            true => Ok(()),
            false => Err(CopyError::Unavailable { primitive, missing: primitive.missing(&self.cpu) }),
        }
    }

    #[inline]
    const fn choice(&self, primitive: Primitive, reason: Reason) -> Choice {
        let prefetch_distance = if primitive.is_non_temporal() { NON_TEMPORAL_PREFETCH_DISTANCE } else { 0 };
        Choice { primitive, prefetch_distance, reason }
    }
}

/// A choice and its reason, to be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    choice: Choice,
}

impl Explanation {
    /// What was chosen.
    pub const fn choice(&self) -> Choice {
        self.choice
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, since {}", self.choice.primitive, self.choice.reason.text())?;
        match self.choice.prefetch_distance {
            0 => Ok(()),
            distance => write!(formatter, "; prefetches {distance} bytes ahead"),
        }
    }
}
