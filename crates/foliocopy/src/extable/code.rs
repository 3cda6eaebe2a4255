//! The exception-table entries of a loop's code.

/// Wraps an instruction of an `asm!` template that may fault, and names the label at which it lands.
///
/// The template needs a `machine_check_safe` operand: with 0 no entry is emitted, and the instruction
/// is an ordinary one.
macro_rules! may_fault {
    ($instruction:expr, $landing_pad:literal) => {
        concat!(
            "771: ",
            $instruction,
            "\n.if {machine_check_safe}\n",
            $crate::extable::entry!($landing_pad),
            "\n.endif"
        )
    };
}
pub(crate) use may_fault;

#[cfg(not(any(windows, target_vendor = "apple", target_os = "uefi")))]
mod elf;
#[cfg(not(any(windows, target_vendor = "apple", target_os = "uefi")))]
pub(crate) use elf::*;

/// No entry: neither Mach-O nor COFF has these directives, and nothing there would look it up.
#[cfg(any(windows, target_vendor = "apple", target_os = "uefi"))]
macro_rules! entry {
    ($landing_pad:literal) => {
        ""
    };
}
#[cfg(any(windows, target_vendor = "apple", target_os = "uefi"))]
pub(crate) use entry;
