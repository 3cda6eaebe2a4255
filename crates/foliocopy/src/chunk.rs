//! The range, cut into chunks, with a yield between them: one loop for plain and machine-check-safe
//! copies, in a process and in a kernel.

use core::ptr;

use crate::arch;
use crate::clock::Clock;
use crate::extable::Fault;
use crate::fence::FenceGuard;
use crate::locality::Residence;
use crate::page::PAGE_SIZE;
use crate::policy::{Choice, GLANCE_PREFETCHES};
use crate::primitive::Primitive;

/// How much is copied between two yields unless told otherwise: 32 MiB, about 3 ms at 10 GB/s, as
/// Linux's `clear_pages()` does (`PROCESS_PAGES_NON_PREEMPT_BATCH`).
pub const DEFAULT_CHUNK_BYTES: usize = 32 << 20;

/// What happens between two chunks. Every `FnMut()` is one.
pub trait Yield {
    /// Lets others run. Everything copied so far is visible to them.
    fn yield_now(&mut self);
}

/// Goes straight on with the next chunk.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoYield;

impl Yield for NoYield {
    #[inline]
    fn yield_now(&mut self) {}
}

impl<F: FnMut()> Yield for F {
    #[inline]
    fn yield_now(&mut self) {
        self();
    }
}

/// Copies `bytes` bytes, at most `chunk_bytes` (rounded up to whole pages, a page at least) between two
/// yields: not before the first chunk, not after the last. Never an error unless `MACHINE_CHECK_SAFE`.
///
/// # Safety
///
/// The choice suits the CPU, and the rest is as [`Primitive::copy`] or, with
/// `MACHINE_CHECK_SAFE`, [`Primitive::copy_mc`] says.
#[inline]
pub(crate) unsafe fn copy<const MACHINE_CHECK_SAFE: bool>(
    choice: Choice,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    chunk_bytes: usize,
    between_chunks: impl Yield,
) -> Result<(), Fault> {
    // SAFETY: the caller's promises.
    unsafe {
        match bytes <= chunk_bytes {
            true => one::<MACHINE_CHECK_SAFE>(choice, dst, src, bytes),
            false => many::<MACHINE_CHECK_SAFE>(choice, dst, src, bytes, chunk_bytes, between_chunks),
        }
    }
}

/// One chunk, and a fence if its stores need it. What is not one temporal primitive is out of line: what that keeps
/// on the stack would cost a copy of one page a tenth of its speed, since the stores of the page before it still fill
/// the store queue.
///
/// # Safety
///
/// As [`copy`].
#[inline]
unsafe fn one<const MACHINE_CHECK_SAFE: bool>(
    choice: Choice,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
) -> Result<(), Fault> {
    // SAFETY: the caller's promises.
    unsafe {
        match choice.primitive.is_non_temporal() {
            true => past_the_cache::<MACHINE_CHECK_SAFE>(
                choice.primitive,
                dst,
                src,
                bytes,
                choice.prefetch_distance,
                0,
            ),
            false => through_the_cache::<MACHINE_CHECK_SAFE>(choice, dst, src, bytes),
        }
    }
}

/// One chunk through the cache, unless its first page or a glance tells otherwise.
///
/// # Safety
///
/// As [`copy`].
#[inline(always)]
unsafe fn through_the_cache<const MACHINE_CHECK_SAFE: bool>(
    choice: Choice,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
) -> Result<(), Fault> {
    // SAFETY: the caller's promises.
    unsafe {
        match (choice.in_l1, choice.in_memory) {
            (Some(in_l1), _) => by_first_page::<MACHINE_CHECK_SAFE>(choice, in_l1, dst, src, bytes),
            (None, Some(_)) => by_glance::<MACHINE_CHECK_SAFE>(choice, dst, src, bytes),
            (None, None) => temporal::<MACHINE_CHECK_SAFE>(choice.primitive, dst, src, bytes),
        }
    }
}

/// Lets the first page tell where source and destination are: it is copied by `in_l1`, and by the time that took the rest
/// is copied as suits the L1, the caches beyond, or memory; through the cache, whichever it is. `shortcut` does the same
/// for the choices of one microarchitecture.
///
/// # Safety
///
/// As [`copy`]; there is a page at least, and the CPU has a time-stamp counter.
#[inline(never)]
unsafe fn by_first_page<const MACHINE_CHECK_SAFE: bool>(
    choice: Choice,
    in_l1: Primitive,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
) -> Result<(), Fault> {
    let rest = bytes - PAGE_SIZE;
    let Some(clock) = Clock::usable() else {
        // SAFETY: the caller's promises.
        return unsafe { temporal::<MACHINE_CHECK_SAFE>(choice.primitive, dst, src, bytes) };
    };
    let start = clock.now();
    // SAFETY: the first of the two parts of what the caller promised.
    unsafe { temporal::<MACHINE_CHECK_SAFE>(in_l1, dst, src, PAGE_SIZE) }
        .map_err(|fault| Fault { bytes_left: fault.bytes_left + rest, ..fault })?;
    let cycles = clock.now().wrapping_sub(start);
    // SAFETY: the second of the two.
    unsafe {
        let (dst, src) = (dst.add(PAGE_SIZE), src.add(PAGE_SIZE));
        if clock.page_was_in_l1(cycles) {
            return temporal::<MACHINE_CHECK_SAFE>(in_l1, dst, src, rest);
        }
        let in_memory = choice.in_memory.filter(|_| clock.page_was_beyond_l2(cycles));
        if in_memory.is_some() {
            // What a `rep movs` would not prefetch.
            arch::prefetch(src, rest.min(choice.prefetch_distance as usize));
        }
        temporal::<MACHINE_CHECK_SAFE>(in_memory.unwrap_or(choice.primitive), dst, src, rest)
    }
}

