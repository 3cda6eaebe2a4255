//! How each CPU copies best: one file for each measured CPU, and the general rule for the others. They are data; the policy
//! reads them.

mod emerald_rapids;
mod general;
mod zen3;
mod zen4;
mod zen5;

use crate::cpu::{Cpu, Features, Microarchitecture, Vendor};
use crate::primitive::Primitive::{self, Movnti, RepMovsb};
use crate::step::{Band, Bands, Limit, Row, Step};

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

/// A row by what tells it from others: the bands of short copies through the cache, the bands past it, and the length from which a
/// glance decides between the two. Every other copy goes by `rep movsb`.
const fn row(short: &[Band], past: &[Band], glances_from: usize) -> Row {
    let through = Step::copy(RepMovsb);
    let short = Bands::NONE.and_all(short);
    let mut auto = short.and(Band::up_to(glances_from - PAGE, through));
    let mut bands = past;
    while let [Band { up_to, step }, others @ ..] = bands {
        match (*up_to, *step) {
            (Limit::Bytes(bytes), _) if bytes < glances_from => {}
            (up_to, Step::Copy { by, distance }) => {
                auto = auto.and(Band { up_to, step: Step::Glance { near: RepMovsb, far: by, distance } });
            }
            _ => panic!("a copy past the cache is not probed again"),
        }
        bands = others;
    }
    Row { temporal: short.and(Band::rest(through)), non_temporal: Bands::of(past), auto }
}

/// Copies past the cache by `movnti`, which prefetches `near` bytes ahead in ranges shorter than `far_from` bytes, `huge` bytes from
/// 16 MiB on, and `far` bytes between.
const fn movnti(near: u32, far_from: usize, far: u32, huge: u32) -> [Band; 3] {
    [
        Band::up_to(far_from - PAGE, Step::Copy { by: Movnti, distance: near }),
        Band::up_to(16 * MIB - PAGE, Step::Copy { by: Movnti, distance: far }),
        Band::rest(Step::Copy { by: Movnti, distance: huge }),
    ]
}

/// Whether it is a server of Intel, Sapphire Rapids or newer. Family 0x13 is that of servers, since Diamond Rapids: see
/// `intel-family.h` of Linux. No feature tells them from the CPUs of laptops, of which several have AVX-512.
const fn is_rapids(cpu: &Cpu) -> bool {
    use Microarchitecture::{EmeraldRapids, GraniteRapids, SapphireRapids};
    let newer = matches!(cpu.vendor(), Vendor::Intel) && cpu.family() == 0x13;
    newer || matches!(cpu.microarchitecture(), SapphireRapids | EmeraldRapids | GraniteRapids)
}

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
        _ if is_rapids(cpu) => &emerald_rapids::MEASURED,
        _ => return (&[], ""),
    };
    match registers {
        Registers::Vector => (measured.process, measured.name),
        Registers::GeneralPurpose => (measured.kernel, measured.name),
    }
}
