//! The module's reader of tables, compiled for a process.

use step::{Band, Limit, Step};

use primitive::Primitive::{Movnti, Movq, RepMovsb};

#[path = "../../kmod/table.rs"]
mod table;

/// The parts of the engine that the reader uses. In a kernel it is a module of the engine.
mod primitive {
    pub(crate) use foliocopy::Primitive;
}

mod step {
    pub(crate) use foliocopy::{Band, Bands, Limit, MOST_BANDS, Step};
}

fn parse(text: &str) -> Result<Vec<Band>, table::Refusal> {
    table::parse(text.as_bytes()).map(|bands| bands.as_slice().to_vec())
}

#[test]
fn tables_are_read_band_by_band() {
    let ahead = |distance| Step::Copy { by: Movnti, distance };
    assert_eq!(parse("movq"), Ok(vec![Band::rest(Step::copy(Movq))]));
    assert_eq!(
        parse("61440:movnti@1024,1m:movnti@0,2G:movnti,movnti@4K"),
        Ok(vec![
            Band::up_to(61440, ahead(1024)),
            Band::up_to(1 << 20, ahead(0)),
            Band::up_to(2 << 30, ahead(0)),
            Band::rest(ahead(4096)),
        ])
    );
    let glance = Step::Glance { near: RepMovsb, far: Movnti, distance: 4096 };
    let first = Step::TimeFirstPage { first: Movq, rest: RepMovsb, burst: 16 << 10 };
    assert_eq!(
        parse("16K:first:movq:rep_movsb@16K,glance:rep_movsb:movnti@4096"),
        Ok(vec![Band::up_to(16 << 10, first), Band::rest(glance)])
    );
    // The policy judges limits, not the reader.
    assert_eq!(parse("5:movq").unwrap()[0].up_to, Limit::Bytes(5));
}

#[test]
fn what_is_no_table_says_where_and_why() {
    let nine = ["movq"; 9].join(",");
    for (text, band, reason) in [
        ("", 0, "no such primitive"),
        ("memcpy", 0, "no such primitive"),
        ("movq,", 1, "no such primitive"),
        ("movq:", 0, "a step is"),
        ("4K", 0, "a step is"),
        ("4K:", 0, "no such primitive"),
        ("4K:movq,peek:movq:movnti,movq", 1, "a step is"),
        ("glance:movq", 0, "a step is"),
        ("glance:movq:movnti:movnti", 0, "no such primitive"),
        ("4X:movq", 0, "a number of bytes"),
        ("99999999999999999999:movq", 0, "a number of bytes"),
        ("99999999999G:movq", 0, "a number of bytes"),
        ("movnti@", 0, "a number of bytes"),
        ("movnti@-64", 0, "a number of bytes"),
        ("movnti@4294967296", 0, "a number of bytes"),
        ("movnti@64@64", 0, "a number of bytes"),
        (&nine, 8, "eight bands at most"),
    ] {
        let (found, why) = parse(text).expect_err(text);
        assert!(found == band && why.contains(reason), "{text}: band {found}: {why}");
    }
}
