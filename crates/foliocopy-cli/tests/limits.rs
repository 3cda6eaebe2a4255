//! `foliocopy roofline`, `reproduce` and a bench beside older results, from outside. The copies are real and short.

use std::fs;

use foliocopy_measure::result;
use predicates::prelude::*;
use results::foliocopy;

mod results;

/// A bench of one small cell. Its verdict on so few rounds does not matter.
const BENCH: [&str; 10] =
    ["bench", "--quiet", "--rounds", "3", "--folio", "64K", "--total", "1M", "--cache", "hot"];

#[test]
fn roofline_measures_and_the_bench_prints_percents_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let limits = directory.path().join("limits.json");
    foliocopy()
        .args(["roofline", "--rounds", "2", "--memory", "8M", "--threads", "1", "--quiet", "--export-json"])
        .arg(&limits)
        .assert()
        .success()
        .stdout(predicate::str::contains("limits in GB/s").and(predicate::str::contains("rep_movsb")))
        .stdout(results::fits());
    let results = result::read(&limits).unwrap();
    assert_eq!((results.command.as_str(), results.parameters.baseline.as_str()), ("roofline", "copy limit"));
    foliocopy()
        .args(BENCH)
        .arg("--roofline")
        .arg(&limits)
        .assert()
        .code(predicate::in_iter([0, 1]))
        .stdout(predicate::str::contains("percent of the copy limit of one thread"))
        .stdout(results::fits());
    // Limits of another machine are not used.
    let text = fs::read_to_string(&limits).unwrap();
    let name = format!("\"model_name\": \"{}\"", results.environment.cpu.model_name);
    assert!(text.contains(&name));
    let foreign = directory.path().join("foreign.json");
    fs::write(&foreign, text.replace(&name, "\"model_name\": \"Another\"")).unwrap();
    foliocopy()
        .args(BENCH)
        .arg("--roofline")
        .arg(&foreign)
        .assert()
        .code(2)
        .stdout("")
        .stderr(predicate::str::contains("another machine").and(predicate::str::contains("Another")));
    foliocopy()
        .args(BENCH)
        .arg("--roofline")
        .arg(results::schema_1())
        .assert()
        .code(2)
        .stderr(predicate::str::contains("foliocopy roofline --export-json"));
}

#[test]
fn roofline_refuses_what_it_cannot_run() {
    foliocopy()
        .args(["roofline", "--threads", "4096"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("may run on"));
    foliocopy()
        .args(["roofline", "--threads", "0"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("from 1 to"));
    foliocopy()
        .args(["roofline", "--memory", "8T"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("are available"));
}

#[test]
fn a_bench_is_held_against_its_baseline() {
    let directory = tempfile::tempdir().unwrap();
    let old = directory.path().join("old.json");
    foliocopy().args(BENCH).arg("--export-json").arg(&old).assert().code(predicate::in_iter([0, 1]));
    // Three rounds are too few for a verdict of its own, so only the comparison decides.
    foliocopy().args(BENCH).arg("--baseline").arg(&old).assert().code(0).stdout(
        predicate::str::contains("too few rounds")
            .and(predicate::str::contains("No cell is shown to be slower by more than 2 %")),
    );
    // Other parameters are refused before anything runs.
    foliocopy()
        .args(BENCH)
        .args(["--evict", "1M", "--baseline"])
        .arg(&old)
        .assert()
        .code(2)
        .stdout("")
        .stderr(predicate::str::contains("bytes evicted"));
    foliocopy().args(BENCH).args(["--baseline", "/nonexistent.json"]).assert().code(2).stdout("");
}

#[test]
fn the_rfc_is_reproduced_row_by_row() {
    let directory = tempfile::tempdir().unwrap();
    let (markdown, kept) = (directory.path().join("rfc.md"), directory.path().join("kept"));
    let output = foliocopy()
        .args(["reproduce", "rfc", "--time", "2s", "--export-markdown"])
        .arg(&markdown)
        .arg("--keep")
        .arg(&kept)
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    let output = String::from_utf8(output).unwrap();
    let markdown = fs::read_to_string(&markdown).unwrap();
    for (reported, deviation) in [
        ("15.63", " ± 0.55"),
        ("41.60", " ± 0.04"),
        ("13.07", " ± 0.03"),
        ("11.59", " ± 0.18"),
        ("0.61", "x"),
    ] {
        assert!(output.contains(reported), "{reported}");
        assert!(markdown.contains(&format!("{reported}{deviation}")), "{reported}");
    }
    assert!(output.lines().all(|line| line.chars().count() <= 80), "{output}");
    for text in [&output, &markdown] {
        assert!(
            text.contains("Zen 5 (RFC)") && text.contains("Zen 3 (RFC)") && text.contains("(here)"),
            "{text}"
        );
    }
    // Every machine has a node with memory, so the hot table can be run anywhere.
    let hot =
        output.split("cache-hot (1G total), folio_copy").nth(1).unwrap().split("move_pages").next().unwrap();
    assert!(hot.contains("\nDRAM0->DRAM0\n"), "{hot}");
    let rows: Vec<_> = hot.lines().filter(|line| line.contains('[')).collect();
    assert_eq!(rows.len(), 6, "{hot}");
    assert!(rows.iter().all(|row| row.matches('[').count() == 2 && !row.contains("not here")), "{hot}");
    // Tables that can't be run say why.
    assert!(output.contains("one node: there is no second node") || output.contains("needs the module"));
    for name in ["cold", "hot", "zen3-cold", "zen3-hot-2m", "zen3-hot-1g"] {
        let results = result::read(&kept.join(format!("rfc-{name}.json"))).unwrap();
        assert_eq!(results.environment.cpu.masked.is_empty(), !name.starts_with("zen3"), "{name}");
    }
    foliocopy()
        .args(["reproduce", "rfc", "--keep"])
        .arg(&kept)
        .assert()
        .code(2)
        .stderr(predicate::str::contains("--force"));
    foliocopy()
        .args(["reproduce", "something"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("possible values: rfc"));
}
