//! Profiles: the rows that `foliocopy tune` has measured on one CPU, as TOML.
//!
//! [`Policy::host`] follows the first profile that it finds: in the file that `FOLIOCOPY_PROFILE` names (`none` for none),
//! else in `$XDG_CONFIG_HOME/foliocopy/profile.toml` (`~/.config` where that is not set), else in
//! `/etc/foliocopy/profile.toml`. [`Policy::with_profile`] takes a profile that a program has read itself.
//!
//! A profile is used as a whole, or refused with the reason. It is never used for another CPU.

mod row;

use core::fmt;
use core::str::FromStr;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cpu::{Cpu, Features, Vendor};
use crate::error::RowError;
use crate::locality::Locality;
use crate::policy::{Policy, Source};
use crate::step::Row;
use crate::tuning::Registers;

/// The version of the form that is read and written.
pub const PROFILE_VERSION: u32 = 2;

/// The longest profile that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The features that change how a copy runs. A profile measured with them does not hold for a CPU without them.
const DECISIVE: Features = Features::ERMS
    .union(Features::FSRM)
    .union(Features::FZRM)
    .union(Features::REP_GOOD)
    .union(Features::AVX2)
    .union(Features::AVX512F)
    .union(Features::MOVDIR64B);

/// The rows that were measured on one CPU, with their evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// [`PROFILE_VERSION`] of the program that wrote it.
    pub version: u32,
    /// The program and its version, such as `foliocopy 0.1.0`.
    pub program: String,
    /// When it was measured, in UTC, as RFC 3339 has it.
    pub measured: String,
    /// The CPU.
    pub cpu: ProfiledCpu,
    /// The row for a process.
    #[serde(with = "row")]
    pub process: Row,
    /// The row for a kernel, which uses general-purpose registers only.
    #[serde(with = "row")]
    pub kernel: Row,
    /// The gain of the process's row over the built-in one.
    #[serde(default)]
    pub gains: Vec<Gain>,
    /// The measurements on which the rows rest.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
}

/// The CPU of a [`Profile`].
///
/// Vendor, family, model and stepping must be this CPU's: Skylake-SP, Cascade Lake and Cooper Lake differ in nothing but the
/// stepping. Of the rest only the features count. Microcode may differ, since an update must not stop a program; `foliocopy
/// info` tells of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfiledCpu {
    /// The name of its [`Vendor`].
    pub vendor: String,
    /// Display family.
    pub family: u32,
    /// Display model.
    pub model: u32,
    /// Stepping.
    pub stepping: u32,
    /// Its features when it was measured, after a mask. This CPU must have each of them that changes how a copy runs.
    #[serde(with = "feature_names")]
    pub features: Features,
    /// The brand string.
    pub model_name: String,
    /// The revision as the kernel prints it, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub microcode: Option<String>,
}

/// How much faster a profile is than the policy built in, in one situation: the median over rounds of the
/// ratio within a round, with the ends of its interval at 95 %.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gain {
    /// The locality asked for.
    #[serde(with = "locality_name")]
    pub locality: Locality,
    /// The state of the caches: `cold` or `hot`; `cold, then read` where one read of the destination was timed with the copy.
    pub cache: String,
    /// Bytes of the copy.
    pub bytes: u64,
    /// Median, lower and upper end.
    pub ratio: [f64; 3],
}

/// One situation in which candidates were measured against what is built in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The decision, such as `process.non_temporal`.
    pub decision: String,
    /// The state of the caches: `cold` or `hot`.
    pub cache: String,
    /// Bytes of the copy.
    pub bytes: u64,
    /// Whether one read of the destination was timed with the copy.
    pub with_read: bool,
    /// How many rounds.
    pub rounds: usize,
    /// The built-in step that the candidates are compared with.
    pub baseline: String,
    /// For each candidate, median, lower and upper end of its speed as a ratio to the baseline's.
    pub ratios: BTreeMap<String, [f64; 3]>,
}

/// Why a profile is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileError {
    file: Option<PathBuf>,
    refusal: Box<Refusal>,
}

/// The reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refusal {
    Unreadable(String),
    Damaged { line: Option<usize>, problem: String },
    Version(u32),
    Row { table: &'static str, error: RowError },
    OtherCpu { measured: String, here: String },
    UnknownVendor,
    Lacks(Features),
}

impl From<Refusal> for ProfileError {
    fn from(refusal: Refusal) -> Self {
        Self { file: None, refusal: Box::new(refusal) }
    }
}

impl ProfileError {
    /// Names the file of the profile in the error.
    #[must_use]
    pub(crate) fn of(self, file: &Path) -> Self {
        Self { file: Some(file.to_owned()), ..self }
    }
}

impl fmt::Display for ProfileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_ref().map_or(Cow::Borrowed("the profile"), |file| {
            Cow::Owned(format!("the profile `{}`", file.display()))
        });
        match &*self.refusal {
            Refusal::Unreadable(problem) => write!(formatter, "{file} can't be read: {problem}"),
            Refusal::Damaged { line: Some(line), problem } => {
                write!(formatter, "{file} is damaged: line {line}: {problem}")
            }
            Refusal::Damaged { line: None, problem } => write!(formatter, "{file} is damaged: {problem}"),
            Refusal::Version(version) => write!(
                formatter,
                "{file} has version {version}, and this program reads version {PROFILE_VERSION}: measure anew with `foliocopy tune`"
            ),
            Refusal::Row { table, error } => write!(formatter, "{file}: {table}.{error}"),
            Refusal::OtherCpu { measured, here } => write!(
                formatter,
                "{file} was measured on another CPU, {measured}; this is {here}: measure anew with `foliocopy tune`"
            ),
            Refusal::UnknownVendor => {
                write!(formatter, "{file} can't be checked against this CPU, whose vendor is unknown")
            }
            Refusal::Lacks(features) => {
                write!(
                    formatter,
                    "{file} was measured with {features}, which this CPU lacks or FOLIOCOPY_MASK hides"
                )
            }
        }
    }
}

