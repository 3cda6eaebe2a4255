//! Made-up results for tests of the output, and their rendering by the program.
#![allow(dead_code, reason = "every test program uses some of it")]

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use foliocopy_measure::result::{self, Cache, Cell, Contender, Node, Results};

/// The fixture of schema version 1: three contenders, three folio sizes, cold and hot.
pub(crate) fn schema_1() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/schema-1.json")
}

/// Results of the default bench: the five contenders over ten folio sizes, with rounds enough for a verdict.
pub(crate) fn one_machine() -> Results {
    made_up(&["per-page", "per-page-mc", "rfc", "rfc-mc", "foliocopy"], 10, &[(0, 0)], 21)
}

/// Results with very many contenders.
pub(crate) fn many_contenders() -> Results {
    let names = [
        "per-page",
        "rfc",
        "foliocopy",
        "foliocopy-mc",
        "movnti",
        "avx2",
        "movq",
        "glibc",
        "avx512_nt",
        "aocl",
    ];
    let mut results = made_up(&names, 10, &[(0, 0)], 11);
    results.warnings =
        vec!["the governor is `powersave`: set it with `cpupower frequency-set -g performance`".into()];
    results
}

/// Results with the bench's longest names, and an even longer one.
pub(crate) fn long_names() -> Results {
    let names = ["per-page", "foliocopy", "foliocopy:non_temporal", "my-favourite-memcpy-of-last-summer"];
    made_up(&names, 4, &[(0, 0)], 7)
}

/// Results of a machine with three nodes, one of them without CPUs, interrupted.
pub(crate) fn many_nodes() -> Results {
    let pairs: Vec<(u32, u32)> = (0..3).flat_map(|src| (0..3).map(move |dst| (src, dst))).collect();
    let mut results = made_up(&["per-page", "rfc", "foliocopy"], 3, &pairs, 7);
    results.complete = false;
    results.environment.cpu.microarchitecture = Some("Zen 5".into());
    results.environment.nodes = (0..3)
        .map(|id| Node { id, cpus: if id == 2 { String::new() } else { id.to_string() }, ..Node::default() })
        .collect();
    results
}

/// Results of an emulated CPU, of which no speed may be shown.
pub(crate) fn emulated() -> Results {
    let mut results = one_machine();
    results.environment.emulated = true;
    results.environment.cpu.microarchitecture = Some("emulated".into());
    results
}

/// Results with `nr_sizes` folio sizes from 4 KiB, cold and hot.
pub(crate) fn made_up(contenders: &[&str], nr_sizes: u32, nodes: &[(u32, u32)], rounds: u32) -> Results {
    let mut results = result::read(&schema_1()).unwrap();
    results.cells.clear();
    results.parameters.contenders =
        contenders.iter().map(|name| Contender { name: (*name).into(), ..Contender::default() }).collect();
    let mut noise = 1u32;
    for cache in [Cache::Cold, Cache::Hot] {
        for &(src, dst) in nodes {
            for size in 0..nr_sizes {
                for (place, contender) in contenders.iter().enumerate() {
                    let samples = (0..rounds).map(|_| {
                        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let noise = f64::from(noise >> 8) / f64::from(1 << 24);
                        (10.0 + f64::from(size) + 4.0 * f64::from(dst))
                            * (1.0 + 0.06 * place as f64)
                            * (0.95 + 0.1 * noise)
                    });
                    results.cells.push(Cell {
                        cache: Some(cache),
                        src_node: Some(src),
                        dst_node: Some(dst),
                        ..Cell::new(*contender, 4096 << size, samples.collect())
                    });
                }
            }
        }
    }
    results.rate();
    results
}

/// Writes `results` into `directory` as `name`.
pub(crate) fn write(directory: &Path, name: &str, results: &Results) -> PathBuf {
    let file = directory.join(name);
    let output = BufWriter::new(fs::File::create(&file).unwrap());
    result::write_to(results, output).unwrap();
    file
}

pub(crate) fn foliocopy() -> Command {
    Command::cargo_bin("foliocopy").unwrap()
}

/// Whether an output has these words, wherever its lines break.
pub(crate) fn says(expected: &str) -> impl predicates::Predicate<str> {
    let expected = expected.to_owned();
    predicates::function::function(move |text: &str| {
        text.split_whitespace().collect::<Vec<_>>().join(" ").contains(&expected)
    })
}

/// Whether no line of an output is wider than 80 columns.
pub(crate) fn fits() -> impl predicates::Predicate<str> {
    predicates::function::function(|text: &str| text.lines().all(|line| line.chars().count() <= 80))
}

/// The page of `foliocopy report` for `machines`.
pub(crate) fn page(machines: &[Results]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let mut command = foliocopy();
    command.args(["report", "-o", "-"]);
    for (index, results) in machines.iter().enumerate() {
        command.arg(write(directory.path(), &format!("machine-{index}.json"), results));
    }
    String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap()
}

/// The charts of `foliocopy report --svg` for `machines`, by name.
pub(crate) fn charts(machines: &[Results]) -> Vec<(String, String)> {
    let directory = tempfile::tempdir().unwrap();
    let charts = directory.path().join("charts");
    let mut command = foliocopy();
    command.arg("report").arg("--svg").arg(&charts);
    for (index, results) in machines.iter().enumerate() {
        command.arg(write(directory.path(), &format!("machine-{index}.json"), results));
    }
    command.assert().success();
    let files = fs::read_dir(charts).unwrap().map(|entry| entry.unwrap().path());
    files.map(|file| (file.display().to_string(), fs::read_to_string(&file).unwrap())).collect()
}
