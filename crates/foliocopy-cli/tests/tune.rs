//! `foliocopy tune` from outside: short runs on real memory, the profiles that they leave, and everything that it must
//! refuse. What is faster is never asserted.

use std::fs;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use assert_cmd::Command;
use foliocopy::{Cpu, Policy, Primitive, Profile, Registers};
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

/// `foliocopy`, with nothing but an empty configuration folder around it.
fn foliocopy(home: &TempDir) -> Command {
    let mut command = Command::cargo_bin("foliocopy").expect("cargo builds the program for its tests");
    for variable in ["FOLIOCOPY_MASK", "FOLIOCOPY_PRIMITIVE", "FOLIOCOPY_PROFILE"] {
        command.env_remove(variable);
    }
    command.env("XDG_CONFIG_HOME", home.path());
    command
}

fn home() -> TempDir {
    tempfile::tempdir().expect("a folder for temporary files")
}

/// A tuning that takes no time to speak of, and so decides nothing.
fn short(home: &TempDir) -> Command {
    let mut command = foliocopy(home);
    command.args(["tune", "--time", "1ms", "--evict", "1M", "--seed", "1"]);
    command
}

/// A profile of this CPU that copies a page with `movq`, which is built in nowhere that this program is tested.
fn differing(home: &TempDir) -> Profile {
    let file = home.path().join("measured.toml");
    short(home).arg("--output").arg(&file).assert().code(0);
    let mut profile = Profile::read(&file).expect("a profile");
    profile.process.page = Primitive::Movq;
    profile
}

#[test]
fn writes_a_profile_that_a_policy_follows() {
    let home = home();
    short(&home)
        .assert()
        .code(0)
        .stdout(contains("in a process:").and(contains("in a kernel:")).and(contains("past the cache")))
        .stdout(
            contains("undecided: process.page: ").and(contains("What is undecided stays as it is built in.")),
        )
        .stdout(contains("export FOLIOCOPY_PROFILE="))
        .stdout(contains('\u{1b}').not())
        .stderr(contains('\r').not());
    let profile = Profile::read(&home.path().join("foliocopy/profile.toml")).unwrap();
    let cpu = Cpu::detect();
    let built_in = Policy::new(cpu, Registers::Vector);
    assert_eq!(&profile.process, built_in.decisions(), "a round decides nothing");
    assert_eq!((profile.cpu.family, profile.cpu.features), (cpu.family, cpu.features));
    assert!(profile.evidence.iter().any(|evidence| evidence.decision == "kernel.non_temporal"));
    assert_eq!(built_in.with_profile(&profile).unwrap().decisions(), built_in.decisions());
}

#[test]
fn a_profile_that_exists_is_kept_unless_forced() {
    let home = home();
    let file = home.path().join("mine.toml");
    fs::write(&file, "precious").unwrap();
    short(&home)
        .arg("--output")
        .arg(&file)
        .assert()
        .code(2)
        .stderr(contains("exists").and(contains("--force")));
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    short(&home).arg("--output").arg(&file).arg("--force").assert().code(0);
    assert!(Profile::read(&file).is_ok());
}

#[test]
fn a_profile_goes_to_standard_output_alone() {
    let home = home();
    let output = short(&home).args(["--output", "-"]).output().unwrap();
    let profile: Profile = String::from_utf8(output.stdout).unwrap().parse().expect("nothing but a profile");
    assert_eq!(profile.version, 1);
    assert!(String::from_utf8(output.stderr).unwrap().contains("in a kernel:"));
    assert!(!home.path().join("foliocopy").exists());
}

