//! Everything, in the schema of [`foliocopy_measure::result`].

use foliocopy_measure::result::{self, Results};

pub(crate) fn text(results: &Results) -> Vec<u8> {
    let mut text = Vec::new();
    result::write_to(results, &mut text).expect("results are always JSON, and memory takes every byte");
    text
}
