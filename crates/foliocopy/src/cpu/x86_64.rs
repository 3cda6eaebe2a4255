//! CPUID's description of an x86-64 CPU.

use core::arch::x86_64::{__cpuid_count, CpuidResult};

use super::{Caches, Cpu, Features, Vendor};

/// The CPUID leaves that exist here; a leaf that doesn't reads as zeros.
struct Leaves {
    highest: u32,
    highest_extended: u32,
}

impl Leaves {
    fn new() -> Self {
        let highest = __cpuid_count(0, 0).eax;
        Self { highest, highest_extended: __cpuid_count(0x8000_0000, 0).eax }
    }

    fn get(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        let highest = if leaf >= 0x8000_0000 { self.highest_extended } else { self.highest };
        match leaf <= highest {
            true => __cpuid_count(leaf, subleaf),
            false => CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 },
        }
    }
}

const fn bit(register: u32, index: u32) -> bool {
    register >> index & 1 != 0
}

pub(super) fn detect() -> Cpu {
    let leaves = Leaves::new();
    let vendor = vendor(leaves.get(0, 0));
    let version = leaves.get(1, 0);
    let (family, model, stepping) = signature(version.eax);
    let caches = caches(&leaves, vendor);

    let structured = leaves.get(7, 0);
    let structured_1 = if structured.eax >= 1 { leaves.get(7, 1).eax } else { 0 };
    let power = leaves.get(0x8000_0007, 0);
    let enabled = if bit(version.ecx, 27) { extended_control_register_0() } else { 0 };
    let avx_enabled = enabled & 0b110 == 0b110;
    let avx512_enabled = enabled & 0b1110_0110 == 0b1110_0110;

    let features = Features::ERMS.when(bit(structured.ebx, 9))
        | Features::FSRM.when(bit(structured.edx, 4))
        | Features::FZRM.when(bit(structured_1, 10))
        | Features::REP_GOOD.when(rep_good(vendor, family, model))
        | Features::AVX2.when(bit(structured.ebx, 5) && avx_enabled)
        | Features::AVX512F.when(bit(structured.ebx, 16) && avx512_enabled)
        | Features::MOVDIR64B.when(bit(structured.ecx, 28))
        | Features::TSC.when(bit(version.edx, 4))
        | Features::CONSTANT_TSC.when(bit(power.edx, 8))
        | Features::HYPERVISOR.when(bit(version.ecx, 31))
        | Features::ROW;
    // INVARIANT: features that CPUID shows and the operating system enables.
    Cpu { vendor, family, model, stepping, features, caches, is_host: true }
}

fn vendor(leaf: CpuidResult) -> Vendor {
    let mut text = [0; 12];
    for (chunk, register) in text.chunks_exact_mut(4).zip([leaf.ebx, leaf.edx, leaf.ecx]) {
        chunk.copy_from_slice(&register.to_le_bytes());
    }
    Vendor::from_string(text)
}

/// Family, model and stepping, put together as Intel's SDM (volume 2, CPUID, figure 3-6) says.
fn signature(eax: u32) -> (u32, u32, u32) {
    let base_family = eax >> 8 & 0xf;
    let family = if base_family == 0xf { base_family + (eax >> 20 & 0xff) } else { base_family };
    let extended_model = if family >= 6 { eax >> 16 & 0xf } else { 0 };
    (family, extended_model << 4 | eax >> 4 & 0xf, eax & 0xf)
}

pub(super) fn rep_good(vendor: Vendor, family: u32, model: u32) -> bool {
    match vendor {
        Vendor::Amd => family >= 0x10,
        Vendor::Hygon => true,
        Vendor::Intel => family > 6 || family == 6 && model >= 0xd,
        Vendor::Centaur => family > 6 || family == 6 && model >= 0xf,
        Vendor::Zhaoxin => family >= 6,
        _ => false,
    }
}

/// The deterministic cache parameters: Intel has them in leaf 4, AMD in leaf 0x8000_001d, in the
/// same form.
fn caches(leaves: &Leaves, vendor: Vendor) -> Caches {
    const DATA: u32 = 1;
    const UNIFIED: u32 = 3;
    let leaf = if matches!(vendor, Vendor::Amd | Vendor::Hygon) { 0x8000_001d } else { 4 };
    let mut caches = Caches::default();
    for subleaf in 0..16 {
        let found = leaves.get(leaf, subleaf);
        let kind = found.eax & 0x1f;
        if kind == 0 {
            break;
        }
        let (ways, partitions, line) = (found.ebx >> 22, found.ebx >> 12 & 0x3ff, found.ebx & 0xfff);
        let bytes = [ways, partitions, line, found.ecx].iter().map(|field| *field as usize + 1).product();
        match (found.eax >> 5 & 7, kind) {
            (1, DATA | UNIFIED) => caches.l1d = bytes,
            (2, DATA | UNIFIED) => caches.l2 = bytes,
            (3, DATA | UNIFIED) => caches.l3 = bytes,
            _ => {}
        }
    }
    caches
}

/// XCR0: which register sets the operating system saves. The caller has seen OSXSAVE.
fn extended_control_register_0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: xgetbv with ecx = 0 is legal wherever CPUID shows OSXSAVE, and only reads.
    unsafe {
        core::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high,
            options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_of_known_cpus() {
        assert_eq!(signature(0x00b0_0f21), (0x1a, 0x02, 1), "Zen 5, Turin");
        assert_eq!(signature(0x00a0_0f11), (0x19, 0x01, 1), "Zen 3, Milan");
        assert_eq!(signature(0x0008_06f8), (6, 0x8f, 8), "Sapphire Rapids");
    }

    #[test]
    fn rep_good_as_linux_derives_it() {
        assert!(rep_good(Vendor::Amd, 0x19, 1));
        assert!(!rep_good(Vendor::Amd, 0xf, 0x41));
        assert!(rep_good(Vendor::Intel, 6, 0x8f));
        assert!(!rep_good(Vendor::Intel, 6, 0x9));
        assert!(!rep_good(Vendor::Other, 0x1a, 1));
    }
}
