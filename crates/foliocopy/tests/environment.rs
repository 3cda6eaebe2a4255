//! `FOLIOCOPY_MASK`, `FOLIOCOPY_PRIMITIVE` and `FOLIOCOPY_PROFILE`, from outside: each test runs this program anew.

use std::process::{Command, Output};

use foliocopy::{CopyError, Locality, Page, Policy, copy_pages};

/// Not a test of its own: the other tests run it to print the policy of its process.
#[test]
fn report() {
    if std::env::var_os("FOLIOCOPY_TEST_REPORT").is_none() {
        return;
    }
    let mut dst = [Page::zeroed()];
    let copied = copy_pages(&mut dst, &[Page::filled(1)]);
    let problems: Vec<String> = Policy::host_report().problems.iter().map(|one| format!("; {one}")).collect();
    let explained = Policy::host().explain(Locality::Temporal, 1 << 20);
    match copied {
        Ok(()) => {
            assert!(dst == [Page::filled(1)], "it is copied whatever the environment says");
            println!("<{explained}{}>", problems.concat());
        }
        Err(CopyError::Environment(error)) => {
            assert!(dst == [Page::zeroed()], "nothing is copied");
            println!("<refused: {error}>");
        }
        Err(error) => panic!("{error}"),
    }
}

fn reported(variables: &[(&str, &str)]) -> String {
    let program = std::env::current_exe().expect("a test knows where it is");
    let Output { stdout, status, .. } = Command::new(program)
        .args(["--exact", "report", "--nocapture"])
        .env("FOLIOCOPY_TEST_REPORT", "1")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .envs(variables.iter().copied())
        .output()
        .expect("this program runs");
    assert!(status.success());
    let stdout = String::from_utf8(stdout).expect("text");
    let (_, rest) = stdout.split_once('<').expect("a report");
    rest.split_once('>').expect("a whole report").0.to_owned()
}

#[test]
fn a_primitive_for_the_whole_program() {
    assert_eq!(reported(&[("FOLIOCOPY_PRIMITIVE", "portable")]), "portable (asked for by name)");
}

#[test]
fn an_unknown_primitive_lists_the_known() {
    let report = reported(&[("FOLIOCOPY_PRIMITIVE", "memcpy")]);
    assert!(report.contains("; FOLIOCOPY_PRIMITIVE: unknown primitive; known are rep_movsb, "), "{report}");
    assert!(report.starts_with(&reported(&[])), "{report}");
}

#[test]
fn what_cannot_be_followed_is_an_error_where_that_is_asked_for() {
    let report = reported(&[("FOLIOCOPY_PRIMITIVE", "memcpy"), ("FOLIOCOPY_STRICT", "1")]);
    assert!(report.starts_with("refused: FOLIOCOPY_PRIMITIVE: unknown primitive; known are "), "{report}");
    assert_eq!(reported(&[("FOLIOCOPY_STRICT", "1")]), reported(&[]));
}

#[test]
fn an_unknown_feature_lists_the_known() {
    let report = reported(&[("FOLIOCOPY_MASK", "erms,nonsense")]);
    assert!(report.contains("; FOLIOCOPY_MASK: unknown CPU feature; known are erms, "), "{report}");
}

#[test]
fn a_mask_hides_what_a_primitive_needs() {
    let report = reported(&[("FOLIOCOPY_MASK", "avx2"), ("FOLIOCOPY_PRIMITIVE", "avx2")]);
    assert!(report.ends_with("; FOLIOCOPY_PRIMITIVE: this CPU can't run avx2: it lacks avx2"), "{report}");
}

