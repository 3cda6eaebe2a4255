//! The one place that decides how to copy: from the CPU, the locality and the length to a primitive
//! and its parameters, for plain and machine-check-safe copies alike.

use core::fmt;

use crate::cpu::{Cpu, Features, Microarchitecture};
use crate::error::CopyError;
use crate::locality::{Locality, Residence};
use crate::once::Once;
use crate::page::PAGE_SIZE;
use crate::primitive::Primitive;

/// Which registers a copy may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Registers {
    /// General-purpose registers only: a kernel, where the vector registers belong to the process.
    GeneralPurpose,
    /// All of them: a process.
    Vector,
}

/// What the policy chose. It fits a register: moved in memory it costs a page in the L1 a sixth of its
/// speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// How to copy.
    pub primitive: Primitive,
    /// How far ahead of the loads of `in_memory`, or else of `primitive`, the source is prefetched, in bytes; 0 where
    /// it isn't.
    pub prefetch_distance: u32,
    /// How to copy the first page, and what follows it if the time shows that source and destination are in the L1.
    pub in_l1: Option<Primitive>,
    /// How to copy what follows if it shows that they are in memory; without an `in_l1` the whole, if a glance shows that the
    /// source is.
    pub in_memory: Option<Primitive>,
    reason: Reason,
}

impl Choice {
    /// Whether something has to tell where the source is before all of it is copied.
    #[inline]
    pub const fn is_open(&self) -> bool {
        self.in_l1.is_some() || self.in_memory.is_some()
    }

    /// Whether whatever it comes to has a machine-check-safe variant.
    #[cfg(feature = "std")]
    #[inline]
    pub(crate) fn is_machine_check_safe(&self) -> bool {
        let safe = |other: Option<Primitive>| other.is_none_or(Primitive::is_machine_check_safe);
        self.primitive.is_machine_check_safe() & safe(self.in_l1) & safe(self.in_memory)
    }

    /// Why it was chosen, in a few words: what the kernel module logs, which can't use `Display`.
    pub const fn reason(&self) -> &'static str {
        self.reason.text()
    }
}

/// Why a primitive was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Forced,
    EnhancedRepMovsb,
    RepGood,
    NoFastStrings,
    Page,
    NonTemporal,
    Profile,
    NotX86,
}

impl Reason {
    const fn text(self) -> &'static str {
        match self {
            Self::Forced => "it was asked for by name",
            Self::EnhancedRepMovsb => "the CPU has ERMS",
            Self::RepGood => "the CPU has REP_GOOD and no ERMS",
            Self::NoFastStrings => "the CPU has neither ERMS nor REP_GOOD",
            Self::Page => "it was measured on this CPU that a page gains by that",
            Self::NonTemporal => "the destination should not displace what the cache holds",
            Self::Profile => "a profile of this CPU says so",
            Self::NotX86 => "nothing else is known of this architecture",
        }
    }
}

/// The reasons behind the [`Decisions`].
#[derive(Clone, Copy)]
struct Reasons {
    temporal: Reason,
    page: Reason,
    non_temporal: Reason,
}

/// What a [`Policy`] decides by: a primitive for each role, and from which length on which role counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "profile", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "profile", serde(deny_unknown_fields))]
pub struct Decisions {
    /// For copies through the cache.
    pub temporal: Primitive,
    /// For copies of a page through the cache, or of a few.
    pub page: Primitive,
    /// The longest copy that is still `page`, in bytes; a page at least.
    #[cfg_attr(feature = "profile", serde(default = "one_page"))]
    pub page_up_to: usize,
    /// For longer ones whose first page turns out to be in the L1. Takes a time-stamp counter.
    #[cfg_attr(feature = "profile", serde(default, skip_serializing_if = "Option::is_none"))]
    pub in_l1: Option<Primitive>,
    /// The longest copy that may be `in_l1`, in bytes; 0 where none is.
    #[cfg_attr(feature = "profile", serde(default))]
    pub in_l1_up_to: usize,
    /// How much of the rest of one of these is prefetched before it is copied, if the first page turns out to be in
    /// memory, in bytes; 0 where nothing is.
    #[cfg_attr(feature = "profile", serde(default))]
    pub prefetch_up_to: usize,
    /// For copies past the cache.
    pub non_temporal: Primitive,
    /// How far ahead of its loads a loop prefetches that stores past the cache, in bytes; whole lines of
    /// 64 bytes count.
    pub prefetch_distance: u32,
    /// The same for copies of 128 KiB and more, where that is another.
    #[cfg_attr(feature = "profile", serde(default, skip_serializing_if = "Option::is_none"))]
    pub long_prefetch_distance: Option<u32>,
    /// From this length on a loop that stores past the cache leaves prefetching to the CPU, in bytes; 256 KiB at least. Never
    /// where there is none.
    #[cfg_attr(feature = "profile", serde(default, skip_serializing_if = "Option::is_none"))]
    pub no_prefetch_from: Option<usize>,
    /// From this length on [`Locality::Auto`] copies past the cache what is in memory, in bytes; two pages at least.
    /// Never where there is none.
    #[cfg_attr(feature = "profile", serde(default, skip_serializing_if = "Option::is_none"))]
    pub non_temporal_from: Option<usize>,
}

#[cfg(feature = "profile")]
const fn one_page() -> usize {
    PAGE_SIZE
}

impl Decisions {
    /// Every primitive that it names.
    pub(crate) fn primitives(&self) -> impl Iterator<Item = Primitive> {
        [self.temporal, self.page, self.non_temporal].into_iter().chain(self.in_l1)
    }
}

