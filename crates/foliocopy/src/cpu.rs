//! The CPU: its identity, its features, and a mask that hides features.

#[cfg(all(target_arch = "aarch64", target_os = "linux", feature = "std", not(miri)))]
mod aarch64;
mod features;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86_64;

use core::fmt;

pub use features::Features;

macro_rules! vendors {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The vendor: the vendor string of CPUID leaf 0, or on aarch64 the implementer of MIDR_EL1.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Vendor {
            $($(#[$doc])* $variant,)*
        }

        impl Vendor {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name as people write it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

vendors! {
    /// `GenuineIntel`
    Intel = "Intel",
    /// `AuthenticAMD`
    Amd = "AMD",
    /// `HygonGenuine`
    Hygon = "Hygon",
    /// `CentaurHauls`
    Centaur = "Centaur",
    /// `  Shanghai  `
    Zhaoxin = "Zhaoxin",
    /// Implementer 0x41
    Arm = "Arm",
    /// Implementer 0x46
    Fujitsu = "Fujitsu",
    /// Implementer 0x48
    HiSilicon = "HiSilicon",
    /// Implementer 0x4e
    Nvidia = "NVIDIA",
    /// Implementer 0x51
    Qualcomm = "Qualcomm",
    /// Implementer 0x61
    Apple = "Apple",
    /// Implementer 0x6d
    Microsoft = "Microsoft",
    /// Implementer 0xc0
    Ampere = "Ampere",
    /// Any other, or one that does not say.
    Other = "unknown",
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
impl Vendor {
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
    IceLakeSp = "Ice Lake-SP",
    TigerLake = "Tiger Lake",
    RocketLake = "Rocket Lake",
    SapphireRapids = "Sapphire Rapids",
    EmeraldRapids = "Emerald Rapids",
    GraniteRapids = "Granite Rapids",
    AlderLake = "Alder Lake",
    RaptorLake = "Raptor Lake",
    MeteorLake = "Meteor Lake",
    NeoverseN1 = "Neoverse N1",
    NeoverseN2 = "Neoverse N2",
    NeoverseN3 = "Neoverse N3",
    NeoverseV1 = "Neoverse V1",
    NeoverseV2 = "Neoverse V2",
    NeoverseV3 = "Neoverse V3",
    Ampere1 = "Ampere-1",
    A64fx = "A64FX",
    Unknown = "unknown",
}

/// Sizes of the data caches in bytes, 0 where the CPU does not say.
///
/// The last level is CPUID's level 3, or that of sysfs on aarch64. How much of it one core may use is not known here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caches {
    /// Level 1, data.
    pub l1d: usize,
    /// Level 2.
    pub l2: usize,
    /// Level 3.
    pub l3: usize,
}

/// A CPU: its identity and its features.
///
/// # Invariants
///
/// Where `is_host` is set, the CPU of this machine has every feature in `features`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    vendor: Vendor,
    family: u32,
    model: u32,
    stepping: u32,
    features: Features,
    caches: Caches,
    is_host: bool,
}

impl Cpu {
    /// An unknown CPU, without features.
    pub const UNKNOWN: Self =
        Self::foreign(Vendor::Other, [0, 0, 0], Features::NONE, Caches { l1d: 0, l2: 0, l3: 0 });

    /// This machine's CPU, of which only the architecture is known. Every build may use the features of that.
    pub(crate) const BASELINE: Self = Self {
        is_host: true,
        // INVARIANT: compiled code uses them too.
        features: if cfg!(target_feature = "neon") { Features::ASIMD } else { Features::NONE },
        ..Self::UNKNOWN
    };

    /// A CPU other than this machine's. [`Policy::new`](crate::Policy::new) tells how it would copy, and such a policy copies
    /// nothing.
    ///
    /// The signature is family, model and stepping as `/proc/cpuinfo` has them. On aarch64 it is [`Cpu::family`],
    /// [`Cpu::model`] and [`Cpu::stepping`].
    pub const fn foreign(vendor: Vendor, signature: [u32; 3], features: Features, caches: Caches) -> Self {
        let [family, model, stepping] = signature;
        // INVARIANT: not the host.
        Self { vendor, family, model, stepping, features, caches, is_host: false }
    }

    /// This machine's CPU, as the kernel describes it.
    ///
    /// # Safety
    ///
    /// It has every feature in `features`.
    #[cfg(foliocopy_kernel)]
    pub(crate) const unsafe fn of_kernel(vendor: Vendor, signature: [u32; 3], features: Features) -> Self {
        // INVARIANT: this function's contract is that this machine's CPU has these features.
        Self { is_host: true, ..Self::foreign(vendor, signature, features, Self::UNKNOWN.caches) }
    }

    /// Describes this machine's CPU, by CPUID, which is slow where a hypervisor intercepts it. On aarch64 with `std`, Linux
    /// gives the features, and sysfs the sizes of the caches.
    ///
    /// `REP_GOOD` is derived as Linux derives it: AMD from family 0x10 on (`amd.c`), Hygon
    /// (`hygon.c`), Intel from Dothan on (`intel.c`), Centaur from family 6 model 15 on
    /// (`centaur.c`), Zhaoxin from family 6 on (`zhaoxin.c`). Linux also asks an Intel CPU whether its
    /// firmware left fast strings on, which takes a privileged instruction.
    ///
    /// On hybrid CPUs it describes the core on which it runs. The features are those of all cores, since Linux offers no
    /// others. Family, model and caches may be another core's.
    pub fn detect() -> Self {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        return x86_64::detect();
        #[cfg(all(target_arch = "aarch64", target_os = "linux", feature = "std", not(miri)))]
        return aarch64::detect();
        #[allow(unreachable_code, reason = "nothing else is known of other architectures and systems")]
        Self::BASELINE
    }

    /// The vendor.
    pub const fn vendor(&self) -> Vendor {
        self.vendor
    }

    /// The family with the extended family added, as `/proc/cpuinfo` has it. On aarch64 the number of the implementer.
    pub const fn family(&self) -> u32 {
        self.family
    }

    /// The model with the extended model in front, as `/proc/cpuinfo` has it. On aarch64 the part.
    pub const fn model(&self) -> u32 {
        self.model
    }

    /// The stepping. On aarch64 the variant in bits 7 to 4, and the revision below it.
    pub const fn stepping(&self) -> u32 {
        self.stepping
    }

    /// The features that the CPU has and the operating system enables.
    pub const fn features(&self) -> Features {
        self.features
    }

    /// Its data caches.
    pub const fn caches(&self) -> Caches {
        self.caches
    }

    /// Whether it is the CPU of this machine, less what was masked.
    pub const fn is_host(&self) -> bool {
        self.is_host
    }

    /// Removes the features in `mask`: the CPU counts as one without them.
    #[must_use]
    pub const fn without(mut self, mask: Features) -> Self {
        self.features = self.features.without(mask);
        self
    }

    /// Whether it has every feature of `features`.
    pub const fn has(&self, features: Features) -> bool {
        self.features.contains(features)
    }

    /// Whether its architecture is aarch64, which is known where its vectors are not masked.
    pub const fn is_aarch64(&self) -> bool {
        !self.features.intersection(Features::ASIMD.union(Features::MOPS)).is_empty()
    }

    /// The design of the cores, by the tables of Linux: `amd.c`, `intel-family.h` and arm64's `cputype.h`.
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
            (Vendor::Intel, 6, 0x7d | 0x7e | 0x9d) => M::IceLake,
            (Vendor::Intel, 6, 0x6a | 0x6c) => M::IceLakeSp,
            (Vendor::Intel, 6, 0x8c | 0x8d) => M::TigerLake,
            (Vendor::Intel, 6, 0xa7) => M::RocketLake,
            (Vendor::Intel, 6, 0x8f) => M::SapphireRapids,
            (Vendor::Intel, 6, 0xcf) => M::EmeraldRapids,
            (Vendor::Intel, 6, 0xad | 0xae) => M::GraniteRapids,
            (Vendor::Intel, 6, 0x97 | 0x9a) => M::AlderLake,
            (Vendor::Intel, 6, 0xb7 | 0xba | 0xbf) => M::RaptorLake,
            (Vendor::Intel, 6, 0xaa | 0xac) => M::MeteorLake,
            (Vendor::Arm, _, 0xd0c) => M::NeoverseN1,
            (Vendor::Arm | Vendor::Microsoft, _, 0xd49) => M::NeoverseN2,
            (Vendor::Arm, _, 0xd8e) => M::NeoverseN3,
            (Vendor::Arm, _, 0xd40) => M::NeoverseV1,
            (Vendor::Arm, _, 0xd4f) => M::NeoverseV2,
            (Vendor::Arm, _, 0xd83 | 0xd84) => M::NeoverseV3,
            (Vendor::Ampere, _, 0xac3 | 0xac4) => M::Ampere1,
            (Vendor::Fujitsu, _, 0x001) => M::A64fx,
            _ => M::Unknown,
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, model, stepping, .. } = self;
        write!(formatter, "{} {} ", self.vendor.name(), self.microarchitecture().name())?;
        match self.is_aarch64() {
            true => {
                let (variant, revision) = (stepping >> 4, stepping & 0xf);
                write!(formatter, "(implementer {family:#x} part {model:#x} r{variant}p{revision})")
            }
            false => write!(formatter, "(family {family:#x} model {model:#x} stepping {stepping})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_cpu_lacks_what_is_masked_and_nothing_else() {
        let all = Features::ALL;
        let cpu = Cpu::foreign(Vendor::Amd, [0x1a, 2, 1], all, Caches::default());
        let masked = cpu.without(Features::ERMS | Features::FSRM);
        assert!(!masked.has(Features::ERMS) && !masked.has(Features::FSRM));
        assert_eq!(masked.features | Features::ERMS | Features::FSRM, all);
    }

    #[test]
    fn microarchitectures_of_known_models() {
        let named = |vendor, family, model| {
            Cpu::foreign(vendor, [family, model, 0], Features::NONE, Caches::default())
                .microarchitecture()
                .name()
        };
        assert_eq!(named(Vendor::Amd, 0x19, 0x01), "Zen 3");
        assert_eq!(named(Vendor::Amd, 0x19, 0x11), "Zen 4");
        assert_eq!(named(Vendor::Amd, 0x1a, 0x02), "Zen 5");
        assert_eq!(named(Vendor::Intel, 6, 0x7e), "Ice Lake");
        assert_eq!(named(Vendor::Intel, 6, 0x6a), "Ice Lake-SP");
        assert_eq!(named(Vendor::Intel, 6, 0xad), "Granite Rapids");
        assert_eq!(named(Vendor::Other, 6, 0xad), "unknown");
        assert_eq!(named(Vendor::Arm, 0x41, 0xd4f), "Neoverse V2");
        assert_eq!(named(Vendor::Microsoft, 0x6d, 0xd49), "Neoverse N2");
    }

    #[test]
    fn the_cpu_under_us_is_the_host_and_described_ones_are_not() {
        assert!(Cpu::detect().is_host() && Cpu::detect().without(Features::ERMS).is_host());
        assert!(!Cpu::UNKNOWN.is_host());
    }
}
