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
    for part in ["copies", "parallel", "refusals", "faults", "batches", "own"] {
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

/// Whatever dialect a program is in, it has nothing to define or include before.
#[test]
fn the_header_stands_alone_in_strict_c_and_c_plus_plus() {
    for (language, standards) in
        [("c", ["c99", "c11", "c17", "gnu17"]), ("c++", ["c++11", "c++17", "c++20", "gnu++17"])]
    {
        for standard in standards {
            run(Command::new("cc")
                .args(["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", "-x", language])
                .arg(format!("-std={standard}"))
                .arg(source("include/foliocopy.h")));
        }
    }
}

/// As a runtime in C++ has it that owns SIGBUS.
#[test]
fn a_program_in_c_plus_plus_copies() {
    const PROGRAM: &str = r#"
#include <foliocopy.h>
#include <csignal>
#include <cstring>
#include <new>

struct alignas(4096) Page { unsigned char bytes[4096]; };

static void handler(int signal, siginfo_t *info, void *context)
{
	if (!foliocopy_sigbus_try_handle(signal, info, context))
		std::raise(SIGABRT);
}

int main()
{
	struct sigaction action = {};
	action.sa_sigaction = handler;
	action.sa_flags = SA_SIGINFO;
	if (sigaction(SIGBUS, &action, nullptr) != 0)
		return 1;
	foliocopy_sigbus_handled_by_caller();
	Page *src = new Page[2](), *dst = new Page[2]();
	std::memset(src, 7, 2 * sizeof(Page));
	foliocopy_memory_error error;
	if (foliocopy_copy_mc_pages(dst, src, 2, &error) != 0 || std::memcmp(dst, src, 2 * sizeof(Page)) != 0)
		return 2;
	const foliocopy_folio_pair pair = { dst, src, 1 };
	return -foliocopy_copy_folios_locality(&pair, 1, FOLIOCOPY_LOCALITY_TEMPORAL, nullptr);
}
"#;
    let file = PREFIX.join("program.cpp");
    fs::write(&file, PROGRAM).unwrap();
    let program = PREFIX.join("in-c-plus-plus");
    run(Command::new("c++")
        .args(["-std=c++17", "-Wall", "-Wextra", "-pedantic", "-Werror"])
        .args(pkg_config(&["--cflags"]))
        .arg(file)
        .args(pkg_config(&["--libs"]))
        .arg("-o")
        .arg(&program));
    run(Command::new(program).env("LD_LIBRARY_PATH", library()));
}

/// The C of the user's guide, built by the command that stands below it and by a stricter one.
#[test]
fn the_guide_compiles() {
    let page = fs::read_to_string(source("docs/surviving-bad-memory.md")).unwrap();
    let (_, rest) = page.split_once("```c\n").expect("the page has C in it");
    let here = PREFIX.join("guide");
    fs::create_dir_all(&here).unwrap();
    fs::write(here.join("save.c"), rest.split("```").next().unwrap()).unwrap();
    let commands: Vec<&str> = rest.lines().filter_map(|line| line.strip_prefix("$ cc ")).collect();
    assert_eq!(commands.len(), 1);
    for flags in ["", "-std=c11 -Wall -Wextra -pedantic -Werror "] {
        run(Command::new("sh")
            .args(["-c", &format!("cc {flags}{}", commands[0])])
            .current_dir(&here)
            .env("PKG_CONFIG_PATH", library().join("pkgconfig")));
    }
    assert!(
        run(Command::new("nm").arg("-D").arg(here.join("libsave.so"))).contains("foliocopy_copy_mc_pages")
    );
}
