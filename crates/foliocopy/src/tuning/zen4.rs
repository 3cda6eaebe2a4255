//! Zen 4, an EPYC 9004: see docs/tuning-notes.md, "Zen 4".

use super::{KIB, Measured, PAGE};
use crate::primitive::Primitive::{Avx2, Avx2Nt, Movnti, RepMovsb};
use crate::step::{Band, Bands, Row, Step};

const AHEAD: u32 = 4096;

pub(super) static MEASURED: Measured = Measured {
    name: "measured on Zen 4",
    process: &[Row {
        temporal: Bands::of(&[Band::up_to(16 * KIB, Step::copy(Avx2)), Band::rest(Step::copy(RepMovsb))]),
        non_temporal: Bands::always(Step::copy(Avx2Nt)),
        auto: Bands::of(&[
            Band::up_to(16 * KIB, Step::copy(Avx2)),
            Band::up_to(64 * KIB - PAGE, Step::copy(RepMovsb)),
            Band::rest(Step::Glance { near: RepMovsb, far: Avx2Nt, distance: 0 }),
        ]),
    }],
    kernel: &[Row {
        temporal: Bands::always(Step::copy(RepMovsb)),
        non_temporal: Bands::of(&[
            Band::up_to(64 * KIB - PAGE, Step::Copy { by: Movnti, distance: 1024 }),
            Band::rest(Step::Copy { by: Movnti, distance: AHEAD }),
        ]),
        auto: Bands::of(&[
            Band::up_to(256 * KIB - PAGE, Step::copy(RepMovsb)),
            Band::rest(Step::Glance { near: RepMovsb, far: Movnti, distance: AHEAD }),
        ]),
    }],
};
