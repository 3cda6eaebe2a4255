//! `cargo xtask verdicts`: measures how often this machine's verdicts are wrong, and how often they find a planted slowdown.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use xshell::{Shell, cmd};

/// The arguments of `cargo xtask verdicts`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often to ask each question
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,
    /// The budget of one run of the gate, which ends sooner where every interval is narrow enough
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    time: String,
    /// The questions [default: all]
    #[arg(long = "question", value_name = "QUESTION", value_enum)]
    questions: Vec<Question>,
}

/// A question to a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Question {
    /// The gate: this build against itself, on an idle machine
    Idle,
    /// The gate: this build against itself, beside a copy of large folios on the first CPU
    Loaded,
    /// The gate: a build that is 2 % slower in one cold cell
    Planted2,
    /// The gate: a build that is 5 % slower in one cold cell
    Planted5,
    /// The gate: a build that is 10 % slower in one cold cell
    Planted10,
    /// `compare` of two short runs of this build
    Compare,
}

/// The four cells of the gate for a build against itself.
const CELLS: &[&str] = &["--folio", "4K,64K", "--cache", "both"];

/// The four cells with a planted slowdown. The planted library does not know whether a copy is cold, so all are cold.
const CELLS_WITH_PLANTED: &[&str] = &["--folio", "4K,16K,64K,256K", "--cache", "cold"];

/// Only the planted cell, until its interval is narrow.
const PLANTED_ALONE: &[&str] = &["--folio", "64K", "--cache", "cold", "--until-width", "1"];

/// The planted cell: the pages of its folio, and its name in the verdict.
const PLANTED: (u32, &str) = (16, "cold 64K");

/// About how many turns of an empty loop take as long as a copy of that folio.
const TURNS: f64 = 12_000.0;

/// The greatest difference between the planted loss and the wanted one.
const TOLERANCE: f64 = 0.004;

/// The answer to a question.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// No cell is slower.
    Good,
    /// The planted cell is slower, and no other.
    Planted,
    /// Another cell is slower.
    FalseAlarm,
}

/// The paths of the builds.
struct Builds<'a> {
    /// The folder of this build: program and library.
    release: &'a Path,
    /// The folder for builds with planted slowdowns.
    directory: &'a Path,
    time: &'a str,
}

/// Builds, asks each question, and counts the answers.
pub(crate) fn run(shell: &Shell, args: Args) -> Result<()> {
    cmd!(shell, "cargo build --release --quiet --package foliocopy-cli --package foliocopy-capi").run()?;
    let release = shell.current_dir().join("target/release");
    let directory = shell.create_temp_dir()?;
    let builds = Builds { release: &release, directory: directory.path(), time: &args.time };
    // The library once more under another name, since one file is loaded only once.
    fs::copy(release.join("libfoliocopy.so"), builds.directory.join("old.so"))?;
    let questions = match args.questions.is_empty() {
        true => Question::value_variants().to_vec(),
        false => args.questions,
    };
    let mut broken = Vec::new();
    for question in questions {
        let ask = builds.prepare(question)?;
        let mut answers = Vec::new();
        for repetition in 1..=args.repetitions {
            answers.push(ask()?);
            eprint!("\r{question:?}: {repetition} of {}", args.repetitions);
        }
        eprintln!();
        let count = |answer| answers.iter().filter(|other| **other == answer).count() as u32;
        let (found, false_alarms) = match question.loss() {
            Some(_) => (count(Answer::Planted), count(Answer::FalseAlarm)),
            None => (0, count(Answer::Planted) + count(Answer::FalseAlarm)),
        };
        println!("{question:?}: {false_alarms} false alarms and {found} found, of {}", args.repetitions);
        // The bounds: one false alarm in forty, and 38 found in forty.
        let required = if question.is_to_be_found() { args.repetitions * 38 / 40 } else { 0 };
        if false_alarms > args.repetitions.div_ceil(40) || found < required {
            broken.push(format!("{question:?}"));
        }
    }
    ensure!(broken.is_empty(), "outside of the bounds: {}", broken.join(", "));
    Ok(())
}

impl Question {
    /// The part of its speed that the planted cell loses.
    fn loss(self) -> Option<f64> {
        match self {
            Self::Planted2 => Some(0.02),
            Self::Planted5 => Some(0.05),
            Self::Planted10 => Some(0.10),
            Self::Idle | Self::Loaded | Self::Compare => None,
        }
    }

    /// A loss at the smallest difference that counts need not be found.
    fn is_to_be_found(self) -> bool {
        matches!(self, Self::Planted5 | Self::Planted10)
    }
}

