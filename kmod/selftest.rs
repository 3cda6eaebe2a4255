// SPDX-License-Identifier: GPL-2.0
//! Platforms for the self-test: the folio layer over the test's own memory. Their `memory_failure_queue()` only counts, since
//! the real one would poison good pages.

use core::cell::Cell;
use core::ffi::c_void;

use super::batch::{copy_in_batch, foliocopy_engine_end_batch};
use super::{frame, policy, result};
use crate::cpu::Features;
use crate::folio::{self, PageFrame, Platform};
use crate::page::{PAGE_SIZE, Page};
use crate::policy::Policy;
use crate::primitive::Primitive;
use crate::probe;

/// The number of the destination's first frame. The source's frames start from 0.
const FIRST_OF_DESTINATION: u64 = 1 << 32;

/// `struct foliocopy_test`: the frames, and the calls of the folio layer.
#[repr(C)]
struct Test {
    dst: *mut c_void,
    src: *mut c_void,
    nr_pages: u64,
    chunk_bytes: usize,
    /// Results of the last copy: the number of memory failures reported, and the frame of the last one.
    failures: Cell<u64>,
    failed_pfn: Cell<u64>,
    yields: Cell<u64>,
    /// Pages whose metadata was copied.
    metadata: Cell<u64>,
    /// Pages that were mapped one by one.
    mapped: Cell<u64>,
    /// Pages that the architecture's own function copied.
    by_architecture: Cell<u64>,
}

/// Adds one.
fn count(counter: &Cell<u64>) {
    counter.set(counter.get().wrapping_add(1));
}

/// A kernel with HIGHMEM, or without.
struct Mapping<'a, const HIGHMEM: bool> {
    policy: &'static Policy,
    test: &'a Test,
}

impl<const HIGHMEM: bool> Mapping<'_, HIGHMEM> {
    fn address(&self, frame: PageFrame) -> *mut Page {
        match frame.pfn.checked_sub(FIRST_OF_DESTINATION) {
            Some(index) => self.test.dst.cast::<Page>().wrapping_add(index as usize),
            None => self.test.src.cast::<Page>().wrapping_add(frame.pfn as usize),
        }
    }
}

// SAFETY: the self-test gives memory for every frame. Where it gives none, the copy is machine-check safe.
unsafe impl<const HIGHMEM: bool> Platform for Mapping<'_, HIGHMEM> {
    const HIGHMEM: bool = HIGHMEM;
    const RECOVERS_FROM_MACHINE_CHECKS: bool = true;

    fn policy(&self) -> &Policy {
        self.policy
    }

    fn map_page<R>(&self, frame: PageFrame, use_page: impl FnOnce(*mut Page) -> R) -> R {
        count(&self.test.mapped);
        use_page(self.address(frame))
    }

    fn page_address(&self, frame: PageFrame) -> *mut Page {
        self.address(frame)
    }

    fn cond_resched(&self) {
        count(&self.test.yields);
    }

    fn memory_failure_queue(&self, pfn: u64) {
        count(&self.test.failures);
        self.test.failed_pfn.set(pfn);
    }

    fn node_has_cpus(&self, _node: i32) -> bool {
        true
    }

    fn chunk_bytes(&self) -> usize {
        self.test.chunk_bytes
    }

    fn copy_page_metadata(&self, _to: PageFrame, _from: PageFrame) {
        count(&self.test.metadata);
    }
}

/// An architecture with its own `copy_highpage()`.
struct OwnCopy<'a>(Mapping<'a, false>);

