//! The limits of this machine's memory: how fast it can be read, written, written past the caches and copied.
//!
//! Every loop runs in every round, in shuffled order, over working sets that fit into each cache and one that fits
//! into none, with one thread and with all. The limit of copying is the fastest copying loop, chosen in every other half of the
//! rounds, so that a primitive's part of the limit is a ratio within the round like every other figure here.

mod stream;

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use foliocopy::{Cpu, Primitive};

use crate::affinity;
use crate::memory::{Mapping, MemoryError, MemoryKind};
use crate::result::{CacheLevel, Cell};
use crate::statistics::best_of_halves;
use crate::topology::parse_list;
use stream::Loop;

/// The name of the cells of the fastest copying loop.
pub const COPY_LIMIT: &str = "copy limit";

/// The shortest timed stretch: long against the clock's resolution and short against a scheduler's tick.
const STRETCH: Duration = Duration::from_millis(4);

/// The plan of a roofline.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The CPU of the loops.
    pub cpu: Cpu,
    /// The working sets, by name, in bytes of source and destination together and of one thread.
    pub levels: Vec<Level>,
    /// Numbers of threads, in turn.
    pub threads: Vec<usize>,
    /// The CPUs to run on, at least as many as threads.
    pub cpus: Vec<u32>,
    /// Rounds of each level and number of threads.
    pub rounds: u32,
    /// The seed of every shuffle.
    pub seed: u64,
}

/// One working set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// The level: `L1`, `L2`, `L3` or `memory`.
    pub name: String,
    /// Bytes of one thread's buffers when one thread runs. A shared cache is divided among more.
    pub bytes: usize,
    /// Threads that share the cache.
    pub shared_by: usize,
}

impl Level {
    /// Half of each cache, and four times the last one (128 MiB at least).
    pub fn all(caches: &[CacheLevel]) -> Vec<Self> {
        let cached = caches.iter().map(|cache| Self {
            name: format!("L{}", cache.level),
            bytes: (cache.bytes / 2) as usize & !(2 * stream::BLOCK - 1),
            shared_by: parse_list(&cache.shared_cpus).len().max(1),
        });
        let last = caches.last().map_or(0, |cache| cache.bytes);
        let memory = Self { name: "memory".into(), bytes: (4 * last).max(128 << 20) as usize, shared_by: 1 };
        cached.chain([memory]).collect()
    }

    /// Bytes of each of `threads` threads' buffers, in whole blocks.
    fn bytes_each(&self, threads: usize) -> usize {
        let part = self.bytes / threads.min(self.shared_by);
        (part & !(2 * stream::BLOCK - 1)).max(2 * stream::BLOCK)
    }
}

/// Measures; `progress` hears the part that is done and answers whether to go on. The cells have no ratios yet; the
/// baseline that they want is [`COPY_LIMIT`].
pub fn measure(plan: &Plan, mut progress: impl FnMut(f64) -> bool) -> Result<(Vec<Cell>, bool), MemoryError> {
    let loops = Loop::available(&plan.cpu);
    let mut rng = Rng::with_seed(plan.seed);
    let mut cells = Vec::new();
    let stages = plan.levels.len() * plan.threads.len();
    for (stage, (level, &threads)) in plan
        .levels
        .iter()
        .flat_map(|level| plan.threads.iter().map(move |threads| (level, threads)))
        .enumerate()
    {
        let bytes = level.bytes_each(threads);
        let buffers: Vec<Mapping> =
            (0..threads).map(|_| Mapping::new(MemoryKind::Thp, bytes, 1, None)).collect::<Result<_, _>>()?;
        let mut samples: Vec<Vec<f64>> = vec![Vec::new(); loops.len()];
        let mut order: Vec<usize> = (0..loops.len()).collect();
        let mut complete = true;
        for round in 0..plan.rounds {
            rng.shuffle(&mut order);
            let mut sampled = vec![0.0; loops.len()];
            for &index in &order {
                sampled[index] = throughput(loops[index], &buffers, bytes, &plan.cpus);
            }
            for (samples, sample) in samples.iter_mut().zip(sampled) {
                samples.push(sample);
            }
            let done = (stage as f64 + f64::from(round + 1) / f64::from(plan.rounds)) / stages as f64;
            if !progress(done) {
                complete = false;
                break;
            }
        }
        cells.extend(stage_cells(level, threads, bytes, &loops, &samples));
        if !complete {
            return Ok((cells, false));
        }
    }
    Ok((cells, true))
}