/// What measurement has shown of a microarchitecture beyond the plain rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tuning {
    /// The vector loops that copy a page best, and a few in the L1; best first.
    short: &'static [Primitive],
    /// The longest copy for which that holds wherever source and destination are, in bytes.
    page_up_to: usize,
    /// The longest copy for which the L1 is large enough, in bytes.
    short_up_to: usize,
    /// How much of the rest is prefetched if the first page was in memory, in bytes.
    prefetch_up_to: usize,
    /// What stores past the cache fastest, best first.
    non_temporal: &'static [Primitive],
    /// How far ahead it prefetches, in bytes.
    prefetch_distance: u32,
    /// From this length on [`Locality::Auto`] copies past the cache what is in memory, in bytes, where a vector loop
    /// does: `movnti` gains less, and has [`NON_TEMPORAL_FROM`].
    non_temporal_from: usize,
    /// The same for what is as long as [`LONG_FROM`].
    long_prefetch_distance: u32,
    /// From this length on a vector loop leaves prefetching to the CPU, in bytes.
    no_prefetch_from: Option<usize>,
}

impl Tuning {
    /// The plain rule: nothing was measured. The distance is that of Zen 3, where 1024 gave 1.32 to
    /// 1.49 of `rep movsq` page by page on cold data, 512 gave 1.25 to 1.33, and none 1.14 to 1.23.
    const PLAIN: Self = Self {
        short: &[],
        page_up_to: PAGE_SIZE,
        short_up_to: 0,
        prefetch_up_to: 0,
        non_temporal: &[Primitive::Movnti],
        prefetch_distance: 1024,
        non_temporal_from: NON_TEMPORAL_FROM,
        long_prefetch_distance: 1024,
        no_prefetch_from: None,
    };

    /// Zen 3, an EPYC 7003 in a guest: AVX2 copies 4 KiB in the L1 at 1.45 to 2.4 of `rep movsq` page
    /// by page, 16 KiB at 1.26, and 64 KiB no better than `rep movsb` (1.10 to 1.18 both). Non-temporal
    /// AVX2 and `movnti` are the same (1.31 to 1.49) but for batches of pages (1.23 to 1.30 against
    /// 1.21 to 1.24).
    const ZEN_3: Self = Self {
        short: &[Primitive::Avx2],
        page_up_to: PAGE_SIZE,
        short_up_to: 16 << 10,
        prefetch_up_to: 0,
        non_temporal: &[Primitive::Avx2Nt, Primitive::Movnti],
        prefetch_distance: 1024,
        non_temporal_from: NON_TEMPORAL_FROM,
        long_prefetch_distance: 1024,
        no_prefetch_from: None,
    };

    /// Zen 5, an EPYC 9005 in a guest; ratios to `rep movsq` page by page.
    ///
    /// Short copies: with both buffers in the L1 AVX-512 has 1.88 at 4 KiB and 1.84 at 16 KiB, AVX2 1.10 and 1.21, `rep
    /// movsb` 1.00 and 1.13. Out of the L1 4 and 8 KiB are the same by AVX-512 (scattered in the caches 1.11 and 1.09 for
    /// 1.00 and 1.05, in memory 1.05 and 1.06 for 1.01 and 1.07, a page and one read of it 1.03 for 1.00); at 16 KiB `rep
    /// movsb` wins: in the L3 1.21 against 1.03, in memory 1.11 against 1.01. So there the first page tells, and if it was
    /// in memory the rest is prefetched at once before `rep movsb`: 1.57 in the L1, 1.18 in memory. Rejected: no such
    /// prefetch (1.06 in memory), pages prefetched one by one (1.02), the destination prefetched too (1.07), the first page
    /// by `rep movsb` (1.33 in the L1, 1.21 in memory), half and half (1.31 and 0.94), a prefetch without asking (1.15 in
    /// memory, 0.67 in the L1), the time of the page's last 44 lines alone, which hides a reading of the counter behind the
    /// stores of the first and tells less (1.66 and 1.15), and a look or a glance at the source before the copy (1.20 and
    /// 0.92, 1.43 and 0.98): `rep movsb` that waits for nobody overlaps from one copy to the next. A glance and then past
    /// the cache has 1.22 in memory, but with one read of the destination 0.94 where the first page has 1.09. From 32 KiB
    /// on the first page gains nothing: 1.18 against 1.19.
    ///
    /// From 64 KiB a glance decides between `rep movsb` and AVX-512 past the cache: in memory 64 and 128 KiB have 1.32 and 1.36
    /// for 1.22 and 1.25, of 1.37 and 1.39 past the cache unasked. In the cache it costs them 1 to 2 %, where a look costs 64
    /// KiB 5. 32 KiB would have 1.30 for 1.19, but with one read of the destination, while nobody else uses the last-level
    /// cache, 0.91 to 0.94 for 1.13; 64 KiB have 0.97 to 1.00 then, 128 KiB 0.98. The time of the first page instead had 1.31 and 1.36 for 64 and 128 KiB and
    /// needed a look as well, since it tells a destination in memory, where a copy past the cache leaves it, from a source
    /// there by nothing (0.68 for folios in the L3).
    ///
    /// Past the cache, 16, 64, 256 KiB and 2 MiB: AVX-512 with AVX2 the same within 0.01 1.16, 1.34,
    /// 1.44, 1.49 without a prefetch; 1.25, 1.35, 1.36, 1.40 with one 1024 bytes ahead; 1.35, 1.36, 1.38,
    /// 1.44 at 4096 and 1.20, 1.40, 1.43, 1.47 at 8192. `movnti` 0.74, 1.07, 1.26, 1.41 without; 1.09,
    /// 1.24, 1.28, 1.34 at 4096 and 0.96, 1.21, 1.34, 1.42 at 8192. `prefetcht0` and `prefetcht2` do
    /// the same as `prefetchnta`; two streams at once, copying backwards, and reading 16 KiB to 512 KiB
    /// into the cache before they are stored are slower (1.24, 1.34, 1.00 to 1.19 at 2 MiB). In longer runs a long copy is
    /// faster without a prefetch; why was not measured, and walks of the page tables may be it, for a prefetch waits for them
    /// too: 256 KiB, 1, 2, 64 and 256 MiB, shuffled over 1 GiB, have 1.36, 1.44, 1.44, 1.48 and 1.49 without one, 1.41, 1.40, 1.36,
    /// 1.41 and 1.41 with 8192; over 32 MiB 1.36, 1.44 and 1.46 up to 2 MiB for 1.41, 1.42 and 1.43. `movnti` does need it (2
    /// MiB 1.40 without, 1.44 with it). 16384 bytes ahead lie between, 32768 are slower throughout. All with random contents:
    /// lines of zeros are written up to 1.15 times as fast, and hide the differences.
    const ZEN_5: Self = Self {
        short: &[Primitive::Avx512, Primitive::Avx2],
        page_up_to: 2 * PAGE_SIZE,
        short_up_to: 16 << 10,
        prefetch_up_to: 16 << 10,
        non_temporal: &[Primitive::Avx512Nt, Primitive::Avx2Nt, Primitive::Movnti],
        prefetch_distance: 4096,
        non_temporal_from: 64 << 10,
        long_prefetch_distance: 8192,
        no_prefetch_from: Some(1 << 20),
    };

