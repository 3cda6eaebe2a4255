//! The loops themselves, one file a family. They know instructions, and no threshold.

#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(all(target_arch = "x86_64", not(foliocopy_kernel)))]
pub(crate) use x86_64::direct::{
    Direct, avx512, avx512_page_timed, before_next, rep_movsb, through_the_cache,
};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::look::{
    LINES as LOOK_LINES, flush, glance, latency, latency_mc, prefetch, time_stamp,
};
#[cfg(all(target_arch = "x86_64", not(foliocopy_kernel)))]
pub(crate) use x86_64::on_vectors_of;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{copy, copy_mc, store_fence};

#[cfg(not(target_arch = "x86_64"))]
mod portable;

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use portable::{copy, copy_mc, prefetch, store_fence};

/// Does the work as it is: there are no vectors to compile it for, in a kernel or where nothing is known of any.
///
/// # Safety
///
/// None: elsewhere the CPU must have what the primitive requires.
#[cfg(not(all(target_arch = "x86_64", not(foliocopy_kernel))))]
#[inline(always)]
pub(crate) unsafe fn on_vectors_of<R>(_: crate::primitive::Primitive, work: impl FnOnce() -> R) -> R {
    work()
}
