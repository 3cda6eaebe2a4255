//! `foliocopy bench --against OLD`, from outside: builds that are alike, builds that are not, and what it refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use assert_cmd::Command;
use foliocopy_measure::result::{self, Evict, Results};
use predicates::prelude::*;
use predicates::str::{contains, is_match};

fn program() -> PathBuf {
    assert_cmd::cargo::cargo_bin("foliocopy")
}

/// The C library of this build, if cargo has built it.
fn library() -> Option<PathBuf> {
    let library = program().with_file_name("libfoliocopy.so");
    if !library.exists() {
        println!("not tested: {} is not built", library.display());
    }
    Some(library).filter(|library| library.exists())
}

/// A short run of `program` against `old`, whose results go to `results.json` in `directory`.
fn against(program: &Path, old: &Path, directory: &Path) -> Command {
    evicting("4M", program, old, directory)
}

/// A short run of that kind with `--evict`.
fn evicting(how: &str, program: &Path, old: &Path, directory: &Path) -> Command {
    with(&["--time", "2s", "--evict", how], program, old, directory)
}

/// A run of that kind that lasts until no interval is wider than half its ratio, on a busy machine too.
fn until_known(program: &Path, old: &Path, directory: &Path) -> Command {
    with(&["--until-width", "50", "--time", "10m", "--evict", "4M"], program, old, directory)
}

fn with(arguments: &[&str], program: &Path, old: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    for variable in ["FOLIOCOPY_MASK", "FOLIOCOPY_PRIMITIVE", "FOLIOCOPY_PROFILE"] {
        command.env_remove(variable);
    }
    command.current_dir(directory).args(["bench", "--cache", "hot", "--folio", "4K", "--total", "256K"]);
    command.args(arguments).args(["--force", "--export-json", "results.json", "--against"]).arg(old);
    command
}

fn results(directory: &Path) -> Results {
    result::read(&directory.join("results.json")).unwrap()
}

/// The interfaces that were compared, each with as many rounds of old as of new.
fn interfaces(results: &Results) -> Vec<String> {
    assert_eq!((results.command.as_str(), results.parameters.baseline.as_str()), ("against", "old"));
    let pairs = results.situations();
    for (situation, cells) in &pairs {
        assert_eq!(
            cells.iter().map(|cell| cell.contender.as_str()).collect::<Vec<_>>(),
            ["old", "new"],
            "{situation}"
        );
        assert_eq!(cells[0].samples_gbps.len(), cells[1].samples_gbps.len(), "{situation}");
    }
    pairs.iter().map(|(situation, _)| situation.dimensions["api"].clone()).collect()
}

const RUST: [&str; 4] = ["rust:copy_pages", "rust:copy_mc_pages", "rust:copy_folios", "rust:copy_mc_folios"];

#[test]
fn a_program_against_itself() {
    let directory = tempfile::tempdir().unwrap();
    against(&program(), &program(), directory.path()).assert().code(0).stdout(
        contains("rust:copy_mc_pages")
            .and(contains("new: "))
            .and(contains("▲ faster, ▼ slower by more than 2 %"))
            .and(
                contains("; geometric means:\n")
                    .and(is_match(r"\n  \d+\.\d+ \[.*\] hot api=rust:copy_folios\n").unwrap()),
            )
            .and(contains("/proc/self/exe").not()),
    );
    assert_eq!(interfaces(&results(directory.path())), RUST);
}

/// Like a build from before `--alone`.
#[test]
fn an_older_program_measures_what_it_always_does() {
    let directory = tempfile::tempdir().unwrap();
    let old = refusing("*' --alone '*|*' --evict '[a-z]*", directory.path());
    against(&program(), &old, directory.path()).assert().code(0);
    assert_eq!(interfaces(&results(directory.path())), RUST);
}

/// A program like this one that refuses arguments of that pattern of sh.
fn refusing(pattern: &str, directory: &Path) -> PathBuf {
    let old = directory.join("foliocopy");
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in {pattern}) echo error: unknown argument >&2; exit 2;; esac\nexec {} \"$@\"\n",
        program().display()
    );
    let written = directory.join("script");
    fs::write(&written, script).unwrap();
    // By another process: a child of another test could hold the file open (ETXTBSY).
    assert!(Process::new("install").arg("--mode=755").arg(&written).arg(&old).status().unwrap().success());
    old
}

/// Both programs of a run evict in the same way, so an old one that lacks it is refused.
#[test]
fn both_programs_evict_alike() {
    let directory = tempfile::tempdir().unwrap();
    let old = refusing("*' --evict '[0-9]*", directory.path());
    evicting("write,4M", &program(), &old, directory.path()).assert().code(0);
    assert_eq!(results(directory.path()).parameters.evict, Evict::Write);
    let old = refusing("*' --evict write,'*", directory.path());
    evicting("write,4M", &program(), &old, directory.path())
        .assert()
        .code(2)
        .stderr(contains("unknown argument"));
}

