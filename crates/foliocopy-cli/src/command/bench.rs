//! `foliocopy bench`: copies real memory with every contender, and tells which is fastest.

mod against;
pub(crate) mod nodes;
mod plan;
mod preset;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use foliocopy::Locality;
use foliocopy_measure::activity::Activity;
use foliocopy_measure::bench::{Observer, Outcome, Plan};
use foliocopy_measure::gate::{self, Gate};
use foliocopy_measure::latency::TimeStampCounter;
use foliocopy_measure::memory::{Available, MemoryKind};
use foliocopy_measure::result::{Cache, Evict, Origin, Results, SCHEMA_VERSION};
use foliocopy_measure::size::{Size, SizeError};
use foliocopy_measure::topology::Topology;
use foliocopy_measure::verdict::Verdict;
use foliocopy_measure::warning::Warning;
use foliocopy_measure::{affinity, environment};

use crate::budget;
use crate::command::compare::{self, Bounds, How, Run};
use crate::exit::Exit;
use crate::export::ExportArgs;
use crate::interrupt::Interrupt;
use crate::mask::MaskArg;
use crate::percent;
use crate::percent_of_limit::Limits;
use crate::printer::{self, Printer};
use crate::progress::Progress;
use crate::{conclusion, header, latency, load, matrix, probes, table};
use nodes::NodeChoice;
use preset::Preset;

/// The folios that are measured unless told otherwise.
const FOLIOS: [u64; 6] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 2 << 20];

/// Bytes of a hot run: enough copies of a folio for a clock of nanoseconds, few enough for many rounds.
const TOTAL_HOT: u64 = 16 << 20;

/// Rounds unless told otherwise, if they take no longer than [`TIME`].
const ROUNDS: u32 = 41;

/// How long a bench takes at most unless told otherwise: with all that comes before and after, less than a minute.
const TIME: Duration = Duration::from_secs(40);

/// How long one takes at most that is to reach a precision.
const PRECISE_TIME: Duration = Duration::from_secs(300);

