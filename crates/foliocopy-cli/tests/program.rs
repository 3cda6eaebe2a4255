//! The program from outside: rules that hold for every subcommand.

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;

fn foliocopy() -> Command {
    Command::cargo_bin("foliocopy").expect("cargo builds the program for its tests")
}

#[test]
fn help_documents_the_exit_codes() {
    foliocopy().arg("--help").assert().success().stdout(
        contains("Exit codes:").and(contains("130  interrupted")).and(contains("2    bad input or usage")),
    );
}

#[test]
fn every_command_documents_them() {
    for command in
        ["compare", "migrate", "report", "roofline", "kernel bench", "kernel patch on", "survey", "tune"]
    {
        let arguments = command.split(' ').chain(["--help"]);
        foliocopy().args(arguments).assert().success().stdout(contains("Exit codes:"));
    }
    // Its own text is wrapped like other text.
    let help = foliocopy().args(["migrate", "--help"]).output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    assert!(
        help.contains("needs root.\n\nFiles:")
            && help.contains("Exit codes:")
            && !help.contains("the method\nthat"),
        "{help}"
    );
}

#[test]
fn an_unknown_subcommand_is_a_usage_error() {
    foliocopy().arg("benhc").assert().code(2).stderr(contains("benhc"));
}

#[test]
fn info_tells_cpu_primitives_choices_and_nodes() {
    foliocopy()
        .arg("info")
        .assert()
        .success()
        .stdout(contains("CPU: ").and(contains("node 0: ")))
        .stdout(contains("rep_movsq").and(contains("avx512_nt")).and(contains("available")))
        .stdout(contains("in a process").and(contains("in a kernel")).and(contains("non_temporal")));
}

#[test]
fn info_names_what_a_mask_takes_away() {
    foliocopy()
        .arg("info")
        .env("FOLIOCOPY_MASK", "avx2")
        .assert()
        .success()
        .stdout(contains("this CPU lacks avx2"));
    if foliocopy::Cpu::detect().has(foliocopy::Features::AVX2) {
        let info = foliocopy().arg("info").env("FOLIOCOPY_MASK", "avx2").output().unwrap().stdout;
        let info = String::from_utf8(info).unwrap();
        assert!(info.split_whitespace().collect::<Vec<_>>().join(" ").contains("(masked: avx2)"), "{info}");
        assert!(info.lines().all(|line| line.chars().count() <= 80), "{info}");
    }
    let typo = || {
        let mut command = foliocopy();
        command.arg("info").env("FOLIOCOPY_MASK", "sse9");
        command
    };
    typo()
        .assert()
        .success()
        .stdout(contains("Left aside: FOLIOCOPY_MASK: ").and(contains("known are")))
        .stdout(predicates::str::is_match(".{81}").unwrap().not());
    typo().env("FOLIOCOPY_STRICT", "1").assert().code(2).stderr(contains("known are erms"));
    foliocopy()
        .arg("info")
        .env("FOLIOCOPY_MASK", "row")
        .assert()
        .success()
        .stdout(contains("in a process (the general rule").and(contains("foliocopy survey")));
}

#[test]
fn info_is_json_too() {
    let output = foliocopy().args(["info", "--json"]).output().unwrap();
    let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let primitives = info["primitives"].as_array().unwrap();
    assert_eq!(primitives.len(), foliocopy::Primitive::ALL.len());
    for primitive in primitives {
        assert_eq!(
            primitive["available"] == false,
            primitive["missing"] != serde_json::json!([]),
            "{primitive}"
        );
    }
    for tables in [&info["environment"]["tables"], &info["kernel_tables"]] {
        assert!(tables["source"].is_string(), "{tables}");
        let unlimited = tables["bands"].as_array().unwrap().iter().filter(|band| band["up_to"].is_null());
        assert_eq!(unlimited.count(), foliocopy::Locality::ALL.len());
    }
}