/// Lets a glance at the source tell how it is copied. `shortcut` does the same for the choices of one microarchitecture.
///
/// # Safety
///
/// As [`copy`]; there are two pages at least, and the CPU has a time-stamp counter.
#[inline(never)]
unsafe fn by_glance<const MACHINE_CHECK_SAFE: bool>(
    choice: Choice,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
) -> Result<(), Fault> {
    let residence = Clock::usable().map_or(Residence::Unknown, |clock| {
        // SAFETY: the caller's promises.
        unsafe { clock.glance::<MACHINE_CHECK_SAFE>(src, bytes, GLANCE_PREFETCHES) }
    });
    // SAFETY: the caller's promises.
    unsafe {
        match choice.in_memory.filter(|_| residence == Residence::Memory) {
            Some(in_memory) => {
                let distance = choice.prefetch_distance;
                past_the_cache::<MACHINE_CHECK_SAFE>(in_memory, dst, src, bytes, distance, GLANCE_PREFETCHES)
            }
            None => temporal::<MACHINE_CHECK_SAFE>(choice.primitive, dst, src, bytes),
        }
    }
}

/// One run of one primitive past the cache, and a fence. Of the source the first `prefetched` bytes have been asked for; the
/// rest of what the loop would prefetch too late is asked for at once: 16 KiB in memory 1.38 against 1.35.
///
/// # Safety
///
/// As [`copy`].
#[inline(never)]
pub(crate) unsafe fn past_the_cache<const MACHINE_CHECK_SAFE: bool>(
    primitive: Primitive,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    prefetch_distance: u32,
    prefetched: usize,
) -> Result<(), Fault> {
    let distance = bytes.min(prefetch_distance as usize);
    let seen = distance.min(prefetched);
    let _fence = FenceGuard::new(primitive);
    // SAFETY: the caller's promises, and of the source a part.
    unsafe {
        arch::prefetch(src.add(seen), distance - seen);
        run::<MACHINE_CHECK_SAFE>(primitive, dst, src, bytes, distance, ptr::null())
    }
}

/// One run of one primitive whose stores need no fence.
///
/// # Safety
///
/// As [`copy`].
#[inline(always)]
pub(crate) unsafe fn temporal<const MACHINE_CHECK_SAFE: bool>(
    primitive: Primitive,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
) -> Result<(), Fault> {
    // SAFETY: the caller's promises.
    unsafe { run::<MACHINE_CHECK_SAFE>(primitive, dst, src, bytes, 0, ptr::null()) }
}

/// One run of one primitive, without a fence, that prefetches what comes `next`.
///
/// # Safety
///
/// As [`copy`]; `next` as in [`arch::copy`].
#[inline]
pub(crate) unsafe fn run<const MACHINE_CHECK_SAFE: bool>(
    primitive: Primitive,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    prefetch_distance: usize,
    next: *const u8,
) -> Result<(), Fault> {
    // SAFETY: the caller's promises.
    unsafe {
        match MACHINE_CHECK_SAFE {
            true => arch::copy_mc(primitive, dst, src, bytes, prefetch_distance, next),
            false => {
                arch::copy(primitive, dst, src, bytes, prefetch_distance, next);
                Ok(())
            }
        }
    }
}

/// More than one chunk. Out of line, as above.
///
/// # Safety
///
/// As [`copy`].
#[inline(never)]
unsafe fn many<const MACHINE_CHECK_SAFE: bool>(
    choice: Choice,
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    chunk_bytes: usize,
    mut between_chunks: impl Yield,
) -> Result<(), Fault> {
    let chunk_bytes = chunk_bytes.max(1).checked_next_multiple_of(PAGE_SIZE).unwrap_or(usize::MAX);
    let mut copied = 0;
    while copied < bytes {
        if copied != 0 {
            between_chunks.yield_now();
        }
        let chunk = chunk_bytes.min(bytes - copied);
        // SAFETY: `copied + chunk` is at most `bytes`, the length of both ranges.
        let answer = unsafe { one::<MACHINE_CHECK_SAFE>(choice, dst.add(copied), src.add(copied), chunk) };
        copied += chunk;
        if let Err(fault) = answer {
            return Err(Fault { bytes_left: fault.bytes_left + (bytes - copied), ..fault });
        }
    }
    Ok(())
}
