//! Two processes in turn: short runs of `foliocopy bench`, whose results come back as JSON.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::{API, GateError, NEW, OLD};
use crate::bench::{Case, Observer, Until};
use crate::memory::MemoryKind;
use crate::result::{self, Cache, Cell, Evict, Results};
use crate::turns::Visit;

/// Rounds of a short run. The figure of a run is their median. Cold runs have few: drift between two runs is worse than
/// their noise, and an eviction takes long. Hot runs take less time than the start of the process.
fn run_rounds(cache: Cache) -> u32 {
    match cache {
        Cache::Hot => 25,
        Cache::Cold | Cache::Mixed => 3,
    }
}

/// Rounds of a visit at most, of two short runs each.
const VISIT_ROUNDS: usize = 4;

/// The program of one build, and its arguments.
#[derive(Clone, Debug)]
pub struct Side {
    /// The program that measures: the build's own, or this one with the build's library.
    pub program: PathBuf,
    /// Arguments beside the case.
    pub arguments: Vec<OsString>,
}

/// One interface that both builds have.
#[derive(Clone, Debug)]
pub struct Api {
    /// Its name, one of [`super::INTERFACES`].
    pub name: String,
    /// The contender that copies by it.
    pub contender: String,
}

/// One case, measured by two processes in turn.
#[derive(Debug)]
pub struct Alternation {
    /// The case.
    pub(super) case: Case,
    /// The cases that every run measures.
    pub(super) apis: Vec<Api>,
    /// Old and new.
    sides: [Side; 2],
    how: How,
    /// Draws the order.
    rng: Rng,
    /// The cells of old and new, for each interface. Nothing before the first round.
    measured: Vec<[Cell; 2]>,
    spent: Duration,
}

/// How all cases are measured.
#[derive(Clone, Debug)]
pub struct How {
    /// The kind of memory.
    pub memory: MemoryKind,
    /// Bytes streamed through the caches before each cold copy.
    pub evict_bytes: usize,
    /// Whether these are read or written.
    pub evict: Evict,
    /// When there are rounds enough.
    pub until: Until,
}

impl Alternation {
    /// The old build and the new one.
    pub fn new(case: Case, apis: Vec<Api>, sides: [Side; 2], how: How, seed: u64) -> Self {
        Self {
            case,
            apis,
            sides,
            how,
            rng: Rng::with_seed(seed),
            measured: Vec::new(),
            spent: Duration::ZERO,
        }
    }

    /// Some rounds, one at least.
    pub(super) fn visit(
        &mut self,
        until: Option<Instant>,
        observer: &mut dyn Observer,
    ) -> Result<Visit, GateError> {
        let begun = Instant::now();
        for round in 0..VISIT_ROUNDS {
            if round > 0 && until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
            let seed = self.rng.u32(..);
            let new_first = self.rng.bool();
            let mut of_sides = [const { None }; 2];
            for new in [new_first, !new_first] {
                if observer.interrupted() {
                    return Ok(Visit::Interrupted);
                }
                match self.run(&self.sides[usize::from(new)], seed, observer)? {
                    Some(cells) => of_sides[usize::from(new)] = Some(cells),
                    None => return Ok(Visit::Interrupted),
                }
            }
            let [Some(old), Some(new)] = of_sides else { unreachable!("both ran") };
            self.add(old.into_iter().zip(new).map(|(old, new)| [old, new]));
        }
        self.spent += begun.elapsed();
        let precise = |[old, new]: &[Cell; 2]| self.how.until.suffices(&new.ratios_to(old));
        Ok(match self.measured.iter().all(precise) {
            true => Visit::Enough,
            false => Visit::More(0.0),
        })
    }

    /// A round: of each interface a sample of old and new.
    fn add(&mut self, round: impl Iterator<Item = [Cell; 2]>) {
        if self.measured.is_empty() {
            self.measured = round.collect();
            return;
        }
        for (cells, more) in self.measured.iter_mut().zip(round) {
            for (cell, more) in cells.iter_mut().zip(more) {
                cell.samples_gbps.extend(more.samples_gbps);
            }
        }
    }

    /// A short run: a cell of each interface with one sample, the median of its rounds. `None` where it was interrupted.
    fn run(&self, side: &Side, seed: u32, observer: &dyn Observer) -> Result<Option<Vec<Cell>>, GateError> {
        let Case { cache, folio_bytes, total_bytes, nodes, .. } = self.case;
        let mut command = Command::new(&side.program);
        command.args(["bench", "--quiet", "--export-json", "-"]);
        command.args(["--cache", &cache.to_string(), "--memory", self.how.memory.name()]);
        for (option, number) in [
            ("--folio", folio_bytes),
            ("--total", total_bytes),
            ("--rounds", run_rounds(cache).into()),
            ("--seed", seed.into()),
        ] {
            command.args([option, &number.to_string()]);
        }
        // Programs that know of no kinds know the number alone.
        let how = if self.how.evict == Evict::Read { String::new() } else { format!("{},", self.how.evict) };
        command.args(["--evict", &format!("{how}{}", self.how.evict_bytes)]);
        if let Some((src, dst)) = nodes {
            command.args(["--nodes", &format!("{src}:{dst}")]);
        }
        if self.case.scattered {
            command.arg("--scatter");
        }
        command.args(&side.arguments).stdin(Stdio::null());
        let program = || side.program.clone();
        let output = command.output().map_err(|source| GateError::Start { program: program(), source })?;
        if observer.interrupted() || output.status.code() == Some(130) {
            return Ok(None);
        }
        // With results 1 is a verdict of its own, of few rounds.
        if !matches!(output.status.code(), Some(0 | 1)) || output.stdout.is_empty() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.trim().trim_start_matches("error: ").to_owned();
            let said = if said.is_empty() { output.status.to_string() } else { said };
            return Err(GateError::Refused { program: program(), said });
        }
        let results = result::read_from(&output.stdout, &side.program)
            .map_err(|source| GateError::Answer { program: program(), source })?;
        let cells = self.apis.iter().map(|api| {
            let cell = find(&results, &api.contender);
            cell.ok_or_else(|| GateError::Missing { program: program(), contender: api.contender.clone() })
        });
        cells.collect::<Result<_, _>>().map(Some)
    }

    /// The cells of both builds.
    pub(super) fn into_cells(self) -> Vec<Cell> {
        let seconds = self.spent.as_secs_f64();
        let cells = self.apis.into_iter().zip(self.measured).flat_map(|(api, cells)| {
            cells.into_iter().zip([OLD, NEW]).map(move |(cell, name)| {
                let samples = cell.samples_gbps.clone();
                Cell {
                    contender: name.to_owned(),
                    dimensions: [(API.to_owned(), api.name.clone())].into(),
                    seconds: Some(seconds),
                    ratio_to_baseline: None,
                    ..cell.with_samples(samples)
                }
            })
        });
        cells.collect()
    }
}

/// The copies of `contender`, with the median as the one sample.
fn find(results: &Results, contender: &str) -> Option<Cell> {
    let cell = results.cells.iter().find(|cell| cell.contender == contender)?;
    let samples_gbps = vec![cell.median_gbps];
    // A single short run tells neither.
    Some(Cell { samples_gbps, probe_load_cycles: Vec::new(), probed: None, ..cell.clone() })
}
