//! Zen 4, an EPYC 9004: see docs/tuning-notes.md, "Zen 4".

use super::{KIB, MIB, Measured, PAGE, kernel};
use crate::primitive::Primitive::{Avx2, Avx2Nt, RepMovsb};
use crate::step::{Band, Bands, Row, Step};

const AHEAD: u32 = 1024;

pub(super) static MEASURED: Measured = Measured {
    name: "measured on Zen 4",
    process: &[Row {
        temporal: Bands::of(&[Band::up_to(12 * KIB, Step::copy(Avx2)), Band::rest(Step::copy(RepMovsb))]),
        non_temporal: Bands::of(&[
            Band::up_to(MIB - PAGE, Step::copy(Avx2Nt)),
            Band::rest(Step::Copy { by: Avx2Nt, distance: AHEAD }),
        ]),
        auto: Bands::of(&[
            Band::up_to(12 * KIB, Step::copy(Avx2)),
            Band::up_to(64 * KIB - PAGE, Step::copy(RepMovsb)),
            Band::up_to(MIB - PAGE, Step::Glance { near: RepMovsb, far: Avx2Nt, distance: 0 }),
            Band::rest(Step::Glance { near: RepMovsb, far: Avx2Nt, distance: AHEAD }),
        ]),
    }],
    kernel: &[kernel(1024, 64 * KIB, 4096, 2048)],
};
