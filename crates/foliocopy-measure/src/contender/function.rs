//! The functions behind the contenders.

use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::num::NonZeroUsize;
use std::ptr;
use std::sync::{LazyLock, OnceLock};

use foliocopy::{
    CopyOptions, FolioPair, Locality, PAGE_SIZE, Page, Policy, Primitive, Registers, copy_mc_folios,
    copy_mc_pages_raw, copy_pages_parallel,
};

/// memcpy(3)'s signature.
pub type CopyFunction =
    unsafe extern "C" fn(dst: *mut c_void, src: *const c_void, bytes: usize) -> *mut c_void;

/// The signature of `foliocopy_copy_mc_pages()`, of which the last argument, where the error goes, may be null.
pub(crate) type McFunction =
    unsafe extern "C" fn(dst: *mut c_void, src: *const c_void, nr_pages: usize, error: *mut c_void) -> c_int;

/// The signature of `foliocopy_copy_folios()`, of which the last argument, where the failed pair goes, may be null. Its pairs are
/// laid out as [`FolioPair`] is.
pub(crate) type CFolios =
    unsafe extern "C" fn(pairs: *const FolioPair, nr_pairs: usize, failed_pair: *mut usize) -> c_int;

const _: () = {
    assert!(size_of::<FolioPair>() == 3 * size_of::<usize>());
    assert!(offset_of!(FolioPair, dst) == 0);
    assert!(offset_of!(FolioPair, src) == size_of::<usize>());
    assert!(offset_of!(FolioPair, nr_pages) == 2 * size_of::<usize>());
};

/// Copies scattered folios at once. What it answers is not looked at: the verification of the cell shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Batch {
    Rust(unsafe fn(batch: &[FolioPair])),
    C(CFolios),
}

impl Batch {
    /// Copies all of `pairs`.
    ///
    /// # Safety
    ///
    /// As [`foliocopy::copy_folios`].
    pub(crate) unsafe fn copy(self, pairs: &[FolioPair]) {
        match self {
            // SAFETY: the caller's promises.
            Self::Rust(copy) => unsafe { copy(pairs) },
            // SAFETY: the caller's promises; the pairs are laid out as C has them, as asserted above.
            Self::C(copy) => unsafe {
                copy(pairs.as_ptr(), pairs.len(), ptr::null_mut());
            },
        }
    }
}

/// A function that copies, with how it is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copier {
    call: Call,
    batch: Option<Batch>,
}

/// What a function returns is not looked at.
#[derive(Clone, Copy, Debug)]
enum Call {
    /// It counts bytes, as memcpy(3) does.
    Bytes(CopyFunction),
    /// It counts pages, as `foliocopy_copy_pages()` does.
    Pages(CopyFunction),
    /// It counts pages, as `foliocopy_copy_mc_pages()` does.
    McPages(McFunction),
}

impl Copier {
    /// One that counts bytes, as memcpy(3) does.
    pub(crate) fn of_bytes(function: CopyFunction) -> Self {
        Self { call: Call::Bytes(function), batch: None }
    }

    /// One that counts pages, as `foliocopy_copy_pages()` does.
    pub(crate) fn of_pages(function: CopyFunction) -> Self {
        Self { call: Call::Pages(function), batch: None }
    }

    /// One like `foliocopy_copy_mc_pages()`.
    pub(crate) fn of_mc_pages(function: McFunction) -> Self {
        Self { call: Call::McPages(function), batch: None }
    }

    /// One that copies scattered folios by `batch`, all at once.
    pub(crate) fn with_batch(self, batch: unsafe fn(batch: &[FolioPair])) -> Self {
        Self { batch: Some(Batch::Rust(batch)), ..self }
    }

    /// One that copies scattered folios by a function like `foliocopy_copy_folios()`.
    pub(crate) fn with_c_batch(self, batch: CFolios) -> Self {
        Self { batch: Some(Batch::C(batch)), ..self }
    }

