//! Profiles as users see them: their files, and their difference to the built-in tables.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use foliocopy::profile::{Gain, ProfileError};
use foliocopy::{Policy, Profile, Registers};
use foliocopy_measure::environment;
use foliocopy_measure::result::PolicyTables;
use foliocopy_measure::size::Size;
use foliocopy_measure::statistics;
use foliocopy_measure::text::{harmless, shown};
use serde::Serialize;

use crate::header;
use crate::wrap::{COLUMNS, paragraph, wrap};

/// The environment variable that names a profile.
pub(crate) const VARIABLE: &str = "FOLIOCOPY_PROFILE";

/// Where `foliocopy tune` writes unless told otherwise, and the engine looks: the XDG Base Directory Specification, by which a
/// relative `XDG_CONFIG_HOME` counts as unset.
pub(crate) fn default_path() -> Option<PathBuf> {
    let absolute = |variable| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(folder.join("foliocopy").join("profile.toml"))
}

/// Reads a profile of any origin, and makes its text harmless.
pub(crate) fn read(file: &Path) -> Result<Profile, ProfileError> {
    let mut profile = Profile::read(file)?;
    let Profile { program, measured, cpu, gains, .. } = &mut profile;
    let texts = [program, measured, &mut cpu.model_name].into_iter();
    let texts = texts.chain(&mut cpu.microcode).chain(gains.iter_mut().map(|gain| &mut gain.cache));
    texts.for_each(|text| *text = harmless(text).into_owned());
    Ok(profile)
}

/// The gain of a profile over the built-in tables, a line for each locality and state of the cache.
pub(crate) fn gains(gains: &[Gain]) -> String {
    let mut text = String::new();
    for kind in gains.chunk_by(|one, other| (one.locality, &one.cache) == (other.locality, &other.cache)) {
        let medians: Vec<f64> = kind.iter().map(|gain| gain.ratio[0]).collect();
        let mean = statistics::geometric_mean(&medians).unwrap_or(1.0);
        let sizes: Vec<String> = kind.iter().map(size).collect();
        let of_sizes = format!("{mean:.2} ({})", sizes.join(", "));
        wrap(&mut text, &format!("  {} {}: ", kind[0].locality, kind[0].cache), &of_sizes, COLUMNS);
    }
    text
}

/// Such as `64K 1.03 [1.01, 1.05]`.
fn size(gain: &Gain) -> String {
    let [median, low, high] = gain.ratio;
    format!("{} {median:.2} [{low:.2}, {high:.2}]", Size(gain.bytes))
}

/// The difference of the profile in use to the built-in tables.
#[derive(Serialize)]
pub(crate) struct Standing {
    file: String,
    /// Whether it changes nothing.
    agrees: bool,
    /// How the process would copy without it.
    built_in: PolicyTables,
    /// The gain over the built-in tables.
    gains: Vec<Gain>,
    /// The microcode with which it was measured, where this CPU runs another.
    measured_with_microcode: Option<String>,
}

impl Standing {
    /// The difference of the profile in that file. `None` where the file is gone.
    pub(crate) fn of(file: &Path, policy: &Policy, microcode: Option<&str>) -> Option<Self> {
        let profile = read(file).ok()?;
        let built_in = Policy::new(*policy.cpu(), Registers::Vector);
        let followed = built_in.with_profile(&profile).ok()?;
        let then = profile.cpu.microcode.filter(|then| microcode.is_some_and(|now| now != then));
        let (built_in, followed) = (environment::tables(&built_in), environment::tables(&followed));
        Some(Self {
            file: shown(file),
            agrees: built_in.bands == followed.bands,
            built_in,
            gains: profile.gains,
            measured_with_microcode: then,
        })
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "The profile {} is in use.", self.file)?;
        if let Some(then) = &self.measured_with_microcode {
            let other =
                format!("It was measured with microcode {then}, and this CPU runs another: measure anew.");
            formatter.write_str(&paragraph(&other))?;
        }
        if self.agrees {
            return writeln!(formatter, "It agrees with what is built in, and changes nothing.");
        }
        writeln!(formatter, "Without it a process would copy as built in ({}):", self.built_in.source)?;
        formatter.write_str(&header::tables(&self.built_in, None))?;
        match self.gains.is_empty() {
            true => writeln!(formatter, "It does not say what it gains."),
            false => write!(
                formatter,
                "Its speed-up over the built-in tables, when it was measured:\n{}",
                gains(&self.gains)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use foliocopy::Locality;

    fn gain(bytes: u64, median: f64) -> Gain {
        let ratio = [median, median - 0.01, median + 0.01];
        Gain { locality: Locality::NonTemporal, cache: "cold".into(), bytes, ratio }
    }

    #[test]
    fn a_gain_is_told_by_size_and_on_the_whole() {
        let text = gains(&[gain(65536, 1.0), gain(262144, 1.21)]);
        assert_eq!(text, "  non_temporal cold: 1.10 (64K 1.00 [0.99, 1.01], 256K 1.21 [1.20, 1.22])\n");
    }

    #[test]
    fn a_profile_that_agrees_says_so_and_another_shows_what_is_built_in() {
        let standing = Standing {
            file: "p.toml".into(),
            agrees: true,
            built_in: PolicyTables { source: "measured on Zen 4".into(), ..PolicyTables::default() },
            gains: vec![],
            measured_with_microcode: None,
        };
        assert!(standing.to_string().ends_with("It agrees with what is built in, and changes nothing.\n"));
        let differing = Standing {
            agrees: false,
            gains: vec![gain(65536, 1.2)],
            measured_with_microcode: Some("0x1".into()),
            ..standing
        };
        let text = differing.to_string();
        for expected in ["microcode 0x1", "as built in (measured on Zen 4)", "64K 1.20"] {
            assert!(text.contains(expected), "{text}");
        }
    }
}
