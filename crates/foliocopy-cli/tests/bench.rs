//! `foliocopy bench` from outside: short runs on real memory, and everything that it must refuse.

use std::fs;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use assert_cmd::Command;
use foliocopy_measure::result::{self, Cache, Evict, Results};
use foliocopy_measure::verdict::Verdict;
use predicates::prelude::*;
use predicates::str::contains;

mod process;

/// `foliocopy bench`, without the environment variables that it follows.
fn bench() -> Command {
    let mut command = Command::cargo_bin("foliocopy").expect("cargo builds the program for its tests");
    for variable in ["FOLIOCOPY_MASK", "FOLIOCOPY_PRIMITIVE", "FOLIOCOPY_PROFILE"] {
        command.env_remove(variable);
    }
    command.arg("bench");
    command
}

/// A very short bench.
fn short() -> Command {
    let mut command = bench();
    command.args(["--folio", "4K,64K", "--total", "256K", "--rounds", "3", "--evict", "4M"]);
    command
}

/// Runs `command` with its results written to a file, and reads them. So few rounds give no verdict.
fn results(command: &mut Command) -> Results {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("results.json");
    command.arg("--export-json").arg(&file).assert().code(0);
    result::read(&file).unwrap()
}

#[test]
fn shows_the_table_the_verdict_and_how_to_go_on() {
    short()
        .assert()
        .code(0)
        .stdout(
            contains("CPU:")
                .and(contains("foliocopy copies ("))
                .and(contains("per-page-mc"))
                .and(contains("rfc-mc")),
        )
        .stdout(contains("cold, node").and(contains("hot, node")).and(contains("  64K")))
        .stdout(contains("foliocopy: too few rounds").and(contains("geometric mean cold")))
        .stdout(contains("foliocopy report FILE"))
        .stdout(contains('\u{1b}').not())
        .stderr(contains('\r').not());
}

#[test]
fn help_documents_the_exit_codes() {
    bench().arg("--help").assert().code(0).stdout(contains("130  interrupted"));
}

#[test]
fn quiet_is_the_table_and_the_verdict() {
    short().arg("--quiet").assert().code(0).stdout(contains("CPU:").not().and(contains("64K"))).stderr("");
}

#[test]
fn the_json_holds_every_sample_and_the_environment() {
    let results = results(&mut short());
    assert!(results.complete);
    assert_eq!(results.command, "bench");
    assert_eq!(results.cells.len(), 2 * 2 * 5);
    assert!(results.environment.kernel.starts_with("Linux"));
    assert_eq!(results.parameters.total_bytes_cold, 256 << 10);
    assert_eq!(results.parameters.rounds, Some(3));
    for cell in &results.cells {
        assert_eq!(cell.samples_gbps.len(), 3);
        assert!(cell.ratio_to_baseline.is_some() && cell.memory.is_some());
        assert!(cell.src_node.is_some() == cell.dst_node.is_some());
        if results.environment.tsc_hz.is_some() {
            assert_eq!(cell.probe_load_cycles.len(), 3, "cold and hot are proved in every round");
        }
    }
}

#[test]
fn the_exit_code_is_the_verdicts() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("results.json");
    // Enough rounds to decide. `foliocopy` may be slower than one of these contenders or not.
    let output = bench()
        .args([
            "--cache", "hot", "--folio", "64K", "--total", "1M", "--rounds", "15", "--evict", "2M", "--quiet",
        ])
        .arg("--export-json")
        .arg(&file)
        .output()
        .unwrap();
    let results = result::read(&file).unwrap();
    let verdict = Verdict::of(&results, "foliocopy").unwrap();
    assert_eq!(output.status.code(), Some(if verdict.is_good() { 0 } else { 1 }));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&text).starts_with(&words(&verdict.to_string())), "{text}");
}

