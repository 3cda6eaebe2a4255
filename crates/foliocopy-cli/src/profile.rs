//! Profiles as people see them: where they lie, and how they stand to what is built in.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use comfy_table::{ContentArrangement, Table, presets};
use foliocopy::profile::Gain;
use foliocopy::{Decisions, PAGE_SIZE, Policy, Profile};
use foliocopy_measure::input;
use foliocopy_measure::size::Size;
use foliocopy_measure::statistics;
use foliocopy_measure::text::{harmless, shown};
use serde::Serialize;

/// The environment variable by which the engine takes a profile.
pub(crate) const VARIABLE: &str = "FOLIOCOPY_PROFILE";

/// Where `foliocopy tune` writes unless told otherwise: the XDG Base Directory Specification, by which a relative
/// `XDG_CONFIG_HOME` counts as unset.
pub(crate) fn default_path() -> Option<PathBuf> {
    let absolute = |variable| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(folder.join("foliocopy").join("profile.toml"))
}

/// No profile is longer.
const LONGEST: u64 = 1 << 20;

/// Reads a profile from what can be a file of one.
pub(crate) fn read(file: &Path) -> Result<Profile> {
    input::read(file, LONGEST).with_context(|| format!("the profile `{}` can't be read", shown(file)))?;
    Ok(Profile::read(file)?)
}

/// The profile that counts, or would if it were named: from `FOLIOCOPY_PROFILE`, else from where `foliocopy tune` writes.
fn at_hand() -> Option<(PathBuf, bool)> {
    let named =
        env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(|path| (PathBuf::from(path), true));
    named.or_else(|| Some((default_path().filter(|path| path.exists())?, false)))
}

/// A table of two policies' decisions, with a mark where they differ.
pub(crate) fn beside(built_in: &Decisions, profile: &Decisions) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["", "built in", "profile", ""]);
    for (name, show) in DECISIONS {
        let (one, other) = (show(built_in), show(profile));
        let mark = if one == other { "" } else { "differs" };
        table.add_row([format!("  {name}"), one, other, mark.to_owned()]);
    }
    format!("{}\n", table.trim_fmt())
}

/// How a decision is shown.
type Show = fn(&Decisions) -> String;

/// The decisions, by name.
const DECISIONS: [(&str, Show); 6] = [
    ("through the cache", |decisions| decisions.temporal.to_string()),
    ("a page", |decisions| match decisions.page_up_to {
        PAGE_SIZE => decisions.page.to_string(),
        bytes => format!("{} up to {}", decisions.page, Size(bytes as u64)),
    }),
    ("in the L1", |decisions| match decisions.in_l1 {
        Some(primitive) => format!("{primitive} up to {}", Size(decisions.in_l1_up_to as u64)),
        None => "likewise".to_owned(),
    }),
    ("past the cache", |decisions| decisions.non_temporal.to_string()),
    ("prefetching", prefetching),
    ("auto passes it", |decisions| match decisions.non_temporal_from {
        Some(bytes) => format!("from {}", Size(bytes as u64)),
        None => "never".to_owned(),
    }),
];

/// How far ahead stores past the cache prefetch.
pub(crate) fn prefetching(decisions: &Decisions) -> String {
    let short = decisions.prefetch_distance;
    let long = match decisions.long_prefetch_distance {
        Some(long) if long != short => format!(", {long} from 128K"),
        _ => String::new(),
    };
    let none = match decisions.no_prefetch_from {
        Some(bytes) => format!(", none from {}", Size(bytes as u64)),
        None => String::new(),
    };
    format!("{short} ahead{long}{none}")
}

/// Whether the profile agrees with what is built in for this CPU, and by how much it would help, in a sentence.
pub(crate) fn help(profile: &Profile, built_in: &Policy) -> String {
    let decisions = profile.decisions(built_in.registers());
    if decisions == built_in.decisions() {
        return "The profile and the built-in policy agree: it would change nothing.\n".to_owned();
    }
    if profile.gains.is_empty() {
        return "The profile differs from the built-in policy, and doesn't say what it gains.\n".to_owned();
    }
    let mut text =
        "The profile differs from the built-in policy. When it was measured it was so many times as fast:\n"
            .to_owned();
    for same in
        profile.gains.chunk_by(|one, other| (one.locality, &one.cache) == (other.locality, &other.cache))
    {
        let medians: Vec<f64> = same.iter().map(|gain| gain.ratio[0]).collect();
        let mean = statistics::geometric_mean(&medians).unwrap_or(1.0);
        let sizes: Vec<String> = same.iter().map(size).collect();
        let cache = harmless(&same[0].cache);
        text += &format!("  {} {cache}: {mean:.2} ({})\n", same[0].locality, sizes.join(", "));
    }
    text
}

