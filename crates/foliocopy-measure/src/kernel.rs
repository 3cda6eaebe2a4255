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
use crate::result::{Cache, Cell, Contender, PolicyBand, PolicyTables};
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
    Sample { round: u32, contender: String, bytes: u64, nanoseconds: u64 },
    Error { error: String },
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
            let mut samples = vec![Vec::new(); self.contenders.len()];
            let begun = Instant::now();
            let complete = self.run_case(folder, case, until, &mut samples, &mut |part| {
                observer.progress((index as f64 + part) / self.cases.len() as f64);
                observer.interrupted()
            })?;
            cells.extend(self.cells(case, samples, begun.elapsed()));
            if !complete {
                return Ok(Outcome { cells, complete: false });
            }
        }
        Ok(Outcome { cells, complete: true })
    }

    /// A case, round by round, into GB/s by contender. Whether it came to its end.
    fn run_case(
        &self,
        folder: &Path,
        case: &Case,
        until: Option<Instant>,
        samples: &mut [Vec<f64>],
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
        // One read is one round, of less than this.
        let mut reader = BufReader::with_capacity(64 << 10, file);
        let mut rounds = 0;
        loop {
            let round = match reader.fill_buf() {
                Ok([]) => return Ok(rounds == self.rounds),
                Ok(round) => round,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
                Err(error) => return Err(io(error)),
            };
            let bytes = round.len();
            let text = String::from_utf8_lossy(round).into_owned();
            reader.consume(bytes);
            for (contender, gbps) in self.round(&text, rounds).map_err(|line| match line {
                Line::Error { error } => refused(error),
                Line::Sample { .. } => KernelBenchError::Answer { answer: text.clone() },
            })? {
                samples[contender].push(gbps);
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

    /// The samples of a round, each with its contender's index. What is no sample of that round is an error, and so is a
    /// round without all contenders.
    fn round(&self, text: &str, round: u32) -> Result<Vec<(usize, f64)>, Line> {
        let unreadable = || Line::Sample { round, contender: String::new(), bytes: 0, nanoseconds: 0 };
        let mut samples = Vec::new();
        for line in text.lines() {
            match serde_json::from_str(line).map_err(|_| unreadable())? {
                Line::Sample { round: of, contender, bytes, nanoseconds }
                    if of == round && nanoseconds > 0 =>
                {
                    let index = self.contenders.iter().position(|name| *name == contender);
                    samples.push((index.ok_or_else(unreadable)?, bytes as f64 / nanoseconds as f64));
                }
                other => return Err(other),
            }
        }
        let complete = (0..self.contenders.len()).all(|index| samples.iter().any(|(of, _)| *of == index));
        if complete && samples.len() == self.contenders.len() { Ok(samples) } else { Err(unreadable()) }
    }

    fn cells(&self, case: &Case, samples: Vec<Vec<f64>>, took: Duration) -> impl Iterator<Item = Cell> {
        let case = *case;
        self.contenders.clone().into_iter().zip(samples).filter(|(_, samples)| !samples.is_empty()).map(
            move |(contender, samples)| Cell {
                cache: Some(case.cache),
                src_node: case.nodes.map(|(src, _)| src),
                dst_node: case.nodes.map(|(_, dst)| dst),
                seconds: Some(took.as_secs_f64()),
                ..Cell::new(contender, case.folio_bytes, samples)
            },
        )
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
        let mut request = format!(
            "contenders={} order={} folios={folios} passes={passes} evict={evict} rounds={} seed={}",
            self.contenders.join(","),
            (case.folio_bytes >> 12).ilog2(),
            self.rounds,
            self.seed
        );
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
        assert_eq!(plan().round(ROUND, 0), Ok(vec![(1, 2.0), (0, 1.0)]));
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