/// A reader of the RFC asks for its copy. The exit code stays that of foliocopy's verdict.
#[test]
fn a_slower_copy_of_the_rfc_is_in_the_verdict() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("results.json");
    let output = bench()
        .args("--mask erms,fsrm --cache hot --folio 2M --total 4M --rounds 15 --evict 2M --quiet".split(' '))
        .arg("--export-json")
        .arg(&file)
        .output()
        .unwrap();
    let results = result::read(&file).unwrap();
    let verdict = |contender| Verdict::of(&results, contender).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let slower = !verdict("rfc").is_good();
    assert_eq!(words.contains("rfc: slower than the kernel's copy (per-page)"), slower, "{text}");
    assert_eq!(
        words.contains("Prefer per-page to rfc, which is faster in none of 1 cells"),
        slower,
        "{text}"
    );
    assert_eq!(output.status.code(), Some(if verdict("foliocopy").is_good() { 0 } else { 1 }), "{text}");
}

#[test]
fn contenders_of_every_kind_take_part() {
    let results = results(short().args([
        "--cache",
        "cold",
        "--contender",
        "rep_movsb",
        "--contender",
        "page:movnti",
        "--contender",
        "glibc=-:memcpy",
        "--contender",
        "foliocopy:non_temporal",
        "--contender",
        "kernel:temporal",
    ]));
    let names: Vec<&str> =
        results.parameters.contenders.iter().map(|contender| contender.name.as_str()).collect();
    assert_eq!(
        names[5..],
        ["rep_movsb", "page:movnti", "glibc", "foliocopy:non_temporal", "kernel:temporal"]
    );
    assert_eq!(results.cells.len(), 2 * 10);
    assert_eq!(results.parameters.contenders[7].loaded.as_deref(), Some("-:memcpy"));
}

#[test]
fn a_mask_changes_what_the_kernel_would_do() {
    let results = results(short().args(["--mask", "erms,fsrm"]));
    let rfc = results.parameters.contenders.iter().find(|contender| contender.name == "rfc").unwrap();
    assert_eq!(rfc.description, "one memcpy (movq) a folio");
    assert!(!results.environment.cpu.features.iter().any(|feature| feature == "erms" || feature == "fsrm"));
}

#[test]
fn a_cold_run_fills_the_last_level_cache_unless_somebody_reads_it_at_once() {
    let one = |then: &[&str]| {
        results(
            bench().args(["--cache", "cold", "--folio", "2M", "--rounds", "1", "--evict", "2M"]).args(then),
        )
    };
    let filling = one(&[]);
    let caches = filling.environment.cpu.caches.iter().map(|cache| cache.bytes);
    let expected = caches.max().unwrap_or(32 << 20).clamp(2 << 20, 64 << 20);
    assert_eq!(filling.parameters.total_bytes_cold, expected);
    assert_eq!(one(&["--then", "read"]).parameters.total_bytes_cold, 2 << 20);
}

#[test]
fn a_preset_has_the_rfcs_parameters_and_flags_prevail() {
    let results =
        results(bench().args(["--preset", "rfc-zen3", "--total", "4M", "--rounds", "2", "--evict", "2M"]));
    let parameters = &results.parameters;
    assert_eq!(parameters.preset.as_deref(), Some("rfc-zen3"));
    assert_eq!(parameters.folio_bytes, [1 << 20, 2 << 20]);
    assert_eq!(parameters.cache, [Cache::Cold, Cache::Hot]);
    assert_eq!((parameters.total_bytes_cold, parameters.total_bytes_hot), (4 << 20, 4 << 20));
    assert!(!results.environment.cpu.features.iter().any(|feature| feature == "erms" || feature == "fsrm"));
    let rfc = parameters.contenders.iter().find(|contender| contender.name == "rfc").unwrap();
    assert_eq!(rfc.description, "one memcpy (movq) a folio");
}

#[test]
fn a_library_of_ours_takes_part_by_pages() {
    // `cargo test` builds no shared library. This folder is that of the C library's own tests.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libraries");
    let build = Process::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "foliocopy-capi", "--target-dir"])
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(build.unwrap().success());
    let library = target.join("debug/libfoliocopy.so");
    let capi = |function: &str| format!("--contender=capi={}:{function}", library.display());
    for function in ["copy_pages@pages", "copy_pages", "copy_mc_pages@mc", "copy_mc_pages"] {
        let results = results(short().arg(capi(&format!("foliocopy_{function}"))));
        assert!(results.cells.iter().any(|cell| cell.contender == "capi"), "{function}");
    }
    for function in ["copy_folios", "copy_mc", "copy_pages@mc", "copy_mc_pages@pages"] {
        let refused = short().arg(capi(&format!("foliocopy_{function}"))).assert();
        refused.code(2).stderr(contains("foliocopy_copy_pages and foliocopy_copy_mc_pages can"));
    }
}

