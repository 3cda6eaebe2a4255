//! `foliocopy tune` and `foliocopy survey` from outside: short runs on real memory, their files, and everything that they must
//! refuse. No test asserts which step is faster.

use std::fs;
use std::path::PathBuf;
use std::process::{Command as Process, Stdio};

use assert_cmd::Command;
use foliocopy::{Band, Bands, Cpu, Limit, Policy, Primitive, Profile, Registers, Row, Step};
use foliocopy_measure::result::{self, Results};
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

mod process;
mod results;

/// `foliocopy`, with an empty folder of settings and none of our variables.
fn foliocopy(home: &TempDir) -> Command {
    let mut command = Command::cargo_bin("foliocopy").expect("cargo builds the program for its tests");
    for variable in ["FOLIOCOPY_MASK", "FOLIOCOPY_PRIMITIVE", "FOLIOCOPY_PROFILE", "FOLIOCOPY_STRICT"] {
        command.env_remove(variable);
    }
    command.env("XDG_CONFIG_HOME", home.path());
    command
}

fn home() -> TempDir {
    tempfile::tempdir().expect("a folder for temporary files")
}

/// A very short tuning, which therefore decides nothing.
fn short(home: &TempDir) -> Command {
    let mut command = foliocopy(home);
    command.args(["tune", "--time", "1ms", "--evict", "1M", "--seed", "1"]);
    command
}

fn usual(home: &TempDir) -> PathBuf {
    home.path().join("foliocopy/profile.toml")
}

/// A profile of this CPU that copies everything through the cache with `movq`, which no built-in table of a tested machine
/// does.
fn differing(home: &TempDir) -> Profile {
    let file = home.path().join("measured.toml");
    short(home).arg("--output").arg(&file).assert().code(0);
    let mut profile = Profile::read(&file).expect("a profile");
    let movq = Bands::always(Step::copy(Primitive::Movq));
    profile.process = Row { temporal: movq, auto: movq, ..profile.process };
    profile
}

#[test]
fn writes_a_profile_that_programs_follow() {
    let home = home();
    short(&home)
        .assert()
        .code(0)
        .stdout(contains("share of the best").and(contains("non_temporal cold")))
        .stdout(contains("in a process: as built in").and(contains("in a kernel: as built in")))
        .stdout(contains("undecided: ").and(results::says("goes by it from now on")))
        .stdout(results::fits())
        .stdout(contains('\u{1b}').not())
        .stderr(contains('\r').not());
    let profile = Profile::read(&usual(&home)).unwrap();
    let cpu = Cpu::detect();
    let built_in = Policy::new(cpu, Registers::Vector);
    assert_eq!((profile.cpu.family, profile.cpu.features), (cpu.family(), cpu.features()));
    let followed = built_in.with_profile(&profile).unwrap();
    for locality in foliocopy::Locality::ALL {
        assert!(followed.bands(*locality).eq(built_in.bands(*locality)), "a round decides nothing");
    }
    foliocopy(&home)
        .arg("info")
        .assert()
        .code(0)
        .stdout(contains("is in use").and(contains("agrees with what is built in")));
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
    assert_eq!(profile.version, foliocopy::profile::PROFILE_VERSION);
    assert!(String::from_utf8(output.stderr).unwrap().contains("in a kernel:"));
    assert!(!home.path().join("foliocopy").exists());
}

