//! Threads that stream memory while others are measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use crate::affinity;
use crate::eviction::read_lines;
use crate::memory::{Mapping, MemoryError, MemoryKind};

/// Bytes that a thread reads before it counts them: some microseconds' worth, and less than a buffer has.
const PIECE: usize = 64 << 10;

/// Threads that read, each a buffer of its own, until they are dropped.
pub(super) struct Streams {
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// What the threads and their owner share.
#[derive(Default)]
struct Shared {
    /// How many threads have read something.
    started: AtomicUsize,
    read: AtomicU64,
    stop: AtomicBool,
}

impl Streams {
    /// Starts `threads`, in turn on `cpus`, each with `bytes` on `node` or near the thread, and waits until all of them read.
    pub(super) fn start(
        threads: usize,
        cpus: &[u32],
        bytes: usize,
        node: Option<u32>,
    ) -> Result<Self, MemoryError> {
        let mut streams = Self { threads: Vec::new(), shared: Arc::default() };
        for index in 0..threads {
            let shared = Arc::clone(&streams.shared);
            let cpu = cpus.get(index % cpus.len().max(1)).copied();
            let mut mapping = Mapping::new(MemoryKind::Thp, bytes, 1, node)?;
            // Pages that nobody has written are all the one huge zero page.
            mapping.as_mut_slice().fill(0x5a);
            streams.threads.push(thread::spawn(move || {
                // Where it may not, it runs wherever the scheduler puts it.
                let _ = cpu.map(affinity::pin);
                shared.stream(&mapping);
            }));
        }
        while streams.shared.started.load(Ordering::Relaxed) < threads {
            thread::yield_now();
        }
        Ok(streams)
    }

    /// How many bytes all of them have read.
    pub(super) fn read(&self) -> u64 {
        self.shared.read.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn stream(&self, mapping: &Mapping) {
        read_lines(&mapping.as_slice()[..PIECE]);
        self.started.fetch_add(1, Ordering::Relaxed);
        loop {
            for piece in mapping.as_slice().chunks(PIECE) {
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                read_lines(piece);
                self.read.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It reads memory of its own and can't panic.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_read_until_they_are_dropped() {
        let cpus = affinity::allowed_cpus().unwrap();
        let streams = Streams::start(2, &cpus, 4 << 20, None).unwrap();
        let shared = Arc::clone(&streams.shared);
        let before = streams.read();
        while streams.read() < before + (1 << 20) {
            thread::yield_now();
        }
        drop(streams);
        let after = shared.read.load(Ordering::Relaxed);
        assert_eq!(Arc::strong_count(&shared), 1, "all threads are gone");
        assert_eq!(shared.read.load(Ordering::Relaxed), after);
    }

    #[test]
    fn no_threads_read_nothing() {
        assert_eq!(Streams::start(0, &[], 4 << 20, None).unwrap().read(), 0);
    }
}
