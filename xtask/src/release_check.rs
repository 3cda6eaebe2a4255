//! `cargo xtask release-check`: tests each published package alone.
//!
//! Each crate is packaged, unpacked into a workspace of its own below `target/`, and tested there. The package must hold everything
//! that a reader and docs.rs need. It must build with the oldest dependencies that it allows. The C archive must show only its
//! own functions, and nothing of Rust. The test command does all of that as its steps `tests`, `lower-bounds` and `archive`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use xshell::{Shell, cmd};

use crate::dist;
use crate::need::{self, CXX, Need, PKG_CONFIG};
use crate::programs;

/// The needs of the tests: programs in C and C++ test the C library.
pub(crate) const NEEDS_OF_TEST: &[Need] = &[CXX, PKG_CONFIG];

/// The needs of [`check_lower_bounds`]. Only nightly's cargo chooses the oldest versions.
pub(crate) const NEEDS_OF_LOWER_BOUNDS: &[Need] = &[Need::Toolchain("nightly", &[])];

/// Groups of packages whose lower bounds are checked together. No package of a group asks for a newer version of a crate than
/// another.
const GROUPS: [&[&str]; 2] =
    [&["foliocopy", "foliocopy-capi", "foliocopy-vm-memory"], &["foliocopy-measure", "foliocopy-cli"]];

