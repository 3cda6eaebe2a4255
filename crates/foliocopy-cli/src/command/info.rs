//! `foliocopy info`: what this machine is.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use foliocopy_measure::size::Size;
use foliocopy_measure::topology::Topology;

use crate::exit::Exit;

/// What `foliocopy info` takes.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args) -> Result<ExitCode> {
    let mut output = io::stdout().lock();
    let topology = Topology::detect();
    for node in &topology.nodes {
        let cpus = if node.cpus.is_empty() { "no CPUs" } else { &node.cpus };
        writeln!(output, "node {}: CPUs {cpus}, {} MiB of memory", node.id, node.memory_bytes >> 20)?;
    }
    for cache in &topology.caches {
        writeln!(
            output,
            "L{} cache: {}, shared by CPUs {}",
            cache.level,
            Size(cache.bytes),
            cache.shared_cpus
        )?;
    }
    Ok(Exit::Good.into())
}
