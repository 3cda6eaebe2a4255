//! Judges every built-in table by every survey in results/surveys. The samples are fixed. So a change of a table or of the
//! general rule is judged on every surveyed CPU, with the same verdict on any machine.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use foliocopy::{Cpu, Features, Policy, Registers};
use foliocopy_measure::environment::described;
use foliocopy_measure::result;
use foliocopy_measure::survey::{Samples, Share, judge};

fn surveys() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../results/surveys");
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
    files.sort();
    files
}

/// What a file misses, and why. Nothing else may be missed, and what is no longer missed leaves this list.
fn is_known(file: &str, what: &str, bytes: Option<u64>) -> bool {
    // A glance at a short source was wrong there too often: docs/tuning-notes.md, "Emerald Rapids".
    let unglanced = 32 << 10..512 << 10;
    file == "emerald-rapids.json"
        && what == "auto cold"
        && bytes.is_some_and(|bytes| unglanced.contains(&bytes))
}

fn shares(samples: &Samples, cpu: Cpu) -> Result<(String, Vec<Share>), String> {
    let [process, kernel] =
        [Registers::Vector, Registers::GeneralPurpose].map(|registers| Policy::new(cpu, registers));
    Ok((process.source().text().to_owned(), judge(samples, &process, &kernel)?))
}

#[test]
fn every_table_has_its_share_of_the_best_on_every_cpu_that_was_surveyed() {
    let files = surveys();
    assert!(!files.is_empty(), "results/surveys holds no survey");
    let mut missed = String::new();
    for file in files {
        let results = result::read(&file).unwrap();
        let samples = Samples::of(&results.cells);
        let cpu = described(&results.environment.cpu);
        for cpu in [cpu, cpu.without(Features::ROW)] {
            let name = file.file_name().unwrap().to_string_lossy();
            let (source, shares) = shares(&samples, cpu).unwrap_or_else(|error| panic!("{name}: {error}"));
            let is_news = |share: &&Share| share.is_missed() != is_known(&name, &share.what, share.bytes);
            for Share { what, bytes, step, best, share, bound } in shares.iter().filter(is_news) {
                let bytes = bytes.map_or(String::new(), |bytes| format!(" {}K", bytes >> 10));
                let _ = writeln!(
                    missed,
                    "{name}, {source}: {what}{bytes}: {step} has {:.2} [{:.2}, {:.2}] of {best}, held against {bound:.2}",
                    share.median, share.low, share.high
                );
            }
        }
    }
    assert!(missed.is_empty(), "\n{missed}");
}
