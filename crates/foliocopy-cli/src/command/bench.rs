//! `foliocopy bench`: copies real memory with every contender and shows who is faster.

pub(crate) mod nodes;
mod preset;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use foliocopy::Locality;
use foliocopy_measure::activity::Activity;
use foliocopy_measure::bench::{Case, Crew, Plan, Then};
use foliocopy_measure::contender::{self, Contender};
use foliocopy_measure::latency::TimeStampCounter;
use foliocopy_measure::memory::{Available, MemoryKind};
use foliocopy_measure::result::{self, Cache, Origin, Parameters, ReadError, Results, SCHEMA_VERSION};
use foliocopy_measure::size::Size;
use foliocopy_measure::topology::Topology;
use foliocopy_measure::verdict::Verdict;
use foliocopy_measure::warning::Warning;
use foliocopy_measure::{affinity, environment, eviction};

use crate::budget;
use crate::command::compare::{self, Bounds, How};
use crate::exit::Exit;
use crate::export::ExportArgs;
use crate::interrupt::Interrupt;
use crate::mask::MaskArg;
use crate::percent_of_limit::Limits;
use crate::printer::{self, Printer};
use crate::progress::Progress;
use crate::{header, probes, table};
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

/// What `foliocopy bench` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Add a contender: a primitive (rep_movsb, movnti, …), page:PRIMITIVE for page by page, foliocopy:temporal,
    /// foliocopy:non_temporal, foliocopy-mc (the machine-check-safe copy), kernel:temporal, kernel:non_temporal, limit
    /// (the fastest stream of this machine), or NAME=LIBRARY.so:SYMBOL for any function with memcpy's signature
    /// (glibc=-:memcpy for this process's own)
    #[arg(long = "contender", value_name = "NAME")]
    contenders: Vec<String>,
    /// What the caches hold before each run [default: both]
    #[arg(long, value_enum)]
    cache: Option<CacheChoice>,
    /// Bytes of a folio, 4K to 1G [default: 4K,16K,64K,256K,1M,2M]
    #[arg(long = "folio", value_name = "SIZE", value_delimiter = ',')]
    folios: Vec<Size>,
    /// Bytes copied a run, in whole folios, one at least [default: cold as many as the last-level cache
    /// holds, up to 64M, or 2M with --then read; 16M hot]
    #[arg(long, value_name = "SIZE")]
    total: Option<Size>,
    /// Rounds, in each of which every contender runs once [default: 41, within 40s]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// A budget that decides the rounds, such as 90s or 5m
    #[arg(long, value_name = "DURATION", value_parser = budget::parse)]
    time: Option<Duration>,
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
    /// What to time besides the copy: one read of the destination, or a working set of half the last-level cache
    /// before and after a copy of other memory
    #[arg(long, value_enum)]
    then: Option<ThenChoice>,
    /// Copy on N CPUs at once, each its own memory
    #[arg(long, value_name = "N", conflicts_with = "then")]
    copiers: Option<usize>,
    /// Put copies of a folio by so many threads at once beside the others, such as 1,2; nothing is pinned then. A thread
    /// gets 16M at least, so folios of 64M and more show what it is worth
    #[arg(long, value_name = "N,..", value_delimiter = ',', conflicts_with_all = ["cpu", "copiers", "scatter"],
        value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: Vec<u8>,
    /// Copy folios that lie scattered over four times as much memory, as migration has them; foliocopy copies those of a
    /// run at once, by copy_folios, the others one by one
    #[arg(long)]
    scatter: bool,
    /// Bytes streamed through the caches before each cold run [default: 128M, or 4 times the last-level cache if larger]
    #[arg(long, value_name = "SIZE")]
    evict: Option<Size>,
    /// Rounds after which the buffers are laid out anew
    #[arg(long, value_name = "ROUNDS", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    layout_rounds: u32,
    /// Seed of all that is shuffled and resampled [default: another each time]
    #[arg(long)]
    seed: Option<u32>,
    /// Print the table and the verdict alone
    #[arg(long, short)]
    quiet: bool,
    /// Compare with these older results of the same bench on this CPU; exit code 1 where something became slower
    #[arg(long, value_name = "FILE", help_heading = "Comparison")]
    baseline: Option<PathBuf>,
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
    let old =
        args.baseline.as_deref().map(|file| Ok::<_, ReadError>((file, result::read(file)?))).transpose()?;
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
    let plan = plan(&args, &topology, &pairs, counter, &allowed)?;
    plan.check(&Available::detect())?;
    if let Some(cpu) = cpu {
        affinity::pin(cpu).with_context(|| format!("can't stay on CPU {cpu}"))?;
    }
    let parameters = parameters(&args, &plan, &pairs, cpu);
    let mut results = Results {
        schema_version: SCHEMA_VERSION,
        program: concat!("foliocopy ", env!("CARGO_PKG_VERSION")).to_owned(),
        command: "bench".to_owned(),
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
    if let Some((file, old)) = &old {
        compare::permit_machines(file, old, "this bench", &results, &how)?;
    }

    let printer = Printer { to_standard_error: exports.to_standard_output(), quiet: args.quiet };
    printer.aside(&format!(
        "{}\nfoliocopy copies ({}):\n{}\n{}\n",
        header::environment(&results.environment),
        results.environment.tables.source,
        header::tables(&results.environment.tables, Some(Locality::Auto)),
        header::parameters(&results.parameters)
    ))?;
    let before = Warning::about_environment(&results.environment, counter);
    printer.warn(&before)?;

    let interrupt = Interrupt::catch()?;
    let (started, clock, activity) = (SystemTime::now(), Instant::now(), Activity::start());
    let mut progress = Progress::new(plan.cases.len(), args.quiet, interrupt);
    let outcome = plan.run(&mut progress);
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
    after.extend(Warning::about_cells(&results, args.memory));
    results.warnings = before.iter().chain(&after).map(ToString::to_string).collect();

    let saved = exports.write(&results);
    printer.result(&table::tables(&results, printer.width()))?;
    printer.aside(&probes::text(&results))?;
    let verdict = Verdict::of(&results, "foliocopy");
    printer.result(&verdict_line(&results, verdict.as_ref()))?;
    printer.warn(&after)?;
    if let Some(limits) = &limits {
        printer.result(&format!("\n{}", limits.table(&results)))?;
    }
    let mut as_fast_as_then = true;
    if let Some((file, old)) = &old {
        let mut text = Vec::from(b"\n");
        as_fast_as_then = compare::print(&mut text, (file, old), (Path::new("this bench"), &results), &how)?;
        printer.result(&String::from_utf8_lossy(&text))?;
    }
    printer.aside(HOW_TO_GO_ON)?;
    saved?;
    let good = as_fast_as_then && verdict.is_none_or(|verdict| verdict.is_good());
    Ok(match (results.complete, good) {
        (false, _) => Exit::Interrupted,
        (true, false) => Exit::Negative,
        (true, true) => Exit::Good,
    }
    .into())
}