    /// How it copies scattered folios, unless one by one.
    pub(crate) fn batch(self) -> Option<Batch> {
        self.batch
    }

    /// What to call [`Copier::copy`] with for `bytes` bytes, worked out outside of the measured loop.
    pub(crate) fn count(self, bytes: usize) -> usize {
        match self.call {
            Call::Bytes(_) => bytes,
            Call::Pages(_) | Call::McPages(_) => bytes / PAGE_SIZE,
        }
    }

    /// Copies `count` units.
    ///
    /// # Safety
    ///
    /// As memcpy(3), and both pointers and the bytes are multiples of 4096.
    #[inline]
    pub(crate) unsafe fn copy(self, dst: *mut u8, src: *const u8, count: usize) {
        // SAFETY: the caller's promises.
        unsafe {
            match self.call {
                Call::Bytes(copy) | Call::Pages(copy) => {
                    copy(dst.cast(), src.cast(), count);
                }
                Call::McPages(copy) => {
                    copy(dst.cast(), src.cast(), count, ptr::null_mut());
                }
            }
        }
    }
}

/// The instance of a function for a primitive that is known only now.
macro_rules! by_primitive {
    ($primitive:expr, $function:ident) => {
        match $primitive {
            Primitive::RepMovsb => $function::<{ Primitive::RepMovsb as usize }>,
            Primitive::RepMovsq => $function::<{ Primitive::RepMovsq as usize }>,
            Primitive::Movq => $function::<{ Primitive::Movq as usize }>,
            Primitive::Movnti => $function::<{ Primitive::Movnti as usize }>,
            Primitive::Movdir64b => $function::<{ Primitive::Movdir64b as usize }>,
            Primitive::Avx2 => $function::<{ Primitive::Avx2 as usize }>,
            Primitive::Avx2Nt => $function::<{ Primitive::Avx2Nt as usize }>,
            Primitive::Avx512 => $function::<{ Primitive::Avx512 as usize }>,
            Primitive::Avx512Nt => $function::<{ Primitive::Avx512Nt as usize }>,
            Primitive::Portable => $function::<{ Primitive::Portable as usize }>,
        }
    };
}

/// `primitive` over the whole folio at once.
pub(super) fn range_function(primitive: Primitive, machine_check_safe: bool) -> CopyFunction {
    if machine_check_safe { by_primitive!(primitive, range_mc) } else { by_primitive!(primitive, range) }
}

/// `primitive` page by page.
pub(super) fn page_function(primitive: Primitive, machine_check_safe: bool) -> CopyFunction {
    if machine_check_safe { by_primitive!(primitive, pages_mc) } else { by_primitive!(primitive, pages) }
}

/// # Safety
///
/// As memcpy(3), and both pointers and `bytes` are multiples of 4096, and the CPU has the primitive.
unsafe extern "C" fn range<const PRIMITIVE: usize>(
    dst: *mut c_void,
    src: *const c_void,
    bytes: usize,
) -> *mut c_void {
    let primitive = Primitive::ALL[PRIMITIVE];
    if primitive.is_non_temporal() {
        // With the prefetch that the policy gives it.
        // SAFETY: the caller's promises.
        return unsafe { copy(CopyOptions::new().primitive(primitive), dst, src, bytes) };
    }
    // SAFETY: the caller's promises.
    unsafe { primitive.copy(dst.cast(), src.cast(), bytes) };
    dst
}

/// # Safety
///
/// As [`range`].
unsafe extern "C" fn range_mc<const PRIMITIVE: usize>(
    dst: *mut c_void,
    src: *const c_void,
    bytes: usize,
) -> *mut c_void {
    // SAFETY: the caller's promises; this memory doesn't fault, so nobody needs to catch.
    match unsafe { Primitive::ALL[PRIMITIVE].copy_mc(dst.cast(), src.cast(), bytes) } {
        Ok(()) => dst,
        Err(_) => ptr::null_mut(),
    }
}

