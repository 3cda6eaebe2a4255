//! Reasons to doubt a result, each with what to do about it.

use std::fmt;

use crate::activity::Shares;
use crate::gate;
use crate::latency::TimeStampCounter;
use crate::memory::{MemoryKind, base_page};
use crate::result::{CpuIdentity, Environment, Results};
use crate::size::Size;

/// Above this share of all CPU time, others disturb.
const DISTURBING_SHARE: f64 = 0.05;

/// A cold source whose lines come faster than this many times the hot ones is not cold.
const COLD_FACTOR: f64 = 2.0;

/// Advice for the owner of a CPU that was never measured.
pub const UNMEASURED_ADVICE: &str = "`foliocopy tune` writes a profile of it in a minute. `foliocopy survey` measures all that a \
     table can have: send its file, and the next version knows the CPU (CONTRIBUTING.md).";

/// A reason to doubt a result.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// An emulator interprets the CPU.
    Emulated,
    /// The program was built without optimization.
    DebugBuild,
    /// Other processes used the CPUs meanwhile.
    Busy {
        /// Their share of all CPU time.
        share: f64,
    },
    /// The hypervisor ran somebody else meanwhile.
    Stolen {
        /// Their share of all CPU time.
        share: f64,
    },
    /// Fewer huge pages than the kind of memory should have.
    NoHugePages {
        /// What was asked for.
        kind: MemoryKind,
        /// The part that lies in huge pages.
        part: f64,
        /// The mode of transparent huge pages, where there is one.
        mode: Option<String>,
        /// Bytes of a base page of this system.
        base_page: usize,
    },
    /// Pages lie elsewhere than they were asked to.
    WrongNode {
        /// The part that lies where it should.
        part: f64,
    },
    /// The governor may lower the frequency.
    Governor(String),
    /// The kernel may move the pages while they are measured.
    NumaBalancing,
    /// A cgroup may stop the process in the middle of a round.
    CpuQuota {
        /// The CPUs' worth of time that it gives.
        cpus: f64,
    },
    /// The kernel copies by other features than the CPU reports.
    KernelFeatures {
        /// What it does without.
        lacks: Vec<String>,
        /// What it believes in.
        adds: Vec<String>,
    },
    /// A file system that tells about the machine is not there.
    Unmounted(String),
    /// An environment variable or a profile was left aside.
    LeftAside(String),
    /// Threads that load the memory have too few CPUs.
    LoadWithoutCpus {
        /// The most threads that are asked for.
        threads: usize,
        /// How many CPUs there are beside that of the copies.
        free: usize,
    },
    /// No measured table fits the CPU, so that the general rule decides.
    Unmeasured,
    /// Latencies can't be sampled.
    TimeStampCounter(&'static str),
    /// What should be cold is not much slower to load than what should be hot.
    ColdLikeHot {
        /// Median latency of cold lines, in cycles.
        cold: f64,
        /// Median latency of hot lines, in cycles.
        hot: f64,
    },
    /// A folio and its copy do not fit the last-level cache, so what is called hot comes from memory.
    NotHot {
        /// Bytes of the folio.
        folio_bytes: u64,
    },
    /// Too few rounds for the corrected intervals to exclude 1.
    FewRounds {
        /// The fewest rounds of a cell.
        rounds: usize,
        /// How many it takes.
        needed: usize,
        /// Whether the run takes `--rounds`: a gate gives each cell rounds of its own.
        counted: bool,
    },
    /// Less than all of the memory lay in folios of the size that was asked for.
    FolioSize {
        /// The size.
        folio_bytes: u64,
        /// The part that did.
        part: f64,
    },
    /// In which folios memory lay is hidden.
    FoliosNotCounted,
    /// The memory does not fit into what a node has free.
    Tight {
        /// The node.
        node: u32,
        /// Bytes that are free there.
        free: u64,
        /// Bytes that are wanted there.
        wanted: u64,
    },
    /// The kernel did not move some pages.
    PagesRefused(String),
    /// It was stopped early.
    Interrupted,
}

