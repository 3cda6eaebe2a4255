//! The crate in other programs: each test writes a project of its own, builds it and runs it.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod project;
mod registers;
mod versions;
