// SPDX-License-Identifier: GPL-2.0
//! The engine's interface for the C of the kernel module, declared in `engine.h`.
//!
//! A kernel build compiles the whole engine as one crate with this module in it. So no code that was compiled for a process
//! gets in, and code that no function here reaches is left out.

mod batch;
mod selftest;
mod table;

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::panic::PanicInfo;
use core::slice;

use core::sync::atomic::{AtomicU32, Ordering};

use crate::cpu::{Cpu, Features, Vendor};
use crate::error::RowProblem;
use crate::execute;
use crate::folio::{self, McError, PageFrame, Platform};
use crate::locality::Locality;
use crate::page::{PAGE_SHIFT, Page};
use crate::policy::Policy;
use crate::primitive::Primitive;
use crate::step::Step;
use crate::tuning::Registers;

/// The compiler demands a panic handler, and nothing reaches it. Code that can panic leaves an undefined symbol of `core`,
/// which the gate (`check-object`) refuses.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

/// `struct foliocopy_cpu`: the CPU as the kernel sees it, after `clearcpuid=` and with fast strings as the firmware left them.
#[repr(C)]
struct KernelCpu {
    vendor: u32,
    family: u32,
    model: u32,
    stepping: u32,
    features: u32,
}

impl KernelCpu {
    fn cpu(&self) -> Cpu {
        // `enum foliocopy_vendor` and `enum foliocopy_feature`.
        let vendor = match self.vendor {
            1 => Vendor::Intel,
            2 => Vendor::Amd,
            3 => Vendor::Hygon,
            4 => Vendor::Centaur,
            5 => Vendor::Zhaoxin,
            _ => Vendor::Other,
        };
        let when = |bit: u32, feature| if self.features >> bit & 1 != 0 { feature } else { Features::NONE };
        let features = when(0, Features::ERMS)
            | when(1, Features::FSRM)
            | when(2, Features::REP_GOOD)
            | when(3, Features::MOVDIR64B)
            | when(4, Features::TSC)
            | Features::ROW;
        let Self { family, model, stepping, .. } = *self;
        // SAFETY: the kernel lists features of its CPU, less those that it must not use.
        unsafe { Cpu::of_kernel(vendor, [family, model, stepping], features) }
    }
}

/// The policy's own choice, and then one policy for each of [`Primitive::ALL`]. They are worked out once, since a copy of one
/// page has no time for that.
struct Policies(UnsafeCell<[Policy; 1 + Primitive::ALL.len()]>);

// SAFETY: `foliocopy_engine_init` writes it before any other call. From then on it is only read.
unsafe impl Sync for Policies {}

static POLICIES: Policies = Policies(UnsafeCell::new(
    [const { Policy::baseline(Registers::GeneralPurpose) }; 1 + Primitive::ALL.len()],
));

/// The policy that uses the primitive of that index for everything, if a kernel on this CPU can run it. Otherwise, and for -1,
/// the policy that picks.
fn policy(primitive: i32) -> &'static Policy {
    // SAFETY: see `Policies`.
    let policies = unsafe { &*POLICIES.0.get() };
    let [picking, ..] = policies;
    policies.get((primitive + 1) as usize).unwrap_or(picking)
}

/// Takes the kernel's description of its CPU.
///
/// # Safety
///
/// No other function of the engine is called before this returns.
#[unsafe(no_mangle)]
unsafe extern "C" fn foliocopy_engine_init(cpu: &KernelCpu) {
    let cpu = cpu.cpu();
    // SAFETY: this function's contract.
    let [picking, forcing @ ..] = unsafe { &mut *POLICIES.0.get() };
    put(picking, &Policy::new(cpu, Registers::GeneralPurpose));
    for (primitive, slot) in Primitive::ALL.iter().zip(forcing) {
        match picking.forcing(*primitive) {
            Ok(forcing) if primitive.is_kernel() => put(slot, &forcing),
            _ => put(slot, picking),
        }
    }
}

/// Copies a policy in one place only. Where the compiler copies memory several times, it calls `memcpy` through a register.
#[inline(never)]
fn put(slot: &mut Policy, policy: &Policy) {
    *slot = *policy;
}

