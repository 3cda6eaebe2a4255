//! Zen 3, an EPYC 7003: see docs/tuning-notes.md, "Zen 3".

use super::{KIB, Measured, row};
use crate::primitive::Primitive::{Avx2, Avx2Nt, Movnti, RepMovsb};
use crate::step::{Band, Step};

const SHORT: [Band; 2] = [
    Band::up_to(4 * KIB, Step::copy(Avx2)),
    Band::up_to(16 * KIB, Step::TimeFirstPage { first: Avx2, rest: RepMovsb, burst: 0 }),
];
const AHEAD: u32 = 1024;

pub(super) static MEASURED: Measured = Measured {
    name: "measured on Zen 3",
    process: &[row(&SHORT, &[Band::rest(Step::Copy { by: Avx2Nt, distance: AHEAD })], 256 * KIB)],
    kernel: &[row(&[], &[Band::rest(Step::Copy { by: Movnti, distance: AHEAD })], 256 * KIB)],
};
