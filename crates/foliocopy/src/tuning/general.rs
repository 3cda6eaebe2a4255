//! The general rule, for a CPU of which only vendor, family and features are known. It takes what is fast on every measured CPU
//! and cannot lose much on another. See docs/tuning-notes.md, "the general rule".

use super::{KIB, PAGE, Registers, kernel};
use crate::cpu::{Cpu, Features, Vendor};
use crate::primitive::Primitive::{self, Avx2, Avx2Nt, Movnti, RepMovsb};
use crate::step::{Band, Bands, Limit, Row, Step};

/// The row of the general rule.
pub(crate) fn general(cpu: &Cpu, registers: Registers) -> Row {
    if cpu.is_aarch64() {
        return aarch64(cpu, registers);
    }
    if cpu.is_host() && !Primitive::Movq.is_built() {
        return Row::always(Primitive::Portable);
    }
    let long = strings(cpu);
    let through = Step::copy(long);
    let has_vectors = matches!(registers, Registers::Vector) && cpu.has(Features::AVX2);
    let (amd, intel) =
        (matches!(cpu.vendor(), Vendor::Amd | Vendor::Hygon), matches!(cpu.vendor(), Vendor::Intel));
    // The cores of Intel's servers since Ice Lake.
    let has_server_cores = intel && cpu.has(Features::FSRM.union(Features::AVX512F));
    let can_glance = matches!(long, RepMovsb) && cpu.has(Features::TSC);
    let without_vectors = kernel(1024, 64 * KIB, 4096, 2048);
    if amd && can_glance && !has_vectors {
        return without_vectors;
    }
    // A page in the L1 is copied faster by vectors. Intel's `rep movsb` is as fast, where it is good at short copies.
    let short = match has_vectors {
        true if amd => Band::up_to(16 * KIB, Step::copy(Avx2)),
        true if intel && !cpu.has(Features::FSRM) => Band::up_to(4 * KIB, Step::copy(Avx2)),
        _ => Band::up_to(4 * KIB, through),
    };
    // Intel prefetches for every loop itself.
    let (past, far, distance) = match has_vectors {
        true => (Bands::always(Step::copy(Avx2Nt)), Avx2Nt, 0),
        false if intel => (Bands::always(Step::copy(Movnti)), Movnti, 0),
        false => (without_vectors.non_temporal, Movnti, 2048),
    };
    let glances_from = |from: usize| {
        let glance = Step::Glance { near: long, far, distance };
        Bands::of(&[short, Band::up_to(from - PAGE, through), Band::rest(glance)])
    };
    let temporal = Bands::of(&[short, Band::rest(through)]);
    let auto = match registers {
        _ if can_glance && amd => glances_from(64 * KIB),
        _ if can_glance && has_server_cores => glances_from(512 * KIB),
        // A kernel's engine knows no caches.
        Registers::GeneralPurpose => temporal,
        // Nothing is known of string instructions here, or of the source. So only copies that cannot be in the cache go past it.
        Registers::Vector => {
            let far = Step::Copy { by: far, distance };
            Bands::of(&[short, Band { up_to: Limit::LastLevelCache, step: through }, Band::rest(far)])
        }
    };
    Row { temporal, non_temporal: past, auto }
}

/// The row of an aarch64 CPU, by length alone: its counter may be too slow to time a load. Only copies that cannot be in the
/// cache go past it. MOPS is slow on some cores (Arm erratum 4043997), so only a profile names it.
fn aarch64(cpu: &Cpu, registers: Registers) -> Row {
    if !matches!(registers, Registers::Vector) || !cpu.has(Features::ASIMD) {
        return Row::always(Primitive::Portable);
    }
    let (through, past) = (Step::copy(Primitive::LdpStp), Step::copy(Primitive::LdpStnp));
    Row {
        temporal: Bands::always(through),
        non_temporal: Bands::always(past),
        auto: Bands::of(&[Band { up_to: Limit::LastLevelCache, step: through }, Band::rest(past)]),
    }
}

/// The fast string instruction, by the order of `clear_pages()` and `copy_user_generic()` in Linux. FSRM never decides, since
/// it is about short copies. No AMD family before Zen 3 has a fast `rep movsb`, whatever it shows.
fn strings(cpu: &Cpu) -> Primitive {
    let old = matches!(cpu.vendor(), Vendor::Amd) && cpu.family() < 0x19;
    if cpu.has(Features::ERMS) && !old {
        Primitive::RepMovsb
    } else if cpu.has(Features::REP_GOOD) {
        Primitive::RepMovsq
    } else {
        Primitive::Movq
    }
}
