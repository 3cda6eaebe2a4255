//! Migration to and fro while threads write and check the memory.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::MigrateError;
use super::guard::Guard;
use super::memory::{Calls, FolioMemory};
use super::switches::Switches;
use crate::memory::base_page;

/// The plan of a stress test.
#[derive(Clone, Debug)]
pub struct Stress {
    /// Bytes of a folio, in turn.
    pub folios: Vec<u64>,
    /// Bytes of memory.
    pub total_bytes: u64,
    /// Nodes. The memory moves between each two of them in turn.
    pub pairs: Vec<(u32, u32)>,
    /// Threads that write and check.
    pub threads: usize,
    /// For how long.
    pub time: Duration,
    /// The seed.
    pub seed: u64,
}

/// The outcome of a stress test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stressed {
    /// Calls of move_pages(2).
    pub moves: u64,
    /// Bytes that these moved.
    pub moved_bytes: u64,
    /// Base pages that the kernel left where they were, since a thread used them just then.
    pub refused_pages: u64,
    /// Pages that threads checked and wrote anew.
    pub checked_pages: u64,
    /// Pages that were wrong.
    pub wrong_pages: u64,
    /// The place of the first wrong byte: folio size and offset.
    pub first_wrong: Option<(u64, usize)>,
    /// False where it was interrupted.
    pub complete: bool,
}

impl Stress {
    /// Moves, writes and checks until the time is up or `interrupted` says so.
    pub fn run(&self, guard: &mut Guard, interrupted: impl Fn() -> bool) -> Result<Stressed, MigrateError> {
        let mut switches = Switches::of_this_machine();
        let mut stressed = Stressed { complete: true, ..Stressed::default() };
        let share = self.time / self.folios.len() as u32;
        for &folio_bytes in &self.folios {
            switches.only(folio_bytes, guard)?;
            let bytes = self.total_bytes.next_multiple_of(folio_bytes) as usize;
            let memory = FolioMemory::allocate(bytes, folio_bytes as usize, self.pairs[0].0)?;
            self.shake(&memory, folio_bytes, Instant::now() + share, &interrupted, &mut stressed)?;
            if interrupted() {
                stressed.complete = false;
                break;
            }
        }
        Ok(stressed)
    }

    fn shake(
        &self,
        memory: &FolioMemory,
        folio_bytes: u64,
        deadline: Instant,
        interrupted: &impl Fn() -> bool,
        stressed: &mut Stressed,
    ) -> Result<(), MigrateError> {
        let stop = AtomicBool::new(false);
        let checked = AtomicU64::new(0);
        let wrong = AtomicU64::new(0);
        let first_wrong = AtomicUsize::new(usize::MAX);
        let pages = memory.bytes() / base_page();
        let moved = thread::scope(|scope| {
            for thread in 0..self.threads {
                let stripe = Stripe {
                    start: memory.start().as_ptr() as usize,
                    pages: (pages * thread / self.threads..pages * (thread + 1) / self.threads).collect(),
                    rng: Rng::with_seed(self.seed ^ thread as u64),
                };
                let (stop, checked, wrong, first_wrong) = (&stop, &checked, &wrong, &first_wrong);
                scope.spawn(move || stripe.work(stop, checked, wrong, first_wrong));
            }
            let moved = self.move_until(memory, deadline, interrupted, stressed);
            stop.store(true, Ordering::Relaxed);
            moved
        });
        stressed.checked_pages += checked.into_inner();
        stressed.wrong_pages += wrong.into_inner();
        if stressed.first_wrong.is_none() {
            let first = first_wrong.into_inner();
            stressed.first_wrong = (first != usize::MAX).then_some((folio_bytes, first));
        }
        moved
    }

