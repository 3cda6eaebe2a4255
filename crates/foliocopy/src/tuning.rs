//! How each CPU copies best: one file for each measured CPU, and the general rule for the others. They are data; the policy
//! reads them.

mod emerald_rapids;
mod general;
mod zen3;
mod zen4;
mod zen5;

use crate::cpu::{Cpu, Features, Microarchitecture, Vendor};
use crate::primitive::Primitive::{self, Movnti, RepMovsb};
use crate::step::{Band, Bands, Row, Step};

pub(crate) use general::general;

/// The registers that a copy may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Registers {
    /// General-purpose registers only: a kernel, where the vector registers belong to the process.
    GeneralPurpose,
    /// All registers: a process.
    Vector,
}

impl Registers {
    /// Whether a copy may use the primitive.
    pub(crate) const fn allow(self, primitive: Primitive) -> bool {
        matches!(self, Self::Vector) || primitive.is_kernel() || matches!(primitive, Primitive::Portable)
    }
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// For a band that ends one page below a power of two, at which the next band begins.
const PAGE: usize = 4 << 10;

/// The row for a kernel on a CPU where a glance is worth its time. `movnti` prefetches `near` bytes ahead for ranges shorter
/// than `far_from` bytes, `huge` bytes from 16 MiB on, and `far` bytes between.
const fn kernel(near: u32, far_from: usize, far: u32, huge: u32) -> Row {
    Row {
        temporal: Bands::always(Step::copy(RepMovsb)),
        non_temporal: Bands::of(&[
            Band::up_to(far_from - PAGE, Step::Copy { by: Movnti, distance: near }),
            Band::up_to(16 * MIB - PAGE, Step::Copy { by: Movnti, distance: far }),
            Band::rest(Step::Copy { by: Movnti, distance: huge }),
        ]),
        auto: Bands::of(&[
            Band::up_to(256 * KIB - PAGE, Step::copy(RepMovsb)),
            Band::up_to(16 * MIB - PAGE, Step::Glance { near: RepMovsb, far: Movnti, distance: far }),
            Band::rest(Step::Glance { near: RepMovsb, far: Movnti, distance: huge }),
        ]),
    }
}

/// What tells a newer server CPU of Intel from its other CPUs, and from older ones.
const SERVER: Features = Features::FSRM.union(Features::AVX512F).union(Features::MOVDIR64B);

/// The measured rows of one microarchitecture: for a process and for a kernel, best first. The name says where they were
/// measured.
struct Measured {
    name: &'static str,
    process: &'static [Row],
    kernel: &'static [Row],
}

/// The measured rows for this CPU, best first, and where they were measured. No rows where the general rule decides.
///
/// A newer CPU than those here gets its vendor's newest rows. All of them rest on a fast `rep movsb`.
pub(crate) fn measured(cpu: &Cpu, registers: Registers) -> (&'static [Row], &'static str) {
    let measured = match (cpu.vendor(), cpu.microarchitecture()) {
        _ if !cpu.has(Features::ROW.union(Features::ERMS)) => return (&[], ""),
        (_, Microarchitecture::Zen3) => &zen3::MEASURED,
        (_, Microarchitecture::Zen4) => &zen4::MEASURED,
        (_, Microarchitecture::Zen5 | Microarchitecture::Zen6) => &zen5::MEASURED,
        (Vendor::Amd, Microarchitecture::Unknown) if cpu.family() >= 0x1a => &zen5::MEASURED,
        (
            _,
            Microarchitecture::SapphireRapids
            | Microarchitecture::EmeraldRapids
            | Microarchitecture::GraniteRapids,
        ) => &emerald_rapids::MEASURED,
        // Newer CPUs that are no servers have no AVX-512.
        (Vendor::Intel, Microarchitecture::Unknown) if cpu.has(SERVER) => &emerald_rapids::MEASURED,
        _ => return (&[], ""),
    };
    match registers {
        Registers::Vector => (measured.process, measured.name),
        Registers::GeneralPurpose => (measured.kernel, measured.name),
    }
}
