//! The surroundings of the program: full or closed outputs, signals in pairs, terminals.

use std::fs;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use foliocopy_measure::result;

mod process;
mod results;

/// Every command that prints something and is quick.
fn commands() -> Vec<Vec<String>> {
    let fixture = results::schema_1();
    let fixture = fixture.to_str().unwrap();
    [
        "bench --folio 4K --total 64K --rounds 2 --evict 1M".to_owned(),
        "info".into(),
        "info --json".into(),
        format!("compare {fixture} {fixture}"),
        format!("report {fixture} -o -"),
        format!("report {fixture} --export-lkml -"),
        "roofline --rounds 1 --memory 1M --threads 1".into(),
        "reproduce rfc --time 1s".into(),
        "selftest rep_movsb".into(),
        "completions zsh".into(),
        "kernel status".into(),
        "kernel status --json".into(),
        "kernel patch status".into(),
        // It is refused, with a message on standard error.
        "compare nonexistent.json nonexistent.json".into(),
    ]
    .iter()
    .map(|command| command.split(' ').map(str::to_owned).collect())
    .collect()
}

fn foliocopy() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("foliocopy"));
    for variable in ["FOLIOCOPY_MASK", "FOLIOCOPY_PRIMITIVE", "FOLIOCOPY_PROFILE"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

fn is_refused(command: &[String]) -> bool {
    command.iter().any(|word| word == "nonexistent.json")
}

/// The exit code without an error.
fn code(command: &[String]) -> Option<i32> {
    let absent = command[0] == "kernel" && !Path::new("/sys/module/foliocopy").exists();
    Some(if is_refused(command) { 2 } else { 3 * i32::from(absent) })
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn a_full_output_is_an_error_and_no_panic() {
    for command in commands() {
        let output = foliocopy().args(&command).stdout(full()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
        assert!(!said.contains("panicked"), "{command:?}: {said}");
        let refused = is_refused(&command);
        assert!(
            refused || said.contains("can't write to standard output: No space left"),
            "{command:?}: {said}"
        );
    }
}

#[test]
fn where_nobody_can_be_told_the_work_goes_on() {
    for command in commands() {
        let output = foliocopy().args(&command).stderr(full()).output().unwrap();
        assert_eq!(output.status.code(), code(&command), "{command:?}");
    }
}

#[test]
fn whoever_reads_may_stop() {
    for command in commands() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = foliocopy().args(&command).stdout(writer).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), code(&command), "{command:?}: {said}");
        assert!(!said.contains("panicked"), "{command:?}: {said}");
    }
}

#[test]
fn lines_end_where_their_words_do() {
    for command in commands() {
        let output = foliocopy().args(&command).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        // clap makes this text, so it is not checked.
        if command[0] != "completions" {
            let padded = text.lines().find(|line| line.ends_with(' '));
            assert_eq!(padded, None, "{command:?}");
        }
    }
}

/// Starts the program and waits until it has measured something.
fn measuring(arguments: &str, directory: &Path) -> Child {
    let child = started(arguments, directory);
    process::wait_until_it_has_worked(&child, Duration::from_secs(3));
    child
}

/// Starts the program and waits until it has caught its signals.
fn started(arguments: &str, directory: &Path) -> Child {
    let child = foliocopy()
        .args(arguments.split(' '))
        .current_dir(directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process::wait_until_it_catches_signals(&child);
    child
}

/// Ends the program by these signals in a row.
fn ended(child: Child, signals: &[&str]) -> Output {
    process::send(&child, signals);
    child.wait_with_output().unwrap()
}

/// `timeout` signals a process twice: directly, and with the group of both.
#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    for _ in 0..3 {
        let here = tempfile::tempdir().unwrap();
        let bench = "bench --folio 4K --cache hot --time 10m --evict 2M --export-json results.json";
        let output = ended(measuring(bench, here.path()), &["INT", "INT"]);
        assert_eq!(output.status.code(), Some(130));
        assert!(!result::read(&here.path().join("results.json")).unwrap().complete);
    }
}

#[test]
fn nothing_is_left_of_what_is_killed() {
    let here = tempfile::tempdir().unwrap();
    let bench = "bench --folio 4K --cache hot --time 10m --evict 2M --export-json results.json";
    let output = ended(measuring(bench, here.path()), &["KILL"]);
    assert_eq!(output.status.signal(), Some(9));
    assert_eq!(fs::read_dir(here.path()).unwrap().count(), 0);
}

#[test]
fn an_interrupted_roofline_says_so() {
    let here = tempfile::tempdir().unwrap();
    let roofline = "roofline --rounds 100000 --memory 1M --threads 1 --export-json limits.json";
    let output = ended(measuring(roofline, here.path()), &["TERM"]);
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8(output.stdout).unwrap().contains("limits in GB/s"));
    assert!(String::from_utf8(output.stderr).unwrap().contains("interrupted and is incomplete"));
    let limits = result::read(&here.path().join("limits.json")).unwrap();
    assert!(!limits.complete && limits.warnings.iter().any(|warning| warning.contains("interrupted")));
}

/// The signal reaches the running bench, though it was sent to this process alone.
#[test]
fn an_interrupted_reproduction_shows_what_it_has() {
    let here = tempfile::tempdir().unwrap();
    let reproduce = "reproduce rfc --time 10m --keep kept --export-markdown rfc.md";
    let output = ended(measuring(reproduce, here.path()), &["INT"]);
    assert_eq!(output.status.code(), Some(130), "{:?}", output.status.signal());
    assert!(
        String::from_utf8(output.stdout).unwrap().contains("Interrupted: some benches were not measured")
    );
    assert!(fs::read_to_string(here.path().join("rfc.md")).unwrap().contains("interrupted"));
    assert!(!result::read(&here.path().join("kept/rfc-cold.json")).unwrap().complete);
    let mut left: Vec<_> =
        fs::read_dir(here.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["kept", "rfc.md"]);

    // Interrupted before any new part: the parts of an earlier run are not used.
    let again = "reproduce rfc --time 10m --keep kept --export-markdown rfc.md --force";
    let output = ended(started(again, here.path()), &["INT"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("nothing to show") || said.contains("interrupted and is incomplete"), "{said}");
}
