//! Turns arguments into a plan, and into the parameters that results keep.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use foliocopy_measure::bench::{Case, Crew, LOAD, LoadPlan, Plan, Then, Until};
use foliocopy_measure::contender::{self, Contender};
use foliocopy_measure::eviction;
use foliocopy_measure::latency::TimeStampCounter;
use foliocopy_measure::result::{Cache, Parameters};
use foliocopy_measure::size::Size;
use foliocopy_measure::topology::Topology;
use foliocopy_measure::verdict::MINIMAL_EFFECT;
use foliocopy_measure::warning::Warning;

use super::preset::Preset;
use super::{Args, CacheChoice, Eviction, FOLIOS, PRECISE_TIME, ROUNDS, TIME, TOTAL_HOT, ThenChoice};

/// Bytes that a thread of load streams at least.
const LOAD_BYTES: usize = 64 << 20;

pub(super) fn plan(
    args: &Args,
    topology: &Topology,
    pairs: &[(u32, u32)],
    counter: TimeStampCounter,
    allowed: &[u32],
    cpu: Option<u32>,
) -> Result<Plan> {
    let parallel: Vec<String> =
        args.threads.iter().map(|threads| Contender::parallel_name(usize::from(*threads))).collect();
    let named = args.contenders.iter().chain(&parallel).map(String::as_str);
    let usual = contender::DEFAULT.into_iter().filter(|_| !args.alone);
    let contenders = Contender::all_named(usual.chain(named))?;
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
    let loads: Vec<Option<usize>> = match &loads(args)[..] {
        [] => vec![None],
        loads => loads.iter().copied().map(Some).collect(),
    };
    let mut cases = Vec::new();
    for &cache in caches {
        for &nodes in &places {
            for &load in &loads {
                for &folio_bytes in &folios {
                    let total_bytes = total(args, cache, folio_bytes, last_level_cache);
                    let scattered = args.scatter;
                    cases.push(Case { cache, folio_bytes, total_bytes, nodes, then, crew, scattered, load });
                }
            }
        }
    }
    let width = args.until_width.or(args.against.is_some().then_some(super::against::WIDTH));
    let (rounds, time) = match (args.rounds, args.time) {
        (None, None) if width.is_some() => (u32::MAX, PRECISE_TIME),
        (None, None) => (ROUNDS, TIME),
        (rounds, time) => (rounds.unwrap_or(u32::MAX), time.unwrap_or(Duration::MAX)),
    };
    let others = |case: &Case| contenders.iter().filter(|contender| case.includes(contender)).count() - 1;
    let until = width.map(|width| Until {
        baseline: contender::BASELINE.to_owned(),
        width,
        tests: cases.iter().map(others).sum(),
    });
    let Eviction { how: evict, bytes: evict_bytes } = args.evict.unwrap_or_default();
    let evict_bytes =
        evict_bytes.map_or_else(|| eviction::default_bytes(topology.last_level_cache()), |size| size.0);
    Ok(Plan {
        contenders,
        cases,
        lineups: vec![],
        rounds,
        time,
        memory: args.memory,
        evict_bytes: usize::try_from(evict_bytes).context("--evict exceeds the address space")?,
        evict,
        layout_rounds: args.layout_rounds,
        until,
        seed: u64::from(args.seed.unwrap_or_else(|| fastrand::u32(..))),
        counter,
        cpus: allowed.to_vec(),
        latency: args.latency,
        load: LoadPlan {
            cpus: beside(cpu, allowed),
            // A stream that stays in the cache loads no memory.
            bytes: usize::try_from(last_level_cache.saturating_mul(2)).unwrap_or(usize::MAX).max(LOAD_BYTES),
        },
    })
}

/// The numbers of threads that `--load` names, each once, the fewest first.
fn loads(args: &Args) -> Vec<usize> {
    let mut loads: Vec<usize> = args.load.iter().flat_map(|choice| choice.first..=choice.last).collect();
    loads.sort_unstable();
    loads.dedup();
    loads
}

/// The CPUs for what loads the memory: all but the copying one, if there are others.
fn beside(cpu: Option<u32>, allowed: &[u32]) -> Vec<u32> {
    let others: Vec<u32> = allowed.iter().copied().filter(|other| Some(*other) != cpu).collect();
    if others.is_empty() { allowed.to_vec() } else { others }
}

/// What is wrong with the load that is asked for.
pub(super) fn about_load(plan: &Plan) -> Option<Warning> {
    let threads = plan.cases.iter().filter_map(|case| case.load).max()?;
    let free = plan.cpus.len().saturating_sub(1);
    (threads > free).then_some(Warning::LoadWithoutCpus { threads, free })
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
        // Bytes that push out half the cache.
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

pub(super) fn parameters(args: &Args, plan: &Plan, pairs: &[(u32, u32)], cpu: Option<u32>) -> Parameters {
    let total =
        |cache| plan.cases.iter().filter(|case| case.cache == cache).map(|case| case.total_bytes).max();
    let mut caches: Vec<Cache> = plan.cases.iter().map(|case| case.cache).collect();
    caches.dedup();
    let mut folio_bytes: Vec<u64> = plan.cases.iter().map(|case| case.folio_bytes).collect();
    folio_bytes.sort_unstable();
    folio_bytes.dedup();
    let mut other = BTreeMap::new();
    if let Some(then) = args.then.and_then(|then| then.to_possible_value()) {
        other.insert("then".to_owned(), then.get_name().to_owned());
    }
    if args.scatter {
        other.insert("folios".to_owned(), "scattered".to_owned());
    }
    if args.latency {
        other.insert("latency".to_owned(), "every copy timed".to_owned());
    }
    let loads: Vec<String> = loads(args).iter().map(usize::to_string).collect();
    if !loads.is_empty() {
        other.insert(LOAD.to_owned(), loads.join(","));
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
        evict: plan.evict,
        layout_rounds: plan.layout_rounds,
        seed: plan.seed,
        minimal_effect: (args.bounds.threshold != MINIMAL_EFFECT).then_some(args.bounds.threshold),
        preset: args.preset.and_then(|preset| Some(preset.to_possible_value()?.get_name().to_owned())),
        other,
    }
}
