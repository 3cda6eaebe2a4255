//! What this CPU is and has, and a mask that makes it pretend to have less.

use core::fmt;
use core::ops::BitOr;
use core::str::FromStr;

use crate::error::{Named, UnknownName};

/// A set of CPU features, by the names of Linux's `/proc/cpuinfo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features(u32);

macro_rules! features {
    ($($(#[$doc:meta])* $constant:ident = $bit:literal, $name:literal;)*) => {
        impl Features {
            $($(#[$doc])* pub const $constant: Self = Self(1 << $bit);)*

            /// Every feature, with its name.
            const NAMED: &'static [(Self, &'static str)] = &[$((Self::$constant, $name)),*];
            pub(crate) const NAMES: &'static [&'static str] = &[$($name),*];
        }
    };
}

features! {
    /// Enhanced `rep movsb` and `rep stosb`: CPUID 7.0 EBX bit 9.
    ERMS = 0, "erms";
    /// Fast short `rep movsb`: CPUID 7.0 EDX bit 4. It speaks of copies up to 128 bytes.
    FSRM = 1, "fsrm";
    /// Fast zero-length `rep movsb`: CPUID 7.1 EAX bit 10.
    FZRM = 2, "fzrm";
    /// `rep movsq` runs in microcode that works a cache line at a time. No CPUID bit:
    /// see [`Cpu::detect`] for how it is derived.
    REP_GOOD = 3, "rep_good";
    /// 256-bit integer instructions, and an operating system that keeps the registers.
    AVX2 = 4, "avx2";
    /// 512-bit foundation instructions, and an operating system that keeps the registers.
    AVX512F = 5, "avx512f";
    /// A 64-byte direct store: CPUID 7.0 ECX bit 28.
    MOVDIR64B = 6, "movdir64b";
    /// The time-stamp counter exists, and RDTSCP with it: CPUID 1 EDX bit 4, 0x8000_0001 EDX bit 27.
    TSC = 7, "tsc";
    /// The time-stamp counter runs at one rate in every power state: CPUID 0x8000_0007 EDX bit 8.
    CONSTANT_TSC = 8, "constant_tsc";
    /// A hypervisor runs under us: CPUID 1 ECX bit 31.
    HYPERVISOR = 9, "hypervisor";
}

impl Features {
    /// No feature.
    pub const NONE: Self = Self(0);

    /// Whether every feature of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The features of either set.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The features of both sets.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The features of this set that are not in `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The names of the features in the set, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMED.iter().filter(move |(feature, _)| self.contains(*feature)).map(|(_, name)| *name)
    }

    #[cfg(target_arch = "x86_64")]
    const fn when(self, present: bool) -> Self {
        if present { self } else { Self::NONE }
    }
}

impl BitOr for Features {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

/// The names, separated by commas: what [`FromStr`] reads.
impl fmt::Display for Features {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.names().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(formatter, "{separator}{name}")?;
        }
        Ok(())
    }
}

/// Reads names separated by commas; an empty text is the empty set.
impl FromStr for Features {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let unknown = UnknownName(Named::Feature);
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).try_fold(Self::NONE, |set, name| {
            let named = Self::NAMED.iter().find(|(_, known)| *known == name);
            named.map(|(feature, _)| set | *feature).ok_or(unknown)
        })
    }
}

/// Who made the CPU: the vendor string of CPUID leaf 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Vendor {
    /// `GenuineIntel`
    Intel,
    /// `AuthenticAMD`
    Amd,
    /// `HygonGenuine`
    Hygon,
    /// `CentaurHauls`
    Centaur,
    /// `  Shanghai  `
    Zhaoxin,
    /// Any other, or an architecture without CPUID.
    Other,
}

impl Vendor {
    #[cfg(target_arch = "x86_64")]
    fn from_string(vendor: [u8; 12]) -> Self {
        match &vendor {
            b"GenuineIntel" => Self::Intel,
            b"AuthenticAMD" => Self::Amd,
            b"HygonGenuine" => Self::Hygon,
            b"CentaurHauls" => Self::Centaur,
            b"  Shanghai  " => Self::Zhaoxin,
            _ => Self::Other,
        }
    }

    /// The name as people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intel => "Intel",
            Self::Amd => "AMD",
            Self::Hygon => "Hygon",
            Self::Centaur => "Centaur",
            Self::Zhaoxin => "Zhaoxin",
            Self::Other => "unknown",
        }
    }
}

