//! What the user of a program says: `FOLIOCOPY_MASK`, `FOLIOCOPY_PRIMITIVE`, `FOLIOCOPY_PROFILE` and the profiles at the usual
//! places. What can't be followed is left aside, with the reason: no variable and no file makes a copy fail, unless
//! `FOLIOCOPY_STRICT=1` asks for that.

use std::boxed::Box;
use std::ffi::OsString;
use std::path::Path;
use std::string::String;
use std::vec::Vec;
use std::{env, format};

use crate::cpu::{Cpu, Features};
use crate::error::{CopyError, EnvironmentError};
use crate::name::UnknownName;
use crate::policy::Policy;
use crate::primitive::Primitive;
use crate::probe;
use crate::tuning::Registers;

/// The policy of the environment, and the variables and files that were left aside.
pub(crate) struct Followed {
    pub(crate) policy: Policy,
    pub(crate) profile: Option<&'static Path>,
    pub(crate) problems: &'static [EnvironmentError],
}

/// Reads the environment. The program does `without` some features in any case. A setuid program ignores the environment, as
/// glibc ignores its tunables there.
pub(crate) fn follow(without: Features) -> Followed {
    let mut problems = Vec::new();
    let ignored = is_secure();
    let variable = |name: &str| env::var_os(name).filter(|value| !ignored && !value.is_empty());
    let mask: Features = read("FOLIOCOPY_MASK", variable, &mut problems).unwrap_or_default();
    let cpu = Cpu::detect().without(mask.union(without));
    let mut policy = Policy::new(probe::seen_by(cpu), Registers::Vector);
    let profile = if ignored { None } else { profile::follow(&mut policy, variable, &mut problems) };
    if let Some(primitive) = read::<Primitive>("FOLIOCOPY_PRIMITIVE", variable, &mut problems) {
        match policy.forcing(primitive) {
            Ok(forced) => policy = forced,
            Err(error) => problems.push(format!("FOLIOCOPY_PRIMITIVE: {error}")),
        }
    }
    let problems: Vec<_> = problems.into_iter().map(kept).collect();
    if let (Some(first), true) =
        (problems.first(), variable("FOLIOCOPY_STRICT").is_some_and(|value| value == "1"))
    {
        policy = policy.refusing(CopyError::Environment(*first));
    }
    Followed { policy, profile, problems: Box::leak(problems.into_boxed_slice()) }
}

/// Keeps the text for the life of the process, since an error is `Copy`.
fn kept(message: String) -> EnvironmentError {
    EnvironmentError { message: Box::leak(message.into_boxed_str()) }
}

/// Reads a variable whose value is one of the known names.
fn read<T: core::str::FromStr<Err = UnknownName>>(
    name: &str,
    variable: impl Fn(&str) -> Option<OsString>,
    problems: &mut Vec<String>,
) -> Option<T> {
    match variable(name)?.to_string_lossy().parse() {
        Ok(value) => Some(value),
        Err(error) => {
            problems.push(format!("{name}: {error}"));
            None
        }
    }
}

#[cfg(feature = "profile")]
mod profile {
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};
    use std::string::String;
    use std::vec::Vec;
    use std::{format, fs};

    use crate::policy::Policy;
    use crate::profile::Profile;

    /// Where a profile lies in the user's or in the system's folder of settings.
    const USUAL: &str = "foliocopy/profile.toml";

    /// Gives `policy` the profile that the variable names, or else the first one at a usual place.
    pub(super) fn follow(
        policy: &mut Policy,
        variable: impl Fn(&str) -> Option<OsString>,
        problems: &mut Vec<String>,
    ) -> Option<&'static Path> {
        let (file, from) = match variable("FOLIOCOPY_PROFILE") {
            Some(named) if named == "none" => return None,
            Some(named) => (PathBuf::from(named), "FOLIOCOPY_PROFILE: "),
            None => {
                let home = || variable("HOME").map(|home| PathBuf::from(home).join(".config"));
                let user = variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home);
                let places = [user, Some(PathBuf::from("/etc"))];
                let mut files = places.into_iter().flatten().map(|folder| folder.join(USUAL));
                (files.find(|file| fs::symlink_metadata(file).is_ok())?, "")
            }
        };
        match Profile::read(&file)
            .and_then(|profile| policy.with_profile(&profile).map_err(|error| error.of(&file)))
        {
            Ok(profiled) => {
                *policy = profiled;
                Some(std::boxed::Box::leak(file.into_boxed_path()))
            }
            Err(error) => {
                problems.push(format!("{from}{error}"));
                None
            }
        }
    }
}

/// This build reads no profile. It says so, or the user would believe that the profile counts.
#[cfg(not(feature = "profile"))]
mod profile {
    use std::ffi::OsString;
    use std::path::Path;
    use std::string::String;
    use std::vec::Vec;

    use crate::policy::Policy;

    pub(super) fn follow(
        _: &mut Policy,
        variable: impl Fn(&str) -> Option<OsString>,
        problems: &mut Vec<String>,
    ) -> Option<&'static Path> {
        if variable("FOLIOCOPY_PROFILE").is_some_and(|named| named != "none") {
            problems.push("FOLIOCOPY_PROFILE: foliocopy was built without its feature `profile`".into());
        }
        None
    }
}

/// Whether the program runs with rights that its caller lacks (`getauxval(3)`, AT_SECURE).
#[cfg(all(target_os = "linux", not(miri)))]
fn is_secure() -> bool {
    // SAFETY: getauxval only reads what the kernel put on the stack at exec.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Elsewhere there is no way to tell, so the environment is ignored.
#[cfg(not(all(target_os = "linux", not(miri))))]
fn is_secure() -> bool {
    true
}