/// # Safety
///
/// As [`range`].
unsafe extern "C" fn pages<const PRIMITIVE: usize>(
    dst: *mut c_void,
    src: *const c_void,
    bytes: usize,
) -> *mut c_void {
    for offset in (0..bytes).step_by(PAGE_SIZE) {
        // SAFETY: the caller's promises, for one page of the range.
        unsafe { range::<PRIMITIVE>(dst.byte_add(offset), src.byte_add(offset), PAGE_SIZE) };
    }
    dst
}

/// # Safety
///
/// As [`range`].
unsafe extern "C" fn pages_mc<const PRIMITIVE: usize>(
    dst: *mut c_void,
    src: *const c_void,
    bytes: usize,
) -> *mut c_void {
    for offset in (0..bytes).step_by(PAGE_SIZE) {
        // SAFETY: the caller's promises, for one page of the range.
        unsafe { range_mc::<PRIMITIVE>(dst.byte_add(offset), src.byte_add(offset), PAGE_SIZE) };
    }
    dst
}

/// # Safety
///
/// As [`range`].
pub(super) unsafe extern "C" fn foliocopy_auto(
    dst: *mut c_void,
    src: *const c_void,
    bytes: usize,
) -> *mut c_void {
    // SAFETY: the caller's promises.
    unsafe { copy(CopyOptions::new(), dst, src, bytes) }
}

/// # Safety
///
/// As [`range`].
pub(super) unsafe extern "C" fn foliocopy_mc(
    dst: *mut c_void,
    src: *const c_void,
    bytes: usize,
) -> *mut c_void {
    // SAFETY: the caller's promises.
    match unsafe { copy_mc_pages_raw(dst.cast(), src.cast(), bytes / PAGE_SIZE) } {
        Ok(()) => dst,
        Err(_) => ptr::null_mut(),
    }
}

/// # Safety
///
/// As [`range`].
pub(super) unsafe extern "C" fn foliocopy_temporal(
    dst: *mut c_void,
    src: *const c_void,
    bytes: usize,
) -> *mut c_void {
    // SAFETY: the caller's promises.
    unsafe { copy(CopyOptions::new().locality(Locality::Temporal), dst, src, bytes) }
}

/// # Safety
///
/// As [`range`].
pub(super) unsafe extern "C" fn foliocopy_non_temporal(
    dst: *mut c_void,
    src: *const c_void,
    bytes: usize,
) -> *mut c_void {
    // SAFETY: the caller's promises.
    unsafe { copy(CopyOptions::new().locality(Locality::NonTemporal), dst, src, bytes) }
}

/// # Safety
///
/// As [`foliocopy::copy_folios`].
pub(super) unsafe fn batch_auto(batch: &[FolioPair]) {
    // SAFETY: the caller's promises.
    let _ = unsafe { CopyOptions::new().copy_folios(batch) };
}

/// # Safety
///
/// As [`foliocopy::copy_folios`].
pub(super) unsafe fn batch_temporal(batch: &[FolioPair]) {
    // SAFETY: the caller's promises.
    let _ = unsafe { CopyOptions::new().locality(Locality::Temporal).copy_folios(batch) };
}

/// # Safety
///
/// As [`foliocopy::copy_folios`].
pub(super) unsafe fn batch_non_temporal(batch: &[FolioPair]) {
    // SAFETY: the caller's promises.
    let _ = unsafe { CopyOptions::new().locality(Locality::NonTemporal).copy_folios(batch) };
}

/// # Safety
///
/// As [`foliocopy::copy_mc_folios`].
pub(super) unsafe fn batch_mc(batch: &[FolioPair]) {
    // SAFETY: the caller's promises.
    let _ = unsafe { copy_mc_folios(batch) };
}

/// # Safety
///
/// As [`range`].
pub(super) unsafe extern "C" fn kernel_temporal(
    dst: *mut c_void,
    src: *const c_void,
    bytes: usize,
) -> *mut c_void {
    // SAFETY: the caller's promises.
    unsafe { kernel(Locality::Temporal, dst, src, bytes) }
}

