//! `cargo xtask verdicts`: how often the verdicts of this machine are wrong, and how often they find what was planted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use xshell::{Shell, cmd};

/// What `cargo xtask verdicts` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each question is asked
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,
    /// The budget of one run of the gate, which ends sooner where every interval is narrow enough
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    time: String,
    /// The questions [default: all]
    #[arg(long = "question", value_name = "QUESTION", value_enum)]
    questions: Vec<Question>,
}

/// What a verdict is asked.
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

/// The four cells of a build against itself.
const CELLS: &[&str] = &["--folio", "4K,64K", "--cache", "both"];

/// The four cells where one is planted. The planted library does not know whether a copy is cold, so all are.
const CELLS_WITH_PLANTED: &[&str] = &["--folio", "4K,16K,64K,256K", "--cache", "cold"];

/// The planted cell alone, until its ratio is known well.
const PLANTED_ALONE: &[&str] = &["--folio", "64K", "--cache", "cold", "--until-width", "1"];

/// Pages of the folio of the planted cell, and how the verdict names it.
const PLANTED: (u32, &str) = (16, "cold 64K");

/// About how many turns of an empty loop take as long as the copy of that folio.
const TURNS: f64 = 12_000.0;

/// How near the planted loss comes to the one asked for.
const TOLERANCE: f64 = 0.004;

/// How a question is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// No cell is slower.
    Good,
    /// The planted cell is slower, and no other.
    Planted,
    /// Some other cell is slower.
    FalseAlarm,
}

/// Where everything lies.
struct Builds<'a> {
    /// This build: program and library.
    release: &'a Path,
    /// For the builds with planted slowdowns.
    directory: &'a Path,
    time: &'a str,
}

/// Builds, asks and counts.
pub(crate) fn run(shell: &Shell, args: Args) -> Result<()> {
    cmd!(shell, "cargo build --release --quiet --package foliocopy-cli --package foliocopy-capi").run()?;
    let release = shell.current_dir().join("target/release");
    let directory = shell.create_temp_dir()?;
    let builds = Builds { release: &release, directory: directory.path(), time: &args.time };
    // The same library under another name: one file is loaded once.
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
        // One false alarm in forty, and 38 found in forty.
        let required = if question.is_to_be_found() { args.repetitions * 38 / 40 } else { 0 };
        if false_alarms > args.repetitions.div_ceil(40) || found < required {
            broken.push(format!("{question:?}"));
        }
    }
    ensure!(broken.is_empty(), "outside of the bounds: {}", broken.join(", "));
    Ok(())
}

impl Question {
    /// What part of its speed the planted cell loses.
    fn loss(self) -> Option<f64> {
        match self {
            Self::Planted2 => Some(0.02),
            Self::Planted5 => Some(0.05),
            Self::Planted10 => Some(0.10),
            Self::Idle | Self::Loaded | Self::Compare => None,
        }
    }

    /// What lies at the smallest difference that counts need not be.
    fn is_to_be_found(self) -> bool {
        matches!(self, Self::Planted5 | Self::Planted10)
    }
}

impl Builds<'_> {
    /// Makes what `question` needs, and answers with what asks it once.
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

    /// A run of the gate over plain copies.
    fn command(&self, new: &Path, old: &Path, cells: &[&str]) -> Command {
        let mut command = Command::new(new);
        command.args(["bench", "--quiet", "--time", self.time]).args(cells);
        command.args(["--interface", "c:copy_pages", "--against"]).arg(old);
        command
    }

    /// One run of the gate over plain copies.
    fn gate(&self, new: &Path, old: &Path, cells: &[&str]) -> Result<Answer> {
        let output = self.command(new, old, cells).output().context("can't run the gate")?;
        // The verdict may be broken into lines anywhere.
        let said = String::from_utf8_lossy(&output.stdout);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        if red(output.status, &output.stderr)? {
            let only_planted = said.contains(&format!(" in 1 of 4 cells ({} ", PLANTED.1));
            return Ok(if only_planted { Answer::Planted } else { Answer::FalseAlarm });
        }
        Ok(Answer::Good)
    }

    /// Two runs, one held against the other.
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

    /// A folder with this program beside a library that loses `loss` of its speed in one cell.
    ///
    /// The memory system goes on working while the loop turns, and how long a turn takes depends on the CPU. So the turns
    /// are corrected by what they were measured to cost.
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

    /// What the planted cell of `new` loses, by one run of the gate with narrow intervals.
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

    /// A folder with this program beside a library that takes so many turns more in one cell.
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

/// Whether a run's verdict is negative; an error where it gave none.
fn red(status: ExitStatus, stderr: &[u8]) -> Result<bool> {
    match status.code() {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => bail!("the run failed ({status}): {}", String::from_utf8_lossy(stderr)),
    }
}

/// A neighbour who copies all the time; gone when dropped.
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
        // Where it has ended by itself there is nothing to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
