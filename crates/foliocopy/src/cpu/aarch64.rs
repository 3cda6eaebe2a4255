//! Linux's description of an aarch64 CPU: its features, its MIDR_EL1, which processes may read, and its caches in sysfs.

use core::arch::asm;
use std::format;
use std::path::Path;

use super::{Caches, Cpu, Features, Vendor};

/// Bits of AT_HWCAP and of AT_HWCAP2 (`arch/arm64/include/uapi/asm/hwcap.h`).
const HWCAP_ASIMD: u64 = 1 << 1;
const HWCAP_CPUID: u64 = 1 << 11;
const HWCAP2_MOPS: u64 = 1 << 43;

pub(super) fn detect() -> Cpu {
    // SAFETY: getauxval only reads what the kernel gave the process.
    let (one, two) = unsafe { (libc::getauxval(libc::AT_HWCAP), libc::getauxval(libc::AT_HWCAP2)) };
    let features = Features::ASIMD.when(one & HWCAP_ASIMD != 0)
        | Features::MOPS.when(two & HWCAP2_MOPS != 0)
        | Features::ROW;
    let midr = if one & HWCAP_CPUID != 0 { main_id() } else { 0 };
    let (implementer, part, stepping) = signature(midr);
    // SAFETY: asks the kernel for a number.
    let here = unsafe { libc::sched_getcpu() };
    let caches = caches(Path::new(&format!("/sys/devices/system/cpu/cpu{here}/cache")));
    // INVARIANT: features that the kernel says processes may use.
    Cpu {
        vendor: vendor(implementer),
        family: implementer,
        model: part,
        stepping,
        features,
        caches,
        is_host: true,
    }
}

/// MIDR_EL1. The caller has seen that the kernel answers.
fn main_id() -> u64 {
    let midr;
    // SAFETY: the kernel reads the register for the process, where it has said so.
    unsafe { asm!("mrs {}, midr_el1", out(reg) midr, options(nomem, nostack, preserves_flags)) };
    midr
}

/// Implementer, part, and variant with revision.
fn signature(midr: u64) -> (u32, u32, u32) {
    let field = |shift: u32, mask: u64| (midr >> shift & mask) as u32;
    (field(24, 0xff), field(4, 0xfff), field(20, 0xf) << 4 | field(0, 0xf))
}

fn vendor(implementer: u32) -> Vendor {
    match implementer {
        0x41 => Vendor::Arm,
        0x46 => Vendor::Fujitsu,
        0x48 => Vendor::HiSilicon,
        0x4e => Vendor::Nvidia,
        0x51 => Vendor::Qualcomm,
        0x61 => Vendor::Apple,
        0x6d => Vendor::Microsoft,
        0xc0 => Vendor::Ampere,
        _ => Vendor::Other,
    }
}

/// The data caches that the folder describes. Virtual machines often describe none.
fn caches(folder: &Path) -> Caches {
    let mut caches = Caches::default();
    for index in 0..8 {
        let read = |file: &str| std::fs::read_to_string(folder.join(format!("index{index}")).join(file));
        let (Ok(level), Ok(kind), Ok(size)) = (read("level"), read("type"), read("size")) else { break };
        if kind.trim() == "Instruction" {
            continue;
        }
        let kib = size.trim().strip_suffix('K').and_then(|kib| kib.parse::<usize>().ok());
        let bytes = kib.and_then(|kib| kib.checked_mul(1 << 10)).unwrap_or(0);
        match level.trim() {
            "1" => caches.l1d = bytes,
            "2" => caches.l2 = bytes,
            "3" => caches.l3 = bytes,
            _ => {}
        }
    }
    caches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_of_known_cpus() {
        assert_eq!(signature(0x413f_d0c1), (0x41, 0xd0c, 0x31), "Neoverse N1 r3p1");
        assert_eq!(signature(0x410f_d4f1), (0x41, 0xd4f, 0x01), "Neoverse V2 r0p1");
        assert_eq!(vendor(signature(0xc00f_ac30).0), Vendor::Ampere);
    }

    #[test]
    fn caches_are_what_sysfs_says_of_data() {
        let folder = std::env::temp_dir().join(format!("foliocopy-caches-{}", std::process::id()));
        let described = [
            ("1", "Data", "64K"),
            ("1", "Instruction", "32K"),
            ("2", "Unified", "1024K"),
            ("3", "Unified", "x"),
        ];
        for (index, (level, kind, size)) in described.iter().enumerate() {
            let folder = folder.join(format!("index{index}"));
            std::fs::create_dir_all(&folder).unwrap();
            for (file, text) in [("level", level), ("type", kind), ("size", size)] {
                std::fs::write(folder.join(file), format!("{text}\n")).unwrap();
            }
        }
        let found = caches(&folder);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, Caches { l1d: 64 << 10, l2: 1 << 20, l3: 0 });
        assert_eq!(caches(&folder), Caches::default());
    }
}
