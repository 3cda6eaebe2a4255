//! How long a load takes: the proof that memory was cached or not. And what reading the clock takes.

use std::time::Instant;

/// How many lines of a run's source and destination are sampled.
pub const SAMPLES: usize = 8;

/// Whether the time-stamp counter can be used here, and how fast it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeStampCounter {
    /// Usable, with its frequency in Hz.
    Usable(u64),
    /// Not usable, for this reason.
    Unusable(&'static str),
}

impl TimeStampCounter {
    /// The frequency, where it is usable.
    pub fn hertz(self) -> Option<u64> {
        match self {
            Self::Usable(hertz) => Some(hertz),
            Self::Unusable(_) => None,
        }
    }
}

/// What one reading of the clock takes, in ns: the median of some hundred.
pub fn clock_ns() -> u64 {
    let mut last = Instant::now();
    let mut times: Vec<u64> = (0..255)
        .map(|_| {
            let now = Instant::now();
            let took = now - last;
            last = now;
            took.as_nanos() as u64
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::{__cpuid, __rdtscp, _mm_clflush, _mm_lfence, _mm_mfence, _rdtsc};
    use std::time::{Duration, Instant};

    use super::TimeStampCounter;

    /// Reading a trapped counter takes a VM exit (a thousand cycles and more); a native one takes 20 to 50.
    const TRAPPED_CYCLES: u64 = 500;

    impl TimeStampCounter {
        /// Asks the CPU and the kernel, and takes 10 ms to find the frequency.
        pub fn detect() -> Self {
            let mut mode: libc::c_int = 0;
            // SAFETY: PR_GET_TSC writes one int. Where it fails the kernel has no such switch.
            let result = unsafe { libc::prctl(libc::PR_GET_TSC, &raw mut mode) };
            if result == 0 && mode == libc::PR_TSC_SIGSEGV {
                return Self::Unusable("this process may not read it (PR_TSC_SIGSEGV)");
            }
            // Intel SDM volume 3, section 19.17.1; AMD APM volume 3, CPUID Fn8000_0007_EDX[8].
            if __cpuid(0x8000_0000).eax < 0x8000_0007 || __cpuid(0x8000_0007).edx & 1 << 8 == 0 {
                return Self::Unusable("it is not invariant, so it changes speed with the CPU");
            }
            let cost = (0..16).map(|_| cycles_of(|| ())).min().expect("sixteen tries");
            if cost > TRAPPED_CYCLES {
                return Self::Unusable("the hypervisor intercepts it");
            }
            let (started, first) = (Instant::now(), now());
            while started.elapsed() < Duration::from_millis(10) {
                std::hint::spin_loop();
            }
            let (elapsed, last) = (started.elapsed(), now());
            Self::Usable(((last - first) as f64 / elapsed.as_secs_f64()) as u64)
        }
    }

    fn now() -> u64 {
        // SAFETY: `detect` has made sure that the counter may be read, or is finding out under PR_TSC_ENABLE.
        unsafe { _rdtsc() }
    }

    /// Cycles that `work` takes. Fences on both sides keep other instructions out (Intel SDM volume 2, RDTSC).
    fn cycles_of(work: impl FnOnce()) -> u64 {
        let mut auxiliary = 0;
        // SAFETY: SSE2 is part of x86-64; as for `now`.
        unsafe {
            _mm_mfence();
            _mm_lfence();
            let before = _rdtsc();
            _mm_lfence();
            work();
            _mm_lfence();
            let after = __rdtscp(&raw mut auxiliary);
            _mm_lfence();
            after.saturating_sub(before)
        }
    }

    /// Cycles of one load of `line`, which stays cached.
    pub(super) fn of_load(line: &u8) -> u32 {
        let cycles = cycles_of(|| {
            // SAFETY: a reference is readable. Volatile, so that the load stays where it is.
            unsafe { (&raw const *line).read_volatile() };
        });
        u32::try_from(cycles).unwrap_or(u32::MAX)
    }

    /// Puts `line` out of every cache.
    pub(super) fn flush(line: &u8) {
        // SAFETY: a reference is a valid address; flushing changes no content.
        unsafe {
            _mm_clflush(line);
            _mm_mfence();
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl TimeStampCounter {
    /// Answers at once: the counter of aarch64 may run at 25 MHz, and a load takes less than a tick.
    pub fn detect() -> Self {
        Self::Unusable("that of this architecture is too slow to time a load")
    }
}

/// Latencies in cycles of the lines of `memory` at `offsets`. With `flush` each goes back to where it was found,
/// so that a cold run stays cold. Empty where there is no usable counter: call only where
/// [`TimeStampCounter::detect`] found one.
pub fn sample(memory: &[u8], offsets: impl Iterator<Item = usize>, flush: bool) -> Vec<u32> {
    #[cfg(target_arch = "x86_64")]
    return offsets
        .map(|offset| {
            let line = &memory[offset];
            let cycles = x86_64::of_load(line);
            if flush {
                x86_64::flush(line);
            }
            cycles
        })
        .collect();
    #[cfg(not(target_arch = "x86_64"))]
    return {
        let _ = (memory, offsets, flush);
        Vec::new()
    };
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::statistics::median;

    #[test]
    fn a_flushed_line_takes_longer_than_a_cached_one() {
        let TimeStampCounter::Usable(hertz) = TimeStampCounter::detect() else {
            println!("not tested: no usable time-stamp counter");
            return;
        };
        assert!((100_000_000..20_000_000_000).contains(&hertz), "{hertz} Hz");
        let memory = vec![1u8; 1 << 20];
        let offsets = || (0..64).map(|line| line * 7919 * 64 % (1 << 20));
        let middle =
            |samples: Vec<u32>| median(&samples.into_iter().map(f64::from).collect::<Vec<_>>()).unwrap();
        sample(&memory, offsets(), true);
        let cold = middle(sample(&memory, offsets(), false));
        let hot = middle(sample(&memory, offsets(), false));
        assert!(cold > hot, "cold {cold}, hot {hot}");
    }
}
