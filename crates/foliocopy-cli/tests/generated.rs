//! Completions and manual pages, which are generated from the program's own definitions.

use std::fs;
use std::process::Command;

use predicates::prelude::*;
use results::foliocopy;

mod results;

/// The subcommands that `--help` lists.
fn subcommands() -> Vec<String> {
    let help =
        String::from_utf8(foliocopy().arg("--help").assert().success().get_output().stdout.clone()).unwrap();
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect()
}

#[test]
fn every_shell_completes_every_subcommand() {
    for shell in ["bash", "zsh", "fish"] {
        let script = foliocopy().args(["completions", shell]).assert().success().get_output().stdout.clone();
        let script = String::from_utf8(script).unwrap();
        for name in subcommands() {
            assert!(script.contains(&name), "{shell}: {name}");
        }
    }
    foliocopy()
        .args(["completions", "tcsh"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("possible values: bash"));
}

/// Asks a shell whether it can read its completions.
fn is_taken_by(shell: &str) {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join(shell);
    fs::write(&script, foliocopy().args(["completions", shell]).output().unwrap().stdout).unwrap();
    let output = Command::new(shell).arg("-n").arg(script).output();
    let output = output.unwrap_or_else(|error| panic!("{shell}: {error}"));
    assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn bash_takes_its_completions() {
    is_taken_by("bash");
}

#[test]
#[ignore = "needs zsh and fish: apt install zsh fish, then cargo xtask test"]
fn zsh_and_fish_take_their_completions() {
    ["zsh", "fish"].into_iter().for_each(is_taken_by);
}

#[test]
fn bash_completes_a_subcommand_for_real() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("foliocopy");
    fs::write(&script, foliocopy().args(["completions", "bash"]).output().unwrap().stdout).unwrap();
    let commands = format!(
        "source {}; COMP_WORDS=(foliocopy comp); COMP_CWORD=1; _foliocopy foliocopy comp foliocopy; echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let output = Command::new("bash").args(["-c", &commands]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "compare completions");
}

#[test]
fn every_subcommand_has_a_page_that_is_sound() {
    let directory = tempfile::tempdir().unwrap();
    foliocopy().args(["man", "--output"]).arg(directory.path()).assert().success();
    let mut pages: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    for name in subcommands() {
        let section = if ["kernel", "migrate"].contains(&name.as_str()) { 8 } else { 1 };
        let page = directory.path().join(format!("foliocopy-{name}.{section}"));
        let text = fs::read_to_string(&page).unwrap_or_else(|_| panic!("no page for {name}"));
        for title in ["NAME", "SYNOPSIS", "EXAMPLES", "\"SEE ALSO\""] {
            assert!(text.contains(&format!(".SH {title}\n")), "{name}: {title}");
        }
        assert!(text.contains(".SH \"EXIT STATUS\"\n.TP\n\\fB0\\fR\nit did what was asked\n"), "{name}");
        let source = format!("\" \" \"foliocopy {}\" ", env!("CARGO_PKG_VERSION"));
        assert!(text.contains(&source), "{name}: {text}");
    }
    let main = fs::read_to_string(directory.path().join("foliocopy.1")).unwrap();
    assert!(main.contains("foliocopy\\-compare(1)") && main.contains("foliocopy\\-kernel(8)"), "{main}");
    assert!(main.contains(".SH ENVIRONMENT") && main.contains(".SH FILES"), "{main}");
    // A page that exists is not overwritten.
    foliocopy().args(["man", "--output"]).arg(directory.path()).assert().code(2);
    foliocopy().args(["man", "--force", "--output"]).arg(directory.path()).assert().success();
}