/// The arguments of `cargo xtask release-check`.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// The files that each package must hold.
const FILES: [&str; 3] = ["README.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// The fields that each manifest must have.
const FIELDS: [&str; 7] =
    ["description", "license", "readme", "rust_version", "keywords", "categories", "edition"];

/// Runs all checks. They build in the repository's own target folder, where many dependencies are already built.
pub(crate) fn run(shell: &Shell, _args: Args) -> Result<()> {
    need::demand(shell, &[NEEDS_OF_TEST, NEEDS_OF_LOWER_BOUNDS].concat())?;
    let packages = Packages::unpack(shell, "tests")?;
    packages.check_content()?;
    packages.test(shell, &mut Vec::new())?;
    packages.check_lower_bounds(shell)?;
    check_archive(shell)
}

/// Tests everything in user space: each published crate as its package holds it, and in the repository what no package holds.
pub(crate) fn test(shell: &Shell, notes: &mut Vec<String>) -> Result<()> {
    let packages = Packages::unpack(shell, "tests")?;
    packages.check_content()?;
    let packaged = packages.test(shell, notes);
    packages.test_the_rest(shell, notes)?;
    packaged
}

/// Builds the packages with the oldest versions of their direct dependencies.
pub(crate) fn check_lower_bounds(shell: &Shell) -> Result<()> {
    Packages::unpack(shell, "lower-bounds")?.check_lower_bounds(shell)
}

/// A packaged crate.
struct Package {
    name: String,
    folder: PathBuf,
    manifest: Value,
}

struct Packages {
    folder: PathBuf,
    all: Vec<Package>,
    /// The crates of the repository that are not published.
    unpublished: Vec<String>,
}

impl Packages {
    /// Packages every crate that is published, as cargo would upload it, and unpacks it in the folder of the step that uses it. Steps
    /// that run at a time have each their own.
    fn unpack(shell: &Shell, used_by: &str) -> Result<Self> {
        let target = shell.current_dir().join("target/release-check").join(used_by);
        let folder = target.join("unpacked");
        shell.remove_path(&folder)?;
        shell.create_dir(&folder)?;
        let metadata = cmd!(shell, "cargo metadata --quiet --no-deps --format-version 1").quiet().read()?;
        let metadata: Value = serde_json::from_str(&metadata)?;
        let (mut all, mut unpublished) = (Vec::new(), Vec::new());
        for manifest in metadata["packages"].as_array().context("cargo's metadata has no packages")? {
            let (name, version) = (text(&manifest["name"]), text(&manifest["version"]));
            // `publish = false` is an empty list of registries.
            if manifest["publish"].as_array().is_some_and(Vec::is_empty) {
                unpublished.push(name);
                continue;
            }
            all.push(Package {
                folder: folder.join(format!("{name}-{version}")),
                name,
                manifest: manifest.clone(),
            });
        }
        let names = all.iter().flat_map(|package| ["--package", &package.name]);
        cmd!(shell, "cargo package --quiet --locked --allow-dirty --no-verify --target-dir {target}")
            .args(names)
            .run()?;
        for package in &all {
            let file = package.folder.file_name().context("a package has a name")?.to_string_lossy();
            let archive = target.join("package").join(format!("{file}.crate"));
            // Packed files always have one time. Without --touch cargo would take them for those of the last run.
            cmd!(shell, "tar --extract --touch --gzip --file {archive} --directory {folder}")
                .quiet()
                .run()?;
        }
        Ok(Self { folder, all, unpublished })
    }

    fn check_content(&self) -> Result<()> {
        for package in &self.all {
            package.check_content().with_context(|| format!("the package {} is incomplete", package.name))?;
        }
        Ok(())
    }

    /// The lines of a workspace's manifest by which the packages find each other, since no registry has them yet. Packages in
    /// `group` are in the folder `alone`.
    fn patch(&self, group: &[&str], alone: &Path) -> String {
        let line = |package: &Package| {
            let folder = match group.contains(&package.name.as_str()) {
                true => alone.join(&package.name),
                false => package.folder.clone(),
            };
            format!("{} = {{ path = \"{}\" }}\n", package.name, folder.display())
        };
        format!("[patch.crates-io]\n{}", self.all.iter().map(line).collect::<String>())
    }

    /// Runs every packaged test, with the versions of dependencies that the repository has locked.
    fn test(&self, shell: &Shell, notes: &mut Vec<String>) -> Result<()> {
        let members: Vec<String> =
            self.all.iter().map(|package| format!("\"{}\"", package.folder.display())).collect();
        let manifest = format!("[workspace]\nresolver = \"3\"\nmembers = [{}]\n\n", members.join(", "));
        shell.write_file(
            self.folder.join("Cargo.toml"),
            manifest + &self.patch(&[], &self.folder) + &profiles(&shell.read_file("Cargo.toml")?),
        )?;
        shell.copy_file("Cargo.lock", self.folder.join("Cargo.lock"))?;
        let target = shell.current_dir().join("target");
        let _there = shell.push_dir(&self.folder);
        // The tests of `bench --against` take the library from there.
        cmd!(shell, "cargo build --quiet --package foliocopy-capi --target-dir {target}").run()?;
        let test = || cmd!(shell, "cargo test --quiet --workspace --target-dir {target}");
        let passed = programs::run(test(), notes);
        let documented = test().args(["--doc", "--no-fail-fast"]).run();
        passed?;
        Ok(documented?)
    }

    /// Runs in the repository the tests that the packages leave out, and those of the crates that are not published.
    fn test_the_rest(&self, shell: &Shell, notes: &mut Vec<String>) -> Result<()> {
        let left_out =
            self.all.iter().flat_map(Package::left_out).flat_map(|name| ["--test".to_owned(), name]);
        let left_out: Vec<String> = left_out.collect();
        ensure!(!left_out.is_empty(), "no package leaves out a test, so cargo would run all tests again");
        programs::run(cmd!(shell, "cargo test --quiet {left_out...}"), notes)?;
        let unpublished: Vec<String> =
            self.unpublished.iter().map(|name| format!("--package={name}")).collect();
        programs::run(cmd!(shell, "cargo test --quiet {unpublished...}"), notes)
    }

    /// Builds the packages with the oldest versions of their direct dependencies, as a user's lock file may have them.
    fn check_lower_bounds(&self, shell: &Shell) -> Result<()> {
        let target = shell.current_dir().join("target");
        let grouped = self.all.iter().filter(|package| GROUPS.concat().contains(&package.name.as_str()));
        ensure!(grouped.count() == self.all.len(), "a package that is published is in none of the GROUPS");
        for group in GROUPS {
            let alone = self.folder.with_file_name("oldest").join(group.join("+"));
            shell.remove_path(&alone)?;
            shell.create_dir(&alone)?;
            let members = self.all.iter().filter(|package| group.contains(&package.name.as_str()));
            for Package { folder, name, .. } in members {
                cmd!(shell, "cp --recursive {folder} {alone}/{name}").quiet().run()?;
                // Builds as a user does, without the dependencies of tests.
                let manifest = alone.join(name).join("Cargo.toml");
                shell.write_file(&manifest, without_tests(&shell.read_file(&manifest)?))?;
                shell.remove_path(alone.join(name).join("Cargo.lock"))?;
            }
            let members = group.join("\", \"");
            let manifest = format!(
                "[workspace]\nresolver = \"3\"\nmembers = [\"{members}\"]\n\n{}",
                self.patch(group, &alone)
            );
            shell.write_file(alone.join("Cargo.toml"), manifest)?;
            let _there = shell.push_dir(&alone);
            let names = group.join(" and ");
            cmd!(shell, "cargo +nightly update --quiet -Z direct-minimal-versions")
                .run()
                .with_context(|| format!("the lower bounds of {names} contradict each other"))?;
            cmd!(shell, "cargo check --quiet --locked --workspace --all-features --target-dir {target}")
                .run()
                .with_context(|| format!("{names} do not build with the oldest dependencies"))?;
        }
        Ok(())
    }
}

impl Package {
    /// The programs of tests that the package does not hold.
    fn left_out(&self) -> Vec<String> {
        let here = Path::new(self.manifest["manifest_path"].as_str().unwrap_or_default()).parent();
        let targets = self.manifest["targets"].as_array().into_iter().flatten();
        let tests = targets.filter(|target| target["kind"] == json!(["test"]));
        let is_left_out = |test: &&Value| {
            let source = here.and_then(|here| Path::new(test["src_path"].as_str()?).strip_prefix(here).ok());
            source.is_none_or(|source| !self.folder.join(source).exists())
        };
        tests.filter(is_left_out).map(|test| text(&test["name"])).collect()
    }

    fn check_content(&self) -> Result<()> {
        for file in FILES {
            let file = self.folder.join(file);
            let length = file.metadata().map_or(0, |file| file.len());
            ensure!(length > 0, "{} is missing or empty", file.display());
        }
        for field in FIELDS {
            let empty = match &self.manifest[field] {
                Value::String(text) => text.is_empty(),
                Value::Array(list) => list.is_empty(),
                _ => true,
            };
            ensure!(!empty, "its Cargo.toml has no {}", field.replace('_', "-"));
        }
        if self.manifest["repository"].is_null() {
            eprintln!(
                "missing: `repository` in the Cargo.toml of {}: links of its README lead nowhere",
                self.name
            );
        }
        let features = self.manifest["features"].as_object().is_some_and(|features| !features.is_empty());
        let documented = self.manifest["metadata"]["docs"]["rs"]["all-features"] == Value::Bool(true);
        ensure!(!features || documented, "docs.rs would not show its features: package.metadata.docs.rs");
        Ok(())
    }
}

/// The profiles of the repository's manifest: without them the bootstrap and the bench are too slow for tests.
fn profiles(manifest: &str) -> String {
    let profiles = manifest.find("[profile.").map_or("", |start| &manifest[start..]);
    format!("\n{profiles}")
}

/// A manifest as cargo writes it into packages, without the dependencies of tests and examples.
fn without_tests(manifest: &str) -> String {
    let mut kept = true;
    let lines = manifest.lines().filter(|line| {
        if line.starts_with('[') {
            kept = !line.starts_with("[dev-dependencies") && !line.starts_with("[[test]]");
        }
        kept
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// Checks the shipped archive. It must show only its own functions, so that it can be linked with other libraries that were
/// written in Rust.
pub(crate) fn check_archive(shell: &Shell) -> Result<()> {
    dist::build_release(shell)?;
    let here = shell.current_dir().join("target/release-check/archive");
    shell.remove_path(&here)?;
    shell.create_dir(&here)?;
    let archive = here.join("libfoliocopy.a");
    dist::localize(shell, Path::new("target/release/libfoliocopy.a"), &archive)?;
    let shown = cmd!(shell, "nm --defined-only --extern-only --no-sort {archive}").quiet().read()?;
    let shown: BTreeSet<&str> = shown.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    let header = shell.read_file("crates/foliocopy-capi/include/foliocopy.h")?;
    let foreign: Vec<&&str> = shown.iter().filter(|name| !name.starts_with(dist::PREFIX)).collect();
    ensure!(foreign.is_empty(), "the archive shows {foreign:?}");
    let missing: Vec<&str> =
        functions(&header).into_iter().filter(|function| !shown.contains(function)).collect();
    ensure!(missing.is_empty(), "the archive lacks {missing:?}, which the header declares");
    link_beside_another(shell, &here)
}

/// The functions that a header declares.
fn functions(header: &str) -> BTreeSet<&str> {
    let words = header.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let calls = words.filter(|word| word.starts_with(dist::PREFIX));
    calls.filter(|word| header.contains(&format!("{word}(")) && !word.ends_with('_')).collect()
}

/// Links a C program with two archives that contain Rust's standard library, each as a whole.
fn link_beside_another(shell: &Shell, here: &Path) -> Result<()> {
    let _there = shell.push_dir(here);
    let other = "#[unsafe(no_mangle)]\npub extern \"C\" fn other(seed: u32) -> usize {\n    \
                 std::thread::spawn(move || format!(\"{seed}\").len()).join().unwrap_or(0)\n}\n";
    shell.write_file("other.rs", other)?;
    cmd!(shell, "rustc --edition 2024 --crate-type staticlib -Copt-level=1 other.rs").run()?;
    let program = "#include \"foliocopy.h\"\n#include <stdlib.h>\n#include <string.h>\n\
                   size_t other(unsigned seed);\n\
                   int main(void) {\n    char *pages = aligned_alloc(4096, 8192);\n    memset(pages, 7, 8192);\n    \
                   memset(pages + 4096, 0, 4096);\n    \
                   return foliocopy_copy_pages(pages + 4096, pages, 1) != 0 || memcmp(pages, pages + 4096, 4096) != 0\n        \
                   || other(123) != 3;\n}\n";
    shell.write_file("program.c", program)?;
    let include = "-I../../../crates/foliocopy-capi/include";
    cmd!(shell, "cc {include} -o program program.c -Wl,--whole-archive libfoliocopy.a libother.a")
        .args(["-Wl,--no-whole-archive", "-lpthread", "-ldl", "-lm"])
        .run()
        .context("the archive can't stand beside another one of Rust")?;
    if let Err(error) = cmd!(shell, "./program").run() {
        bail!("a program of two archives of Rust does not work: {error}");
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_a_package_does_not_hold_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("tests/held.rs");
        std::fs::create_dir(source.parent().unwrap()).unwrap();
        std::fs::write(source, "").unwrap();
        let target = |kind: &str, name: &str, source: &str| json!({ "kind": [kind], "name": name, "src_path": source });
        let manifest = json!({
            "manifest_path": "/here/Cargo.toml",
            "targets": [
                target("lib", "library", "/here/src/lib.rs"),
                target("test", "held", "/here/tests/held.rs"),
                target("test", "docs", "/here/tests/docs.rs"),
            ],
        });
        let package = Package { name: "package".to_owned(), folder: folder.path().to_owned(), manifest };
        assert_eq!(package.left_out(), ["docs"]);
    }
}
