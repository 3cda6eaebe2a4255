//! The exception table of this process.

use core::arch::asm;
use core::slice;

use crate::extable::{Entry, section};

/// The entry of the instruction at `address`.
///
/// A linear search: a thousand entries take about a microsecond, no longer than the signal itself, and
/// nobody copies fast by faulting. A binary search would need the table sorted, as the kernel sorts its
/// own at boot: by somebody who runs before the first fault and may write to read-only memory.
pub(super) fn find(address: usize) -> Option<&'static Entry> {
    table().iter().find(|entry| entry.instruction() == address)
}

/// Every entry that the linker put into this program or shared object.
///
/// The linker makes the two symbols from the section's name. They are hidden, since each shared object
/// has its own table; the empty section here makes them exist in a program without any copy in it.
fn table() -> &'static [Entry] {
    let (start, stop): (*const Entry, *const Entry);
    // SAFETY: two addresses are worked out, and nothing else.
    unsafe {
        asm!(
            concat!(".pushsection ", section!()),
            ".balign 4",
            ".popsection",
            ".hidden __start_foliocopy_ex_table",
            ".hidden __stop_foliocopy_ex_table",
            "lea {start}, [rip + __start_foliocopy_ex_table]",
            "lea {stop}, [rip + __stop_foliocopy_ex_table]",
            start = out(reg) start,
            stop = out(reg) stop,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    // SAFETY: between the two symbols lie whole entries, aligned to 4 bytes, and nothing writes there.
    unsafe { slice::from_raw_parts(start, stop.offset_from_unsigned(start)) }
}
