//! `foliocopy kernel status`: what the module is, how it copies and what it has copied.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use foliocopy_measure::text::{harmless, harmless_lines};

use super::debugfs::{self, ENGINE};
use super::module;
use crate::exit::Exit;
use crate::printer;

/// In the order in which they matter.
const PARAMETERS: [&str; 8] = [
    "primitive_temporal",
    "primitive_nontemporal",
    "nontemporal_nodes",
    "chunk_bytes",
    "sampling",
    "table_temporal",
    "table_nontemporal",
    "table_sampling",
];

pub(super) fn run() -> Result<ExitCode> {
    let mut output = Vec::new();
    describe(&mut output)?;
    printer::print(output)?;
    Ok(Exit::Good.into())
}

fn describe(output: &mut Vec<u8>) -> Result<()> {
    if !module::is_loaded(ENGINE) {
        writeln!(output, "{ENGINE}: not loaded (`foliocopy kernel load` does that, as root)")?;
        let name = rustix::system::uname();
        let release = name.release().to_string_lossy();
        let headers = format!("/lib/modules/{release}/build");
        let there = if Path::new(&headers).exists() { "are there" } else { "are missing: install them" };
        writeln!(output, "headers to build it for Linux {release} ({headers}): {there}")?;
        return Ok(());
    }
    let module = Path::new("/sys/module").join(ENGINE);
    let version = fs::read_to_string(module.join("version")).unwrap_or_default();
    writeln!(output, "{ENGINE}: loaded, version {}", harmless(version.trim()))?;
    for parameter in PARAMETERS {
        if let Ok(value) = fs::read_to_string(module.join("parameters").join(parameter)) {
            writeln!(output, "  {parameter:<22} {}", harmless(value.trim()))?;
        }
    }
    match debugfs::folder() {
        Ok(folder) => {
            for file in ["policy", "counters"] {
                let text = fs::read_to_string(folder.join(file))
                    .with_context(|| format!("can't read its {file}"))?;
                writeln!(output, "{file}:")?;
                for line in harmless_lines(&text).lines() {
                    writeln!(output, "  {line}")?;
                }
            }
        }
        Err(missing) => writeln!(output, "policy and counters can't be shown: {missing:#}")?,
    }
    Ok(())
}