    const fn of(microarchitecture: Microarchitecture) -> Self {
        match microarchitecture {
            Microarchitecture::Zen3 => Self::ZEN_3,
            Microarchitecture::Zen5 => Self::ZEN_5,
            _ => Self::PLAIN,
        }
    }
}

/// From this length on [`Locality::Auto`] copies past the cache what is not in it, unless the microarchitecture has
/// another. The copy alone gains 1.2 from there on. Copy and one read of the destination together,
/// non-temporal against temporal, with the source in memory: on Zen 3 0.65 at 4 KiB, 0.85 at 16 KiB, 0.94
/// at 64 KiB, 1.03 to 1.10 at 256 KiB; on Zen 5 0.94 at 4 KiB and 0.99 to 1.04 from 16 KiB to 2 MiB, 0.82 to 0.91 in an hour in
/// which nobody else used the last-level cache (`results/zen5/then-read.json`), and 1.07 to 1.12 where 32 MiB are copied
/// before any of it is read (`then-read-late.json`).
const NON_TEMPORAL_FROM: usize = 256 << 10;

/// From this length on a look at the source tells where it is, for shorter copies a glance: a look costs 25 ns, which is
/// 5 % of 64 KiB in the cache and 1 % of this, and works on every CPU.
pub(crate) const LOOK_FROM: usize = 256 << 10;

/// How much of the source a glance prefetches, in bytes: while it waits for memory, that has nothing else to do, and in the
/// cache it costs. On Zen 5 32 and 64 KiB in memory have 1.25 and 1.29 of `rep movsq` page by page with 8 lines, 1.28 and 1.30
/// with 32, 1.30 and 1.32 with 64, and no more with 96 or 112; in the cache 1.13 and 1.21 with 64, 1.12 and 1.19 with 112.
pub(crate) const GLANCE_PREFETCHES: usize = 64 * 64;

/// From this length on the long prefetch distance is the better one, in bytes: see [`Tuning::ZEN_5`].
pub(crate) const LONG_FROM: usize = 128 << 10;

/// What [`Policy::host`] has worked out.
static HOST: Once<Result<Policy, CopyError>> = Once::new();

/// How copies are made on one CPU.
///
/// Without a measurement of the CPU it follows the plain rule. Temporal copies use `rep movsb` where
/// the CPU has ERMS, else `rep movsq` where it has REP_GOOD, else the unrolled loop: the order of
/// `clear_pages()` and `copy_user_generic()` in Linux. FSRM never decides: it speaks of short copies.
/// Non-temporal copies use `movnti`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    cpu: Cpu,
    registers: Registers,
    decisions: Decisions,
    /// As in the decisions; `usize::MAX` is never, so that a copy compares once.
    non_temporal_from: usize,
    page: Choice,
    short: Choice,
    temporal: Choice,
    glanced: Glanced,
    non_temporal: Choice,
    long_non_temporal: Choice,
    /// As in the decisions; `usize::MAX` is never.
    no_prefetch_from: usize,
    unprefetched_non_temporal: Choice,
}

/// For [`Locality::Auto`] where a glance tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Glanced {
    /// Up to [`LONG_FROM`].
    middle: Choice,
    /// Up to [`LOOK_FROM`].
    long: Choice,
}

