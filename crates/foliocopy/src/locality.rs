//! Where the copy should leave the destination: in the cache, or past it.

use core::fmt;
use core::str::FromStr;

use crate::cpu::Cpu;
use crate::error::UnknownName;

/// Whether a copy goes through the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Locality {
    /// Through the cache: somebody reads the destination soon, or the source is in the cache.
    Temporal,
    /// Past the cache: nobody reads the destination soon, as after a demotion to a slower tier.
    NonTemporal,
    /// Decided by a look at the source, from the size on at which that pays; smaller copies are
    /// temporal.
    #[default]
    Auto,
}

impl Locality {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Temporal, Self::NonTemporal, Self::Auto];

    const NAMES: &'static [&'static str] = &["temporal", "non_temporal", "auto"];

    /// The name by which it is asked for.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Locality {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let unknown = UnknownName { kind: "locality", known: Self::NAMES };
        Self::ALL.iter().copied().find(|locality| locality.name() == name).ok_or(unknown)
    }
}

/// Where a source is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Residence {
    /// In some cache of this core or of its neighbours.
    Cached,
    /// In memory.
    Memory,
    /// Nobody looked, or the look told nothing.
    Unknown,
}

/// How many times the latency of a cached line a look at the source may take before the source counts
/// as not cached. In the 26-cycle steps of a guest's counter on Zen 5: 52 for lines in the L1 and L2,
/// 104 at the 99th percentile for lines in the L3, 364 in the median for lines in memory. On Zen 3: 49
/// to 98, and 980 to 2009.
const CACHED_LATENCIES: u64 = 3;

/// Looks where the `bytes` bytes from `src` on are: loads four lines, spread over the range, all at
/// once, and takes the time. Loaded one by one they told the same and cost a hot 256 KiB copy 4 %.
///
/// # Safety
///
/// The range is at least a page long and readable, or with `MACHINE_CHECK_SAFE` somebody catches its
/// faults: then nothing is known, and the copy itself finds the error.
#[inline]
pub(crate) unsafe fn look<const MACHINE_CHECK_SAFE: bool>(
    cpu: &Cpu,
    src: *const u8,
    bytes: usize,
) -> Residence {
    let Some(cached) = clock::cached_latency(cpu) else { return Residence::Unknown };
    // SAFETY: the caller vouches for the range, the calibration for the counter.
    match unsafe { clock::latency::<MACHINE_CHECK_SAFE>(src, bytes) } {
        None => Residence::Unknown,
        Some(cycles) if cycles <= CACHED_LATENCIES * cached => Residence::Cached,
        Some(_) => Residence::Memory,
    }
}

#[cfg(target_arch = "x86_64")]
mod clock {
    use crate::arch::{LOOK_LINES, latency_of, latency_of_mc, prefetch};
    use crate::cpu::{Cpu, Features};
    use crate::extable::Recovery;
    use crate::once::Once;

    /// What the copy will read first and is asked for before the look, so that the wait is not lost.
    const PREFETCHED_BYTES: usize = 1024;

    /// Above this a reading of the counter is not an instruction but an exit to a hypervisor.
    const INTERCEPTED: u64 = 500;

    /// The latency of a look at lines that are in the L1, in cycles of the time-stamp counter, taken
    /// once; nothing where the counter is missing, forbidden, intercepted or stands still.
    #[inline]
    pub(super) fn cached_latency(cpu: &Cpu) -> Option<u64> {
        static CALIBRATED: Once<Option<u64>> = Once::new();
        match cpu.has(Features::TSC) {
            true => CALIBRATED.with(calibrate, |latency| *latency),
            false => None,
        }
    }

    fn calibrate() -> Option<u64> {
        if is_forbidden() {
            return None;
        }
        let line = [0_u64; 8];
        let addresses = [line.as_ptr().cast(); LOOK_LINES];
        // SAFETY: the line is on our stack.
        let looks = (0..32).map(|_| unsafe { latency_of(addresses) });
        looks.min().filter(|fastest| (1..INTERCEPTED).contains(fastest))
    }

    /// Whether the process has asked for SIGSEGV at every reading of the counter (`prctl(2)`,
    /// PR_SET_TSC). Asked once: who forbids it later has to choose a locality himself.
    #[cfg(all(feature = "std", target_os = "linux"))]
    fn is_forbidden() -> bool {
        let mut state: libc::c_int = 0;
        // SAFETY: PR_GET_TSC writes one int.
        let answer = unsafe { libc::prctl(libc::PR_GET_TSC, &raw mut state) };
        answer == 0 && state == libc::PR_TSC_SIGSEGV
    }

    /// A kernel may always read it.
    #[cfg(not(all(feature = "std", target_os = "linux")))]
    fn is_forbidden() -> bool {
        false
    }

    /// # Safety
    ///
    /// As [`super::look`].
    #[inline]
    pub(super) unsafe fn latency<const MACHINE_CHECK_SAFE: bool>(
        src: *const u8,
        bytes: usize,
    ) -> Option<u64> {
        let mut addresses = [src; LOOK_LINES];
        for (index, address) in addresses.iter_mut().enumerate() {
            // In the middle of each quarter.
            *address = src.wrapping_add((2 * index + 1) * (bytes / (2 * LOOK_LINES)));
        }
        // SAFETY: the range is at least a page long.
        unsafe { prefetch(src, PREFETCHED_BYTES) };
        if !MACHINE_CHECK_SAFE {
            // SAFETY: the addresses are within the range.
            return Some(unsafe { latency_of(addresses) });
        }
        let mut recovery = Recovery { dst: src.addr(), src: src.addr(), bytes, signal: None };
        // SAFETY: the caller catches faults, and the recovery lives as long as the loads.
        unsafe { latency_of_mc(addresses, &raw mut recovery) }
    }
}

/// Nothing is known of the counters of other architectures.
#[cfg(not(target_arch = "x86_64"))]
mod clock {
    use crate::cpu::Cpu;

    pub(super) fn cached_latency(_: &Cpu) -> Option<u64> {
        None
    }

    pub(super) unsafe fn latency<const MACHINE_CHECK_SAFE: bool>(_: *const u8, _: usize) -> Option<u64> {
        None
    }
}
