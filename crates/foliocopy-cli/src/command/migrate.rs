//! `foliocopy migrate`: times copies inside `move_pages(2)`.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use foliocopy_measure::activity::Activity;
use foliocopy_measure::bench::Observer;
use foliocopy_measure::latency::TimeStampCounter;
use foliocopy_measure::memory::Available;
use foliocopy_measure::memory::base_page;
use foliocopy_measure::migrate::guard::{self, Guard};
use foliocopy_measure::migrate::{Method, MigrateError, Outcome, Plan, Stress, Stressed, smallest_thp};
use foliocopy_measure::result::{Contender, Origin, Parameters, Results, SCHEMA_VERSION};
use foliocopy_measure::size::Size;
use foliocopy_measure::statistics::rounds_needed;
use foliocopy_measure::topology::Topology;
use foliocopy_measure::verdict::Verdict;
use foliocopy_measure::warning::Warning;
use foliocopy_measure::{affinity, environment};

use crate::budget;
use crate::command;
use crate::command::bench::nodes::{self, NodeChoice};
use crate::exit::Exit;
use crate::export::ExportArgs;
use crate::interrupt::Interrupt;
use crate::printer::{self, Printer};
use crate::progress::Progress;
use crate::{conclusion, header, latency, matrix, table};

/// How long it takes at most unless told otherwise.
const TIME: Duration = Duration::from_secs(180);

/// Rounds unless told otherwise.
const ROUNDS: u32 = 21;

/// Memory that a node must have beside the moved pages: page tables, and the kernel's reserve.
const HEADROOM: u64 = 64 << 20;

/// The hidden switch by which this program starts the process that puts the kernel's settings back.
const GUARD: &str = "--put-settings-back";

/// Arguments of `foliocopy migrate`.
#[derive(clap::Args)]
#[command(after_help = "\
It sets the switches of transparent huge pages for each size, and, where foliocopy_livepatch.ko is loaded, the method \
that the kernel copies by, to compare both in shuffled order. A second process puts all of them back, however this one \
ends. Setting them, and counting folios, needs root.")]
pub(crate) struct Args {
    /// Bytes of a folio, a base page (mostly 4K) to 2M [default: 64K,128K,256K,512K,1M,2M]
    #[arg(long = "folio", value_name = "SIZE", value_delimiter = ',')]
    folios: Vec<Size>,
    /// Bytes moved a run, in whole folios
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    total: Size,
    /// Pairs SOURCE:DESTINATION of NUMA nodes, such as 0:1,1:0, or all [default: all]
    #[arg(long, value_name = "PAIRS", value_delimiter = ',')]
    nodes: Vec<NodeChoice>,
    /// Rounds; each method moves the memory there and back in each [default: 21, within 3m]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// A budget that decides the rounds, such as 90s or 5m
    #[arg(long, value_name = "DURATION", value_parser = budget::parse)]
    time: Option<Duration>,
    /// The CPU to call from [default: the last of the first source node]
    #[arg(long, value_name = "N")]
    cpu: Option<u32>,
    /// Seed of all that is shuffled and of the contents [default: another each time]
    #[arg(long)]
    seed: Option<u32>,
    /// Instead of measuring, move the memory to and fro for so many seconds while threads write and check it
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["rounds", "time"])]
    stress: Option<u64>,
    /// Threads that write and check under --stress [default: as many as CPUs]
    #[arg(long, value_name = "N", requires = "stress", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Move folios one by one, each by a call of its own, and keep the time of each: show the median, p99, p99.9 and the longest
    #[arg(long, conflicts_with = "stress")]
    latency: bool,
    /// Print the table and the verdict alone
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    exports: ExportArgs,
    /// The process that puts the kernel's settings back
    #[arg(long = "put-settings-back", hide = true)]
    put_settings_back: bool,
}