impl Warning {
    /// Reasons to doubt the machine, before anything is measured.
    pub fn about_environment(environment: &Environment, counter: TimeStampCounter) -> Vec<Self> {
        let mut warnings = Vec::new();
        if environment.emulated {
            warnings.push(Self::Emulated);
        }
        if cfg!(debug_assertions) {
            warnings.push(Self::DebugBuild);
        }
        if let Some(governor) = environment.governor.as_ref().filter(|governor| *governor != "performance") {
            warnings.push(Self::Governor(governor.clone()));
        }
        if environment.numa_balancing == Some(true) && environment.nodes.len() > 1 {
            warnings.push(Self::NumaBalancing);
        }
        if let Some(cpus) = environment.cpu_quota
            && cpus < f64::from(environment.cpu.online_cpus)
        {
            warnings.push(Self::CpuQuota { cpus });
        }
        let CpuIdentity { kernel_lacks: lacks, kernel_adds: adds, .. } = &environment.cpu;
        if !lacks.is_empty() || !adds.is_empty() {
            warnings.push(Self::KernelFeatures { lacks: lacks.clone(), adds: adds.clone() });
        }
        warnings.extend(environment.unmounted.iter().cloned().map(Self::Unmounted));
        warnings.extend(environment.left_aside.iter().cloned().map(Self::LeftAside));
        if environment.tables.general && !environment.emulated {
            warnings.push(Self::Unmeasured);
        }
        if let TimeStampCounter::Unusable(reason) = counter {
            warnings.push(Self::TimeStampCounter(reason));
        }
        warnings
    }

    /// What others did meanwhile.
    pub fn about_activity(shares: Shares) -> Vec<Self> {
        let mut warnings = Vec::new();
        if shares.others > DISTURBING_SHARE {
            warnings.push(Self::Busy { share: shares.others });
        }
        if shares.stolen > DISTURBING_SHARE {
            warnings.push(Self::Stolen { share: shares.stolen });
        }
        warnings
    }

    /// Reasons to doubt that the cells give away.
    pub fn about_cells(results: &Results, kind: MemoryKind) -> Vec<Self> {
        use crate::result::{Cache, Cell};
        use crate::statistics::{median, rounds_needed};

        let mut warnings = Vec::new();
        let given = || results.cells.iter().filter_map(|cell| cell.memory.as_ref());
        let bytes: u64 = given().map(|given| given.bytes).sum();
        let huge: u64 = given().map(|given| given.huge_bytes).sum();
        // Where it lies is known from /proc.
        let is_known = !results.environment.unmounted.iter().any(|folder| folder == "/proc");
        if kind != MemoryKind::Anon && bytes > 0 && huge < bytes && is_known {
            let mode = results.environment.transparent_hugepages.clone();
            let (part, base_page) = (huge as f64 / bytes as f64, base_page());
            warnings.push(Self::NoHugePages { kind, part, mode, base_page });
        }
        let bound: u64 = given().filter(|given| given.on_node_bytes.is_some()).map(|given| given.bytes).sum();
        let on_node: u64 = given().filter_map(|given| given.on_node_bytes).sum();
        if on_node < bound {
            warnings.push(Self::WrongNode { part: on_node as f64 / bound as f64 });
        }
        let last_level_cache = results.environment.cpu.caches.iter().map(|cache| cache.bytes).max();
        let fits = |cell: &Cell| last_level_cache.is_none_or(|cache| 2 * cell.folio_bytes <= cache);
        let hot = || results.cells.iter().filter(|cell| cell.cache == Some(Cache::Hot));
        if let Some(folio_bytes) = hot().filter(|cell| !fits(cell)).map(|cell| cell.folio_bytes).min() {
            warnings.push(Self::NotHot { folio_bytes });
        }
        let middle =
            |samples: &mut dyn Iterator<Item = u32>| median(&samples.map(f64::from).collect::<Vec<_>>());
        let cold = middle(&mut results.cells.iter().flat_map(Cell::cold_loads));
        let hot = middle(&mut results.cells.iter().filter(|cell| fits(cell)).flat_map(Cell::hot_loads));
        if let (Some(cold), Some(hot)) = (cold, hot)
            && cold < COLD_FACTOR * hot
        {
            warnings.push(Self::ColdLikeHot { cold, hot });
        }
        let needed = rounds_needed(results.tests());
        if let Some(rounds) = results.cells.iter().map(|cell| cell.samples_gbps.len()).min()
            && rounds < needed
            && results.tests() > 0
        {
            let counted = results.command != gate::COMMAND;
            warnings.push(Self::FewRounds { rounds, needed, counted });
        }
        if !results.complete {
            warnings.push(Self::Interrupted);
        }
        warnings
    }

