//! Zen 3, an EPYC 7003. Its samples are lost: see docs/tuning-notes.md, "Zen 3".

use super::{KIB, Measured, PAGE, kernel};
use crate::primitive::Primitive::{Avx2, Avx2Nt, RepMovsb};
use crate::step::{Band, Bands, Row, Step};

const FIRST_PAGE: Step = Step::TimeFirstPage { first: Avx2, rest: RepMovsb, burst: 0 };
const AHEAD: u32 = 1024;

pub(super) static MEASURED: Measured = Measured {
    name: "measured on Zen 3",
    process: &[Row {
        temporal: Bands::of(&[
            Band::up_to(4 * KIB, Step::copy(Avx2)),
            Band::up_to(16 * KIB, FIRST_PAGE),
            Band::rest(Step::copy(RepMovsb)),
        ]),
        non_temporal: Bands::always(Step::Copy { by: Avx2Nt, distance: AHEAD }),
        auto: Bands::of(&[
            Band::up_to(4 * KIB, Step::copy(Avx2)),
            Band::up_to(16 * KIB, FIRST_PAGE),
            Band::up_to(256 * KIB - PAGE, Step::copy(RepMovsb)),
            Band::rest(Step::Glance { near: RepMovsb, far: Avx2Nt, distance: AHEAD }),
        ]),
    }],
    kernel: &[kernel(1024, 64 * KIB, 1024, 1024)],
};
