//! The general rule, for a CPU of which only vendor, family and features are known. It takes what is fast on every measured CPU
//! and cannot lose much on another. See docs/tuning-notes.md, "the general rule".

use super::{KIB, Registers, is_rapids, movnti, row};
use crate::cpu::{Cpu, Features, Microarchitecture, Vendor};
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
    let has_vectors = matches!(registers, Registers::Vector) && cpu.has(Features::AVX2);
    let (rows, is_known) = match cpu.vendor() {
        Vendor::Intel => {
            (&INTEL, is_rapids(cpu) || matches!(cpu.microarchitecture(), Microarchitecture::IceLakeSp))
        }
        vendor => (&AMD, matches!(vendor, Vendor::Amd | Vendor::Hygon)),
    };
    let row = rows[usize::from(has_vectors)];
    if is_known && matches!(long, RepMovsb) && cpu.has(Features::TSC) {
        return row;
    }
    // A page in the L1 is copied faster by vectors. Intel's `rep movsb` is as fast, where it is good at short copies.
    let through = Step::copy(long);
    let short = match cpu.vendor() {
        Vendor::Amd | Vendor::Hygon if has_vectors => Band::up_to(16 * KIB, Step::copy(Avx2)),
        Vendor::Intel if has_vectors && !cpu.has(Features::FSRM) => Band::up_to(4 * KIB, Step::copy(Avx2)),
        _ => Band::up_to(4 * KIB, through),
    };
    let temporal = Bands::of(&[short, Band::rest(through)]);
    let [.., far] = row.non_temporal.padded();
    let auto = match registers {
        // A kernel's engine knows no caches.
        Registers::GeneralPurpose => temporal,
        // Nothing is known of string instructions here, or of the source. So only copies that cannot be in the cache go past it.
        Registers::Vector => Bands::of(&[short, Band { up_to: Limit::LastLevelCache, step: through }, far]),
    };
    Row { temporal, auto, ..row }
}

/// Where AMD can glance: without vectors, and with them.
static AMD: [Row; 2] = [
    row(&[], &movnti(1024, 64 * KIB, 4096, 2048), 256 * KIB),
    row(&[Band::up_to(16 * KIB, Step::copy(Avx2))], &[Band::rest(Step::copy(Avx2Nt))], 64 * KIB),
];

/// Where a server of Intel can glance: without vectors, and with them. Its cores prefetch for every loop themselves.
static INTEL: [Row; 2] = [
    row(&[], &[Band::rest(Step::copy(Movnti))], 512 * KIB),
    row(&[], &[Band::rest(Step::copy(Avx2Nt))], 512 * KIB),
];

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
