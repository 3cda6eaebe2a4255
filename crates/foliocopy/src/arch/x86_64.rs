//! Dispatch over the loops of x86-64.
//!
//! Every loop keeps its state in the same registers, so that a landing pad finds it there. As `rep movs` demands, `rdi` is the
//! destination, `rsi` the source and `rcx` the length left. `rdx` is the [`Recovery`](crate::extable::Recovery), and `r8` the
//! prefetch of the [`Work`].

#[cfg(not(foliocopy_kernel))]
mod avx2;
#[cfg(not(foliocopy_kernel))]
mod avx2_nt;
#[cfg(not(foliocopy_kernel))]
mod avx512;
#[cfg(not(foliocopy_kernel))]
mod avx512_nt;
#[cfg(feature = "std")]
pub(crate) mod bytes;
pub(crate) mod glance;
mod movdir64b;
mod movnti;
mod movq;
mod rep_movsb;
mod rep_movsq;
#[cfg(not(foliocopy_kernel))]
mod vector;

use super::{Loop, Stopped, Work};
use crate::primitive::Primitive;

/// Runs a loop that is known at compile time. A `match`, since a kernel with retpolines pays for an indirect call.
///
/// # Safety
///
/// The source of the work is readable and its destination writable, or with `MC`, machine-check safe, their faults are caught
/// and `recovery` points to what the handler fills in. They don't overlap. The CPU has what the primitive requires. What
/// the loop prefetches belongs to the caller. The stores of a loop past the cache still need [`store_fence`].
#[inline(always)]
pub(crate) unsafe fn run<const MC: bool>(which: Loop, work: Work) -> Stopped {
    let Loop { by, prefetches } = which;
    // SAFETY: each loop asks for what this function asks for.
    unsafe {
        match by {
            Primitive::RepMovsb => rep_movsb::copy::<MC>(work),
            Primitive::RepMovsq => rep_movsq::copy::<MC>(work),
            Primitive::Movnti if prefetches => movnti::copy::<MC, true>(work),
            Primitive::Movnti => movnti::copy::<MC, false>(work),
            Primitive::Movdir64b if prefetches => movdir64b::copy::<MC, true>(work),
            Primitive::Movdir64b => movdir64b::copy::<MC, false>(work),
            #[cfg(not(foliocopy_kernel))]
            Primitive::Avx2 if prefetches => avx2::copy_prefetching::<MC>(work),
            #[cfg(not(foliocopy_kernel))]
            Primitive::Avx2 => avx2::copy::<MC>(work),
            #[cfg(not(foliocopy_kernel))]
            Primitive::Avx2Nt if prefetches => avx2_nt::copy::<MC, true>(work),
            #[cfg(not(foliocopy_kernel))]
            Primitive::Avx2Nt => avx2_nt::copy::<MC, false>(work),
            #[cfg(not(foliocopy_kernel))]
            Primitive::Avx512 if prefetches => avx512::copy_prefetching::<MC>(work),
            #[cfg(not(foliocopy_kernel))]
            Primitive::Avx512 => avx512::copy::<MC>(work),
            #[cfg(not(foliocopy_kernel))]
            Primitive::Avx512Nt if prefetches => avx512_nt::copy::<MC, true>(work),
            #[cfg(not(foliocopy_kernel))]
            Primitive::Avx512Nt => avx512_nt::copy::<MC, false>(work),
            #[cfg(not(foliocopy_kernel))]
            Primitive::Portable if !MC => {
                super::portable::copy(work.dst, work.src, work.bytes);
                Stopped { bytes_left: 0, trap: 0 }
            }
            // `movq`. No policy of a kernel and no safe copy names another one that comes here.
            _ => movq::copy::<MC>(work),
        }
    }
}

/// Orders every weakly ordered store before it before every store after it (Intel SDM volume 1, 10.4.6.2). Without it, a lock
/// that is released after the copy could be seen released before the copied bytes are seen.
#[inline]
pub(crate) fn store_fence() {
    // SAFETY: sfence is part of every x86-64 and touches no register. Not `nomem`: the compiler must
    // not move stores across it either.
    unsafe { core::arch::asm!("sfence", options(nostack, preserves_flags)) };
}
