//! What checks need beside cargo, a C compiler and git, and how a machine gets it.

use std::env;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Result;
use xshell::{Shell, cmd};

/// One thing that a check needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A program, by any of these names, and the Debian package that has it.
    Program(&'static [&'static str], &'static str),
    /// A header for the C compiler, and the Debian package that has it.
    Header(&'static str, &'static str),
    /// Fonts, without which a browser shows no text.
    Fonts,
    /// A subcommand of cargo, and rustup's component that has it.
    Cargo(&'static str, &'static str),
    /// The libraries of a target, for the toolchain in use.
    Target(&'static str),
    /// Another toolchain, with these components.
    Toolchain(&'static str, &'static [&'static str]),
    /// The rights of root.
    Root,
}

pub(crate) const MAKE: Need = Need::Program(&["make"], "make");
pub(crate) const CXX: Need = Need::Program(&["c++"], "g++");
pub(crate) const PKG_CONFIG: Need = Need::Program(&["pkg-config"], "pkg-config");
pub(crate) const ZSH: Need = Need::Program(&["zsh"], "zsh");
pub(crate) const FISH: Need = Need::Program(&["fish"], "fish");
pub(crate) const BROWSER: Need =
    Need::Program(&["chromium", "chromium-browser", "google-chrome"], "chromium");
pub(crate) const APT: Need = Need::Program(&["apt-get"], "apt");
pub(crate) const DPKG_DEV: Need = Need::Program(&["dpkg-architecture"], "dpkg-dev");
pub(crate) const DEBOOTSTRAP: Need = Need::Program(&["debootstrap"], "debootstrap");
pub(crate) const QEMU: Need = Need::Program(&["qemu-system-x86_64"], "qemu-system-x86");
pub(crate) const QEMU_AARCH64: Need = Need::Program(&["qemu-system-aarch64"], "qemu-system-arm");
pub(crate) const QEMU_USER_AARCH64: Need = Need::Program(&["qemu-aarch64"], "qemu-user");
pub(crate) const GCC_AARCH64: Need = Need::Program(&["aarch64-linux-gnu-g++"], "g++-aarch64-linux-gnu");

/// The variable that names cargo's linker for aarch64, and the linker.
pub(crate) const LINKER_AARCH64: (&str, &str) =
    ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");

/// The folder of aarch64's libraries in Debian's cross compiler.
pub(crate) const SYSROOT_AARCH64: &str = "/usr/aarch64-linux-gnu";

/// The provider of a need.
enum Source {
    /// apt-get, from this package.
    Apt(&'static str),
    /// rustup, with these arguments.
    Rustup(Vec<&'static str>),
    /// The person who runs the check.
    Caller,
}

/// The error of a check that could not run, since the machine lacks something. It says nothing about the code.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Missing(pub(crate) String);

impl Need {
    /// Whether this machine meets the need.
    pub(crate) fn is_met(self, shell: &Shell) -> bool {
        match self {
            Need::Program(names, _) => names.iter().any(|name| is_on_path(name)),
            Need::Header(name, _) => {
                let include = format!("#include <{name}>\n");
                let compiled = cmd!(shell, "cc -E -o /dev/null -").stdin(include);
                compiled.quiet().ignore_stderr().run().is_ok()
            }
            Need::Fonts => has_files(Path::new("/usr/share/fonts/truetype")),
            Need::Cargo(name, _) => {
                let version = cmd!(shell, "cargo {name} --version");
                version.quiet().ignore_stdout().ignore_stderr().run().is_ok()
            }
            Need::Target(triple) => {
                let libraries =
                    cmd!(shell, "rustc --print target-libdir --target {triple}").quiet().ignore_stderr();
                libraries.read().is_ok_and(|folder| shell.path_exists(folder))
            }
            Need::Toolchain(name, components) => {
                // Without it rustup would install the toolchain in order to answer.
                let _ask_only = shell.push_env("RUSTUP_AUTO_INSTALL", "0");
                let installed = cmd!(shell, "rustup component list --installed --toolchain {name}");
                let installed = installed.quiet().ignore_stderr().read().unwrap_or_default();
                let has = |component: &str| installed.lines().any(|line| line.starts_with(component));
                ["cargo", "rustc"].iter().chain(components).all(|component| has(component))
            }
            Need::Root => rustix::process::geteuid().is_root(),
        }
    }

    fn source(self) -> Source {
        match self {
            Need::Program(_, package) | Need::Header(_, package) => Source::Apt(package),
            Need::Fonts => Source::Apt("fonts-dejavu-core"),
            Need::Cargo(_, component) => Source::Rustup(vec!["component", "add", component]),
            Need::Target(triple) => Source::Rustup(vec!["target", "add", triple]),
            Need::Toolchain(name, components) => {
                let with = components.iter().flat_map(|component| ["--component", component]);
                Source::Rustup(
                    ["toolchain", "install", name, "--profile", "minimal"].into_iter().chain(with).collect(),
                )
            }
            Need::Root => Source::Caller,
        }
    }
}

/// The missing needs, and how to get them.
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Program(names, _) => f.write_str(names[0])?,
            Need::Header(name, _) => f.write_str(name)?,
            Need::Fonts => f.write_str("fonts")?,
            Need::Cargo(name, _) => write!(f, "cargo {name}")?,
            Need::Target(triple) => write!(f, "Rust's libraries for {triple}")?,
            Need::Toolchain(name, components) => {
                let with = if components.is_empty() { "" } else { " with " };
                write!(f, "Rust {name}{with}{}", components.join(", "))?;
            }
            Need::Root => f.write_str("root")?,
        }
        match self.source() {
            Source::Apt(package) => write!(f, " (apt-get install {package})"),
            Source::Rustup(arguments) => write!(f, " (rustup {})", arguments.join(" ")),
            Source::Caller => Ok(()),
        }
    }
}

/// Installs missing needs where that is allowed: Debian's packages as root, parts of Rust where rustup exists. A failed
/// installation is shown, and leaves the need unmet.
pub(crate) fn install(shell: &Shell, needs: &[Need]) {
    let mut missing: Vec<Need> = Vec::new();
    for need in needs {
        if !missing.contains(need) && !need.is_met(shell) {
            missing.push(*need);
        }
    }
    let mut packages = Vec::new();
    for need in missing {
        match need.source() {
            Source::Apt(package) => packages.push(package),
            Source::Rustup(arguments) if is_on_path("rustup") => {
                eprintln!("installing: rustup {}", arguments.join(" "));
                attempt(cmd!(shell, "rustup --quiet {arguments...}"));
            }
            Source::Rustup(_) | Source::Caller => {}
        }
    }
    packages.sort_unstable();
    if packages.is_empty() || !Need::Root.is_met(shell) || !is_on_path("apt-get") {
        return;
    }
    eprintln!("installing: apt-get install {}", packages.join(" "));
    let _frontend = shell.push_env("DEBIAN_FRONTEND", "noninteractive");
    attempt(cmd!(shell, "apt-get update -qq"));
    attempt(cmd!(shell, "apt-get install -y -qq --no-install-recommends {packages...}").ignore_stdout());
}

/// The needs that stay unmet, as the error of a check.
pub(crate) fn unmet(shell: &Shell, needs: &[Need]) -> Result<(), Missing> {
    let unmet: Vec<_> = needs.iter().filter(|need| !need.is_met(shell)).map(Need::to_string).collect();
    if unmet.is_empty() { Ok(()) } else { Err(Missing(format!("needs {}", unmet.join(", ")))) }
}

/// Installs missing needs where that is allowed. The error names those that are still missing.
pub(crate) fn demand(shell: &Shell, needs: &[Need]) -> Result<()> {
    install(shell, needs);
    Ok(unmet(shell, needs)?)
}

fn attempt(command: xshell::Cmd<'_>) {
    if let Err(error) = command.quiet().run() {
        eprintln!("not installed: {error}");
    }
}

/// Whether a program of that name can be run.
fn is_on_path(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Whether a folder holds any file.
fn has_files(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_way_to_get_it() {
        let shell = Shell::new().unwrap();
        let absent = Need::Program(&["foliocopy-has-no-such-program"], "no-such-package");
        let missing = unmet(&shell, &[Need::Program(&["sh"], "dash"), absent]).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "needs foliocopy-has-no-such-program (apt-get install no-such-package)"
        );
        let header = Need::Header("foliocopy-has-no-such-header.h", "no-such-package");
        assert!(!header.is_met(&shell) && Need::Header("stdio.h", "libc6-dev").is_met(&shell));
        let miri = Need::Toolchain("nightly", &["miri", "rust-src"]);
        assert_eq!(
            miri.to_string(),
            "Rust nightly with miri, rust-src (rustup toolchain install nightly --profile minimal --component miri \
             --component rust-src)"
        );
    }
}
