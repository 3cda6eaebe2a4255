//! `foliocopy reproduce`: a published table, measured again.
//!
//! Each part of it is a bench in a process of its own. A process takes its features once and for its whole life, and the
//! Zen 3 tables need a CPU without ERMS and FSRM.

mod rfc;
mod show;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use foliocopy_measure::result::{self, Cache, Results};
use foliocopy_measure::size::Size;
use foliocopy_measure::topology::Topology;

use crate::command;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::output_file::OutputFile;
use crate::printer;
use rfc::{Function, Memory, Row, TABLES, Table};

/// Arguments of `foliocopy reproduce`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The published figures
    #[arg(value_enum)]
    what: What,
    /// About how long to measure, such as 90s or 5m
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Write the tables as Markdown (`-` for standard output)
    #[arg(long, value_name = "FILE")]
    export_markdown: Option<PathBuf>,
    /// Keep the results of each bench as JSON in this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Overwrite files that exist
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// "mm: batch page copies in folio_copy() and folio_mc_copy()", linux-mm, 2026-04-27
    Rfc,
}

/// The nodes of this machine that stand for the RFC's.
struct Nodes {
    /// With CPUs.
    dram: Vec<u32>,
    /// Without CPUs, as CXL.mem is.
    memory_only: Vec<u32>,
}

impl Nodes {
    fn of(topology: &Topology) -> Self {
        let (dram, memory_only): (Vec<_>, Vec<_>) = topology
            .nodes
            .iter()
            .filter(|node| node.memory_bytes > 0)
            .partition(|node| !node.cpus.is_empty());
        let ids =
            |nodes: Vec<&foliocopy_measure::result::Node>| nodes.into_iter().map(|node| node.id).collect();
        Self { dram: ids(dram), memory_only: ids(memory_only) }
    }

    fn of_memory(&self, memory: Memory) -> Result<u32, &'static str> {
        match memory {
            Memory::Dram0 => self.dram.first().copied().ok_or("no node has both CPUs and memory"),
            Memory::Dram1 => self.dram.get(1).copied().ok_or("one node: there is no second node with CPUs"),
            Memory::Cxl => self.memory_only.first().copied().ok_or("no CXL: every node has CPUs"),
        }
    }
}

/// A row's pair of nodes here, or why it has none.
fn pair(row: &Row, nodes: &Nodes) -> Result<(u32, u32), &'static str> {
    Ok((nodes.of_memory(row.from)?, nodes.of_memory(row.to)?))
}

/// Why a table can't be measured by a bench at all.
fn obstacle(table: &Table) -> Option<&'static str> {
    (table.function == Function::MovePages).then_some(match cfg!(target_arch = "aarch64") {
        false => {
            "needs the module foliocopy_livepatch: `foliocopy migrate` measures it with the module loaded"
        }
        true => "needs the module foliocopy_livepatch, which is for x86-64 alone",
    })
}

/// More rounds than this narrow no interval that matters, and fill the JSON.
const ROUNDS: u32 = 101;

/// One bench. The tables that share it have one cache, total and mask.
struct Bench {
    name: &'static str,
    cache: Cache,
    total_bytes: u64,
    zen3: bool,
    folios: &'static [u64],
}

const BENCHES: [Bench; 5] = [
    Bench {
        name: "cold",
        cache: Cache::Cold,
        total_bytes: 2 << 20,
        zen3: false,
        folios: &[256 << 10, 512 << 10, 1 << 20, 2 << 20],
    },
    Bench {
        name: "hot",
        cache: Cache::Hot,
        total_bytes: 1 << 30,
        zen3: false,
        folios: &[16 << 10, 64 << 10, 256 << 10, 512 << 10, 1 << 20, 2 << 20],
    },
    Bench {
        name: "zen3-cold",
        cache: Cache::Cold,
        total_bytes: 2 << 20,
        zen3: true,
        folios: &[1 << 20, 2 << 20],
    },
    Bench {
        name: "zen3-hot-2m",
        cache: Cache::Hot,
        total_bytes: 2 << 20,
        zen3: true,
        folios: &[1 << 20, 2 << 20],
    },
    Bench {
        name: "zen3-hot-1g",
        cache: Cache::Hot,
        total_bytes: 1 << 30,
        zen3: true,
        folios: &[1 << 20, 2 << 20],
    },
];

impl Bench {
    fn measures(&self, table: &Table) -> bool {
        table.cache == Some(self.cache) && table.total_bytes == self.total_bytes && table.zen3 == self.zen3
    }

