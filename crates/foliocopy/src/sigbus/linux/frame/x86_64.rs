//! The registers of x86-64.

use super::Frame;

impl Frame<'_> {
    /// The address of the instruction that was interrupted.
    pub(in super::super) fn instruction(&self) -> usize {
        self.0.gregs[libc::REG_RIP as usize] as usize
    }

    pub(super) fn recovery_register(&self) -> usize {
        self.0.gregs[libc::REG_RDX as usize] as usize
    }

    /// Goes on at a landing pad, with the number of a trap.
    pub(in super::super) fn land(&mut self, landing_pad: usize, trap: u32) {
        self.0.gregs[libc::REG_RAX as usize] = i64::from(trap);
        self.0.gregs[libc::REG_RIP as usize] = landing_pad as i64;
    }

    /// `None`: one instruction of `rep movs` loads and stores.
    pub(in super::super) fn is_store(&self) -> Option<bool> {
        None
    }

    /// Whether the CPU does not know the address: it always does.
    pub(in super::super) fn lacks_address(&self) -> bool {
        false
    }
}
