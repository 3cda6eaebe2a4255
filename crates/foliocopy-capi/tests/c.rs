//! A program in C, compiled against the header as a user would: with what pkg-config says, against the
//! shared library and the archive.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

const SHARED: &str = "libfoliocopy.so.0";

/// The libraries, the header and the pkg-config file, where a package would put them.
static PREFIX: LazyLock<PathBuf> = LazyLock::new(|| {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libraries");
    run(Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "foliocopy-capi", "--target-dir"])
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR")));
    let prefix = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prefix");
    let _ = fs::remove_dir_all(&prefix);
    let (library, include) = (prefix.join("lib"), prefix.join("include"));
    fs::create_dir_all(library.join("pkgconfig")).unwrap();
    fs::create_dir_all(&include).unwrap();
    fs::copy(target.join("debug/libfoliocopy.so"), library.join(SHARED)).unwrap();
    symlink(SHARED, library.join("libfoliocopy.so")).unwrap();
    fs::copy(target.join("debug/libfoliocopy.a"), library.join("libfoliocopy.a")).unwrap();
    fs::copy(source("include/foliocopy.h"), include.join("foliocopy.h")).unwrap();
    let template = fs::read_to_string(source("foliocopy.pc.in")).unwrap();
    let filled = template
        .replace("@prefix@", prefix.to_str().unwrap())
        .replace("@version@", env!("CARGO_PKG_VERSION"));
    assert!(!filled.contains('@'), "{filled}");
    fs::write(library.join("pkgconfig/foliocopy.pc"), filled).unwrap();
    prefix
});

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn library() -> PathBuf {
    PREFIX.join("lib")
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a command that must succeed, and returns what it printed.
fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = output(command);
    assert!(status.success(), "{command:?}: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

/// What pkg-config says, in words.
fn pkg_config(arguments: &[&str]) -> Vec<String> {
    let said = run(Command::new("pkg-config")
        .env("PKG_CONFIG_PATH", library().join("pkgconfig"))
        .args(arguments)
        .arg("foliocopy"));
    said.split_whitespace().map(str::to_owned).collect()
}

/// Compiles the program; `how` is what links the library to it.
fn compile(name: &str, how: &[String]) -> PathBuf {
    let program = PREFIX.join(name);
    run(Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1"])
        .arg(format!("-DEXPECTED_VERSION=\"{}\"", env!("CARGO_PKG_VERSION")))
        .args(pkg_config(&["--cflags"]))
        .arg(source("tests/program.c"))
        .args(how)
        .arg("-o")
        .arg(&program));
    program
}

/// Runs every part of the program.
fn check(program: &Path) {
    for part in ["copies", "refusals", "faults", "batches", "own"] {
        run(Command::new(program).arg(part).env("LD_LIBRARY_PATH", library()));
    }
}

#[test]
fn with_the_shared_library() {
    let program = compile("shared", &pkg_config(&["--libs"]));
    let needed = run(Command::new("readelf").arg("-d").arg(&program));
    assert!(needed.contains(SHARED), "the program isn't linked to the shared library:\n{needed}");
    check(&program);
}

#[test]
fn with_the_archive() {
    let mut how = vec![library().join("libfoliocopy.a").to_str().unwrap().to_owned()];
    let libraries = pkg_config(&["--libs", "--static"]);
    how.extend(libraries.into_iter().filter(|word| word.starts_with("-l") && word != "-lfoliocopy"));
    let program = compile("archive", &how);
    let needed = run(Command::new("readelf").arg("-d").arg(&program));
    assert!(!needed.contains(SHARED), "the program isn't linked to the archive:\n{needed}");
    check(&program);
}

/// Its handler would otherwise be gone, and the next signal would call what is no longer there.
#[test]
fn a_closed_library_stays() {
    let mut how = pkg_config(&["--libs"]);
    how.push("-ldl".to_owned());
    let program = compile("closing", &how);
    let shared = library().join(SHARED);
    run(Command::new(program).arg("closed").arg(&shared).env("LD_LIBRARY_PATH", library()));
    let dynamic = run(Command::new("readelf").arg("-d").arg(shared));
    assert!(dynamic.contains("NODELETE") && dynamic.contains(SHARED), "{dynamic}");
}

#[test]
fn the_library_exports_what_the_header_declares() {
    let symbols = run(Command::new("nm").args(["-D", "--defined-only"]).arg(library().join(SHARED)));
    let mut exported: Vec<&str> = symbols.lines().filter_map(|line| line.split_whitespace().last()).collect();
    exported.sort_unstable();
    let header = fs::read_to_string(source("include/foliocopy.h")).unwrap();
    let calls = header
        .lines()
        .filter(|line| !line.starts_with([' ', '/', '#']))
        .filter_map(|line| line.split_once('('));
    let mut declared: Vec<&str> = calls
        .filter_map(|(before, _)| before.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("foliocopy_"))
        .collect();
    declared.sort_unstable();
    assert!(declared.len() > 5, "{declared:?}");
    assert_eq!(exported, declared);
}

#[test]
fn the_header_is_c_plus_plus_too() {
    run(Command::new("c++")
        .args(["-std=c++11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++"])
        .arg(source("include/foliocopy.h")));
}

/// The C of the user's guide compiles against the header as it stands.
#[test]
fn the_guide_compiles() {
    let page = fs::read_to_string(source("../../docs/surviving-bad-memory.md")).unwrap();
    let (_, rest) = page.split_once("```c\n").expect("the page has C in it");
    let file = PREFIX.join("guide.c");
    fs::write(&file, rest.split("```").next().unwrap()).unwrap();
    run(Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-c", "-o", "/dev/null"])
        .args(pkg_config(&["--cflags"]))
        .arg(file));
}
