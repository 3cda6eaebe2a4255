//! `foliocopy kernel bench`: the RFC's benchmark inside the kernel, with the kernel's copies, foliocopy's, and each
//! primitive.

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use foliocopy_measure::activity::Activity;
use foliocopy_measure::bench::{Case, Crew};
use foliocopy_measure::kernel::{self, BASELINE, DEFAULT, LARGEST_FOLIO, Plan};
use foliocopy_measure::kit::Scenario;
use foliocopy_measure::latency::TimeStampCounter;
use foliocopy_measure::memory::MemoryKind;
use foliocopy_measure::result::{Cache, Origin, Parameters, Results, SCHEMA_VERSION};
use foliocopy_measure::size::Size;
use foliocopy_measure::topology::Topology;
use foliocopy_measure::verdict::Verdict;
use foliocopy_measure::warning::Warning;
use foliocopy_measure::{affinity, environment, eviction};

use super::{debugfs, livepatch, module};
use crate::budget;
use crate::command::bench::nodes::{self, NodeChoice};
use crate::exit::Exit;
use crate::export::ExportArgs;
use crate::interrupt::Interrupt;
use crate::printer::{self, Printer};
use crate::progress::Progress;
use crate::{conclusion, header, latency, matrix, table};

/// The folios that are measured unless told otherwise.
const FOLIOS: [u64; 6] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 2 << 20];

/// Bytes a sample when hot.
const TOTAL_HOT: u64 = 16 << 20;

/// Rounds unless told otherwise.
const ROUNDS: u32 = 41;

/// How long it takes at most unless told otherwise.
const TIME: Duration = Duration::from_secs(60);

/// How long a scenario of AMD's kit takes at most unless told otherwise: it evicts before each copy.
const KIT_TIME: Duration = Duration::from_secs(300);

/// The module takes no more.
const MOST_CONTENDERS: usize = 16;

/// Arguments of `foliocopy kernel bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Add a contender: a primitive that kernels may use (rep_movsb, rep_movsq, movq, movnti, movdir64b) for a folio in
    /// one piece, page:PRIMITIVE for page by page, -mc after it for the machine-check-safe variant
    #[arg(long = "contender", value_name = "NAME")]
    contenders: Vec<String>,
    /// Add contenders that copy lists of so many folios, as migration has them: one fence for all, the next folio prefetched
    #[arg(long = "batch", value_name = "FOLIOS", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1 << 18))]
    batches: Vec<u32>,
    /// A scenario of AMD's folio-bench-kit, in rounds: one folio again and again, each copy timed by itself; sizes given beside it
    /// prevail
    #[arg(long, value_enum, conflicts_with = "cache")]
    preset: Option<Preset>,
    /// State of the caches before each sample [default: both]
    #[arg(long, value_enum)]
    cache: Option<CacheChoice>,
    /// Bytes of a folio, powers of two from 4K to 4M [default: 4K,16K,64K,256K,1M,2M]
    #[arg(long = "folio", value_name = "SIZE", value_delimiter = ',')]
    folios: Vec<Size>,
    /// Bytes copied a sample, in whole folios, one at least [default: cold as many as the last-level cache
    /// holds, up to 64M; 16M hot]
    #[arg(long, value_name = "SIZE")]
    total: Option<Size>,
    /// Rounds; each contender runs once in each [default: 41, within 60s, or 5m with --preset]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rounds: Option<u32>,
    /// A budget that decides the rounds, such as 90s or 5m
    #[arg(long, value_name = "DURATION", value_parser = budget::parse)]
    time: Option<Duration>,
    /// The CPU to copy on [default: the last of the first source node]
    #[arg(long, value_name = "N")]
    cpu: Option<u32>,
    /// Pairs SOURCE:DESTINATION of NUMA nodes, such as 0:1,0:2, or all; nodes without CPUs too [default: the local node]
    #[arg(long, value_name = "PAIRS", value_delimiter = ',')]
    nodes: Vec<NodeChoice>,
    /// Keep the time of every copy: show the median, p99, p99.9 and the longest, and the first copy after each eviction apart.
    /// Each copy is timed by itself then, so that the throughput has the clock's own time in it
    #[arg(long)]
    latency: bool,
    /// Bytes streamed through the caches before each cold sample, up to 1G [default: 128M, or 4 times the last-level cache
    /// if larger]
    #[arg(long, value_name = "SIZE")]
    evict: Option<Size>,
    /// Seed of all that is shuffled and resampled [default: another each time]
    #[arg(long)]
    seed: Option<u32>,
    /// Print the table and the verdict alone
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    exports: ExportArgs,
}

