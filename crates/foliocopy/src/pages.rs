//! The range: checked, and copied the way the policy or the caller chose.

use core::ffi::c_int;

#[cfg(feature = "std")]
mod mc;

#[cfg(feature = "std")]
pub use mc::{Skipped, copy_mc_folios, copy_mc_pages, copy_mc_pages_raw, copy_mc_pages_skipping};

use crate::batch::FolioPair;
use crate::chunk::{self, DEFAULT_CHUNK_BYTES, NoYield, Yield};
use crate::error::CopyError;
use crate::locality::{self, Locality};
use crate::page::Page;
use crate::policy::{Choice, Policy};
use crate::primitive::Primitive;

/// Copies `src` to `dst`, the way that suits this CPU, this length and where the source is now.
///
/// # Errors
///
/// [`CopyError::LengthMismatch`], or what [`Policy::host`] answers. Nothing has been copied then.
#[inline]
pub fn copy_pages(dst: &mut [Page], src: &[Page]) -> Result<(), CopyError> {
    CopyOptions::new().copy_pages(dst, src)
}

/// Copies `nr_pages` pages of 4096 bytes from `src` to `dst`.
///
/// # Errors
///
/// [`CopyError::Null`], [`CopyError::Misaligned`], [`CopyError::Overflow`] or [`CopyError::Overlap`] where the
/// ranges are not what they must be, or what [`Policy::host`] answers. Nothing has been copied then.
///
/// # Safety
///
/// `src` is readable and `dst` writable for `nr_pages` pages. Others may read and write either
/// meanwhile: the bytes copied are then some mix of old and new.
#[inline]
pub unsafe fn copy_pages_raw(dst: *mut Page, src: *const Page, nr_pages: usize) -> Result<(), CopyError> {
    // SAFETY: the caller keeps the same promises.
    unsafe { CopyOptions::new().copy_pages_raw(dst, src, nr_pages) }
}

/// The function that copies these pages and answers 0, if nothing has to be decided for them but which: for a C library, which
/// may end with a jump to it. Nothing for pages that are not what [`copy_pages_raw`] asks for.
#[doc(hidden)]
#[inline(always)]
pub fn shortcut(
    dst: *mut Page,
    src: *const Page,
    nr_pages: usize,
    locality: Locality,
) -> Option<unsafe extern "C" fn(*mut u8, *const u8, usize) -> c_int> {
    crate::shortcut::find(FolioPair { dst, src, nr_pages }, locality)
}

/// A copy with more said about it.
///
/// ```
/// use foliocopy::{CopyOptions, Locality, Page};
///
/// let source = vec![Page::filled(7); 16];
/// let mut destination = vec![Page::zeroed(); 16];
/// let mut yields = 0;
/// CopyOptions::new()
///     .locality(Locality::NonTemporal)
///     .chunk_bytes(4 * 4096)
///     .yield_with(|| yields += 1)
///     .copy_pages(&mut destination, &source)?;
/// assert_eq!(yields, 3, "between four chunks");
/// # Ok::<(), foliocopy::CopyError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CopyOptions<'a, Y = NoYield> {
    pub(crate) policy: Option<&'a Policy>,
    pub(crate) locality: Locality,
    pub(crate) primitive: Option<Primitive>,
    pub(crate) chunk_bytes: usize,
    pub(crate) between_chunks: Y,
}

impl Default for CopyOptions<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl CopyOptions<'_> {
    /// [`Locality::Auto`], the primitive that the policy of the host chooses, chunks of
    /// [`DEFAULT_CHUNK_BYTES`] and nothing between them.
    #[inline]
    pub const fn new() -> Self {
        Self {
            policy: None,
            locality: Locality::Auto,
            primitive: None,
            chunk_bytes: DEFAULT_CHUNK_BYTES,
            between_chunks: NoYield,
        }
    }
}

impl<'a, Y: Yield> CopyOptions<'a, Y> {
    /// Decides by `policy` instead of by [`Policy::host`].
    #[inline]
    #[must_use]
    pub fn policy(self, policy: &'a Policy) -> Self {
        Self { policy: Some(policy), ..self }
    }

    /// Says where the destination should be left.
    #[inline]
    #[must_use]
    pub fn locality(self, locality: Locality) -> Self {
        Self { locality, ..self }
    }

    /// Names the primitive, whatever the policy says.
    #[inline]
    #[must_use]
    pub fn primitive(self, primitive: Primitive) -> Self {
        Self { primitive: Some(primitive), ..self }
    }

    /// Copies at most so many bytes between two yields, rounded up to whole pages, a page at least.
    /// `usize::MAX` makes the range one chunk.
    #[inline]
    #[must_use]
    pub fn chunk_bytes(self, chunk_bytes: usize) -> Self {
        Self { chunk_bytes, ..self }
    }