/// Arguments of `foliocopy bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Add a contender: a primitive (rep_movsb, movnti, …), page:PRIMITIVE for page by page, foliocopy:temporal,
    /// foliocopy:non_temporal, foliocopy-mc (machine-check safe), foliocopy-mc:bytes (any bytes), kernel:temporal,
    /// kernel:non_temporal, limit (the fastest stream of this machine), or NAME=LIBRARY.so:SYMBOL for any function with
    /// memcpy's signature (glibc=-:memcpy for this process's own)
    #[arg(long = "contender", value_name = "NAME")]
    contenders: Vec<String>,
    /// Measure the contenders that are named alone, without the usual ones
    #[arg(long, requires = "contenders")]
    alone: bool,
    /// State of the caches before each run [default: both]
    #[arg(long, value_enum)]
    cache: Option<CacheChoice>,
    /// Bytes of a folio, 4K to 1G [default: 4K,16K,64K,256K,1M,2M]
    #[arg(long = "folio", value_name = "SIZE", value_delimiter = ',')]
    folios: Vec<Size>,
    /// Bytes copied a run, in whole folios, one at least [default: cold as many as the last-level cache
    /// holds, up to 64M, or 2M with --then read; 16M hot]
    #[arg(long, value_name = "SIZE")]
    total: Option<Size>,
    /// Rounds; each contender runs once in each [default: 41, within 40s]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// A budget that decides the rounds, such as 90s or 5m [default: 5m with --against or --until-width]
    #[arg(long, value_name = "DURATION", value_parser = budget::parse)]
    time: Option<Duration>,
    /// Give each cell rounds until the corrected interval of its ratio is no wider than this percentage of it, within the time
    /// [default: 3% with --against]
    #[arg(long, value_name = "PERCENT", value_parser = percent::parse)]
    until_width: Option<f64>,
    /// The CPU to copy on, or none for any [default: the last that is allowed]
    #[arg(long, value_name = "N")]
    cpu: Option<CpuChoice>,
    /// Pairs SOURCE:DESTINATION of NUMA nodes, such as 0:1,1:0, or all [default: the local node]
    #[arg(long, value_name = "PAIRS", value_delimiter = ',')]
    nodes: Vec<NodeChoice>,
    #[command(flatten)]
    mask: MaskArg,
    /// The parameters of one of the RFC's own benchmarks; others given beside it prevail
    #[arg(long, value_enum)]
    preset: Option<Preset>,
    /// The kind of memory: thp, anon, hugetlb or memfd
    #[arg(long, value_name = "KIND", default_value = "thp")]
    memory: MemoryKind,
    /// Time this with the copy: one read of the destination, or a working set of half the last-level cache before and after
    /// a copy of other memory
    #[arg(long, value_enum)]
    then: Option<ThenChoice>,
    /// Copy on N CPUs at once, each its own memory
    #[arg(long, value_name = "N", conflicts_with = "then")]
    copiers: Option<usize>,
    /// Add copies of a folio by so many threads at once, such as 1,2; nothing is pinned then. A thread gets 16M at least,
    /// so folios of 64M and more show its worth
    #[arg(long, value_name = "N,..", value_delimiter = ',', conflicts_with_all = ["cpu", "copiers", "scatter"],
        value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: Vec<u8>,
    /// Copy folios that lie scattered over four times as much memory, as migration has them; foliocopy copies those of a
    /// run at once, by copy_folios, the others one by one
    #[arg(long)]
    scatter: bool,
    /// Keep the time of every copy: show the median, p99, p99.9 and the longest, and the first copy after each eviction apart.
    /// Each copy is timed by itself then, so that the throughput has the clock's own time in it
    #[arg(long, conflicts_with_all = ["then", "copiers", "scatter"])]
    latency: bool,
    /// Have so many threads stream memory meanwhile, such as 1 or 0,1,2 or 0-3: throughput and latency against load. Each has a
    /// CPU of its own, as far as there are any beside the copying one
    #[arg(long, value_name = "N,..", value_delimiter = ',', conflicts_with_all = ["copiers", "threads"])]
    load: Vec<LoadChoice>,
    /// Lines that an eviction before a cold run leaves in the caches, and bytes that it streams through them, such as write
    /// or write,256M: read leaves clean lines, write dirty ones, as on a busy machine [default: read,128M, or 4 times the
    /// last-level cache if larger]
    #[arg(long, value_name = "KIND,SIZE")]
    evict: Option<Eviction>,
    /// Rounds after which the buffers are laid out anew, and the next case has its turn
    #[arg(long, value_name = "ROUNDS", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    layout_rounds: u32,
    /// Seed of all that is shuffled and resampled [default: another each time]
    #[arg(long)]
    seed: Option<u32>,
    /// Print the table and the verdict alone
    #[arg(long, short)]
    quiet: bool,
    /// Compare this build with an older one, in the same rounds: a library (libfoliocopy.so), a program (foliocopy), or a
    /// folder with either or both, such as target/release. The new library is the one beside this program. Exit code 1
    /// where a cell became slower
    #[arg(long, value_name = "OLD", help_heading = "Comparison", conflicts_with_all = ["contenders", "rounds", "preset", "then",
        "copiers", "threads", "scatter", "latency", "load", "baseline", "roofline", "layout_rounds"])]
    against: Option<PathBuf>,
    /// Hold these interfaces against each other alone
    #[arg(long = "interface", value_name = "NAME", value_parser = PossibleValuesParser::new(gate::INTERFACES),
        requires = "against", help_heading = "Comparison")]
    interfaces: Vec<String>,
    /// Compare with older results of the same bench on this CPU, of several runs at best; exit code 1 where a cell became
    /// slower
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Comparison")]
    baseline: Vec<PathBuf>,
    #[command(flatten, next_help_heading = "Comparison")]
    bounds: Bounds,
    /// Print percents of the limits that `foliocopy roofline --export-json FILE` found
    #[arg(long, value_name = "FILE", help_heading = "Comparison")]
    roofline: Option<PathBuf>,
    #[command(flatten)]
    exports: ExportArgs,
}

/// `--cache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CacheChoice {
    /// Evicted before each run
    Cold,
    /// One folio, copied again and again
    Hot,
    /// Cold and hot in turn
    Both,
    /// Random hot and cold folios in bursts of 1 to 64, at most a quarter of them
    Mixed,
}

impl CacheChoice {
    fn caches(self) -> &'static [Cache] {
        match self {
            Self::Cold => &[Cache::Cold],
            Self::Hot => &[Cache::Hot],
            Self::Both => &[Cache::Cold, Cache::Hot],
            Self::Mixed => &[Cache::Mixed],
        }
    }
}

/// `--then`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ThenChoice {
    /// One read of the destination
    Read,
    /// A working set before and after a copy of other memory
    Victim,
}

/// `--evict`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Eviction {
    how: Evict,
    bytes: Option<Size>,
}

