//! Messages that a healthy kernel never prints.

/// Parts of console lines after which a run fails, whatever the guest's verdict is.
const COMPLAINTS: &[&str] = &[
    "Kernel panic",
    "Oops:",
    "BUG:",
    "kernel BUG at",
    "WARNING: CPU:",
    // The form of that warning since Linux 6.18: `WARNING: FILE:LINE at FUNCTION, CPU#1: PROCESS/PID`.
    ", CPU#",
    "WARNING: possible",
    "WARNING: inconsistent lock state",
    "suspicious RCU usage",
    "general protection fault",
    "unable to handle",
    "soft lockup",
    "hard LOCKUP",
    "blocked for more than",
    "detected stall",
    "self-detected stall",
    "scheduling while atomic",
    "sleeping function called",
    "bad: scheduling",
    "Bad page state",
    "Unknown rela relocation",
    "unpatched return thunk",
    "Missing ENDBR",
    "double fault",
    "refcount_t:",
    "Out of memory:",
];

/// The first complaint among the console's lines.
pub(crate) fn complaint(console: &[String]) -> Option<&str> {
    let complains = |line: &&String| COMPLAINTS.iter().any(|complaint| line.contains(complaint));
    console.iter().find(complains).map(String::as_str)
}
/// The line in which the kernel names the instruction of a fatal machine check, if there was one.
pub(crate) fn machine_check_panic(console: &[String]) -> Option<&str> {
    console.iter().find(|line| line.contains("Kernel panic") && line.contains("machine check"))?;
    console.iter().map(String::as_str).find(|line| line.contains("[Hardware Error]") && line.contains("RIP "))
}

/// Whether such a line names that instruction: `RIP 10:<ffffffffc0401234> {function+0x12/0x34}`.
pub(crate) fn is_at(hit: &str, instruction: u64) -> bool {
    hit.contains(&format!("<{instruction:016x}>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oops_is_seen_and_an_ordinary_boot_is_not() {
        let line = |text: &str| text.to_owned();
        let boot =
            [line("[    0.0] Linux version 6.12"), line("[    1.2] foliocopy: loading out-of-tree module")];
        assert_eq!(complaint(&boot), None);
        let hurt = [boot[0].clone(), line("[    2.0] Oops: general protection fault, probably for")];
        assert_eq!(complaint(&hurt), Some(hurt[1].as_str()));
    }

    #[test]
    fn the_instruction_of_a_panic_is_read() {
        let line = |text: &str| text.to_owned();
        let hit =
            "[    3.1] mce: [Hardware Error]: RIP 10:<ffffffffc0401234> {foliocopy_engine_copy+0x12/0x34}";
        let panic = line("[    3.2] Kernel panic - not syncing: Fatal local machine check");
        assert_eq!(machine_check_panic(&[line(hit)]), None);
        assert_eq!(machine_check_panic(&[line(hit), panic]), Some(hit));
        assert!(is_at(hit, 0xffff_ffff_c040_1234));
        assert!(!is_at(hit, 0xffff_ffff_c040_1235));
    }
}
