// SPDX-License-Identifier: GPL-2.0
//! Copies the folios of a list as one piece of work: the start of the next source is prefetched during each copy, and one fence
//! ends the batch.

use core::ptr;

use super::{Kernel, Method, frame, result};
use crate::arch;
use crate::execute::{self, Range};
use crate::folio::{self, McError, PageFrame, Platform};

/// Copies a folio of a batch like [`folio::copy_mc_highpages`], but leaves the fence to the end of the batch. `next` is the
/// next source, if that is no shorter.
///
/// # Errors
///
/// As [`folio::copy_mc_highpages`].
///
/// # Safety
///
/// As [`folio::copy_mc_highpages`]; all of the folio that starts at `next` is mapped.
pub(super) unsafe fn copy_in_batch<P: Platform>(
    platform: &P,
    to: PageFrame,
    from: PageFrame,
    nr_pages: u64,
    next: Option<PageFrame>,
) -> Result<(), McError> {
    let Some((by, distance)) = folio::in_one_piece(platform, to, nr_pages) else {
        // SAFETY: this function's contract.
        return unsafe { folio::copy_mc_highpages(platform, to, from, nr_pages) };
    };
    let bytes = super::bytes(nr_pages);
    let (dst, src) = (platform.page_address(to).cast(), platform.page_address(from).cast_const().cast());
    let next = next.map_or(ptr::null(), |next| platform.page_address(next).cast_const().cast());
    let distance = if bytes < distance as usize { bytes as u32 } else { distance };
    // SAFETY: the platform maps these frames there, and recovers; the next folio is as long, hence as the distance.
    let copied = unsafe { execute::copy_before::<true>(by, distance, Range { dst, src, bytes }, next) };
    folio::finish_mc(platform, to, from, nr_pages, copied)
}

/// Copies a folio of a batch. Returns 0, or the index of an [`McError`] counted from 1. `next_pfn` is where the next source
/// starts, or `u64::MAX` if there is none or a shorter one.
///
/// # Safety
///
/// As [`copy_in_batch`].
#[unsafe(no_mangle)]
unsafe extern "C" fn foliocopy_engine_copy_mc_in_batch(
    method: &Method,
    to_pfn: u64,
    from_pfn: u64,
    nr_pages: u64,
    next_pfn: u64,
    primitive: &mut u32,
) -> u32 {
    let kernel = Kernel::new(method, from_pfn, nr_pages);
    *primitive = kernel.primitive(nr_pages);
    let next = (next_pfn != u64::MAX).then_some(frame(next_pfn));
    // SAFETY: this function's contract.
    result(unsafe { copy_in_batch(&kernel, frame(to_pfn), frame(from_pfn), nr_pages, next) })
}

/// Orders the stores of a batch before all later ones.
#[unsafe(no_mangle)]
pub(super) extern "C" fn foliocopy_engine_end_batch() {
    arch::store_fence();
}
