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
    ("engine in a kernel", |shell| Ok(cmd!(shell, "make --silent -C kmod check").run()?)),
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
        let libraries = cmd!(shell, "rustc --print target-libdir --target {target}").read()?;
        if !shell.path_exists(libraries) {
            eprintln!(
                "not checked: {target}; `rustup target add {target}` gives the toolchain what it lacks"
            );
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

/// Runs every step and stops at the first that fails.
pub(crate) fn run(shell: &Shell, _args: Args) -> Result<()> {
    for (name, step) in STEPS {
        eprintln!("== {name}");
        step(shell).with_context(|| format!("the step `{name}` failed"))?;
    }
    Ok(())
}
