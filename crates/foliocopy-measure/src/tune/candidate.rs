//! What takes part in a trial: a primitive, and how far ahead it prefetches.

use std::fmt;

use foliocopy::{Cpu, Decisions, Primitive};

/// The distances that are tried, in bytes.
const DISTANCES: [u32; 5] = [512, 1024, 2048, 4096, 8192];

/// A primitive with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) primitive: Primitive,
    /// 0 where it doesn't prefetch.
    pub(super) prefetch_distance: u32,
}

impl Candidate {
    /// One that stores through the cache.
    pub(super) fn temporal(primitive: Primitive) -> Self {
        Self { primitive, prefetch_distance: 0 }
    }

    /// Who copies past the cache by these decisions, what is short.
    pub(super) fn short(decisions: &Decisions) -> Self {
        let Decisions { non_temporal: primitive, prefetch_distance, .. } = *decisions;
        Self { primitive, prefetch_distance }
    }

    /// Who copies past the cache by these decisions, what is long.
    pub(super) fn long(decisions: &Decisions) -> Self {
        let short = Self::short(decisions);
        let prefetch_distance = decisions.long_prefetch_distance.unwrap_or(short.prefetch_distance);
        Self { prefetch_distance, ..short }
    }

    /// All that `cpu` can run and that store past the cache, those built in among them.
    pub(super) fn all_non_temporal(cpu: &Cpu, built_in: [&Decisions; 2]) -> Vec<Self> {
        let mut candidates: Vec<Self> = Vec::new();
        let tried = available(cpu)
            .filter(|primitive| primitive.is_non_temporal())
            .flat_map(|primitive| DISTANCES.map(|prefetch_distance| Self { primitive, prefetch_distance }));
        let built_in = built_in.map(|decisions| [Self::short(decisions), Self::long(decisions)]);
        for candidate in built_in.into_iter().flatten().chain(tried) {
            if !candidates.contains(&candidate) {
                candidates.push(candidate);
            }
        }
        candidates
    }

    /// All that `cpu` can run and that store through the cache.
    pub(super) fn all_temporal(cpu: &Cpu) -> Vec<Self> {
        let x86_64 = available(cpu).any(|primitive| primitive != Primitive::Portable);
        available(cpu)
            .filter(|primitive| !primitive.is_non_temporal())
            // Where there are loops of ours, the compiler's says nothing new.
            .filter(|primitive| !x86_64 || *primitive != Primitive::Portable)
            .map(Self::temporal)
            .collect()
    }
}

fn available(cpu: &Cpu) -> impl Iterator<Item = Primitive> {
    Primitive::ALL.iter().copied().filter(|primitive| primitive.is_available(cpu))
}

/// Such as `movnti, 1024 ahead`.
impl fmt::Display for Candidate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefetch_distance {
            0 => write!(formatter, "{}", self.primitive),
            distance => write!(formatter, "{}, {distance} ahead", self.primitive),
        }
    }
}