    /// What to do about it.
    pub fn advice(&self) -> String {
        match self {
            Self::Emulated => "Throughput is not shown. Run on the CPU itself or under KVM.".into(),
            Self::DebugBuild => "Use `cargo run --release`.".into(),
            Self::Busy { .. } => "Stop what else runs here, or add rounds with --time.".into(),
            Self::Stolen { .. } => "Ratios within a round still hold; add rounds with --time.".into(),
            Self::NoHugePages { base_page, .. } if *base_page > 4 << 10 => format!(
                "Where pages have {}, huge ones have more than 2M: use --memory hugetlb.",
                Size(*base_page as u64)
            ),
            Self::NoHugePages { kind: MemoryKind::Memfd, .. } => {
                "Allow them: `echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled`.".into()
            }
            Self::NoHugePages { mode, .. } if mode.as_deref() == Some("never") => {
                "Allow them: `echo madvise > /sys/kernel/mm/transparent_hugepage/enabled`.".into()
            }
            Self::NoHugePages { .. } => {
                "Memory may be fragmented: `echo 1 > /proc/sys/vm/compact_memory`, or use --memory hugetlb."
                    .into()
            }
            Self::WrongNode { .. } => {
                "Free memory on the node, or choose smaller --folio and --total.".into()
            }
            Self::Governor(_) => "Set it: `cpupower frequency-set -g performance`.".into(),
            Self::NumaBalancing => "Switch it off: `sysctl kernel.numa_balancing=0`.".into(),
            Self::CpuQuota { .. } => {
                "Throttled rounds are slower: lift the quota (cpu.max, cpu.cfs_quota_us), or measure outside."
                    .into()
            }
            Self::KernelFeatures { .. } => {
                "The contenders that stand for the kernel copy as it does, the others by what CPUID reports."
                    .into()
            }
            Self::Unmounted(folder) => format!("Mount {folder}; what it would tell is unknown."),
            Self::LeftAside(_) => "It changes nothing: correct it or unset it.".into(),
            Self::LoadWithoutCpus { free: 0, .. } => {
                "They take the time of the copies: allow this process another CPU, or leave --load out."
                    .into()
            }
            Self::LoadWithoutCpus { free, .. } => {
                format!("More threads than CPUs load the memory no further: use --load 0-{free}.")
            }
            Self::Unmeasured => UNMEASURED_ADVICE.into(),
            Self::TimeStampCounter(_) => {
                "Cold is not proved; compare the cold and the hot throughput.".into()
            }
            Self::ColdLikeHot { .. } => {
                "Raise --evict if the cold ones are fast, lower --total if the hot ones are slow.".into()
            }
            Self::NotHot { .. } => "Read these rows as copies between cache and memory.".into(),
            Self::FewRounds { counted: false, .. } => "Use a longer --time.".into(),
            Self::FewRounds { needed, .. } => format!("Use --rounds {needed} or more, or a longer --time."),
            Self::FolioSize { .. } => {
                "Free memory may be fragmented: `echo 1 > /proc/sys/vm/compact_memory`.".into()
            }
            Self::FoliosNotCounted => "Run as root to have them counted.".into(),
            Self::Tight { .. } => "Choose a smaller --total, or `echo 1 > /proc/sys/vm/drop_caches`.".into(),
            Self::PagesRefused(_) => "Only what moved is counted. Stop what else uses the memory.".into(),
            Self::Interrupted => "What is shown was measured until then.".into(),
        }
    }
}