#[test]
fn emits_the_parameters_of_the_module() {
    let home = home();
    let kernel = *Policy::new(Cpu::detect(), Registers::GeneralPurpose).decisions();
    let options = format!(
        "options foliocopy primitive_temporal={} primitive_nontemporal={}\n",
        kernel.temporal, kernel.non_temporal
    );
    let line = |line: &str| line.starts_with("# ") || format!("{line}\n") == options;
    let output = short(&home).args(["--emit", "kernel"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with(&options) && text.lines().all(line), "{text}");
    assert!(!home.path().join("foliocopy").exists(), "no profile was asked for");

    let file = home.path().join("profile.toml");
    fs::write(&file, differing(&home).to_string()).unwrap();
    let measured =
        foliocopy(&home).args(["tune", "--emit", "kernel", "--profile"]).arg(&file).output().unwrap();
    let text = String::from_utf8(measured.stdout).unwrap();
    assert!(text.ends_with(&options) && text.lines().all(line), "{text}");
}

/// The names are the module's own.
#[test]
fn the_module_has_the_parameters_that_are_emitted() {
    let source =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kmod/parameters.c")).unwrap();
    for name in ["primitive_temporal", "primitive_nontemporal"] {
        assert!(source.contains(&format!("module_param_cb({name},")), "{name}");
    }
}

#[test]
fn what_can_not_be_done_is_said_before_anything_runs() {
    let home = home();
    let refused = |arguments: &[&str], reason: &str| {
        short(&home).args(arguments).assert().code(2).stderr(contains(reason)).stdout("");
    };
    foliocopy(&home)
        .args(["tune", "--time", "0s"])
        .assert()
        .code(2)
        .stderr(contains("in no time"))
        .stdout("");
    refused(&["--output", "/nonexistent/profile.toml"], "can't write `/nonexistent/profile.toml`");
    refused(&["--output", "-", "--emit", "kernel"], "--output FILE");
    refused(&["--cpu", "99999"], "CPU 99999 can't be used");
    refused(&["--profile", "/nonexistent/profile.toml"], "--emit");
    refused(&["--emit", "kernel", "--profile", "/nonexistent/profile.toml"], "can't be read");
    short(&home).env("FOLIOCOPY_PRIMITIVE", "movq").assert().code(2).stderr(contains("unset it"));
    short(&home)
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("HOME")
        .assert()
        .code(2)
        .stderr(contains("--output"));
    short(&home)
        .env("XDG_CONFIG_HOME", "relative")
        .env_remove("HOME")
        .assert()
        .code(2)
        .stderr(contains("--output"));
}

#[test]
fn interrupted_it_writes_nothing() {
    let home = home();
    let mut child = Process::new(assert_cmd::cargo::cargo_bin("foliocopy"))
        .args(["tune", "--time", "10m"])
        .env("XDG_CONFIG_HOME", home.path())
        .env_remove("FOLIOCOPY_PRIMITIVE")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its first words come once a signal would be caught, or just before.
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 16]).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let kill = Process::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8(output.stderr).unwrap().contains("nothing was written"));
    assert_eq!(fs::read_dir(home.path().join("foliocopy")).unwrap().count(), 0);
}

#[test]
fn info_holds_the_profile_against_what_is_built_in() {
    let home = home();
    let info = || {
        let mut command = foliocopy(&home);
        command.arg("info");
        command
    };
    info().assert().code(0).stdout(contains("There is no profile of this CPU: `foliocopy tune`"));

    let mut profile = differing(&home);
    let file = home.path().join("foliocopy/profile.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, profile.to_string()).unwrap();
    info()
        .assert()
        .code(0)
        .stdout(contains("puts it to use").and(contains("differs")).and(contains("movq,").not()));
    let in_use = || {
        let mut command = info();
        command.env("FOLIOCOPY_PROFILE", &file);
        command
    };
    in_use()
        .assert()
        .code(0)
        .stdout(contains("FOLIOCOPY_PROFILE names the profile"))
        .stdout(contains("movq, since a profile of this CPU says so"));
    let json = in_use().arg("--json").output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["profile"]["in_use"], &json["profile"]["agrees"]), (&true.into(), &false.into()));

    profile.cpu.microcode = Some("0x1".into());
    fs::write(&file, profile.to_string()).unwrap();
    let known = Process::new("grep").args(["-q", "^microcode", "/proc/cpuinfo"]).status().unwrap().success();
    info().assert().code(0).stdout(contains("measured with microcode 0x1").count(usize::from(known)));

    profile.cpu.model += 1;
    fs::write(&file, profile.to_string()).unwrap();
    info().assert().code(0).stdout(contains("It is refused: ").and(contains("measured on another CPU")));
}

/// One that is refused stops every command that copies, except the one that makes a better one.
#[test]
fn a_refused_profile_is_said_before_anything_runs() {
    let home = home();
    let file = home.path().join("other.toml");
    let mut profile = differing(&home);
    profile.cpu.stepping += 1;
    fs::write(&file, profile.to_string()).unwrap();
    for command in ["info", "bench", "roofline", "selftest"] {
        foliocopy(&home)
            .arg(command)
            .env("FOLIOCOPY_PROFILE", &file)
            .assert()
            .code(2)
            .stdout("")
            .stderr(contains("error: FOLIOCOPY_PROFILE: the profile `").and(contains("another CPU")));
    }
    fs::write(&file, "version = 1\nspeed = 11\n").unwrap();
    foliocopy(&home)
        .arg("bench")
        .env("FOLIOCOPY_PROFILE", &file)
        .assert()
        .code(2)
        .stderr(contains("is damaged: line 2: unknown field `speed`"));
    short(&home).env("FOLIOCOPY_PROFILE", &file).arg("--force").arg("--output").arg(&file).assert().code(0);
    assert!(Profile::read(&file).is_ok());
}
