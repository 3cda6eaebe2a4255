//! The bench in the kernel: foliocopy.ko copies and takes the time, a round at each read of its file in debugfs; all
//! that is computed is computed here.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use foliocopy::Source;
use serde::Deserialize;
use thiserror::Error;

use crate::bench::{Case, Observer, Outcome};
use crate::kit;
use crate::result::{Cache, Cell, Contender, PolicyBand, PolicyTables, Times};
use crate::size::Size;
use crate::text::harmless_lines;

/// The folder of the module's files, once debugfs is mounted and the module is loaded.
pub const DEBUGFS: &str = "/sys/kernel/debug/foliocopy";

/// The contender that ratios refer to: the kernel's own.
pub const BASELINE: &str = "folio_copy";

/// The contenders of a bench without options: the kernel's two, foliocopy's two, and four corners: page by page or in one
/// piece, `rep movsq` or `rep movsb`. The corners tell the effect of batching from that of the instruction.
pub const DEFAULT: [&str; 8] = [
    BASELINE,
    "folio_mc_copy",
    "foliocopy",
    "foliocopy-mc",
    "page:rep_movsq",
    "rep_movsq",
    "page:rep_movsb",
    "rep_movsb",
];

/// The largest folio the kernel's page allocator gives: order 10.
pub const LARGEST_FOLIO: u64 = 4096 << 10;

/// How much of an answer that can't be read is shown.
const MOST_SHOWN: usize = 400;

/// The description of a contender.
pub fn describe(name: &str) -> Contender {
    let description = match name {
        "folio_copy" => "this kernel's folio_copy()".to_owned(),
        "folio_mc_copy" => "this kernel's folio_mc_copy(), machine-check safe".to_owned(),
        "foliocopy" => "foliocopy_folio_copy(): what the module's policy picks".to_owned(),
        "foliocopy-mc" => "foliocopy_folio_mc_copy(): the same, machine-check safe".to_owned(),
        primitive => {
            let (primitive, safe) = match primitive.strip_suffix("-mc") {
                Some(primitive) => (primitive, ", machine-check safe"),
                None => (primitive, ""),
            };
            match (primitive.strip_prefix("page:"), batch(name)) {
                (_, Some(folios)) => {
                    format!("foliocopy_folios_mc_copy(): lists of {folios} folios, machine-check safe")
                }
                (Some(primitive), None) => format!("{primitive}, page by page{safe}"),
                (None, None) => format!("{primitive}, a folio in one piece{safe}"),
            }
        }
    };
    Contender { name: name.to_owned(), description, loaded: None }
}

/// How many folios a list of that contender has; `None` for those that copy folio by folio.
fn batch(contender: &str) -> Option<u64> {
    contender.strip_prefix("batch:")?.parse().ok()
}

/// The plan of a bench in the kernel.
#[derive(Clone, Debug)]
pub struct Plan {
    /// By name, as the module knows them.
    pub contenders: Vec<String>,
    /// Cold and hot; nodes must be named.
    pub cases: Vec<Case>,
    /// Rounds of each case.
    pub rounds: u32,
    /// How long all of them may take together.
    pub time: Duration,
    /// Streamed through the caches before each cold sample.
    pub evict_bytes: u64,
    /// The seed of every shuffle.
    pub seed: u64,
    /// Whether the time of every copy is kept. Each copy is timed by itself then.
    pub latency: bool,
    /// Of AMD's kit, whose way to measure is followed then.
    pub scenario: Option<kit::Scenario>,
}

/// What a contender's samples come to.
#[derive(Clone, Default)]
struct Series {
    gbps: Vec<f64>,
    times: Times,
    clock_ns: Option<u64>,
}

/// A sample: of the contender at that index.
#[derive(Debug, PartialEq)]
struct Sample {
    contender: usize,
    gbps: f64,
    times: Vec<u64>,
    clock_ns: Option<u64>,
}

/// Why the kernel did not measure.
#[derive(Debug, Error)]
pub enum KernelBenchError {
    /// The module's file can't be used.
    #[error("can't use {}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's message.
        #[source]
        source: io::Error,
    },
    /// Another process measures.
    #[error("the module serves one bench at a time, and one is running")]
    Busy,
    /// The module refused, or gave up.
    #[error("the module says: {reason} ({case})")]
    Refused {
        /// Its own words.
        reason: String,
        /// The case, as it is printed.
        case: String,
    },
    /// The answer has no samples.
    #[error("the module's answer can't be read: {answer:?}")]
    Answer {
        /// The answer.
        answer: String,
    },
}

