//! `foliocopy compare` and `foliocopy report` on logs of AMD's folio-bench-kit. The logs are made up.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use foliocopy_measure::kit;
use foliocopy_measure::result::{Origin, Results};
use predicates::prelude::*;
use predicates::str::contains;
use results::{foliocopy, write};

mod results;

/// The log of the kit's module on a kernel called `release`: two folio sizes, two directions, cold and hot.
fn folio_log(release: &str, speed: f64) -> String {
    let mut log = format!(
        "# folio_copy A/B bench log\n# timestamp: 20260501_140000\n# host uname -a: Linux made-up {release}\n\
         # sysname=Linux\n# release={release}\n# version=#1 SMP\n# machine=x86_64\n\
         # node 0 cpus: 0 1\n# node 0 size: 1000 MB\n# node 1 cpus:\n# node 1 size: 1000 MB\n\
         # node distances:\n# node   0   1\n#   0:  10  50\n#   1:  50  10\n# scenario A:2097152:0:1:0:0\n"
    );
    for (order, bytes) in [(4, 65536), (9, 2_097_152)] {
        for (src, dst) in [(0, 0), (0, 1)] {
            for flush in [0, 1] {
                for run in 1..=13 {
                    let _ = writeln!(log, "# run scen=A order={order} src={src} dst={dst} rep={run}");
                    for function in ["folio_mc_copy", "folio_copy"] {
                        let gbps = speed * f64::from(10 + dst - 4 * flush) * (1.0 + 0.001 * f64::from(run));
                        let pages = bytes / 4096;
                        let iters = 2_097_152 / bytes;
                        let nanoseconds = (2_097_152.0 / gbps) as u64;
                        let _ = writeln!(
                            log,
                            "RESULT fn={function} order={order} src={src} dst={dst} pages={pages} bytes={bytes} iters={iters} \
                             bytes_total=2097152 flush={flush} warmup=1 warmup_eff=16 total_ns={nanoseconds} avg_ns=1 \
                             min_ns=1 max_ns=1 throughput_GBps={gbps:.3}"
                        );
                    }
                }
            }
        }
    }
    log
}

/// The log of the kit's program.
fn move_pages_log(release: &str, speed: f64) -> String {
    let mut log =
        format!("=== move_pages_bench ===\n# kernel: {release}\n# SIZE_MB=512 ITERS=6 nodes=0 1 2\n");
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        let _ = writeln!(log, "--- node {a} <-> {b} ---");
        let _ = writeln!(log, "size=512MB page_sz=4KB nr_pages=131072 node_a={a} node_b={b} iters=6");
        for run in 0..6 {
            let target = if run % 2 == 0 { b } else { a };
            let gbps = speed * (9.0 + 0.1 * f64::from(run));
            let _ = writeln!(
                log,
                "iter={run:2} -> node {target}  {gbps:.3} GB/s  (131072/131072 pages on target)"
            );
        }
        let _ = writeln!(log, "mean: {:.3} GB/s", speed * 9.25);
    }
    log
}

fn put(directory: &Path, name: &str, log: &str) -> PathBuf {
    let file = directory.join(name);
    fs::write(&file, log).unwrap();
    file
}

#[test]
fn two_logs_are_compared_cell_by_cell() {
    let directory = tempfile::tempdir().unwrap();
    let old = put(directory.path(), "base.log", &folio_log("6.15.0-base", 1.0));
    let new = put(directory.path(), "patched.log", &folio_log("6.15.0-patched", 1.5));
    foliocopy()
        .arg("compare")
        .args([&old, &new])
        .assert()
        .code(0)
        .stdout(contains("16 cells: 0 faster, 0 slower, 0 the same, 16 undecided"))
        .stdout(results::says("geometric mean of new/old cold 1.500, hot 1.500"))
        .stdout(contains("cold 2M 0->1 total=2M"))
        .stdout(results::says(
            "differs in kernel: Linux 6.15.0-base #1 SMP, then Linux 6.15.0-patched #1 SMP",
        ))
        .stdout(results::says("so 100 % is allowed for"));
    // A loss that is greater than the difference between runs is red.
    let slow = put(directory.path(), "slow.log", &folio_log("6.15.0-slow", 0.3));
    foliocopy().arg("compare").args([&old, &slow]).assert().code(1).stdout(contains("16 slower"));
    foliocopy()
        .arg("compare")
        .args([&old, &new])
        .args(["--by", "speedup"])
        .assert()
        .code(2)
        .stdout("")
        .stderr(contains("has no baseline, and so no speed-up: compare with `--by throughput`"));
}

#[test]
fn several_logs_of_each_kernel_decide() {
    let directory = tempfile::tempdir().unwrap();
    let logs = |release: &str, speed: f64| -> Vec<PathBuf> {
        let log = |run: u32| {
            let log = move_pages_log(release, speed * (1.0 + 0.001 * f64::from(run * 5 % 7)));
            put(directory.path(), &format!("{release}-{run}.log"), &log)
        };
        (0..7).map(log).collect()
    };
    let (old, new) = (logs("base", 1.0), logs("patched", 1.2));
    let mut command = foliocopy();
    command.args(["compare", "--old"]).args(&old).arg("--new").args(&new);
    command.assert().code(0).stdout(contains("6 cells: 6 faster, 0 slower"));
    let mut command = foliocopy();
    command.args(["compare", "--old"]).args(&new).arg("--new").args(&old);
    command.assert().code(1).stdout(contains("6 slower"));
}

