//! Names the build: the commit, whether sources differ from it, and cargo's profile.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// What the commit's name depends on. A package from a registry lies alone.
const SOURCES: [&str; 4] = ["build.rs", "src", "../foliocopy/src", "../foliocopy-measure/src"];

fn main() {
    println!("cargo::rerun-if-env-changed=FOLIOCOPY_COMMIT");
    for path in SOURCES.into_iter().filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
    let commit = env::var("FOLIOCOPY_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit =
        commit.or_else(of_checkout).or_else(of_package).unwrap_or_else(|| "unknown commit".to_owned());
    let profile = env::var("PROFILE").unwrap_or_default();
    println!("cargo::rustc-env=FOLIOCOPY_BUILD={commit}, {profile}");
}

/// What git says, where this file is under its control.
fn of_checkout() -> Option<String> {
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    for path in ["HEAD", &git(&["symbolic-ref", "HEAD"]).unwrap_or_default()] {
        let path = git(&["rev-parse", "--git-path", path]).filter(|path| Path::new(path).is_file());
        if let Some(path) = path {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no", "--", ".."])?;
    Some(if changes.is_empty() { commit } else { commit + " with changes" })
}

/// What cargo noted when it made the package.
fn of_package() -> Option<String> {
    let text = fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let commit: String =
        text.split("\"sha1\": \"").nth(1)?.chars().take_while(char::is_ascii_hexdigit).collect();
    commit.get(..12).map(str::to_owned)
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