#[test]
fn empty_variables_count_as_unset() {
    assert_eq!(reported(&[("FOLIOCOPY_MASK", ""), ("FOLIOCOPY_PRIMITIVE", "")]), reported(&[]));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_mask_makes_the_cpu_pretend_to_have_less() {
    let report = reported(&[("FOLIOCOPY_MASK", "erms,rep_good,avx2,avx512f")]);
    assert_eq!(report, "movq (the general rule)");
}

#[cfg(not(feature = "profile"))]
#[test]
fn a_profile_is_not_passed_over() {
    let report = reported(&[("FOLIOCOPY_PROFILE", "/nonexistent/profile.toml")]);
    assert!(
        report.ends_with("; FOLIOCOPY_PROFILE: foliocopy was built without its feature `profile`"),
        "{report}"
    );
}

#[cfg(all(feature = "profile", target_arch = "x86_64"))]
mod profile {
    use std::fs;
    use std::path::PathBuf;

    use foliocopy::profile::{PROFILE_VERSION, ProfiledCpu};
    use foliocopy::{Bands, Cpu, Primitive, Profile, Row, Step};

    use super::reported;

    fn row(by: Primitive) -> Row {
        let past = Bands::always(Step::copy(Primitive::Movnti));
        Row { non_temporal: past, ..Row::always(by) }
    }

    /// A profile of this CPU that copies temporally with `movq`, which no built-in policy does here.
    fn of_this_cpu() -> Profile {
        let cpu = Cpu::detect();
        Profile {
            version: PROFILE_VERSION,
            program: "a test".into(),
            measured: "2026-11-23T09:00:00Z".into(),
            cpu: ProfiledCpu {
                vendor: cpu.vendor().name().into(),
                family: cpu.family(),
                model: cpu.model(),
                stepping: cpu.stepping(),
                features: cpu.features(),
                model_name: "this one".into(),
                microcode: None,
            },
            process: row(Primitive::Movq),
            kernel: row(Primitive::RepMovsq),
            gains: vec![],
            evidence: vec![],
        }
    }

    /// The report of a process with this file as its profile.
    fn reported_with(name: &str, text: &str, more: &[(&str, &str)]) -> String {
        let file: PathBuf = [env!("CARGO_TARGET_TMPDIR"), name].iter().collect();
        fs::write(&file, text).expect("cargo's folder for tests can be written");
        let file = file.to_str().expect("a path in UTF-8");
        reported(&[&[("FOLIOCOPY_PROFILE", file)], more].concat())
    }

    #[test]
    fn decides_for_the_whole_program() {
        let text = of_this_cpu().to_string();
        assert_eq!(reported_with("good.toml", &text, &[]), "movq (a profile of this CPU)");
        let forced = reported_with("forced.toml", &text, &[("FOLIOCOPY_PRIMITIVE", "rep_movsb")]);
        assert_eq!(forced, "rep_movsb (asked for by name)");
    }

    #[test]
    fn of_another_cpu_is_left_aside() {
        let mut other = of_this_cpu();
        other.cpu.stepping += 1;
        let report = reported_with("other.toml", &other.to_string(), &[]);
        assert!(report.contains("; FOLIOCOPY_PROFILE: the profile `"), "{report}");
        assert!(report.contains("other.toml` was measured on another CPU"), "{report}");
    }

    #[test]
    fn of_a_cpu_that_had_more_is_refused() {
        let text = of_this_cpu().to_string();
        let report = reported_with("more.toml", &text, &[("FOLIOCOPY_MASK", "rep_good")]);
        assert!(
            report.contains("measured with rep_good, which this CPU lacks or FOLIOCOPY_MASK"),
            "{report}"
        );
    }

    /// Without the variable, the user's profile comes before the system's.
    #[test]
    fn of_the_user_is_found() {
        let home: PathBuf = [env!("CARGO_TARGET_TMPDIR"), "config"].iter().collect();
        fs::create_dir_all(home.join("foliocopy")).unwrap();
        fs::write(home.join("foliocopy/profile.toml"), of_this_cpu().to_string()).unwrap();
        let home = home.to_str().unwrap();
        let with = |more: &[(&str, &str)]| reported(&[&[("XDG_CONFIG_HOME", home)], more].concat());
        assert_eq!(with(&[]), "movq (a profile of this CPU)");
        assert_eq!(with(&[("FOLIOCOPY_PROFILE", "none")]), reported(&[]));
    }

    #[test]
    fn that_is_damaged_or_missing_is_refused() {
        let report = reported_with("damaged.toml", "version = 2\nspeed = 11\n", &[]);
        assert!(report.contains("damaged.toml` is damaged: line 2: unknown field `speed`"), "{report}");
        let report = reported(&[("FOLIOCOPY_PROFILE", "/nonexistent/profile.toml")]);
        assert!(report.contains("can't be read: No such file"), "{report}");
    }
}

/// A program with rights that its caller lacks ignores the caller's environment.
#[cfg(target_os = "linux")]
#[test]
fn a_setuid_program_ignores_the_variables() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    const NOBODY: u32 = 65_534;
    // SAFETY: only asks.
    if unsafe { libc::geteuid() } != 0 {
        println!("not tested: making a program setuid takes root");
        return;
    }
    // SAFETY: all zeros is a statvfs, and the call fills it.
    let nosuid = unsafe {
        let mut about: libc::statvfs = std::mem::zeroed();
        libc::statvfs(c"/tmp".as_ptr(), &raw mut about) == 0 && about.f_flag & libc::ST_NOSUID != 0
    };
    if nosuid {
        println!("not tested: /tmp is mounted nosuid");
        return;
    }
    let folder = std::path::PathBuf::from(format!("/tmp/foliocopy-setuid-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder of our own");
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
    let program = folder.join("report");
    // Another process copies it. Otherwise a child of another test could inherit the open file, and a program that is open for
    // writing can't be run (ETXTBSY).
    let copied = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&program).status().unwrap();
    assert!(copied.success());
    let reported = |mode| {
        std::fs::set_permissions(&program, PermissionsExt::from_mode(mode)).unwrap();
        let output = Command::new(&program)
            .args(["--exact", "report", "--nocapture"])
            .current_dir("/")
            .env("FOLIOCOPY_TEST_REPORT", "1")
            .env("FOLIOCOPY_PRIMITIVE", "nonsense")
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .expect("everybody may run it");
        String::from_utf8(output.stdout).unwrap()
    };
    let (plain, setuid) = (reported(0o755), reported(0o4755));
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(plain.contains("; FOLIOCOPY_PRIMITIVE: unknown primitive"), "{plain}");
    assert!(setuid.contains('<') && !setuid.contains("unknown primitive"), "{setuid}");
}
