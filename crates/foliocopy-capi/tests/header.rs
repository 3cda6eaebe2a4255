//! The header is the one that cbindgen generates from the sources.

use std::path::Path;

/// `FOLIOCOPY_BLESS=1 cargo test -p foliocopy-capi` writes a new one.
#[test]
fn the_header_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is right");
    let mut made = Vec::new();
    cbindgen::generate_with_config(root, config).expect("cbindgen can read the sources").write(&mut made);
    let made = String::from_utf8(made).expect("text");
    let header = root.join("include/foliocopy.h");
    if std::env::var_os("FOLIOCOPY_BLESS").is_some() {
        std::fs::write(&header, &made).expect("the header can be written");
    }
    let committed = std::fs::read_to_string(&header).unwrap_or_default();
    assert!(committed == made, "include/foliocopy.h is not current; FOLIOCOPY_BLESS=1 makes it so:\n{made}");
}
