//! A set of CPU features, by the names of Linux's `/proc/cpuinfo`.

use core::fmt;
use core::ops::BitOr;
use core::str::FromStr;

use crate::name::UnknownName;

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
    /// Fast short `rep movsb`: CPUID 7.0 EDX bit 4. It is about copies of up to 128 bytes.
    FSRM = 1, "fsrm";
    /// Fast zero-length `rep movsb`: CPUID 7.1 EAX bit 10.
    FZRM = 2, "fzrm";
    /// `rep movsq` runs in microcode that works a cache line at a time. No CPUID bit:
    /// see [`Cpu::detect`](super::Cpu::detect) for how it is derived.
    REP_GOOD = 3, "rep_good";
    /// 256-bit integer instructions, and an operating system that keeps the registers.
    AVX2 = 4, "avx2";
    /// 512-bit foundation instructions, and an operating system that keeps the registers.
    AVX512F = 5, "avx512f";
    /// A 64-byte direct store: CPUID 7.0 ECX bit 28.
    MOVDIR64B = 6, "movdir64b";
    /// The time-stamp counter exists: CPUID 1 EDX bit 4.
    TSC = 7, "tsc";
    /// The time-stamp counter runs at one rate in every power state: CPUID 0x8000_0007 EDX bit 8.
    CONSTANT_TSC = 8, "constant_tsc";
    /// The CPU runs under a hypervisor: CPUID 1 ECX bit 31.
    HYPERVISOR = 9, "hypervisor";
    /// The tuning row that this crate has for the CPU, if there is one. Where it is masked, the general rule decides, as on a
    /// CPU that was never measured.
    ROW = 10, "row";
    /// 128-bit vectors of aarch64, and an operating system that keeps the registers.
    ASIMD = 11, "asimd";
    /// The copy instructions of aarch64: FEAT_MOPS.
    MOPS = 12, "mops";
}

impl Features {
    /// No feature.
    pub const NONE: Self = Self(0);

    /// Every feature that has a name.
    pub const ALL: Self = Self((1 << Self::NAMED.len()) - 1);

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

    /// This set where it is present, and none otherwise.
    #[allow(dead_code, reason = "only where the CPU can be asked")]
    pub(super) const fn when(self, present: bool) -> Self {
        if present { self } else { Self::NONE }
    }
}

impl BitOr for Features {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

/// The names, separated by commas. [`FromStr`] reads them back.
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
        let unknown = UnknownName::new("CPU feature", Self::NAMES);
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).try_fold(Self::NONE, |set, name| {
            let named = Self::NAMED.iter().find(|(_, known)| *known == name);
            named.map(|(feature, _)| set | *feature).ok_or(unknown)
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn features_read_back_what_they_print() {
        for (feature, _) in Features::NAMED {
            for (other, _) in Features::NAMED {
                let set = *feature | *other;
                assert_eq!(std::format!("{set}").parse(), Ok(set));
            }
        }
        assert_eq!("".parse(), Ok(Features::NONE));
        assert_eq!(" erms, fsrm ".parse(), Ok(Features::ERMS | Features::FSRM));
    }

    #[test]
    fn an_unknown_feature_lists_the_known() {
        let message = std::format!("{}", "erms,sse9".parse::<Features>().unwrap_err());
        assert!(message.starts_with("unknown CPU feature; known are erms, fsrm,"), "{message}");
    }
}
