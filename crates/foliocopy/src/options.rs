//! The options of a copy.

use crate::chunks::{DEFAULT_CHUNK_BYTES, NoYield, Yield};
use crate::error::CopyError;
use crate::locality::Locality;
use crate::policy::Policy;
use crate::primitive::Primitive;
use crate::step::Step;

/// The options of a copy: policy, locality, primitive and chunks. Its `copy_*` methods make the copy.
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
    /// [`Locality::Auto`], the policy of the host, chunks of [`DEFAULT_CHUNK_BYTES`] and nothing between them.
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

    /// Says where the copy should leave its destination.
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

    /// Copies at most this many bytes between two yields, rounded up to whole pages, and at least one page.
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

    /// The policy that decides.
    #[inline(always)]
    pub(crate) fn deciding(&self) -> &'a Policy {
        match self.policy {
            Some(policy) => policy,
            None => Policy::host(),
        }
    }

    /// The step for `bytes` bytes.
    #[inline]
    pub(crate) fn step(&self, bytes: usize) -> Result<Step, CopyError> {
        let policy = self.deciding();
        policy.check_usable()?;
        match self.primitive {
            Some(primitive) => policy.named(primitive, bytes),
            None => Ok(policy.step(self.locality, bytes)),
        }
    }
}
