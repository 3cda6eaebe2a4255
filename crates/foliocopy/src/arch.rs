//! The copy loops, one file for each primitive. They know instructions, and no threshold.

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86_64;
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) use x86_64::{
    glance::{flush, glance, is_intel, prefetch, time_stamp},
    run, store_fence,
};

#[cfg(all(target_arch = "x86_64", feature = "std", not(miri)))]
pub(crate) use x86_64::bytes::{copy_bytes, copy_each_byte};

#[cfg(all(target_arch = "aarch64", not(miri)))]
mod aarch64;
#[cfg(all(target_arch = "aarch64", feature = "std", not(miri)))]
pub(crate) use aarch64::bytes::{copy_bytes, copy_each_byte};
#[cfg(all(target_arch = "aarch64", not(miri)))]
pub(crate) use aarch64::{run, store_fence};

#[cfg(not(foliocopy_kernel))]
mod portable;
#[cfg(all(feature = "std", any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64")))))]
pub(crate) use portable::{copy_bytes, copy_each_byte};
#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(crate) use portable::{run, store_fence};

use crate::cpu::Cpu;
use crate::extable::Recovery;
use crate::primitive::Primitive;

/// Does the work, compiled for the policy's vectors where `cpu` is this machine's.
#[inline(always)]
pub(crate) fn on_vectors<R>(cpu: &Cpu, work: impl FnOnce() -> R) -> R {
    #[cfg(all(target_arch = "x86_64", not(any(miri, foliocopy_kernel))))]
    {
        #[target_feature(enable = "avx512f")]
        fn on_avx512<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        if cpu.is_host() && cpu.has(crate::cpu::Features::AVX512F) {
            // SAFETY: this machine's CPU has the feature, by the invariant of `Cpu`.
            return unsafe { on_avx512(work) };
        }
    }
    let _ = cpu;
    work()
}

/// Runs a loop that is chosen at run time. Out of line, so that every loop exists once.
///
/// # Safety
///
/// As [`run`].
#[inline]
pub(crate) unsafe fn run_any<const MC: bool>(which: Loop, work: Work) -> Stopped {
    /// Takes its arguments in registers: a store to the stack costs as much as the store of a line.
    #[inline(never)]
    unsafe fn dispatch<const MC: bool>(
        dst: *mut u8,
        src: *const u8,
        recovery: *mut Recovery,
        bytes: usize,
        prefetch: isize,
        which: Loop,
    ) -> Stopped {
        // SAFETY: the contract of `run` is this function's.
        unsafe { run::<MC>(which, Work { dst, src, bytes, prefetch, recovery }) }
    }
    let Work { dst, src, bytes, prefetch, recovery } = work;
    // SAFETY: the contract of `run` is this function's.
    unsafe { dispatch::<MC>(dst, src, recovery, bytes, prefetch, which) }
}

/// The work of a loop.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    /// The destination, at the start of a cache line. Copies of bytes start anywhere.
    pub(crate) dst: *mut u8,
    /// The source, at the start of a cache line. Copies of bytes start anywhere.
    pub(crate) src: *const u8,
    /// The length: not 0, and a multiple of 64 bytes except for copies of bytes.
    pub(crate) bytes: usize,
    /// For loops past the cache, the distance from the line that is read to the line that is prefetched, in bytes. For the
    /// others, the distance from the source to the range that is copied next, or 0.
    pub(crate) prefetch: isize,
    /// Null where the loop is not machine-check safe.
    pub(crate) recovery: *mut Recovery,
}

/// The choice of a loop.
#[derive(Clone, Copy)]
pub(crate) struct Loop {
    /// The primitive.
    pub(crate) by: Primitive,
    /// Whether it prefetches.
    pub(crate) prefetches: bool,
}

/// The choice of a loop over bytes.
#[cfg(feature = "std")]
#[derive(Clone, Copy)]
pub(crate) struct ByteLoop {
    /// Whether the CPU has 32-byte vectors.
    pub(crate) avx2: bool,
    /// Whether a long range is stored past the cache.
    pub(crate) past_the_cache: bool,
}

/// The place at which a loop stopped.
#[derive(Clone, Copy)]
pub(crate) struct Stopped {
    /// 0, unless the loop is machine-check safe and faulted.
    pub(crate) bytes_left: usize,
    /// The number of the trap, if it faulted.
    pub(crate) trap: usize,
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::path::Path;

    use crate::primitive::Primitive;

    /// A primitive is one variant, one row of properties and one file, as CONTRIBUTING.md says.
    #[test]
    fn every_primitive_has_its_file() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/arch");
        let mut found = 0;
        for primitive in Primitive::ALL {
            let file = std::format!("{primitive}.rs");
            let files = ["", "x86_64", "aarch64"].map(|architecture| folder.join(architecture).join(&file));
            let count = files.iter().filter(|file| file.is_file()).count();
            assert_eq!(count, 1, "{file} is one file in {}", folder.display());
            found += count;
        }
        let files = |folder| std::fs::read_dir(folder).unwrap().count();
        let files = files(folder.join("x86_64")) + files(folder.join("aarch64"));
        let (portable, shared) = (1, ["bytes.rs", "bytes.rs", "glance.rs", "vector.rs"].len());
        assert_eq!(files, found - portable + shared, "a file that is no primitive's");
    }
}
