//! Every way to copy, by name, with what it needs and what it does to the cache.

use core::fmt;
use core::ptr;
use core::str::FromStr;

use crate::cpu::{Cpu, Features};
use crate::error::{Named, UnknownName};
use crate::extable::Fault;
use crate::fence::FenceGuard;

/// One way to copy a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Primitive {
    /// One `rep movsb`.
    RepMovsb,
    /// One `rep movsq`: what `copy_page()` of Linux is on every CPU with REP_GOOD.
    RepMovsq,
    /// An unrolled loop over general-purpose registers: Linux's `memcpy_orig`.
    Movq,
    /// Non-temporal stores from general-purpose registers.
    Movnti,
    /// Direct stores of 64 bytes.
    Movdir64b,
    /// 256-bit loads and stores.
    Avx2,
    /// 256-bit loads and non-temporal stores.
    Avx2Nt,
    /// 512-bit loads and stores.
    Avx512,
    /// 512-bit loads and non-temporal stores.
    Avx512Nt,
    /// Whatever the compiler makes of [`core::ptr::copy_nonoverlapping`]: the only one that is not
    /// x86-64, and the only one that can't survive a fault.
    Portable,
}

impl Primitive {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::RepMovsb,
        Self::RepMovsq,
        Self::Movq,
        Self::Movnti,
        Self::Movdir64b,
        Self::Avx2,
        Self::Avx2Nt,
        Self::Avx512,
        Self::Avx512Nt,
        Self::Portable,
    ];

    pub(crate) const NAMES: &'static [&'static str] = &[
        "rep_movsb",
        "rep_movsq",
        "movq",
        "movnti",
        "movdir64b",
        "avx2",
        "avx2_nt",
        "avx512",
        "avx512_nt",
        "portable",
    ];

    /// The name by which it is asked for.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// What a CPU must have to run it. `rep movs` runs everywhere, fast or not.
    pub const fn requires(self) -> Features {
        match self {
            Self::Movdir64b => Features::MOVDIR64B,
            Self::Avx2 | Self::Avx2Nt => Features::AVX2,
            Self::Avx512 | Self::Avx512Nt => Features::AVX512F,
            Self::RepMovsb | Self::RepMovsq | Self::Movq | Self::Movnti | Self::Portable => Features::NONE,
        }
    }

    /// What `cpu` lacks to run it.
    pub const fn missing(self, cpu: &Cpu) -> Features {
        self.requires().without(cpu.features)
    }

    /// Whether `cpu` can run it, and this build has it.
    pub const fn is_available(self, cpu: &Cpu) -> bool {
        self.is_built() && self.missing(cpu).is_empty()
    }

    /// Whether this build has it: all of them on x86-64, no vector loop in a kernel, and
    /// [`Primitive::Portable`] alone on any other architecture.
    pub const fn is_built(self) -> bool {
        match self {
            Self::Portable => true,
            _ if cfg!(not(target_arch = "x86_64")) => false,
            _ => self.is_kernel() || cfg!(not(foliocopy_kernel)),
        }
    }

    /// Whether a kernel may use it: general-purpose registers only.
    pub const fn is_kernel(self) -> bool {
        !matches!(self, Self::Avx2 | Self::Avx2Nt | Self::Avx512 | Self::Avx512Nt | Self::Portable)
    }

    /// Whether its stores bypass the cache, and need a fence.
    pub const fn is_non_temporal(self) -> bool {
        matches!(self, Self::Movnti | Self::Movdir64b | Self::Avx2Nt | Self::Avx512Nt)
    }

    /// Whether it has a machine-check-safe variant.
    pub const fn is_machine_check_safe(self) -> bool {
        !matches!(self, Self::Portable)
    }

    /// Copies `bytes` bytes, and fences if its stores need it. Prefetches nothing.
    ///
    /// # Safety
    ///
    /// - `src` is readable and `dst` writable for `bytes` bytes, and they don't overlap. Others may
    ///   read and write either meanwhile: the bytes copied are then some mix of old and new.
    /// - `src`, `dst` and `bytes` are multiples of 64.
    /// - The CPU can run it: [`Primitive::is_available`].
    pub unsafe fn copy(self, dst: *mut u8, src: *const u8, bytes: usize) {
        let _fence = FenceGuard::new(self);
        // SAFETY: the caller keeps the same promises.
        unsafe { crate::arch::copy(self, dst, src, bytes, 0, ptr::null()) }
    }

    /// Copies like [`Primitive::copy`], and stops where memory can't be read or written: all bytes
    /// before the fault are copied, none after.
    ///
    /// # Errors
    ///
    /// The [`Fault`], exact to the 64-byte line at which a loop works, and to the byte for `rep movs`.
    ///
    /// # Safety
    ///
    /// As [`Primitive::copy`], except that memory may fault, provided that somebody catches the fault:
    /// in a process [`sigbus::install`](crate::sigbus::install) must have succeeded and stand, in a
    /// kernel the exception table must be known to it. [`Primitive::Portable`] can't survive a fault.
    pub unsafe fn copy_mc(self, dst: *mut u8, src: *const u8, bytes: usize) -> Result<(), Fault> {
        let _fence = FenceGuard::new(self);
        // SAFETY: the caller keeps the same promises.
        unsafe { crate::arch::copy_mc(self, dst, src, bytes, 0, ptr::null()) }
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
        let unknown = UnknownName(Named::Primitive);
        Self::ALL.iter().copied().find(|primitive| primitive.name() == name).ok_or(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let cpu = Cpu { features: Features::AVX2, ..Cpu::UNKNOWN };
        assert_eq!(Primitive::Avx512Nt.missing(&cpu), Features::AVX512F);
        assert_eq!(Primitive::Avx2.missing(&cpu), Features::NONE);
        assert!(!Primitive::Movdir64b.is_available(&cpu));
    }
}
