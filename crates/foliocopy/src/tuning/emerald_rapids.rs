//! Emerald Rapids, a Xeon: see docs/tuning-notes.md, "Emerald Rapids".

use super::{KIB, Measured, PAGE};
use crate::primitive::Primitive::{self, Avx2Nt, Avx512, Avx512Nt, Movdir64b, Movnti, RepMovsb};
use crate::step::{Band, Bands, Row, Step};

/// The row that copies a page by one of `page`, through the cache and past it, and more of them past the cache by `past`.
const fn row(page: [Primitive; 2], past: Primitive) -> Row {
    let [page, page_past] =
        [Band::up_to(4 * KIB, Step::copy(page[0])), Band::up_to(4 * KIB, Step::copy(page[1]))];
    let through = Step::copy(RepMovsb);
    Row {
        temporal: Bands::of(&[page, Band::rest(through)]),
        non_temporal: Bands::of(&[page_past, Band::rest(Step::copy(past))]),
        auto: Bands::of(&[
            page,
            Band::up_to(512 * KIB - PAGE, through),
            Band::rest(Step::Glance { near: RepMovsb, far: past, distance: 0 }),
        ]),
    }
}

pub(super) static MEASURED: Measured = Measured {
    name: "measured on Emerald Rapids",
    process: &[row([Avx512, Avx2Nt], Avx512Nt), row([RepMovsb, Avx2Nt], Avx2Nt)],
    kernel: &[row([RepMovsb, Movdir64b], Movdir64b), row([RepMovsb, Movnti], Movnti)],
};
