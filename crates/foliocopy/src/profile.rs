//! What `foliocopy tune` has measured of a CPU, as TOML: a [`Policy`] may decide by it.
//!
//! `FOLIOCOPY_PROFILE` names one for a whole program, [`Policy::with_profile`] takes one that a program
//! has read. A profile is used as a whole or refused with the reason: never for another CPU, never in part.

use core::fmt;
use core::str::FromStr;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cpu::{Cpu, Features, Vendor};
use crate::error::CopyError;
use crate::locality::Locality;
use crate::page::PAGE_SIZE;
use crate::policy::{Decisions, Policy, Registers};
use crate::primitive::Primitive;

/// The version of the form that is read and written.
pub const PROFILE_VERSION: u32 = 1;

/// The farthest that prefetching makes sense: half of a large L1 and more.
const MAX_PREFETCH_DISTANCE: u32 = 64 << 10;

/// The features that change how a copy runs: a profile taken with them says nothing of a CPU without.
const DECISIVE: Features = Features::ERMS
    .union(Features::FSRM)
    .union(Features::FZRM)
    .union(Features::REP_GOOD)
    .union(Features::AVX2)
    .union(Features::AVX512F)
    .union(Features::MOVDIR64B);

/// What was measured of a CPU, and what follows from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// [`PROFILE_VERSION`] of the program that wrote it.
    pub version: u32,
    /// The program and its version, such as `foliocopy 0.1.0`.
    pub program: String,
    /// When it was measured, in UTC, as RFC 3339 has it.
    pub measured: String,
    /// On what.
    pub cpu: ProfiledCpu,
    /// How a process copies best.
    pub process: Decisions,
    /// How a kernel does, in general-purpose registers.
    pub kernel: Decisions,
    /// By how much the process's decisions are faster than those built in.
    #[serde(default)]
    pub gains: Vec<Gain>,
    /// On what the decisions rest.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
}

/// The CPU of a [`Profile`].
///
/// Vendor, family, model and stepping must be this CPU's: Skylake-SP, Cascade Lake and Cooper Lake differ
/// in nothing but the stepping. The rest is for people, but for the features. Microcode may differ, since
/// an update must not stop a program; `foliocopy info` tells of it.
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
    /// What it had when it was measured, after a mask. This CPU must have as much of what changes how a
    /// copy runs.
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
    /// What the caches held: `cold` or `hot`.
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
    /// Which decision it is about, such as `process.non_temporal`.
    pub decision: String,
    /// What the caches held: `cold` or `hot`.
    pub cache: String,
    /// Bytes of the copy.
    pub bytes: u64,
    /// Whether one read of the destination was timed with the copy.
    pub with_read: bool,
    /// How many rounds.
    pub rounds: usize,
    /// What the candidates are held against.
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
    Decision { table: &'static str, problem: String },
    OtherCpu { measured: String, here: String },
    UnknownVendor,
    Lacks(Features),
    Unusable(CopyError),
}

impl From<Refusal> for ProfileError {
    fn from(refusal: Refusal) -> Self {
        Self { file: None, refusal: Box::new(refusal) }
    }
}

impl ProfileError {
    /// The same, of the profile in that file.
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
            Refusal::Decision { table, problem } => write!(formatter, "{file}: {table}.{problem}"),
            Refusal::OtherCpu { measured, here } => write!(
                formatter,
                "{file} was measured on another CPU, {measured}; this is {here}: measure anew with `foliocopy tune`"
            ),
            Refusal::UnknownVendor => {
                write!(formatter, "{file} can't be told to be of this CPU, whose vendor is unknown")
            }
            Refusal::Lacks(features) => {
                write!(
                    formatter,
                    "{file} was measured with {features}, which this CPU lacks or FOLIOCOPY_MASK hides"
                )
            }
            Refusal::Unusable(error) => write!(formatter, "{file} can't be followed: {error}"),
        }
    }
}

impl core::error::Error for ProfileError {}

impl Profile {
    /// Reads the profile in a file.
    ///
    /// # Errors
    ///
    /// Where it can't be read, is no profile, or one that no CPU could follow. For which CPU it is,
    /// [`Policy::with_profile`] asks.
    pub fn read(file: &Path) -> Result<Self, ProfileError> {
        let text = std::fs::read_to_string(file).map_err(|error| Refusal::Unreadable(error.to_string()));
        text.map_err(ProfileError::from).and_then(|text| text.parse()).map_err(|error| error.of(file))
    }

    /// The decisions for code that may use these registers.
    pub const fn decisions(&self, registers: Registers) -> &Decisions {
        match registers {
            Registers::Vector => &self.process,
            Registers::GeneralPurpose => &self.kernel,
        }
    }

