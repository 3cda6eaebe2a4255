//! Long copies are cut into chunks, and others may run between two of them.

/// How much is copied between two yields unless told otherwise: 32 MiB, as Linux's `clear_pages()` does
/// (`PROCESS_PAGES_NON_PREEMPT_BATCH`).
pub const DEFAULT_CHUNK_BYTES: usize = 32 << 20;

/// An action between two chunks. Every `FnMut()` is one.
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