impl Policy {
    /// The policy for `cpu`.
    pub const fn new(cpu: Cpu, registers: Registers) -> Self {
        let tuning = Tuning::of(cpu.microarchitecture());
        let ((temporal, reason), (non_temporal, why_not)) = if !Primitive::Movq.is_built() {
            ((Primitive::Portable, Reason::NotX86), (Primitive::Portable, Reason::NotX86))
        } else {
            let non_temporal = match first_usable(tuning.non_temporal, &cpu, registers) {
                Some(primitive) => primitive,
                None => Primitive::Movnti,
            };
            (Self::plain(&cpu), (non_temporal, Reason::NonTemporal))
        };
        let (page, in_l1, why_page) = match first_usable(tuning.short, &cpu, registers) {
            None => (temporal, None, reason),
            Some(vector) => (vector, Some(vector), Reason::Page),
        };
        let decisions = Decisions {
            temporal,
            page,
            page_up_to: if in_l1.is_some() { tuning.page_up_to } else { PAGE_SIZE },
            in_l1,
            in_l1_up_to: if in_l1.is_some() { tuning.short_up_to } else { 0 },
            prefetch_up_to: if in_l1.is_some() { tuning.prefetch_up_to } else { 0 },
            non_temporal,
            prefetch_distance: tuning.prefetch_distance,
            long_prefetch_distance: Some(tuning.long_prefetch_distance),
            no_prefetch_from: if non_temporal.is_kernel() { None } else { tuning.no_prefetch_from },
            non_temporal_from: Some(match non_temporal.is_kernel() {
                true => NON_TEMPORAL_FROM,
                false => tuning.non_temporal_from,
            }),
        };
        let reasons = Reasons { temporal: reason, page: why_page, non_temporal: why_not };
        Self::of(cpu, registers, decisions, reasons)
    }

    /// The policy that decides by `decisions`, whose primitives the CPU has.
    const fn of(cpu: Cpu, registers: Registers, decisions: Decisions, reasons: Reasons) -> Self {
        let distance = decisions.prefetch_distance;
        let long_distance = match decisions.long_prefetch_distance {
            Some(long_distance) => long_distance,
            None => distance,
        };
        let temporal = choice(decisions.temporal, reasons.temporal, distance);
        let tells_time = cpu.has(Features::TSC);
        let in_l1 = if tells_time { decisions.in_l1 } else { None };
        let prefetches = in_l1.is_some() && decisions.prefetch_up_to != 0;
        let in_memory = if tells_time { Some(decisions.non_temporal) } else { None };
        Self {
            cpu,
            registers,
            decisions,
            non_temporal_from: match decisions.non_temporal_from {
                Some(bytes) if bytes < 2 * PAGE_SIZE => 2 * PAGE_SIZE,
                Some(bytes) => bytes,
                None => usize::MAX,
            },
            page: choice(decisions.page, reasons.page, distance),
            short: Choice {
                in_l1,
                in_memory: if prefetches { Some(decisions.temporal) } else { None },
                prefetch_distance: if prefetches { decisions.prefetch_up_to as u32 } else { 0 },
                ..temporal
            },
            temporal,
            glanced: Glanced {
                middle: Choice { in_memory, prefetch_distance: distance & !63, ..temporal },
                long: Choice { in_memory, prefetch_distance: long_distance & !63, ..temporal },
            },
            non_temporal: choice(decisions.non_temporal, reasons.non_temporal, distance),
            long_non_temporal: choice(decisions.non_temporal, reasons.non_temporal, long_distance),
            no_prefetch_from: match decisions.no_prefetch_from {
                Some(bytes) if bytes < LOOK_FROM => LOOK_FROM,
                Some(bytes) => bytes,
                None => usize::MAX,
            },
            unprefetched_non_temporal: choice(decisions.non_temporal, reasons.non_temporal, 0),
        }
    }

    /// A policy for the same CPU that decides by `decisions`: what was measured on it, say.
    ///
    /// # Errors
    ///
    /// [`CopyError::Unavailable`] where the CPU can't run one of the primitives.
    pub fn deciding(self, decisions: Decisions) -> Result<Self, CopyError> {
        for primitive in decisions.primitives() {
            self.with_primitive(primitive)?;
        }
        let Self { cpu, registers, .. } = self;
        let reasons =
            Reasons { temporal: Reason::Profile, page: Reason::Profile, non_temporal: Reason::Profile };
        Ok(Self::of(cpu, registers, decisions, reasons))
    }

    const fn plain(cpu: &Cpu) -> (Primitive, Reason) {
        if cpu.has(Features::ERMS) {
            (Primitive::RepMovsb, Reason::EnhancedRepMovsb)
        } else if cpu.has(Features::REP_GOOD) {
            (Primitive::RepMovsq, Reason::RepGood)
        } else {
            (Primitive::Movq, Reason::NoFastStrings)
        }
    }

    /// The policy of this process: for the CPU under it, less what `FOLIOCOPY_MASK` takes away, or
    /// `FOLIOCOPY_PRIMITIVE` for everything, by the profile that `FOLIOCOPY_PROFILE` names.
    ///
    /// # Errors
    ///
    /// [`CopyError::Environment`] where one of them names something unknown or the profile is refused, and
    /// [`CopyError::Unavailable`] where this CPU can't run the primitive.
    pub fn host() -> Result<Self, CopyError> {
        match HOST.get() {
            Some(host) => *host,
            None => {
                let host = Self::of_environment();
                HOST.keep(host);
                host
            }
        }
    }