    /// Whether it was measured on `cpu`.
    fn check_cpu(&self, cpu: &Cpu) -> Result<(), Refusal> {
        let ProfiledCpu { vendor, family, model, stepping, features, .. } = &self.cpu;
        if cpu.vendor == Vendor::Other {
            return Err(Refusal::UnknownVendor);
        }
        if (vendor.as_str(), *family, *model, *stepping)
            != (cpu.vendor.name(), cpu.family, cpu.model, cpu.stepping)
        {
            let measured = format!("{vendor} family {family:#x} model {model:#x} stepping {stepping}");
            return Err(Refusal::OtherCpu { measured, here: cpu.to_string() });
        }
        let needed = self.process.primitives().chain(self.kernel.primitives());
        let needed = needed.fold(DECISIVE.intersection(*features), |set, one| set | one.requires());
        let missing = needed.without(cpu.features);
        if missing.is_empty() { Ok(()) } else { Err(Refusal::Lacks(missing)) }
    }
}

/// Refuses decisions that no CPU could follow.
fn check_decisions(registers: Registers, decisions: &Decisions) -> Result<(), Refusal> {
    let table = match registers {
        Registers::Vector => "process",
        Registers::GeneralPurpose => "kernel",
    };
    let refuse = |problem: String| Err(Refusal::Decision { table, problem });
    let Decisions { temporal, page, in_l1, non_temporal, .. } = *decisions;
    let through = [("temporal", Some(temporal)), ("page", Some(page)), ("in_l1", in_l1)];
    for (role, primitive) in through.into_iter().chain([("non_temporal", Some(non_temporal))]) {
        let Some(primitive) = primitive else { continue };
        if primitive.is_non_temporal() && role != "non_temporal" {
            return refuse(format!("{role} is {primitive}, which stores past the cache"));
        }
        let any = registers == Registers::Vector || primitive == Primitive::Portable;
        if !any && !primitive.is_kernel() {
            return refuse(format!("{role} is {primitive}: its vector registers belong to processes"));
        }
    }
    if !non_temporal.is_non_temporal() && non_temporal != Primitive::Portable {
        return refuse(format!("non_temporal is {non_temporal}, which stores through the cache"));
    }
    for (name, distance) in [
        ("prefetch_distance", Some(decisions.prefetch_distance)),
        ("long_prefetch_distance", decisions.long_prefetch_distance),
    ] {
        let bad = |distance: &u32| *distance > MAX_PREFETCH_DISTANCE || !distance.is_multiple_of(64);
        if let Some(distance) = distance.filter(bad) {
            return refuse(format!(
                "{name} is {distance}: a multiple of 64 bytes, {MAX_PREFETCH_DISTANCE} at most"
            ));
        }
    }
    for (threshold, bytes) in [
        ("page_up_to", Some(decisions.page_up_to)),
        ("in_l1_up_to", Some(decisions.in_l1_up_to)),
        ("prefetch_up_to", Some(decisions.prefetch_up_to)),
        ("no_prefetch_from", decisions.no_prefetch_from),
        ("non_temporal_from", decisions.non_temporal_from),
    ] {
        if let Some(bytes) = bytes.filter(|bytes| !bytes.is_multiple_of(PAGE_SIZE)) {
            return refuse(format!("{threshold} is {bytes}: a multiple of {PAGE_SIZE} bytes"));
        }
    }
    if decisions.page_up_to < PAGE_SIZE {
        return refuse(format!("page_up_to is {}: a page at least, {PAGE_SIZE} bytes", decisions.page_up_to));
    }
    if in_l1.is_some() != (decisions.in_l1_up_to > PAGE_SIZE) {
        return refuse("in_l1 needs an in_l1_up_to of two pages or more, and that an in_l1".to_owned());
    }
    if decisions.prefetch_up_to > decisions.in_l1_up_to {
        let Decisions { prefetch_up_to, in_l1_up_to, .. } = decisions;
        return refuse(format!(
            "prefetch_up_to is {prefetch_up_to}, and in_l1_up_to {in_l1_up_to}: that much at most"
        ));
    }
    Ok(())
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
        check_decisions(Registers::Vector, &profile.process)?;
        check_decisions(Registers::GeneralPurpose, &profile.kernel)?;
        Ok(profile)
    }
}

/// As TOML, which [`FromStr`] reads back.
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
    /// Where the profile is of another CPU, or of one that had more than this one has.
    pub fn with_profile(self, profile: &Profile) -> Result<Self, ProfileError> {
        profile.check_cpu(self.cpu())?;
        let deciding = self.deciding(*profile.decisions(self.registers()));
        deciding.map_err(|error| Refusal::Unusable(error).into())
    }
}

impl Serialize for Primitive {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Primitive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
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
