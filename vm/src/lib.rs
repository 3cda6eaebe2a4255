//! The guest in which foliocopy's kernel modules are tested.
//!
//! A [`Scenario`] is one test in one boot. Its host side says which [`Machine`] to boot and how the run must end; `cargo xtask
//! vm` reads it. Its guest side is a function that the guest's init calls. Both are in one file of [`scenario`].

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
