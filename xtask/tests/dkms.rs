//! How dkms.conf and the Makefile treat kernels that are too old, and kernels without livepatching.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn kmod() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("kmod")
}

/// Headers of a kernel whose Makefile "builds" the modules for its configuration, as Kbuild would.
fn headers(release: &str, livepatch: Option<bool>, config: &str) -> tempfile::TempDir {
    let headers = tempfile::tempdir().unwrap();
    let write = |file: &str, content: &str| {
        let file = headers.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    };
    write("include/config/kernel.release", &format!("{release}\n"));
    if let Some(livepatch) = livepatch {
        let line = if livepatch { "CONFIG_LIVEPATCH=y\n" } else { "# CONFIG_LIVEPATCH is not set\n" };
        write(config, &format!("CONFIG_MODULES=y\n{line}"));
    }
    let livepatch_module =
        if livepatch == Some(true) { "cp $(M)/main.c $(M)/foliocopy_livepatch.ko" } else { ":" };
    write(
        "Makefile",
        &format!(
            "modules:\n\tcp $(M)/main.c $(M)/foliocopy.ko\n\t{livepatch_module}\nclean:\n\trm -f $(M)/*.ko\n"
        ),
    );
    headers
}

/// The modules that dkms would build for this kernel, if it would. It sources dkms.conf, as all versions of dkms do.
fn by_dkms_conf(release: &str, headers: &Path) -> Option<Vec<String>> {
    let script = r#"
        . "$conf" >/dev/null
        [[ $kernelver =~ $BUILD_EXCLUSIVE_KERNEL && x86_64 =~ $BUILD_EXCLUSIVE_ARCH ]] || exit 77
        for i in "${!BUILT_MODULE_NAME[@]}"; do
            [[ ${DEST_MODULE_LOCATION[$i]} ]] && echo "${BUILT_MODULE_NAME[$i]}"
        done; true"#;
    let output = Command::new("bash")
        .args(["-euc", script])
        .env("conf", kmod().join("dkms.conf"))
        .env("kernelver", release)
        .env("kernel_source_dir", headers)
        .output()
        .unwrap();
    match output.status.code() {
        Some(0) => Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()),
        Some(77) => None,
        _ => panic!("{}", String::from_utf8_lossy(&output.stderr)),
    }
}

const BOTH: [&str; 2] = ["foliocopy", "foliocopy_livepatch"];

#[test]
fn a_kernel_without_livepatching_gets_the_engine_alone() {
    for config in [".config", "include/config/auto.conf"] {
        let with = headers("6.12.1-amd64", Some(true), config);
        assert_eq!(by_dkms_conf("6.12.1-amd64", with.path()).unwrap(), BOTH);
        let without = headers("6.12.1-amd64", Some(false), config);
        assert_eq!(by_dkms_conf("6.12.1-amd64", without.path()).unwrap(), ["foliocopy"]);
    }
    // Without headers the list has both modules, so that both are removed.
    assert_eq!(by_dkms_conf("6.12.1-amd64", Path::new("/nonexistent")).unwrap(), BOTH);
}

#[test]
fn kernels_that_are_too_old_are_skipped_by_dkms_and_refused_by_make() {
    for (release, supported) in [
        ("6.1.0-44-amd64", false),
        ("6.2.0", false),
        ("6.11.11", false),
        ("5.15.0-1", false),
        ("2.6.32", false),
        ("6.12.0-rc1", true),
        ("6.12.94+deb13-amd64", true),
        ("6.20.1", true),
        ("6.30.0", true),
        ("7.0.0", true),
        ("7.3.0-rc2", true),
        ("10.0.1", true),
    ] {
        let headers = headers(release, Some(true), "include/config/auto.conf");
        assert_eq!(by_dkms_conf(release, headers.path()).is_some(), supported, "{release}");
        let output = make(&headers);
        assert_eq!(output.status.success(), supported, "{release}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.contains(&format!("Linux {release} is too old")), !supported, "{said}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(String::from_utf8(make(&empty).stderr).unwrap().contains("no kernel headers in"));
}

/// Runs the package's Makefile, which needs no Rust, up to the call of the kernel's.
fn make(headers: &tempfile::TempDir) -> Output {
    let package = package();
    let mut make = Command::new("make");
    make.arg("-C")
        .arg(package.path().join("foliocopy-1.0"))
        .arg(format!("KDIR={}", headers.path().display()));
    make.env_remove("MAKEFLAGS").output().unwrap()
}

/// The files of `make package` that these tests need.
fn package() -> tempfile::TempDir {
    let package = tempfile::tempdir().unwrap();
    let folder = package.path().join("foliocopy-1.0");
    fs::create_dir(&folder).unwrap();
    for file in ["Makefile", "Kbuild", "main.c"] {
        fs::copy(kmod().join(file), folder.join(file)).unwrap();
    }
    let conf = fs::read_to_string(kmod().join("dkms.conf")).unwrap().replace("@VERSION@", "1.0");
    fs::write(folder.join("dkms.conf"), conf).unwrap();
    fs::write(folder.join("engine.S"), "").unwrap();
    package
}

/// Runs the installed dkms, or the one that `DKMS` names.
#[test]
fn dkms_itself_agrees() {
    let dkms = std::env::var("DKMS").unwrap_or_else(|_| "dkms".to_owned());
    if Command::new(&dkms).arg("--version").output().is_err() {
        println!("not tested: dkms, which is not installed");
        return;
    }
    for (release, livepatch, built) in [
        ("6.12.1-test", true, Some(&BOTH[..])),
        ("6.12.1-test", false, Some(&["foliocopy"])),
        ("6.1.0-test", true, None),
    ] {
        let (package, headers) = (package(), headers(release, Some(livepatch), ".config"));
        let tree = tempfile::tempdir().unwrap();
        let run = |action: &str| {
            Command::new(&dkms)
                .args([action, "-m", "foliocopy", "-v", "1.0", "-k", release, "-a", "x86_64"])
                .arg("--sourcetree")
                .arg(package.path())
                .arg("--dkmstree")
                .arg(tree.path())
                .arg("--kernelsourcedir")
                .arg(headers.path())
                .output()
                .unwrap()
        };
        let said = |output: &Output| {
            String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
        };
        let added = run("add");
        assert!(added.status.success(), "{}", said(&added));
        let output = run("build");
        let Some(built) = built else {
            // dkms before 3.0 skips with exit code 9.
            assert!([Some(77), Some(9)].contains(&output.status.code()), "{}", said(&output));
            assert!(said(&output).contains("BUILD_EXCLUSIVE"), "{}", said(&output));
            continue;
        };
        assert!(output.status.success(), "{release}: {}", said(&output));
        let modules = tree.path().join(format!("foliocopy/1.0/{release}/x86_64/module"));
        let mut found: Vec<String> = fs::read_dir(&modules)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| name.split('.').next().unwrap().to_owned())
            .collect();
        found.sort();
        assert_eq!(found, built);
    }
}
