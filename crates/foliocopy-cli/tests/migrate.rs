//! `foliocopy migrate` on any machine. The virtual machine tests it between nodes.

use std::fs;
use std::io::Write;
use std::process::{Command as Process, Stdio};

use assert_cmd::Command;
use foliocopy_measure::topology::Topology;
use predicates::prelude::*;
use predicates::str::contains;

mod process;

fn migrate() -> Command {
    let mut command = Command::cargo_bin("foliocopy").expect("cargo builds the program for its tests");
    command.arg("migrate");
    command
}

fn nodes() -> usize {
    Topology::detect().nodes.iter().filter(|node| node.memory_bytes > 0).count()
}

#[test]
fn a_machine_with_one_node_is_told_of_the_vm() {
    if nodes() > 1 {
        println!("not tested: what a machine with one NUMA node is told, since this one has more");
        return;
    }
    for arguments in [&[][..], &["--stress", "1"], &["--nodes", "0:1"]] {
        migrate()
            .args(arguments)
            .assert()
            .code(2)
            .stdout("")
            .stderr(contains("one NUMA node").and(contains("cargo xtask vm migrate")));
    }
}

#[test]
fn bad_input_is_refused_before_anything_runs() {
    for (arguments, complaint) in [
        (&["--folio", "48K"][..], "powers of two from 16K to 2M"),
        (&["--folio", "4M"], "powers of two from 16K to 2M"),
        (&["--folio", "8K"], "powers of two from 16K to 2M"),
        (&["--folio", "huge"], "is not a size"),
        (&["--total", "0"], "is zero"),
        (&["--nodes", "0-1"], "SOURCE:DESTINATION"),
        (&["--rounds", "0"], "--rounds"),
        (&["--stress", "0"], "--stress"),
        (&["--stress", "1", "--rounds", "3"], "cannot be used with"),
        (&["--threads", "2"], "--stress"),
    ] {
        migrate().args(arguments).assert().code(2).stdout("").stderr(contains(complaint));
    }
}

/// The process that restores settings, with one change noted and its pipe still open.
fn guard(setting: &std::path::Path) -> std::process::Child {
    let mut guard = Process::new(assert_cmd::cargo::cargo_bin("foliocopy"))
        .args(["migrate", "--put-settings-back"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let changes = guard.stdin.as_mut().unwrap();
    writeln!(changes, "{}\tnever\tmadvise", setting.display()).unwrap();
    let mut noted = [0; 6];
    std::io::Read::read_exact(guard.stdout.as_mut().unwrap(), &mut noted).unwrap();
    assert_eq!(&noted, b"noted\n");
    guard
}

#[test]
fn settings_are_put_back_when_the_pipe_closes_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    let setting = directory.path().join("enabled");
    fs::write(&setting, "madvise").unwrap();
    let mut guard = guard(&setting);
    // Ctrl-C, a closed terminal and SIGTERM don't end it.
    process::send(&guard, &["INT", "HUP", "TERM"]);
    assert_eq!(guard.try_wait().unwrap(), None);
    assert_eq!(fs::read_to_string(&setting).unwrap(), "madvise");
    drop(guard.stdin.take());
    assert!(guard.wait().unwrap().success());
    assert_eq!(fs::read_to_string(&setting).unwrap(), "never");
}
