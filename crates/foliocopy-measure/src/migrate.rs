//! Page migration from outside: `move_pages(2)`, timed on anonymous memory in folios of a given size.
//!
//! Each round moves the same memory to the other node and back, by every method in shuffled order, so that the two
//! directions and the methods share rounds. After every move the contents, every page's status and every page's
//! node are checked; none of that is timed.

pub mod guard;
mod memory;
mod method;
mod page_flags;
mod stress;
mod switches;

use std::time::{Duration, Instant};

use fastrand::Rng;
use thiserror::Error;

use crate::latency::clock_ns;
use crate::result::{Cell, MemoryGiven, Times};
use crate::size::Size;
use guard::Guard;
use memory::{Calls, FolioMemory, Moved};
use switches::Switches;

pub use method::Method;
pub use page_flags::Layout;
pub use stress::{Stress, Stressed};
pub use switches::smallest_thp;

/// The plan of a measurement.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Bytes of a folio, in turn.
    pub folios: Vec<u64>,
    /// Bytes moved a run.
    pub total_bytes: u64,
    /// Source and destination nodes, in turn.
    pub pairs: Vec<(u32, u32)>,
    /// The methods: one is measured as it is, two are compared.
    pub methods: Vec<Method>,
    /// Rounds at most.
    pub rounds: u32,
    /// About how long it may take.
    pub time: Duration,
    /// Seed of all that is shuffled and of the contents.
    pub seed: u64,
    /// Whether folios move one by one, each by a call of its own, whose times are kept.
    pub latency: bool,
}

/// The outcome of a measurement.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// A cell for each method, folio size and pair that was measured.
    pub cells: Vec<Cell>,
    /// The folios in which memory lay, by folio size.
    pub layouts: Vec<(u64, Layout)>,
    /// Pages that the kernel did not move, with the reason that it gave, such as `node 0 to 1, 64K: 3 pages: EBUSY`.
    pub refused: Vec<String>,
    /// False where it was interrupted.
    pub complete: bool,
}

/// Why migration could not be measured, or how it failed.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// A byte is not the one that was written before the move.
    #[error(
        "after a move from node {src} to {dst} by {method}, byte {offset} of memory in folios of {} is {found:#04x} instead of {expected:#04x}",
        Size(*folio_bytes)
    )]
    WrongByte {
        /// Node it came from.
        src: u32,
        /// Node it went to.
        dst: u32,
        /// The method.
        method: &'static str,
        /// Size of the folios.
        folio_bytes: u64,
        /// The offset from the start of the memory.
        offset: usize,
        /// The byte that is there.
        found: u8,
        /// The byte that should be there.
        expected: u8,
    },
    /// move_pages(2) says that a page is where it is not.
    #[error(
        "after a move to node {dst} by {method}, {pages} pages that are said to be moved lie on other nodes"
    )]
    Misplaced {
        /// Node it went to.
        dst: u32,
        /// The method.
        method: &'static str,
        /// How many.
        pages: usize,
    },
    /// A system call failed.
    #[error("{what}")]
    System {
        /// The system call.
        what: String,
        /// The system's message.
        #[source]
        source: std::io::Error,
    },
    /// A switch of the kernel's stands wrong and may not be set.
    #[error("{0}")]
    Switch(String),
}

impl MigrateError {
    fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }

    /// Whether this is a verdict on the kernel rather than something that this machine can't do.
    pub fn is_verdict(&self) -> bool {
        matches!(self, Self::WrongByte { .. } | Self::Misplaced { .. })
    }
}

impl Plan {
    /// The pairs without their order, in which memory goes to and fro.
    fn ways(&self) -> Vec<(u32, u32)> {
        let mut ways: Vec<(u32, u32)> = Vec::new();
        for &(src, dst) in &self.pairs {
            if !ways.contains(&(dst, src)) && !ways.contains(&(src, dst)) {
                ways.push((src, dst));
            }
        }
        ways
    }

    /// Measures. `observe` is told how far it is (0 to 1) and at what, and returns whether to stop.
    ///
    /// The guard puts back whatever this changes in the kernel's settings.
    pub fn run(
        &self,
        guard: &mut Guard,
        mut observe: impl FnMut(f64, &str) -> bool,
    ) -> Result<Outcome, MigrateError> {
        let mut rng = Rng::with_seed(self.seed);
        let mut outcome = Outcome { complete: true, ..Outcome::default() };
        let ways = self.ways();
        let cases = self.folios.len() * ways.len();
        let mut switches = Switches::of_this_machine();
        let mut case = 0;
        for &folio_bytes in &self.folios {
            switches.only(folio_bytes, guard)?;
            for &(a, b) in &ways {
                let label = format!("node {a} and {b}, {} ({} of {cases})", Size(folio_bytes), case + 1);
                // None where that is beyond what a clock can say: rounds alone decide.
                let deadline = Instant::now().checked_add(self.time / cases as u32);
                let mut run = Run::new(self, folio_bytes, (a, b), &mut rng)?;
                let mut stop = false;
                for round in 0..self.rounds {
                    if round > 0 && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        break;
                    }
                    let done = (case as f64 + f64::from(round) / f64::from(self.rounds)) / cases as f64;
                    stop = observe(done, &label);
                    if stop {
                        break;
                    }
                    run.round(guard, &mut rng)?;
                }
                run.finish(&mut outcome);
                case += 1;
                if stop {
                    outcome.complete = false;
                    return Ok(outcome);
                }
            }
        }
        Ok(outcome)
    }
}

