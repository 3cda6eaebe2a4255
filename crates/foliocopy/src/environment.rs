//! What a user says for a whole program: `FOLIOCOPY_MASK`, `FOLIOCOPY_PRIMITIVE` and `FOLIOCOPY_PROFILE`.

use core::fmt;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use crate::cpu::Features;
use crate::error::UnknownName;
use crate::policy::Policy;
use crate::primitive::Primitive;

/// What the environment variables say.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    /// `FOLIOCOPY_MASK=erms,fsrm`: what the CPU is to pretend to lack.
    pub(crate) mask: Features,
    /// `FOLIOCOPY_PRIMITIVE=rep_movsq`: what to use for everything.
    pub(crate) primitive: Option<Primitive>,
    /// `FOLIOCOPY_PROFILE=profile.toml`: what was measured on this CPU.
    profile: Option<PathBuf>,
}

/// An environment variable that says something unknown, or names a profile that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvironmentError {
    variable: Variable,
    problem: Problem,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    Unknown(UnknownName),
    #[cfg(feature = "profile")]
    Refused(&'static crate::profile::ProfileError),
    #[cfg(not(feature = "profile"))]
    NotBuilt,
}

/// The variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable {
    Mask,
    Primitive,
    Profile,
}

impl Variable {
    const fn name(self) -> &'static str {
        match self {
            Self::Mask => "FOLIOCOPY_MASK",
            Self::Primitive => "FOLIOCOPY_PRIMITIVE",
            Self::Profile => "FOLIOCOPY_PROFILE",
        }
    }

    /// The value; an empty one counts as unset.
    fn value(self) -> Option<OsString> {
        env::var_os(self.name()).filter(|value| !value.is_empty())
    }

    /// The value, as one of the names that there are.
    fn read<T: FromStr<Err = UnknownName>>(self) -> Result<Option<T>, EnvironmentError> {
        let parsed = self.value().map(|value| value.to_string_lossy().parse()).transpose();
        parsed.map_err(|error| EnvironmentError { variable: self, problem: Problem::Unknown(error) })
    }
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.variable.name())?;
        match self.problem {
            Problem::Unknown(error) => error.fmt(formatter),
            #[cfg(feature = "profile")]
            Problem::Refused(error) => error.fmt(formatter),
            #[cfg(not(feature = "profile"))]
            Problem::NotBuilt => formatter.write_str("foliocopy was built without its feature `profile`"),
        }
    }
}

impl core::error::Error for EnvironmentError {}

impl Environment {
    /// Reads the variables. A setuid program ignores them, as glibc ignores its tunables there.
    pub(crate) fn read() -> Result<Self, EnvironmentError> {
        if is_secure() {
            return Ok(Self::default());
        }
        Ok(Self {
            mask: Variable::Mask.read()?.unwrap_or_default(),
            primitive: Variable::Primitive.read()?,
            profile: Variable::Profile.value().map(PathBuf::from),
        })
    }

    /// `policy`, deciding by the profile if one is named.
    #[cfg(feature = "profile")]
    pub(crate) fn with_profile(&self, policy: Policy) -> Result<Policy, EnvironmentError> {
        use std::sync::OnceLock;

        use crate::profile::{Profile, ProfileError};

        // An error is copied about, and what a profile is refused for is too much for that.
        static REFUSED: OnceLock<ProfileError> = OnceLock::new();
        let Some(file) = &self.profile else { return Ok(policy) };
        Profile::read(file)
            .and_then(|profile| policy.with_profile(&profile).map_err(|error| error.of(file)))
            .map_err(|error| EnvironmentError {
                variable: Variable::Profile,
                problem: Problem::Refused(REFUSED.get_or_init(|| error)),
            })
    }

    /// `policy`, if no profile is named: this build could not read it, and to pass it over in silence would
    /// leave its owner in the belief that it counts.
    #[cfg(not(feature = "profile"))]
    pub(crate) fn with_profile(&self, policy: Policy) -> Result<Policy, EnvironmentError> {
        match self.profile {
            None => Ok(policy),
            Some(_) => Err(EnvironmentError { variable: Variable::Profile, problem: Problem::NotBuilt }),
        }
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