/// One sentence without the advice.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: &f64| (share * 100.0).floor();
        match self {
            Self::Emulated => write!(f, "This CPU is emulated: its timings say nothing about copies."),
            Self::DebugBuild => write!(f, "This program was built without optimization."),
            Self::Busy { share } => {
                write!(f, "Other processes took {} % of the machine's CPU time meanwhile.", percent(share))
            }
            Self::Stolen { share } => {
                write!(f, "The hypervisor took {} % of the CPU time for others meanwhile.", percent(share))
            }
            Self::NoHugePages { kind, part, .. } => {
                write!(f, "Only {} % of the {kind} memory lay in huge pages.", percent(part))
            }
            Self::WrongNode { part } => {
                write!(f, "Only {} % of the memory lay on the node that was asked for.", percent(part))
            }
            Self::FolioSize { folio_bytes, part } => {
                let size = Size(*folio_bytes);
                write!(f, "Only {} % of the memory lay in folios of {size}.", percent(part))
            }
            Self::FoliosNotCounted => {
                write!(f, "Whether the memory lay in folios of the size that was asked for is not known.")
            }
            Self::Tight { node, free, wanted } => {
                write!(f, "Node {node} has {} MiB free, and {} MiB go there.", free >> 20, wanted >> 20)
            }
            Self::PagesRefused(what) => write!(f, "The kernel did not move everything: {what}."),
            Self::Governor(governor) => {
                write!(f, "The frequency governor is `{governor}`, so the CPU may change its speed.")
            }
            Self::NumaBalancing => {
                write!(f, "NUMA balancing is on and may move pages while they are measured.")
            }
            Self::CpuQuota { cpus } => {
                write!(f, "A cgroup gives this process the time of {cpus:.2} CPUs, and stops it beyond that.")
            }
            Self::KernelFeatures { lacks, adds } => {
                let parts = [("does without", lacks), ("believes in", adds)];
                let parts = parts.iter().filter(|(_, names)| !names.is_empty());
                let parts: Vec<String> =
                    parts.map(|(what, names)| format!("{what} {}", names.join(" and "))).collect();
                write!(f, "Other than CPUID, the kernel {}.", parts.join(", and "))
            }
            Self::Unmounted(folder) => write!(f, "{folder} is not mounted."),
            Self::LeftAside(problem) => write!(f, "{problem}."),
            Self::LoadWithoutCpus { threads, free } => {
                let of_threads = if *threads == 1 {
                    "1 thread of load has"
                } else {
                    &format!("{threads} threads of load have")
                };
                let cpus = if *free == 1 { "CPU" } else { "CPUs" };
                write!(f, "{of_threads} {free} {cpus} beside that of the copies.")
            }
            Self::Unmeasured => write!(f, "No measured table fits this CPU: the general rule decides."),
            Self::TimeStampCounter(reason) => {
                write!(f, "The time-stamp counter can't be used: {reason}.")
            }
            Self::ColdLikeHot { cold, hot } => {
                write!(
                    f,
                    "Cold lines took {cold:.0} cycles to load, hot ones {hot:.0}: the two don't differ."
                )
            }
            Self::NotHot { folio_bytes } => {
                write!(
                    f,
                    "A folio of {} and its copy do not fit the last-level cache: part of them comes from memory.",
                    Size(*folio_bytes)
                )
            }
            Self::FewRounds { rounds, needed, .. } => {
                let noun = if *rounds == 1 { "round" } else { "rounds" };
                write!(f, "{rounds} {noun} can't tell a difference in so many cells; it takes {needed}.")
            }
            Self::Interrupted => write!(f, "The measurement was interrupted and is incomplete."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::tests::sample;
    use crate::result::{Cache, CacheLevel, MemoryGiven, Node};

    const COUNTER: TimeStampCounter = TimeStampCounter::Usable(1_000_000_000);

    #[test]
    fn a_good_machine_gets_no_warning() {
        let environment = Environment { governor: Some("performance".into()), ..Environment::default() };
        let mut warnings = Warning::about_environment(&environment, COUNTER);
        warnings.retain(|warning| *warning != Warning::DebugBuild);
        assert_eq!(warnings, []);
        assert_eq!(Warning::about_activity(Shares { others: 0.01, stolen: 0.0 }), []);
    }

    #[test]
    fn every_doubt_about_the_machine_is_raised() {
        let node = |id| Node { id, ..Node::default() };
        let environment = Environment {
            emulated: true,
            governor: Some("powersave".into()),
            numa_balancing: Some(true),
            nodes: vec![node(0), node(1)],
            cpu: CpuIdentity { online_cpus: 2, kernel_lacks: vec!["erms".into()], ..CpuIdentity::default() },
            cpu_quota: Some(1.5),
            unmounted: vec!["/proc".into()],
            ..Environment::default()
        };
        let warnings = Warning::about_environment(&environment, TimeStampCounter::Unusable("it is slow"));
        for expected in [
            Warning::Emulated,
            Warning::Governor("powersave".into()),
            Warning::NumaBalancing,
            Warning::CpuQuota { cpus: 1.5 },
            Warning::KernelFeatures { lacks: vec!["erms".into()], adds: vec![] },
            Warning::Unmounted("/proc".into()),
            Warning::TimeStampCounter("it is slow"),
        ] {
            assert!(warnings.contains(&expected), "{expected}");
        }
        let activity = Warning::about_activity(Shares { others: 0.255, stolen: 0.1 });
        assert_eq!(activity.len(), 2);
        assert_eq!(activity[0].to_string(), "Other processes took 25 % of the machine's CPU time meanwhile.");
    }

    #[test]
    fn every_doubt_about_the_cells_is_raised() {
        let mut results = sample();
        results.complete = false;
        results.environment.transparent_hugepages = Some("never".into());
        for cell in &mut results.cells {
            cell.memory = Some(MemoryGiven { bytes: 100, huge_bytes: 50, on_node_bytes: Some(75) });
            let cycles = if cell.cache == Some(Cache::Cold) { 60 } else { 50 };
            cell.probe_load_cycles = vec![vec![cycles; 4]];
            cell.samples_gbps.truncate(3);
        }
        let warnings = Warning::about_cells(&results, MemoryKind::Thp);
        let text = warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        results.environment.cpu.caches =
            vec![CacheLevel { level: 3, bytes: 128 << 10, ..CacheLevel::default() }];
        assert!(
            !Warning::about_cells(&results, MemoryKind::Thp)
                .iter()
                .any(|w| matches!(w, Warning::NotHot { .. }))
        );
        results.environment.cpu.caches[0].bytes -= 1;
        let not_hot = Warning::NotHot { folio_bytes: 64 << 10 };
        assert!(Warning::about_cells(&results, MemoryKind::Thp).contains(&not_hot));
        for expected in ["50 % of the thp memory", "75 %", "the two don't differ", "3 rounds", "incomplete"] {
            assert!(text.contains(expected), "{text}");
        }
        let of_huge_pages = |base_page| {
            let (kind, mode) = (MemoryKind::Thp, Some("never".into()));
            Warning::NoHugePages { kind, part: 0.5, mode, base_page }.advice()
        };
        assert!(of_huge_pages(4 << 10).contains("transparent_hugepage/enabled"));
        // A mapping is laid out by 2 MiB, which no PMD of such a kernel maps.
        assert!(of_huge_pages(16 << 10).starts_with("Where pages have 16K, huge ones have more than 2M: "));
        let few_rounds = |results: &Results| {
            let warnings = Warning::about_cells(results, MemoryKind::Thp);
            warnings
                .into_iter()
                .find(|warning| matches!(warning, Warning::FewRounds { .. }))
                .unwrap()
                .advice()
        };
        assert!(few_rounds(&results).contains("--rounds"));
        results.command = gate::COMMAND.into();
        assert_eq!(few_rounds(&results), "Use a longer --time.");
        results.environment.cpu.caches.clear();
        results.cells.truncate(1);
        results.cells[0].cache = Some(Cache::Mixed);
        for (latencies, alike) in [([50, 300, 60, 290], false), ([280, 300, 60, 290], true)] {
            results.cells[0].probe_load_cycles = vec![latencies.to_vec()];
            let warnings = Warning::about_cells(&results, MemoryKind::Thp);
            let warned = warnings.iter().any(|warning| matches!(warning, Warning::ColdLikeHot { .. }));
            assert_eq!(warned, alike, "{latencies:?}: hot and cold lines in turn");
        }
        assert!(
            !Warning::about_cells(&results, MemoryKind::Anon)
                .iter()
                .any(|w| matches!(w, Warning::NoHugePages { .. }))
        );
    }
}