    /// The pairs of nodes of all its rows, and the local pair, with which every machine can do something.
    fn pairs(&self, nodes: &Nodes) -> Vec<(u32, u32)> {
        let mut pairs: Vec<(u32, u32)> = nodes.dram.first().map(|node| (*node, *node)).into_iter().collect();
        let rows = TABLES.iter().filter(|table| self.measures(table)).flat_map(|table| table.rows);
        for pair in rows.filter_map(|row| pair(row, nodes).ok()) {
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        pairs
    }

    /// The results. `None` where it was interrupted before it had any.
    fn run(
        &self,
        nodes: &Nodes,
        time: Duration,
        file: &Path,
        interrupt: &Interrupt,
    ) -> Result<Option<Results>> {
        let program = command::this_program()?;
        let list = |of: Vec<String>| of.join(",");
        let mut command = Command::new(program);
        command.args(["bench", "--cache", if self.cache == Cache::Cold { "cold" } else { "hot" }]);
        command.args(["--total", &Size(self.total_bytes).to_string()]);
        command.args(["--folio", &list(self.folios.iter().map(|bytes| Size(*bytes).to_string()).collect())]);
        let pairs = self.pairs(nodes);
        if pairs.len() > 1 {
            command.args(["--nodes", &list(pairs.iter().map(|(src, dst)| format!("{src}:{dst}")).collect())]);
        }
        if self.zen3 {
            command.args(["--mask", "erms,fsrm"]);
        }
        command.args(["--rounds", &ROUNDS.to_string(), "--time", &format!("{}ms", time.as_millis())]);
        command.args(["--force", "--export-json"]).arg(file);
        // Its progress bar and its warnings are for the user, its tables are not.
        command.stdout(Stdio::null());
        // One of an earlier run may be there still.
        let written = || fs::metadata(file).and_then(|file| file.modified()).ok();
        let before = written();
        let mut bench = command.arg0("foliocopy").process_group(0).spawn().context("can't run the bench")?;
        let (status, told) = command::wait(&mut bench, Some(interrupt), || {})?;
        // 1 is its verdict on foliocopy, which is not what is asked here.
        match status.code() {
            Some(0 | 1 | 130) if written() != before => Ok(Some(result::read(file)?)),
            // The signal may have come before it could be caught.
            Some(130) | None if told => Ok(None),
            _ => bail!("the bench `{}` failed ({status})", self.name),
        }
    }
}

/// The results of all benches.
struct Measured(Vec<(&'static Bench, Results)>);

impl Measured {
    fn of(&self, table: &Table) -> Option<&Results> {
        self.0.iter().find(|(bench, _)| bench.measures(table)).map(|(_, results)| results)
    }

    fn is_complete(&self) -> bool {
        self.0.len() == BENCHES.len() && self.0.iter().all(|(_, results)| results.complete)
    }
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let What::Rfc = args.what;
    ensure!(
        args.time >= Duration::from_secs(1),
        "--time must be at least 1s: there are {} benches",
        BENCHES.len()
    );
    let markdown =
        args.export_markdown.as_deref().map(|path| OutputFile::create(path, args.force)).transpose()?;
    let temporary = tempfile::tempdir().context("can't make a temporary directory")?;
    let directory = match &args.keep {
        Some(directory) => {
            fs::create_dir_all(directory)
                .with_context(|| format!("can't make the directory `{}`", directory.display()))?;
            directory.as_path()
        }
        None => temporary.path(),
    };
    let files: Vec<PathBuf> =
        BENCHES.iter().map(|bench| directory.join(format!("rfc-{}.json", bench.name))).collect();
    for file in &files {
        ensure!(
            args.force || !file.exists(),
            "`{}` exists: name another directory, or add --force to overwrite it",
            file.display()
        );
    }
    let nodes = Nodes::of(&Topology::detect());
    let interrupt = Interrupt::catch()?;
    let cases = |bench: &Bench| (bench.folios.len() * bench.pairs(&nodes).len()) as u32;
    let all: u32 = BENCHES.iter().map(cases).sum();
    let mut measured = Measured(Vec::new());
    for (bench, file) in BENCHES.iter().zip(&files) {
        if interrupt.is_set() {
            break;
        }
        let time = args.time * cases(bench) / all;
        match bench.run(&nodes, time, file, &interrupt)? {
            Some(results) => measured.0.push((bench, results)),
            None => break,
        }
    }
    if measured.0.is_empty() {
        printer::note("interrupted before a round was complete: nothing to show");
        return Ok(Exit::Interrupted.into());
    }
    let to_standard_output = markdown.as_ref().is_some_and(OutputFile::is_standard_output);
    let written = markdown.map(|output| output.keep(show::markdown(&measured, &nodes).as_bytes()));
    if !to_standard_output {
        printer::print(show::text(&measured, &nodes))?;
    }
    written.transpose()?;
    Ok(if measured.is_complete() { Exit::Good } else { Exit::Interrupted }.into())
}