#[test]
fn mixed_read_victim_scattered_and_copiers_are_measured() {
    let mixed = results(short().args(["--cache", "mixed"]));
    assert!(mixed.cells.iter().all(|cell| cell.cache == Some(Cache::Mixed)));
    let read = results(short().args(["--then", "read"]));
    let with_read =
        read.cells.iter().filter(|cell| cell.dimensions.get("then").is_some_and(|then| then == "read"));
    assert_eq!(with_read.count(), read.cells.len() / 2);
    let victim = results(short().args(["--then", "victim", "--cache", "cold"]));
    let after =
        victim.cells.iter().filter(|cell| cell.dimensions.get("victim").is_some_and(|when| when == "after"));
    assert_eq!(after.count(), victim.cells.len() / 3);
    let engine = ["foliocopy:temporal", "foliocopy:non_temporal", "foliocopy-mc"];
    let scattered = results(short().arg("--scatter").args(engine.map(|name| format!("--contender={name}"))));
    assert_eq!(scattered.cells.len(), 2 * 2 * 8);
    assert!(scattered.cells.iter().all(|cell| cell.dimensions["folios"] == "scattered"));
    let copiers = results(short().args(["--copiers", "1"]));
    assert_eq!(copiers.parameters.other["copiers"], "1");
    let threads = results(short().args(["--threads", "1,2"]));
    for name in ["foliocopy:threads:1", "foliocopy:threads:2"] {
        assert!(threads.cells.iter().any(|cell| cell.contender == name), "{name}");
    }
    assert_eq!(threads.parameters.cpu, None, "threads start where their parent may run");
}

/// The time of every copy is in the table and in the JSON; the first after an eviction stands apart.
#[test]
fn the_time_of_every_copy_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("results.json");
    let run = short().args(["--latency", "--export-json"]).arg(&file).assert().code(0);
    run.stdout(contains("cold, node").and(contains("time of a copy")).and(contains("First: the median")));
    let results = result::read(&file).unwrap();
    assert_eq!(results.parameters.other["latency"], "every copy timed");
    for cell in &results.cells {
        let latency = cell.latency.as_ref().unwrap();
        let first = if cell.cache == Some(Cache::Cold) { 3 } else { 0 };
        assert_eq!(latency.first_ns.len(), first);
        assert_eq!(latency.count() as usize, 3 * (256 << 10) / cell.folio_bytes as usize - first);
        assert_eq!(latency.p99_ns.is_some(), latency.count() >= 100);
        assert!(latency.p50_ns <= latency.max_ns && latency.max_ns > 0);
    }
    let page = directory.path().join("page.html");
    let mut report = Command::cargo_bin("foliocopy").unwrap();
    report.arg("report").arg(&file).arg("-o").arg(&page).arg("--svg").arg(directory.path().join("charts"));
    report.assert().code(0);
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("Times of single copies") && page.contains("Times at 64 KiB, cache cold"));
    let charts = fs::read_dir(directory.path().join("charts")).unwrap();
    let names = charts.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("times-")).count(), 2);
    // Copies that were timed one by one are no baseline of others.
    let other = directory.path().join("other.json");
    short().arg("--export-json").arg(&other).assert().code(0);
    let mut compare = Command::cargo_bin("foliocopy").unwrap();
    compare
        .arg("compare")
        .args([&other, &file])
        .assert()
        .code(2)
        .stderr(contains("latency=every copy timed"));
}

