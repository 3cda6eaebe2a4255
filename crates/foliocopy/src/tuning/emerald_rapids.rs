//! Emerald Rapids, a Xeon: see docs/tuning-notes.md, "Emerald Rapids".

use super::{KIB, Measured, row};
use crate::primitive::Primitive::{Avx2Nt, Avx512, Avx512Nt, Movdir64b, Movnti};
use crate::step::{Band, Step};

const SHORT: [Band; 1] = [Band::up_to(4 * KIB, Step::copy(Avx512))];
const PAST: [Band; 2] = [Band::up_to(4 * KIB, Step::copy(Avx2Nt)), Band::rest(Step::copy(Avx512Nt))];
const FROM: usize = 512 * KIB;

pub(super) static MEASURED: Measured = Measured {
    name: "measured on Emerald Rapids",
    process: &[row(&SHORT, &PAST, FROM), row(&[], &[Band::rest(Step::copy(Avx2Nt))], FROM)],
    kernel: &[
        row(&[], &[Band::rest(Step::copy(Movdir64b))], FROM),
        row(&[], &[Band::rest(Step::copy(Movnti))], FROM),
    ],
};
