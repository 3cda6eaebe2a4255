//! The guest in which foliocopy's kernel modules are tested.
//!
//! A [`Scenario`] is one test in one boot. It has a host's side (which [`Machine`] to boot, what must end it), which
//! `cargo xtask vm` reads, and a guest's side, a function that the guest's init calls. Both stand
//! in one file of [`scenario`].

pub mod exception_table;
pub mod guest;
pub mod machine;
pub mod memory;
pub mod poison;
pub mod scenario;
pub mod verdict;

pub use machine::{Architecture, Machine};
pub use poison::Poison;
pub use scenario::Scenario;
pub use verdict::Verdict;
