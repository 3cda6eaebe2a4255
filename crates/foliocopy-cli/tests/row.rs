//! The source that `tune --emit row` prints replaces a file of the engine, and the engine compiles.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn an_emitted_row_compiles_in_its_place() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let survey = crates.join("../results/surveys/zen4.json");
    let mut tune = Command::new(env!("CARGO_BIN_EXE_foliocopy"));
    let tuned = tune.args(["tune", "--emit", "row", "--from"]).arg(survey).output().unwrap();
    assert!(tuned.status.success(), "{}", String::from_utf8_lossy(&tuned.stderr));

    let copy = tempfile::tempdir().unwrap();
    let engine = crates.join("foliocopy");
    let mut copied = Command::new("cp");
    let copied = copied.arg("-r").args([engine.join("src"), engine.join("README.md")]);
    assert!(copied.arg(copy.path()).status().unwrap().success());
    fs::write(copy.path().join("src/tuning/zen4.rs"), tuned.stdout).unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiled = Command::new(rustc)
        .args([
            "--edition=2024",
            "--crate-type=lib",
            "--crate-name=foliocopy",
            "--emit=metadata",
            "--cap-lints=allow",
        ])
        .arg("--out-dir")
        .args([copy.path(), &copy.path().join("src/lib.rs")])
        .env("CARGO_PKG_VERSION", env!("CARGO_PKG_VERSION"))
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
}