/// A string for C that is not terminated.
#[repr(C)]
struct Text {
    start: *const u8,
    bytes: usize,
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self { start: text.as_ptr(), bytes: text.len() }
    }
}

/// `enum foliocopy_locality`.
fn locality(locality: u32) -> Locality {
    match locality {
        1 => Locality::NonTemporal,
        2 => Locality::Auto,
        _ => Locality::Temporal,
    }
}

/// A bit for each locality whose table is a parameter of the module.
static GIVEN: AtomicU32 = AtomicU32::new(0);

/// `struct foliocopy_refusal`: why a table is refused.
#[repr(C)]
struct Refusal {
    /// The band, counted from 0.
    band: usize,
    reason: Text,
}

/// Replaces the policy's table for a locality. Returns whether this CPU can follow the table; if not, `refusal` holds the
/// reason.
///
/// # Safety
///
/// `text` is readable for `bytes` bytes. `foliocopy_engine_init` has returned, and nothing else of the engine is called before
/// this returns.
#[unsafe(no_mangle)]
unsafe extern "C" fn foliocopy_engine_set_table(
    asked: u32,
    text: *const u8,
    bytes: usize,
    refusal: &mut Refusal,
) -> bool {
    let asked = locality(asked);
    // SAFETY: this function's contract.
    let text = unsafe { slice::from_raw_parts(text, bytes) };
    // SAFETY: this function's contract.
    let [picking, ..] = unsafe { &mut *POLICIES.0.get() };
    let set = table::parse(text).and_then(|bands| {
        picking.replace(asked, &bands).map_err(|error| (error.band, reason(error.problem)))
    });
    match set {
        Ok(()) => {
            GIVEN.store(GIVEN.load(Ordering::Relaxed) | 1 << asked as u32, Ordering::Relaxed);
            true
        }
        Err((band, reason)) => {
            *refusal = Refusal { band, reason: reason.into() };
            false
        }
    }
}

/// The reason as `RowError` prints it, but without figures: a kernel can't use `Display`.
fn reason(problem: RowProblem) -> &'static str {
    match problem {
        RowProblem::Limited => "the last band has no length",
        RowProblem::Unreachable => "only the last band has no length",
        RowProblem::NoPages(_) => "a length is a positive multiple of 4096",
        RowProblem::NotAscending { .. } => "a length is above that of the band before",
        RowProblem::Distance { .. } => {
            "a loop past the cache prefetches a multiple of 64 bytes ahead, 65536 at most, and no other does"
        }
        RowProblem::Cache(by) if by.is_non_temporal() => {
            "a loop past the cache in a table for copies through it"
        }
        RowProblem::Cache(_) => "a loop through the cache in a table for copies past it",
        RowProblem::Registers(_) => "it needs vector registers, which a kernel leaves to processes",
        RowProblem::Unavailable { .. } => "this CPU lacks what the primitive needs",
        RowProblem::NoCounter => {
            "a step that times something needs a time-stamp counter, which this CPU lacks"
        }
    }
}

/// `struct foliocopy_band`: a line of a policy's table.
#[repr(C)]
struct Band {
    /// The greatest length that it covers, in bytes.
    up_to: usize,
    /// The word before the primitives in a parameter: empty for a copy.
    kind: Text,
    /// The indices of its primitives, in the order of the parameter. For a copy both are the same.
    one: u32,
    other: u32,
    /// The prefetch distance or burst, in bytes.
    distance: u32,
    /// The source of the table.
    source: Text,
}

/// Fills in the band at that index of the table for a locality, of the primitive named or of the policy's own. Returns whether
/// there is one.
#[unsafe(no_mangle)]
extern "C" fn foliocopy_engine_band(primitive: i32, asked: u32, index: usize, band: &mut Band) -> bool {
    let policy = policy(primitive);
    let Some((up_to, step)) = policy.bands(locality(asked)).nth(index) else { return false };
    let [one, other] = step.primitives();
    let (kind, distance) = match step {
        Step::Copy { distance, .. } => ("", distance),
        Step::Glance { distance, .. } => ("glance", distance),
        Step::TimeFirstPage { burst, .. } => ("first", burst),
    };
    let source = match primitive < 0 && GIVEN.load(Ordering::Relaxed) >> locality(asked) as u32 & 1 != 0 {
        true => "a parameter of the module",
        false => policy.source().text(),
    };
    let (kind, source) = (kind.into(), source.into());
    *band = Band { up_to, kind, one: one as u32, other: other as u32, distance, source };
    true
}