/// Measures or stresses, prints, exports.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    if args.put_settings_back {
        // The error is on standard output, where the parent process reads it.
        let good = guard::serve(io::stdin().lock(), io::stdout().lock()).is_ok();
        return Ok(if good { Exit::Good } else { Exit::Negative }.into());
    }
    let exports = args.exports.open()?;
    let topology = Topology::detect();
    let folios = folios(&args)?;
    let pairs = pairs(&args, &topology)?;
    let tight = check_memory(&args, &pairs, &topology)?;
    let environment = environment::detect()?;
    let counter = TimeStampCounter::detect();
    let cpu = choose_cpu(&args, &pairs, &topology)?;
    let printer = Printer { to_standard_error: exports.to_standard_output(), quiet: args.quiet };
    let mut before = Warning::about_environment(&environment, counter);
    // The counter is for latencies of single lines; here whole calls are timed.
    before.retain(|warning| !matches!(warning, Warning::TimeStampCounter(_)));
    before.extend(tight);

    let program = command::this_program()?;
    let mut guard = Guard::new(program, &["migrate", GUARD]);
    let interrupt = Interrupt::catch()?;
    if let Some(seconds) = args.stress {
        printer.warn(&before)?;
        let stress = stress(&args, folios, pairs, seconds);
        let stressed = stress.run(&mut guard, || interrupt.is_set());
        guard.restore()?;
        return report_stress(&printer, stressed);
    }
    if let Some(cpu) = cpu {
        affinity::pin(cpu).with_context(|| format!("can't stay on CPU {cpu}"))?;
    }
    let plan = plan(&args, folios, pairs);
    let parameters = parameters(&args, &plan, cpu);
    printer.aside(&format!("{}\n{}\n", header::environment(&environment), introduction(&parameters)))?;
    printer.warn(&before)?;

    let (started, clock, activity) = (SystemTime::now(), Instant::now(), Activity::start());
    let mut progress = Progress::new(plan.folios.len() * plan.pairs.len(), args.quiet, interrupt);
    let outcome = plan.run(&mut guard, |done, label| {
        progress.progress(done);
        progress.message(label);
        progress.interrupted()
    });
    progress.finish();
    guard.restore()?;
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => return negative_or_cannot_run(error),
    };
    if outcome.cells.is_empty() {
        printer::note("interrupted before a round was complete: nothing to show");
        return Ok(Exit::Interrupted.into());
    }
    let shares = activity.and_then(|activity| activity.shares());
    let mut after = shares.map(Warning::about_activity).unwrap_or_default();
    after.extend(about_outcome(&outcome));
    let mut results = Results {
        schema_version: SCHEMA_VERSION,
        program: crate::PROGRAM.to_owned(),
        command: "migrate".to_owned(),
        origin: Origin::UserSpace,
        started: humantime::format_rfc3339_seconds(started).to_string(),
        elapsed_seconds: clock.elapsed().as_secs_f64(),
        complete: outcome.complete,
        environment,
        parameters,
        warnings: vec![],
        cells: outcome.cells,
    };
    results.rate();
    let needed = rounds_needed(results.tests());
    if let Some(rounds) = results.cells.iter().map(|cell| cell.samples_gbps.len()).min()
        && rounds < needed
        && results.tests() > 0
    {
        after.push(Warning::FewRounds { rounds, needed, counted: true });
    }
    if !results.complete {
        after.push(Warning::Interrupted);
    }
    results.warnings = before.iter().chain(&after).map(ToString::to_string).collect();

    let saved = exports.write(&results);
    let verdict = Verdict::of(&results, Method::Foliocopy.name());
    printer.result(&what_came_of_it(&results, verdict.as_slice()))?;
    printer.result(&table::tables(&results, printer.width()))?;
    printer.result(&matrix::text(&results))?;
    printer.result(&latency::text(&results))?;
    printer.result(&conclusion::open_questions(verdict.as_slice()))?;
    printer.warn(&after)?;
    saved?;
    Ok(match (results.complete, verdict) {
        (false, _) => Exit::Interrupted,
        (true, Some(verdict)) if !verdict.is_good() => Exit::Negative,
        (true, _) => Exit::Good,
    }
    .into())
}

/// A wrong copy is a verdict, and anything else is something that this machine can't do.
fn negative_or_cannot_run(error: MigrateError) -> Result<ExitCode> {
    if !error.is_verdict() {
        return Err(error.into());
    }
    let style = anstyle::AnsiColor::Red.on_default().bold();
    printer::note(format_args!("{style}wrong:{style:#} {error}"));
    Ok(Exit::Negative.into())
}

fn folios(args: &Args) -> Result<Vec<u64>> {
    let (base, smallest) = (base_page() as u64, smallest_thp());
    let can_be_had =
        |folio: &u64| *folio == base || folio.is_power_of_two() && (smallest..=2 << 20).contains(folio);
    let mut folios: Vec<u64> = args.folios.iter().map(|folio| folio.0).collect();
    if folios.is_empty() {
        folios = (16..=21).map(|order| 1 << order).filter(can_be_had).collect();
    }
    if let Some(folio) = folios.iter().find(|folio| !can_be_had(folio)) {
        bail!(
            "a folio of {} can't be had: {} is a base page, and larger ones are powers of two from {} to 2M",
            Size(*folio),
            Size(base),
            Size(smallest)
        );
    }
    folios.sort_unstable();
    folios.dedup();
    Ok(folios)
}

