//! Replays the fuzzer's corpus, and random cases.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use crate::case::{ENCODED, check};

#[test]
fn the_corpus_of_the_fuzzer() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/faults");
    let mut cases = 0;
    for entry in fs::read_dir(&corpus).expect("the corpus is in the package") {
        let path = entry.expect("the corpus can be read").path();
        eprintln!("{}", path.display());
        check(&fs::read(path).expect("a case can be read"));
        cases += 1;
    }
    assert!(cases >= 40, "only {cases} cases in {}", corpus.display());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_case(data in any::<[u8; ENCODED]>()) {
        check(&data);
    }

    /// Random cases with few bad pages.
    #[test]
    fn a_case_with_a_bad_page_or_two(mut data in any::<[u8; ENCODED]>(), src in 0..32_u32, dst in 0..48_u32) {
        data[9..13].copy_from_slice(&(1_u32 << src).to_le_bytes());
        data[13..17].copy_from_slice(&1_u32.checked_shl(dst).unwrap_or(0).to_le_bytes());
        check(&data);
    }
}