impl std::str::FromStr for Eviction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (how, bytes) = match text.split_once(',') {
            Some((how, bytes)) => (Some(how), Some(bytes)),
            None if text.starts_with(|letter: char| letter.is_ascii_digit()) => (None, Some(text)),
            None => (Some(text), None),
        };
        let how = match how {
            None => Evict::default(),
            Some(how) => [Evict::Read, Evict::Write].into_iter().find(|kind| kind.to_string() == how).ok_or_else(|| {
                format!("`{how}` is no kind of eviction: read or write, with a size behind it such as write,256M")
            })?,
        };
        let bytes =
            bytes.map(|bytes| bytes.parse().map_err(|error: SizeError| error.to_string())).transpose()?;
        Ok(Self { how, bytes })
    }
}

/// An item of `--load`: from so many threads to so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LoadChoice {
    first: usize,
    last: usize,
}

/// More threads than any machine has CPUs to run them on.
const MOST_LOAD: usize = 4096;

impl std::str::FromStr for LoadChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.parse().ok().filter(|threads| *threads <= MOST_LOAD);
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!(
                "`{text}` is no load: write a number of threads from 0 to {MOST_LOAD}, or two such as 0-3"
            )),
        }
    }
}

/// `--cpu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CpuChoice {
    Any,
    Number(u32),
}

impl std::str::FromStr for CpuChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::Any),
            number => number.parse().map(Self::Number).map_err(|_| {
                format!("`{text}` is no CPU: write its number, or none to let the scheduler choose")
            }),
        }
    }
}

/// Measures, prints, exports.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let exports = args.exports.open()?;
    let old = Run::read(&args.baseline)?;
    let preset = args.preset.and_then(Preset::mask);
    args.mask.apply(preset.map(|mask| mask.parse().expect("a preset's features have names")));
    let counter = TimeStampCounter::detect();
    let topology = Topology::detect();
    let environment = environment::detect()?;
    let limits = args.roofline.as_deref().map(|file| Limits::read(file, &environment)).transpose()?;
    let allowed = affinity::allowed_cpus().context("can't find out which CPUs are allowed")?;
    let pairs = nodes::pairs(&args.nodes, &topology)?;
    let cpu = match args.threads.is_empty() {
        true => choose_cpu(args.cpu, &allowed, &pairs, &topology)?,
        // Threads start where their parent may run.
        false => None,
    };
    let plan = plan::plan(&args, &topology, &pairs, counter, &allowed, cpu)?;
    plan.check(&Available::detect())?;
    if let Some(cpu) = cpu {
        affinity::pin(cpu).with_context(|| format!("can't stay on CPU {cpu}"))?;
    }
    let mut parameters = plan::parameters(&args, &plan, &pairs, cpu);
    let about_load = plan::about_load(&plan);
    let work = match &args.against {
        Some(old) => {
            let (gate, contenders) = against::gate(old, &args.interfaces, plan)?;
            (parameters.baseline, parameters.contenders) = (gate::OLD.to_owned(), contenders);
            Work::Gate(gate)
        }
        None => Work::Bench(plan),
    };
    let results = Results {
        schema_version: SCHEMA_VERSION,
        program: crate::PROGRAM.to_owned(),
        command: work.command().to_owned(),
        origin: Origin::UserSpace,
        started: String::new(),
        elapsed_seconds: 0.0,
        complete: false,
        environment,
        parameters,
        warnings: vec![],
        cells: vec![],
    };
    let how = How { bounds: &args.bounds, changed: true, force: false };
    let mut this = compare::Run { name: "this bench".to_owned(), results };
    for old in &old {
        compare::permit(old, &this, &how)?;
    }
    let results = &mut this.results;

    let printer = Printer { to_standard_error: exports.to_standard_output(), quiet: args.quiet };
    printer.aside(&format!(
        "{}\nfoliocopy copies ({}):\n{}\n{}\n",
        header::environment(&results.environment),
        results.environment.tables.source,
        header::tables(&results.environment.tables, Some(Locality::Auto)),
        header::parameters(&results.parameters)
    ))?;
    let mut before = Warning::about_environment(&results.environment, counter);
    before.extend(about_load);
    printer.warn(&before)?;

    let interrupt = Interrupt::catch()?;
    let (started, clock, activity) = (SystemTime::now(), Instant::now(), Activity::start());
    let mut progress = Progress::new(work.cases(), args.quiet, interrupt);
    let judged = work.judged();
    let outcome = work.run(&mut progress);
    progress.finish();
    let outcome = outcome?;
    let shares = activity.and_then(|activity| activity.shares());
    if outcome.cells.is_empty() {
        printer::note("interrupted before a round was complete: nothing to show");
        return Ok(Exit::Interrupted.into());
    }
    results.started = humantime::format_rfc3339_seconds(started).to_string();
    results.elapsed_seconds = clock.elapsed().as_secs_f64();
    results.complete = outcome.complete;
    results.cells = outcome.cells;
    results.rate();
    let mut after = shares.map(Warning::about_activity).unwrap_or_default();
    after.extend(Warning::about_cells(results, args.memory));
    results.warnings = before.iter().chain(&after).map(ToString::to_string).collect();

    let saved = exports.write(results);
    let verdicts = Verdict::all(results);
    printer.result(&conclusion::text(results, &verdicts))?;
    printer.result(&match args.against {
        Some(_) => against::table(results),
        None => table::tables(results, printer.width()),
    })?;
    printer.result(&matrix::text(results))?;
    printer.result(&latency::text(results))?;
    printer.result(&load::text(results))?;
    if args.against.is_none() {
        printer.aside(&probes::text(results))?;
    }
    printer.result(&conclusion::open_questions(&verdicts))?;
    printer.warn(&after)?;
    if let Some(limits) = &limits {
        printer.result(&format!("\n{}", limits.table(results)))?;
    }
    let mut good = verdicts.iter().filter(|verdict| verdict.contender == judged).all(Verdict::is_good);
    if !old.is_empty() {
        let mut text = Vec::from(b"\n");
        // The comparison alone was asked for.
        good = compare::print(&mut text, &old, std::slice::from_ref(&this), &how)?;
        printer.result(&String::from_utf8_lossy(&text))?;
    }
    let results = &this.results;
    printer.aside(if args.against.is_some() { HOW_TO_GO_ON_AGAINST } else { HOW_TO_GO_ON })?;
    saved?;
    Ok(match (results.complete, good) {
        (false, _) => Exit::Interrupted,
        (true, false) => Exit::Negative,
        (true, true) => Exit::Good,
    }
    .into())
}

