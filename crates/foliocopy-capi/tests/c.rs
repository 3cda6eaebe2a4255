//! A program in C, compiled against the header as a user would: with the words of pkg-config, against the shared library and
//! the archive.
//!
//! With `FOLIOCOPY_TEST_CROSS=aarch64` the library and the programs are for aarch64, and QEMU runs them:
//! `FOLIOCOPY_TEST_EMULATOR`, or the one on the path.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

const SHARED: &str = "libfoliocopy.so.0";

/// Another architecture for which everything is built, by its name in compilers.
static CROSS: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("FOLIOCOPY_TEST_CROSS").ok());

/// A tool of the compiler, such as `gcc`, for the tested architecture.
fn tool(name: &str) -> String {
    match (&*CROSS, name) {
        (Some(architecture), "cc") => format!("{architecture}-linux-gnu-gcc"),
        (Some(architecture), "c++") => format!("{architecture}-linux-gnu-g++"),
        (Some(architecture), name) => format!("{architecture}-linux-gnu-{name}"),
        (None, name) => name.to_owned(),
    }
}

/// Starts a program of the tested architecture, with the folder of the library.
fn start(program: &Path) -> Command {
    let Some(architecture) = &*CROSS else {
        let mut command = Command::new(program);
        command.env("LD_LIBRARY_PATH", library());
        return command;
    };
    // The emulator itself is a program of this machine, with libraries of its own.
    let emulator = std::env::var("FOLIOCOPY_TEST_EMULATOR").unwrap_or(format!("qemu-{architecture}"));
    let mut command = Command::new(emulator);
    command.arg("-E").arg(format!("LD_LIBRARY_PATH={}", library().display()));
    command.arg("-L").arg(format!("/usr/{architecture}-linux-gnu")).arg(program);
    command
}

