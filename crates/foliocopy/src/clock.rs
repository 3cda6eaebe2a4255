//! The time-stamp counter: whether it can be used, and what it says of memory.

#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::Clock;

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use unknown::Clock;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use core::cell::UnsafeCell;
    use core::ptr;

    use crate::arch::{self, LOOK_LINES};
    use crate::batch::FolioPair;
    use crate::cpu::{Cpu, Features};
    use crate::extable::Recovery;
    use crate::locality::Residence;
    use crate::once::Once;
    use crate::page::{PAGE_SIZE, Page};
    use crate::primitive::Primitive;

    /// Above this a reading of the counter is not an instruction but an exit to a hypervisor.
    const INTERCEPTED: u64 = 500;

    /// Bytes in a cache line.
    const LINE: usize = 64;

    /// How many of a kind a calibration takes.
    const ROUNDS: usize = 32;

    /// A counter that can be used. All times are in its cycles.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Clock {
        cached_up_to: u64,
        page_in_l1_up_to: u64,
        page_near_up_to: u64,
        glance_near_up_to: u32,
    }

    static CALIBRATED: Once<Option<Clock>> = Once::new();

    impl Clock {
        /// The clock of this CPU, calibrated once; nothing where the counter is missing, forbidden,
        /// intercepted or stands still.
        #[inline]
        pub(crate) fn of(cpu: &Cpu) -> Option<&'static Self> {
            match cpu.has(Features::TSC) {
                true => Self::usable(),
                false => None,
            }
        }

        /// The clock of a CPU that is known to have the counter. Nothing while another thread calibrates it.
        #[inline]
        pub(crate) fn usable() -> Option<&'static Self> {
            if CALIBRATED.get().is_none() {
                CALIBRATED.keep_with(Clock::calibrate);
            }
            CALIBRATED.get()?.as_ref()
        }

        /// Whether the answer of [`Clock::of`] will not change: no other thread is calibrating.
        #[cfg(not(foliocopy_kernel))]
        pub(crate) fn is_settled(cpu: &Cpu) -> bool {
            !cpu.has(Features::TSC) || Self::usable().is_some() || CALIBRATED.get().is_some()
        }

        #[cold]
        #[inline(never)]
        fn calibrate() -> Option<Self> {
            if is_forbidden() {
                return None;
            }
            let (cached, flushed) = (look_at_scratch(false), look_at_scratch(true));
            let usable = 0 < cached && cached < INTERCEPTED && cached < flushed;
            usable.then(|| {
                let in_l1 = copies_of_scratch(false).into_iter().min().unwrap_or(0);
                let to_memory = median(&copies_of_scratch(true)).saturating_sub(in_l1);
                Self {
                    cached_up_to: cached.midpoint(flushed),
                    page_in_l1_up_to: in_l1 + in_l1 / 2,
                    page_near_up_to: in_l1 + to_memory / 4,
                    glance_near_up_to: calibrate_glance(),
                }
            })
        }

        /// Where lines are that took so long to load: in some cache if it was less than half-way between
        /// lines in the L1 and lines that were just flushed. Nothing is known of loads that faulted.
        ///
        /// In the 26-cycle steps of a guest's counter on Zen 5 lines in the L1 and L2 took 52, lines in
        /// the L3 104 at the 99th percentile, and lines in memory 364 in the median; on Zen 3 49 to 98,
        /// and 980 to 2009. Three times the L1's latency was tried, and took a part of the L3 for memory.
        #[inline]
        fn residence(&self, latency: Option<u64>) -> Residence {
            match latency {
                None => Residence::Unknown,
                Some(cycles) if cycles <= self.cached_up_to => Residence::Cached,
                Some(_) => Residence::Memory,
            }
        }

        /// Whether a copy of a page took so long as one with both pages in the L1: half more than the fastest.
        #[inline]
        pub(crate) fn page_was_in_l1(&self, cycles: u64) -> bool {
            cycles <= self.page_in_l1_up_to
        }

        /// Whether it took longer than one within the L2 does: more than a quarter of the way from the L1 to memory. On
        /// Zen 5 that is 200 cycles, which copies in the L2 need at their 99th percentile, those in the L3 in the median,
        /// and those in memory hardly ever. Source and destination are not told apart.
        #[inline]
        pub(crate) fn page_was_beyond_l2(&self, cycles: u64) -> bool {
            cycles > self.page_near_up_to
        }

        /// Now, roughly: without fences, which cost more than a page in the L1.
        #[inline(always)]
        pub(crate) fn now(&self) -> u64 {
            arch::time_stamp()
        }

        /// Up to how many cycles [`Clock::page_was_in_l1`], and up to how many it was not [`Clock::page_was_beyond_l2`].
        #[cfg(not(foliocopy_kernel))]
        pub(crate) fn page_limits(&self) -> (u64, u64) {
            (self.page_in_l1_up_to, self.page_near_up_to)
        }

        /// Up to how many cycles a glance was at a cache.
        #[cfg(not(foliocopy_kernel))]
        pub(crate) fn glance_near_up_to(&self) -> u32 {
            self.glance_near_up_to
        }

        /// Where the range is, by a glance that prefetches the first `prefetched` bytes, a multiple of 512 and not 0.
        ///
        /// # Safety
        ///
        /// The range is at least two pages long and readable, or with `MACHINE_CHECK_SAFE` somebody catches its faults.
        #[inline(always)]
        pub(crate) unsafe fn glance<const MACHINE_CHECK_SAFE: bool>(
            &self,
            src: *const u8,
            bytes: usize,
            prefetched: usize,
        ) -> Residence {
            let mut recovery = Recovery { dst: src.addr(), src: src.addr(), bytes, signal: None };
            let recovery = if MACHINE_CHECK_SAFE { &raw mut recovery } else { ptr::null_mut() };
            // SAFETY: the caller's promise, and a recovery that lives as long as the loads.
            match unsafe { arch::glance::<MACHINE_CHECK_SAFE>(src, bytes, prefetched, recovery) } {
                None => Residence::Unknown,
                Some(cycles) if cycles <= self.glance_near_up_to => Residence::Cached,
                Some(_) => Residence::Memory,
            }
        }

        /// Where the range is, by how long loads of four of its lines take, all at once.
        ///
        /// # Safety
        ///
        /// The range is at least a page long and readable, or with `MACHINE_CHECK_SAFE` somebody catches
        /// its faults.
        #[inline]
        pub(crate) unsafe fn look<const MACHINE_CHECK_SAFE: bool>(
            &self,
            src: *const u8,
            bytes: usize,
        ) -> Residence {
            let mut addresses = [src; LOOK_LINES];
            for (index, address) in addresses.iter_mut().enumerate() {
                // In the middle of each quarter.
                *address = src.wrapping_add((2 * index + 1) * (bytes / (2 * LOOK_LINES)));
            }
            // SAFETY: the addresses are within the range.
            self.residence(unsafe { latency_at::<MACHINE_CHECK_SAFE>(addresses) })
        }

        /// The same for the first lines of four sources of a batch that is not empty.
        ///
        /// # Safety
        ///
        /// As [`Clock::look`], for every source.
        pub(crate) unsafe fn look_at_batch<const MACHINE_CHECK_SAFE: bool>(
            &self,
            batch: &[FolioPair],
        ) -> Residence {
            let mut addresses = [ptr::null(); LOOK_LINES];
            for (index, address) in addresses.iter_mut().enumerate() {
                match batch.get((2 * index + 1) * batch.len() / (2 * LOOK_LINES)) {
                    Some(pair) if pair.nr_pages != 0 => *address = pair.src.cast(),
                    _ => return Residence::Unknown,
                }
            }
            // SAFETY: each is the start of a source that has a page.
            self.residence(unsafe { latency_at::<MACHINE_CHECK_SAFE>(addresses) })
        }
    }

    /// # Safety
    ///
    /// The addresses are readable, or with `MACHINE_CHECK_SAFE` somebody catches their faults.
    #[inline]
    unsafe fn latency_at<const MACHINE_CHECK_SAFE: bool>(addresses: [*const u8; LOOK_LINES]) -> Option<u64> {
        if !MACHINE_CHECK_SAFE {
            // SAFETY: the caller's promise.
            return Some(unsafe { arch::latency(addresses) });
        }
        let (mut first, mut last) = (usize::MAX, 0);
        for address in addresses {
            (first, last) = (first.min(address.addr()), last.max(address.addr()));
        }
        let mut recovery = Recovery { dst: first, src: first, bytes: last - first + LINE, signal: None };
        // SAFETY: the caller catches faults, and the recovery lives as long as the loads.
        unsafe { arch::latency_mc(addresses, &raw mut recovery) }
    }

    /// Two pages of zeros to calibrate with: too many for some stacks.
    struct Scratch(UnsafeCell<[Page; 2]>);

    // SAFETY: only zeros are ever written there, over zeros, and by assembly.
    unsafe impl Sync for Scratch {}

    static SCRATCH: Scratch = Scratch(UnsafeCell::new([Page::zeroed(); 2]));

    /// How long a look takes at lines in the L1, or at lines that were flushed: the median, since a line
    /// that a prefetcher brings back makes the fastest look at flushed ones a look at cached ones.
    fn look_at_scratch(flush: bool) -> u64 {
        let start: *const u8 = SCRATCH.0.get().cast();
        let mut addresses = [start; LOOK_LINES];
        for (index, address) in addresses.iter_mut().enumerate() {
            *address = start.wrapping_add(index * PAGE_SIZE / LOOK_LINES);
        }
        let mut looks = [0; ROUNDS];
        for look in &mut looks {
            if flush {
                // SAFETY: a page of ours, which has the four lines.
                unsafe { arch::flush(start, PAGE_SIZE) };
            }
            // SAFETY: four lines of ours.
            *look = unsafe { arch::latency(addresses) };
        }
        median(&looks)
    }

    /// The middle one in size.
    fn median(looks: &[u64; ROUNDS]) -> u64 {
        quantile(looks, ROUNDS / 2)
    }

    /// The one that has so many below it in size. Sorting would be shorter, but core's sorts can panic, and then a kernel's
    /// object has an undefined symbol.
    fn quantile(looks: &[u64; ROUNDS], rank: usize) -> u64 {
        let has_rank = |look: &&u64| {
            let (mut below, mut up_to) = (0, 0);
            for other in looks {
                below += usize::from(other < *look);
                up_to += usize::from(other <= *look);
            }
            below <= rank && rank < up_to
        };
        looks.iter().find(has_rank).copied().unwrap_or(u64::MAX)
    }

    /// How long copies of a page take from the L1 to the L1, or from memory to memory, by the loop that is there on
    /// every CPU.
    fn copies_of_scratch(flush: bool) -> [u64; ROUNDS] {
        let src: *mut u8 = SCRATCH.0.get().cast();
        let mut copies = [0; ROUNDS];
        for copy in &mut copies {
            if flush {
                // SAFETY: both pages.
                unsafe { arch::flush(src, 2 * PAGE_SIZE) };
            }
            let start = arch::time_stamp();
            // SAFETY: the first page to the second.
            unsafe { arch::copy(Primitive::RepMovsb, src.add(PAGE_SIZE), src, PAGE_SIZE, 0, ptr::null()) };
            *copy = arch::time_stamp().wrapping_sub(start);
        }
        copies
    }

    fn calibrate_glance() -> u32 {
        glance_near_up_to(median(&glances_at_scratch(false)), quantile(&glances_at_scratch(true), ROUNDS / 4))
    }

    /// Up to how many cycles a glance was at a cache: five eighths of the way from the L1 to a fast one at memory, which is less
    /// than the fastest hundredth of these need. Everything is cached where the two are not apart: a glance counts on a
    /// scheduler that it fills.
    fn glance_near_up_to(in_l1: u64, in_memory: u64) -> u32 {
        let between = in_memory.saturating_sub(in_l1);
        if between > 2 * in_l1 { (in_l1 + between / 8 * 5) as u32 } else { u32::MAX }
    }

    /// How long a glance takes at lines in the L1, or at lines that were flushed.
    fn glances_at_scratch(flush: bool) -> [u64; ROUNDS] {
        let start: *const u8 = SCRATCH.0.get().cast();
        let mut glances = [0; ROUNDS];
        for glance in &mut glances {
            // Of nothing too, it waits for what came before.
            // SAFETY: two pages of ours.
            unsafe { arch::flush(start, if flush { 2 * PAGE_SIZE } else { 0 }) };
            *glance = glance_at(start);
        }
        glances
    }

    /// Out of line, so that the loop above is not unrolled: then the time would be that of fetching code from memory.
    #[inline(never)]
    fn glance_at(start: *const u8) -> u64 {
        // SAFETY: two pages of ours.
        let cycles = unsafe { arch::glance::<false>(start, 2 * PAGE_SIZE, PAGE_SIZE, ptr::null_mut()) };
        cycles.map_or(u64::MAX, u64::from)
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

    #[cfg(test)]
    mod tests {
        use super::*;

        /// A scheduler that is larger than what fills it, or a counter that tells nothing, must not send everything to memory.
        #[test]
        fn glances_that_tell_nothing_find_everything_cached() {
            assert_eq!(glance_near_up_to(26, 390), 251);
            for (in_l1, in_memory) in [(26, 26), (26, 78), (52, 26), (0, 0), (400, 390)] {
                assert_eq!(glance_near_up_to(in_l1, in_memory), u32::MAX, "{in_l1} {in_memory}");
            }
        }

        #[test]
        fn a_quantile_is_what_sorting_puts_there() {
            let mut looks = [0; ROUNDS];
            for seed in 1..200u64 {
                for (index, look) in looks.iter_mut().enumerate() {
                    // Few values, so that some are equal.
                    *look = (index as u64 + 1).wrapping_mul(seed * 0x9e37_79b9) >> 8 & 7;
                }
                let mut sorted = looks;
                sorted.sort_unstable();
                for (rank, look) in sorted.iter().enumerate() {
                    assert_eq!(quantile(&looks, rank), *look, "{looks:?}");
                }
            }
        }
    }
}