/// Pairs of different nodes.
fn pairs(args: &Args, topology: &Topology) -> Result<Vec<(u32, u32)>> {
    let with_memory = topology.usable_nodes().len();
    ensure!(
        with_memory > 1,
        "this machine has one NUMA node, and pages migrate between two: \
         `cargo xtask vm migrate` runs this in a virtual machine that has three"
    );
    let all = [NodeChoice::All];
    let choices = if args.nodes.is_empty() { &all[..] } else { &args.nodes };
    for choice in choices {
        if let NodeChoice::Pair(src, dst) = choice
            && src == dst
        {
            bail!("nothing moves from node {src} to node {dst}: name two nodes");
        }
    }
    let mut pairs = nodes::pairs(choices, topology)?;
    pairs.retain(|(src, dst)| src != dst);
    Ok(pairs)
}

/// Refuses memory that no node can hold, and warns of memory that would push other memory out.
fn check_memory(args: &Args, pairs: &[(u32, u32)], topology: &Topology) -> Result<Vec<Warning>> {
    let wanted = args.total.0;
    let mut nodes: Vec<u32> = pairs.iter().flat_map(|(src, dst)| [*src, *dst]).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let available = Available::detect();
    ensure!(
        wanted <= available.bytes,
        "{} do not fit into the {} MiB of {} that are available: choose a smaller --total",
        args.total,
        available.bytes >> 20,
        available.what()
    );
    let mut warnings = Vec::new();
    for node in nodes.into_iter().filter_map(|id| topology.node(id)) {
        ensure!(
            wanted.saturating_add(HEADROOM) <= node.memory_bytes,
            "{} do not fit into node {}, which has {} MiB: choose a smaller --total",
            args.total,
            node.id,
            node.memory_bytes >> 20
        );
        if wanted + HEADROOM > node.free_bytes {
            warnings.push(Warning::Tight { node: node.id, free: node.free_bytes, wanted });
        }
    }
    Ok(warnings)
}

fn choose_cpu(args: &Args, pairs: &[(u32, u32)], topology: &Topology) -> Result<Option<u32>> {
    let allowed = affinity::allowed_cpus().context("can't find out which CPUs are allowed")?;
    if let Some(cpu) = args.cpu {
        let known = || allowed.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        ensure!(allowed.contains(&cpu), "CPU {cpu} can't be used: this process may run on {}", known());
        return Ok(Some(cpu));
    }
    let local = |cpu: &&u32| pairs.first().is_some_and(|(src, _)| topology.node_of_cpu(**cpu) == Some(*src));
    Ok(allowed.iter().rev().find(local).or(allowed.last()).copied())
}

fn seed(args: &Args) -> u64 {
    u64::from(args.seed.unwrap_or_else(|| fastrand::u32(..)))
}

fn plan(args: &Args, folios: Vec<u64>, pairs: Vec<(u32, u32)>) -> Plan {
    let (rounds, time) = match (args.rounds, args.time) {
        (None, None) => (ROUNDS, TIME),
        (rounds, time) => (rounds.unwrap_or(u32::MAX), time.unwrap_or(Duration::MAX)),
    };
    let methods = Method::of_this_kernel();
    let (total_bytes, seed, latency) = (args.total.0, seed(args), args.latency);
    Plan { folios, total_bytes, pairs, methods, rounds, time, seed, latency }
}

fn parameters(args: &Args, plan: &Plan, cpu: Option<u32>) -> Parameters {
    let contender = |method: &Method| Contender {
        name: method.name().to_owned(),
        description: method.description().to_owned(),
        loaded: None,
    };
    Parameters {
        baseline: Method::Stock.name().to_owned(),
        contenders: plan.methods.iter().map(contender).collect(),
        folio_bytes: plan.folios.clone(),
        rounds: args.rounds,
        time_seconds: args.rounds.is_none().then_some(plan.time.as_secs_f64()),
        memory: "aligned_alloc".to_owned(),
        nodes: plan.pairs.clone(),
        cpu,
        seed: plan.seed,
        other: [("total_bytes", Some(plan.total_bytes.to_string()))]
            .into_iter()
            .chain([("latency", plan.latency.then(|| "a call a folio".to_owned()))])
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect(),
        ..Parameters::default()
    }
}

