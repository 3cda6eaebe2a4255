//! The registers of aarch64, and the syndrome of its fault (`arch/arm64/include/uapi/asm/sigcontext.h`).

use core::mem::size_of_val;

use super::Frame;

/// The record that holds the syndrome of the fault, `ESR_MAGIC`.
const SYNDROME: u32 = 0x4553_5201;

/// Fields of the syndrome of a data abort (Arm ARM, ESR_EL1): whether a store faulted; whether the address is unknown; a
/// synchronous external abort that no walk of the tables caused.
const IS_STORE: u64 = 1 << 6;
const LACKS_ADDRESS: u64 = 1 << 10;
const STATUS: u64 = 0x3f;
const EXTERNAL_ABORT: u64 = 0x10;

impl Frame<'_> {
    /// The address of the instruction that was interrupted.
    pub(in super::super) fn instruction(&self) -> usize {
        self.0.pc as usize
    }

    pub(super) fn recovery_register(&self) -> usize {
        self.0.regs[3] as usize
    }

    /// Goes on at a landing pad, with the number of a trap.
    pub(in super::super) fn land(&mut self, landing_pad: usize, trap: u32) {
        self.0.regs[4] = u64::from(trap);
        self.0.pc = landing_pad as u64;
    }

    /// Whether a store faulted; `None` where the kernel doesn't say, and under qemu-user.
    ///
    /// The kernel keeps the syndrome of the last fault that it turned into a signal. Where firmware reports a memory error,
    /// that fault is an earlier one. So this counts only where the address does not tell.
    pub(in super::super) fn is_store(&self) -> Option<bool> {
        Some(self.syndrome()? & IS_STORE != 0)
    }

    /// Whether the CPU does not know the address: `do_sea()` gives 0 then.
    pub(in super::super) fn lacks_address(&self) -> bool {
        self.syndrome()
            .is_some_and(|syndrome| syndrome & STATUS == EXTERNAL_ABORT && syndrome & LACKS_ADDRESS != 0)
    }

    /// The syndrome, which lies in one of the records behind the registers. Each record starts with its magic number and its
    /// length; zeros end them.
    fn syndrome(&self) -> Option<u64> {
        // The records are the end of the registers: libc doesn't name them.
        let bytes = size_of_val(&*self.0);
        let mut at = bytes - RECORDS;
        loop {
            let magic = self.word(at)?;
            let length = self.word(at + 4)? as usize;
            if magic == SYNDROME {
                let (low, high) = (self.word(at + 8)?, self.word(at + 12)?);
                return Some(u64::from(high) << 32 | u64::from(low));
            }
            if magic == 0 || length < 8 || length > bytes - at {
                return None;
            }
            at += length;
        }
    }

    /// The word that starts at this byte, if it lies within the registers and their records.
    fn word(&self, at: usize) -> Option<u32> {
        if !at.is_multiple_of(4) || at + 4 > size_of_val(&*self.0) {
            return None;
        }
        // SAFETY: an aligned word within the `mcontext_t`, whose bytes the kernel has all written or cleared.
        Some(unsafe { core::ptr::from_ref(&*self.0).cast::<u32>().add(at / 4).read() })
    }
}

/// The length of the room for records, in bytes.
const RECORDS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with these words as its records.
    fn with_records<R>(words: &[u32], asked: impl FnOnce(&Frame<'_>) -> R) -> R {
        // SAFETY: zeros are valid registers without a record.
        let mut registers: libc::mcontext_t = unsafe { core::mem::zeroed() };
        let records = size_of::<libc::mcontext_t>() - RECORDS;
        for (index, word) in words.iter().enumerate() {
            // SAFETY: the records are aligned and longer than these words.
            unsafe {
                let start = core::ptr::from_mut(&mut registers).cast::<u32>();
                start.add(records / 4 + index).write(*word);
            }
        }
        asked(&Frame(&mut registers))
    }

    #[test]
    fn the_syndrome_tells_the_side_and_whether_there_is_an_address() {
        // A record of the vector registers lies before it.
        let with = |syndrome: u32| {
            let mut words = [0; 136];
            (words[0], words[1]) = (0x4650_8001, 528);
            words[132..].copy_from_slice(&[SYNDROME, 16, syndrome, 0]);
            with_records(&words, |frame| (frame.is_store(), frame.lacks_address()))
        };
        assert_eq!(with(0x9200_0047), (Some(true), false), "a store, translation fault");
        assert_eq!(with(0x9200_0007), (Some(false), false), "a load, translation fault");
        assert_eq!(with(0x9200_0410), (Some(false), true), "a load, external abort without an address");
        assert_eq!(with(0x9200_0450), (Some(true), true), "a store, external abort without an address");
        assert_eq!(with(0x9200_0010), (Some(false), false), "a load, external abort");
    }

    #[test]
    fn records_that_make_no_sense_tell_nothing() {
        for words in [&[][..], &[0x4650_8001, 0], &[0x4650_8001, 7], &[0x4650_8001, u32::MAX], &[1, 4088]] {
            assert_eq!(with_records(words, |frame| (frame.is_store(), frame.lacks_address())), (None, false));
        }
    }
}
