//! Input from others: text that steers terminals, and paths that are no files.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command as Process, Output};

use foliocopy_measure::result::Results;
use results::{foliocopy, schema_1, write};

mod results;

/// Steers a terminal, forges a line, hides a word.
const HOSTILE: &str = "\u{1b}]0;x\u{7}\u{9b}2J\nerror: forged\r\u{202e}|<b>";

/// Results in which every text is hostile.
fn hostile() -> Results {
    let mut results = results::one_machine();
    let environment = &mut results.environment;
    let texts = [
        &mut environment.cpu.model_name,
        &mut environment.cpu.vendor,
        &mut environment.kernel,
        &mut results.program,
        &mut results.started,
        &mut results.command,
        &mut results.parameters.memory,
    ];
    texts.into_iter().for_each(|text| text.push_str(HOSTILE));
    for text in [
        &mut environment.cpu.microarchitecture,
        &mut environment.cpu.microcode,
        &mut environment.governor,
        &mut environment.hypervisor,
        &mut environment.transparent_hugepages,
    ] {
        text.get_or_insert_default().push_str(HOSTILE);
    }
    environment.cpu.features.push(HOSTILE.into());
    environment.cpu.masked.push(HOSTILE.into());
    results.warnings = vec![HOSTILE.into()];
    results.parameters.other.insert(HOSTILE.into(), HOSTILE.into());
    for contender in &mut results.parameters.contenders {
        contender.description.push_str(HOSTILE);
        if contender.name == "rfc" {
            contender.name.push_str(HOSTILE);
        }
    }
    for cell in &mut results.cells {
        cell.dimensions.insert(format!("d{HOSTILE}"), HOSTILE.into());
        if cell.contender == "rfc" {
            cell.contender.push_str(HOSTILE);
        }
    }
    results
}

#[track_caller]
fn assert_harmless(text: &[u8], of: &str) {
    let text = std::str::from_utf8(text).expect(of);
    let bad =
        text.lines().find(|line| line.chars().any(|letter| letter.is_control() || letter == '\u{202e}'));
    assert_eq!(bad, None, "{of}");
    assert!(!text.lines().any(|line| line.starts_with("error: forged")), "{of}: {text}");
}

#[track_caller]
fn assert_shown(output: &Output, of: &str) {
    assert_harmless(&output.stdout, of);
    assert_harmless(&output.stderr, of);
}

#[test]
fn files_of_others_steer_nothing() {
    let here = tempfile::tempdir().unwrap();
    let (one, two) = (write(here.path(), "one.json", &hostile()), write(here.path(), "two.json", &hostile()));
    let charts = here.path().join("charts");
    let run = |arguments: &[&OsStr]| foliocopy().args(arguments).output().unwrap();
    for (arguments, must) in [
        (vec!["report".as_ref(), one.as_os_str(), "-o".as_ref(), "-".as_ref()], "forged"),
        (vec!["report".as_ref(), one.as_os_str(), "--export-lkml".as_ref(), "-".as_ref()], "forged"),
        (vec!["compare".as_ref(), one.as_os_str(), two.as_os_str()], "forged"),
        (vec!["report".as_ref(), one.as_os_str(), "--svg".as_ref(), charts.as_os_str()], ""),
        (vec!["bench".as_ref(), "--roofline".as_ref(), one.as_os_str()], ""),
    ] {
        let output = run(&arguments);
        assert_shown(&output, &format!("{arguments:?}"));
        assert!(String::from_utf8(output.stdout).unwrap().contains(must), "{arguments:?}");
    }
    let charts: Vec<_> = fs::read_dir(charts).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(!charts.is_empty());
    for chart in charts {
        let text = fs::read(&chart).unwrap();
        assert_harmless(&text, &chart.display().to_string());
        assert!(!String::from_utf8(text).unwrap().contains("<b>"));
    }
}