    /// Calls `between_chunks` between two chunks: not before the first, not after the last.
    #[inline]
    pub fn yield_with<Z: Yield>(self, between_chunks: Z) -> CopyOptions<'a, Z> {
        let Self { policy, locality, primitive, chunk_bytes, between_chunks: _ } = self;
        CopyOptions { policy, locality, primitive, chunk_bytes, between_chunks }
    }

    /// Copies `src` to `dst`.
    ///
    /// # Errors
    ///
    /// As [`copy_pages`], and [`CopyError::Unavailable`] where this CPU lacks what the named primitive
    /// needs.
    #[inline]
    pub fn copy_pages(self, dst: &mut [Page], src: &[Page]) -> Result<(), CopyError> {
        if dst.len() != src.len() {
            return Err(CopyError::LengthMismatch { dst: dst.len(), src: src.len() });
        }
        // SAFETY: two slices of the same length, one of which is borrowed mutably.
        unsafe { self.copy_pages_raw(dst.as_mut_ptr(), src.as_ptr(), src.len()) }
    }

    /// Copies `nr_pages` pages of 4096 bytes from `src` to `dst`.
    ///
    /// # Errors
    ///
    /// As [`copy_pages_raw`], and [`CopyError::Unavailable`] where this CPU lacks what the named
    /// primitive needs.
    ///
    /// # Safety
    ///
    /// As [`copy_pages_raw`].
    #[inline(always)]
    pub unsafe fn copy_pages_raw(
        self,
        dst: *mut Page,
        src: *const Page,
        nr_pages: usize,
    ) -> Result<(), CopyError> {
        let pair = FolioPair { dst, src, nr_pages };
        if self.primitive.is_none() {
            let shortcut = match self.policy {
                None => shortcut(dst, src, nr_pages, self.locality),
                Some(policy) => crate::shortcut::find_by(policy, pair, self.locality),
            };
            if let Some(copy) = shortcut.filter(|_| pair.bytes() <= self.chunk_bytes) {
                // SAFETY: the ranges are pages and apart; the caller vouches for the memory.
                unsafe { copy(dst.cast(), src.cast(), pair.bytes()) };
                return Ok(());
            }
        }
        let Self { policy, locality, primitive, chunk_bytes, between_chunks } = self;
        // SAFETY: the caller's promises.
        unsafe { copy_range(policy, locality, primitive, chunk_bytes, between_chunks, pair) }
    }

    /// What decides; the host's policy, the first time it is asked for, is put into `own`.
    #[inline]
    pub(crate) fn policy_or<'p>(&self, own: &'p mut Option<Policy>) -> Result<&'p Policy, CopyError>
    where
        'a: 'p,
    {
        match self.known_policy() {
            Some(policy) => Ok(policy),
            None => Ok(own.insert(Policy::host()?)),
        }
    }

    /// What decides, unless that is the host's policy and not worked out yet: what leaves no room for one on the stack.
    #[inline]
    fn known_policy(&self) -> Option<&'a Policy> {
        match self.policy {
            Some(policy) => Some(policy),
            None => Policy::kept_host(),
        }
    }

    /// # Safety
    ///
    /// `src` is readable for `bytes` bytes, or with `MACHINE_CHECK_SAFE` somebody catches its faults.
    #[inline(always)]
    unsafe fn choice<const MACHINE_CHECK_SAFE: bool>(
        &self,
        policy: &Policy,
        src: *const Page,
        bytes: usize,
    ) -> Result<Choice, CopyError> {
        match self.primitive {
            Some(primitive) => policy.with_primitive(primitive),
            // SAFETY: the caller's promise.
            None => Ok(unsafe {
                locality::choose::<MACHINE_CHECK_SAFE>(policy, self.locality, src.cast(), bytes)
            }),
        }
    }
}

/// A copy with what the options hold, each by itself: in memory they would cost a copy of one page a twentieth.
///
/// # Safety
///
/// As [`copy_pages_raw`].
#[inline(never)]
unsafe fn copy_range<Y: Yield>(
    policy: Option<&Policy>,
    locality: Locality,
    primitive: Option<Primitive>,
    chunk_bytes: usize,
    between_chunks: Y,
    pair: FolioPair,
) -> Result<(), CopyError> {
    let (dst, src) = pair.ranges()?;
    let options = CopyOptions { policy, locality, primitive, chunk_bytes, between_chunks };
    let mut own = None;
    let policy = options.policy_or(&mut own)?;
    if options.policy.is_none() {
        crate::shortcut::keep(policy);
    }
    let (dst, src, bytes) = (dst.start().cast(), src.start().cast_const(), dst.bytes());
    // SAFETY: the caller vouches for the source.
    let choice = unsafe { options.choice::<false>(policy, src, bytes)? };
    // SAFETY: the choice is for this CPU, and the ranges don't overlap; the caller vouches for the memory. Without
    // machine-check safety there is no fault to hear of.
    let _ =
        unsafe { chunk::copy::<false>(choice, dst, src.cast(), bytes, chunk_bytes, options.between_chunks) };
    Ok(())
}