/// A line of the module's.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Line {
    Sample {
        round: u32,
        contender: String,
        bytes: u64,
        nanoseconds: u64,
        /// Of each copy, where they were asked for.
        #[serde(default)]
        times: Vec<u64>,
        /// What reading the clock takes.
        #[serde(default)]
        clock: Option<u64>,
    },
    Error {
        error: String,
    },
}

impl Plan {
    /// Has the module whose files are in `folder` measure every case.
    pub fn run(&self, folder: &Path, observer: &mut impl Observer) -> Result<Outcome, KernelBenchError> {
        let started = Instant::now();
        let mut cells = Vec::new();
        for (index, case) in self.cases.iter().enumerate() {
            observer.case(index, case);
            // Time that an earlier case left over goes to the later ones.
            let left = self.time.saturating_sub(started.elapsed());
            let until = Instant::now().checked_add(left / (self.cases.len() - index) as u32);
            let mut series = vec![Series::default(); self.contenders.len()];
            let begun = Instant::now();
            let complete = self.run_case(folder, case, until, &mut series, &mut |part| {
                observer.progress((index as f64 + part) / self.cases.len() as f64);
                observer.interrupted()
            })?;
            cells.extend(self.cells(case, series, begun.elapsed()));
            if !complete {
                return Ok(Outcome { cells, complete: false });
            }
        }
        Ok(Outcome { cells, complete: true })
    }

    /// A case, round by round, into the series of each contender. Whether it came to its end.
    fn run_case(
        &self,
        folder: &Path,
        case: &Case,
        until: Option<Instant>,
        series: &mut [Series],
        interrupted: &mut impl FnMut(f64) -> bool,
    ) -> Result<bool, KernelBenchError> {
        let path = folder.join("benchmark");
        let io = |source: io::Error| match source.raw_os_error() {
            Some(libc::EBUSY) => KernelBenchError::Busy,
            _ => KernelBenchError::Io { file: path.clone(), source },
        };
        let refused = |reason: String| KernelBenchError::Refused { reason, case: case.to_string() };
        let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(io)?;
        // In one piece, as the module takes it, and not again where a signal ended it.
        if let Err(source) = file.write(self.request(case).as_bytes()) {
            return match (source.kind(), reason(&mut file)) {
                (io::ErrorKind::Interrupted, _) => Ok(false),
                (_, Some(reason)) => Err(refused(reason)),
                (_, None) => Err(io(source)),
            };
        }
        let mut reader = BufReader::with_capacity(64 << 10, file);
        let mut rounds = 0;
        // The first copy of a sample comes after its eviction; in the kit's scenarios each copy does.
        let after_eviction = case.cache != Cache::Hot && self.scenario.is_none();
        loop {
            let text = match self.read_round(&mut reader).map_err(io)? {
                text if text.is_empty() => return Ok(rounds == self.rounds),
                text => text,
            };
            for sample in self.round(&text, rounds).map_err(|line| match line {
                Line::Error { error } => refused(error),
                Line::Sample { .. } => {
                    let answer = text.chars().take(MOST_SHOWN).collect();
                    KernelBenchError::Answer { answer }
                }
            })? {
                let series = &mut series[sample.contender];
                series.gbps.push(sample.gbps);
                series.times.add_run(sample.times, after_eviction);
                series.clock_ns = series.clock_ns.into_iter().chain(sample.clock_ns).min();
            }
            rounds += 1;
            let late = until.is_some_and(|until| Instant::now() >= until);
            if interrupted(f64::from(rounds) / f64::from(self.rounds)) {
                return Ok(false);
            }
            if late || rounds == self.rounds {
                return Ok(true);
            }
        }
    }