#[test]
fn emits_the_source_of_a_row_and_the_parameters_of_the_module() {
    let home = home();
    let output = short(&home).args(["--emit", "row"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("//! ") && text.contains("pub(super) static MEASURED: Measured"), "{text}");
    assert!(!home.path().join("foliocopy").exists(), "no profile was asked for");

    let mut profile = differing(&home);
    let file = home.path().join("profile.toml");
    let emitted = |profile: &Profile| {
        fs::write(&file, profile.to_string()).unwrap();
        let output =
            foliocopy(&home).args(["tune", "--emit", "kernel", "--profile"]).arg(&file).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let text = emitted(&profile);
    let options = |text: &str| text.lines().last().unwrap().to_owned();
    assert!(text.contains("# table_temporal: as built in"), "{text}");
    for parameter in ["table_temporal=", "table_nontemporal=", "table_sampling="] {
        assert!(
            options(&text).starts_with("options foliocopy ") && options(&text).contains(parameter),
            "{text}"
        );
    }
    let movq = Bands::always(Step::copy(Primitive::Movq));
    profile.kernel = Row { temporal: movq, ..profile.kernel };
    let text = emitted(&profile);
    assert!(!text.contains("# table_temporal") && options(&text).contains(" table_temporal=movq "), "{text}");
    let (by, near) = (Primitive::Movnti, Primitive::Movq);
    let ahead = Bands::of(&[
        Band::up_to(60 << 10, Step::Copy { by, distance: 512 }),
        Band::up_to(2 << 20, Step::copy(by)),
        Band::rest(Step::Copy { by, distance: 4096 }),
    ]);
    let auto = Bands::of(&[
        Band::up_to(8 << 10, Step::copy(near)),
        Band { up_to: Limit::LastLevelCache, step: Step::copy(near) },
        Band::rest(Step::Glance { near, far: by, distance: 1024 }),
    ]);
    profile.kernel = Row { non_temporal: ahead, auto, ..profile.kernel };
    let text = emitted(&profile);
    // A kernel does not know the last-level cache, so the band up to it never ends.
    let (ahead, auto) = ("60K:movnti@512,2048K:movnti,movnti@4096", "8K:movq,movq");
    assert!(text.ends_with(&format!(" table_nontemporal={ahead} table_sampling={auto}\n")), "{text}");
}

#[test]
fn what_can_not_be_done_is_said_before_anything_runs() {
    let home = home();
    let file = home.path().join("x.toml");
    fs::write(&file, "version = 1\n").unwrap();
    let profile = file.to_str().unwrap();
    for (arguments, message) in [
        (&["--time", "0s"][..], "some"),
        (&["--output", "-", "--emit", "kernel"], "needs a file of its own"),
        (&["--profile", profile], "--emit"),
        (&["--profile", profile, "--emit", "row"], "version 1"),
        (&["--from", "/nonexistent.json"], "can't read `/nonexistent.json`"),
        (&["--from", "x.json", "--time", "9s"], "cannot be used with"),
        (&["--cpu", "40000"], "CPU 40000 can't be used"),
    ] {
        foliocopy(&home).arg("tune").args(arguments).assert().code(2).stderr(contains(message));
    }
    foliocopy(&home)
        .arg("tune")
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("HOME")
        .assert()
        .code(2)
        .stderr(contains("--output"));
}

#[test]
fn interrupted_it_writes_nothing() {
    let home = home();
    let child = Process::new(assert_cmd::cargo::cargo_bin("foliocopy"))
        .args(["tune", "--time", "10m"])
        .env("XDG_CONFIG_HOME", home.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process::wait_until_it_catches_signals(&child);
    process::send(&child, &["INT"]);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8(output.stderr).unwrap().contains("nothing was written"));
    assert!(!usual(&home).exists());
}

/// A survey takes minutes, so what it has measured until then is kept. Nothing is decided by it.
#[test]
fn an_interrupted_survey_keeps_what_it_has() {
    let home = home();
    let file = home.path().join("survey.json");
    for seconds in [1, 2, 4, 8, 16, 32, 64] {
        let child = Process::new(assert_cmd::cargo::cargo_bin("foliocopy"))
            .args(["survey", "--quiet", "--time", "10m", "--evict", "2M", "--force", "--output"])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        process::wait_until_it_catches_signals(&child);
        std::thread::sleep(std::time::Duration::from_secs(seconds));
        process::send(&child, &["INT"]);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        let said = String::from_utf8(output.stderr).unwrap();
        // Nothing was measured yet, so the next one has longer.
        if said.contains("before anything was measured") {
            continue;
        }
        assert!(said.contains("too little to decide by"), "{said}");
        let survey = foliocopy_measure::result::read(&file).unwrap();
        assert!(!survey.complete && !survey.cells.is_empty());
        let mut tune = foliocopy(&home);
        tune.args(["tune", "--emit", "row", "--from"]).arg(&file);
        tune.assert().code(2).stderr(contains("holds a survey that was interrupted"));
        return;
    }
    panic!("nothing was measured in a minute");
}

#[test]
fn info_holds_the_profile_against_what_is_built_in() {
    let home = home();
    let info = || {
        let mut command = foliocopy(&home);
        command.arg("info");
        command
    };
    info().assert().code(0).stdout(contains("No profile is in use: `foliocopy tune`"));

    let mut profile = differing(&home);
    let file = usual(&home);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let write = |profile: &Profile| fs::write(&file, profile.to_string()).unwrap();
    write(&profile);
    info()
        .assert()
        .code(0)
        .stdout(contains("in a process (a profile of this CPU)").and(contains("Without it a process")));
    info().env("FOLIOCOPY_PROFILE", "none").assert().code(0).stdout(contains("No profile is in use"));
    let json = info().arg("--json").output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["profile"]["agrees"], false);
    assert_eq!(json["environment"]["profile"], file.to_str().unwrap());

    profile.cpu.microcode = Some("0x1".into());
    write(&profile);
    let known = Process::new("grep").args(["-q", "^microcode", "/proc/cpuinfo"]).status().unwrap().success();
    info().assert().code(0).stdout(contains("measured with microcode 0x1").count(usize::from(known)));

    profile.cpu.model += 1;
    write(&profile);
    info()
        .assert()
        .code(0)
        .stdout(contains("Left aside: the profile `").and(results::says("measured on another CPU")))
        .stdout(contains("No profile is in use"));
}

/// A profile that can't be followed is ignored with the reason, unless the user asks for strictness.
#[test]
fn a_profile_that_does_not_fit_stops_nobody() {
    let home = home();
    let file = home.path().join("other.toml");
    let mut profile = differing(&home);
    profile.cpu.stepping += 1;
    fs::write(&file, profile.to_string()).unwrap();
    let bench = || {
        let mut command = foliocopy(&home);
        command.args(["bench", "--rounds", "1", "--folio", "4K", "--cache", "hot", "--total", "4K"]);
        command.env("FOLIOCOPY_PROFILE", &file);
        command
    };
    bench()
        .assert()
        .stderr(contains("warning: FOLIOCOPY_PROFILE: the profile `").and(contains("another CPU")));
    bench()
        .env("FOLIOCOPY_STRICT", "1")
        .assert()
        .code(2)
        .stdout("")
        .stderr(contains("error: FOLIOCOPY_PROFILE: the profile `"));
}

#[test]
fn a_survey_is_results_of_which_a_profile_can_be_made() {
    let home = home();
    let file = home.path().join("survey.json");
    foliocopy(&home)
        .args(["survey", "--time", "1ms", "--evict", "1M", "--seed", "1", "--mask", "row", "--output"])
        .arg(&file)
        .assert()
        .code(0)
        .stdout(contains("the general rule").and(contains("written to")))
        .stdout(results::fits());
    let survey = result::read(&file).unwrap();
    assert_eq!((survey.command.as_str(), survey.complete), ("survey", true));
    assert!(survey.environment.cpu.masked.iter().any(|feature| feature == "row"));
    let names: Vec<&str> = survey.cells.iter().map(|cell| cell.contender.as_str()).collect();
    for name in ["per-page", "rep_movsb@0", "movnti@8192"] {
        assert!(names.contains(&name), "{name}");
    }
    foliocopy(&home).args(["tune", "--from"]).arg(&file).assert().code(0);
    assert!(Profile::read(&usual(&home)).is_ok());
    let page = home.path().join("survey.html");
    foliocopy(&home).arg("report").arg(&file).arg("-o").arg(&page).assert().code(0);
    assert!(fs::read_to_string(&page).unwrap().contains("movnti@8192"));

    // A survey of another CPU gives a row, but no profile.
    let rewrite = |results: &Results| {
        let mut text = Vec::new();
        result::write_to(results, &mut text).unwrap();
        fs::write(&file, text).unwrap();
    };
    let mut other = survey;
    other.environment.cpu.model += 1;
    rewrite(&other);
    foliocopy(&home)
        .args(["tune", "--force", "--from"])
        .arg(&file)
        .assert()
        .code(2)
        .stderr(contains("another CPU").and(contains("--emit")));
    foliocopy(&home)
        .args(["tune", "--emit", "row", "--from"])
        .arg(&file)
        .assert()
        .code(0)
        .stdout(contains("MEASURED"));
    other.environment.emulated = true;
    rewrite(&other);
    foliocopy(&home)
        .args(["tune", "--emit", "row", "--from"])
        .arg(&file)
        .assert()
        .code(2)
        .stderr(contains("the CPU is emulated"));
    let emulated = home.path().join("emulated.toml");
    foliocopy(&home)
        .args(["tune", "--emulated-anyway", "--from"])
        .arg(&file)
        .arg("--output")
        .arg(&emulated)
        .assert()
        .code(0)
        .stdout(contains("no shares are shown").and(contains("%").not()));
    let profile = Profile::read(&emulated).unwrap();
    assert!(profile.cpu.model_name.ends_with("(emulated)") && profile.gains.is_empty(), "{profile}");

    other.command = "bench".into();
    rewrite(&other);
    foliocopy(&home)
        .args(["tune", "--from"])
        .arg(&file)
        .assert()
        .code(2)
        .stderr(contains("foliocopy survey"));
}
