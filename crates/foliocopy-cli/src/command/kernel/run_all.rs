//! `foliocopy kernel run-all`: status, self-test, bench and migration, in one run and one file.
//!
//! Each part is a process of its own, since a kernel that stumbles ends the process that called it. After each part the
//! file is written anew and reaches the disk, so that a machine that does not come back loses one part.

mod kernel_log;

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use foliocopy_measure::bench::Observer;
use foliocopy_measure::run_all::VERSION;
use foliocopy_measure::size::Size;
use foliocopy_measure::text::{harmless, shown};
use foliocopy_measure::topology::Topology;
use serde::Serialize;
use serde_json::Value;

use super::debugfs::{ENGINE, require_root};
use super::livepatch::State;
use super::module;
use crate::exit::Exit;
use crate::interrupt::{self, Interrupt};
use crate::output_file::OutputFile;
use crate::printer;
use crate::progress::Progress;
use crate::wrap::{COLUMNS, paragraph, wrap};
use crate::{budget, command};
use kernel_log::KernelLog;

/// Arguments of `foliocopy kernel run-all`.
#[derive(clap::Args)]
#[command(after_help = "\
It loads the module, has it test and measure itself, patches the kernel, times move_pages(2) by both methods, and takes \
away what it brought. A part that fails keeps no other from running. Ctrl-C keeps what was measured.")]
pub(crate) struct Args {
    /// Write everything to FILE (`-` for standard output)
    #[arg(long, short, value_name = "FILE", default_value = "foliocopy-kernel.json")]
    output: PathBuf,
    /// Overwrite a file that exists
    #[arg(long)]
    force: bool,
    /// About how long to measure, such as 4m or 1h
    #[arg(long, value_name = "DURATION", default_value = "8m", value_parser = budget::parse)]
    time: Duration,
    /// The folder that has foliocopy.ko and foliocopy_livepatch.ko [default: as modprobe finds them]
    #[arg(long, value_name = "DIRECTORY")]
    modules: Option<PathBuf>,
    /// Measure next to nothing, to see that every part runs here
    #[arg(long, conflicts_with = "time")]
    quick: bool,
}

/// One part of the run: a command of this program.
struct Part {
    name: &'static str,
    arguments: Vec<String>,
    answer: Answer,
    /// About how long it takes.
    expected: Duration,
}

/// How a part answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// In words.
    Text,
    /// In JSON, on standard output.
    Json,
    /// In a file of results; tables and verdict are on standard output.
    Results,
}

/// How a part ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Done,
    /// Done, with a negative verdict.
    Negative,
    /// It could not do it, or was killed: `said` has the reason.
    Failed,
    /// It has what it had by then.
    Interrupted,
    NotRun,
}

/// The record of a part.
#[derive(Serialize)]
struct Record {
    name: &'static str,
    command: String,
    outcome: Outcome,
    exit_code: Option<i32>,
    elapsed_seconds: f64,
    /// Standard error: warnings, and the reason where it failed.
    said: Vec<String>,
    /// Standard output, where that is for people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    text: Vec<String>,
    /// The answer as JSON: results as `--export-json` has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
}

/// The file.
#[derive(Serialize)]
struct Report {
    run_all_version: u32,
    program: &'static str,
    started: String,
    elapsed_seconds: f64,
    /// Whether the samples are too few to tell anything.
    quick: bool,
    /// Whether every part came to its end.
    complete: bool,
    parts: Vec<Record>,
    /// Lines of the kernel's log about modules, livepatches, memory errors and a kernel in trouble.
    kernel_log: Vec<String>,
}

pub(super) fn run(args: Args) -> Result<ExitCode> {
    require_root("loading modules and patching the kernel is for root")?;
    ensure!(
        State::detect()? == State::Off,
        "the kernel is patched already, and this starts from its own functions: `foliocopy kernel patch off` first \
         (`systemctl stop foliocopy-livepatch`, where the service did it)"
    );
    let output = OutputFile::create(&args.output, args.force)?;
    let parts = parts(&args, &Topology::detect());
    let was_loaded = module::is_loaded(ENGINE);
    let log = KernelLog::from_now();
    let interrupt = Interrupt::catch()?;
    let _whole = interrupt::hold("what was measured is kept, and the kernel put back as it was");
    let mut run = Run::begin(&args, output, interrupt, &parts)?;
    for part in &parts {
        run.part(part, Some(&interrupt))?;
    }
    if State::detect()? != State::Off {
        run.part(&Part::new("unpatch", Answer::Text, 5, "kernel patch off"), None)?;
    }
    if !was_loaded && module::is_loaded(ENGINE) {
        run.part(&Part::new("unload", Answer::Text, 1, "kernel unload"), None)?;
    }
    run.end(log.until_now())
}

