//! Machine-check-safe copies of scattered ranges in a process.

use super::{BatchError, check};
use crate::chunks::Yield;
use crate::error::CopyError;
use crate::memory_error::CopyMcError;
use crate::options::CopyOptions;
use crate::page::PAGE_SIZE;
use crate::pages::{machine_check_safe, memory_error};
use crate::pair::FolioPair;
use crate::sigbus;

/// Copies scattered ranges like [`copy_folios`](crate::copy_folios), and stops at memory that can't be read
/// or written.
///
/// # Errors
///
/// As [`copy_mc_pages_raw`](crate::copy_mc_pages_raw), for the pair named. If memory went bad, the pairs before it are copied.
/// If the request can't be met, nothing is.
///
/// # Safety
///
/// For each pair as [`copy_mc_pages_raw`](crate::copy_mc_pages_raw); and no destination overlaps any other range of the
/// batch.
pub unsafe fn copy_mc_folios(batch: &[FolioPair]) -> Result<(), BatchError<CopyMcError>> {
    // SAFETY: this function's contract.
    unsafe { CopyOptions::new().copy_mc_folios(batch) }
}

impl<Y: Yield> CopyOptions<'_, Y> {
    /// Copies scattered ranges like [`copy_mc_folios`].
    ///
    /// # Errors
    ///
    /// As [`copy_mc_folios`]; [`CopyError::Unavailable`] where this CPU lacks what the named primitive needs; and
    /// [`CopyError::ForeignCpu`] where the policy is for another CPU.
    ///
    /// # Safety
    ///
    /// As [`copy_mc_folios`].
    pub unsafe fn copy_mc_folios(self, batch: &[FolioPair]) -> Result<(), BatchError<CopyMcError>> {
        let refused = |error: CopyError| BatchError { index: 0, error: error.into() };
        let checked = check(self.deciding(), batch)
            .map_err(|BatchError { index, error }| BatchError { index, error: error.into() })?;
        sigbus::ensure(checked.nr_pages * PAGE_SIZE)
            .map_err(|unsupported| refused(CopyError::Unsupported(unsupported)))?;
        // SAFETY: every pair was checked, this function's contract is about their memory, and faults are caught.
        let failed = unsafe { self.run_batch::<true>(batch, checked, machine_check_safe) };
        let Some((index, fault)) = failed.map_err(refused)? else {
            return Ok(());
        };
        let error = match batch[index].spans() {
            Ok((dst, src)) => memory_error(fault, dst, src).into(),
            Err(error) => error.into(),
        };
        Err(BatchError { index, error })
    }
}