/// What comes after the verdict.
const HOW_TO_GO_ON: &str = "
`foliocopy bench --export-json FILE` keeps the samples, `foliocopy report FILE -o FILE.html` draws them,
`foliocopy info` says what is chosen here and why, `foliocopy bench --help` what else can be measured.
";

fn verdict_line(results: &Results, verdict: Option<&Verdict<'_>>) -> String {
    match verdict {
        Some(verdict) => format!("{verdict}\n"),
        None if results.environment.emulated => {
            "no verdict: the CPU is emulated, so only that every copy was right is shown\n".to_owned()
        }
        None => "no verdict: nobody to judge\n".to_owned(),
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

fn plan(
    args: &Args,
    topology: &Topology,
    pairs: &[(u32, u32)],
    counter: TimeStampCounter,
    allowed: &[u32],
) -> Result<Plan> {
    let parallel: Vec<String> =
        args.threads.iter().map(|threads| Contender::parallel_name(usize::from(*threads))).collect();
    let named = args.contenders.iter().chain(&parallel).map(String::as_str);
    let contenders = Contender::all_named(contender::DEFAULT.into_iter().chain(named))?;
    let folios = folios(args)?;
    let last_level_cache = topology.last_level_cache().unwrap_or(32 << 20);
    let then = args.then.map(|then| match then {
        ThenChoice::Read => Then::Read,
        ThenChoice::Victim => Then::Victim { bytes: last_level_cache / 2 },
    });
    let crew = match args.copiers {
        None | Some(1) => Crew::One,
        Some(0) => bail!("--copiers 0 copies nothing: at least 1"),
        Some(copiers) if copiers > allowed.len() => {
            bail!("--copiers {copiers} need as many CPUs, and this process may run on {}", allowed.len())
        }
        Some(copiers) => Crew::Copiers(copiers),
    };
    let caches = args.cache.or(args.preset.map(Preset::cache)).unwrap_or(CacheChoice::Both).caches();
    ensure!(
        contenders.iter().all(Contender::copies_folios)
            || caches.contains(&Cache::Cold) && then.is_none() && crew == Crew::One,
        "the contender `limit` is a cold stream of one thread: it needs --cache cold or both, without --then and --copiers"
    );
    let places: Vec<Option<(u32, u32)>> =
        if pairs.is_empty() { vec![None] } else { pairs.iter().copied().map(Some).collect() };
    let mut cases = Vec::new();
    for &cache in caches {
        for &nodes in &places {
            for &folio_bytes in &folios {
                let total_bytes = total(args, cache, folio_bytes, last_level_cache);
                cases.push(Case {
                    cache,
                    folio_bytes,
                    total_bytes,
                    nodes,
                    then,
                    crew,
                    scattered: args.scatter,
                });
            }
        }
    }
    let (rounds, time) = match (args.rounds, args.time) {
        (None, None) => (ROUNDS, TIME),
        (rounds, time) => (rounds.unwrap_or(u32::MAX), time.unwrap_or(Duration::MAX)),
    };
    let evict =
        args.evict.map_or_else(|| eviction::default_bytes(topology.last_level_cache()), |size| size.0);
    Ok(Plan {
        contenders,
        cases,
        lineups: vec![],
        rounds,
        time,
        memory: args.memory,
        evict_bytes: usize::try_from(evict).context("--evict exceeds the address space")?,
        layout_rounds: args.layout_rounds,
        seed: u64::from(args.seed.unwrap_or_else(|| fastrand::u32(..))),
        counter,
        cpus: allowed.to_vec(),
    })
}

fn folios(args: &Args) -> Result<Vec<u64>> {
    let mut folios: Vec<u64> = match (&args.folios[..], args.preset) {
        ([], Some(preset)) => preset.folios().to_vec(),
        ([], None) => FOLIOS.to_vec(),
        (folios, _) => folios.iter().map(|folio| folio.0).collect(),
    };
    for folio in &folios {
        ensure!(
            (4 << 10..=1 << 30).contains(folio) && folio.is_multiple_of(4 << 10),
            "a folio of {} can't be measured: whole pages, from 4K to 1G",
            Size(*folio)
        );
    }
    folios.sort_unstable();
    folios.dedup();
    Ok(folios)
}

/// Bytes of one run.
fn total(args: &Args, cache: Cache, folio_bytes: u64, last_level_cache: u64) -> u64 {
    if let Some(total) = args.total {
        return total.0;
    }
    match (cache, args.then, args.preset) {
        // As much as can push half the cache out.
        (_, Some(ThenChoice::Victim), _) => last_level_cache,
        (Cache::Cold, _, Some(preset)) => preset.total_cold(),
        (Cache::Hot, _, Some(preset)) => preset.total_hot(),
        (Cache::Cold, Some(ThenChoice::Read), None) => eviction::COLD_RUN_READ_BYTES,
        (Cache::Cold, None, None) => eviction::cold_run_bytes(Some(last_level_cache)),
        (Cache::Hot, ..) => TOTAL_HOT,
        // Sources and destinations of the hot half together fill a quarter of the cache.
        (Cache::Mixed, ..) => (last_level_cache / 4).max(4 * folio_bytes),
    }
}

fn parameters(args: &Args, plan: &Plan, pairs: &[(u32, u32)], cpu: Option<u32>) -> Parameters {
    let total =
        |cache| plan.cases.iter().filter(|case| case.cache == cache).map(|case| case.total_bytes).max();
    let mut caches: Vec<Cache> = plan.cases.iter().map(|case| case.cache).collect();
    caches.dedup();
    let mut folio_bytes: Vec<u64> = plan.cases.iter().map(|case| case.folio_bytes).collect();
    folio_bytes.sort_unstable();
    folio_bytes.dedup();
    let mut other = std::collections::BTreeMap::new();
    if let Some(then) = args.then.and_then(|then| then.to_possible_value()) {
        other.insert("then".to_owned(), then.get_name().to_owned());
    }
    if args.scatter {
        other.insert("folios".to_owned(), "scattered".to_owned());
    }
    if let Some(copiers) = args.copiers {
        other.insert("copiers".to_owned(), copiers.to_string());
    }
    Parameters {
        baseline: contender::BASELINE.to_owned(),
        contenders: plan.contenders.iter().map(Contender::describe).collect(),
        cache: caches,
        folio_bytes,
        total_bytes_cold: total(Cache::Cold).or(total(Cache::Mixed)).unwrap_or(0),
        total_bytes_hot: total(Cache::Hot).unwrap_or(0),
        rounds: args.rounds,
        time_seconds: args.rounds.is_none().then_some(plan.time.as_secs_f64()),
        memory: plan.memory.name().to_owned(),
        nodes: pairs.to_vec(),
        cpu,
        evict_bytes: plan.evict_bytes as u64,
        layout_rounds: plan.layout_rounds,
        seed: plan.seed,
        preset: args.preset.and_then(|preset| Some(preset.to_possible_value()?.get_name().to_owned())),
        other,
    }
}