impl Builds<'_> {
    /// Makes the files that `question` needs. Returns a function that asks it once.
    fn prepare(&self, question: Question) -> Result<Box<dyn Fn() -> Result<Answer> + '_>> {
        let old = self.directory.join("old.so");
        if let Some(loss) = question.loss() {
            let folder = self.plant_to_lose(loss, &old)?;
            return Ok(Box::new(move || self.gate(&folder.join("foliocopy"), &old, CELLS_WITH_PLANTED)));
        }
        let new = self.release.join("foliocopy");
        Ok(match question {
            Question::Compare => Box::new(move || self.compare(&new)),
            Question::Loaded => {
                let load = Load::start(&new)?;
                Box::new(move || {
                    let _ = &load;
                    self.gate(&new, &old, CELLS)
                })
            }
            _ => Box::new(move || self.gate(&new, &old, CELLS)),
        })
    }

    /// The command of the gate over plain copies.
    fn command(&self, new: &Path, old: &Path, cells: &[&str]) -> Command {
        let mut command = Command::new(new);
        command.args(["bench", "--quiet", "--time", self.time]).args(cells);
        command.args(["--interface", "c:copy_pages", "--against"]).arg(old);
        command
    }

    /// Runs the gate once over plain copies.
    fn gate(&self, new: &Path, old: &Path, cells: &[&str]) -> Result<Answer> {
        let output = self.command(new, old, cells).output().context("can't run the gate")?;
        // The verdict's lines may break anywhere.
        let said = String::from_utf8_lossy(&output.stdout);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        if red(output.status, &output.stderr)? {
            let only_planted = said.contains(&format!(" in 1 of 4 cells ({} ", PLANTED.1));
            return Ok(if only_planted { Answer::Planted } else { Answer::FalseAlarm });
        }
        Ok(Answer::Good)
    }

    /// Compares two runs.
    fn compare(&self, program: &Path) -> Result<Answer> {
        let files = ["one.json", "other.json"].map(|name| self.directory.join(name));
        for file in &files {
            let mut command = Command::new(program);
            command.args(["bench", "--quiet", "--time", "8s", "--folio", "4K,16K,64K,2M", "--force"]);
            let output = command.arg("--export-json").arg(file).output().context("can't run the bench")?;
            red(output.status, &output.stderr)?;
        }
        let output = Command::new(program).arg("compare").args(&files).output().context("can't compare")?;
        Ok(if red(output.status, &output.stderr)? { Answer::FalseAlarm } else { Answer::Good })
    }

    /// Makes a folder with this program and a library that loses `loss` of its speed in one cell.
    ///
    /// The memory system goes on working during the loop, and the time of a turn depends on the CPU. So the number of turns is
    /// corrected by the measured loss.
    fn plant_to_lose(&self, loss: f64, old: &Path) -> Result<PathBuf> {
        let mut turns = (loss * TURNS) as u32;
        for _ in 0..6 {
            let folder = self.plant(turns)?;
            let measured = self.loss(&folder.join("foliocopy"), old)?;
            println!("{turns} turns cost {:.1} %", measured * 100.0);
            if (measured - loss).abs() <= TOLERANCE {
                return Ok(folder);
            }
            turns = (f64::from(turns) * (loss / measured).clamp(0.5, 2.0)) as u32;
        }
        bail!("no number of turns costs {:.0} % on this machine: it is too busy", loss * 100.0);
    }

    /// The loss of the planted cell of `new`, by one run of the gate with narrow intervals.
    fn loss(&self, new: &Path, old: &Path) -> Result<f64> {
        let output = self.command(new, old, PLANTED_ALONE).output().context("can't run the gate")?;
        red(output.status, &output.stderr)?;
        let said = String::from_utf8_lossy(&output.stdout);
        let mut cells = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let ratio = cells.find_map(|words| match words[..] {
            [_, cache, folio, _, _, _, ratio, ..] if format!("{cache} {folio}") == PLANTED.1 => Some(ratio),
            _ => None,
        });
        let ratio: f64 = ratio.context("the gate does not show the planted cell")?.parse()?;
        Ok(1.0 - ratio)
    }

    /// Makes a folder with this program and a library that takes `turns` turns more in one cell.
    fn plant(&self, turns: u32) -> Result<PathBuf> {
        let folder = self.directory.join(format!("planted-{turns}"));
        fs::create_dir_all(&folder)?;
        fs::copy(self.release.join("foliocopy"), folder.join("foliocopy"))?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/verdicts/planted.c");
        let library = self.release.join("libfoliocopy.so");
        let status = Command::new("cc")
            .args(["-O2", "-shared", "-fPIC"])
            .arg(format!("-DLIBRARY=\"{}\"", library.display()))
            .arg(format!("-DTURNS={turns}"))
            .arg(format!("-DFOLIO_PAGES={}", PLANTED.0))
            .arg("-o")
            .arg(folder.join("libfoliocopy.so"))
            .arg(source)
            .status()
            .context("can't run the C compiler `cc`")?;
        ensure!(status.success(), "the planted library does not compile");
        Ok(folder)
    }
}

/// Whether a run's verdict is negative. It is an error if the run gave none.
fn red(status: ExitStatus, stderr: &[u8]) -> Result<bool> {
    match status.code() {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => bail!("the run failed ({status}): {}", String::from_utf8_lossy(stderr)),
    }
}

/// A process that copies all the time. It is ended when this is dropped.
struct Load(Child);

impl Load {
    fn start(program: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command
            .args(["bench", "--quiet", "--cache", "cold", "--folio", "2M", "--cpu", "0", "--time", "30days"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn().context("can't start the load")?))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Both fail only if the process has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
