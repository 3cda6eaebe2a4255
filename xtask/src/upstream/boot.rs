//! `cargo xtask upstream boot`: builds kernels with the series from source, and boots them under QEMU.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use foliocopy_vm::scenario;
use xshell::{Shell, cmd};

use crate::need::{self, Need};
use crate::source::Source;
use crate::vm;
use crate::vm::kernel::Kernel;

/// Its needs beside those of compiling.
pub(super) const NEEDS: &[Need] = &[need::QEMU];

/// The arguments of `cargo xtask upstream boot`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The builds to boot, in this order; all when none is named
    builds: Vec<Build>,
    /// The scenarios to run; all when none is named
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<String>,
}

/// A configuration of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Build {
    /// A small kernel
    Plain,
    /// That kernel with lockdep and KASAN
    Debug,
}

/// The options of the kernels, and the additional ones of the second. All others are off.
const CONFIG: &str = include_str!("boot/kernel.config");
const DEBUG: &str = include_str!("boot/debug.config");

impl Build {
    fn name(self) -> &'static str {
        match self {
            Build::Plain => "plain",
            Build::Debug => "debug",
        }
    }

    fn config(self) -> String {
        match self {
            Build::Plain => CONFIG.to_owned(),
            Build::Debug => format!("{CONFIG}{DEBUG}"),
        }
    }
}

/// Builds kernels of `source`, which has the series applied, and boots each.
pub(super) fn run(shell: &Shell, source: &Source, args: &Args) -> Result<()> {
    let chosen = |name: &str| args.scenarios.is_empty() || args.scenarios.iter().any(|asked| asked == name);
    let scenarios: Vec<_> =
        scenario::UPSTREAM.iter().copied().filter(|scenario| chosen(scenario.name)).collect();
    let names = || scenario::UPSTREAM.map(|scenario| scenario.name).join(", ");
    ensure!(scenarios.len() >= args.scenarios.len().max(1), "no such scenario; there are: {}", names());
    let all = [Build::Plain, Build::Debug];
    for build in if args.builds.is_empty() { &all[..] } else { &args.builds } {
        let kernel =
            compile(shell, source, *build).with_context(|| format!("the {} kernel", build.name()))?;
        vm::test_upstream(shell, &kernel, build.name(), &scenarios)?;
    }
    Ok(())
}

/// Builds the parts of the kernel that are not built yet.
fn compile(shell: &Shell, source: &Source, build: Build) -> Result<Kernel> {
    let output = source.output(build.name());
    fs::create_dir_all(&output)?;
    configure(shell, source, &output, &build.config())?;
    eprintln!("building Linux with the series: {}", build.name());
    let tree = source.tree();
    cmd!(shell, "make -s -j2 -C {tree} O={output} bzImage modules").quiet().run()?;
    let release = shell.read_file(output.join("include/config/kernel.release"))?;
    Ok(Kernel::built(release.trim().to_owned(), output))
}

/// Writes the configuration with exactly these options. An equal one is left alone.
fn configure(shell: &Shell, source: &Source, output: &Path, wanted: &str) -> Result<()> {
    let fragment = output.join("fragment");
    if output.join(".config").exists() && fs::read_to_string(&fragment).is_ok_and(|old| old == wanted) {
        return Ok(());
    }
    fs::write(&fragment, wanted)?;
    let tree = source.tree();
    cmd!(shell, "make -s -C {tree} O={output} KCONFIG_ALLCONFIG={fragment} allnoconfig")
        .quiet()
        .ignore_stdout()
        .run()?;
    let config = shell.read_file(output.join(".config"))?;
    let missing = missing(wanted, &config);
    ensure!(missing.is_empty(), "this kernel can't be configured with {}", missing.join(", "));
    Ok(())
}

/// The lines of a fragment that a configuration does not have.
fn missing<'a>(fragment: &'a str, config: &str) -> Vec<&'a str> {
    let option = |line: &&str| line.starts_with("CONFIG_") || line.ends_with(" is not set");
    fragment.lines().filter(option).filter(|wanted| !config.lines().any(|line| line == *wanted)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_the_kernel_did_not_take_is_found() {
        let config = "CONFIG_NUMA=y\n# CONFIG_KASAN_VMALLOC is not set\n";
        assert_eq!(missing("# of the machine\nCONFIG_NUMA=y\n", config), [""; 0]);
        assert_eq!(missing("CONFIG_NUMA=y\nCONFIG_KASAN=y", config), ["CONFIG_KASAN=y"]);
        assert_eq!(missing("# CONFIG_NUMA is not set\n", config), ["# CONFIG_NUMA is not set"]);
    }
}