/// Each load has its own cells and its own throughput. More threads than CPUs cause a warning.
#[test]
fn copies_are_measured_under_load() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("results.json");
    let run = bench()
        .args(["--folio", "64K", "--total", "256K", "--rounds", "3", "--cache", "hot"])
        .args(["--load", "0-1,3,1", "--latency", "--export-json"])
        .arg(&file)
        .assert()
        .code(0);
    let run =
        run.stdout(contains("hot, node 0 to 0: copies under load").or(contains("hot: copies under load")));
    let text = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let results = result::read(&file).unwrap();
    assert_eq!(results.parameters.other["load"], "0,1,3");
    let loads: Vec<usize> = results.cells.iter().map(|cell| cell.load.as_ref().unwrap().threads).collect();
    assert_eq!(loads, [[0; 5], [1; 5], [3; 5]].concat());
    for cell in &results.cells {
        let load = cell.load.as_ref().unwrap();
        assert_eq!((load.gbps.len(), &cell.dimensions["load"]), (3, &load.threads.to_string()));
        assert!(cell.latency.is_some());
    }
    let mut report = Command::cargo_bin("foliocopy").unwrap();
    let page = report.arg("report").arg(&file).args(["-o", "-"]).assert().code(0);
    let page = String::from_utf8(page.get_output().stdout.clone()).unwrap();
    for present in [
        "Under load",
        "Throughput at 64 KiB under load, hot",
        "Time at 64 KiB under load, hot",
        "load: GB/s that other threads",
    ] {
        assert!(page.contains(present), "{present}");
    }
    let cpus = foliocopy_measure::affinity::allowed_cpus().unwrap().len();
    short()
        .args(["--cache", "hot", "--folio", "4K", "--load", &cpus.to_string()])
        .assert()
        .code(0)
        .stderr(contains(format!("{} CPU", cpus - 1)).and(contains("beside that of the copies")));
}

#[test]
fn memory_of_each_kind_is_copied() {
    for kind in ["thp", "anon", "memfd"] {
        let results = results(short().args(["--memory", kind]));
        assert_eq!(results.parameters.memory, kind);
        if kind == "anon" {
            assert!(results.cells.iter().all(|cell| cell.memory.as_ref().unwrap().huge_bytes == 0));
        }
    }
    // Either huge pages are reserved, or the error says how to reserve them.
    let output = short().args(["--memory", "hugetlb"]).output().unwrap();
    if !output.status.success() {
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8(output.stderr).unwrap().contains("hugepages-2048kB/nr_hugepages"));
    }
}

#[test]
fn nodes_are_named_in_the_cells() {
    let output = short().args(["--nodes", "0:0", "--quiet"]).output().unwrap();
    if output.status.code() == Some(2) {
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("mbind(2)"), "only a seccomp filter may forbid it: {error}");
    } else {
        assert!(String::from_utf8(output.stdout).unwrap().contains("cold, node 0 to 0"));
    }
}

#[test]
fn every_export_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    short()
        .arg("--export-json")
        .arg(file("r.json"))
        .arg("--export-csv")
        .arg(file("r.csv"))
        .arg("--export-markdown")
        .arg(file("r.md"))
        .arg("--export-lkml")
        .arg(file("r.txt"))
        .assert()
        .code(0);
    let text = |name: &str| fs::read_to_string(file(name)).unwrap();
    assert_eq!(text("r.csv").lines().count(), 1 + 20);
    assert_eq!(text("r.md").lines().filter(|line| line.starts_with('|')).count(), 2 + 20);
    // On a busy machine the figures of so few rounds may be long.
    for line in text("r.txt").lines() {
        let room = if line.contains("->") { 80 } else { 72 };
        assert!(line.chars().count() <= room, "{line}");
    }
    assert_eq!(result::read(&file("r.json")).unwrap().cells.len(), 20);
}

#[test]
fn an_export_to_standard_output_is_alone_there() {
    let output = short().args(["--export-json", "-"]).output().unwrap();
    let results = result::read_from(&output.stdout, Path::new("-")).unwrap();
    assert_eq!(results.cells.len(), 20);
    assert!(String::from_utf8(output.stderr).unwrap().contains("geometric mean"));
}