/// Nothing is known of the counters of other architectures.
#[cfg(not(target_arch = "x86_64"))]
mod unknown {
    use crate::batch::FolioPair;
    use crate::cpu::Cpu;
    use crate::locality::Residence;

    /// There is none.
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Clock {}

    impl Clock {
        pub(crate) fn of(_: &Cpu) -> Option<&'static Self> {
            None
        }

        pub(crate) fn usable() -> Option<&'static Self> {
            None
        }

        pub(crate) unsafe fn look_at_batch<const MACHINE_CHECK_SAFE: bool>(
            &self,
            _: &[FolioPair],
        ) -> Residence {
            match *self {}
        }

        pub(crate) fn page_was_in_l1(&self, _: u64) -> bool {
            match *self {}
        }

        pub(crate) fn page_was_beyond_l2(&self, _: u64) -> bool {
            match *self {}
        }

        pub(crate) fn now(&self) -> u64 {
            match *self {}
        }

        pub(crate) unsafe fn glance<const MACHINE_CHECK_SAFE: bool>(
            &self,
            _: *const u8,
            _: usize,
            _: usize,
        ) -> Residence {
            match *self {}
        }

        pub(crate) unsafe fn look<const MACHINE_CHECK_SAFE: bool>(
            &self,
            _: *const u8,
            _: usize,
        ) -> Residence {
            match *self {}
        }
    }
}
