//! The library, and the policy by which this process copies.

use core::ffi::{CStr, c_char, c_int};
use std::ffi::CString;
use std::sync::OnceLock;

use foliocopy::{Cpu, Features, HostReport, Policy};

use crate::failure::{Failure, status};

/// The version of the library: "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn foliocopy_version() -> *const c_char {
    const { concat!(env!("CARGO_PKG_VERSION"), "\0") }.as_ptr().cast()
}

/// Makes the policy of this process do without CPU features, in addition to those that FOLIOCOPY_MASK hides. The names are
/// separated by commas. Called before the first copy of the process. -EBUSY where it has a policy already. -EINVAL for an
/// unknown name: foliocopy_last_error() lists the names then.
///
/// foliocopy_mask("tsc") makes copies that read no time-stamp counter. A process of which some thread may not read it must
/// call this, or be started with FOLIOCOPY_MASK=tsc.
///
/// # Safety
///
/// `features` is null or a text that ends with 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_mask(features: *const c_char) -> c_int {
    if features.is_null() {
        return Failure::Null("features").answer();
    }
    // SAFETY: `features` is not null, so it is a text that ends.
    let names = unsafe { CStr::from_ptr(features) }.to_string_lossy();
    status(match names.parse() {
        Ok(features) => Policy::host_without(features).map_err(|_| Failure::PolicyExists),
        Err(unknown) => Err(Failure::Name(unknown)),
    })
}

/// The policy of this process, in a line: the CPU, the source of its table ("measured on Zen 5", a profile with its path,
/// "asked for by name"), and the features that it does without. The text stays as long as the library does. The first call
/// of the process makes the policy.
#[unsafe(no_mangle)]
pub extern "C" fn foliocopy_host_policy() -> *const c_char {
    static TEXT: OnceLock<CString> = OnceLock::new();
    text_of(&TEXT, policy)
}

/// The parts of the environment and of profiles that the policy of this process leaves aside: a line for each, with the
/// reason. "" where nothing is left aside. With FOLIOCOPY_STRICT=1 every copy answers -EPERM instead of leaving something
/// aside. The text stays as long as the library does. The first call of the process makes the policy.
#[unsafe(no_mangle)]
pub extern "C" fn foliocopy_host_report() -> *const c_char {
    static TEXT: OnceLock<CString> = OnceLock::new();
    text_of(&TEXT, |report| report.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// A text of the report that is made once. There is none before the policy is made.
fn text_of(text: &'static OnceLock<CString>, of: fn(&HostReport) -> String) -> *const c_char {
    let report = Policy::host_report();
    if !report.is_ready {
        return c"the policy is not made yet: ask again".as_ptr();
    }
    text.get_or_init(|| {
        let mut bytes = of(&report).into_bytes();
        // A path on Unix has none, and neither has a variable.
        bytes.retain(|byte| *byte != 0);
        CString::new(bytes).unwrap_or_default()
    })
    .as_ptr()
}

/// The policy and its source, in a line.
fn policy(report: &HostReport) -> String {
    let policy = Policy::host();
    let mut text = format!("{}: {}", policy.cpu(), policy.source().text());
    if let Some(profile) = report.profile {
        text.push_str(&format!(", {}", profile.display()));
    }
    let without: Features = Cpu::detect().features().without(policy.cpu().features());
    if !without.is_empty() {
        text.push_str(&format!("; without {without}"));
    }
    text
}