#[test]
fn logs_of_two_benches_answer_different_questions() {
    let directory = tempfile::tempdir().unwrap();
    let folio = put(directory.path(), "folio.log", &folio_log("a", 1.0));
    let moved = put(directory.path(), "moved.log", &move_pages_log("a", 1.0));
    let refused = foliocopy().arg("compare").args([&folio, &moved]).assert().code(2).stdout("");
    refused.stderr(contains("command: kernel bench, then migrate"));
}

/// Our scenario and the kit's are compared as one.
#[test]
fn a_log_is_compared_with_our_bench_of_the_same_scenario() {
    let directory = tempfile::tempdir().unwrap();
    let log = put(directory.path(), "kit.log", &folio_log("6.15.0", 1.0));
    let mut ours: Results = results::made_up(&["folio_copy", "foliocopy"], 10, &[(0, 0)], 15);
    ours.command = "kernel bench".into();
    ours.origin = Origin::Kernel;
    ours.parameters.baseline = "folio_copy".into();
    for cell in &mut ours.cells {
        cell.dimensions.insert(kit::TOTAL.into(), "2M".into());
    }
    ours.rate();
    let ours = write(directory.path(), "ours.json", &ours);
    foliocopy().arg("compare").args([&log, &ours]).assert().stdout(
        contains("4 cells: ").and(contains("differs in CPU: unknown CPU (x86_64), then AMD EPYC 7713")),
    );
}

#[test]
fn a_log_makes_a_page_charts_and_a_mail() {
    let directory = tempfile::tempdir().unwrap();
    for (name, log, title) in [
        ("folio.log", folio_log("6.15.0-made-up", 1.0), "Throughput, cache cold, node 0 to 1, total 2M"),
        (
            "moved.log",
            move_pages_log("6.15.0-made-up", 1.0),
            "Throughput, node 0 to 1, folios as the system gave",
        ),
    ] {
        let file = put(directory.path(), name, &log);
        let page = directory.path().join("page.html");
        let mail = directory.path().join("mail.txt");
        foliocopy()
            .arg("report")
            .arg(&file)
            .arg("-o")
            .arg(&page)
            .arg("--export-lkml")
            .arg(&mail)
            .args(["--force", "--svg"])
            .arg(directory.path().join("charts"))
            .assert()
            .code(0);
        let page = fs::read_to_string(page).unwrap();
        for present in [title, "folio-bench-kit", "Linux 6.15.0-made-up", "From node to node", "unknown CPU"]
        {
            assert!(page.contains(present), "{name}: {present}");
        }
        assert!(
            !page.contains("stepping 0") && !page.contains("for 0 s"),
            "{name}: what a log leaves open is unknown"
        );
        assert!(!page.contains("Speed-up") && !page.contains("speed-up over"), "{name}");
        let mail = fs::read_to_string(mail).unwrap();
        assert!(
            mail.contains("DRAM0->") && !mail.contains("Baseline") && !mail.contains("family 0"),
            "{mail}"
        );
        assert!(mail.lines().all(|line| line.chars().count() <= 72), "{mail}");
    }
}

#[test]
fn a_log_stands_beside_results_of_ours() {
    let directory = tempfile::tempdir().unwrap();
    let log = put(directory.path(), "kit.log", &folio_log("6.15.0", 1.0));
    let ours = write(directory.path(), "ours.json", &results::one_machine());
    let page = foliocopy().arg("report").args([&log, &ours]).args(["-o", "-"]).assert().code(0);
    let page = String::from_utf8(page.get_output().stdout.clone()).unwrap();
    assert!(page.contains("on 2 machines") && page.contains("unknown CPU") && page.contains("Speed-up"));
}

#[test]
fn broken_logs_are_refused_with_the_line_and_what_would_be_right() {
    let directory = tempfile::tempdir().unwrap();
    let good = folio_log("6.15.0", 1.0);
    let cases = [
        (
            "word.log",
            good.replacen("copy order=9", "copy order=huge", 1),
            "`order=huge` is not a number from 0 to 18",
        ),
        (
            "speed.log",
            good.replacen("throughput_GBps=10.010", "throughput_GBps=", 1),
            "`throughput_GBps=` is empty",
        ),
        ("quoted.log", good.replacen("RESULT", "> RESULT", 1), "line 18: a RESULT begins its line"),
        ("cut.log", good[..good.len() - 9].to_owned(), "ends in the middle"),
        ("nothing.log", "# release=6.15.0\n".to_owned(), "holds no cells"),
        ("failed.log", "# release=6.15.0\nERR invalid params: -22\n".to_owned(), "ERR invalid params: -22"),
        (
            "pair.log",
            move_pages_log("a", 1.0).replacen("node 0 <-> 1", "node 0 and 1", 1),
            "line 4: write `--- node A <-> B ---`",
        ),
    ];
    for (name, log, expected) in cases {
        let file = put(directory.path(), name, &log);
        for command in [&["compare"][..], &["report", "-o", "-"]] {
            let files = if command[0] == "compare" { vec![&file, &file] } else { vec![&file] };
            let refused = foliocopy().args(command).args(files).assert().code(2).stdout("");
            refused.stderr(contains(expected).and(contains(name)));
        }
    }
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    foliocopy().arg("report").arg(&pipe).args(["-o", "-"]).assert().code(2).stderr(contains("it is a pipe"));
}
