//! What a user says for a whole program: `FOLIOCOPY_MASK` and `FOLIOCOPY_PRIMITIVE`.

use core::fmt;
use std::env;
use std::str::FromStr;

use crate::cpu::Features;
use crate::error::UnknownName;
use crate::primitive::Primitive;

/// What the environment variables say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// `FOLIOCOPY_MASK=erms,fsrm`: what the CPU is to pretend to lack.
    pub(crate) mask: Features,
    /// `FOLIOCOPY_PRIMITIVE=rep_movsq`: what to use for everything.
    pub(crate) primitive: Option<Primitive>,
}

/// An environment variable that says something unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvironmentError {
    variable: Variable,
    error: UnknownName,
}

/// The variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable {
    Mask,
    Primitive,
}

impl Variable {
    const fn name(self) -> &'static str {
        match self {
            Self::Mask => "FOLIOCOPY_MASK",
            Self::Primitive => "FOLIOCOPY_PRIMITIVE",
        }
    }

    /// The value; an empty one counts as unset.
    fn read<T: FromStr<Err = UnknownName>>(self) -> Result<Option<T>, EnvironmentError> {
        match env::var_os(self.name()) {
            Some(value) if !value.is_empty() => {
                let parsed = value.to_string_lossy().parse();
                parsed.map(Some).map_err(|error| EnvironmentError { variable: self, error })
            }
            _ => Ok(None),
        }
    }
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.variable.name(), self.error)
    }
}

impl core::error::Error for EnvironmentError {}

impl Environment {
    /// Reads the variables. A setuid program ignores them, as glibc ignores its tunables there.
    pub(crate) fn read() -> Result<Self, EnvironmentError> {
        if is_secure() {
            return Ok(Self::default());
        }
        let mask = Variable::Mask.read()?.unwrap_or_default();
        Ok(Self { mask, primitive: Variable::Primitive.read()? })
    }
}

/// Whether the program runs with rights that its caller lacks (`getauxval(3)`, AT_SECURE).
#[cfg(target_os = "linux")]
fn is_secure() -> bool {
    // SAFETY: getauxval only reads what the kernel put on the stack at exec.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Elsewhere nothing tells, so nothing is trusted.
#[cfg(not(target_os = "linux"))]
fn is_secure() -> bool {
    true
}
