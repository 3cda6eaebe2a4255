//! Logs of the benchmark kit that AMD publishes for folio copies (AMDESE/linux-mm, folder folio-bench-kit), as results.
//!
//! The kit has two benches, and this reads the logs of both: `folio`, a module that times `folio_copy()` and
//! `folio_mc_copy()`, and `move_pages`, a program that times `move_pages(2)`. A log has one figure a run and no rounds, so its
//! cells have no speed-up. It names no CPU.
//!
//! The module's four scenarios are here too ([`Scenario`]), for the bench in the kernel to measure in rounds.

mod folio;
mod header;
mod move_pages;
mod scenario;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::input;
use crate::result::{
    self, Cache, Cell, CpuIdentity, Environment, Evict, Origin, Parameters, ReadError, Results,
    SCHEMA_VERSION,
};
use crate::text::harmless;
use header::Header;

pub use scenario::Scenario;

/// What [`Results::command`] of the module's log is.
pub const FOLIO: &str = "folio-bench-kit";

/// What [`Results::command`] of the program's log is.
pub const MOVE_PAGES: &str = "move_pages_bench";

/// The dimension that tells the kit's scenarios apart: the bytes of a run, which it has of two sizes.
pub const TOTAL: &str = "total";

/// What the kit streams through the caches of a node before each cold copy.
const EVICT_BYTES: u64 = 128 << 20;

/// Within so many bytes a log shows that it is one.
const START: usize = 64 << 10;

/// How many of its lines a warning is made of.
const MOST_WARNINGS: usize = 5;

/// A line that can't be taken, and what would be right.
type Problem = String;

/// Whether these results come from a log of the kit.
pub fn is_log(results: &Results) -> bool {
    [FOLIO, MOVE_PAGES].contains(&results.command.as_str())
}

/// Reads the results in `file`: a log of the kit, or what foliocopy itself writes.
pub fn read(file: &Path) -> Result<Results, ReadError> {
    let content = input::read(file, result::LONGEST);
    read_from(&content.map_err(|source| ReadError::Io { file: file.to_owned(), source })?, file)
}

/// Reads the results in `content`; errors speak of it as `file`.
pub fn read_from(content: &[u8], file: &Path) -> Result<Results, ReadError> {
    let Some(kind) = kind(content) else { return result::read_from(content, file) };
    let text = String::from_utf8_lossy(content);
    if text.lines().last().is_some_and(|last| !content.ends_with(b"\n") && !is_whole(last)) {
        return Err(ReadError::Truncated { file: file.to_owned(), line: text.lines().count() });
    }
    let mut log = Log::default();
    for (index, line) in text.lines().enumerate() {
        let taken = match (kind, line.strip_prefix('#')) {
            (_, Some(comment)) => log.header.take(comment),
            (Kind::Folio, None) => folio::take(&mut log, line, index + 1),
            (Kind::MovePages, None) => move_pages::take(&mut log, line, index + 1),
        };
        taken.map_err(|problem| ReadError::Log {
            file: file.to_owned(),
            line: index + 1,
            problem: harmless(&problem).into_owned(),
        })?;
    }
    if log.cells.is_empty() {
        return Err(match log.warnings.into_iter().next() {
            None => ReadError::Empty { file: file.to_owned() },
            Some(problem) => ReadError::Useless { file: file.to_owned(), problem },
        });
    }
    Ok(log.into_results(kind))
}

/// Which bench wrote a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Folio,
    MovePages,
}

/// Which bench wrote `content`, by its first line that only one of them writes.
fn kind(content: &[u8]) -> Option<Kind> {
    const SIGNS: [(&[u8], Kind); 7] = [
        (b"# folio_copy A/B", Kind::Folio),
        (b"# release=", Kind::Folio),
        (b"RESULT ", Kind::Folio),
        (b"=== move_pages_bench", Kind::MovePages),
        (b"# kernel:", Kind::MovePages),
        (b"--- node ", Kind::MovePages),
        (b"iter=", Kind::MovePages),
    ];
    let of_line = |line: &[u8]| SIGNS.iter().find(|(sign, _)| line.starts_with(sign)).map(|(_, kind)| *kind);
    content[..content.len().min(START)].split(|byte| *byte == b'\n').find_map(of_line)
}

/// Whether a line without an end of its own is all there: a figure whose last digits are missing is another figure.
fn is_whole(line: &str) -> bool {
    let has_three_decimals = || {
        let decimals = line.trim_end().rsplit_once('.').map(|(_, decimals)| decimals.as_bytes());
        decimals.is_some_and(|decimals| decimals.len() == 3 && decimals.iter().all(u8::is_ascii_digit))
    };
    line.starts_with('#') || line.ends_with("GB/s") || line.ends_with("on target)") || has_three_decimals()
}

