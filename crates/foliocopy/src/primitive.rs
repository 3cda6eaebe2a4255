//! The primitives: their names, their requirements, and their effect on the cache.

use core::fmt;
use core::str::FromStr;

use crate::cpu::{Cpu, Features};
use crate::name::UnknownName;

/// The properties of a primitive.
struct Properties {
    name: &'static str,
    /// Features that a CPU must have to run it.
    requires: Features,
    /// Whether its stores bypass the cache, and need a fence.
    non_temporal: bool,
    /// Whether it uses no register that a kernel leaves to processes.
    kernel: bool,
    /// How far ahead it can prefetch the source, in bytes. 0 is always possible, and leaves prefetching to the CPU.
    distances: Distances,
    /// Whether this build is for its architecture.
    built: bool,
}

const X86_64: bool = cfg!(all(target_arch = "x86_64", not(miri)));
const AARCH64: bool = cfg!(all(target_arch = "aarch64", not(miri)));

/// The prefetch distances that a loop knows.
#[derive(Clone, Copy)]
enum Distances {
    /// None but 0.
    None,
    /// 0, or this one.
    One(u32),
    /// Any multiple of 64 bytes up to 64 KiB.
    Any,
}

macro_rules! primitives {
    ($($(#[$doc:meta])* $variant:ident = $properties:expr;)*) => {
        /// One way to copy a range.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Primitive {
            $($(#[$doc])* $variant,)*
        }

        impl Primitive {
            /// All primitives.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            const NAMES: &'static [&'static str] = &[$($properties.name),*];

            const fn properties(self) -> Properties {
                match self {
                    $(Self::$variant => $properties,)*
                }
            }
        }
    };
}

/// A copy through the cache.
const fn temporal(name: &'static str) -> Properties {
    Properties {
        name,
        requires: Features::NONE,
        non_temporal: false,
        kernel: true,
        distances: Distances::None,
        built: X86_64,
    }
}

/// A copy whose stores bypass the cache.
const fn non_temporal(name: &'static str) -> Properties {
    Properties { non_temporal: true, distances: Distances::Any, ..temporal(name) }
}

/// A loop over vector registers.
const fn vector(requires: Features, properties: Properties) -> Properties {
    let distances = if properties.non_temporal { Distances::Any } else { Distances::One(512) };
    Properties { requires, kernel: false, distances, ..properties }
}

/// A loop of aarch64, which leaves prefetching to the CPU.
const fn aarch64(requires: Features, properties: Properties) -> Properties {
    let kernel = !requires.contains(Features::ASIMD);
    Properties { requires, kernel, distances: Distances::None, built: AARCH64, ..properties }
}

primitives! {
    /// One `rep movsb`.
    RepMovsb = temporal("rep_movsb");
    /// One `rep movsq`, as `copy_page()` of Linux on every CPU with REP_GOOD.
    RepMovsq = temporal("rep_movsq");
    /// An unrolled loop over general-purpose registers: Linux's `memcpy_orig`.
    Movq = temporal("movq");
    /// Non-temporal stores from general-purpose registers.
    Movnti = non_temporal("movnti");
    /// Direct stores of 64 bytes.
    Movdir64b = Properties { requires: Features::MOVDIR64B, ..non_temporal("movdir64b") };
    /// 256-bit loads and stores.
    Avx2 = vector(Features::AVX2, temporal("avx2"));
    /// 256-bit loads and non-temporal stores.
    Avx2Nt = vector(Features::AVX2, non_temporal("avx2_nt"));
    /// 512-bit loads and stores.
    Avx512 = vector(Features::AVX512F, temporal("avx512"));
    /// 512-bit loads and non-temporal stores.
    Avx512Nt = vector(Features::AVX512F, non_temporal("avx512_nt"));
    /// Loads and stores of pairs of 128-bit vectors, on aarch64.
    LdpStp = aarch64(Features::ASIMD, temporal("ldp_stp"));
    /// Loads of pairs of 128-bit vectors, and stores with the hint that the data is not needed soon, on aarch64.
    LdpStnp = aarch64(Features::ASIMD, non_temporal("ldp_stnp"));
    /// The copy instructions of aarch64.
    Mops = aarch64(Features::MOPS, temporal("mops"));
    /// A loop over words, on every architecture: the only one that can't survive a fault.
    Portable = Properties { kernel: false, built: true, ..temporal("portable") };
}

impl Primitive {
    /// The name by which it is asked for.
    pub const fn name(self) -> &'static str {
        self.properties().name
    }

    /// Features that a CPU must have to run it. `rep movs` runs on every x86-64, fast or not.
    pub const fn requires(self) -> Features {
        self.properties().requires
    }

    /// Features that `cpu` lacks to run it.
    pub const fn missing(self, cpu: &Cpu) -> Features {
        self.requires().without(cpu.features())
    }

    /// Whether `cpu` can run it, and this build has it. For another CPU than this machine's, only the features count.
    pub const fn is_available(self, cpu: &Cpu) -> bool {
        (self.is_built() || !cpu.is_host()) && self.missing(cpu).is_empty()
    }

    /// Whether this build has it: those of its architecture, no vector loop in a kernel, and
    /// [`Primitive::Portable`] everywhere else.
    pub const fn is_built(self) -> bool {
        self.properties().built && (self.is_kernel() || cfg!(not(foliocopy_kernel)))
    }

    /// Whether a kernel may use it: it needs general-purpose registers only.
    pub const fn is_kernel(self) -> bool {
        self.properties().kernel
    }

    /// Whether its stores bypass the cache, and need a fence.
    pub const fn is_non_temporal(self) -> bool {
        self.properties().non_temporal
    }

    /// Whether it has a machine-check-safe variant.
    pub const fn is_machine_check_safe(self) -> bool {
        // Under Miri nothing faults.
        cfg!(miri) || !matches!(self, Self::Portable)
    }

    /// Whether it can prefetch its source this many bytes ahead.
    pub const fn prefetches(self, distance: u32) -> bool {
        match self.properties().distances {
            _ if distance == 0 => true,
            Distances::None => false,
            Distances::One(one) => distance == one,
            Distances::Any => distance.is_multiple_of(64) && distance <= 64 << 10,
        }
    }
}

impl fmt::Display for Primitive {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Primitive {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let unknown = UnknownName::new("primitive", Self::NAMES);
        Self::ALL.iter().copied().find(|primitive| primitive.name() == name).ok_or(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Caches, Vendor};

    #[test]
    fn every_name_reads_back() {
        for primitive in Primitive::ALL {
            assert_eq!(primitive.name().parse(), Ok(*primitive));
        }
        assert!("memcpy".parse::<Primitive>().is_err());
    }

    #[test]
    fn what_a_kernel_may_use_needs_no_vector_register() {
        for primitive in Primitive::ALL.iter().filter(|primitive| primitive.is_kernel()) {
            let without_vectors = Features::MOVDIR64B | Features::MOPS;
            assert!(without_vectors.contains(primitive.requires()), "{primitive}");
        }
    }

    #[test]
    fn a_cpu_that_lacks_a_feature_names_it() {
        let cpu = Cpu::foreign(Vendor::Amd, [0x19, 1, 1], Features::AVX2, Caches::default());
        assert_eq!(Primitive::Avx512Nt.missing(&cpu), Features::AVX512F);
        assert_eq!(Primitive::Avx2.missing(&cpu), Features::NONE);
        assert!(!Primitive::Movdir64b.is_available(&cpu));
    }
}