/// The libraries, the header and the pkg-config file, where a package would put them.
static PREFIX: LazyLock<PathBuf> = LazyLock::new(|| {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libraries");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "foliocopy-capi", "--target-dir"]).arg(&target);
    let mut built = target.clone();
    if let Some(architecture) = &*CROSS {
        let triple = format!("{architecture}-unknown-linux-gnu");
        let linker = format!("CARGO_TARGET_{}_LINKER", triple.to_uppercase().replace('-', "_"));
        build.args(["--target", &triple]).env(linker, tool("cc"));
        built.push(triple);
    }
    run(build.current_dir(env!("CARGO_MANIFEST_DIR")));
    let built = built.join("debug");
    let prefix =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("prefix{}", CROSS.as_deref().unwrap_or("")));
    let _ = fs::remove_dir_all(&prefix);
    let (library, include) = (prefix.join("lib"), prefix.join("include"));
    fs::create_dir_all(library.join("pkgconfig")).unwrap();
    fs::create_dir_all(&include).unwrap();
    fs::copy(built.join("libfoliocopy.so"), library.join(SHARED)).unwrap();
    symlink(SHARED, library.join("libfoliocopy.so")).unwrap();
    fs::copy(built.join("libfoliocopy.a"), library.join("libfoliocopy.a")).unwrap();
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

/// The output of pkg-config, in words.
fn pkg_config(arguments: &[&str]) -> Vec<String> {
    let said = run(Command::new("pkg-config")
        .env("PKG_CONFIG_PATH", library().join("pkgconfig"))
        .args(arguments)
        .arg("foliocopy"));
    said.split_whitespace().map(str::to_owned).collect()
}

/// The warnings that a careful project enables.
const WARNINGS: [&str; 5] = ["-pedantic-errors", "-Wall", "-Wextra", "-Wconversion", "-Werror"];

/// Compiles the program; `how` are the words that link the library.
fn compile(name: &str, how: &[String]) -> PathBuf {
    let program = PREFIX.join(name);
    run(Command::new(tool("cc"))
        .args(WARNINGS)
        .args(["-std=c11", "-Wstrict-prototypes", "-O1"])
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
    let parts = [
        "copies", "parallel", "refusals", "bytes", "faults", "batches", "sigsegv", "own", "masked",
        "too-late",
    ];
    for part in parts {
        run(start(program).arg(part));
    }
}

#[test]
fn with_the_shared_library() {
    let program = compile("shared", &pkg_config(&["--libs"]));
    let needed = run(Command::new(tool("readelf")).arg("-d").arg(&program));
    assert!(needed.contains(SHARED), "the program isn't linked to the shared library:\n{needed}");
    check(&program);
}

#[test]
fn with_the_archive() {
    let mut how = vec![library().join("libfoliocopy.a").to_str().unwrap().to_owned()];
    let libraries = pkg_config(&["--libs", "--static"]);
    how.extend(libraries.into_iter().filter(|word| word.starts_with("-l") && word != "-lfoliocopy"));
    let program = compile("archive", &how);
    let needed = run(Command::new(tool("readelf")).arg("-d").arg(&program));
    assert!(!needed.contains(SHARED), "the program isn't linked to the archive:\n{needed}");
    check(&program);
}

/// The programs in examples/, built by the commands in their first lines and by a stricter compiler, and run.
#[test]
fn the_examples_run() {
    let example = |name: &str| {
        let program = PREFIX.join(format!("example-{name}"));
        run(Command::new(tool("cc"))
            .args(WARNINGS)
            .args(["-std=c11", "-Wstrict-prototypes"])
            .arg(source(&format!("examples/{name}.c")))
            .args(pkg_config(&["--cflags", "--libs"]))
            .arg("-o")
            .arg(&program));
        program
    };
    let copied = run(&mut start(&example("copy")));
    assert!(copied.contains("512 pages were copied twice, by: ") && copied.contains("the file was cut: "));
    let policy = example("own_policy");
    let told = run(&mut part(&policy, "tsc,row"));
    // An aarch64 CPU has no TSC that could be masked.
    assert!(told.contains("without ") && told.contains("row"), "{told}");
    let unknown = output(&mut part(&policy, "nonsense"));
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("erms"), "the known names are told");
    let handled = run(&mut start(&example("own_handler")));
    assert!(
        handled.starts_with("the copy answered -") && handled.contains("our own handler saw "),
        "{handled}"
    );
}

/// Otherwise the handler would be gone, and the next signal would call unmapped code.
#[test]
fn a_closed_library_stays() {
    let mut how = pkg_config(&["--libs"]);
    how.push("-ldl".to_owned());
    let program = compile("closing", &how);
    let shared = library().join(SHARED);
    run(start(&program).arg("closed").arg(&shared));
    let dynamic = run(Command::new(tool("readelf")).arg("-d").arg(shared));
    assert!(dynamic.contains("NODELETE") && dynamic.contains(SHARED), "{dynamic}");
}

#[test]
fn the_library_exports_what_the_header_declares() {
    let symbols = run(Command::new(tool("nm")).args(["-D", "--defined-only"]).arg(library().join(SHARED)));
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

/// A program in any dialect need not define or include anything before the header.
#[test]
fn the_header_stands_alone_in_strict_c_and_c_plus_plus() {
    let dialects = [("c", ["c99", "c11", "c17", "gnu17"]), ("c++", ["c++11", "c++17", "c++20", "gnu++17"])];
    let mut compiled = 0;
    for compiler in ["gcc", "clang"] {
        if Command::new(compiler).arg("--version").output().is_err() {
            println!("not tested: this machine has no {compiler}");
            continue;
        }
        for (language, standards) in dialects {
            let prototypes = (language == "c").then_some("-Wstrict-prototypes");
            for standard in standards {
                run(Command::new(compiler)
                    .args(WARNINGS)
                    .args(prototypes)
                    .args(["-fsyntax-only", "-x", language])
                    .arg(format!("-std={standard}"))
                    .arg(source("include/foliocopy.h")));
                compiled += 1;
            }
        }
    }
    assert_ne!(compiled, 0, "the header takes gcc or clang to be checked");
}

/// A part of the program, without the environment variables that the library reads.
fn part(program: &Path, part: &str) -> Command {
    let mut command = start(program);
    command.arg(part).env("XDG_CONFIG_HOME", "/nonexistent");
    for variable in ["MASK", "PRIMITIVE", "PROFILE", "STRICT"] {
        command.env_remove(format!("FOLIOCOPY_{variable}"));
    }
    command
}

#[test]
fn what_the_environment_says_is_followed_or_told() {
    let program = compile("host", &pkg_config(&["--libs"]));
    let host = |variables: &[(&str, &str)]| {
        let said = run(part(&program, "host").envs(variables.iter().copied()));
        let line = |start| said.lines().find_map(|line: &str| line.strip_prefix(start)).unwrap().to_owned();
        (line("policy: "), line("left aside: "), line("copied: "))
    };
    let plain = host(&[]);
    assert_eq!((plain.1.as_str(), plain.2.as_str()), ("", "0 "), "{plain:?}");
    let (policy, left_aside, copied) =
        host(&[("FOLIOCOPY_PRIMITIVE", "portable"), ("FOLIOCOPY_MASK", "row")]);
    assert!(policy.contains(": asked for by name; without ") && policy.contains("row"), "{policy}");
    assert_eq!((left_aside.as_str(), copied.as_str()), ("", "0 "));
    let nonsense = ("FOLIOCOPY_PRIMITIVE", "nonsense");
    let (policy, left_aside, copied) = host(&[nonsense]);
    assert_eq!((policy.as_str(), copied.as_str()), (plain.0.as_str(), "0 "));
    assert!(left_aside.starts_with("FOLIOCOPY_PRIMITIVE: unknown primitive; known are "), "{left_aside}");
    let (_, told, copied) = host(&[nonsense, ("FOLIOCOPY_STRICT", "1")]);
    assert_eq!((told.as_str(), copied), (left_aside.as_str(), format!("-{} {left_aside}", libc::EPERM)));
}

/// `prctl(PR_SET_TSC)` without the mask: a copy on such a thread that reads the counter is killed, as the header says.
#[test]
fn a_thread_without_the_counter_copies_where_the_counter_is_masked() {
    if cfg!(not(target_arch = "x86_64")) || CROSS.is_some() {
        // No copy reads a counter on other architectures.
        return;
    }
    let program = compile("counter", &pkg_config(&["--libs"]));
    let killed = |command: &mut Command| -> u32 { run(command).trim().parse().expect("a number") };
    assert_eq!(killed(part(&program, "counter").env("FOLIOCOPY_MASK", "tsc")), 0);
    assert_eq!(killed(part(&program, "counter").arg("tsc")), 0);
    // The program's request comes on top of the environment's.
    assert_eq!(killed(part(&program, "counter").arg("erms").env("FOLIOCOPY_MASK", "tsc")), 0);
    if killed(&mut part(&program, "counter")) == 0 {
        println!("not tested: no copy on this machine reads the time-stamp counter, masked or not");
    }
}

/// Like a runtime in C++ that owns SIGBUS.
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
    run(Command::new(tool("c++"))
        .args(WARNINGS)
        .arg("-std=c++17")
        .args(pkg_config(&["--cflags"]))
        .arg(file)
        .args(pkg_config(&["--libs"]))
        .arg("-o")
        .arg(&program));
    run(&mut start(&program));
}

/// The first C on a page of the user's guide, and the text below it.
fn guide(page: &str) -> (String, String) {
    let text = fs::read_to_string(source("docs").join(page)).unwrap();
    let (_, rest) = text.split_once("```c\n").expect("the page has C in it");
    let (code, rest) = rest.split_once("```").expect("the block ends");
    (code.to_owned(), rest.to_owned())
}

/// The C of the user's guide, built by the command below it and by a stricter one.
#[test]
fn the_guide_compiles() {
    let (code, rest) = guide("surviving-bad-memory.md");
    let here = PREFIX.join("guide");
    fs::create_dir_all(&here).unwrap();
    fs::write(here.join("save.c"), code).unwrap();
    let commands: Vec<&str> = rest.lines().filter_map(|line| line.strip_prefix("$ cc ")).collect();
    assert_eq!(commands.len(), 1);
    for flags in [String::new(), format!("-std=c11 {} ", WARNINGS.join(" "))] {
        run(Command::new("sh")
            .args(["-c", &format!("{} {flags}{}", tool("cc"), commands[0])])
            .current_dir(&here)
            .env("PKG_CONFIG_PATH", library().join("pkgconfig")));
    }
    assert!(
        run(Command::new(tool("nm")).arg("-D").arg(here.join("libsave.so")))
            .contains("foliocopy_copy_mc_pages")
    );
}

/// The commands of the page, run in this crate's folder, with these tests' archive instead of the release's.
#[test]
fn the_page_on_c_builds_a_program_from_the_repository() {
    let page = fs::read_to_string(source("docs/calling-from-c.md")).unwrap();
    let commands: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    let [build, link, start_it] = commands[..] else { panic!("{commands:?}") };
    assert_eq!((build, start_it), ("cargo build --release -p foliocopy-capi", "target/copy"));
    let program = PREFIX.join("copy");
    let archive = library().join("libfoliocopy.a");
    let link = link
        .replacen("cc ", &format!("{} ", tool("cc")), 1)
        .replace("-o target/copy", &format!("-o {}", program.display()))
        .replace("crates/foliocopy-capi/", "")
        .replace("target/release/libfoliocopy.a", archive.to_str().unwrap());
    run(Command::new("sh").args(["-c", &link]).current_dir(source("")));
    assert!(run(&mut start(&program)).contains("512 pages were copied twice"));
}

#[test]
fn the_page_on_c_compiles_and_names_what_there_is() {
    let (code, rest) = guide("calling-from-c.md");
    let file = PREFIX.join("demote.c");
    fs::write(&file, code).unwrap();
    run(Command::new(tool("cc"))
        .args(WARNINGS)
        .args(["-std=c11", "-fsyntax-only"])
        .args(pkg_config(&["--cflags"]))
        .arg(file));
    let header = fs::read_to_string(source("include/foliocopy.h")).unwrap();
    let named = rest.split(|end: char| !end.is_ascii_alphanumeric() && end != '_');
    for name in named.filter(|word| word.starts_with("foliocopy_")) {
        assert!(header.contains(&format!("{name}(")), "the header has no {name}");
    }
}
