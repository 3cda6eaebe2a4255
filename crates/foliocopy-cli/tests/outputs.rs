//! Files that the user asked for, in every kind of place, from outside.

use std::fs;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use foliocopy_measure::result;
use namespace::said;
use results::{foliocopy, schema_1};

mod namespace;
mod results;

/// A short bench with results.
const BENCH: &str = "bench --quiet --rounds 2 --folio 4K --total 64K --cache hot --evict 1M";

#[test]
fn a_link_is_written_through_and_the_mode_stays() {
    let here = tempfile::tempdir().unwrap();
    let real = here.path().join("real");
    fs::write(&real, "old").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    let before = real.metadata().unwrap();
    symlink("real", here.path().join("link")).unwrap();
    let report = || {
        let mut command = foliocopy();
        command.arg("report").arg(schema_1()).args(["-o", "link"]).current_dir(&here);
        command
    };
    report().assert().code(2).stderr(predicates::str::contains("--force"));
    report().arg("--force").assert().success();
    assert!(here.path().join("link").is_symlink());
    let after = real.metadata().unwrap();
    assert_eq!((after.ino(), after.mode(), after.uid()), (before.ino(), before.mode(), before.uid()));
    assert!(fs::read_to_string(real).unwrap().trim_end().ends_with("</html>"));
}

#[test]
fn a_dangling_link_is_refused_before_the_run() {
    let here = tempfile::tempdir().unwrap();
    symlink("nowhere", here.path().join("x")).unwrap();
    let began = Instant::now();
    let mut command = foliocopy();
    command.args(["bench", "--time", "10m", "--export-json", "x", "--export-csv", "y"]).current_dir(&here);
    command.assert().code(2).stderr(predicates::str::contains("`x` is a link to `nowhere`"));
    assert!(began.elapsed() < Duration::from_secs(300));
    assert_eq!(fs::read_dir(&here).unwrap().count(), 1);
}

#[test]
fn over_long_names_and_directories_are_refused_by_the_users_name() {
    let here = tempfile::tempdir().unwrap();
    for (name, why) in
        [("x".repeat(300), "too long"), ("./".into(), "is a directory"), ("no/y".into(), "No such")]
    {
        let mut command = foliocopy();
        command.arg("report").arg(schema_1()).args(["-o", &name]).current_dir(&here);
        let refused = command.assert().code(2).stderr(predicates::str::contains(why));
        refused.stderr(predicates::str::contains(format!("`{name}`")));
    }
}

/// The samples are saved even if nobody reads the tables.
#[test]
fn exports_are_written_where_nobody_reads_the_tables() {
    let here = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    for (stdout, code) in [(Stdio::from(writer), 0), (File::create("/dev/full").unwrap().into(), 2)] {
        let file = here.path().join(format!("results-{code}.json"));
        let output = Command::new(assert_cmd::cargo::cargo_bin("foliocopy"))
            .args(BENCH.split(' '))
            .arg("--export-json")
            .arg(&file)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        said(&output, code);
        assert!(result::read(&file).unwrap().complete);
    }
}

