//! Makes caches cold: flushes the lines to be copied, and reads or writes a buffer larger than all caches. Makes a part of the
//! memory hot again.
//!
//! Reading a buffer alone is not enough. A last-level cache keeps lines that were used twice, such as a destination that was
//! read after the copy. See docs/tuning-notes.md, "what an eviction keeps".

use std::hint::black_box;
use std::slice;
#[cfg(target_arch = "x86_64")]
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::memory::{Mapping, MemoryError, MemoryKind};
use crate::result::Evict;

/// Bytes that the RFC's benchmark streams through the L3 before each cold copy.
pub const RFC_BYTES: u64 = 128 << 20;

/// Readings after which memory is in the cache. A last-level cache that a stream has just gone through does not keep lines that
/// are read once. See docs/tuning-notes.md, "what an eviction keeps".
const WARMING_READS: usize = 8;

/// The line size of every x86-64 CPU so far, and of most for aarch64. None has smaller ones.
const LINE: usize = 64;

/// How many bytes evict everything: as the RFC has it, or four times the last-level cache if that is more.
pub fn default_bytes(last_level_cache: Option<u64>) -> u64 {
    last_level_cache.map_or(RFC_BYTES, |cache| RFC_BYTES.max(4 * cache))
}

/// Bytes of a cold run whose destination is read afterwards: the reader comes before the copied lines leave the cache.
pub const COLD_RUN_READ_BYTES: u64 = 2 << 20;

/// Bytes of a cold run: as many as the last-level cache holds. So dirty lines are written back within the run, and not at the
/// expense of the next one. At most 64 MiB, which leaves time for many rounds. Shorter runs flatter copies through the cache: see
/// docs/tuning-notes.md, "how long a run is".
pub fn cold_run_bytes(last_level_cache: Option<u64>) -> u64 {
    last_level_cache.unwrap_or(32 << 20).clamp(2 << 20, 64 << 20)
}

/// A buffer that pushes everything else out of the caches.
#[derive(Debug)]
pub struct EvictionBuffer {
    mapping: Mapping,
    how: Evict,
}

impl EvictionBuffer {
    /// Maps `bytes`, in huge pages where there are any, on the caller's node.
    pub fn new(bytes: usize, how: Evict) -> Result<Self, MemoryError> {
        let mut mapping = Mapping::new(MemoryKind::Thp, bytes, 1, None)?;
        mapping.as_mut_slice().fill(0x5a);
        let buffer = Self { mapping, how };
        // Lines that filling left dirty would be written back at the expense of the first copy.
        buffer.evict();
        Ok(buffer)
    }

    /// Reads every line once, or writes to it. Lines that a write leaves dirty are written back while the measured copy runs,
    /// at its expense.
    pub fn evict(&self) {
        match self.how {
            Evict::Read => read_lines(self.mapping.as_slice()),
            Evict::Write => {
                for line in self.words().chunks_exact(LINE / size_of::<u64>()) {
                    // Another value each time, or a CPU might see that nothing changes.
                    line[0].store(line[0].load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
                }
            }
        }
    }

    /// The buffer, for several threads to write to.
    fn words(&self) -> &[AtomicU64] {
        let (start, length) = (self.mapping.as_ptr(), self.mapping.bytes() / size_of::<u64>());
        // SAFETY: mapped, initialized and aligned to pages; the buffer is written to through this alone, and read through nothing
        // else where it is written to.
        unsafe { slice::from_raw_parts(start.cast(), length) }
    }
}

/// Reads one word of every line.
pub fn read_lines(memory: &[u8]) {
    let mut sum = 0u64;
    for line in memory.chunks_exact(LINE) {
        sum = sum.wrapping_add(u64::from(line[0]));
    }
    black_box(sum);
}

/// Brings memory into the cache, all of it, where that is large enough.
pub fn warm<'a>(memory: impl Iterator<Item = &'a [u8]> + Clone) {
    for _ in 0..WARMING_READS {
        memory.clone().for_each(read_lines);
    }
}

/// Writes every line of `memory` back and puts it out of every cache, where the CPU has an instruction for that.
pub fn flush_lines(memory: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::{asm, x86_64};
        static FLUSHES_AT_ONCE: LazyLock<bool> = LazyLock::new(has_clflushopt);
        let at_once = *FLUSHES_AT_ONCE;
        for line in memory.chunks(LINE) {
            // SAFETY: a reference is a valid address; flushing changes no content. CLFLUSH is part of every x86-64, and the CPU
            // was asked for CLFLUSHOPT.
            unsafe {
                match at_once {
                    true => asm!("clflushopt [{}]", in(reg) line.as_ptr(), options(nostack, preserves_flags)),
                    false => x86_64::_mm_clflush(line.as_ptr()),
                }
            }
        }
        // SAFETY: SSE2 is part of every x86-64.
        unsafe { x86_64::_mm_mfence() };
    }
    #[cfg(target_arch = "aarch64")]
    {
        for line in memory.chunks(LINE) {
            // SAFETY: a reference is a valid address, and flushing changes no content. Linux lets processes do so.
            unsafe {
                std::arch::asm!("dc civac, {}", in(reg) line.as_ptr(), options(nostack, preserves_flags))
            };
        }
        // SAFETY: waits for the flushes, and touches no register.
        unsafe { std::arch::asm!("dsb sy", options(nostack, preserves_flags)) };
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = memory;
}

/// Whether the CPU has CLFLUSHOPT. Each CLFLUSH waits for the one before it, which takes longer than all the copies of a run on
/// some CPUs.
#[cfg(target_arch = "x86_64")]
fn has_clflushopt() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ebx & 1 << 23 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_caches_get_larger_buffers() {
        assert_eq!(default_bytes(None), RFC_BYTES);
        assert_eq!(default_bytes(Some(32 << 20)), RFC_BYTES);
        assert_eq!(default_bytes(Some(384 << 20)), 1536 << 20);
    }

    #[test]
    fn a_cold_run_fills_the_cache_within_reason() {
        let sizes = [None, Some(1 << 20), Some(36 << 20), Some(384 << 20)];
        assert_eq!(sizes.map(cold_run_bytes), [32 << 20, 2 << 20, 36 << 20, 64 << 20]);
    }

    #[test]
    fn writing_touches_each_line_and_reading_none() {
        for (how, changed) in [(Evict::Read, 0), (Evict::Write, 1)] {
            let buffer = EvictionBuffer::new(1 << 20, how).unwrap();
            let before: Vec<u64> = buffer.words().iter().map(|word| word.load(Ordering::Relaxed)).collect();
            std::thread::scope(|scope| {
                scope.spawn(|| buffer.evict());
            });
            let after = buffer.words().iter().map(|word| word.load(Ordering::Relaxed));
            for (index, (before, after)) in before.into_iter().zip(after).enumerate() {
                assert_eq!(after - before, if index % 8 == 0 { changed } else { 0 }, "{how}, word {index}");
            }
        }
    }
}