    /// The policy of this process, once it is worked out. A reference, since moved it costs a page in the L1 half its
    /// speed; who finds none asks [`Policy::host`].
    #[inline]
    pub(crate) fn kept_host() -> Option<&'static Self> {
        HOST.get()?.as_ref().ok()
    }

    #[cfg(feature = "std")]
    fn of_environment() -> Result<Self, CopyError> {
        let environment = crate::environment::Environment::read().map_err(CopyError::Environment)?;
        let policy = Self::new(Cpu::detect().without(environment.mask), Registers::Vector);
        let policy = environment.with_profile(policy).map_err(CopyError::Environment)?;
        environment.primitive.map_or(Ok(policy), |primitive| policy.forcing(primitive))
    }

    #[cfg(not(feature = "std"))]
    fn of_environment() -> Result<Self, CopyError> {
        Ok(Self::new(Cpu::detect(), Registers::GeneralPurpose))
    }

    /// The same policy, with `primitive` for everything.
    ///
    /// # Errors
    ///
    /// [`CopyError::Unavailable`] where the CPU can't run it.
    pub fn forcing(self, primitive: Primitive) -> Result<Self, CopyError> {
        let forced = self.with_primitive(primitive)?;
        Ok(Self {
            decisions: Decisions { page_up_to: 0, in_l1_up_to: 0, ..self.decisions },
            non_temporal_from: usize::MAX,
            page: forced,
            short: forced,
            temporal: forced,
            glanced: Glanced { middle: forced, long: forced },
            non_temporal: forced,
            long_non_temporal: forced,
            unprefetched_non_temporal: forced,
            ..self
        })
    }

    /// The CPU for which it decides.
    pub const fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// The registers that it may use.
    pub const fn registers(&self) -> Registers {
        self.registers
    }

    /// What it decides by.
    pub const fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    /// How to copy `bytes` bytes. [`Locality::Auto`] here is what it is without a look at the source:
    /// see [`Policy::choose_seen`].
    #[inline]
    pub const fn choose(&self, locality: Locality, bytes: usize) -> Choice {
        self.choose_seen(locality, bytes, Residence::Unknown)
    }

    /// How to copy `bytes` bytes of which a look at the source has told where they are. The look
    /// matters to [`Locality::Auto`] alone. Without one it goes by the length, since what is longer than the
    /// last-level cache can't be in it, and leaves it to the first page where that may tell.
    #[inline]
    pub const fn choose_seen(&self, locality: Locality, bytes: usize, residence: Residence) -> Choice {
        let past_the_cache = bytes >= self.non_temporal_from;
        let non_temporal = match (locality, residence) {
            (Locality::NonTemporal, _) => true,
            (Locality::Temporal, _) | (Locality::Auto, Residence::Cached) => false,
            (Locality::Auto, Residence::Memory) => past_the_cache,
            (Locality::Auto, Residence::Unknown) => self.exceeds_caches(bytes),
        };
        if non_temporal {
            return match bytes {
                _ if bytes < LONG_FROM => self.non_temporal,
                _ if bytes < self.no_prefetch_from => self.long_non_temporal,
                _ => self.unprefetched_non_temporal,
            };
        }
        let glances = matches!((locality, residence), (Locality::Auto, Residence::Unknown));
        match self.few_pages(bytes) {
            Some(choice) => choice,
            None if glances && past_the_cache && bytes < LOOK_FROM => {
                if bytes < LONG_FROM {
                    self.glanced.middle
                } else {
                    self.glanced.long
                }
            }
            None => self.temporal,
        }
    }

    /// How to copy `bytes` bytes through the cache if they are a page or a few: what [`Policy::choose`] answers too, sooner.
    #[inline]
    pub(crate) const fn few_pages(&self, bytes: usize) -> Option<Choice> {
        if bytes <= self.decisions.page_up_to {
            Some(self.page)
        } else if bytes <= self.decisions.in_l1_up_to {
            Some(self.short)
        } else {
            None
        }
    }

    /// Whether a look at the source can change what [`Locality::Auto`] does with `bytes` bytes.
    #[inline]
    pub const fn looks(&self, bytes: usize) -> bool {
        bytes >= self.non_temporal_from && bytes >= LOOK_FROM
    }

    const fn exceeds_caches(&self, bytes: usize) -> bool {
        bytes >= self.non_temporal_from && self.cpu.caches.l3 != 0 && bytes > self.cpu.caches.l3
    }

    /// `primitive` with the parameters that suit it on this CPU.
    ///
    /// # Errors
    ///
    /// [`CopyError::Unavailable`] where the CPU can't run it.
    #[inline]
    pub const fn with_primitive(&self, primitive: Primitive) -> Result<Choice, CopyError> {
        match primitive.is_available(&self.cpu) {
            true => Ok(choice(primitive, Reason::Forced, self.decisions.prefetch_distance)),
            false => Err(CopyError::Unavailable { primitive, missing: primitive.missing(&self.cpu) }),
        }
    }

    /// Why `bytes` bytes are copied the way they are, in a sentence.
    pub const fn explain(&self, locality: Locality, bytes: usize) -> Explanation {
        let looks = matches!(locality, Locality::Auto) && self.looks(bytes);
        let cached = self.choose_seen(locality, bytes, Residence::Cached);
        let in_memory = self.choose_seen(locality, bytes, Residence::Memory);
        match looks {
            true => Explanation { choice: cached, otherwise: Some(in_memory) },
            false => Explanation { choice: self.choose(locality, bytes), otherwise: None },
        }
    }
}

/// The first of the primitives that the CPU has and the registers allow.
const fn first_usable(primitives: &[Primitive], cpu: &Cpu, registers: Registers) -> Option<Primitive> {
    let mut rest = primitives;
    while let [primitive, others @ ..] = rest {
        let allowed = primitive.is_kernel() || matches!(registers, Registers::Vector);
        if allowed && primitive.is_available(cpu) {
            return Some(*primitive);
        }
        rest = others;
    }
    None
}

/// The loops go in whole lines, so the distance does.
const fn choice(primitive: Primitive, reason: Reason, distance: u32) -> Choice {
    let prefetch_distance = if primitive.is_non_temporal() { distance & !63 } else { 0 };
    Choice { primitive, prefetch_distance, in_l1: None, in_memory: None, reason }
}

/// A choice and its reason, to be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    choice: Choice,
    otherwise: Option<Choice>,
}

impl Explanation {
    /// What was chosen, where a look at the source decides: for one that is in the cache.
    pub const fn choice(&self) -> Choice {
        self.choice
    }