    /// The lines of a round, or what the module says instead; nothing where it has ended, which a signal makes it do.
    fn read_round(&self, reader: &mut impl BufRead) -> io::Result<String> {
        let mut text = Vec::new();
        for _ in &self.contenders {
            let start = text.len();
            if reader.read_until(b'\n', &mut text)? == 0 || text[start..].starts_with(b"{\"error\"") {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The samples of a round. What is no sample of that round is an error, and so is a round without all contenders.
    fn round(&self, text: &str, round: u32) -> Result<Vec<Sample>, Line> {
        let unreadable = || Line::Sample {
            round,
            contender: String::new(),
            bytes: 0,
            nanoseconds: 0,
            times: Vec::new(),
            clock: None,
        };
        let mut samples: Vec<Sample> = Vec::new();
        for line in text.lines() {
            match serde_json::from_str(line).map_err(|_| unreadable())? {
                Line::Sample { round: of, contender, bytes, nanoseconds, times, clock }
                    if of == round && nanoseconds > 0 =>
                {
                    let index = self.contenders.iter().position(|name| *name == contender);
                    samples.push(Sample {
                        contender: index.ok_or_else(unreadable)?,
                        gbps: bytes as f64 / nanoseconds as f64,
                        times,
                        clock_ns: clock,
                    });
                }
                other => return Err(other),
            }
        }
        let complete =
            (0..self.contenders.len()).all(|index| samples.iter().any(|sample| sample.contender == index));
        if complete && samples.len() == self.contenders.len() { Ok(samples) } else { Err(unreadable()) }
    }

    fn cells(&self, case: &Case, series: Vec<Series>, took: Duration) -> impl Iterator<Item = Cell> {
        let case = *case;
        let total = self.scenario.map(|_| (kit::TOTAL.to_owned(), Size(case.total_bytes).to_string()));
        let measured = self.contenders.clone().into_iter().zip(series);
        measured.filter(|(_, series)| !series.gbps.is_empty()).map(move |(contender, series)| Cell {
            cache: Some(case.cache),
            src_node: case.nodes.map(|(src, _)| src),
            dst_node: case.nodes.map(|(_, dst)| dst),
            dimensions: total.clone().into_iter().collect(),
            seconds: Some(took.as_secs_f64()),
            latency: series.times.into_latency(series.clock_ns),
            ..Cell::new(contender, case.folio_bytes, series.gbps)
        })
    }

    /// The line that asks for a case: cold, as many folios as it takes; hot, one folio again and again, or as many as the
    /// longest list.
    fn request(&self, case: &Case) -> String {
        let copies = (case.total_bytes / case.folio_bytes).max(1);
        let (folios, passes, evict) = match case.cache {
            Cache::Hot => {
                let folios = self.contenders.iter().filter_map(|name| batch(name)).max().unwrap_or(1);
                (folios, copies.div_ceil(folios), 0)
            }
            Cache::Cold | Cache::Mixed => (copies, 1, self.evict_bytes),
        };
        let (folios, passes, warmup) = match self.scenario {
            Some(scenario) => {
                let Case { folio_bytes, total_bytes, .. } = *case;
                (1, scenario.copies(folio_bytes, total_bytes), scenario.warmup(folio_bytes, total_bytes))
            }
            None => (folios, passes, 1),
        };
        let mut request = format!(
            "contenders={} order={} folios={folios} passes={passes} evict={evict} rounds={} seed={}",
            self.contenders.join(","),
            (case.folio_bytes >> 12).ilog2(),
            self.rounds,
            self.seed
        );
        if warmup > 1 && evict == 0 {
            request += &format!(" warmup={warmup}");
        }
        if self.scenario.is_some() {
            request += if evict > 0 { " evict_each=1" } else { " each=1" };
        }
        if self.latency {
            request += " times=1";
        }
        if let Some((src, dst)) = case.nodes {
            request += &format!(" src_node={src} dst_node={dst}");
        }
        request
    }
}

/// The module's reason for refusing a request.
fn reason(file: &mut File) -> Option<String> {
    let mut answer = String::new();
    file.read_to_string(&mut answer).ok()?;
    match serde_json::from_str(answer.trim()).ok()? {
        Line::Error { error } => Some(error),
        Line::Sample { .. } => None,
    }
}

/// How the module whose files are in `folder` copies.
///
/// # Errors
///
/// Where its file can't be read.
pub fn policy(folder: &Path) -> io::Result<PolicyTables> {
    let text = std::fs::read_to_string(folder.join("policy"))?;
    Ok(tables(&harmless_lines(&text)))
}

/// The module's lines, such as `temporal, up to 61440 bytes: movnti (measured on such a CPU)`, as tables.
fn tables(text: &str) -> PolicyTables {
    let mut tables = PolicyTables::default();
    for line in text.lines() {
        let Some((locality, rest)) = line.split_once(", ") else { continue };
        let Some((limit, step)) = rest.split_once(": ") else { continue };
        let (step, source) = match step.rsplit_once(" (") {
            Some((step, source)) => (step, source.trim_end_matches(')')),
            None => (step, ""),
        };
        let up_to = limit.strip_prefix("up to ").and_then(|limit| limit.strip_suffix(" bytes")?.parse().ok());
        let (locality, step) = (locality.to_owned(), step.to_owned());
        tables.bands.push(PolicyBand { locality, up_to, step });
        tables.general |= source == Source::GENERAL.text();
        if tables.source.is_empty() {
            tables.source = source.to_owned();
        }
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Crew;

    fn plan() -> Plan {
        Plan {
            contenders: vec!["folio_copy".into(), "rep_movsb".into()],
            cases: vec![],
            rounds: 3,
            time: Duration::MAX,
            evict_bytes: 128 << 20,
            seed: 7,
            latency: false,
            scenario: None,
        }
    }

    fn case(cache: Cache, nodes: Option<(u32, u32)>) -> Case {
        Case {
            cache,
            folio_bytes: 64 << 10,
            total_bytes: 2 << 20,
            nodes,
            then: None,
            crew: Crew::One,
            scattered: false,
            load: None,
        }
    }

    #[test]
    fn a_cold_case_copies_many_folios_and_a_hot_one_the_same_again() {
        assert_eq!(
            plan().request(&case(Cache::Cold, Some((0, 2)))),
            "contenders=folio_copy,rep_movsb order=4 folios=32 passes=1 evict=134217728 rounds=3 seed=7 \
             src_node=0 dst_node=2"
        );
        assert_eq!(
            plan().request(&case(Cache::Hot, None)),
            "contenders=folio_copy,rep_movsb order=4 folios=1 passes=32 evict=0 rounds=3 seed=7"
        );
    }

    #[test]
    fn a_hot_case_has_the_folios_of_the_longest_list() {
        let contenders = vec!["foliocopy-mc".into(), "batch:8".into(), "batch:16".into()];
        let plan = Plan { contenders, ..plan() };
        assert_eq!(
            plan.request(&case(Cache::Hot, None)),
            "contenders=foliocopy-mc,batch:8,batch:16 order=4 folios=16 passes=2 evict=0 rounds=3 seed=7"
        );
        let described = describe("batch:8").description;
        assert_eq!(described, "foliocopy_folios_mc_copy(): lists of 8 folios, machine-check safe");
    }

    const ROUND: &str = "\
{\"round\":0,\"contender\":\"rep_movsb\",\"cpu\":1,\"bytes\":2097152,\"nanoseconds\":1048576}
{\"round\":0,\"contender\":\"folio_copy\",\"cpu\":1,\"bytes\":2097152,\"nanoseconds\":2097152}
";

    #[test]
    fn bytes_by_nanoseconds_are_gigabytes_by_seconds() {
        let speeds = |samples: Vec<Sample>| -> Vec<(usize, f64)> {
            samples.iter().map(|sample| (sample.contender, sample.gbps)).collect()
        };
        assert_eq!(plan().round(ROUND, 0).map(speeds), Ok(vec![(1, 2.0), (0, 1.0)]));
    }

    #[test]
    fn a_round_is_as_many_lines_as_contenders_however_they_come() {
        let text = format!("{ROUND}{}{{\"error\":\"it failed\"}}\n", ROUND.replace(":0,\"con", ":1,\"con"));
        let mut reader = BufReader::with_capacity(7, text.as_bytes());
        let plan = plan();
        assert_eq!(plan.read_round(&mut reader).unwrap(), ROUND);
        assert_eq!(plan.round(&plan.read_round(&mut reader).unwrap(), 1).map(|round| round.len()), Ok(2));
        let error = plan.round(&plan.read_round(&mut reader).unwrap(), 2).unwrap_err();
        assert_eq!(error, Line::Error { error: "it failed".into() });
        assert_eq!(plan.read_round(&mut reader).unwrap(), "");
    }

    #[test]
    fn times_become_the_latency_of_a_cell() {
        let plan = Plan { latency: true, ..plan() };
        let timed = ROUND.replace("2097152}", "2097152,\"clock\":20,\"times\":[900,100,110]}");
        let sample = plan.round(&timed, 0).unwrap().pop().unwrap();
        assert_eq!(
            (sample.contender, &sample.times[..], sample.clock_ns),
            (0, &[900, 100, 110][..], Some(20))
        );
        let mut series = vec![Series::default(), Series::default()];
        series[0].gbps.push(sample.gbps);
        series[0].times.add_run(sample.times, true);
        let cells: Vec<Cell> = plan.cells(&case(Cache::Cold, None), series, Duration::ZERO).collect();
        assert_eq!(cells.len(), 1, "who has no sample has no cell");
        let latency = cells[0].latency.as_ref().unwrap();
        assert_eq!((latency.count(), &latency.first_ns[..]), (2, &[900][..]));
    }

    #[test]
    fn the_kits_scenarios_are_asked_for_as_the_kit_does() {
        let request = |scenario: kit::Scenario, folio_bytes| {
            let case =
                Case { folio_bytes, total_bytes: scenario.total_bytes(), ..case(scenario.cache(), None) };
            let plan = Plan { scenario: Some(scenario), latency: scenario == kit::Scenario::A, ..plan() };
            let request = plan.request(&case);
            let cells =
                plan.cells(&case, vec![Series { gbps: vec![1.0], ..Series::default() }], Duration::ZERO);
            let totals: Vec<String> = cells.map(|cell| cell.dimensions[kit::TOTAL].clone()).collect();
            (request.split_once("order=").unwrap().1.to_owned(), totals.concat())
        };
        for (scenario, folio, expected, total) in [
            (
                kit::Scenario::A,
                64 << 10,
                "4 folios=1 passes=32 evict=0 rounds=3 seed=7 warmup=512 each=1 times=1",
                "2M",
            ),
            (
                kit::Scenario::B,
                4 << 10,
                "0 folios=1 passes=8 evict=134217728 rounds=3 seed=7 evict_each=1",
                "2M",
            ),
            (kit::Scenario::C, 2 << 20, "9 folios=1 passes=512 evict=0 rounds=3 seed=7 each=1", "1G"),
            (
                kit::Scenario::D,
                2 << 20,
                "9 folios=1 passes=32 evict=134217728 rounds=3 seed=7 evict_each=1",
                "1G",
            ),
        ] {
            assert_eq!(request(scenario, folio), (expected.to_owned(), total.to_owned()));
        }
    }

    #[test]
    fn what_is_no_whole_round_is_refused() {
        let half = ROUND.lines().next().unwrap();
        let twice = format!("{half}\n{half}\n");
        for bad in [half, &twice, "", "rubbish\n", "{\"round\":0}\n", &ROUND.replace("folio_copy", "memcpy")]
        {
            assert!(matches!(plan().round(bad, 0), Err(Line::Sample { .. })), "{bad}");
        }
        assert!(plan().round(ROUND, 1).is_err());
        let error = plan().round("{\"error\":\"foliocopy failed (-133)\"}\n", 0).unwrap_err();
        assert_eq!(error, Line::Error { error: "foliocopy failed (-133)".into() });
    }

    #[test]
    fn the_modules_tables_are_read() {
        let text = "temporal, any length: rep_movsb (measured on such a CPU)\n\
                    non_temporal, up to 61440 bytes: movnti, prefetching 1024 bytes ahead (measured on such a CPU)\n\
                    non_temporal, any length: glance at the source: in a cache movq; in memory movnti (asked for by name)\n";
        let tables = tables(text);
        let band = |locality: &str, up_to, step: &str| PolicyBand {
            locality: locality.into(),
            up_to,
            step: step.into(),
        };
        assert_eq!(
            tables.bands,
            [
                band("temporal", None, "rep_movsb"),
                band("non_temporal", Some(61440), "movnti, prefetching 1024 bytes ahead"),
                band("non_temporal", None, "glance at the source: in a cache movq; in memory movnti"),
            ]
        );
        assert_eq!((tables.source.as_str(), tables.general), ("measured on such a CPU", false));
        let general = format!("temporal, any length: movq ({})\n", Source::GENERAL.text());
        assert!(super::tables(&general).general);
    }

    #[test]
    fn a_module_that_is_not_there_is_named() {
        let plan = Plan { cases: vec![case(Cache::Hot, None)], ..plan() };
        let mut never = Never;
        let error = plan.run(Path::new("/nonexistent"), &mut never).unwrap_err();
        assert_eq!(error.to_string(), "can't use /nonexistent/benchmark");
    }

    struct Never;

    impl Observer for Never {
        fn case(&mut self, _: usize, _: &Case) {}
        fn progress(&mut self, _: f64) {}
        fn interrupted(&self) -> bool {
            false
        }
    }
}