/// The index of the primitive of that name; -1 where there is none.
///
/// # Safety
///
/// `name` is readable for `bytes` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn foliocopy_engine_primitive(name: *const u8, bytes: usize) -> i32 {
    // SAFETY: this function's contract.
    let name = unsafe { slice::from_raw_parts(name, bytes) };
    table::primitive(name).map_or(-1, |primitive| primitive as i32)
}

/// The name of the primitive at that index; empty past the last.
#[unsafe(no_mangle)]
extern "C" fn foliocopy_engine_primitive_name(index: u32) -> Text {
    Primitive::ALL.get(index as usize).map_or("", |primitive| primitive.name()).into()
}

/// Whether a kernel on this CPU can run the primitive.
#[unsafe(no_mangle)]
extern "C" fn foliocopy_engine_primitive_available(index: u32) -> bool {
    let cpu = policy(-1).cpu();
    Primitive::ALL.get(index as usize).is_some_and(|one| one.is_kernel() && one.is_available(cpu))
}

/// Copies by the primitive of that index in one piece, and fences.
///
/// # Safety
///
/// As [`Primitive::copy`].
#[unsafe(no_mangle)]
unsafe extern "C" fn foliocopy_engine_copy(
    primitive: i32,
    dst: *mut c_void,
    src: *const c_void,
    bytes: usize,
) {
    if let Step::Copy { by, .. } = policy(primitive).step(Locality::Temporal, bytes) {
        // SAFETY: this function's contract.
        unsafe { by.copy(dst.cast(), src.cast(), bytes) };
    }
}

/// Copies like [`foliocopy_engine_copy`], up to a fault. Returns the bytes that were not copied, and in `trap` the number of
/// the trap.
///
/// # Safety
///
/// As [`Primitive::copy_mc`].
#[unsafe(no_mangle)]
unsafe extern "C" fn foliocopy_engine_copy_mc(
    primitive: i32,
    dst: *mut c_void,
    src: *const c_void,
    bytes: usize,
    trap: &mut u32,
) -> usize {
    let Step::Copy { by, .. } = policy(primitive).step(Locality::Temporal, bytes) else { return bytes };
    // SAFETY: this function's contract.
    match unsafe { by.copy_mc(dst.cast(), src.cast(), bytes) } {
        Ok(()) => 0,
        Err(fault) => {
            *trap = fault.trap;
            fault.bytes_left
        }
    }
}

unsafe extern "C" {
    safe fn foliocopy_platform_map(pfn: u64) -> *mut c_void;
    safe fn foliocopy_platform_unmap(address: *mut c_void);
    safe fn foliocopy_platform_address(pfn: u64) -> *mut c_void;
    safe fn foliocopy_platform_cond_resched();
    safe fn foliocopy_platform_memory_failure(pfn: u64);
    safe fn foliocopy_platform_copy_metadata(to_pfn: u64, from_pfn: u64);
}

/// `struct foliocopy_method`: how a copy of pages is made.
#[derive(Clone, Copy)]
#[repr(C)]
struct Method {
    /// `enum foliocopy_locality`.
    locality: u32,
    /// The index of a primitive for each locality; -1 leaves the choice to the policy.
    temporal: i32,
    non_temporal: i32,
    /// Bytes between two yields.
    chunk_bytes: usize,
}

/// The kernel around the module. The module's parameters decide the locality of a node, hence in C.
struct Kernel {
    policy: &'static Policy,
    locality: Locality,
    chunk_bytes: usize,
}

