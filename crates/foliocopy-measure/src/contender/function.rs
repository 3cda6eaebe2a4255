//! The functions behind the contenders.

use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::num::NonZeroUsize;
use std::ptr;

use foliocopy::{
    CopyOptions, FolioPair, Locality, PAGE_SIZE, Policy, Primitive, Step, copy_mc, copy_mc_folios,
    copy_mc_pages_raw, copy_pages_parallel, function_of,
};

use crate::memory::base_page;

/// memcpy(3)'s signature.
pub type CopyFunction =
    unsafe extern "C" fn(dst: *mut c_void, src: *const c_void, bytes: usize) -> *mut c_void;

/// The signature of `foliocopy_copy_mc_pages()`. The last argument, for the error, may be null.
pub(super) type McFunction =
    unsafe extern "C" fn(dst: *mut c_void, src: *const c_void, nr_pages: usize, error: *mut c_void) -> c_int;

/// The signature of `foliocopy_copy_folios()`. The last argument, for the failed pair, may be null. Its pairs are laid out
/// as [`FolioPair`] is.
pub(super) type CFolios =
    unsafe extern "C" fn(pairs: *const FolioPair, nr_pairs: usize, failed_pair: *mut usize) -> c_int;

const _: () = {
    assert!(size_of::<FolioPair>() == 3 * size_of::<usize>());
    assert!(offset_of!(FolioPair, dst) == 0);
    assert!(offset_of!(FolioPair, src) == size_of::<usize>());
    assert!(offset_of!(FolioPair, nr_pages) == 2 * size_of::<usize>());
};

/// The engine's own function of a step.
type StepFunction = unsafe extern "C" fn(*mut u8, *const u8, usize, &Step) -> c_int;

/// The arguments of one of foliocopy's functions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) primitive: Primitive,
    pub(super) policy: &'static Policy,
    pub(super) locality: Locality,
    pub(super) threads: NonZeroUsize,
}

/// One of our functions. Whether it copied is not asked: the verification of the cell shows it.
///
/// # Safety
///
/// As memcpy(3); both pointers and the bytes are multiples of 4096, and the CPU has the primitive. This memory does not fault.
type Function = unsafe fn(job: &Job, dst: *mut u8, src: *const u8, bytes: usize);

/// Copies scattered folios at once.
///
/// # Safety
///
/// As [`foliocopy::copy_folios`].
type BatchFunction = unsafe fn(job: &Job, batch: &[FolioPair]);

/// One of our functions, for a folio and for scattered ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    function: Function,
    batch: Option<BatchFunction>,
    /// Whether it goes by the job's policy.
    decides: bool,
}

/// The primitive, with the prefetch distance that the policy of the process has for it.
pub(super) const PRIMITIVE: Way = Way {
    // SAFETY: a `Function`'s contract.
    function: |job, dst, src, bytes| unsafe {
        copy(CopyOptions::new().primitive(job.primitive), dst, src, bytes)
    },
    batch: None,
    decides: false,
};

/// The primitive, machine-check safe.
pub(super) const PRIMITIVE_MC: Way = Way {
    // SAFETY: a `Function`'s contract.
    function: |job, dst, src, bytes| unsafe {
        let _ = job.primitive.copy_mc(dst, src, bytes);
    },
    batch: None,
    decides: false,
};

/// The primitive page by page, machine-check safe.
pub(super) const PAGES_MC: Way = Way {
    function: |job, dst, src, bytes| {
        for offset in (0..bytes).step_by(PAGE_SIZE) {
            // SAFETY: a `Function`'s contract, for one page of the range.
            let _ = unsafe { job.primitive.copy_mc(dst.add(offset), src.add(offset), PAGE_SIZE) };
        }
    },
    batch: None,
    decides: false,
};

/// `copy_pages`, by the policy of the process.
pub(super) const HOST: Way = Way {
    // SAFETY: a `Function`'s contract.
    function: |job, dst, src, bytes| unsafe {
        copy(CopyOptions::new().locality(job.locality), dst, src, bytes);
    },
    // SAFETY: `copy_folios`'s contract.
    batch: Some(|job, batch| unsafe {
        let _ = CopyOptions::new().locality(job.locality).copy_folios(batch);
    }),
    decides: true,
};

/// `copy_mc_pages`, by the policy of the process.
pub(super) const HOST_MC: Way = Way {
    // SAFETY: a `Function`'s contract.
    function: |_, dst, src, bytes| unsafe {
        let _ = copy_mc_pages_raw(dst.cast(), src.cast(), bytes / PAGE_SIZE);
    },
    // SAFETY: `copy_mc_folios`'s contract.
    batch: Some(|_, batch| unsafe {
        let _ = copy_mc_folios(batch);
    }),
    decides: true,
};

/// `copy_mc`, by the policy of the process.
pub(super) const BYTES_MC: Way = Way {
    // SAFETY: a `Function`'s contract.
    function: |_, dst, src, bytes| unsafe {
        let _ = copy_mc(dst, src, bytes);
    },
    batch: None,
    decides: true,
};

/// `copy_pages`, by a policy of its own.
pub(super) const POLICY: Way = Way {
    // SAFETY: a `Function`'s contract.
    function: |job, dst, src, bytes| unsafe {
        copy(CopyOptions::new().policy(job.policy).locality(job.locality), dst, src, bytes);
    },
    batch: None,
    decides: true,
};

/// `copy_pages_parallel`, by up to so many threads.
pub(super) const PARALLEL: Way = Way {
    // SAFETY: a `Function`'s contract.
    function: |job, dst, src, bytes| unsafe {
        let _ = copy_pages_parallel(dst.cast(), src.cast(), bytes / PAGE_SIZE, job.threads);
    },
    batch: None,
    decides: true,
};

