//! `foliocopy selftest` from outside.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use std::process::Stdio;

use assert_cmd::Command;
use foliocopy::{Cpu, Primitive};
use predicates::prelude::*;
use predicates::str::{contains, is_match};

fn selftest() -> Command {
    let mut command = Command::cargo_bin("foliocopy").expect("cargo builds the program for its tests");
    command.arg("selftest");
    command
}

/// Every primitive has a row: with its result, or with the reason why it wasn't checked.
#[test]
fn every_primitive_is_checked_or_named() {
    let cpu = Cpu::detect();
    let mut assert = selftest().assert().success().stdout(contains("all right: "));
    for primitive in Primitive::ALL {
        let row = match (primitive.is_available(&cpu), primitive.is_machine_check_safe()) {
            (true, true) => r"\d+ right +\d+ right +1024 right +258 right",
            (true, false) => r"\d+ right +has no safe variant",
            (false, _) if !primitive.is_built() => "not checked: not on this architecture",
            (false, _) => "not checked: lacks ",
        };
        assert = assert.stdout(is_match(format!("(?m)^{primitive} +{row}")).unwrap());
    }
    assert.stdout(is_match(".{81}").unwrap().not());
}

#[test]
fn what_is_named_alone_is_checked() {
    selftest().args(["movq", "rep_movsb"]).assert().success().stdout(
        is_match("(?m)^movq ")
            .unwrap()
            .and(is_match("(?m)^rep_movsb ").unwrap())
            .and(contains("movnti").not()),
    );
    selftest().arg("memcpy").assert().code(2).stderr(contains("known are rep_movsb"));
}

#[test]
fn what_a_mask_takes_away_can_not_be_asked_for() {
    let masked = || {
        let mut command = selftest();
        command.env("FOLIOCOPY_MASK", "avx2");
        command
    };
    masked().arg("avx2").assert().code(2).stderr(contains("can't run avx2: it lacks avx2"));
    masked().assert().success().stdout(is_match("(?m)^avx2 +not checked: lacks avx2").unwrap());
}

#[test]
fn it_ends_when_interrupted() {
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("foliocopy"))
        .arg("selftest")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    while !catches_interrupts(child.id()) {
        assert_eq!(child.try_wait().expect("our child"), None, "it ended before it could be interrupted");
    }
    let kill = format!("kill -INT {}", child.id());
    let sent = std::process::Command::new("sh").args(["-c", &kill]).status();
    assert!(sent.expect("a shell exists").success());
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("interrupted; all "), "{text}");
}

/// Whether a process has a handler of SIGINT (`SigCgt` in `proc(5)`).
fn catches_interrupts(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 0b10 != 0))
}
