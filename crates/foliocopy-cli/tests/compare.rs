//! `foliocopy compare`, from outside.

use assert_cmd::Command;
use foliocopy_measure::result::Results;
use predicates::prelude::*;
use results::{foliocopy, schema_1, write};

mod results;

/// `foliocopy compare old.json new.json` on results of eleven quiet rounds and on `change`d ones.
fn compare(change: impl FnOnce(&mut Results)) -> (Command, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let old = results::made_up(&["per-page", "rfc", "foliocopy"], 3, &[(0, 0)], 15);
    let mut new = old.clone();
    change(&mut new);
    new.rate();
    let mut command = foliocopy();
    command.current_dir(directory.path()).args(["compare", "old.json", "new.json"]);
    write(directory.path(), "old.json", &old);
    write(directory.path(), "new.json", &new);
    (command, directory)
}

fn slow_down(results: &mut Results, contender: &str, factor: f64) {
    for cell in results.cells.iter_mut().filter(|cell| cell.contender == contender) {
        for gbps in &mut cell.samples_gbps {
            *gbps *= factor;
        }
    }
}

#[test]
fn the_same_results_have_no_difference() {
    let (mut command, _directory) = compare(|_| ());
    command
        .assert()
        .code(0)
        .stdout(predicate::str::contains("12 cells: 0 faster, 0 slower, 0 the same, 12 undecided"))
        .stdout(predicate::str::contains("No cell is shown to be slower by more than 2 %"));
}

#[test]
fn a_slower_cell_exits_with_1_and_is_named() {
    let (mut command, _directory) = compare(|new| slow_down(new, "foliocopy", 0.7));
    command
        .assert()
        .code(1)
        .stdout(predicate::str::contains("6 slower"))
        .stdout(predicate::str::contains("  cold 4K 0->0 foliocopy: 0.700"));
    let (mut command, _directory) = compare(|new| slow_down(new, "foliocopy", 0.7));
    command.args(["--threshold", "50"]).assert().code(0);
}

#[test]
fn a_faster_cell_exits_with_0() {
    let (mut command, _directory) = compare(|new| slow_down(new, "foliocopy", 1.5));
    command.arg("--changed").assert().code(0).stdout(
        predicate::str::contains("6 faster").and(predicate::str::contains("cold 4K 0->0  rfc").not()),
    );
}

#[test]
fn a_slower_host_is_seen_through_by_speedup() {
    let slower_host = |new: &mut Results| {
        for contender in ["per-page", "rfc", "foliocopy"] {
            slow_down(new, contender, 0.6);
        }
    };
    let (mut command, _directory) = compare(slower_host);
    command
        .args(["--by", "throughput"])
        .assert()
        .code(0)
        .stdout(predicate::str::contains("The baseline itself moved (per-page cold 0.600, hot 0.600)"))
        .stdout(results::says("so 100 % is allowed for"));
    let (mut command, _directory) = compare(slower_host);
    command.assert().code(0).stdout(predicate::str::contains("12 cells: 0 faster, 0 slower"));
}

#[test]
fn another_cpu_is_refused_unless_forced() {
    let other_cpu = |new: &mut Results| new.environment.cpu.model_name = "AMD EPYC 9655".into();
    let (mut command, _directory) = compare(other_cpu);
    command
        .assert()
        .code(2)
        .stdout("")
        .stderr(
            predicate::str::contains("CPU: AMD EPYC 7713")
                .and(predicate::str::contains("then AMD EPYC 9655")),
        )
        .stderr(predicate::str::contains("--force"));
    let (mut command, _directory) = compare(other_cpu);
    command.arg("--force").assert().code(0).stdout(predicate::str::contains("differs in CPU: AMD EPYC 7713"));
}

/// With every line above and below the table: other CPUs, a baseline that moved, cells of one side alone.
#[test]
fn a_comparison_fits_80_columns() {
    let (mut command, _directory) = compare(|new| {
        new.environment.cpu.model_name = "AMD EPYC 9655 96-Core Processor with a long name".into();
        slow_down(new, "per-page", 0.6);
        slow_down(new, "foliocopy", 0.3);
        new.cells.truncate(new.cells.len() - 3);
    });
    let mut assert = command.args(["--by", "throughput", "--force"]).assert().code(1).stdout(results::fits());
    for part in
        ["The baseline itself moved", "Slower by more than", "only in the old results", "differs in CPU"]
    {
        assert = assert.stdout(results::says(part));
    }
}

#[test]
fn new_firmware_is_told_and_allowed() {
    let (mut command, _directory) = compare(|new| {
        new.environment.cpu.microcode = Some("0xb000000".into());
        new.environment.governor = Some("powersave".into());
    });
    command
        .assert()
        .code(0)
        .stdout(predicate::str::contains("differs in microcode: 0xa0011d5, then 0xb000000"))
        .stdout(predicate::str::contains("differs in governor: performance, then powersave"));
}

