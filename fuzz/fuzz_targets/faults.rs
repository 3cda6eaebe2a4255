//! Copies of every shape, with faults at every place: the case is decoded, made and checked by the code that
//! replays the corpus in the engine's tests.
#![no_main]

#[path = "../../crates/foliocopy/tests/mc/case.rs"]
mod case;
#[allow(dead_code)]
#[path = "../../crates/foliocopy/tests/mc/memory.rs"]
mod memory;

libfuzzer_sys::fuzz_target!(|data: &[u8]| case::check(data));