#[test]
fn a_folder_has_both() {
    let Some(library) = library() else { return };
    let directory = tempfile::tempdir().unwrap();
    let old = directory.path().join("old");
    fs::create_dir(&old).unwrap();
    fs::copy(&library, old.join("libfoliocopy.so")).unwrap();
    std::os::unix::fs::symlink(program(), old.join("foliocopy")).unwrap();
    against(&program(), &old, directory.path()).assert().code(0);
    let c = ["c:copy_pages", "c:copy_folios", "c:copy_mc_pages"];
    assert_eq!(interfaces(&results(directory.path())), [&c[..], &RUST].concat());
}

/// The gate finds a library that copies fifty times, in each interface that does, and also one that no longer does.
#[test]
fn a_slower_library_exits_with_1_and_a_faster_one_with_0() {
    let Some(library) = library() else { return };
    let directory = tempfile::tempdir().unwrap();
    let slow = directory.path().join("slow");
    fs::create_dir(&slow).unwrap();
    let source = format!(
        r#"#include <dlfcn.h>
        #include <stddef.h>
        typedef int pages(void *, const void *, size_t, void *);
        typedef int folios(const void *, size_t, size_t *);
        static void *of(const char *name) {{ return dlsym(dlopen("{}", RTLD_NOW | RTLD_LOCAL), name); }}
        static pages *copy, *copy_mc;
        static folios *copy_all;
        __attribute__((constructor)) static void load(void) {{
            copy = (pages *)of("foliocopy_copy_pages");
            copy_mc = (pages *)of("foliocopy_copy_mc_pages");
            copy_all = (folios *)of("foliocopy_copy_folios");
        }}
        int foliocopy_copy_pages(void *d, const void *s, size_t n) {{ int e; for (int i = 0; i < 50; i++) e = copy(d, s, n, 0); return e; }}
        int foliocopy_copy_mc_pages(void *d, const void *s, size_t n, void *m) {{ return copy_mc(d, s, n, m); }}
        int foliocopy_copy_folios(const void *p, size_t n, size_t *f) {{ int e; for (int i = 0; i < 50; i++) e = copy_all(p, n, f); return e; }}
        "#,
        library.display()
    );
    let file = directory.path().join("slow.c");
    fs::write(&file, source).unwrap();
    let compiled = Process::new("cc")
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .arg(slow.join("libfoliocopy.so"))
        .arg(&file)
        .status();
    if !compiled.as_ref().is_ok_and(std::process::ExitStatus::success) {
        println!("not tested: no C compiler ({compiled:?})");
        return;
    }
    // The new library is the one beside the program.
    let new = slow.join("foliocopy");
    assert!(Process::new("install").arg("--mode=755").arg(program()).arg(&new).status().unwrap().success());
    until_known(&new, &library, directory.path())
        .assert()
        .code(1)
        .stdout(contains("new: slower than the old build by more than 2 % in 2 of 3 cells"));
    let stands: Vec<(String, bool)> = results(directory.path())
        .situations()
        .iter()
        .map(|(situation, cells)| {
            (situation.dimensions["api"].clone(), cells[1].ratio_to_baseline.unwrap().corrected_high < 0.5)
        })
        .collect();
    let expected = [("c:copy_pages", true), ("c:copy_folios", true), ("c:copy_mc_pages", false)];
    assert_eq!(stands, expected.map(|(api, slower)| (api.to_owned(), slower)));
    until_known(&program(), &slow.join("libfoliocopy.so"), directory.path())
        .assert()
        .code(0)
        .stdout(contains("no cell slower"));
}

#[test]
fn what_cannot_be_compared_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |old: &Path, why: &str| {
        against(&program(), old, directory.path()).assert().code(2).stdout("").stderr(contains(why));
    };
    refused(Path::new("nothing"), "can't find the old build `nothing`");
    refused(directory.path(), "has neither libfoliocopy.so nor foliocopy");
    let text = directory.path().join("notes.so");
    fs::write(&text, "no library").unwrap();
    // Only if this build has a library.
    if library().is_some() {
        refused(&text, "can't load contender `old`");
    }
    for other in [["--scatter", "--quiet"], ["--baseline", "x.json"], ["--rounds", "3"]] {
        against(&program(), &program(), directory.path())
            .args(other)
            .assert()
            .code(2)
            .stderr(contains("cannot be used with"));
    }
}

#[test]
fn one_interface_can_be_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = against(&program(), &program(), directory.path());
    command.args(["--interface", "rust:copy_mc_pages"]).assert().code(0);
    assert_eq!(interfaces(&results(directory.path())), ["rust:copy_mc_pages"]);
    let mut command = against(&program(), &program(), directory.path());
    command
        .args(["--interface", "c:copy_pages"])
        .assert()
        .code(2)
        .stderr(contains("nothing to compare c:copy_pages with"));
}

#[test]
fn a_program_that_refuses_is_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let refuses = directory.path().join("refuses");
    fs::write(&refuses, "#!/bin/sh\necho 'error: not today' >&2\nexit 2\n").unwrap();
    fs::set_permissions(&refuses, fs::Permissions::from_mode(0o755)).unwrap();
    against(&program(), &refuses, directory.path())
        .assert()
        .code(2)
        .stderr(contains("refuses bench` refuses to measure: not today"));
    against(&program(), Path::new("/bin/false"), directory.path())
        .assert()
        .code(2)
        .stderr(contains("false bench` refuses to measure: exit status: 1"));
}