/// `--preset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// 2M a sample, hot
    KitA,
    /// 2M a sample, eight copies at most, evicted before each
    KitB,
    /// 1G a sample, hot
    KitC,
    /// 1G a sample, 32 copies at most, evicted before each; folios of 256K and more
    KitD,
}

impl Preset {
    fn scenario(self) -> Scenario {
        match self {
            Self::KitA => Scenario::A,
            Self::KitB => Scenario::B,
            Self::KitC => Scenario::C,
            Self::KitD => Scenario::D,
        }
    }

    fn name(self) -> Option<String> {
        Some(self.to_possible_value()?.get_name().to_owned())
    }
}

/// `--cache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CacheChoice {
    /// Evicted before each sample
    Cold,
    /// One folio, copied again and again
    Hot,
    /// Cold and hot in turn
    Both,
}

impl CacheChoice {
    fn caches(self) -> &'static [Cache] {
        match self {
            Self::Cold => &[Cache::Cold],
            Self::Hot => &[Cache::Hot],
            Self::Both => &[Cache::Cold, Cache::Hot],
        }
    }
}

/// Measures, prints, exports.
pub(super) fn run(args: Args) -> Result<ExitCode> {
    let topology = Topology::detect();
    let folios = folios(&args)?;
    let pairs = nodes::pairs(&args.nodes, &topology)?;
    let contenders = contenders(&args)?;
    let exports = args.exports.open()?;
    let folder = debugfs::folder()?;
    livepatch::require_own_functions()?;
    let mut environment = environment::detect()?;
    environment.tables = kernel::policy(&folder).context("can't read the module's policy")?;
    let cpu = choose_cpu(&args, &pairs, &topology)?;
    affinity::pin(cpu).with_context(|| format!("can't stay on CPU {cpu}"))?;
    let local = topology.node_of_cpu(cpu).unwrap_or(0);
    let pairs = if pairs.is_empty() { vec![(local, local)] } else { pairs };
    let plan = plan(&args, contenders, folios, &pairs, &topology);
    ensure!(
        plan.evict_bytes <= 1 << 30,
        "--evict {} is more than the module takes: up to 1G",
        Size(plan.evict_bytes)
    );
    let parameters = parameters(&args, &plan, &pairs, cpu);

    let printer = Printer { to_standard_error: exports.to_standard_output(), quiet: args.quiet };
    let counter = TimeStampCounter::detect();
    let mut before = Warning::about_environment(&environment, counter);
    // The kernel has a clock of its own, and this program only reads the kernel's samples.
    before.retain(|warning| !matches!(warning, Warning::TimeStampCounter(_) | Warning::DebugBuild));
    printer.aside(&format!(
        "{}\nthe module copies ({}):\n{}\n{}\n",
        header::environment(&environment),
        environment.tables.source,
        header::tables(&environment.tables, None),
        header::parameters(&parameters)
    ))?;
    printer.warn(&before)?;

    let interrupt = Interrupt::catch()?;
    let (started, clock, activity) = (SystemTime::now(), Instant::now(), Activity::start());
    let mut progress = Progress::new(plan.cases.len(), args.quiet, interrupt);
    let outcome = plan.run(&folder, &mut progress);
    progress.finish();
    let outcome = outcome.map_err(module::where_locked_down)?;
    if outcome.cells.is_empty() {
        printer::note("interrupted before a round was complete: nothing to show");
        return Ok(Exit::Interrupted.into());
    }
    let mut results = Results {
        schema_version: SCHEMA_VERSION,
        program: crate::PROGRAM.to_owned(),
        command: "kernel bench".to_owned(),
        origin: Origin::Kernel,
        started: humantime::format_rfc3339_seconds(started).to_string(),
        elapsed_seconds: clock.elapsed().as_secs_f64(),
        complete: outcome.complete,
        environment,
        parameters,
        warnings: vec![],
        cells: outcome.cells,
    };
    results.rate();
    let shares = activity.and_then(|activity| activity.shares());
    let mut after = shares.map(Warning::about_activity).unwrap_or_default();
    after.extend(Warning::about_cells(&results, MemoryKind::Anon));
    results.warnings = before.iter().chain(&after).map(ToString::to_string).collect();

    let saved = exports.write(&results);
    let verdicts = Verdict::all(&results);
    printer.result(&conclusion::text(&results, &verdicts))?;
    printer.result(&table::tables(&results, printer.width()))?;
    printer.result(&matrix::text(&results))?;
    printer.result(&latency::text(&results))?;
    printer.result(&conclusion::open_questions(&verdicts))?;
    printer.warn(&after)?;
    saved?;
    Ok(match (results.complete, verdicts.iter().all(Verdict::is_good)) {
        (false, _) => Exit::Interrupted,
        (true, false) => Exit::Negative,
        (true, true) => Exit::Good,
    }
    .into())
}

