//! Zen 5, an EPYC 9005: see docs/tuning-notes.md, "Zen 5".

use super::{KIB, MIB, Measured, PAGE, kernel};
use crate::primitive::Primitive::{self, Avx2, Avx2Nt, Avx512, Avx512Nt, RepMovsb};
use crate::step::{Band, Bands, Row, Step};

const AHEAD: u32 = 4096;
const FAR_AHEAD: u32 = 8192;

/// The row by vectors of one width.
const fn row(by: Primitive, past: Primitive) -> Row {
    let page = Step::Copy { by, distance: 512 };
    let first_page = Step::TimeFirstPage { first: by, rest: RepMovsb, burst: 16 << 10 };
    Row {
        temporal: Bands::of(&[
            Band::up_to(8 * KIB, page),
            Band::up_to(16 * KIB, first_page),
            Band::rest(Step::copy(RepMovsb)),
        ]),
        non_temporal: Bands::of(&[
            Band::up_to(128 * KIB - PAGE, Step::Copy { by: past, distance: AHEAD }),
            Band::up_to(MIB - PAGE, Step::Copy { by: past, distance: FAR_AHEAD }),
            Band::rest(Step::copy(past)),
        ]),
        auto: Bands::of(&[
            Band::up_to(8 * KIB, page),
            Band::up_to(16 * KIB, first_page),
            Band::up_to(64 * KIB - PAGE, Step::copy(RepMovsb)),
            Band::up_to(128 * KIB - PAGE, Step::Glance { near: RepMovsb, far: past, distance: AHEAD }),
            Band::up_to(MIB - PAGE, Step::Glance { near: RepMovsb, far: past, distance: FAR_AHEAD }),
            Band::rest(Step::Glance { near: RepMovsb, far: past, distance: 0 }),
        ]),
    }
}

pub(super) static MEASURED: Measured = Measured {
    name: "measured on Zen 5",
    process: &[row(Avx512, Avx512Nt), row(Avx2, Avx2Nt)],
    kernel: &[kernel(4096, 128 * KIB, 8192, 8192)],
};