impl core::error::Error for ProfileError {}

impl Profile {
    /// Reads the profile in a file: a regular file of 1 MiB at most that belongs to root or to the user of this process.
    ///
    /// # Errors
    ///
    /// Where the file can't be read, is no profile, or is one that no CPU could follow. [`Policy::with_profile`] checks whether
    /// it is for this CPU.
    pub fn read(file: &Path) -> Result<Self, ProfileError> {
        let text = read_text(file).map_err(|problem| ProfileError::from(Refusal::Unreadable(problem)));
        text.and_then(|text| text.parse()).map_err(|error| error.of(file))
    }

    /// The row for code that may use these registers.
    pub const fn row(&self, registers: Registers) -> &Row {
        match registers {
            Registers::Vector => &self.process,
            Registers::GeneralPurpose => &self.kernel,
        }
    }

    /// Whether it was measured on `cpu`.
    fn check_cpu(&self, cpu: &Cpu) -> Result<(), Refusal> {
        let ProfiledCpu { vendor, family, model, stepping, features, .. } = &self.cpu;
        if cpu.vendor() == Vendor::Other {
            return Err(Refusal::UnknownVendor);
        }
        if (vendor.as_str(), *family, *model, *stepping)
            != (cpu.vendor().name(), cpu.family(), cpu.model(), cpu.stepping())
        {
            let measured = format!("{vendor} family {family:#x} model {model:#x} stepping {stepping}");
            return Err(Refusal::OtherCpu { measured, here: cpu.to_string() });
        }
        let steps = Locality::ALL.iter().flat_map(|locality| self.process.bands(*locality).as_slice());
        let needed = steps.flat_map(|band| band.step.primitives());
        let needed = needed.fold(DECISIVE.intersection(*features), |set, one| set | one.requires());
        let missing = needed.without(cpu.features());
        if missing.is_empty() { Ok(()) } else { Err(Refusal::Lacks(missing)) }
    }
}

/// The text of a file that may be a profile.
fn read_text(file: &Path) -> Result<String, String> {
    use std::fs::OpenOptions;
    use std::io::Read;

    let mut options = OpenOptions::new();
    options.read(true);
    // A pipe must not block the first copy of a program.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let opened = options.open(file).map_err(|error| error.to_string())?;
    let metadata = opened.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    if metadata.len() > MAX_BYTES {
        return Err(format!("it has {} bytes, and a profile {MAX_BYTES} at most", metadata.len()));
    }
    #[cfg(unix)]
    {
        // SAFETY: geteuid has no preconditions.
        let (owner, user) = (std::os::unix::fs::MetadataExt::uid(&metadata), unsafe { libc::geteuid() });
        if owner != 0 && owner != user {
            return Err(format!("it belongs to user {owner}, neither to root nor to user {user}"));
        }
    }
    let mut text = String::new();
    opened.take(MAX_BYTES).read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        /// The one field that every version has.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }

        let damaged = |error: toml::de::Error| Refusal::Damaged {
            line: error.span().map(|span| 1 + text[..span.start].matches('\n').count()),
            problem: error.message().to_owned(),
        };
        let Versioned { version } = toml::from_str(text).map_err(damaged)?;
        if version != PROFILE_VERSION {
            return Err(Refusal::Version(version).into());
        }
        let profile: Self = toml::from_str(text).map_err(damaged)?;
        // Rows that no CPU could follow are refused on every CPU.
        let any = Cpu::foreign(Vendor::Other, [0; 3], Features::ALL, Cpu::UNKNOWN.caches());
        for (registers, table) in [(Registers::Vector, "process"), (Registers::GeneralPurpose, "kernel")] {
            Policy::with_row(any, registers, profile.row(registers))
                .map_err(|error| Refusal::Row { table, error })?;
        }
        Ok(profile)
    }
}

/// Writes TOML, which [`FromStr`] reads back.
impl fmt::Display for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&toml::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Policy {
    /// The policy for the same CPU and registers that decides by `profile`.
    ///
    /// # Errors
    ///
    /// Where the profile is of another CPU, or of one with features that this one lacks.
    pub fn with_profile(&self, profile: &Profile) -> Result<Self, ProfileError> {
        profile.check_cpu(self.cpu())?;
        let registers = self.registers();
        let table = if registers == Registers::Vector { "process" } else { "kernel" };
        match Self::with_row(*self.cpu(), registers, profile.row(registers)) {
            Ok(policy) => Ok(policy.with_source(Source::PROFILE)),
            Err(error) => Err(Refusal::Row { table, error }.into()),
        }
    }
}

/// A locality by its name.
mod locality_name {
    use super::*;

    pub(super) fn serialize<S: Serializer>(locality: &Locality, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(locality.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Locality, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Features as a list of their names.
mod feature_names {
    use super::*;

    pub(super) fn serialize<S: Serializer>(features: &Features, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(features.names())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Features, D::Error> {
        Vec::<String>::deserialize(deserializer)?.join(",").parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
