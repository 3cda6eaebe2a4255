//! Two versions of the crate in one program: each survives its own faults.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::project::{Project, succeed};

/// The program with two versions in it: this one, and one with another layout of the data that a copy and the handler share.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let manifest = "libc = \"0.2\"\n\
             this = { package = \"foliocopy\", path = \"copies/this\" }\n\
             next = { package = \"foliocopy\", path = \"copies/next\" }\n\n\
             [lib]\ncrate-type = [\"cdylib\"]";
        let project = Project::new("versions", manifest, include_str!("programs/versions.rs"));
        project.write("src/copies.rs", include_str!("programs/versions_copies.rs"));
        project.write("src/lib.rs", include_str!("programs/versions_library.rs"));
        project.copy_crate("this", env!("CARGO_PKG_VERSION"), |_, text| text);
        project.copy_crate("next", "99.0.0", |path, text| match path.ends_with("extable.rs") {
            true => with_fields_turned_round(&text),
            false => text,
        });
        project.build("dev", |_| {})
    })
}

/// Reverses the fields of `Signal`, which is a part of `Recovery`.
fn with_fields_turned_round(text: &str) -> String {
    let (before, rest) = text.split_once("pub struct Signal {\n").expect("extable.rs has the struct");
    let (fields, after) = rest.split_once('}').expect("the struct ends");
    let turned: Vec<_> = fields.lines().filter(|line| line.contains("pub ")).rev().collect();
    assert!(turned.len() > 1, "extable.rs has changed");
    format!("{before}pub struct Signal {{\n{}\n}}{after}", turned.join("\n"))
}

macro_rules! scenarios {
    ($($(#[$doc:meta])* $name:ident)*) => {
        $($(#[$doc])* #[test] fn $name() {
            assert_eq!(succeed(Command::new(program()).arg(stringify!($name))), "<end>\n");
        })*
    };
}

scenarios! {
    each_reads_its_own_table
    this_before_next
    next_before_this
    both_at_once
    /// The shared object has the version of the program, and a table and a handler of its own.
    one_in_a_shared_object
    /// A foreign handler replaces the first one and does not forward to it. The second forwards to the foreign one.
    a_stranger_between
    a_stranger_in_front
    /// Each catches SIGSEGV too, behind or before the other.
    both_catch_sigsegv
}