    /// What a look that finds the source in memory makes of it.
    pub const fn in_memory(&self) -> Choice {
        match self.otherwise {
            Some(choice) => choice,
            None => self.choice,
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.otherwise {
            None => self.choice.fmt(formatter),
            Some(in_memory) => {
                write!(formatter, "in the cache {}; in memory {in_memory}", self.choice)
            }
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ahead = |formatter: &mut fmt::Formatter<'_>| match self.prefetch_distance {
            0 => Ok(()),
            distance => write!(formatter, " prefetching {distance} bytes ahead"),
        };
        write!(formatter, "{}", self.primitive)?;
        if self.in_memory.is_none() {
            ahead(formatter)?;
        }
        write!(formatter, ", since {}", self.reason.text())?;
        if let Some(primitive) = self.in_l1 {
            write!(formatter, "; {primitive} if the first page was in the L1")?;
        }
        if let Some(primitive) = self.in_memory {
            write!(formatter, "; {primitive}")?;
            ahead(formatter)?;
            let it = if self.in_l1.is_some() { "it was" } else { "the source is" };
            write!(formatter, " if {it} in memory")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Caches, Vendor};

    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    const FAST_STRINGS: Features = Features::ERMS.union(Features::FSRM).union(Features::REP_GOOD);
    const VECTORS: Features = Features::AVX2.union(Features::AVX512F);
    const ZEN_5_FEATURES: Features = FAST_STRINGS.union(VECTORS).union(Features::TSC);

    const fn cpu(vendor: Vendor, family: u32, model: u32, features: Features) -> Cpu {
        let caches = Caches { l1d: 32 * KIB, l2: MIB, l3: 32 * MIB };
        Cpu { vendor, family, model, stepping: 0, features, caches }
    }

    const ZEN_2: Cpu = cpu(Vendor::Amd, 0x17, 0x31, Features::REP_GOOD.union(Features::AVX2));
    const ZEN_3: Cpu = cpu(Vendor::Amd, 0x19, 0x01, FAST_STRINGS.union(Features::AVX2));
    const ZEN_4: Cpu = cpu(Vendor::Amd, 0x19, 0x11, FAST_STRINGS.union(VECTORS));
    const ZEN_5: Cpu = cpu(Vendor::Amd, 0x1a, 0x02, ZEN_5_FEATURES);
    const SKYLAKE: Cpu = cpu(Vendor::Intel, 6, 0x55, Features::ERMS.union(Features::REP_GOOD).union(VECTORS));
    const GRANITE_RAPIDS: Cpu =
        cpu(Vendor::Intel, 6, 0xad, FAST_STRINGS.union(VECTORS).union(Features::MOVDIR64B));
    const UNKNOWN: Cpu = cpu(Vendor::Other, 6, 1, VECTORS);

    /// A choice is moved about in one register.
    #[test]
    fn a_choice_is_eight_bytes() {
        assert_eq!(size_of::<Choice>(), 8);
        assert_eq!(size_of::<Option<Choice>>(), 8);
    }

    /// What is chosen for a CPU, a locality and a length, in a process, with the source in the cache
    /// and in memory.
    fn chosen(cpu: Cpu, locality: Locality, bytes: usize) -> (Primitive, Primitive) {
        let policy = Policy::new(cpu, Registers::Vector);
        let seen = |residence| policy.choose_seen(locality, bytes, residence).primitive;
        (seen(Residence::Cached), seen(Residence::Memory))
    }

    #[test]
    fn the_plain_rule_asks_for_erms_then_rep_good_and_never_for_fsrm() {
        use Primitive::*;
        let fsrm_alone = cpu(Vendor::Intel, 6, 0x6a, Features::FSRM);
        let rows = [
            (ZEN_2, RepMovsq),
            (ZEN_3, RepMovsb),
            (ZEN_3.without(Features::ERMS | Features::FSRM), RepMovsq),
            (ZEN_4, RepMovsb),
            (ZEN_5, RepMovsb),
            (SKYLAKE, RepMovsb),
            (GRANITE_RAPIDS, RepMovsb),
            (fsrm_alone, Movq),
            (UNKNOWN, Movq),
        ];
        for (cpu, expected) in rows {
            for registers in [Registers::GeneralPurpose, Registers::Vector] {
                let policy = Policy::new(cpu, registers);
                assert_eq!(policy.choose(Locality::Temporal, 2 * MIB).primitive, expected, "{cpu}");
            }
        }
    }

    #[test]
    fn short_copies_use_vectors_where_that_was_measured_and_nowhere_else() {
        use Primitive::*;
        let rows = [
            (ZEN_2, RepMovsq),
            (ZEN_3, Avx2),
            (ZEN_4, RepMovsb),
            (ZEN_5, Avx512),
            (ZEN_5.without(Features::AVX512F), Avx2),
            (ZEN_5.without(VECTORS), RepMovsb),
            (SKYLAKE, RepMovsb),
            (GRANITE_RAPIDS, RepMovsb),
            (UNKNOWN, Movq),
        ];
        for (cpu, expected) in rows {
            for locality in [Locality::Temporal, Locality::Auto] {
                assert_eq!(chosen(cpu, locality, 4 * KIB), (expected, expected), "{cpu} {locality}");
            }
        }
    }

    #[test]
    fn the_first_page_or_a_glance_tells_of_what_is_too_short_for_a_look() {
        let chosen = |cpu, locality, pages: usize| {
            let choice = Policy::new(cpu, Registers::Vector).choose(locality, pages * PAGE_SIZE);
            (choice.primitive, choice.in_l1, choice.in_memory)
        };
        let (avx2, avx512, rep_movsb) = (Primitive::Avx2, Primitive::Avx512, Primitive::RepMovsb);
        for (pages, expected) in [
            (1, (avx512, None, None)),
            (2, (avx512, None, None)),
            (3, (rep_movsb, Some(avx512), Some(rep_movsb))),
            (4, (rep_movsb, Some(avx512), Some(rep_movsb))),
            (5, (rep_movsb, None, None)),
            (15, (rep_movsb, None, None)),
        ] {
            assert_eq!(chosen(ZEN_5, Locality::Auto, pages), expected, "{pages} pages");
            assert_eq!(chosen(ZEN_5, Locality::Temporal, pages), expected, "{pages} pages");
        }
        for pages in [16, 63] {
            let glanced = (rep_movsb, None, Some(Primitive::Avx512Nt));
            assert_eq!(chosen(ZEN_5, Locality::Auto, pages), glanced, "{pages} pages");
            assert_eq!(chosen(ZEN_5, Locality::Temporal, pages), (rep_movsb, None, None), "{pages} pages");
        }
        assert_eq!(chosen(ZEN_5, Locality::Auto, 64), (rep_movsb, None, None), "a look tells");
        let without = ZEN_5.without(Features::TSC);
        for pages in [4, 16] {
            let expected = (rep_movsb, None, None);
            assert_eq!(chosen(without, Locality::Auto, pages), expected, "nothing to tell the time by");
        }
        let zen_3 = Cpu { features: ZEN_3.features | Features::TSC, ..ZEN_3 };
        assert_eq!(chosen(zen_3, Locality::Auto, 1), (avx2, None, None));
        assert_eq!(
            chosen(zen_3, Locality::Auto, 2),
            (rep_movsb, Some(avx2), None),
            "no prefetch was measured there"
        );
        assert_eq!(chosen(zen_3, Locality::Auto, 16), (rep_movsb, None, None));
        assert_eq!(chosen(ZEN_4, Locality::Auto, 4), (rep_movsb, None, None), "not measured");
        let distance = |pages: usize| {
            Policy::new(ZEN_5, Registers::Vector).choose(Locality::Auto, pages * PAGE_SIZE).prefetch_distance
        };
        assert_eq!([4, 16, 31, 32, 63].map(distance), [16384, 4096, 4096, 8192, 8192]);
    }

    #[test]
    fn long_copies_past_the_cache_leave_prefetching_to_the_cpu_where_that_was_measured() {
        let distance = |cpu, registers, bytes| {
            Policy::new(cpu, registers).choose(Locality::NonTemporal, bytes).prefetch_distance
        };
        let sizes = [64 * KIB, 128 * KIB, MIB - 4096, MIB, 64 * MIB];
        let on = |cpu, registers| sizes.map(|bytes| distance(cpu, registers, bytes));
        assert_eq!(on(ZEN_5, Registers::Vector), [4096, 8192, 8192, 0, 0]);
        assert_eq!(on(ZEN_5, Registers::GeneralPurpose), [4096, 8192, 8192, 8192, 8192]);
        assert_eq!(on(ZEN_3, Registers::Vector), [1024; 5]);
        let policy = Policy::new(ZEN_5, Registers::Vector);
        let decisions = Decisions { no_prefetch_from: Some(0), ..*policy.decisions() };
        let deciding = policy.deciding(decisions).unwrap();
        let distances = [128 * KIB, 256 * KIB]
            .map(|bytes| deciding.choose(Locality::NonTemporal, bytes).prefetch_distance);
        assert_eq!(distances, [8192, 0], "a glance decides below");
    }

    #[test]
    fn a_look_decides_from_the_threshold_on() {
        use Primitive::*;
        assert_eq!(chosen(ZEN_5, Locality::Auto, 8 * KIB), (Avx512, Avx512));
        assert_eq!(chosen(ZEN_5, Locality::Auto, 64 * KIB - 4096), (RepMovsb, RepMovsb));
        assert_eq!(chosen(ZEN_5, Locality::Auto, 64 * KIB), (RepMovsb, Avx512Nt));
        assert_eq!(chosen(ZEN_5.without(VECTORS), Locality::Auto, 64 * KIB), (RepMovsb, RepMovsb));
        assert_eq!(chosen(ZEN_5.without(VECTORS), Locality::Auto, 256 * KIB), (RepMovsb, Movnti));
        assert_eq!(chosen(ZEN_3, Locality::Auto, 256 * KIB - 4096), (RepMovsb, RepMovsb));
        assert_eq!(chosen(ZEN_3, Locality::Auto, 256 * KIB), (RepMovsb, Avx2Nt));
        assert_eq!(chosen(SKYLAKE, Locality::Auto, 256 * KIB), (RepMovsb, Movnti));
        assert_eq!(chosen(UNKNOWN, Locality::Auto, 256 * KIB), (Movq, Movnti));
        let policy = Policy::new(ZEN_5, Registers::Vector);
        for bytes in [4 * KIB, 8 * KIB, 16 * KIB, 20 * KIB, 64 * KIB, 128 * KIB, 256 * KIB, MIB] {
            let (cached, in_memory) = chosen(ZEN_5, Locality::Auto, bytes);
            let told =
                policy.looks(bytes) || policy.choose(Locality::Auto, bytes).in_memory == Some(in_memory);
            assert!(told || cached == in_memory, "{bytes}: somebody tells where it decides");
            assert!(!policy.looks(bytes) || cached != in_memory, "{bytes}: no look where it doesn't");
        }
    }

    #[test]
    fn without_a_look_the_length_decides() {
        let policy = Policy::new(ZEN_5, Registers::Vector);
        let primitive = |bytes| policy.choose(Locality::Auto, bytes).primitive;
        assert_eq!(primitive(32 * MIB), Primitive::RepMovsb);
        assert_eq!(primitive(32 * MIB + 4096), Primitive::Avx512Nt);
        let no_caches = Cpu { caches: Caches::default(), ..ZEN_5 };
        let policy = Policy::new(no_caches, Registers::Vector);
        assert_eq!(policy.choose(Locality::Auto, 1 << 30).primitive, Primitive::RepMovsb);
    }

    #[test]
    fn a_kernel_gets_no_vector_registers() {
        for cpu in [ZEN_2, ZEN_3, ZEN_4, ZEN_5, SKYLAKE, GRANITE_RAPIDS, UNKNOWN] {
            let policy = Policy::new(cpu, Registers::GeneralPurpose);
            for bytes in [4 * KIB, 16 * KIB, 64 * KIB, MIB, 1024 * MIB] {
                for locality in Locality::ALL {
                    for residence in [Residence::Cached, Residence::Memory, Residence::Unknown] {
                        let choice = policy.choose_seen(*locality, bytes, residence);
                        let usable = choice.primitive.is_kernel() && choice.in_l1.is_none();
                        assert!(usable, "{cpu} {locality} {bytes}: {choice}");
                    }
                }
            }
            assert_eq!(policy.choose(Locality::NonTemporal, MIB).primitive, Primitive::Movnti);
        }
    }

    /// No machine of ours has MOVDIR64B, and AVX-512 was measured on Zen 5 alone.
    #[test]
    fn what_was_not_measured_is_not_chosen() {
        for cpu in [ZEN_4, SKYLAKE, GRANITE_RAPIDS, UNKNOWN] {
            for bytes in [4 * KIB, 16 * KIB, MIB] {
                for locality in Locality::ALL {
                    let (cached, in_memory) = chosen(cpu, *locality, bytes);
                    for primitive in [cached, in_memory] {
                        assert!(primitive.requires().is_empty(), "{cpu} {locality} {bytes}: {primitive}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_forced_primitive_is_for_everything() {
        let policy = Policy::new(ZEN_5, Registers::Vector).forcing(Primitive::Movq).unwrap();
        for bytes in [4 * KIB, 16 * KIB, MIB] {
            assert!(!policy.looks(bytes));
            for locality in Locality::ALL {
                assert_eq!(policy.choose(*locality, bytes).primitive, Primitive::Movq);
            }
        }
        let answer = Policy::new(ZEN_5, Registers::Vector).forcing(Primitive::Movdir64b);
        let missing = Features::MOVDIR64B;
        assert_eq!(answer, Err(CopyError::Unavailable { primitive: Primitive::Movdir64b, missing }));
    }

    #[test]
    fn decisions_replace_the_table() {
        let built_in = Policy::new(ZEN_5, Registers::Vector);
        let decisions = Decisions {
            temporal: Primitive::RepMovsq,
            page: Primitive::Avx2,
            page_up_to: PAGE_SIZE,
            in_l1: None,
            in_l1_up_to: 0,
            prefetch_up_to: 0,
            non_temporal: Primitive::Movnti,
            prefetch_distance: 2000,
            long_prefetch_distance: None,
            no_prefetch_from: None,
            non_temporal_from: None,
        };
        let policy = built_in.deciding(decisions).unwrap();
        assert_eq!(policy.decisions(), &decisions);
        assert_eq!(policy.choose(Locality::Auto, 4 * KIB).primitive, Primitive::Avx2);
        assert_eq!(policy.choose(Locality::Auto, 8 * KIB).primitive, Primitive::RepMovsq);
        assert_eq!(policy.choose(Locality::NonTemporal, MIB).prefetch_distance, 31 * 64, "whole lines");
        assert!(
            !policy.looks(1 << 40) && policy.choose(Locality::Auto, 1 << 40).primitive == Primitive::RepMovsq
        );
        assert_eq!(built_in.deciding(*built_in.decisions()).unwrap().decisions(), built_in.decisions());
        let always = policy.deciding(Decisions { non_temporal_from: Some(0), ..decisions }).unwrap();
        assert!(!always.looks(0) && always.looks(256 * KIB), "there is something to look at");
        assert_eq!(always.choose(Locality::Auto, 4 * KIB).primitive, Primitive::Avx2, "a page has no rest");
        let lacking = Policy::new(ZEN_3, Registers::Vector)
            .deciding(Decisions { in_l1: Some(Primitive::Avx512), ..decisions });
        let missing = Features::AVX512F;
        assert_eq!(lacking, Err(CopyError::Unavailable { primitive: Primitive::Avx512, missing }));
    }

    #[test]
    fn explanations_are_sentences() {
        extern crate std;
        use std::string::ToString;
        let explained =
            |cpu, locality, bytes| Policy::new(cpu, Registers::Vector).explain(locality, bytes).to_string();
        assert_eq!(explained(ZEN_4, Locality::Temporal, MIB), "rep_movsb, since the CPU has ERMS");
        assert_eq!(
            explained(ZEN_5, Locality::Auto, 16 * KIB),
            "rep_movsb, since the CPU has ERMS; avx512 if the first page was in the L1; rep_movsb prefetching 16384 \
             bytes ahead if it was in memory"
        );
        assert_eq!(
            explained(ZEN_5, Locality::Auto, 64 * KIB),
            "rep_movsb, since the CPU has ERMS; avx512_nt prefetching 4096 bytes ahead if the source is in memory"
        );
        assert_eq!(
            explained(SKYLAKE, Locality::Auto, MIB),
            "in the cache rep_movsb, since the CPU has ERMS; in memory movnti prefetching 1024 bytes ahead, \
             since the destination should not displace what the cache holds"
        );
    }
}