#[test]
fn names_of_files_and_arguments_steer_nothing() {
    let here = tempfile::tempdir().unwrap();
    let name = HOSTILE.replace('/', "");
    let file = here.path().join(&name);
    fs::write(&file, "no results").unwrap();
    let alias = format!("{HOSTILE}=-:memcpy");
    let library = format!("x={}:memcpy", file.display());
    let unknown = format!("x=-:{HOSTILE}");
    for arguments in [
        ["report", file.to_str().unwrap(), "-o", "-"].as_slice(),
        &["report", "nonexistent", "-o", "-", "--force", HOSTILE],
        &["compare", HOSTILE, HOSTILE],
        &["bench", "--contender", &alias],
        &["bench", "--contender", &library],
        &["bench", "--contender", &unknown],
        &["bench", "--contender", HOSTILE],
        &["bench", "--folio", HOSTILE],
        &["bench", HOSTILE],
        &["tune", "--emit", "kernel", "--profile", file.to_str().unwrap()],
        &["kernel", "load", "--modules", HOSTILE],
    ] {
        let output = foliocopy().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_shown(&output, &format!("{arguments:?}"));
    }
    // The page of good results in a file with a hostile name.
    fs::copy(schema_1(), &file).unwrap();
    let output = foliocopy().arg("report").args([&file, &file]).args(["-o", "-"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_shown(&output, "the page of such files");
}

#[test]
fn the_profiles_path_steers_nothing() {
    let here = tempfile::tempdir().unwrap();
    let profile = here.path().join(HOSTILE);
    for content in [None, Some("no profile")] {
        if let Some(content) = content {
            fs::write(&profile, content).unwrap();
        }
        for command in [
            ["info"].as_slice(),
            &["info", "--json"],
            &["bench", "--rounds", "1", "--folio", "4K", "--total", "1M", "--evict", "1M"],
            &["tune", "--time", "1s", "-o", "x/y"],
        ] {
            for strict in ["0", "1"] {
                let mut process = foliocopy();
                process.args(command).env("FOLIOCOPY_PROFILE", &profile).env("FOLIOCOPY_STRICT", strict);
                assert_shown(&process.output().unwrap(), &format!("{command:?}"));
            }
        }
    }
    // A file that the command line did not name: `foliocopy tune` writes here.
    let config = here.path().join(format!("config{HOSTILE}"));
    fs::create_dir_all(config.join("foliocopy")).unwrap();
    fs::write(config.join("foliocopy/profile.toml"), "no profile").unwrap();
    let output = foliocopy().arg("info").env("XDG_CONFIG_HOME", &config).output().unwrap();
    assert_shown(&output, "info");
    assert!(String::from_utf8(output.stdout).unwrap().contains("Left aside: the profile"));
}

/// No command waits on such a path, or reads without end.
#[test]
fn only_files_are_read() {
    let here = tempfile::tempdir().unwrap();
    let pipe = here.path().join("pipe");
    assert!(Process::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (path, why) in
        [(pipe.as_path(), "a pipe"), (here.path(), "a directory"), (Path::new("/dev/zero"), "a device")]
    {
        let contender = format!("x={}:memcpy", path.display());
        let (path, fixture) = (path.to_str().unwrap(), schema_1());
        let fixture = fixture.to_str().unwrap();
        for arguments in [
            ["report", path, "-o", "-"].as_slice(),
            &["compare", fixture, path],
            &["bench", "--baseline", path],
            &["bench", "--roofline", path],
            &["bench", "--contender", &contender],
            &["tune", "--emit", "kernel", "--profile", path],
        ] {
            let output =
                foliocopy().args(arguments).timeout(std::time::Duration::from_secs(300)).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
            // The engine reads profiles, and has its own message.
            let why = if arguments[0] == "tune" { "it is no regular file" } else { why };
            assert!(said.contains(why), "{arguments:?}: {said}");
        }
    }
    // Longer than any results, but sparse.
    let huge = here.path().join("huge.json");
    fs::File::create(&huge).unwrap().set_len(3 << 30).unwrap();
    let output = foliocopy().arg("report").arg(&huge).args(["-o", "-"]).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("longer than 1024 MiB"));
}