/// What tells a cell of a log from its others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    contender: String,
    cache: Option<Cache>,
    folio_bytes: u64,
    nodes: (u32, u32),
    dimensions: BTreeMap<String, String>,
}

/// A log being read.
#[derive(Default)]
struct Log {
    header: Header,
    places: HashMap<Key, usize>,
    /// In the order of their first lines, each with its GB/s.
    cells: Vec<(Key, Vec<f64>)>,
    warnings: Vec<String>,
    /// What a log of move_pages says before its figures.
    region: move_pages::Region,
}

impl Log {
    fn add(&mut self, key: Key, gbps: f64) {
        let place = *self.places.entry(key.clone()).or_insert(self.cells.len());
        match self.cells.get_mut(place) {
            Some((_, samples)) => samples.push(gbps),
            None => self.cells.push((key, vec![gbps])),
        }
    }

    fn warn(&mut self, line: usize, what: &str) {
        self.warnings.push(format!("Line {line}: {}.", harmless(what)));
    }

    fn into_results(self, kind: Kind) -> Results {
        let (command, origin) = match kind {
            Kind::Folio => (FOLIO, Origin::Kernel),
            Kind::MovePages => (MOVE_PAGES, Origin::UserSpace),
        };
        let cells: Vec<Cell> = self.cells.into_iter().map(|(key, samples)| cell(key, samples)).collect();
        let mut warnings = self.warnings;
        if let Some(more) = warnings.len().checked_sub(MOST_WARNINGS).filter(|more| *more > 0) {
            warnings.truncate(MOST_WARNINGS);
            warnings.push(format!("{more} more lines are like these."));
        }
        let Header { kernel, machine, started, nodes, distances, .. } = self.header;
        let model_name = match &machine[..] {
            "" => "unknown CPU".to_owned(),
            machine => format!("unknown CPU ({machine})"),
        };
        let mut caches: Vec<Cache> = cells.iter().filter_map(|cell| cell.cache).collect();
        caches.sort_unstable();
        caches.dedup();
        let evicts = caches.contains(&Cache::Cold);
        Results {
            schema_version: SCHEMA_VERSION,
            program: FOLIO.to_owned(),
            command: command.to_owned(),
            origin,
            started: if started.is_empty() { "at an unknown time".to_owned() } else { started },
            elapsed_seconds: 0.0,
            complete: true,
            environment: Environment {
                cpu: CpuIdentity { model_name, ..CpuIdentity::default() },
                kernel: kernel.text(),
                nodes,
                node_distances: distances,
                ..Environment::default()
            },
            parameters: Parameters {
                cache: caches,
                evict_bytes: if evicts { EVICT_BYTES } else { 0 },
                evict: Evict::Read,
                ..Parameters::default()
            },
            warnings,
            cells,
        }
    }
}

fn cell(key: Key, samples: Vec<f64>) -> Cell {
    let Key { contender, cache, folio_bytes, nodes: (src, dst), dimensions } = key;
    Cell {
        cache,
        src_node: Some(src),
        dst_node: Some(dst),
        dimensions,
        ..Cell::new(contender, folio_bytes, samples)
    }
}

