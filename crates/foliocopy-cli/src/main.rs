//! The program `foliocopy`.

mod command;

fn main() {}