/// The introduction.
fn introduction(parameters: &Parameters) -> String {
    let mut text = String::from("wall time of move_pages(2):\n");
    for contender in &parameters.contenders {
        text += &format!("  {:<9}  {}\n", contender.name, contender.description);
    }
    if parameters.contenders.len() == 1 {
        text += match cfg!(target_arch = "aarch64") {
            false => "  (to compare it with foliocopy, load the livepatch: `foliocopy kernel patch on`)\n",
            true => "  (the livepatch, by which it could be compared with foliocopy, is for x86-64 alone)\n",
        };
    }
    let cpu = parameters.cpu.map_or("any CPU".to_owned(), |cpu| format!("CPU {cpu}"));
    text + &format!("anonymous memory of aligned_alloc(), on {cpu}, seed {}\n", parameters.seed)
}

/// Warnings that the memory and the kernel's answers give reason for.
fn about_outcome(outcome: &Outcome) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut parts: BTreeMap<u64, f64> = BTreeMap::new();
    let mut unknown = false;
    for (folio_bytes, layout) in &outcome.layouts {
        match layout.part_of_size() {
            Some(part) => {
                let least = parts.entry(*folio_bytes).or_insert(1.0);
                *least = least.min(part);
            }
            None => unknown = true,
        }
    }
    warnings.extend(
        parts
            .into_iter()
            .filter(|(_, part)| *part < 1.0)
            .map(|(folio_bytes, part)| Warning::FolioSize { folio_bytes, part }),
    );
    if unknown {
        warnings.push(Warning::FoliosNotCounted);
    }
    warnings.extend(outcome.refused.iter().cloned().map(Warning::PagesRefused));
    warnings
}

/// The result of the checks, and the verdict.
fn what_came_of_it(results: &Results, verdict: &[Verdict<'_>]) -> String {
    let checked = "every byte and every page's node were right after each move\n";
    // Without the livepatch there is but one method, and no verdict.
    match verdict.is_empty() && !results.environment.emulated {
        true => format!("{checked}\n"),
        false => checked.to_owned() + &conclusion::text(results, verdict),
    }
}

fn stress(args: &Args, folios: Vec<u64>, pairs: Vec<(u32, u32)>, seconds: u64) -> Stress {
    let allowed = affinity::allowed_cpus().map_or(1, |cpus| cpus.len());
    Stress {
        folios,
        total_bytes: args.total.0,
        pairs,
        threads: args.threads.map_or(allowed.max(1), usize::from),
        time: Duration::from_secs(seconds),
        seed: seed(args),
    }
}

fn report_stress(printer: &Printer, stressed: Result<Stressed, MigrateError>) -> Result<ExitCode> {
    let stressed = match stressed {
        Ok(stressed) => stressed,
        Err(error) => return negative_or_cannot_run(error),
    };
    printer.result(&format!(
        "{} moves of {} MiB in all, {} pages left where they were since they were in use;\n\
         {} pages checked and written anew meanwhile, {} of them wrong\n",
        stressed.moves,
        stressed.moved_bytes >> 20,
        stressed.refused_pages,
        stressed.checked_pages,
        stressed.wrong_pages
    ))?;
    if let Some((folio_bytes, offset)) = stressed.first_wrong {
        printer
            .result(&format!("the first: byte {offset} of memory in folios of {}\n", Size(folio_bytes)))?;
    }
    Ok(match (stressed.is_good(), stressed.complete) {
        (false, _) => Exit::Negative,
        (true, false) => Exit::Interrupted,
        (true, true) => Exit::Good,
    }
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::sample;

    #[test]
    fn what_few_rounds_leave_open_is_said_by_cell() {
        let mut results = sample();
        for cell in &mut results.cells {
            cell.samples_gbps.truncate(4);
        }
        results.rate();
        let verdict = Verdict::of(&results, Method::Foliocopy.name());
        assert!(
            what_came_of_it(&results, verdict.as_slice()).contains("were right after each move\nfoliocopy: ")
        );
        let text = conclusion::open_questions(verdict.as_slice());
        assert_eq!(text.lines().filter(|line| line.starts_with("undecided: ")).count(), 2, "{text}");
    }
}