/// Inlined as into any caller, whose options are known when it is compiled.
///
/// # Safety
///
/// As a [`Function`].
#[inline(always)]
unsafe fn copy(options: CopyOptions, dst: *mut u8, src: *const u8, bytes: usize) {
    // SAFETY: this function's contract.
    let _ = unsafe { options.copy_pages_raw(dst.cast(), src.cast(), bytes / PAGE_SIZE) };
}

/// A function that copies, with how it is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copier(Call);

/// The returned value is ignored.
#[derive(Clone, Copy, Debug)]
enum Call {
    /// A function that counts bytes, as memcpy(3) does.
    Bytes(CopyFunction),
    /// A function that counts pages, as `foliocopy_copy_pages()` does. Scattered folios go to the second one at once.
    Pages(CopyFunction, Option<CFolios>),
    /// A function that counts pages, as `foliocopy_copy_mc_pages()` does.
    McPages(McFunction),
    /// The bare step, over so many bytes at once.
    Step { function: StepFunction, step: Step, piece: usize },
    /// One of ours.
    Way(Way, Job),
}

impl Copier {
    /// One that counts bytes, as memcpy(3) does.
    pub(crate) fn of_bytes(function: CopyFunction) -> Self {
        Self(Call::Bytes(function))
    }

    /// One that counts pages, as `foliocopy_copy_pages()` does.
    pub(crate) fn of_pages(function: CopyFunction) -> Self {
        Self(Call::Pages(function, None))
    }

    /// Plain copies of a C library of foliocopy: `foliocopy_copy_pages()` and `foliocopy_copy_folios()`.
    pub(super) fn of_library(function: CopyFunction, folios: CFolios) -> Self {
        Self(Call::Pages(function, Some(folios)))
    }

    /// One like `foliocopy_copy_mc_pages()`.
    pub(super) fn of_mc_pages(function: McFunction) -> Self {
        Self(Call::McPages(function))
    }

    /// The primitive alone, a folio at once or by pages of the system. The CPU has it.
    pub(super) fn bare(primitive: Primitive, by_page: bool) -> Self {
        let step = Step::copy(primitive);
        let piece = if by_page { base_page() } else { usize::MAX };
        Self(Call::Step { function: function_of(step), step, piece })
    }

    /// One of ours. The CPU has the primitive.
    pub(super) fn of(way: Way, job: Job) -> Self {
        Self(Call::Way(way, job))
    }

    /// The length of what it copies at once, if that is the primitive alone.
    #[cfg(test)]
    pub(super) fn piece(&self) -> Option<usize> {
        match self.0 {
            Call::Step { piece, .. } => Some(piece),
            _ => None,
        }
    }

    /// Whether it copies scattered folios at once.
    pub(crate) fn takes_batches(&self) -> bool {
        matches!(self.0, Call::Way(Way { batch: Some(_), .. }, _) | Call::Pages(_, Some(_)))
    }

    /// The policy and locality by which it decides, if it does.
    pub(crate) fn decides_by(&self) -> Option<(&'static Policy, Locality)> {
        match self.0 {
            Call::Way(way, job) => way.decides.then_some((job.policy, job.locality)),
            _ => None,
        }
    }

    /// Copies folios of `bytes` bytes, each from its second address to its first: an indirect call each, and nothing else in
    /// the loop.
    ///
    /// # Safety
    ///
    /// For each as memcpy(3); all addresses and the bytes are multiples of 4096.
    #[inline]
    pub(crate) unsafe fn copy_each(&self, bytes: usize, folios: impl Iterator<Item = (*mut u8, *const u8)>) {
        match self.0 {
            Call::Bytes(function) => each(folios, |dst, src| {
                // SAFETY: this function's contract.
                unsafe { function(dst.cast(), src.cast(), bytes) };
            }),
            Call::Pages(function, _) => each(folios, |dst, src| {
                // SAFETY: this function's contract.
                unsafe { function(dst.cast(), src.cast(), bytes / PAGE_SIZE) };
            }),
            Call::McPages(function) => each(folios, |dst, src| {
                // SAFETY: this function's contract. The error may be null.
                unsafe { function(dst.cast(), src.cast(), bytes / PAGE_SIZE, ptr::null_mut()) };
            }),
            Call::Step { function, ref step, piece } => each(folios, |dst, src| {
                let mut done = 0;
                while done < bytes {
                    let piece = piece.min(bytes - done);
                    // SAFETY: this function's contract, for a part of the range. The CPU has the primitive.
                    unsafe { function(dst.add(done), src.add(done), piece, step) };
                    done += piece;
                }
            }),
            Call::Way(Way { function, .. }, ref job) => each(folios, |dst, src| {
                // SAFETY: this function's contract. The CPU has the primitive.
                unsafe { function(job, dst, src, bytes) };
            }),
        }
    }

    /// Copies scattered folios at once. Whether it can.
    ///
    /// # Safety
    ///
    /// As [`foliocopy::copy_folios`].
    #[inline]
    pub(crate) unsafe fn copy_at_once(&self, pairs: &[FolioPair]) -> bool {
        match &self.0 {
            // SAFETY: this function's contract.
            Call::Way(Way { batch: Some(batch), .. }, job) => unsafe { batch(job, pairs) },
            // SAFETY: this function's contract. The pairs are laid out as C has them, as asserted above.
            Call::Pages(_, Some(folios)) => unsafe {
                folios(pairs.as_ptr(), pairs.len(), ptr::null_mut());
            },
            _ => return false,
        }
        true
    }
}

#[inline(always)]
fn each(folios: impl Iterator<Item = (*mut u8, *const u8)>, copy: impl Fn(*mut u8, *const u8)) {
    folios.for_each(|(dst, src)| copy(dst, src));
}
