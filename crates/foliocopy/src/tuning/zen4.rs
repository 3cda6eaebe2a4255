//! Zen 4, an EPYC 9004: see docs/tuning-notes.md, "Zen 4".

use super::{KIB, MIB, Measured, PAGE, movnti, row};
use crate::primitive::Primitive::{Avx2, Avx2Nt};
use crate::step::{Band, Step};

const SHORT: [Band; 1] = [Band::up_to(12 * KIB, Step::copy(Avx2))];
const PAST: [Band; 2] =
    [Band::up_to(MIB - PAGE, Step::copy(Avx2Nt)), Band::rest(Step::Copy { by: Avx2Nt, distance: 1024 })];

pub(super) static MEASURED: Measured = Measured {
    name: "measured on Zen 4",
    process: &[row(&SHORT, &PAST, 64 * KIB)],
    kernel: &[row(&[], &movnti(1024, 64 * KIB, 4096, 2048), 256 * KIB)],
};