impl Kernel {
    fn new(method: &Method, from_pfn: u64, nr_pages: u64) -> Self {
        let mut locality = locality(method.locality);
        if locality == Locality::Auto {
            let src = foliocopy_platform_address(from_pfn).cast_const().cast();
            let step = policy(-1).step(locality, bytes(nr_pages));
            // SAFETY: the source of a copy, and a kernel that catches the faults of loads with table entries.
            let [by, _] = unsafe { execute::resolve::<true>(step, src, bytes(nr_pages)) }.primitives();
            locality = if by.is_non_temporal() { Locality::NonTemporal } else { Locality::Temporal };
        }
        let forced = if locality == Locality::NonTemporal { method.non_temporal } else { method.temporal };
        Self { policy: policy(forced), locality, chunk_bytes: method.chunk_bytes }
    }

    /// The primitive of a copy of this many pages.
    fn primitive(&self, nr_pages: u64) -> u32 {
        let [by, _] = self.policy.step(self.locality, bytes(nr_pages)).primitives();
        by as u32
    }
}

fn bytes(nr_pages: u64) -> usize {
    (nr_pages << PAGE_SHIFT) as usize
}

// SAFETY: x86-64 maps all memory all the time, and the kernel's own `page_address()` and `kmap_local_page()` give the address.
// The policy is for the CPU as the kernel describes it. The module loader adds our `__ex_table` to the tables that the handlers
// of #PF and #MC search.
unsafe impl Platform for Kernel {
    const HIGHMEM: bool = false;
    const RECOVERS_FROM_MACHINE_CHECKS: bool = true;

    fn policy(&self) -> &Policy {
        self.policy
    }

    fn map_page<R>(&self, frame: PageFrame, use_page: impl FnOnce(*mut Page) -> R) -> R {
        let address = foliocopy_platform_map(frame.pfn);
        let answer = use_page(address.cast());
        foliocopy_platform_unmap(address);
        answer
    }

    fn page_address(&self, frame: PageFrame) -> *mut Page {
        foliocopy_platform_address(frame.pfn).cast()
    }

    fn cond_resched(&self) {
        foliocopy_platform_cond_resched();
    }

    fn memory_failure_queue(&self, pfn: u64) {
        foliocopy_platform_memory_failure(pfn);
    }

    fn node_has_cpus(&self, _node: i32) -> bool {
        true
    }

    fn locality(&self, _to: PageFrame) -> Locality {
        self.locality
    }

    fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    fn copy_page_metadata(&self, to: PageFrame, from: PageFrame) {
        foliocopy_platform_copy_metadata(to.pfn, from.pfn);
    }
}

/// A frame whose node does not matter any more.
fn frame(pfn: u64) -> PageFrame {
    PageFrame { pfn, node: 0 }
}

/// Copies contiguous pages. Returns the primitive that copied.
///
/// # Safety
///
/// As [`folio::copy_highpages`].
#[unsafe(no_mangle)]
unsafe extern "C" fn foliocopy_engine_copy_highpages(
    method: &Method,
    to_pfn: u64,
    from_pfn: u64,
    nr_pages: u64,
) -> u32 {
    let kernel = Kernel::new(method, from_pfn, nr_pages);
    // SAFETY: this function's contract.
    unsafe { folio::copy_highpages(&kernel, frame(to_pfn), frame(from_pfn), nr_pages) };
    kernel.primitive(nr_pages)
}

/// Copies contiguous pages up to a fault. Returns 0, or the index of an [`McError`] counted from 1. After a complete copy
/// `primitive` holds the primitive that copied.
///
/// # Safety
///
/// As [`folio::copy_mc_highpages`].
#[unsafe(no_mangle)]
unsafe extern "C" fn foliocopy_engine_copy_mc_highpages(
    method: &Method,
    to_pfn: u64,
    from_pfn: u64,
    nr_pages: u64,
    primitive: &mut u32,
) -> u32 {
    let kernel = Kernel::new(method, from_pfn, nr_pages);
    *primitive = kernel.primitive(nr_pages);
    // SAFETY: this function's contract.
    result(unsafe { folio::copy_mc_highpages(&kernel, frame(to_pfn), frame(from_pfn), nr_pages) })
}

/// `enum foliocopy_result`.
fn result(copied: Result<(), McError>) -> u32 {
    match copied {
        Ok(()) => 0,
        Err(McError::HwPoison) => 1,
        Err(McError::Unsupported) => 2,
    }
}
