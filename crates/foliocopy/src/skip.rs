//! Copies that go on behind lost memory.

use core::ops::Range;

use crate::extable::Fault;
use crate::memory_error::{MemoryError, Side};
use crate::page::{PAGE_SIZE, Page};
use crate::sigbus;

/// Copies by `copy`, which takes a destination, a source and a length, and goes on behind each fault of the source. Lost memory
/// is zeroed and reported as a range of offsets. Returns how many bytes were lost.
///
/// # Errors
///
/// The first fault of the destination.
pub(crate) fn skip_lost(
    dst: *mut u8,
    src: *const u8,
    bytes: usize,
    mut copy: impl FnMut(*mut u8, *const u8, usize) -> Result<(), Fault>,
    mut report: impl FnMut(Range<usize>, MemoryError),
) -> Result<usize, MemoryError> {
    static ZEROS: Page = Page::zeroed();
    // Copies to the bytes of the destination from `start` to `end`.
    let mut copy = |start: usize, end: usize, from: *const u8| {
        copy(dst.wrapping_add(start), from, end - start).map_err(|fault| {
            sigbus::suspect();
            let fault = Fault { bytes_left: fault.bytes_left + (bytes - end), ..fault };
            MemoryError::new(fault, dst.addr(), src.addr(), bytes)
        })
    };
    let (mut done, mut skipped) = (0, 0);
    while done < bytes {
        let Err(error) = copy(done, bytes, src.wrapping_add(done)) else {
            break;
        };
        if error.side == Side::Destination {
            return Err(error);
        }
        let lost = error.lost(src.addr(), bytes);
        for start in lost.clone().step_by(PAGE_SIZE) {
            copy(start, lost.end.min(start + PAGE_SIZE), ZEROS.as_bytes().as_ptr())?;
        }
        done = lost.end;
        skipped += lost.len();
        report(lost, error);
    }
    Ok(skipped)
}