#[test]
fn a_pipe_whose_reader_went_away_is_an_error_and_the_samples_are_elsewhere() {
    let here = tempfile::tempdir().unwrap();
    let pipe = here.path().join("pipe");
    fs::create_dir(here.path().join("other")).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // The reader is there, so the program does not wait for one.
    let reader = File::options().read(true).write(true).open(&pipe).unwrap();
    let bench = Command::new(assert_cmd::cargo::cargo_bin("foliocopy"))
        .args("bench --quiet --time 3s --folio 4K --total 64K --cache hot --evict 1M".split(' '))
        .args(["--export-json", "pipe", "--export-csv", "good.csv"])
        .current_dir(&here)
        .env("TMPDIR", here.path().join("other"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let fds = format!("/proc/{}/fd", bench.id());
    let is_pipe = |fd: fs::DirEntry| fs::read_link(fd.path()).is_ok_and(|path| path == pipe);
    while !fs::read_dir(&fds).unwrap().flatten().any(is_pipe) {
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(reader);
    let output = bench.wait_with_output().unwrap();
    let said = said(&output, 2);
    assert!(said.contains("can't write `pipe`: Broken pipe"), "{said}");
    rescued(&said, here.path());
    assert!(fs::read_to_string(here.path().join("good.csv")).unwrap().starts_with("cache,"));
}

/// Checks that complete results are in the folder `other`, as the program's message says.
#[track_caller]
fn rescued(said: &str, here: &std::path::Path) {
    let kept: Vec<_> = fs::read_dir(here.join("other")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 1, "{said}");
    assert!(said.contains(&format!("was written to `{}`", kept[0].display())), "{said}");
    assert!(result::read(&kept[0]).unwrap().complete);
}

/// A file that becomes longer than the limit, here 2 KiB, is an error. The old content stays.
#[test]
fn a_limit_for_files_is_an_error_and_no_death() {
    let here = tempfile::tempdir().unwrap();
    fs::write(here.path().join("old.html"), "old").unwrap();
    for file in ["new.html", "old.html"] {
        let output = Command::new("sh")
            .args(["-euc", "ulimit -f 4; exec $FOLIOCOPY report $RESULTS --force -o $FILE"])
            .env("FOLIOCOPY", assert_cmd::cargo::cargo_bin("foliocopy"))
            .env("RESULTS", schema_1())
            .env("FILE", file)
            .current_dir(&here)
            .output()
            .unwrap();
        let said = said(&output, 2);
        assert!(said.contains(&format!("can't write `{file}`: File too large")), "{said}");
        assert!(!said.contains(".foliocopy-"), "the user's own path alone: {said}");
    }
    assert_eq!(fs::read_to_string(here.path().join("old.html")).unwrap(), "old");
    assert_eq!(fs::read_dir(&here).unwrap().count(), 1);
}

#[test]
fn a_full_file_system_loses_no_other_export_and_no_samples() {
    let here = tempfile::tempdir().unwrap();
    let script = format!(
        "mkdir small other; mount -t tmpfs -o size=8k none small; export TMPDIR=$PWD/other
         $FOLIOCOPY {BENCH} --export-json small/results.json --export-csv good.csv && exit 99 || code=$?
         ls -A small >&2; exit $code"
    );
    let Some(output) = namespace::run(here.path(), &script) else { return };
    let said = said(&output, 2);
    assert!(said.contains("can't write `small/results.json`: No space left"), "{said}");
    rescued(&said, here.path());
    assert!(fs::read_to_string(here.path().join("good.csv")).unwrap().starts_with("cache,"));
    assert!(
        said.trim_end().lines().last().unwrap().contains("No space left"),
        "nothing is left there: {said}"
    );
}

#[test]
fn a_read_only_file_system_is_refused_before_the_run() {
    let here = tempfile::tempdir().unwrap();
    let script = "mkdir ro; mount -t tmpfs -o size=64k none ro; echo old >ro/old; mount -o remount,ro ro
         for file in old new; do
           $FOLIOCOPY bench --time 10m --force --export-json ro/$file --export-csv good.csv && exit 99 || true
         done; ls";
    let Some(output) = namespace::run(here.path(), script) else { return };
    let said = said(&output, 0);
    for file in ["old", "new"] {
        assert!(said.contains(&format!("can't write `ro/{file}`: Read-only file system")), "{said}");
    }
    assert_eq!(output.stdout, b"ro\n");
}

/// A file that is mounted can't be replaced.
#[test]
fn a_mounted_file_is_written_in_place() {
    let here = tempfile::tempdir().unwrap();
    let script = "echo old >source; echo old >m; mount --bind source m
         $FOLIOCOPY report $RESULTS --export-lkml m --force";
    let Some(output) = namespace::run(here.path(), script) else { return };
    said(&output, 0);
    assert!(fs::read_to_string(here.path().join("source")).unwrap().starts_with("Test setup"));
    assert_eq!(fs::read_to_string(here.path().join("m")).unwrap(), "old\n");
}

/// Devices, pipes and links to streams stay as they are.
#[test]
fn streams_and_devices_are_never_replaced() {
    let here = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs none /dev; mknod /dev/null c 1 3 || touch /dev/null
         ln -s /proc/self/fd /dev/fd; ln -s fd/1 /dev/stdout; ln -s fd/1 /dev/mine; before=$(ls -l /dev)
         $FOLIOCOPY report $RESULTS --export-lkml /dev/stdout --force >f
         $FOLIOCOPY report $RESULTS --export-lkml /dev/mine >>f
         $FOLIOCOPY report $RESULTS --export-lkml /dev/fd/1 | cat >>f
         $FOLIOCOPY report $RESULTS --export-lkml /dev/null --force
         test \"$before\" = \"$(ls -l /dev)\"";
    let Some(output) = namespace::run(here.path(), script) else { return };
    said(&output, 0);
    assert_eq!(fs::read_to_string(here.path().join("f")).unwrap().matches("Test setup").count(), 3);
}

/// Such a path is treated like `-`: the tables go to the other stream.
#[test]
fn a_stream_by_another_name_gets_the_export_alone() {
    let here = tempfile::tempdir().unwrap();
    let file = here.path().join("f.json");
    let output = Command::new(assert_cmd::cargo::cargo_bin("foliocopy"))
        .args(BENCH.split(' '))
        .args(["--export-json", "f.json"])
        .current_dir(&here)
        .stdout(File::create(&file).unwrap())
        .output()
        .unwrap();
    assert!(said(&output, 0).contains("per-page"));
    assert!(result::read(&file).unwrap().complete);
    let two = ["--export-json", "-", "--export-csv", "/dev/stdout"];
    foliocopy()
        .args(BENCH.split(' '))
        .args(two)
        .assert()
        .code(2)
        .stderr(predicates::str::contains("its own file"));
}