impl Part {
    fn new(name: &'static str, answer: Answer, seconds: u64, arguments: &str) -> Self {
        Self {
            name,
            arguments: arguments.split(' ').map(str::to_owned).collect(),
            answer,
            expected: Duration::from_secs(seconds),
        }
    }

    fn with(mut self, arguments: impl IntoIterator<Item = String>) -> Self {
        self.arguments.extend(arguments);
        self
    }
}

/// The parts, in their order. Two nodes with CPUs take part and one without, as in the RFC.
fn parts(args: &Args, topology: &Topology) -> Vec<Part> {
    let usable = topology.usable_nodes();
    let usable = topology.nodes.iter().filter(|node| usable.contains(&node.id));
    let (with_cpus, without): (Vec<_>, Vec<_>) = usable.partition(|node| !node.cpus.is_empty());
    let nodes: Vec<_> = with_cpus.into_iter().take(2).chain(without.into_iter().take(1)).collect();
    let pairs: Vec<String> = nodes
        .iter()
        .flat_map(|src| nodes.iter().map(move |dst| (src.id, dst.id)))
        .filter(|(src, dst)| src != dst)
        .map(|(src, dst)| format!("{src}:{dst}"))
        .collect();
    let local = nodes.first().map(|node| format!("{id}:{id}", id = node.id));
    let nodes_of = |pairs: Vec<String>| {
        let list = pairs.join(",");
        if list.is_empty() { vec![] } else { vec!["--nodes".to_owned(), list] }
    };
    // Half of what the fullest node has left.
    let room = nodes.iter().map(|node| node.free_bytes / 2).min().unwrap_or(0).clamp(16 << 20, 1 << 30);
    let modules: Vec<String> = args
        .modules
        .iter()
        .flat_map(|folder| ["--modules".into(), folder.to_string_lossy().into()])
        .collect();
    let half = args.time / 2;
    let (bench, migrate) = if args.quick {
        (
            "--folio 64K --total 64K --evict 1M --rounds 2".to_owned(),
            "--folio 64K,2M --total 2M --rounds 1".to_owned(),
        )
    } else {
        let time = format!("--time {}ms", half.as_millis());
        (time.clone(), format!("{time} --total {}", Size(1 << room.ilog2())))
    };
    let measured = if args.quick { 5 } else { half.as_secs() };
    vec![
        Part::new("info", Answer::Json, 1, "info --json"),
        Part::new("status", Answer::Json, 1, "kernel status --json"),
        Part::new("load", Answer::Text, 2, "kernel load").with(modules.clone()),
        Part::new("selftest", Answer::Text, 10, "kernel selftest"),
        Part::new("bench", Answer::Results, measured, &format!("kernel bench --quiet {bench}"))
            .with(nodes_of(local.into_iter().chain(pairs.iter().cloned()).collect())),
        Part::new("patch", Answer::Text, 5, "kernel patch on").with(modules),
        Part::new("migrate", Answer::Results, measured, &format!("migrate --quiet {migrate}"))
            .with(nodes_of(pairs)),
        Part::new("status-patched", Answer::Json, 1, "kernel status --json"),
    ]
}

/// The run, as far as it is.
struct Run {
    path: PathBuf,
    /// Until the first part is written to it.
    output: Option<OutputFile>,
    to_standard_output: bool,
    /// Where the parts write.
    directory: tempfile::TempDir,
    clock: Instant,
    report: Report,
    progress: Progress,
    expected: Duration,
    done: Duration,
    /// Why the file could not be written meanwhile.
    unwritten: bool,
}

/// Below the name of the file.
const WHAT_TO_DO: &str =
    "Send it to those who keep foliocopy, whatever it says: docs/KERNEL.md tells how, and what is in it.";

