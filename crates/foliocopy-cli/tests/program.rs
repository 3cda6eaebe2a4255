//! The program from outside: what holds for every subcommand.

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
fn an_unknown_subcommand_is_a_usage_error() {
    foliocopy().arg("benhc").assert().code(2).stderr(contains("benhc"));
}

#[test]
fn info_shows_nodes() {
    foliocopy().arg("info").assert().success().stdout(contains("node 0: CPUs "));
}