/// Such as `64K 1.03 [1.01, 1.05]`.
fn size(gain: &Gain) -> String {
    let [median, low, high] = gain.ratio;
    format!("{} {median:.2} [{low:.2}, {high:.2}]", Size(gain.bytes))
}

/// How the profile at hand stands to what is built in.
#[derive(Serialize)]
pub(crate) struct Standing {
    file: String,
    /// Whether `FOLIOCOPY_PROFILE` names it.
    in_use: bool,
    /// Why this CPU can't follow it.
    refused: Option<String>,
    /// Whether it changes nothing. `None` of a refused one.
    agrees: Option<bool>,
    /// How much faster it was than what is built in.
    gains: Vec<Gain>,
    #[serde(skip)]
    text: String,
}

impl Standing {
    /// Of the profile at hand; `built_in` is the policy without it. `None` where there is no profile.
    pub(crate) fn at_hand(built_in: &Policy, microcode: Option<&str>) -> Option<Self> {
        let (file, in_use) = at_hand()?;
        let shown = shown(&file);
        let text = match in_use {
            true => format!("{VARIABLE} names the profile {shown}.\n"),
            false => format!("There is a profile {shown}; `export {VARIABLE}={shown}` puts it to use.\n"),
        };
        let followed =
            read(&file).and_then(|profile| Ok(built_in.with_profile(&profile).map(|_| profile)?));
        let standing = Self { file: shown, in_use, refused: None, agrees: None, gains: vec![], text };
        Some(match followed {
            Ok(profile) => standing.followed(profile, built_in, microcode),
            Err(error) => standing.refused(error),
        })
    }

    fn refused(self, error: anyhow::Error) -> Self {
        let reason = harmless(&format!("{error:#}")).into_owned();
        Self { text: self.text + &format!("It is refused: {reason}\n"), refused: Some(reason), ..self }
    }

    fn followed(self, profile: Profile, built_in: &Policy, microcode: Option<&str>) -> Self {
        let (mut text, decisions) = (self.text, profile.decisions(built_in.registers()));
        if let (Some(then), Some(now)) = (profile.cpu.microcode.as_deref(), microcode)
            && then != now
        {
            text += &format!(
                "It was measured with microcode {}, and this CPU runs {now}: measure anew to be sure.\n",
                harmless(then)
            );
        }
        text += &beside(built_in.decisions(), decisions);
        text += &help(&profile, built_in);
        Self { text, agrees: Some(decisions == built_in.decisions()), gains: profile.gains, ..self }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use foliocopy::profile::{PROFILE_VERSION, ProfiledCpu};
    use foliocopy::{Cpu, Features, Locality, Registers};

    const CPU: Cpu = Cpu { features: Features::ERMS, ..Cpu::UNKNOWN };

    fn profile(process: Decisions, gains: Vec<Gain>) -> Profile {
        let cpu = ProfiledCpu {
            vendor: "AMD".into(),
            family: 0x19,
            model: 1,
            stepping: 1,
            features: Features::ERMS,
            model_name: String::new(),
            microcode: None,
        };
        let (program, measured) = (String::new(), String::new());
        Profile {
            version: PROFILE_VERSION,
            program,
            measured,
            cpu,
            kernel: process,
            process,
            gains,
            evidence: vec![],
        }
    }

    #[test]
    fn a_profile_that_agrees_helps_nothing() {
        let policy = Policy::new(CPU, Registers::Vector);
        let text = help(&profile(*policy.decisions(), vec![]), &policy);
        assert!(text.contains("agree") && text.contains("change nothing"), "{text}");
        assert!(!beside(policy.decisions(), policy.decisions()).contains("differs"));
    }

    #[test]
    fn what_differs_is_marked_and_its_gain_told() {
        let policy = Policy::new(CPU, Registers::Vector);
        let tuned = Decisions { prefetch_distance: 512, non_temporal_from: None, ..*policy.decisions() };
        let gain = |bytes, median| Gain {
            locality: Locality::NonTemporal,
            cache: "cold".into(),
            bytes,
            ratio: [median, median - 0.01, median + 0.01],
        };
        let text = beside(policy.decisions(), &tuned);
        assert_eq!(text.matches("differs").count(), 2, "{text}");
        assert!(text.contains("1024 ahead") && text.contains("512 ahead, 1024 from 128K"), "{text}");
        let text = help(&profile(tuned, vec![gain(65536, 1.0), gain(262144, 1.21)]), &policy);
        assert!(
            text.contains("non_temporal cold: 1.10 (64K 1.00 [0.99, 1.01], 256K 1.21 [1.20, 1.22])"),
            "{text}"
        );
    }
}