impl Run {
    fn begin(args: &Args, output: OutputFile, interrupt: Interrupt, parts: &[Part]) -> Result<Self> {
        Ok(Self {
            path: args.output.clone(),
            to_standard_output: output.is_standard_output(),
            output: Some(output),
            directory: tempfile::tempdir().context("can't make a temporary directory")?,
            clock: Instant::now(),
            report: Report {
                run_all_version: VERSION,
                program: crate::PROGRAM,
                started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
                elapsed_seconds: 0.0,
                quick: args.quick,
                complete: false,
                parts: Vec::new(),
                kernel_log: Vec::new(),
            },
            progress: Progress::new(parts.len(), false, interrupt),
            expected: parts.iter().map(|part| part.expected).sum(),
            done: Duration::ZERO,
            unwritten: false,
        })
    }

    /// Runs it, unless the run was interrupted, says how it went, and writes all that there is. Nothing interrupts what takes
    /// something away.
    fn part(&mut self, part: &Part, interrupt: Option<&Interrupt>) -> Result<()> {
        let record = if interrupt.is_some_and(Interrupt::is_set) {
            Record::of(part, Outcome::NotRun, None, Duration::ZERO)
        } else {
            self.progress.message(part.name);
            let (progress, done, expected) = (&mut self.progress, self.done, self.expected);
            record(part, self.directory.path(), interrupt, |elapsed| {
                progress.progress((done + elapsed.min(part.expected)).div_duration_f64(expected));
            })?
        };
        self.done += part.expected;
        self.progress.line(record.summary().trim_end());
        if part.answer == Answer::Results && !self.to_standard_output && !record.text.is_empty() {
            self.progress.around(|| printer::print(record.text.join("\n") + "\n"))?;
        }
        self.report.parts.push(record);
        self.report.elapsed_seconds = self.clock.elapsed().as_secs_f64();
        if let Err(error) = self.write()
            && !self.unwritten
        {
            self.unwritten = true;
            self.progress.line(&format!("{error:#}; the run goes on, and tries again"));
        }
        Ok(())
    }

    /// Writes all that there is; to standard output at the end alone.
    fn write(&mut self) -> Result<()> {
        if self.to_standard_output {
            return Ok(());
        }
        match self.output.take() {
            Some(output) => output.write(&self.report.json()?)?,
            None => OutputFile::create(&self.path, true)?.write(&self.report.json()?)?,
        }
        // The next part may be the machine's last.
        let _ = File::open(&self.path).and_then(|file| file.sync_all());
        Ok(())
    }

    fn end(mut self, kernel_log: Vec<String>) -> Result<ExitCode> {
        let parts = &self.report.parts;
        let has = |outcome| parts.iter().any(|part| part.outcome == outcome);
        let exit = match () {
            () if has(Outcome::Interrupted) || has(Outcome::NotRun) => Exit::Interrupted,
            () if has(Outcome::Failed) => Exit::CannotRun,
            () if has(Outcome::Negative) => Exit::Negative,
            () => Exit::Good,
        };
        self.report.complete = matches!(exit, Exit::Good | Exit::Negative);
        self.report.kernel_log = kernel_log;
        self.report.elapsed_seconds = self.clock.elapsed().as_secs_f64();
        self.progress.finish();
        let output = match self.output.take() {
            Some(output) => Ok(output),
            None => OutputFile::create(&self.path, true),
        };
        output?.keep(&self.report.json()?)?;
        if !self.to_standard_output {
            printer::print(format!("\nwritten to {}\n{}", shown(&self.path), paragraph(WHAT_TO_DO)))?;
        }
        Ok(exit.into())
    }
}

impl Report {
    fn json(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }
}

