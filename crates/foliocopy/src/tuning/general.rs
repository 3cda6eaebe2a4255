//! The general rule, for a CPU of which only vendor, family and features are known: what was good on every measured CPU, and
//! nothing that can lose much. See docs/tuning-notes.md, "the general rule".

use super::{KIB, PAGE, Registers};
use crate::cpu::{Cpu, Features, Vendor};
use crate::primitive::Primitive;
use crate::step::{Band, Bands, Limit, Row, Step};

/// The row of the general rule.
pub(crate) const fn general(cpu: &Cpu, registers: Registers) -> Row {
    if !Primitive::Movq.is_built() {
        return Row::always(Primitive::Portable);
    }
    let long = strings(cpu);
    let has_vectors = matches!(registers, Registers::Vector) && cpu.has(Features::AVX2);
    let amd = matches!(cpu.vendor(), Vendor::Amd | Vendor::Hygon);
    // A page in the L1 gains by vectors. Intel's `rep movsb` is as fast where it is good at short copies.
    let short_up_to = match cpu.vendor() {
        _ if !has_vectors => 0,
        Vendor::Amd | Vendor::Hygon => 16 * KIB,
        Vendor::Intel if !cpu.has(Features::FSRM) => 4 * KIB,
        _ => 0,
    };
    let through = Step::copy(long);
    let short = match short_up_to {
        0 => Band::up_to(PAGE, through),
        _ => Band::up_to(short_up_to, Step::copy(Primitive::Avx2)),
    };
    let past = match has_vectors {
        true => Bands::always(Step::copy(Primitive::Avx2Nt)),
        false => Bands::of(&[
            Band::up_to(64 * KIB - PAGE, Step::Copy { by: Primitive::Movnti, distance: 1024 }),
            Band::rest(Step::Copy { by: Primitive::Movnti, distance: 4096 }),
        ]),
    };
    let (far, distance) = if has_vectors { (Primitive::Avx2Nt, 0) } else { (Primitive::Movnti, 4096) };
    Row {
        temporal: Bands::of(&[short, Band::rest(through)]),
        non_temporal: past,
        auto: match (amd && cpu.has(Features::ERMS.union(Features::TSC)), has_vectors) {
            (true, true) => Bands::of(&[
                short,
                Band::up_to(64 * KIB - PAGE, through),
                Band::rest(Step::Glance { near: long, far, distance }),
            ]),
            (true, false) => Bands::of(&[
                Band::up_to(256 * KIB - PAGE, through),
                Band::rest(Step::Glance { near: long, far, distance }),
            ]),
            // String instructions avoid the read for ownership there, or nothing is known of them, or of the source. So only
            // copies that cannot be in the cache go past it.
            (false, _) => Bands::of(&[
                short,
                Band { up_to: Limit::LastLevelCache, step: through },
                Band::rest(match cpu.caches().l3 {
                    0 => through,
                    _ => Step::Copy { by: far, distance },
                }),
            ]),
        },
    }
}

/// The fast string instruction, by the order of `clear_pages()` and `copy_user_generic()` in Linux. FSRM never
/// decides: it speaks of short copies. No family before Zen 3 has a fast `rep movsb`, whatever it shows.
const fn strings(cpu: &Cpu) -> Primitive {
    let old = matches!(cpu.vendor(), Vendor::Amd) && cpu.family() < 0x19;
    if cpu.has(Features::ERMS) && !old {
        Primitive::RepMovsb
    } else if cpu.has(Features::REP_GOOD) {
        Primitive::RepMovsq
    } else {
        Primitive::Movq
    }
}