/// The cells of one level and number of threads: the limits, then the primitives.
fn stage_cells(
    level: &Level,
    threads: usize,
    bytes: usize,
    loops: &[Loop],
    samples: &[Vec<f64>],
) -> Vec<Cell> {
    let cell = |name: &str, samples: Vec<f64>| Cell {
        dimensions: BTreeMap::from([
            ("level".to_owned(), level.name.clone()),
            ("threads".to_owned(), threads.to_string()),
        ]),
        ..Cell::new(name, bytes as u64, samples)
    };
    let best = |wanted: &dyn Fn(&Loop) -> bool| {
        let of_kind = loops.iter().zip(samples).filter(|(of, _)| wanted(of));
        best_of_halves(&of_kind.map(|(_, samples)| samples.as_slice()).collect::<Vec<_>>())
    };
    let mut cells = Vec::new();
    cells.extend(best(&|of| matches!(of, Loop::Read(_))).map(|samples| cell("read", samples)));
    cells.extend(best(&|of| matches!(of, Loop::Write(_))).map(|samples| cell("write", samples)));
    #[cfg(target_arch = "x86_64")]
    cells.extend(
        best(&|of| matches!(of, Loop::WriteNonTemporal(_)))
            .map(|samples| cell("write non-temporal", samples)),
    );
    cells.extend(best(&|of| matches!(of, Loop::Copy(_))).map(|samples| cell(COPY_LIMIT, samples)));
    for (of, samples) in loops.iter().zip(samples) {
        if let Loop::Copy(primitive) = of {
            cells.push(cell(primitive.name(), samples.clone()));
        }
    }
    cells
}

/// GB/s of `of` over the buffers, one thread a buffer, all at once.
fn throughput(of: Loop, buffers: &[Mapping], bytes: usize, cpus: &[u32]) -> f64 {
    let barrier = Barrier::new(buffers.len());
    let spans: Vec<(Instant, Instant, usize)> = thread::scope(|scope| {
        let workers: Vec<_> = buffers
            .iter()
            .zip(cpus)
            .map(|(buffer, &cpu)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    // A machine that forbids pinning is measured as it schedules.
                    let _ = affinity::pin(cpu);
                    // SAFETY: the buffer is this thread's alone for as long as the scope lasts, writable, and at
                    // least `bytes` long.
                    unsafe { timed(of, buffer.as_ptr().cast_mut(), bytes, barrier) }
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("a measuring thread does not panic")).collect()
    });
    let first = spans.iter().map(|(start, ..)| *start).min();
    let last = spans.iter().map(|(_, end, _)| *end).max();
    let total: usize = spans.iter().map(|(.., moved)| *moved).sum();
    match first.zip(last) {
        Some((first, last)) => total as f64 / (last - first).as_nanos().max(1) as f64,
        None => 0.0,
    }
}

/// Repeats `of` for at least [`STRETCH`] and returns when it began and ended and what it moved.
///
/// # Safety
///
/// `buffer` is valid for reads and writes of `bytes`, and nobody else touches it meanwhile.
unsafe fn timed(of: Loop, buffer: *mut u8, bytes: usize, barrier: &Barrier) -> (Instant, Instant, usize) {
    // Once untimed: the caches hold what the level says.
    // SAFETY: as the caller promises.
    let moved = unsafe { of.run(buffer, bytes) };
    barrier.wait();
    let start = Instant::now();
    let mut total = 0;
    loop {
        // SAFETY: as the caller promises.
        unsafe { of.run(buffer, bytes) };
        total += moved;
        let end = Instant::now();
        if end - start >= STRETCH {
            return (start, end, total);
        }
    }
}