// SAFETY: as `Mapping`.
unsafe impl Platform for OwnCopy<'_> {
    const HIGHMEM: bool = false;
    const ARCH_COPY_HIGHPAGE: bool = true;
    const RECOVERS_FROM_MACHINE_CHECKS: bool = true;

    fn policy(&self) -> &Policy {
        self.0.policy()
    }

    fn map_page<R>(&self, frame: PageFrame, use_page: impl FnOnce(*mut Page) -> R) -> R {
        self.0.map_page(frame, use_page)
    }

    fn page_address(&self, frame: PageFrame) -> *mut Page {
        self.0.page_address(frame)
    }

    fn cond_resched(&self) {
        self.0.cond_resched();
    }

    fn memory_failure_queue(&self, pfn: u64) {
        self.0.memory_failure_queue(pfn);
    }

    fn node_has_cpus(&self, node: i32) -> bool {
        self.0.node_has_cpus(node)
    }

    fn copy_highpage(&self, to: PageFrame, from: PageFrame) {
        count(&self.0.test.by_architecture);
        let (dst, src) = (self.0.address(to).cast(), self.0.address(from).cast());
        // SAFETY: a page each, apart from each other.
        unsafe { Primitive::Movq.copy(dst, src, PAGE_SIZE) };
    }
}

/// Copies the source of the test to its destination by the folio layer: plainly, or up to a fault.
///
/// `style` is `enum foliocopy_test_style`. 0: all memory is mapped. 1: HIGHMEM. 2: the architecture's own `copy_highpage()`. 3:
/// a batch of folios of one page each, which only machine-check-safe copies have.
///
/// # Safety
///
/// Both ranges of the test are mapped. The source of a machine-check-safe copy may end before its length.
#[unsafe(no_mangle)]
unsafe extern "C" fn foliocopy_engine_test(
    primitive: i32,
    style: u32,
    machine_check_safe: bool,
    test: &Test,
) -> u32 {
    let policy = policy(primitive);
    // SAFETY: this function's contract.
    unsafe {
        match style {
            1 => run(&Mapping::<true> { policy, test }, test.nr_pages, machine_check_safe),
            2 => run(&OwnCopy(Mapping { policy, test }), test.nr_pages, machine_check_safe),
            3 => run_batch(&Mapping::<false> { policy, test }, test.nr_pages),
            _ => run(&Mapping::<false> { policy, test }, test.nr_pages, machine_check_safe),
        }
    }
}

unsafe fn run(platform: &impl Platform, nr_pages: u64, machine_check_safe: bool) -> u32 {
    let (to, from) = (frame(FIRST_OF_DESTINATION), frame(0));
    // SAFETY: this function's contract.
    unsafe {
        if machine_check_safe {
            return result(folio::copy_mc_highpages(platform, to, from, nr_pages));
        }
        folio::copy_highpages(platform, to, from, nr_pages);
    }
    0
}

unsafe fn run_batch(platform: &impl Platform, nr_pages: u64) -> u32 {
    let (to, from) = (frame(FIRST_OF_DESTINATION), frame(0));
    let mut copied = Ok(());
    for index in 0..nr_pages {
        let next = (index + 1 < nr_pages).then_some(from.nth(index + 1));
        // SAFETY: this function's contract.
        copied = unsafe { copy_in_batch(platform, to.nth(index), from.nth(index), 1, next) };
        if copied.is_err() {
            break;
        }
    }
    foliocopy_engine_end_batch();
    result(copied)
}

/// Whether this CPU has the counter that a glance needs.
#[unsafe(no_mangle)]
extern "C" fn foliocopy_engine_can_glance() -> bool {
    policy(-1).cpu().has(Features::TSC)
}

/// Glances at the middle of a source, by the load of sampling. Returns the cycles, or 0 where the load faulted. It glances even
/// where the counter can't tell cached lines from others, as on an emulator.
///
/// # Safety
///
/// The CPU has the counter. A load of any of the `bytes` bytes does nothing but return or fault.
#[unsafe(no_mangle)]
unsafe extern "C" fn foliocopy_engine_glance(src: *const c_void, bytes: usize) -> u32 {
    let src: *const u8 = src.cast();
    // SAFETY: this function's contract; the kernel finds the entry of the load.
    unsafe { probe::cycles::<true>(src.wrapping_add(bytes / 2), src) }.map_or(0, |cycles| cycles.max(1))
}