/// The speed that `text` writes after `name`.
fn speed(name: &str, text: &str) -> Result<f64, Problem> {
    let speed = text.parse().ok().filter(|gbps: &f64| gbps.is_finite() && *gbps > 0.0);
    speed.ok_or_else(|| format!("`{name}{text}` is no speed: a number of GB/s above 0, such as 12.345"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FOLIO_LOG: &str = "\
# folio_copy A/B bench log
# timestamp: 20260501_140000
# --- kernel (from module /sys/kernel/debug/folio_copy_ab/kernel) ---
# sysname=Linux
# release=6.15.0-made-up
# version=#1 SMP PREEMPT_DYNAMIC
# machine=x86_64
# run scen=A order=9 src=0 dst=1 bytes_total=2097152 flush=0 warmup=1 max_iters=0 pin_cpu=0 rep=1
RESULT fn=folio_mc_copy order=9 src=0 dst=1 pages=512 bytes=2097152 iters=1 bytes_total=2097152 flush=0 warmup=1 warmup_eff=16 total_ns=209715 avg_ns=209715 min_ns=209715 max_ns=209715 throughput_GBps=10.000
RESULT fn=folio_copy order=9 src=0 dst=1 pages=512 bytes=2097152 iters=1 bytes_total=2097152 flush=0 warmup=1 warmup_eff=16 total_ns=174762 avg_ns=174762 min_ns=174762 max_ns=174762 throughput_GBps=12.000
RESULT fn=folio_mc_copy order=9 src=0 dst=1 pages=512 bytes=2097152 iters=1 bytes_total=2097152 flush=0 warmup=1 warmup_eff=16 total_ns=190650 avg_ns=190650 min_ns=190650 max_ns=190650 throughput_GBps=11.000
RESULT fn=folio_copy order=9 src=0 dst=1 iters=1 err=-133
ERR alloc_folios: -12
";

    const MOVE_PAGES_LOG: &str = "\
=== move_pages_bench ===
# kernel: 6.15.0-made-up
# SIZE_MB=512 ITERS=3 nodes=0 1
--- node 0 <-> 1 ---
size=512MB page_sz=4KB nr_pages=131072 node_a=0 node_b=1 iters=3
iter= 0 -> node 1  9.500 GB/s  (131072/131072 pages on target)
iter= 1 -> node 0  8.500 GB/s  (131000/131072 pages on target)
iter= 2 -> node 1  9.700 GB/s  (131072/131072 pages on target)
mean: 9.233 GB/s
";

    fn parse(text: &str) -> Result<Results, ReadError> {
        read_from(text.as_bytes(), Path::new("kit.log"))
    }

    fn message(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_log_of_the_module_is_its_cells() {
        let results = parse(FOLIO_LOG).unwrap();
        assert_eq!((results.command.as_str(), results.origin), (FOLIO, Origin::Kernel));
        assert_eq!(results.environment.kernel, "Linux 6.15.0-made-up #1 SMP PREEMPT_DYNAMIC");
        assert_eq!(results.environment.cpu.model_name, "unknown CPU (x86_64)");
        assert_eq!(results.started, "2026-05-01T14:00:00");
        let [mc, plain] = &results.cells[..] else { panic!("{:?}", results.cells) };
        assert_eq!((mc.contender.as_str(), &mc.samples_gbps[..]), ("folio_mc_copy", &[10.0, 11.0][..]));
        assert_eq!(mc.situation().to_string(), "hot 2M 0->1 total=2M");
        assert_eq!((plain.contender.as_str(), plain.median_gbps), ("folio_copy", 12.0));
        assert_eq!(results.tests(), 0, "nothing was paired");
        assert_eq!(
            results.warnings,
            [
                "Line 12: folio_copy failed (order 9, node 0 to 1, error -133).",
                "Line 13: the kit says `ERR alloc_folios: -12`."
            ]
        );
    }

    #[test]
    fn a_log_of_the_program_is_its_directions() {
        let results = parse(MOVE_PAGES_LOG).unwrap();
        assert_eq!((results.command.as_str(), results.origin), (MOVE_PAGES, Origin::UserSpace));
        assert_eq!(results.environment.kernel, "Linux 6.15.0-made-up");
        let cells: Vec<_> = results
            .cells
            .iter()
            .map(|cell| (cell.src_node.unwrap(), cell.dst_node.unwrap(), cell.samples_gbps.clone()))
            .collect();
        assert_eq!(cells, [(0, 1, vec![9.5, 9.7]), (1, 0, vec![8.5])]);
        assert_eq!(results.cells[0].folio_bytes, 4096);
        assert_eq!(results.cells[0].dimensions["method"], "move_pages");
        assert_eq!(results.cells[0].dimensions[TOTAL], "512M");
        assert_eq!(results.warnings.len(), 1);
        assert!(results.warnings[0].contains("131000 of 131072 pages"), "{:?}", results.warnings);
    }

    #[test]
    fn broken_lines_are_named_with_what_would_be_right() {
        let line = FOLIO_LOG.lines().nth(8).unwrap();
        for (from, to, expected) in [
            ("order=9", "order=nine", "line 1: `order=nine` is not a number from 0 to 18"),
            ("order=9", "order=40", "is not a number from 0 to 18"),
            ("order=9 ", "", "line 1: `order=` is missing: a line RESULT has fn=, order=, src=,"),
            ("src=0", "src=-1", "`src=-1` is not a number from 0 to 1023"),
            ("flush=0", "flush=2", "`flush=2` is not a number from 0 to 1"),
            ("dst=1", "dst=1 dst=2", "`dst=` stands twice"),
            ("dst=1", "dst", "`dst` is no KEY=VALUE"),
            ("bytes=2097152 ", "bytes=8192 ", "`bytes=8192` and `order=9` do not go together"),
            ("=10.000", "=fast", "`throughput_GBps=fast` is no speed"),
            ("=10.000", "=inf", "is no speed"),
            ("=10.000", "=0.000", "is no speed"),
            ("=10.000", "=-1.0", "is no speed"),
            (" throughput_GBps=10.000", "", "`throughput_GBps=` is missing"),
            ("fn=folio_mc_copy", "fn=", "`fn=` is empty"),
        ] {
            let message = message(&format!("{}\n", line.replacen(from, to, 1)));
            assert!(message.starts_with("`kit.log`, line 1: ") && message.contains(expected), "{message}");
        }
        assert!(message(&format!("# release=a\n> {line}\n")).contains("line 2: a RESULT begins its line"));
        assert!(message("# release=a\n# release=b\n").contains("line 2: `release=b` after `release=a`"));
    }

    #[test]
    fn broken_lines_of_the_program_too() {
        for (from, to, expected) in [
            ("--- node 0 <-> 1 ---\n", "", "line 5: an `iter=` before any `--- node A <-> B ---`"),
            ("node 0 <-> 1", "node 0 <-> x", "line 4: write `--- node A <-> B ---`"),
            ("-> node 1  9.500", "-> node 3  9.500", "line 6: node 3 is neither of the pair 0 <-> 1"),
            ("9.500 GB/s", "x GB/s", "line 6: `x` is no speed"),
            ("9.500 GB/s", "9.500 MB/s", "line 6: write `iter=N -> node B  SPEED GB/s"),
            ("131072/131072", "131072", "(PAGES/PAGES pages on target)"),
            ("131072/131072", "9/8", "9 of 8 pages"),
            ("page_sz=4KB", "page_sz=0KB", "`page_sz=0KB` is no size of pages"),
            ("size=512MB", "size=99999999999999999999MB", "is no size"),
        ] {
            let message = message(&MOVE_PAGES_LOG.replacen(from, to, 1));
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_cut_log_is_called_cut() {
        let iter = MOVE_PAGES_LOG.rfind(" on target").unwrap();
        for cut in [FOLIO_LOG.trim_end(), &MOVE_PAGES_LOG[..iter]] {
            assert!(message(cut).contains("ends in the middle"));
        }
        assert!(parse(MOVE_PAGES_LOG.trim_end()).is_ok(), "a last line without an end may be whole");
        let cut = FOLIO_LOG.find("throughput_GBps=12").unwrap() + "throughput_GBps=12".len();
        assert!(message(&FOLIO_LOG[..cut]).contains("ends in the middle (line 10)"));
    }

    #[test]
    fn a_log_that_measured_nothing_says_why() {
        assert!(message("# release=a\n").contains("holds no cells"));
        assert!(message("# release=a\nERR invalid params: -22\n").contains("ERR invalid params: -22"));
        let one_node = "# kernel: a\n--- node 0 (single-node) ---\niter= 0 -> node 0  99.000 GB/s  (1/1 pages on target)\n";
        assert!(message(one_node).contains("nothing moves from node 0 to node 0"));
    }

    #[test]
    fn other_files_are_left_to_who_knows_them() {
        assert!(message("GIF89a").contains("is not a result of foliocopy"));
        assert!(message("{\"a\": \"iter=\"}\n").contains("no `schema_version`"));
    }

    #[test]
    fn numactl_tells_nodes_and_distances() {
        let numactl = "\
# available: 2 nodes (0-1)
# node 0 cpus: 0 1
# node 0 size: 1000 MB
# node 0 free: 500 MB
# node 1 cpus:
# node 1 size: 2000 MB
# node distances:
# node   0   1
#   0:  10  21
#   1:  21  10
";
        let results = parse(&format!("{FOLIO_LOG}{numactl}")).unwrap();
        let nodes = &results.environment.nodes;
        assert_eq!((nodes[0].cpus.as_str(), nodes[1].cpus.as_str()), ("0,1", ""));
        assert_eq!((nodes[0].memory_bytes, nodes[0].free_bytes), (1000 << 20, 500 << 20));
        assert_eq!(results.environment.node_distances, [[10, 21], [21, 10]]);
        let broken = numactl.replace("#   1:  21  10\n", "#   1:  21\n");
        assert!(parse(&format!("{FOLIO_LOG}{broken}")).unwrap().environment.node_distances.is_empty());
        let plain = "# node0 cpus: 0-3\n# node1 cpus: 4-7\n";
        assert_eq!(parse(&format!("{FOLIO_LOG}{plain}")).unwrap().environment.nodes[1].cpus, "4-7");
    }

    #[test]
    fn nothing_of_a_log_steers_a_terminal() {
        let hostile = FOLIO_LOG.replace("fn=folio_copy", "fn=\u{1b}[31m").replace("made-up", "\u{202e}");
        let results = parse(&hostile).unwrap();
        let text = format!("{results:?}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
        assert!(!message("RESULT \u{1b}[2J\n").contains('\u{1b}'));
    }

    proptest! {
        #[test]
        fn whatever_is_broken_nothing_panics(at in 0usize..2000, byte in any::<u8>(), cut in 0usize..2000) {
            for log in [FOLIO_LOG, MOVE_PAGES_LOG] {
                let mut content = log.as_bytes().to_vec();
                let at = at % content.len();
                content[at] = byte;
                let _ = read_from(&content, Path::new("kit.log"));
                content.truncate(cut);
                let _ = read_from(&content, Path::new("kit.log"));
            }
        }
    }
}
