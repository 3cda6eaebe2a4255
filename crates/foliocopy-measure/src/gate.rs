//! The paired gate: an old build against a new one, in the rounds of one run.
//!
//! Plain copies of two C libraries run in one process, in shuffled order within each round. What two builds can't do in one process
//! runs in two: machine-check-safe copies, since each library would replace the other's SIGBUS handler, and the Rust API, of which
//! a process has one. There a round is a short run of each build's process, one after the other in an order that is drawn by
//! lot. Either way the ratio is taken within the round, and two builds that are alike exchange their places by lot alone:
//! so the sign test's interval is exact for them, whatever the machine does meanwhile.

mod alternation;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::bench::{Bench, BenchError, Observer, Outcome, Plan};
use crate::contender::ContenderError;
use crate::result::{Cell, ReadError};
use crate::turns;

pub use alternation::{Alternation, Api, How, Side};

/// The command in the results of a gate.
pub const COMMAND: &str = "against";

/// The contender of the old build, to which ratios refer.
pub const OLD: &str = "old";

/// The contender of the new build.
pub const NEW: &str = "new";

/// The dimension that tells which interface copied.
pub const API: &str = "api";

/// The interfaces that can be compared, those of the C library first.
pub const INTERFACES: [&str; 7] = [
    "c:copy_pages",
    "c:copy_folios",
    "c:copy_mc_pages",
    "rust:copy_pages",
    "rust:copy_mc_pages",
    "rust:copy_folios",
    "rust:copy_mc_folios",
];

/// The gate's plan.
#[derive(Debug)]
pub struct Gate {
    /// Plain copies of two libraries, whose contenders are [`OLD`] and [`NEW`].
    pub libraries: Option<Plan>,
    /// Interfaces that run in processes of their own.
    pub alternations: Vec<Alternation>,
    /// About so long for all together.
    pub time: Duration,
}

/// Why builds can't be compared.
#[derive(Debug, Error)]
pub enum GateError {
    /// The libraries can't be measured.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// A library can't be loaded.
    #[error(transparent)]
    Contender(#[from] ContenderError),
    /// A program can't be started.
    #[error("can't run `{}`", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's message.
        source: io::Error,
    },
    /// It refused.
    #[error("`{} bench` refuses to measure: {said}", program.display())]
    Refused {
        /// The program.
        program: PathBuf,
        /// Its own words.
        said: String,
    },
    /// Its results can't be read.
    #[error("`{} bench` writes no results that this program can read", program.display())]
    Answer {
        /// The program.
        program: PathBuf,
        /// What is wrong with them.
        source: ReadError,
    },
    /// Its results lack the contender.
    #[error("`{} bench` did not measure `{contender}`", program.display())]
    Missing {
        /// The program.
        program: PathBuf,
        /// The missing library or program.
        contender: String,
    },
}

impl Gate {
    /// How many cases have a turn.
    pub fn cases(&self) -> usize {
        self.libraries.as_ref().map_or(0, |plan| plan.cases.len()) + self.alternations.len()
    }

    /// Measures. An interrupted measurement ends early and well.
    ///
    /// # Errors
    ///
    /// Where a build can't be measured, or copies wrongly.
    pub fn run(mut self, observer: &mut dyn Observer) -> Result<Outcome, GateError> {
        let mut bench = self.libraries.as_ref().map(Bench::new).transpose()?;
        let in_one_process = self.libraries.as_ref().map_or(0, |plan| plan.cases.len());
        let count = in_one_process + self.alternations.len();
        let alternations = &mut self.alternations;
        let complete = turns::take(count, self.time, observer, |index, until, observer| {
            match (index.checked_sub(in_one_process), &mut bench) {
                (Some(index), _) => {
                    observer.case(in_one_process + index, &alternations[index].case);
                    alternations[index].visit(until, observer)
                }
                (None, Some(bench)) => Ok(bench.visit(index, until, observer)?),
                (None, None) => unreachable!("no case without libraries"),
            }
        })?;
        let mut cells: Vec<Cell> = bench.map(Bench::into_cells).unwrap_or_default();
        for cell in &mut cells {
            let api = match cell.dimensions.remove("folios") {
                Some(_) => INTERFACES[1],
                None => INTERFACES[0],
            };
            cell.dimensions.insert(API.to_owned(), api.to_owned());
        }
        cells.extend(self.alternations.into_iter().flat_map(Alternation::into_cells));
        Ok(Outcome { cells, complete })
    }
}
