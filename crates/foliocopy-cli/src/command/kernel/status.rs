//! `foliocopy kernel status`: the module, how it copies, and its counters.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use foliocopy_measure::kernel;
use foliocopy_measure::result::PolicyTables;
use foliocopy_measure::text::{harmless, harmless_lines};
use serde::Serialize;

use super::debugfs::{self, Counters, ENGINE};
use super::livepatch::Livepatch;
use super::module::{self, Headers};
use crate::exit::Exit;
use crate::printer;
use crate::wrap::{COLUMNS, wrap};

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

/// Arguments of `foliocopy kernel status`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// All that is told.
#[derive(Serialize)]
struct Status {
    program: &'static str,
    /// As `uname -r` prints it.
    kernel: String,
    loaded: bool,
    version: Option<String>,
    parameters: BTreeMap<&'static str, String>,
    /// How it copies, and what it has copied; not there where the module is not loaded, or for others than root.
    #[serde(flatten)]
    files: Option<Files>,
    /// Why they can't be shown of a module that is loaded.
    unreadable: Option<String>,
    headers: Headers,
    livepatch: Livepatch,
}

/// The contents of the module's files.
#[derive(Serialize)]
struct Files {
    policy: PolicyTables,
    #[serde(skip)]
    policy_text: String,
    counters: Counters,
}

/// Prints it. The exit code says whether the module is loaded.
pub(super) fn run(args: Args) -> Result<ExitCode> {
    let status = Status::detect()?;
    let text = if args.json { serde_json::to_string_pretty(&status)? + "\n" } else { status.to_string() };
    printer::print(text)?;
    Ok(if status.loaded { Exit::Good } else { Exit::Absent }.into())
}

/// Prints it for people.
pub(super) fn show() -> Result<()> {
    printer::print(Status::detect()?.to_string())
}

impl Status {
    fn detect() -> Result<Self> {
        let loaded = module::is_loaded(ENGINE);
        let folder = Path::new("/sys/module").join(ENGINE);
        let read = |file: &str| {
            let text = fs::read_to_string(folder.join(file)).ok().filter(|_| loaded)?;
            Some(harmless(text.trim()).into_owned())
        };
        let parameter = |name: &&'static str| Some((*name, read(&format!("parameters/{name}"))?));
        let (files, unreadable) = match debugfs::folder() {
            Ok(folder) => (Some(Files::read(&folder)?), None),
            Err(missing) => (None, loaded.then(|| format!("{missing:#}"))),
        };
        Ok(Self {
            program: crate::PROGRAM,
            kernel: module::release(),
            loaded,
            version: read("version"),
            parameters: PARAMETERS.iter().filter_map(parameter).collect(),
            files,
            unreadable,
            headers: Headers::detect(),
            livepatch: Livepatch::detect()?,
        })
    }
}

impl Files {
    fn read(folder: &Path) -> Result<Self> {
        let policy = || "can't read the module's policy";
        let policy_text = fs::read_to_string(folder.join("policy")).with_context(policy)?;
        Ok(Self {
            policy: kernel::policy(folder).with_context(policy)?,
            policy_text,
            counters: Counters::read(folder)?,
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.loaded {
            writeln!(f, "{ENGINE}: not loaded (`foliocopy kernel load` does that, as root)")?;
            let mut text = String::new();
            wrap(&mut text, "headers:   ", &self.headers.to_string(), COLUMNS);
            return f.write_str(&text);
        }
        writeln!(f, "{ENGINE}: loaded, version {}", self.version.as_deref().unwrap_or_default())?;
        for parameter in PARAMETERS {
            if let Some(value) = self.parameters.get(parameter) {
                writeln!(f, "  {parameter:<22} {value}")?;
            }
        }
        if let Some(files) = &self.files {
            f.write_str(&described("policy", &harmless_lines(&files.policy_text)))?;
            f.write_str(&described("counters", &files.counters))?;
        }
        if let Some(missing) = &self.unreadable {
            writeln!(f, "policy and counters can't be shown: {missing}")?;
        }
        write!(f, "{}", self.livepatch)
    }
}

/// Lines under their name.
pub(super) fn described(name: &str, lines: &impl fmt::Display) -> String {
    let mut text = format!("{name}:\n");
    for line in lines.to_string().lines() {
        let _ = writeln!(text, "  {line}");
    }
    text
}
