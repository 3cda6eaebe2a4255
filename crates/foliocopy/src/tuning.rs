//! How each CPU copies best: a file for each that was measured, and the general rule for the others. Data, read by the policy.

mod general;
mod zen3;
mod zen4;
mod zen5;

use crate::cpu::{Cpu, Features, Microarchitecture, Vendor};
use crate::primitive::Primitive;
use crate::step::{Bands, Row};

pub(crate) use general::general;

/// Which registers a copy may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Registers {
    /// General-purpose registers only: a kernel, where the vector registers belong to the process.
    GeneralPurpose,
    /// All of them: a process.
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
/// A band ends one page below a power of two where the next band begins at that power.
const PAGE: usize = 4 << 10;

/// What was measured on one microarchitecture: the rows for a process, best first, and the row for a kernel.
struct Measured {
    name: &'static str,
    process: &'static [Row],
    kernel: Row,
}

/// The measured row that fits, and the name of its CPU; nothing where the general rule has to do.
///
/// A newer CPU than those here gets its vendor's newest row.
pub(crate) const fn measured(cpu: &Cpu, registers: Registers) -> Option<(Row, &'static str)> {
    let measured = match (cpu.vendor(), cpu.microarchitecture()) {
        _ if !cpu.has(Features::ROW) => return None,
        (_, Microarchitecture::Zen3) => zen3::MEASURED,
        (_, Microarchitecture::Zen4) => zen4::MEASURED,
        (_, Microarchitecture::Zen5 | Microarchitecture::Zen6) => zen5::MEASURED,
        (Vendor::Amd, Microarchitecture::Unknown) if cpu.family() >= 0x1a => zen5::MEASURED,
        _ => return None,
    };
    let rows = match registers {
        Registers::Vector => measured.process,
        Registers::GeneralPurpose => &[measured.kernel],
    };
    let mut rest = rows;
    while let [row, others @ ..] = rest {
        if runs(row, cpu) {
            return Some((*row, measured.name));
        }
        rest = others;
    }
    None
}

/// Whether the CPU has what the row needs. A row was measured with the string instructions that its CPU has.
const fn runs(row: &Row, cpu: &Cpu) -> bool {
    all_run(&row.temporal, cpu) && all_run(&row.non_temporal, cpu) && all_run(&row.auto, cpu)
}

const fn all_run(bands: &Bands, cpu: &Cpu) -> bool {
    let mut rest = bands.as_slice();
    while let [band, others @ ..] = rest {
        let [one, other] = band.step.primitives();
        if !fits(one, cpu) || !fits(other, cpu) {
            return false;
        }
        rest = others;
    }
    true
}

const fn fits(primitive: Primitive, cpu: &Cpu) -> bool {
    let fast = !matches!(primitive, Primitive::RepMovsb) || cpu.has(Features::ERMS);
    fast && primitive.is_available(cpu)
}
