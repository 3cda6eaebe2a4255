//! What a healthy kernel never prints.

/// Parts of console lines that mean the kernel is hurt, whatever the guest's verdict says.
const COMPLAINTS: &[&str] = &[
    "Kernel panic",
    "Oops:",
    "BUG:",
    "kernel BUG at",
    "WARNING: CPU:",
    "WARNING: possible",
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

/// Whether the kernel came as far as to run our init.
pub(crate) fn reached_init(console: &[String]) -> bool {
    console.iter().any(|line| line.contains("Run /init as init process"))
}

/// The physical address at which the guest wants a machine check, if that line asks for one.
pub(crate) fn injection(line: &str) -> Option<u64> {
    let (_, address) = line.split_once("foliocopy_machine_check: inject at 0x")?;
    u64::from_str_radix(address.trim(), 16).ok()
}

/// Where the kernel says that a fatal machine check hit it, with the name of the function in braces.
pub(crate) fn machine_check_panic(console: &[String]) -> Option<&str> {
    console.iter().find(|line| line.contains("Kernel panic") && line.contains("machine check"))?;
    console.iter().map(String::as_str).find(|line| line.contains("[Hardware Error]") && line.contains("RIP "))
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
    fn a_request_for_a_machine_check_is_read() {
        let line = "[    3.1] foliocopy_machine_check: inject at 0x1a2b3000";
        assert_eq!(injection(line), Some(0x1a2b_3000));
        assert_eq!(injection("[    3.1] foliocopy: through the cache: rep_movsb"), None);
    }
}
