//! Poison: a line of memory that raises a machine check in copies that may survive one.
//!
//! An emulator's memory does not go bad. So the guest names a line and instructions of an exception table. The host makes the
//! processor stop where that line is read. If the processor is at one of those instructions, the host raises a machine check
//! there, at every such read.

use std::fmt::{self, Write};
use std::io;

use anyhow::{Context, Result, ensure};

use crate::exception_table;
use crate::guest::Guest;

/// The start of a request on the guest's console.
const REQUEST: &str = "foliocopy-vm poison: ";

/// The host's answer on that console, once the line is poisoned.
pub const ANSWER: &str = "poisoned";

/// A line of memory to poison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// Its physical address, for the machine check's report.
    pub physical: u64,
    /// The address at which the kernel has it mapped.
    pub mapped: u64,
    /// The instructions that get a machine check: entries of an exception table.
    pub instructions: Vec<u64>,
}

impl Poison {
    /// A line by its physical address, and instructions of the kernel or of a module.
    pub fn at(guest: &Guest, physical: u64, instructions: Vec<u64>) -> Result<Self> {
        let mapped = exception_table::direct_map(guest)? + physical;
        Ok(Self { physical, mapped, instructions })
    }

    /// Poisons the line. Returns when the host has done so.
    pub fn spread(&self, guest: &Guest) -> Result<()> {
        // Goes through the kernel's log, so that another line of the kernel can't end up within the request.
        guest.write("/dev/kmsg", &self.to_string())?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).context("the console can't be read")?;
        ensure!(answer.trim() == ANSWER, "the host answers {answer:?} instead of `{ANSWER}`");
        Ok(())
    }

    /// The request in a line of the console, if it is one.
    pub fn read(line: &str) -> Option<Self> {
        let (_, request) = line.split_once(REQUEST)?;
        let mut words = request.split_whitespace().map(|word| u64::from_str_radix(word, 16).ok());
        let (physical, mapped, first) = (words.next()??, words.next()??, words.next()??);
        let rest = words.map(|offset| Some(first + offset?));
        let instructions = std::iter::once(Some(first)).chain(rest).collect::<Option<_>>()?;
        Some(Self { physical, mapped, instructions })
    }
}

/// Writes the numbers in hexadecimal. Instructions after the first are distances to it, since a record of the kernel's log
/// holds only a kilobyte.
impl fmt::Display for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{REQUEST}{:x} {:x}", self.physical, self.mapped)?;
        let Some(first) = self.instructions.first() else { return Ok(()) };
        write!(f, " {first:x}")?;
        self.instructions[1..].iter().try_for_each(|one| write!(f, " {:x}", one - first))?;
        f.write_char('\n')
    }
}

/// How many machine checks the kernel took since it booted, on all CPUs.
pub fn machine_checks(guest: &Guest) -> Result<u64> {
    let interrupts = guest.read("/proc/interrupts")?;
    let line = interrupts.lines().find_map(|line| line.trim_start().strip_prefix("MCE:"));
    let counts = line.context("/proc/interrupts does not count machine checks")?.split_whitespace();
    Ok(counts.map_while(|count| count.parse::<u64>().ok()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_console() {
        let poison = Poison {
            physical: 0x1a2b_3f40,
            mapped: 0xffff_8880_1a2b_3f40,
            instructions: vec![0xffff_ffff_c040_1234, 0xffff_ffff_c040_1240, 0xffff_ffff_c040_5234],
        };
        assert_eq!(Poison::read(&format!("[    3.1] {poison}")), Some(poison));
        assert_eq!(Poison::read("[    3.1] foliocopy: temporal copies: rep_movsb"), None);
        assert_eq!(
            Poison::read("[    3.1] foliocopy-vm poison: 1a2b3f40 ffff88801a2b3f40"),
            None,
            "for nobody"
        );
    }
}