fn folios(args: &Args) -> Result<Vec<u64>> {
    let mut folios: Vec<u64> = args.folios.iter().map(|folio| folio.0).collect();
    if folios.is_empty() {
        folios = args.preset.map_or(&FOLIOS[..], |preset| preset.scenario().folios()).to_vec();
    }
    for folio in &folios {
        ensure!(
            folio.is_power_of_two() && (4 << 10..=LARGEST_FOLIO).contains(folio),
            "a folio of {} can't be had from the kernel: powers of two from 4K to {}",
            Size(*folio),
            Size(LARGEST_FOLIO)
        );
    }
    folios.sort_unstable();
    folios.dedup();
    Ok(folios)
}

/// All contenders, each once, and no more than the module takes. The module itself refuses an unknown name.
fn contenders(args: &Args) -> Result<Vec<String>> {
    let mut contenders: Vec<String> = DEFAULT.map(str::to_owned).to_vec();
    let batches = args.batches.iter().map(|folios| format!("batch:{folios}"));
    for name in args.contenders.iter().cloned().chain(batches) {
        ensure!(
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte)),
            "`{name}` is no contender: write a primitive such as movnti, page:movnti or movnti-mc"
        );
        if !contenders.contains(&name) {
            contenders.push(name);
        }
    }
    ensure!(
        contenders.len() <= MOST_CONTENDERS,
        "{} contenders are more than the module takes: {MOST_CONTENDERS}",
        contenders.len()
    );
    Ok(contenders)
}

fn choose_cpu(args: &Args, pairs: &[(u32, u32)], topology: &Topology) -> Result<u32> {
    let allowed = affinity::allowed_cpus().context("can't find out which CPUs are allowed")?;
    let known = || allowed.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    if let Some(cpu) = args.cpu {
        ensure!(allowed.contains(&cpu), "CPU {cpu} can't be used: this process may run on {}", known());
        return Ok(cpu);
    }
    let local = |cpu: &&u32| pairs.first().is_some_and(|(src, _)| topology.node_of_cpu(**cpu) == Some(*src));
    allowed.iter().rev().find(local).or(allowed.last()).copied().context("no CPU is allowed")
}