#[test]
fn one_run_of_each_says_what_it_cannot_know() {
    let (mut command, _directory) = compare(|new| slow_down(new, "foliocopy", 0.93));
    command
        .assert()
        .code(0)
        .stdout(predicate::str::contains(
            "1 old and 1 new run do not tell how much runs of one program differ, so 10 %",
        ))
        .stdout(predicate::str::contains(
            "7 of each tell, taken in turn; so does `foliocopy bench --against`",
        ));
}

#[test]
fn several_runs_of_old_and_new_are_compared() {
    let (mut command, directory) = compare(|_| ());
    // Runs of one program differ by up to 1 %, and their order does not matter.
    let runs = |factor: f64, first: u32| -> Vec<std::path::PathBuf> {
        let run = |run: u32| {
            let mut results = results::made_up(&["per-page", "rfc", "foliocopy"], 3, &[(0, 0)], 15);
            slow_down(&mut results, "foliocopy", factor * (1.0 + 0.001 * f64::from(run * 5 % 11)));
            results.rate();
            write(directory.path(), &format!("{run}.json"), &results)
        };
        (first..first + 7).map(run).collect()
    };
    let (old, new, slower) = (runs(1.0, 1), runs(1.0, 12), runs(0.9, 25));
    let compare = |new: &[std::path::PathBuf]| {
        let mut command = foliocopy();
        command.args(["compare", "--old"]).args(&old).arg("--new").args(new);
        command.assert()
    };
    compare(&new)
        .code(0)
        .stdout(predicate::str::contains("0 slower").and(predicate::str::contains("allowed for").not()));
    compare(&slower).code(1).stdout(predicate::str::contains("6 slower"));
    command.args(["--old", "old.json"]).assert().code(2);
}

#[test]
fn nothing_in_common_is_refused() {
    let (mut command, _directory) =
        compare(|new| new.cells.iter_mut().for_each(|cell| cell.folio_bytes <<= 8));
    command.assert().code(2).stderr(predicate::str::contains("no cell in common"));
}

#[test]
fn an_emulator_is_no_machine_to_compare() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "emulated.json", &results::emulated());
    foliocopy()
        .arg("compare")
        .args([&file, &file])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("emulated CPU"));
}

#[test]
fn bad_arguments_say_what_would_be_right() {
    foliocopy().arg("compare").arg(schema_1()).assert().code(2).stderr(predicate::str::contains("NEW"));
    for threshold in ["-1", "100", "much"] {
        foliocopy()
            .arg("compare")
            .args([schema_1(), schema_1()])
            .arg(format!("--threshold={threshold}"))
            .assert()
            .code(2)
            .stderr(predicate::str::contains("a percentage is a number from 0 to below 100"));
    }
}

/// The program, limited to this many seconds of CPU time. On a busy machine they take minutes.
fn within(cpu_seconds: u32) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -t {cpu_seconds}; exec \"$0\" \"$@\"")]);
    command.arg(assert_cmd::cargo::cargo_bin("foliocopy"));
    command
}

#[test]
fn thousands_of_cells_are_compared_while_one_waits() {
    let pairs: Vec<(u32, u32)> = (0..8).flat_map(|src| (0..8).map(move |dst| (src, dst))).collect();
    let mut results = results::made_up(&["per-page", "rfc", "foliocopy"], 1, &[(0, 0)], 15);
    let cells = std::mem::take(&mut results.cells);
    for size in 0..10 {
        for (src, dst) in &pairs {
            results.cells.extend(cells.iter().cloned().map(|mut cell| {
                cell.folio_bytes <<= size;
                (cell.src_node, cell.dst_node) = (Some(*src), Some(*dst));
                cell
            }));
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "many.json", &results);
    within(120)
        .arg("compare")
        .args([&file, &file])
        .assert()
        .code(0)
        .stdout(predicate::str::contains("2560 cells: 0 faster, 0 slower, 0 the same, 2560 undecided"));
}

/// With quadratic time or memory these would take minutes and gigabytes.
#[test]
fn fifty_thousand_samples_and_fifty_thousand_cells_take_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let results = results::made_up(&["per-page", "foliocopy"], 1, &[(0, 0)], 50_000);
    let long = write(directory.path(), "long.json", &results);
    let mut results = results::made_up(&["per-page", "foliocopy"], 1, &[(0, 0)], 15);
    let cells = std::mem::take(&mut results.cells);
    for node in 0..50_000 / cells.len() {
        results.cells.extend(cells.iter().cloned().map(|mut cell| {
            (cell.src_node, cell.dst_node) = (Some(node as u32 / 64), Some(node as u32 % 64));
            cell
        }));
    }
    let many = write(directory.path(), "many.json", &results);
    for file in [&long, &many] {
        let commands: [&[&str]; 2] =
            [&["compare", "--changed"], &["report", "-o", "report.html", "--export-lkml", "-", "--force"]];
        for command in commands {
            let files = if command[0] == "compare" { vec![file, file] } else { vec![file] };
            within(60).current_dir(directory.path()).args(command).args(files).assert().code(0);
        }
    }
}
