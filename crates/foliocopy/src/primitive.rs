//! Every way to copy, by name, with what it needs and what it does to the cache.

use core::fmt;
use core::str::FromStr;

use crate::cpu::{Cpu, Features};
use crate::name::UnknownName;

/// The properties of a primitive.
struct Properties {
    name: &'static str,
    /// What a CPU must have to run it.
    requires: Features,
    /// Whether its stores bypass the cache, and need a fence.
    non_temporal: bool,
    /// Whether it does without the registers that a kernel leaves to processes.
    kernel: bool,
    /// How far ahead it can prefetch the source, in bytes; 0, to leave that to the CPU, is always possible.
    distances: Distances,
}

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
            /// All of them.
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

primitives! {
    /// One `rep movsb`.
    RepMovsb = temporal("rep_movsb");
    /// One `rep movsq`: what `copy_page()` of Linux is on every CPU with REP_GOOD.
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
    /// A loop over words: the only one that is not x86-64, and the only one that can't survive a fault.
    Portable = Properties { kernel: false, ..temporal("portable") };
}

impl Primitive {
    /// The name by which it is asked for.
    pub const fn name(self) -> &'static str {
        self.properties().name
    }

    /// What a CPU must have to run it. `rep movs` runs everywhere, fast or not.
    pub const fn requires(self) -> Features {
        self.properties().requires
    }

    /// What `cpu` lacks to run it.
    pub const fn missing(self, cpu: &Cpu) -> Features {
        self.requires().without(cpu.features())
    }

    /// Whether `cpu` can run it, and this build has it.
    pub const fn is_available(self, cpu: &Cpu) -> bool {
        self.is_built() && self.missing(cpu).is_empty()
    }

    /// Whether this build has it: all of them on x86-64, no vector loop in a kernel, and
    /// [`Primitive::Portable`] alone on any other architecture.
    pub const fn is_built(self) -> bool {
        match self {
            Self::Portable => cfg!(not(foliocopy_kernel)),
            _ if cfg!(any(miri, not(target_arch = "x86_64"))) => false,
            _ => self.is_kernel() || cfg!(not(foliocopy_kernel)),
        }
    }

    /// Whether a kernel may use it: general-purpose registers only.
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

    /// Whether it can prefetch its source so many bytes ahead.
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
            assert!(Features::MOVDIR64B.contains(primitive.requires()), "{primitive}");
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
