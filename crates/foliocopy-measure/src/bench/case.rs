//! One situation to be measured.

use std::collections::BTreeMap;
use std::fmt;

use crate::contender::Contender;
use crate::memory::PMD_BYTES;
use crate::result::{Cache, Situation};

/// Bytes of the range that the contender `limit` copies.
pub(super) const LIMIT_BYTES: usize = 32 << 20;

/// From this size on old buffers are freed before new ones are made: so large a buffer covers most places of the memory
/// anyway.
const KEPT_BYTES: u64 = 128 << 20;

/// A situation: a state of the cache, a folio size, and the nodes of source and destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// The state of the cache before each run.
    pub cache: Cache,
    /// Bytes of a folio: a multiple of 4096.
    pub folio_bytes: u64,
    /// Bytes a run, rounded to whole folios, one at least.
    pub total_bytes: u64,
    /// Nodes of source and destination; the caller's own where none are given.
    pub nodes: Option<(u32, u32)>,
    /// The work that is timed with the copy.
    pub then: Option<Then>,
    /// The threads that copy at once.
    pub crew: Crew,
    /// Whether the folios of a run lie scattered over four times as much memory, as those of a migration do.
    pub scattered: bool,
    /// How many threads stream memory meanwhile, where that is asked for.
    pub load: Option<usize>,
}

/// The dimension with the number of threads that stream memory meanwhile.
pub const LOAD: &str = "load";

/// A scattered run is spread over so many times its own memory.
const SCATTER: usize = 4;

/// Bytes that a scattered hot run copies again and again: 512 base pages.
const SCATTERED_HOT_BYTES: u64 = 2 << 20;

/// Work that is timed with a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// One read of the destination.
    Read,
    /// A working set of this many bytes, read before and after a copy of other memory.
    Victim {
        /// Bytes of the working set.
        bytes: u64,
    },
}

/// The threads that copy at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crew {
    /// One thread.
    One,
    /// So many threads, each with its own copy.
    Copiers(usize),
}

impl Crew {
    /// How many threads.
    pub fn threads(self) -> usize {
        match self {
            Self::One => 1,
            Self::Copiers(copiers) => copiers,
        }
    }
}

impl Case {
    /// Folios copied a run.
    pub(super) fn folios(&self) -> usize {
        (self.total_bytes / self.folio_bytes).max(1) as usize
    }

    /// Folios that a pass copies: one, where a folio is copied again and again.
    pub(super) fn folios_a_pass(&self) -> usize {
        match (self.cache, self.scattered) {
            (Cache::Hot, false) => 1,
            (Cache::Hot, true) => self.folios().min((SCATTERED_HOT_BYTES / self.folio_bytes).max(1) as usize),
            (Cache::Cold | Cache::Mixed, _) => self.folios(),
        }
    }

    /// How many passes a run takes.
    pub(super) fn passes(&self) -> usize {
        self.folios() / self.folios_a_pass()
    }

    /// Folios for which there is room in the source, and in the destination.
    pub(super) fn slots(&self) -> usize {
        if self.scattered { SCATTER * self.folios_a_pass() } else { self.folios_a_pass() }
    }

    /// Bytes of all sources, and so of all destinations, in whole huge pages.
    fn side_bytes(&self) -> u64 {
        let bytes = (self.slots() as u64).saturating_mul(self.folio_bytes);
        bytes
            .checked_next_multiple_of(PMD_BYTES as u64)
            .unwrap_or(bytes)
            .saturating_mul(self.crew.threads() as u64)
    }

    /// Whether the old buffers stay until the new ones are laid out, so that the two differ.
    pub(super) fn keeps_old_layout(&self) -> bool {
        self.side_bytes() <= KEPT_BYTES
    }

    /// Bytes of source or destination at the most: while they are laid out anew there are two of each.
    pub(super) fn side_bytes_needed(&self) -> u64 {
        if self.keeps_old_layout() { 2 * self.side_bytes() } else { self.side_bytes() }
    }

    /// Bytes of the working set that is read before and after the copies.
    pub(super) fn victim_bytes(&self) -> u64 {
        match self.then {
            Some(Then::Victim { bytes }) => bytes,
            _ => 0,
        }
    }

    /// Bytes that the threads stream which load the memory, `each` its own.
    pub(super) fn load_bytes(&self, each: usize) -> u64 {
        (self.load.unwrap_or(0) as u64).saturating_mul(each as u64)
    }

    /// Whether `contender` takes part: a stream has no state of the cache but cold.
    pub fn includes(&self, contender: &Contender) -> bool {
        contender.copies_folios()
            || self.cache == Cache::Cold && self.crew == Crew::One && self.then.is_none()
    }

    /// The dimensions of its cells beside cache, folio and nodes.
    pub fn dimensions(&self) -> BTreeMap<String, String> {
        let crew = match self.crew {
            Crew::One => None,
            Crew::Copiers(copiers) => Some(("copiers", copiers.to_string())),
        };
        let scattered = self.scattered.then(|| ("folios", "scattered".to_owned()));
        let load = self.load.map(|threads| (LOAD, threads.to_string()));
        crew.into_iter().chain(scattered).chain(load).map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let situation = Situation {
            cache: Some(self.cache),
            folio_bytes: self.folio_bytes,
            src_node: self.nodes.map(|(src, _)| src),
            dst_node: self.nodes.map(|(_, dst)| dst),
            dimensions: &self.dimensions(),
        };
        situation.fmt(f)
    }
}