macro_rules! microarchitectures {
    ($($variant:ident = $name:literal,)*) => {
        /// The design of the cores, where family and model tell it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Microarchitecture {
            $(#[doc = $name] $variant,)*
        }

        impl Microarchitecture {
            /// The name as its maker writes it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

microarchitectures! {
    Zen = "Zen",
    Zen2 = "Zen 2",
    Zen3 = "Zen 3",
    Zen4 = "Zen 4",
    Zen5 = "Zen 5",
    Zen6 = "Zen 6",
    Haswell = "Haswell",
    Broadwell = "Broadwell",
    Skylake = "Skylake",
    IceLake = "Ice Lake",
    SapphireRapids = "Sapphire Rapids",
    EmeraldRapids = "Emerald Rapids",
    GraniteRapids = "Granite Rapids",
    AlderLake = "Alder Lake",
    RaptorLake = "Raptor Lake",
    MeteorLake = "Meteor Lake",
    Unknown = "unknown",
}

/// Sizes of the data caches in bytes, 0 where the CPU does not say.
///
/// The last level is what CPUID calls level 3; how much of it one core may use is another question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caches {
    /// Level 1, data.
    pub l1d: usize,
    /// Level 2.
    pub l2: usize,
    /// Level 3.
    pub l3: usize,
}

/// What a CPU is and has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Who made it.
    pub vendor: Vendor,
    /// The family with the extended family added, as `/proc/cpuinfo` has it.
    pub family: u32,
    /// The model with the extended model in front, as `/proc/cpuinfo` has it.
    pub model: u32,
    /// The stepping.
    pub stepping: u32,
    /// What it has, and the operating system lets us use.
    pub features: Features,
    /// Its data caches.
    pub caches: Caches,
}

impl Cpu {
    /// A CPU of which nothing is known: what an architecture without CPUID looks like.
    pub const UNKNOWN: Self = Self {
        vendor: Vendor::Other,
        family: 0,
        model: 0,
        stepping: 0,
        features: Features::NONE,
        caches: Caches { l1d: 0, l2: 0, l3: 0 },
    };

    /// The CPU under us, as it is: a pass over CPUID, some tens of microseconds where a hypervisor
    /// intercepts it.
    ///
    /// `REP_GOOD` is derived as Linux derives it: AMD from family 0x10 on (`amd.c`), Hygon
    /// (`hygon.c`), Intel from Dothan on (`intel.c`), Centaur from family 6 model 15 on
    /// (`centaur.c`), Zhaoxin from family 6 on (`zhaoxin.c`). Linux also asks an Intel CPU whether its
    /// firmware left fast strings on, which takes a privileged instruction: a kernel sets
    /// [`Cpu::features`] from what it knows.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        return x86_64::detect();
        #[cfg(not(target_arch = "x86_64"))]
        return Self::UNKNOWN;
    }

    /// The same CPU, pretending to lack `mask`.
    #[must_use]
    pub const fn without(mut self, mask: Features) -> Self {
        self.features = self.features.without(mask);
        self
    }

    /// Whether it has every feature of `features`.
    pub const fn has(&self, features: Features) -> bool {
        self.features.contains(features)
    }

    /// The design of the cores, by the tables of Linux: `amd.c` and `intel-family.h`.
    pub const fn microarchitecture(&self) -> Microarchitecture {
        use Microarchitecture as M;
        match (self.vendor, self.family, self.model) {
            (Vendor::Amd, 0x17, 0x00..=0x2f | 0x50..=0x5f) | (Vendor::Hygon, 0x18, _) => M::Zen,
            (Vendor::Amd, 0x17, _) => M::Zen2,
            (Vendor::Amd, 0x19, 0x00..=0x0f | 0x20..=0x5f) => M::Zen3,
            (Vendor::Amd, 0x19, 0x10..=0x1f | 0x60..=0xaf) => M::Zen4,
            (Vendor::Amd, 0x1a, 0x00..=0x2f | 0x40..=0x4f | 0x60..=0x7f) => M::Zen5,
            (Vendor::Amd, 0x1a, 0x50..=0x5f | 0x80..=0xaf | 0xc0..=0xcf) => M::Zen6,
            (Vendor::Intel, 6, 0x3c | 0x3f | 0x45 | 0x46) => M::Haswell,
            (Vendor::Intel, 6, 0x3d | 0x47 | 0x4f | 0x56) => M::Broadwell,
            (Vendor::Intel, 6, 0x4e | 0x5e | 0x55 | 0x8e | 0x9e | 0xa5 | 0xa6) => M::Skylake,
            (Vendor::Intel, 6, 0x6a | 0x6c | 0x7d | 0x7e | 0x9d) => M::IceLake,
            (Vendor::Intel, 6, 0x8f) => M::SapphireRapids,
            (Vendor::Intel, 6, 0xcf) => M::EmeraldRapids,
            (Vendor::Intel, 6, 0xad | 0xae) => M::GraniteRapids,
            (Vendor::Intel, 6, 0x97 | 0x9a) => M::AlderLake,
            (Vendor::Intel, 6, 0xb7 | 0xba | 0xbf) => M::RaptorLake,
            (Vendor::Intel, 6, 0xaa | 0xac) => M::MeteorLake,
            _ => M::Unknown,
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {} (family {:#x} model {:#x} stepping {})",
            self.vendor.name(),
            self.microarchitecture().name(),
            self.family,
            self.model,
            self.stepping
        )
    }
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use core::arch::x86_64::{__cpuid_count, CpuidResult};

    use super::{Caches, Cpu, Features, Vendor};

    /// The CPUID leaves that exist here; a leaf that doesn't reads as zeros.
    struct Leaves {
        highest: u32,
        highest_extended: u32,
    }

    impl Leaves {
        fn new() -> Self {
            let highest = __cpuid_count(0, 0).eax;
            Self { highest, highest_extended: __cpuid_count(0x8000_0000, 0).eax }
        }

        fn get(&self, leaf: u32, subleaf: u32) -> CpuidResult {
            let highest = if leaf >= 0x8000_0000 { self.highest_extended } else { self.highest };
            match leaf <= highest {
                true => __cpuid_count(leaf, subleaf),
                false => CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 },
            }
        }
    }

    const fn bit(register: u32, index: u32) -> bool {
        register >> index & 1 != 0
    }

    pub(super) fn detect() -> Cpu {
        let leaves = Leaves::new();
        let vendor = vendor(leaves.get(0, 0));
        let version = leaves.get(1, 0);
        let (family, model, stepping) = signature(version.eax);
        let caches = caches(&leaves, vendor);

        let structured = leaves.get(7, 0);
        let structured_1 = if structured.eax >= 1 { leaves.get(7, 1).eax } else { 0 };
        let extended = leaves.get(0x8000_0001, 0);
        let power = leaves.get(0x8000_0007, 0);
        let enabled = if bit(version.ecx, 27) { extended_control_register_0() } else { 0 };
        let avx_enabled = enabled & 0b110 == 0b110;
        let avx512_enabled = enabled & 0b1110_0110 == 0b1110_0110;

        let features = Features::ERMS.when(bit(structured.ebx, 9))
            | Features::FSRM.when(bit(structured.edx, 4))
            | Features::FZRM.when(bit(structured_1, 10))
            | Features::REP_GOOD.when(rep_good(vendor, family, model))
            | Features::AVX2.when(bit(structured.ebx, 5) && avx_enabled)
            | Features::AVX512F.when(bit(structured.ebx, 16) && avx512_enabled)
            | Features::MOVDIR64B.when(bit(structured.ecx, 28))
            | Features::TSC.when(bit(version.edx, 4) && bit(extended.edx, 27))
            | Features::CONSTANT_TSC.when(bit(power.edx, 8))
            | Features::HYPERVISOR.when(bit(version.ecx, 31));
        Cpu { vendor, family, model, stepping, features, caches }
    }

    fn vendor(leaf: CpuidResult) -> Vendor {
        let mut text = [0; 12];
        for (chunk, register) in text.chunks_exact_mut(4).zip([leaf.ebx, leaf.edx, leaf.ecx]) {
            chunk.copy_from_slice(&register.to_le_bytes());
        }
        Vendor::from_string(text)
    }

    /// Family, model and stepping, put together as Intel's SDM (volume 2, CPUID, figure 3-6) says.
    fn signature(eax: u32) -> (u32, u32, u32) {
        let base_family = eax >> 8 & 0xf;
        let family = if base_family == 0xf { base_family + (eax >> 20 & 0xff) } else { base_family };
        let extended_model = if family >= 6 { eax >> 16 & 0xf } else { 0 };
        (family, extended_model << 4 | eax >> 4 & 0xf, eax & 0xf)
    }

    pub(super) fn rep_good(vendor: Vendor, family: u32, model: u32) -> bool {
        match vendor {
            Vendor::Amd => family >= 0x10,
            Vendor::Hygon => true,
            Vendor::Intel => family > 6 || family == 6 && model >= 0xd,
            Vendor::Centaur => family > 6 || family == 6 && model >= 0xf,
            Vendor::Zhaoxin => family >= 6,
            Vendor::Other => false,
        }
    }

    /// The deterministic cache parameters: Intel has them in leaf 4, AMD in leaf 0x8000_001d, in the
    /// same form.
    fn caches(leaves: &Leaves, vendor: Vendor) -> Caches {
        const DATA: u32 = 1;
        const UNIFIED: u32 = 3;
        let leaf = if matches!(vendor, Vendor::Amd | Vendor::Hygon) { 0x8000_001d } else { 4 };
        let mut caches = Caches::default();
        for subleaf in 0..16 {
            let found = leaves.get(leaf, subleaf);
            let kind = found.eax & 0x1f;
            if kind == 0 {
                break;
            }
            let (ways, partitions, line) = (found.ebx >> 22, found.ebx >> 12 & 0x3ff, found.ebx & 0xfff);
            let bytes = [ways, partitions, line, found.ecx].iter().map(|field| *field as usize + 1).product();
            match (found.eax >> 5 & 7, kind) {
                (1, DATA | UNIFIED) => caches.l1d = bytes,
                (2, DATA | UNIFIED) => caches.l2 = bytes,
                (3, DATA | UNIFIED) => caches.l3 = bytes,
                _ => {}
            }
        }
        caches
    }

    /// XCR0: which register sets the operating system saves. The caller has seen OSXSAVE.
    fn extended_control_register_0() -> u64 {
        let (low, high): (u32, u32);
        // SAFETY: xgetbv with ecx = 0 is legal wherever CPUID shows OSXSAVE, and only reads.
        unsafe {
            core::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high,
                options(nomem, nostack, preserves_flags));
        }
        u64::from(high) << 32 | u64::from(low)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn signatures_of_known_cpus() {
            assert_eq!(signature(0x00b0_0f21), (0x1a, 0x02, 1), "Zen 5, Turin");
            assert_eq!(signature(0x00a0_0f11), (0x19, 0x01, 1), "Zen 3, Milan");
            assert_eq!(signature(0x0008_06f8), (6, 0x8f, 8), "Sapphire Rapids");
        }

        #[test]
        fn rep_good_as_linux_derives_it() {
            assert!(rep_good(Vendor::Amd, 0x19, 1));
            assert!(!rep_good(Vendor::Amd, 0xf, 0x41));
            assert!(rep_good(Vendor::Intel, 6, 0x8f));
            assert!(!rep_good(Vendor::Intel, 6, 0x9));
            assert!(!rep_good(Vendor::Other, 0x1a, 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_read_back_what_they_print() {
        for (feature, _) in Features::NAMED {
            for (other, _) in Features::NAMED {
                let set = *feature | *other;
                extern crate std;
                assert_eq!(std::format!("{set}").parse(), Ok(set));
            }
        }
        assert_eq!("".parse(), Ok(Features::NONE));
        assert_eq!(" erms, fsrm ".parse(), Ok(Features::ERMS | Features::FSRM));
    }

    #[test]
    fn an_unknown_feature_lists_the_known() {
        extern crate std;
        let message = std::format!("{}", "erms,sse9".parse::<Features>().unwrap_err());
        assert!(message.starts_with("unknown CPU feature; known are erms, fsrm,"), "{message}");
    }

    #[test]
    fn a_masked_cpu_lacks_what_is_masked_and_nothing_else() {
        let all = Features::NAMED.iter().fold(Features::NONE, |set, (feature, _)| set | *feature);
        let cpu = Cpu { features: all, ..Cpu::UNKNOWN };
        let masked = cpu.without(Features::ERMS | Features::FSRM);
        assert!(!masked.has(Features::ERMS) && !masked.has(Features::FSRM));
        assert_eq!(masked.features | Features::ERMS | Features::FSRM, all);
    }

    #[test]
    fn microarchitectures_of_known_models() {
        let named = |vendor, family, model| {
            let cpu = Cpu { vendor, family, model, ..Cpu::UNKNOWN };
            cpu.microarchitecture().name()
        };
        assert_eq!(named(Vendor::Amd, 0x19, 0x01), "Zen 3");
        assert_eq!(named(Vendor::Amd, 0x19, 0x11), "Zen 4");
        assert_eq!(named(Vendor::Amd, 0x1a, 0x02), "Zen 5");
        assert_eq!(named(Vendor::Intel, 6, 0xad), "Granite Rapids");
        assert_eq!(named(Vendor::Other, 6, 0xad), "unknown");
    }
}
