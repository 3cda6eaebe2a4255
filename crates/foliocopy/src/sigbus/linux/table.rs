//! The exception table of this process.

use core::arch::asm;
use core::slice;

use crate::extable::{Entry, section, table_name};

/// The linker defines the two symbols below only for a C identifier.
const _: () = {
    let name = table_name!().as_bytes();
    let mut index = 0;
    while index < name.len() {
        assert!(
            name[index].is_ascii_alphanumeric() || name[index] == b'_',
            "the version of foliocopy names a pre-release with letters and digits alone, such as `alpha1`"
        );
        index += 1;
    }
};

/// The entry of the instruction at `address`.
///
/// A linear search: a signal costs more than to read about a thousand entries. A binary search would need a sorted table. The
/// kernel sorts its own at boot. Here nothing can sort read-only memory before the first fault.
pub(super) fn find(address: usize) -> Option<&'static Entry> {
    table().iter().find(|entry| entry.instruction() == address)
}

/// The instructions that put the address of one end of the table into the operand of that name.
#[cfg(target_arch = "x86_64")]
macro_rules! address_of {
    ($end:literal) => {
        concat!("lea {", $end, "}, [rip + __", $end, "_", table_name!(), "]")
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! address_of {
    ($end:literal) => {
        concat!(
            concat!("adrp {", $end, "}, __", $end, "_", table_name!(), "\n"),
            concat!("add {", $end, "}, {", $end, "}, :lo12:__", $end, "_", table_name!())
        )
    };
}

/// Every entry of this version that the linker put into this program or shared object.
///
/// The linker makes the two symbols from the section's name. They are hidden, since each shared object
/// has its own table. The empty section here makes them exist in a program without any copy in it.
fn table() -> &'static [Entry] {
    let (start, stop): (*const Entry, *const Entry);
    // SAFETY: the block computes two addresses and touches neither memory nor flags. The linker defines both
    // symbols, since the section exists.
    unsafe {
        asm!(
            concat!(".pushsection ", section!()),
            ".balign 4",
            ".popsection",
            concat!(".hidden __start_", table_name!()),
            concat!(".hidden __stop_", table_name!()),
            address_of!("start"),
            address_of!("stop"),
            start = out(reg) start,
            stop = out(reg) stop,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    // SAFETY: only `entry!` fills the section, with whole entries aligned to 4 bytes. The section is read-only,
    // and mapped as long as this code is.
    unsafe { slice::from_raw_parts(start, stop.offset_from_unsigned(start)) }
}
