//! Zen 5, an EPYC 9005: see docs/tuning-notes.md, "Zen 5".

use super::{KIB, MIB, Measured, PAGE, movnti, row};
use crate::primitive::Primitive::{self, Avx2, Avx2Nt, Avx512, Avx512Nt, RepMovsb};
use crate::step::{Band, Row, Step};

/// The row by vectors of one width.
const fn by_vectors(by: Primitive, past: Primitive) -> Row {
    let short = [
        Band::up_to(8 * KIB, Step::Copy { by, distance: 512 }),
        Band::up_to(16 * KIB, Step::TimeFirstPage { first: by, rest: RepMovsb, burst: 16 << 10 }),
    ];
    let past = [
        Band::up_to(128 * KIB - PAGE, Step::Copy { by: past, distance: 4096 }),
        Band::up_to(MIB - PAGE, Step::Copy { by: past, distance: 8192 }),
        Band::rest(Step::copy(past)),
    ];
    row(&short, &past, 64 * KIB)
}

pub(super) static MEASURED: Measured = Measured {
    name: "measured on Zen 5",
    process: &[by_vectors(Avx512, Avx512Nt), by_vectors(Avx2, Avx2Nt)],
    kernel: &[row(&[], &movnti(4096, 128 * KIB, 8192, 8192), 256 * KIB)],
};