#[test]
fn an_existing_file_is_kept_without_force() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("results.json");
    fs::write(&file, "precious").unwrap();
    short().arg("--export-json").arg(&file).assert().code(2).stdout("").stderr(contains("--force"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    short().arg("--force").arg("--export-json").arg(&file).assert().code(0);
    assert!(result::read(&file).is_ok());
}

/// The results and the output say what the eviction leaves in the caches. Other evictions are no baseline.
#[test]
fn an_eviction_leaves_clean_lines_or_dirty_ones() {
    let directory = tempfile::tempdir().unwrap();
    let file = |how: &str| directory.path().join(format!("{how}.json"));
    for (how, option, size, evict) in [
        ("default", "2M", 2 << 20, Evict::Read),
        ("read", "read,2M", 2 << 20, Evict::Read),
        ("write", "write,2M", 2 << 20, Evict::Write),
    ] {
        let output = bench()
            .args([
                "--cache",
                "both",
                "--folio",
                "64K",
                "--total",
                "1M",
                "--rounds",
                "2",
                "--evict",
                option,
                "--export-json",
            ])
            .arg(file(how))
            .assert()
            .code(0)
            .get_output()
            .clone();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(&format!("2M {} through the caches", evict.done())), "{text}");
        let dirty: Vec<&str> = text.lines().filter(|line| line.contains("full of dirty lines")).collect();
        assert!(dirty.iter().all(|line| line.starts_with("cold, ")), "{text}");
        assert_eq!(dirty.len(), usize::from(evict == Evict::Write), "{text}");
        let results = result::read(&file(how)).unwrap();
        assert_eq!((results.parameters.evict_bytes, results.parameters.evict), (size, evict));
    }
    let json = fs::read_to_string(file("write")).unwrap();
    assert!(json.contains("\"evict\": \"write\""), "{json}");
    let compare = |old: &str, new: &str| {
        Command::cargo_bin("foliocopy").unwrap().arg("compare").args([file(old), file(new)]).assert()
    };
    compare("default", "read").code(0);
    compare("read", "write").code(2).stderr(contains("eviction"));
}