/// Runs a part, which writes below `directory`. Its record has its output, however it ended.
fn record(
    part: &Part,
    directory: &Path,
    interrupt: Option<&Interrupt>,
    mut meanwhile: impl FnMut(Duration),
) -> Result<Record> {
    let started = Instant::now();
    let file = |suffix: &str| directory.join(format!("{}{suffix}", part.name));
    let (text, said, results) = (file(".text"), file(".said"), file(".json"));
    let create = |path: &Path| File::create(path).with_context(|| format!("can't write {}", path.display()));
    let mut command = Command::new(command::this_program()?);
    command.arg0("foliocopy").args(&part.arguments);
    if part.answer == Answer::Results {
        command.arg("--export-json").arg(&results);
    }
    command.stdin(Stdio::null()).stdout(create(&text)?).stderr(create(&said)?);
    let mut child = command.process_group(0).spawn().context("can't start this program again")?;
    let (status, told) = command::wait(&mut child, interrupt, || meanwhile(started.elapsed()))?;

    let lines = |path: &Path| -> Vec<String> {
        let text = fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().map(|line| harmless(line).into_owned()).collect()
    };
    let json = |path: &Path| serde_json::from_slice(&fs::read(path).ok()?).ok();
    let outcome = match (status.code(), part.answer) {
        (Some(0), _) => Outcome::Done,
        // A status says by it that something is not there, which is an answer.
        (Some(3 | 4), Answer::Json) => Outcome::Done,
        (Some(1), _) => Outcome::Negative,
        (Some(130), _) => Outcome::Interrupted,
        (None, _) if told => Outcome::Interrupted,
        _ => Outcome::Failed,
    };
    let mut record = Record::of(part, outcome, status.code(), started.elapsed());
    record.said = lines(&said);
    if status.code().is_none() {
        record.said.push(status.to_string());
    }
    match part.answer {
        Answer::Text => record.text = lines(&text),
        Answer::Json => record.result = json(&text),
        Answer::Results => (record.text, record.result) = (lines(&text), json(&results)),
    }
    Ok(record)
}

impl Record {
    fn of(part: &Part, outcome: Outcome, exit_code: Option<i32>, elapsed: Duration) -> Self {
        Self {
            name: part.name,
            command: format!("foliocopy {}", part.arguments.join(" ")),
            outcome,
            exit_code,
            elapsed_seconds: elapsed.as_secs_f64(),
            said: Vec::new(),
            text: Vec::new(),
            result: None,
        }
    }

    /// A line about it, or more with the reason where it failed.
    fn summary(&self) -> String {
        let ended = |how: &str| format!("{how} ({:.1} s)", self.elapsed_seconds);
        let ended = match self.outcome {
            Outcome::Done => ended("done"),
            Outcome::Negative => ended("done, with a negative verdict"),
            Outcome::Interrupted => ended("interrupted"),
            Outcome::NotRun => ended("not run: interrupted"),
            Outcome::Failed => {
                let reason =
                    self.said.last().map_or("no reason given", |line| line.trim_start_matches("error: "));
                format!("failed: {reason}")
            }
        };
        let mut text = String::new();
        wrap(&mut text, &format!("{:<15} ", self.name), &ended, COLUMNS);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use foliocopy_measure::result::Node;

    fn args() -> Args {
        Args { output: "-".into(), force: false, time: Duration::from_secs(480), modules: None, quick: false }
    }

    fn commands(args: &Args, topology: &Topology) -> Vec<String> {
        parts(args, topology).iter().map(|part| part.arguments.join(" ")).collect()
    }

    #[test]
    fn two_nodes_with_cpus_and_one_without_take_part() {
        let node =
            |id, cpus: &str| Node { id, cpus: cpus.into(), memory_bytes: 8 << 30, free_bytes: 1 << 30 };
        let nodes = vec![node(0, "0"), node(1, "1"), node(2, "2"), node(3, ""), node(4, "")];
        let commands = commands(&args(), &Topology { nodes, ..Topology::default() });
        assert_eq!(commands[4], "kernel bench --quiet --time 240000ms --nodes 0:0,0:1,0:3,1:0,1:3,3:0,3:1");
        assert_eq!(
            commands[6],
            "migrate --quiet --time 240000ms --total 512M --nodes 0:1,0:3,1:0,1:3,3:0,3:1"
        );
    }

    #[test]
    fn every_part_is_a_command_of_this_program() {
        for quick in [false, true] {
            let args = Args { modules: Some("/lib".into()), quick, ..args() };
            for command in commands(&args, &Topology::default()) {
                let words = ["foliocopy"].into_iter().chain(command.split(' ')).map(Into::into);
                assert!(crate::parse(words).is_ok(), "{command}");
            }
        }
    }
}
