//! Private mount namespaces: scripts mount what they need, and nobody else sees it.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs a script of sh in a mount namespace of its own, as root in it, with `$FOLIOCOPY` as the program and `$RESULTS` as
/// results. Where the system gives no such namespace it prints that, and returns `None`.
pub(crate) fn run(directory: &Path, script: &str) -> Option<Output> {
    let mut attempts = vec![vec!["--mount"]];
    attempts.push(vec!["--user", "--map-root-user", "--mount"]);
    for attempt in attempts {
        let unshare = |script: &str| {
            let mut command = Command::new("unshare");
            command.args(&attempt).args(["--propagation", "private", "sh", "-euc", script]);
            for variable in ["FOLIOCOPY_MASK", "FOLIOCOPY_PRIMITIVE", "FOLIOCOPY_PROFILE"] {
                command.env_remove(variable);
            }
            command
                .env("FOLIOCOPY", assert_cmd::cargo::cargo_bin("foliocopy"))
                .env("RESULTS", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/schema-1.json"))
                .current_dir(directory)
                .stdin(Stdio::null());
            command.output()
        };
        if unshare("mkdir -p /tmp && mount -t tmpfs none /tmp").is_ok_and(|output| output.status.success()) {
            return Some(unshare(script).unwrap());
        }
    }
    println!("not tested: this takes a mount namespace (unshare --mount), as root or by a user namespace");
    None
}

/// The standard error of a script that ended with `code`.
#[track_caller]
pub(crate) fn said(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}
