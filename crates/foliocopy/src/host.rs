//! The policy of this process: worked out once, from the CPU and the environment.

#[cfg(not(feature = "std"))]
use crate::cpu::Cpu;
#[cfg(feature = "std")]
use crate::cpu::Features;
#[cfg(feature = "std")]
use crate::environment::{self, Followed};
#[cfg(feature = "std")]
use crate::error::EnvironmentError;
use crate::once::Once;
use crate::policy::Policy;
#[cfg(not(feature = "std"))]
use crate::probe;
use crate::tuning::Registers;

/// The policy and its report.
#[derive(Clone, Copy)]
#[repr(C)]
struct Host {
    policy: Policy,
    #[cfg(feature = "std")]
    report: HostReport,
}

/// The report of [`Policy::host`]: the profile and variables that it followed, and those that it left aside.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct HostReport {
    /// Whether the policy is worked out. In a signal handler that interrupts that work it is not, and the rest is empty.
    pub is_ready: bool,
    /// The profile that it follows.
    pub profile: Option<&'static std::path::Path>,
    /// Environment variables and profiles that can't be followed, and why.
    pub problems: &'static [EnvironmentError],
}

/// Marked if the policy may copy.
static HOST: Once<Host> = Once::new();

/// For copies in a signal handler that interrupts the thread which works out the policy, and for kernels in Rust. It is correct
/// on every CPU, but slow.
static MEANWHILE: Policy = Policy::baseline(REGISTERS);

/// The registers that this build may use: without `std` it may be a kernel.
const REGISTERS: Registers =
    if cfg!(feature = "std") { Registers::Vector } else { Registers::GeneralPurpose };

impl Policy {
    /// The policy of this process. With `std` it is the policy for this machine's CPU and all registers. `FOLIOCOPY_MASK` takes
    /// features away, a profile replaces the tables, and `FOLIOCOPY_PRIMITIVE` names one primitive for everything. Without
    /// `std` only general-purpose registers are used.
    ///
    /// A variable that can't be followed is left aside, and [`Policy::host_report`] says why. With `FOLIOCOPY_STRICT=1` every
    /// copy by this policy fails with that reason instead.
    ///
    /// The first call works it out, in well under a millisecond; with `std` other threads wait for that. A signal handler that
    /// interrupts the first call gets a policy that is correct on every CPU, but slow.
    #[inline]
    pub fn host() -> &'static Self {
        match HOST.get() {
            Some(host) => &host.policy,
            None => work_out(),
        }
    }

    /// Returns [`Policy::host`] if it is worked out already and may copy. It calls nothing, so a copy of one page needs no stack,
    /// and one line of the cache to find its table.
    #[cfg(not(foliocopy_kernel))]
    #[inline(always)]
    pub(crate) fn ready_host() -> Option<&'static Self> {
        HOST.marked().map(|host| &host.policy)
    }

    /// Makes this the policy of the process. It fails if the process has one, so call it before the first copy.
    ///
    /// The environment is ignored then. A program that only does without a feature calls `Policy::host_without`.
    ///
    /// ```standalone_crate
    /// use foliocopy::{Cpu, Features, Policy, Registers};
    ///
    /// let policy = Policy::new(Cpu::detect().without(Features::TSC), Registers::Vector);
    /// policy.set_host().expect("nothing was copied yet");
    /// ```
    ///
    /// # Errors
    ///
    /// The policy that the process has already.
    pub fn set_host(self) -> Result<(), &'static Self> {
        keep(|| Host {
            policy: self,
            #[cfg(feature = "std")]
            report: HostReport { is_ready: true, ..HostReport::default() },
        })
    }

    /// Works out [`Policy::host`] now, as if `FOLIOCOPY_MASK` named these features too. It fails if the process has a policy,
    /// so call it before the first copy.
    ///
    /// A program of which some thread may not read the time-stamp counter (`prctl(2)`, PR_SET_TSC) does without
    /// [`Features::TSC`]. No copy reads the counter then. Otherwise a copy on such a thread may be killed by SIGSEGV.
    ///
    /// ```standalone_crate
    /// use foliocopy::{Features, Policy};
    ///
    /// Policy::host_without(Features::TSC).expect("nothing was copied yet");
    /// assert!(!Policy::host().cpu().has(Features::TSC));
    /// ```
    ///
    /// # Errors
    ///
    /// The policy that the process has already.
    #[cfg(feature = "std")]
    pub fn host_without(features: Features) -> Result<(), &'static Self> {
        keep(|| Host::without(features))
    }

    /// The report of [`Policy::host`]: the profile and variables that it followed, and those that it left aside.
    #[cfg(feature = "std")]
    pub fn host_report() -> HostReport {
        Self::host();
        HOST.get().map_or(HostReport::default(), |host| host.report)
    }
}

/// Lets copies find the policy, if it may copy.
fn publish() {
    #[cfg(not(foliocopy_kernel))]
    if HOST.get().is_some_and(|host| host.policy.if_usable().is_some()) {
        HOST.mark();
    }
}

/// Keeps the host that the closure works out, or returns the existing policy as an error.
fn keep(host: impl FnOnce() -> Host) -> Result<(), &'static Policy> {
    let mut taken = false;
    HOST.keep_with(|| {
        taken = true;
        host()
    });
    publish();
    if taken { Ok(()) } else { Err(Policy::host()) }
}

#[cfg(feature = "std")]
impl Host {
    /// The policy of the environment, without these features.
    fn without(features: Features) -> Self {
        let Followed { policy, profile, problems } = environment::follow(features);
        Self { policy, report: HostReport { is_ready: true, profile, problems } }
    }
}

#[cold]
#[inline(never)]
fn work_out() -> &'static Policy {
    #[cfg(feature = "std")]
    HOST.keep_with(|| Host::without(Features::NONE));
    #[cfg(not(feature = "std"))]
    HOST.keep_with(|| Host { policy: Policy::new(probe::seen_by(Cpu::detect()), REGISTERS) });
    // Another thread works it out. It may be this one, interrupted by a signal, so the wait is limited.
    #[cfg(feature = "std")]
    for _ in 0..WAITS {
        if HOST.get().is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
    publish();
    HOST.get().map_or(&MEANWHILE, |host| &host.policy)
}

/// How often to wait for the policy of another thread, 50 µs each time.
#[cfg(feature = "std")]
const WAITS: usize = 2000;