/// The primitives that have cells, in the engine's order.
pub fn primitives(cells: &[Cell]) -> Vec<&'static str> {
    let names = Primitive::ALL.iter().map(|primitive| primitive.name());
    names.filter(|name| cells.iter().any(|cell| cell.contender == *name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let cpus = affinity::allowed_cpus().unwrap();
        Plan {
            cpu: Cpu::detect(),
            levels: vec![
                Level { name: "L2".into(), bytes: 256 << 10, shared_by: 1 },
                Level { name: "memory".into(), bytes: 8 << 20, shared_by: 1 },
            ],
            threads: vec![1, cpus.len()],
            cpus,
            rounds: 3,
            seed: 1,
        }
    }

    #[test]
    fn every_level_has_every_limit() {
        let (cells, complete) = measure(&plan(), |_| true).unwrap();
        assert!(complete);
        let expected: &[&str] = match cfg!(target_arch = "x86_64") {
            true => &["read", "write", "write non-temporal", COPY_LIMIT, "rep_movsb", "movnti"],
            false => &["read", "write", COPY_LIMIT, "portable"],
        };
        for level in ["L2", "memory"] {
            for name in expected {
                let cell =
                    cells.iter().find(|cell| cell.contender == *name && cell.dimensions["level"] == level);
                let cell = cell.unwrap_or_else(|| panic!("{level} {name}"));
                assert_eq!(cell.samples_gbps.len(), 3);
                assert!(cell.samples_gbps.iter().all(|gbps| *gbps > 0.0 && gbps.is_finite()));
            }
        }
        let available = Primitive::ALL.iter().filter(|by| by.is_available(&plan().cpu));
        assert_eq!(primitives(&cells).len(), available.count());
    }

    #[test]
    fn the_limit_of_a_round_is_some_primitives() {
        let (cells, _) = measure(&plan(), |_| true).unwrap();
        for limit in cells.iter().filter(|cell| cell.contender == COPY_LIMIT) {
            for (round, gbps) in limit.samples_gbps.iter().enumerate() {
                let is_it =
                    |cell: &Cell| cell.situation() == limit.situation() && cell.samples_gbps[round] == *gbps;
                assert!(
                    cells.iter().any(|cell| primitives(&cells).contains(&&*cell.contender) && is_it(cell))
                );
            }
        }
    }

    #[test]
    fn an_interrupted_measurement_keeps_its_rounds() {
        let (cells, complete) = measure(&plan(), |_| false).unwrap();
        assert!(!complete);
        assert!(cells.iter().all(|cell| cell.samples_gbps.len() == 1 && cell.dimensions["level"] == "L2"));
    }

    #[test]
    fn levels_are_half_of_each_cache_and_more_than_all() {
        let cache = |level, bytes, cpus: &str| CacheLevel { level, bytes, shared_cpus: cpus.into() };
        let levels =
            Level::all(&[cache(1, 48 << 10, "0"), cache(2, 1 << 20, "0"), cache(3, 32 << 20, "0-7")]);
        let names: Vec<_> = levels.iter().map(|level| (level.name.as_str(), level.bytes)).collect();
        assert_eq!(names, [("L1", 24 << 10), ("L2", 512 << 10), ("L3", 16 << 20), ("memory", 128 << 20)]);
        assert_eq!(levels[2].bytes_each(4), 4 << 20);
        assert_eq!(levels[1].bytes_each(4), 512 << 10);
        assert_eq!(Level::all(&[])[0].bytes, 128 << 20);
    }
}
