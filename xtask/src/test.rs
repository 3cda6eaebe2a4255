//! `cargo xtask test`: the one command that proves a change.

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::{dist, vm};

/// What `cargo xtask test` takes.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// One check: what it is called and what does it.
type Step = (&'static str, fn(&Shell) -> Result<()>);

/// In the order in which they tell the most for the least time.
const STEPS: &[Step] = &[
    ("format", |shell| Ok(cmd!(shell, "cargo fmt --all --check").run()?)),
    (
        "lints",
        |shell| Ok(cmd!(shell, "cargo clippy --quiet --workspace --all-targets -- -D warnings").run()?),
    ),
    ("engine without std", |shell| {
        Ok(cmd!(shell, "cargo clippy --quiet --package foliocopy --no-default-features -- -D warnings")
            .run()?)
    }),
    ("engine on other systems", elsewhere),
    ("engine in a kernel", kernel),
    ("fuzz target", |shell| {
        let manifest = "fuzz/Cargo.toml";
        Ok(cmd!(shell, "cargo check --quiet --locked --manifest-path {manifest} --target-dir target/fuzz")
            .run()?)
    }),
    ("documentation", |shell| {
        let _warnings = shell.push_env("RUSTDOCFLAGS", "-D warnings");
        Ok(cmd!(shell, "cargo doc --quiet --workspace --no-deps").run()?)
    }),
    ("tests", |shell| Ok(cmd!(shell, "cargo test --quiet --workspace").run()?)),
    ("report in a browser", |shell| {
        Ok(cmd!(shell, "cargo test --quiet --package foliocopy-cli --test browser -- --ignored").run()?)
    }),
    ("packages", dist::test),
    ("virtual machine", vm::test),
];

/// Targets on which the engine has no exception table, or nothing but the portable copy. Each without `std` too.
const ELSEWHERE: [&str; 3] = ["x86_64-pc-windows-gnu", "x86_64-apple-darwin", "aarch64-unknown-linux-gnu"];

/// Builds the engine, assembly and all, for every such target of which the toolchain has the libraries.
fn elsewhere(shell: &Shell) -> Result<()> {
    for target in ELSEWHERE {
        if !is_installed(shell, target)? {
            continue;
        }
        let _warnings = shell.push_env("RUSTFLAGS", "-D warnings");
        for features in [None, Some("--no-default-features")] {
            cmd!(shell, "cargo build --quiet --package foliocopy --target {target} {features...}")
                .args(["--target-dir", "target/elsewhere"])
                .run()?;
        }
    }
    Ok(())
}

/// Builds the engine for a kernel, and has the gate look at it: for the bare-metal target where the toolchain has it, and for
/// the one that takes its place elsewhere.
fn kernel(shell: &Shell) -> Result<()> {
    for target in ["x86_64-unknown-none", "x86_64-unknown-linux-gnu"] {
        if is_installed(shell, target)? {
            cmd!(shell, "make --silent -C kmod check TARGET={target}").run()?;
        }
    }
    Ok(())
}

/// Whether the toolchain has the libraries of a target. If not, it says so.
fn is_installed(shell: &Shell, target: &str) -> Result<bool> {
    let libraries = cmd!(shell, "rustc --print target-libdir --target {target}").quiet().read()?;
    let installed = shell.path_exists(libraries);
    if !installed {
        eprintln!("not checked: {target}; `rustup target add {target}` gives the toolchain what it lacks");
    }
    Ok(installed)
}

/// Runs every step and stops at the first that fails.
pub(crate) fn run(shell: &Shell, _args: Args) -> Result<()> {
    for (name, step) in STEPS {
        eprintln!("== {name}");
        step(shell).with_context(|| format!("the step `{name}` failed"))?;
    }
    Ok(())
}