/// # Safety
///
/// As [`range`].
pub(super) unsafe extern "C" fn kernel_non_temporal(
    dst: *mut c_void,
    src: *const c_void,
    bytes: usize,
) -> *mut c_void {
    // SAFETY: the caller's promises.
    unsafe { kernel(Locality::NonTemporal, dst, src, bytes) }
}

/// # Safety
///
/// As [`range`].
unsafe fn kernel(locality: Locality, dst: *mut c_void, src: *const c_void, bytes: usize) -> *mut c_void {
    static POLICY: LazyLock<Option<Policy>> = LazyLock::new(|| {
        let host = Policy::host().ok()?;
        Some(Policy::new(*host.cpu(), Registers::GeneralPurpose))
    });
    let Some(policy) = &*POLICY else { return ptr::null_mut() };
    // SAFETY: the caller's promises.
    unsafe { copy(CopyOptions::new().policy(policy).locality(locality), dst, src, bytes) }
}

/// What the functions of [`SLOTS`] copy by: a function of memcpy's signature has nowhere to carry it.
static POLICIES: [OnceLock<(Policy, Locality)>; SLOTS.len()] = [const { OnceLock::new() }; SLOTS.len()];

/// One function for each slot, of the generic `$function`.
macro_rules! slots {
    ($function:ident) => {
        slots!($function:
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36
            37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63)
    };
    ($function:ident: $($slot:literal)*) => { [$($function::<$slot>),*] };
}

const SLOTS: [CopyFunction; 64] = slots!(by_policy);

/// Copies by one thread, by two, ..
const PARALLEL: [CopyFunction; 64] = slots!(by_one_more_thread_than);

/// A function that copies by so many threads; `None` where there is none for so many.
pub(super) fn parallel_function(threads: usize) -> Option<CopyFunction> {
    PARALLEL.get(threads.checked_sub(1)?).copied()
}

/// # Safety
///
/// As [`range`].
unsafe extern "C" fn by_one_more_thread_than<const OTHERS: usize>(
    dst: *mut c_void,
    src: *const c_void,
    bytes: usize,
) -> *mut c_void {
    let threads = const { NonZeroUsize::MIN.saturating_add(OTHERS) };
    // SAFETY: the caller's promises. A copy that is refused leaves a destination that does not verify.
    let _ = unsafe { copy_pages_parallel(dst.cast(), src.cast(), bytes / PAGE_SIZE, threads) };
    dst
}

/// A function that copies as `policy` says. `None` where 64 others have been asked for.
pub(super) fn policy_function(policy: Policy, locality: Locality) -> Option<CopyFunction> {
    let wanted = (policy, locality);
    let slots = POLICIES.iter().zip(SLOTS);
    slots.into_iter().find(|(slot, _)| *slot.get_or_init(|| wanted) == wanted).map(|(_, function)| function)
}

/// # Safety
///
/// As [`range`].
unsafe extern "C" fn by_policy<const SLOT: usize>(
    dst: *mut c_void,
    src: *const c_void,
    bytes: usize,
) -> *mut c_void {
    let Some((policy, locality)) = POLICIES[SLOT].get() else { return ptr::null_mut() };
    // SAFETY: the caller's promises.
    unsafe { copy(CopyOptions::new().policy(policy).locality(*locality), dst, src, bytes) }
}

/// Null where nothing was copied, which the verification of the cell then shows. Inlined as into any caller, whose
/// options are known when it is compiled.
///
/// # Safety
///
/// As [`range`].
#[inline(always)]
unsafe fn copy(options: CopyOptions, dst: *mut c_void, src: *const c_void, bytes: usize) -> *mut c_void {
    // SAFETY: the caller's promises.
    match unsafe { options.copy_pages_raw(dst.cast::<Page>(), src.cast::<Page>(), bytes / PAGE_SIZE) } {
        Ok(()) => dst,
        Err(_) => ptr::null_mut(),
    }
}
