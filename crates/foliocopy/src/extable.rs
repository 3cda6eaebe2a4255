//! The exception table: which instruction may fault, and where it lands.
//!
//! An entry has Linux's layout (`arch/x86/include/asm/extable.h`): three 32-bit fields, each of the first two relative to
//! itself. In a kernel build the entries stand in `__ex_table`, where the kernel's own handlers of #PF and #MC find them. In a
//! process they stand in a section of ours, where the handler of SIGBUS finds them. Both kinds of build have the same machine
//! code. At a landing pad it expects:
//!
//! - every register as it was at the faulting instruction, except
//! - `rax`, on aarch64 `x4`, which holds the number of the trap: 14 (#PF) or 18 (#MC). Aarch64 has no such numbers, so its
//!   handler gives those of x86.
//!
//! While a machine-check-safe loop runs, `rdx`, on aarch64 `x3`, points to the [`Recovery`] of its copy. There the handler of a
//! process finds the ranges that are being copied, and leaves its description of the fault.

#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
mod code;

#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
pub(crate) use code::*;

/// One entry of the table.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Entry {
    instruction: i32,
    landing_pad: i32,
    kind: i32,
}

impl Entry {
    /// The address of the instruction that may fault.
    pub fn instruction(&self) -> usize {
        relative(&self.instruction)
    }

    /// The address of its landing pad.
    pub fn landing_pad(&self) -> usize {
        relative(&self.landing_pad)
    }

    /// The handler's kind: 15, `EX_TYPE_FAULT_MCE_SAFE`.
    pub fn kind(&self) -> i32 {
        self.kind
    }
}

/// The address to which a self-relative field points.
fn relative(field: &i32) -> usize {
    core::ptr::from_ref(field).addr().wrapping_add_signed(*field as isize)
}

/// The place where a machine-check-safe copy and the handler of its faults exchange data. It lies on the
/// copier's own stack, so the handler needs no thread-local, no lock and no allocation to find it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Recovery {
    /// The start of the destination.
    pub dst: usize,
    /// The start of the source.
    pub src: usize,
    /// The length of each, in bytes.
    pub bytes: usize,
    /// The signal, filled in by the handler. A kernel leaves it empty.
    pub signal: Option<Signal>,
}

/// A signal's description of the memory that could not be accessed (`sigaction(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Signal {
    /// The signal: `SIGBUS`, or `SIGSEGV` where that is caught too.
    pub number: i32,
    /// `si_addr`: the address, exact to the granule. On aarch64 it is 0 where the CPU doesn't say.
    pub address: usize,
    /// `si_code`: `BUS_MCEERR_AR`, `BUS_ADRERR`, ..
    pub code: i32,
    /// `si_addr_lsb`: the logarithm of the granule that is lost, 0 where the kernel doesn't say.
    pub address_lsb: i16,
    /// Whether a store faulted; `None` where the kernel doesn't say.
    pub is_store: Option<bool>,
}

/// The place at which a machine-check-safe copy stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How many bytes, counted from the end of the range, were not copied. Never 0.
    pub bytes_left: usize,
    /// The number of the trap, as x86 counts: 14 (#PF) or 18 (#MC).
    pub trap: u32,
    /// The signal, in a process.
    pub signal: Option<Signal>,
}