#[test]
fn bad_input_is_refused_before_anything_runs() {
    let cases: &[(&[&str], &str)] = &[
        (&["--folio", "5K"], "whole pages, from 4K to 1G"),
        (&["--folio", "2G"], "whole pages, from 4K to 1G"),
        (&["--folio", "banana"], "`banana` is not a size"),
        (&["--folio", "0"], "`0` is zero"),
        (&["--total", "4X"], "`4X` is not a size"),
        (&["--total", "8000000T", "--cache", "cold"], "are available: choose a smaller --folio or --total\n"),
        (&["--evict", "1000000T"], "are available: choose a smaller --evict\n"),
        (&["--evict", "flush"], "`flush` is no kind of eviction: read or write"),
        (&["--evict", "write,"], "`` is not a size"),
        (&["--evict", "4X"], "`4X` is not a size"),
        (&["--rounds", "0"], "0 is not in 1.."),
        (&["--rounds", "-1"], "invalid value '-1' for '--rounds"),
        (&["--folio", "-4K"], "`-4K` is not a size"),
        (&["--time", "-3s"], "invalid value '-3s' for '--time"),
        (&["--threshold", "-5"], "a percentage is a number from 0"),
        (&["--time", "soon"], "--time"),
        (&["--time", "0s"], "nothing can be measured in no time"),
        (&["--cache", "lukewarm"], "cold, hot, both, mixed"),
        (&["--cpu", "4095"], "CPU 4095 can't be used"),
        (&["--cpu", "first"], "`first` is no CPU"),
        (&["--nodes", "77:0"], "node 77 does not exist"),
        (&["--nodes", "0"], "SOURCE:DESTINATION"),
        (&["--mask", "sse9"], "unknown CPU feature; known are erms"),
        (&["--memory", "core"], "known are thp, anon, hugetlb, memfd"),
        (&["--preset", "rfc-warm"], "rfc-cold, rfc-hot, rfc-zen3"),
        (&["--contender", "memcpi"], "unknown contender `memcpi`; known are per-page"),
        (&["--contender", "rfc"], "named twice"),
        (&["--contender", "x=/nonexistent.so:memcpy"], "can't load contender `x`"),
        (&["--contender", "x=-:nonexistent"], "can't find `nonexistent`"),
        (&["--contender", "avx2", "--mask", "avx2"], "lacks avx2"),
        (&["--contender", "limit", "--cache", "hot"], "needs --cache cold"),
        (&["--load", "many"], "`many` is no load: write a number of threads from 0"),
        (&["--load", "3-1"], "`3-1` is no load"),
        (&["--load", "-1"], "`-1` is no load"),
        (&["--load", "99999"], "`99999` is no load"),
        (&["--load", "1", "--copiers", "2"], "cannot be used with"),
        (&["--latency", "--scatter"], "cannot be used with"),
        (&["--latency", "--then", "read"], "cannot be used with"),
        (&["--copiers", "0"], "at least 1"),
        (&["--copiers", "4000"], "need as many CPUs"),
        (&["--copiers", "2", "--then", "read"], "cannot be used with"),
        (&["--threads", "0"], "0 is not in 1..=64"),
        (&["--threads", "2", "--cpu", "0"], "cannot be used with"),
        (&["--contender", "foliocopy:threads:65"], "unknown contender `foliocopy:threads:65`"),
        (&["--export-json", "/nonexistent/r.json"], "can't write `/nonexistent/r.json`"),
        (&["--export-json", "/"], "is a directory"),
        (&["--export-json", "-", "--export-csv", "-"], "give each its own file"),
    ];
    for (arguments, message) in cases {
        let output = bench().args(*arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(message), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(!error.contains("panicked"), "{error}");
        let reason = &error.trim_end()[error.trim_end().rfind(": ").unwrap()..];
        assert_eq!(error.matches(reason).count(), 1, "said twice: {error}");
    }
}

#[test]
fn a_primitive_that_this_cpu_lacks_is_refused_by_its_feature() {
    let cpu = foliocopy::Cpu::detect();
    for primitive in foliocopy::Primitive::ALL.iter().filter(|primitive| !primitive.is_available(&cpu)) {
        let missing = primitive.missing(&cpu).to_string();
        short().args(["--contender", primitive.name()]).assert().code(2).stderr(contains(missing));
    }
}

#[test]
fn the_environment_is_obeyed_and_checked() {
    short().env("FOLIOCOPY_MASK", "fsrm").assert().code(0).stdout(contains("one memcpy (movq)"));
    let typo = || {
        let mut command = short();
        command.env("FOLIOCOPY_MASK", "sse9");
        command
    };
    typo().assert().code(0).stderr(contains("warning: FOLIOCOPY_MASK: unknown CPU feature"));
    typo()
        .env("FOLIOCOPY_STRICT", "1")
        .assert()
        .code(2)
        .stdout("")
        .stderr(contains("error: FOLIOCOPY_MASK: unknown CPU feature"));
}

/// A CPU whose row is masked is treated as one that was never measured, and the program says what to do.
#[test]
fn a_cpu_without_a_row_is_told_what_to_do() {
    short()
        .args(["--mask", "row"])
        .assert()
        .code(0)
        .stdout(contains("foliocopy copies (the general rule"))
        .stderr(contains("No measured table fits this CPU").and(contains("foliocopy survey")));
}

#[test]
fn an_interrupted_bench_shows_and_exports_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("results.json");
    let child = Process::new(assert_cmd::cargo::cargo_bin("foliocopy"))
        .args(["bench", "--folio", "4K", "--cache", "hot", "--time", "10m", "--evict", "2M", "--export-json"])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process::wait_until_it_has_worked(&child, Duration::from_secs(3));
    process::send(&child, &["INT"]);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8(output.stdout).unwrap().contains("hot, node"));
    assert!(String::from_utf8(output.stderr).unwrap().contains("interrupted and is incomplete"));
    let results = result::read(&file).unwrap();
    assert!(!results.complete);
    let rounds = results.cells[0].samples_gbps.len();
    assert!(results.cells.iter().all(|cell| cell.samples_gbps.len() == rounds), "whole rounds alone");
}