/// The last lines of a bench.
const HOW_TO_GO_ON: &str = "
To go on:
  foliocopy bench --export-json FILE    keep the samples
  foliocopy report FILE -o FILE.html    draw them
  foliocopy info                        what is chosen here, and why
  foliocopy bench --help                what else can be measured
";

/// The last lines of a gate.
const HOW_TO_GO_ON_AGAINST: &str = "
To go on:
  foliocopy bench --against OLD --export-json FILE    keep the samples
  foliocopy report FILE -o FILE.html                  draw them
";

/// A bench or a gate.
enum Work {
    Bench(Plan),
    Gate(Gate),
}

impl Work {
    /// The command in its results.
    fn command(&self) -> &'static str {
        match self {
            Self::Bench(_) => "bench",
            Self::Gate(_) => gate::COMMAND,
        }
    }

    /// The contender that the verdict is on.
    fn judged(&self) -> &'static str {
        match self {
            Self::Bench(_) => "foliocopy",
            Self::Gate(_) => gate::NEW,
        }
    }

    fn cases(&self) -> usize {
        match self {
            Self::Bench(plan) => plan.cases.len(),
            Self::Gate(gate) => gate.cases(),
        }
    }

    fn run(self, observer: &mut dyn Observer) -> Result<Outcome> {
        Ok(match self {
            Self::Bench(plan) => plan.run(observer)?,
            Self::Gate(gate) => gate.run(observer)?,
        })
    }
}

fn choose_cpu(
    choice: Option<CpuChoice>,
    allowed: &[u32],
    pairs: &[(u32, u32)],
    topology: &Topology,
) -> Result<Option<u32>> {
    match choice {
        Some(CpuChoice::Any) => Ok(None),
        Some(CpuChoice::Number(cpu)) => {
            if !allowed.contains(&cpu) {
                let known = allowed.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
                bail!("CPU {cpu} can't be used: this process may run on {known}");
            }
            Ok(Some(cpu))
        }
        // CPU 0 serves most interrupts, so from the other end; where nodes are given, on the first source.
        None => {
            let local =
                |cpu: &&u32| pairs.first().is_some_and(|(src, _)| topology.node_of_cpu(**cpu) == Some(*src));
            Ok(allowed.iter().rev().find(local).or(allowed.last()).copied())
        }
    }
}