fn plan(
    args: &Args,
    contenders: Vec<String>,
    folios: Vec<u64>,
    pairs: &[(u32, u32)],
    topology: &Topology,
) -> Plan {
    let scenario = args.preset.map(Preset::scenario);
    let mut cases = Vec::new();
    for cache in caches(args) {
        let total_bytes = match (args.total, scenario, cache) {
            (Some(total), ..) => total.0,
            (None, Some(scenario), _) => scenario.total_bytes(),
            (None, None, Cache::Hot) => TOTAL_HOT,
            (None, None, _) => eviction::cold_run_bytes(topology.last_level_cache()),
        };
        for &nodes in pairs {
            cases.extend(folios.iter().map(|&folio_bytes| Case {
                cache,
                folio_bytes,
                total_bytes,
                nodes: Some(nodes),
                then: None,
                crew: Crew::One,
                scattered: false,
                load: None,
            }));
        }
    }
    let (rounds, time) = match (args.rounds, args.time) {
        (None, None) => (ROUNDS, if scenario.is_some() { KIT_TIME } else { TIME }),
        (rounds, time) => (rounds.unwrap_or(1_000_000), time.unwrap_or(Duration::MAX)),
    };
    let evict_bytes = match (args.evict, scenario) {
        (Some(size), _) => size.0,
        (None, Some(scenario)) => scenario.evict_bytes(),
        (None, None) => eviction::default_bytes(topology.last_level_cache()),
    };
    let seed = u64::from(args.seed.unwrap_or_else(|| fastrand::u32(..)));
    Plan { contenders, cases, rounds, time, evict_bytes, seed, latency: args.latency, scenario }
}

fn caches(args: &Args) -> Vec<Cache> {
    match args.preset {
        Some(preset) => vec![preset.scenario().cache()],
        None => args.cache.unwrap_or(CacheChoice::Both).caches().to_vec(),
    }
}

fn parameters(args: &Args, plan: &Plan, pairs: &[(u32, u32)], cpu: u32) -> Parameters {
    let total = |cache| plan.cases.iter().find(|case| case.cache == cache).map_or(0, |case| case.total_bytes);
    let mut folio_bytes: Vec<u64> = plan.cases.iter().map(|case| case.folio_bytes).collect();
    folio_bytes.sort_unstable();
    folio_bytes.dedup();
    Parameters {
        baseline: BASELINE.to_owned(),
        contenders: plan.contenders.iter().map(|name| kernel::describe(name)).collect(),
        cache: caches(args),
        folio_bytes,
        total_bytes_cold: total(Cache::Cold),
        total_bytes_hot: total(Cache::Hot),
        rounds: args.rounds,
        time_seconds: args.rounds.is_none().then_some(plan.time.as_secs_f64()),
        memory: "kernel".to_owned(),
        nodes: pairs.to_vec(),
        cpu: Some(cpu),
        evict_bytes: plan.evict_bytes,
        seed: plan.seed,
        preset: args.preset.and_then(Preset::name),
        other: args
            .latency
            .then(|| ("latency".to_owned(), "every copy timed".to_owned()))
            .into_iter()
            .collect(),
        ..Parameters::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::sample;

    #[test]
    fn what_few_rounds_leave_open_is_said_by_cell() {
        let mut results = sample();
        results.origin = Origin::Kernel;
        for cell in &mut results.cells {
            cell.samples_gbps.truncate(4);
            cell.seconds = Some(2.0);
        }
        results.rate();
        let text = conclusion::open_questions(&Verdict::all(&results));
        for state in ["cold", "hot"] {
            let line = text.lines().find(|line| line.starts_with(&format!("undecided: {state} 64K 0->0 ")));
            assert!(line.is_some_and(|line| line.contains(" s) would tell")), "{text}");
        }
        results.environment.emulated = true;
        let text = conclusion::text(&results, &Verdict::all(&results));
        assert!(text.starts_with("no verdict: the CPU is emulated"), "{text}");
    }
}