/// Memory of one folio size that goes to and fro between two nodes.
struct Run<'a> {
    plan: &'a Plan,
    folio_bytes: u64,
    nodes: (u32, u32),
    memory: FolioMemory,
    layout: Layout,
    /// By method: there, and back.
    samples: Vec<[Vec<f64>; 2]>,
    times: Vec<[Times; 2]>,
    /// Whether each move needs memory that has not moved before.
    renew: bool,
    refused: Vec<String>,
    begun: Instant,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, folio_bytes: u64, nodes: (u32, u32), rng: &mut Rng) -> Result<Self, MigrateError> {
        let bytes = plan.total_bytes.next_multiple_of(folio_bytes) as usize;
        let mut memory = FolioMemory::allocate(bytes, folio_bytes as usize, nodes.0)?;
        memory.fill(rng.u64(..));
        let layout = memory.layout();
        let samples = plan.methods.iter().map(|_| [Vec::new(), Vec::new()]).collect();
        Ok(Self {
            plan,
            folio_bytes,
            nodes,
            memory,
            layout,
            samples,
            times: plan.methods.iter().map(|_| Default::default()).collect(),
            renew: false,
            refused: Vec::new(),
            begun: Instant::now(),
        })
    }

    /// There and back by every method.
    fn round(&mut self, guard: &mut Guard, rng: &mut Rng) -> Result<(), MigrateError> {
        let (a, b) = self.nodes;
        let mut order: Vec<usize> = (0..self.plan.methods.len()).collect();
        rng.shuffle(&mut order);
        for index in order {
            let method = self.plan.methods[index];
            method.set(guard)?;
            for (way, (src, dst)) in [(a, b), (b, a)].into_iter().enumerate() {
                let moved = self.leg(method, src, dst)?;
                self.samples[index][way].push(moved.bytes as f64 / moved.took.as_secs_f64() / 1e9);
                self.times[index][way].add_run(moved.times, false);
            }
        }
        Ok(())
    }

    /// One move of whole folios, checked. A kernel that splits them when they move a second time (seen on Linux 6.12, with
    /// folios smaller than a PMD) gets new ones for each move, and the move that split them is made again.
    fn leg(&mut self, method: Method, src: u32, dst: u32) -> Result<Moved, MigrateError> {
        let is_whole = |memory: &FolioMemory| memory.layout().part_of_size().is_none_or(|part| part == 1.0);
        loop {
            if self.renew {
                self.memory.renew(src)?;
            }
            let whole = is_whole(&self.memory);
            let moved = self.checked_move(method, src, dst)?;
            if !whole || self.renew || is_whole(&self.memory) {
                return Ok(moved);
            }
            self.renew = true;
        }
    }

    /// One move, checked.
    fn checked_move(&mut self, method: Method, src: u32, dst: u32) -> Result<Moved, MigrateError> {
        let calls = if self.plan.latency { Calls::Each } else { Calls::One };
        let moved = self.memory.move_to(dst, calls)?;
        for (errno, pages) in &moved.refused {
            let error = std::io::Error::from_raw_os_error(*errno);
            let text = format!("node {src} to {dst}, {}: {pages} pages: {error}", Size(self.folio_bytes));
            if !self.refused.contains(&text) {
                self.refused.push(text);
            }
        }
        if moved.refused.is_empty() {
            let pages = self.memory.pages_elsewhere(dst)?;
            if pages > 0 {
                return Err(MigrateError::Misplaced { dst, method: method.name(), pages });
            }
        }
        if let Some(wrong) = self.memory.first_wrong_byte() {
            return Err(MigrateError::WrongByte {
                src,
                dst,
                method: method.name(),
                folio_bytes: self.folio_bytes,
                offset: wrong.offset,
                found: wrong.found,
                expected: wrong.expected,
            });
        }
        Ok(moved)
    }

    /// Turns the samples into cells, for the pairs that were asked for.
    fn finish(self, outcome: &mut Outcome) {
        let (a, b) = self.nodes;
        let huge_bytes = self.layout.bytes_of_size().unwrap_or(0);
        let given = MemoryGiven { bytes: self.memory.bytes() as u64, huge_bytes, on_node_bytes: None };
        let ways = [(a, b), (b, a)].map(|way| self.plan.pairs.contains(&way).then_some(way));
        // There and back take turns: each has its share of the time.
        let seconds = self.begun.elapsed().as_secs_f64() / ways.iter().flatten().count().max(1) as f64;
        for (way, (src, dst)) in ways.into_iter().enumerate().filter_map(|(index, way)| Some((index, way?))) {
            let measured = self.plan.methods.iter().zip(&self.samples).zip(&self.times);
            for ((method, samples), times) in measured {
                if samples[way].is_empty() {
                    continue;
                }
                outcome.cells.push(Cell {
                    src_node: Some(src),
                    dst_node: Some(dst),
                    dimensions: [("method".to_owned(), "move_pages".to_owned())].into(),
                    memory: Some(given.clone()),
                    seconds: Some(seconds),
                    latency: times[way].clone().into_latency(Some(clock_ns())),
                    ..Cell::new(method.name(), self.folio_bytes, samples[way].clone())
                });
            }
        }
        outcome.layouts.push((self.folio_bytes, self.layout));
        outcome.refused.extend(self.refused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(pairs: &[(u32, u32)]) -> Plan {
        Plan {
            folios: vec![64 << 10],
            total_bytes: 1 << 20,
            pairs: pairs.to_vec(),
            methods: vec![Method::Kernel],
            rounds: 1,
            time: Duration::MAX,
            seed: 1,
            latency: false,
        }
    }

    #[test]
    fn both_directions_are_one_way() {
        assert_eq!(plan(&[(0, 1), (1, 0), (0, 2)]).ways(), [(0, 1), (0, 2)]);
        assert_eq!(plan(&[(2, 1)]).ways(), [(2, 1)]);
    }
}
