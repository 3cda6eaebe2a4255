//! `foliocopy kernel run-all` where parts of it fail or are interrupted. In the virtual machine's scenario `run-all` all of
//! them succeed.

use std::fs;
use std::path::Path;

use namespace::said;
use serde_json::Value;

mod namespace;
mod results;

/// A fake kernel of files without any module: modprobe gives the reason.
const NO_MODULE: &str = r#"
mount -t tmpfs none /sys
printf '#!/bin/sh\necho "modprobe: FATAL: Module $1 not found in directory /lib/modules/1" >&2; exit 1\n' >modprobe
chmod +x modprobe; export PATH=$PWD:$PATH
"#;

fn report(here: &Path) -> Value {
    serde_json::from_slice(&fs::read(here.join("kernel.json")).unwrap()).unwrap()
}

fn outcomes(report: &Value) -> Vec<(&str, &str)> {
    let parts = report["parts"].as_array().unwrap().iter();
    parts.map(|part| (part["name"].as_str().unwrap(), part["outcome"].as_str().unwrap())).collect()
}

/// Failed parts are recorded by name with the reason, and parts that do not need them run.
#[test]
fn a_part_that_fails_loses_no_other() {
    let here = tempfile::tempdir().unwrap();
    let script = format!("{NO_MODULE} $FOLIOCOPY kernel run-all --quick -o kernel.json");
    let Some(output) = namespace::run(here.path(), &script) else { return };
    let said = said(&output, 2);
    let report = report(here.path());
    assert_eq!(
        outcomes(&report),
        [
            ("info", "done"),
            ("status", "done"),
            ("load", "failed"),
            ("selftest", "failed"),
            ("bench", "failed"),
            ("patch", "failed"),
            ("migrate", "failed"),
            ("status-patched", "done"),
        ]
    );
    assert_eq!((&report["complete"], &report["quick"]), (&false.into(), &true.into()));
    let part = |name: &str| {
        report["parts"].as_array().unwrap().iter().find(|part| part["name"] == name).unwrap().clone()
    };
    assert!(part("info")["result"]["environment"]["kernel"].is_string());
    assert_eq!(part("status")["result"]["loaded"], false);
    let unwrapped = said.replace(&format!("\n{}", " ".repeat(16)), " ");
    for (name, reason) in [
        ("load", "Module foliocopy not found"),
        ("selftest", "not loaded"),
        ("patch", "CONFIG_LIVEPATCH"),
        ("migrate", "one NUMA node"),
    ] {
        let of_part = part(name)["said"].to_string();
        assert!(of_part.contains(reason), "{name}: {of_part}");
        let line = unwrapped.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.contains("failed: ") && line.contains(reason), "{line}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("written to kernel.json"));
}

/// The file is read as it was written; made-up results take the place of those that a kernel would give.
#[test]
fn a_report_shows_each_part_that_measured() {
    let here = tempfile::tempdir().unwrap();
    let script = format!(
        "{NO_MODULE} code=0; $FOLIOCOPY kernel run-all --quick -o kernel.json || code=$?; test $code = 2
         $FOLIOCOPY report kernel.json -o kernel.html"
    );
    let Some(output) = namespace::run(here.path(), &script) else { return };
    let said = said(&output, 2);
    assert!(
        said.contains("`kernel.json` is a file of `foliocopy kernel run-all`, but no part of it has"),
        "{said}"
    );
    assert!(said.contains("bench: foliocopy.ko is not loaded"), "{said}");
    assert!(!here.path().join("kernel.html").exists());

    let mut whole = report(here.path());
    for part in whole["parts"].as_array_mut().unwrap() {
        let contenders: &[&str] = match part["name"].as_str().unwrap() {
            "bench" => &["folio_copy", "foliocopy"],
            "migrate" => &["stock", "foliocopy"],
            _ => continue,
        };
        let mut results = results::made_up(contenders, 4, &[(0, 0)], 15);
        results.parameters.baseline = contenders[0].into();
        results.rate();
        part["result"] = serde_json::to_value(results).unwrap();
    }
    let file = here.path().join("my-machine.json");
    fs::write(&file, serde_json::to_vec(&whole).unwrap()).unwrap();
    let page = results::foliocopy().arg("report").arg(&file).args(["-o", "-"]).assert().code(0);
    let page = String::from_utf8(page.get_output().stdout.clone()).unwrap();
    for part in ["my-machine: bench", "my-machine: migrate", "folio_copy", "stock", "from 2 runs"] {
        assert!(page.contains(part), "the page lacks {part}: {page}");
    }
    let mail = results::foliocopy().arg("report").arg(&file).args(["--export-lkml", "-"]).assert().code(0);
    assert_eq!(String::from_utf8_lossy(&mail.get_output().stdout).matches("Test setup").count(), 2);
}

/// After an interrupt the file names the parts that were not run.
#[test]
fn what_was_done_before_an_interruption_is_kept() {
    let here = tempfile::tempdir().unwrap();
    let script = format!(
        "{NO_MODULE}
         printf '#!/bin/sh\\ntouch asked; sleep 20\\n' >modprobe
         $FOLIOCOPY kernel run-all --quick -o kernel.json & pid=$!
         n=0; until test -e asked; do sleep 0.05; n=$((n+1)); test $n -lt 2400; done
         cp kernel.json before.json; kill -INT $pid
         code=0; wait $pid || code=$?; exit $code"
    );
    let Some(output) = namespace::run(here.path(), &script) else { return };
    said(&output, 130);
    let report = report(here.path());
    let outcomes = outcomes(&report);
    assert_eq!(outcomes[..3], [("info", "done"), ("status", "done"), ("load", "interrupted")]);
    assert!(outcomes.len() == 8 && outcomes[3..].iter().all(|(_, outcome)| *outcome == "not-run"));
    // The file is written after each part: a machine that does not come back would leave this one.
    let before: Value = serde_json::from_slice(&fs::read(here.path().join("before.json")).unwrap()).unwrap();
    assert_eq!(before["parts"].as_array().unwrap().len(), 2);
}

#[test]
fn a_kernel_that_is_patched_is_left_alone() {
    let here = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs none /sys
         patch=/sys/kernel/livepatch/foliocopy_livepatch
         mkdir -p $patch; echo 1 >$patch/enabled; echo 0 >$patch/transition
         $FOLIOCOPY kernel run-all --quick -o kernel.json";
    let Some(output) = namespace::run(here.path(), script) else { return };
    assert!(said(&output, 2).contains("`foliocopy kernel patch off` first"));
    assert!(!here.path().join("kernel.json").exists());
}