    fn move_until(
        &self,
        memory: &FolioMemory,
        deadline: Instant,
        interrupted: &impl Fn() -> bool,
        stressed: &mut Stressed,
    ) -> Result<(), MigrateError> {
        for (src, dst) in self.pairs.iter().cycle() {
            for node in [dst, src] {
                if Instant::now() >= deadline || interrupted() {
                    return Ok(());
                }
                let moved = memory.move_to(*node, Calls::One)?;
                stressed.moves += 1;
                stressed.moved_bytes += moved.bytes as u64;
                stressed.refused_pages += moved.refused.values().sum::<usize>() as u64;
            }
        }
        Ok(())
    }
}

/// Pages that one thread alone writes and reads.
struct Stripe {
    /// Address of the memory, of which the pages are counted.
    start: usize,
    pages: Vec<usize>,
    rng: Rng,
}

impl Stripe {
    /// Checks a random page and writes the next generation into it, until told to stop; checks all of them in the end.
    fn work(mut self, stop: &AtomicBool, checked: &AtomicU64, wrong: &AtomicU64, first_wrong: &AtomicUsize) {
        let mut generations = vec![0u64; self.pages.len()];
        for index in 0..self.pages.len() {
            self.write(index, 0);
        }
        let check = |stripe: &Self, index: usize, generation: u64| {
            checked.fetch_add(1, Ordering::Relaxed);
            if let Some(offset) = stripe.first_wrong(index, generation) {
                wrong.fetch_add(1, Ordering::Relaxed);
                first_wrong.fetch_min(offset, Ordering::Relaxed);
            }
        };
        while !stop.load(Ordering::Relaxed) && !generations.is_empty() {
            let index = self.rng.usize(..generations.len());
            check(&self, index, generations[index]);
            generations[index] += 1;
            self.write(index, generations[index]);
        }
        for (index, generation) in generations.iter().enumerate() {
            check(&self, index, *generation);
        }
    }

    /// The words of a page, and the words that they should be in a generation.
    fn words(&self, index: usize, generation: u64) -> impl Iterator<Item = (usize, *mut u64, u64)> + use<> {
        let page = self.pages[index];
        let address = self.start + page * base_page();
        (0..base_page() / 8).map(move |word| {
            let value =
                ((page as u64) << 40 ^ generation << 9 ^ word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (page * base_page() + 8 * word, (address + 8 * word) as *mut u64, value)
        })
    }

    fn write(&self, index: usize, generation: u64) {
        for (_, word, value) in self.words(index, generation) {
            // SAFETY: inside the memory, which outlives the threads, and in a page of this stripe alone. Volatile,
            // since the page may move under the store.
            unsafe { word.write_volatile(value) };
        }
    }

    /// Offset of the first word that is not of that generation.
    fn first_wrong(&self, index: usize, generation: u64) -> Option<usize> {
        self.words(index, generation)
            // SAFETY: as in `write`; every page was written first.
            .find(|(_, word, value)| unsafe { word.read_volatile() } != *value)
            .map(|(offset, ..)| offset)
    }
}

impl Stressed {
    /// Whether every page was right.
    pub fn is_good(&self) -> bool {
        self.wrong_pages == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_moves_to_where_it_lies_stays_right() {
        let node = crate::topology::Topology::detect().nodes[0].id;
        let stress = Stress {
            folios: vec![base_page() as u64],
            total_bytes: 1 << 20,
            pairs: vec![(node, node)],
            threads: 2,
            time: Duration::from_millis(100),
            seed: 5,
        };
        let stressed = stress.run(&mut Guard::new("/bin/false".into(), &[]), || false).unwrap();
        let pages = (1 << 20) / base_page() as u64;
        assert!(stressed.moves > 0 && stressed.checked_pages >= pages && stressed.complete, "{stressed:?}");
        assert_eq!((stressed.wrong_pages, stressed.first_wrong), (0, None));
    }

    #[test]
    fn a_page_of_another_generation_is_wrong() {
        let mut page = vec![0u64; base_page() / 8];
        let stripe = Stripe { start: page.as_mut_ptr() as usize, pages: vec![0], rng: Rng::with_seed(1) };
        stripe.write(0, 3);
        assert_eq!(stripe.first_wrong(0, 3), None);
        assert_eq!(stripe.first_wrong(0, 4), Some(0));
    }
}
