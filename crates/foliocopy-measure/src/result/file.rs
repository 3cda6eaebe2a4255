//! Reading and writing results as JSON.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use serde_json::error::Category;
use thiserror::Error;

use super::{Cell, Latency, Results, SCHEMA_VERSION};
use crate::statistics::Interval;
use crate::text::shown;
use crate::{input, text};

/// No file of results is longer: tens of millions of samples.
pub(crate) const LONGEST: u64 = 1 << 30;

/// Why a file of results can't be used. Each message names the file and says what would be right.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("can't read `{}`", shown(file))]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's message.
        #[source]
        source: io::Error,
    },
    /// The JSON ends too early.
    #[error("`{}` ends in the middle (line {line}): it was cut short, measure or copy it again", shown(file))]
    Truncated {
        /// The file.
        file: PathBuf,
        /// The place of the end.
        line: usize,
    },
    /// It isn't JSON, or it is JSON of somebody else.
    #[error(
        "`{}` is not a result of foliocopy: {reason}; write one with `foliocopy bench --export-json FILE`",
        shown(file)
    )]
    NotOurs {
        /// The file.
        file: PathBuf,
        /// The missing or wrong field.
        reason: String,
    },
    /// The file comes from a later program.
    #[error(
        "`{}` has schema version {version}, and this program reads up to {SCHEMA_VERSION}: use a newer foliocopy",
        shown(file)
    )]
    TooNew {
        /// The file.
        file: PathBuf,
        /// Its version.
        version: u64,
    },
    /// A line of a log of AMD's benchmark kit is broken.
    #[error("`{}`, line {line}: {problem}", shown(file))]
    Log {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// Nothing in a log of AMD's benchmark kit is a speed.
    #[error("`{}` holds no speed of a copy. {problem}", shown(file))]
    Useless {
        /// The file.
        file: PathBuf,
        /// The first reason.
        problem: String,
    },
    /// A file of `foliocopy kernel run-all` has nothing to show.
    #[error("`{}` is a file of `foliocopy kernel run-all`, but {problem}", shown(file))]
    RunAll {
        /// The file.
        file: PathBuf,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The file is empty.
    #[error("`{}` holds no cells: the run that wrote it measured nothing", shown(file))]
    Empty {
        /// The file.
        file: PathBuf,
    },
}

/// Reads the results in `file`.
pub fn read(file: &Path) -> Result<Results, ReadError> {
    let text =
        input::read(file, LONGEST).map_err(|source| ReadError::Io { file: file.to_owned(), source })?;
    read_from(&text, file)
}

/// Reads results from `content`; errors speak of it as `file`.
pub fn read_from(content: &[u8], file: &Path) -> Result<Results, ReadError> {
    let value = serde_json::from_slice(content).map_err(|error| match error.classify() {
        Category::Eof if !content.trim_ascii().is_empty() => {
            ReadError::Truncated { file: file.to_owned(), line: error.line() }
        }
        _ => ReadError::NotOurs { file: file.to_owned(), reason: format!("it is not JSON ({error})") },
    })?;
    read_value(value, file)
}

/// Reads results from JSON that is parsed already; errors speak of it as `file`.
pub fn read_value(mut value: Value, file: &Path) -> Result<Results, ReadError> {
    let not_ours = |reason: String| ReadError::NotOurs { file: file.to_owned(), reason };
    // Whatever others wrote, nothing of it steers a terminal or forges a line.
    text::disarm(&mut value);
    let version = value
        .get("schema_version")
        .and_then(Value::as_u64)
        .ok_or_else(|| not_ours("it has no `schema_version`".into()))?;
    match version {
        0 => return Err(not_ours("its `schema_version` is 0".into())),
        version if version > u64::from(SCHEMA_VERSION) => {
            return Err(ReadError::TooNew { file: file.to_owned(), version });
        }
        _ => {}
    }
    let mut results: Results = serde_json::from_value(value).map_err(|error| not_ours(error.to_string()))?;
    if results.cells.is_empty() {
        return Err(ReadError::Empty { file: file.to_owned() });
    }
    results.cells.iter().try_for_each(|cell| possible(cell).map_err(not_ours))?;
    results.cells.iter_mut().filter_map(|cell| cell.latency.as_mut()).for_each(Latency::summarize);
    // Whatever rule an older program had, today's holds for all.
    results.rate();
    Ok(results)
}

/// Refuses figures that nobody can have measured, with the reason.
fn possible(cell: &Cell) -> Result<(), String> {
    let (contender, situation) = (&cell.contender, cell.situation());
    let good = |figure: &f64| figure.is_finite() && *figure > 0.0;
    if cell.samples_gbps.is_empty() || !cell.samples_gbps.iter().all(good) {
        return Err(format!(
            "a cell of `{contender}` ({situation}) has no samples or some that are no speeds"
        ));
    }
    if cell.latency.as_ref().is_some_and(|latency| !latency.is_possible()) {
        return Err(format!(
            "the `latency` of a cell of `{contender}` ({situation}) is none: it needs as many `copies` as `ns`, which ascend"
        ));
    }
    if !cell.load.iter().flat_map(|load| &load.gbps).all(|gbps| gbps.is_finite() && *gbps >= 0.0) {
        return Err(format!(
            "the `load` of a cell of `{contender}` ({situation}) has figures that are no speeds"
        ));
    }
    let ratio = cell.ratio_to_baseline.into_iter().flat_map(|ratio| {
        let Interval { median, low, high } = ratio.interval;
        [median, low, high, ratio.corrected_low, ratio.corrected_high]
    });
    let not_negative = |figure: &f64| figure.is_finite() && *figure >= 0.0;
    match [cell.median_gbps, cell.mean_gbps].into_iter().chain(ratio).all(|figure| good(&figure))
        && [cell.stdev_gbps].into_iter().chain(cell.seconds).all(|figure| not_negative(&figure))
    {
        true => Ok(()),
        false => {
            Err(format!("a cell of `{contender}` ({situation}) has a figure that is negative or infinite"))
        }
    }
}

/// Writes `results` as JSON with a final newline.
pub fn write_to(results: &Results, mut output: impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut output, results)?;
    output.write_all(b"\n")?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;
    use std::fs;

    fn written(results: &Results) -> Vec<u8> {
        let mut text = Vec::new();
        write_to(results, &mut text).unwrap();
        text
    }

    fn message(text: &[u8]) -> String {
        read_from(text, Path::new("results.json")).unwrap_err().to_string()
    }

    /// The text of the sample with one change to its tree.
    fn altered(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut value = serde_json::to_value(sample()).unwrap();
        change(&mut value);
        serde_json::to_vec(&value).unwrap()
    }

    #[test]
    fn what_is_written_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("results.json");
        fs::write(&file, written(&sample())).unwrap();
        assert_eq!(read(&file).unwrap(), sample());
    }

    #[test]
    fn cells_have_the_documented_keys() {
        let value: Value = serde_json::from_slice(&written(&sample())).unwrap();
        let cell = &value["cells"][3];
        assert_eq!(cell["cache"], "hot");
        assert_eq!(cell["folio_bytes"], 65536);
        assert_eq!((&cell["src_node"], &cell["dst_node"]), (&0.into(), &0.into()));
        assert_eq!(cell["contender"], "foliocopy");
        assert_eq!(cell["samples_gbps"].as_array().unwrap().len(), 9);
        for key in ["median_gbps", "mean_gbps", "stdev_gbps"] {
            assert!(cell[key].is_f64(), "{key}");
        }
        for key in ["median", "low", "high", "corrected_low", "corrected_high"] {
            assert_eq!(cell["ratio_to_baseline"][key], 1.25, "{key}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = read(Path::new("/nonexistent/results.json")).unwrap_err();
        assert_eq!(error.to_string(), "can't read `/nonexistent/results.json`");
    }

    #[test]
    fn a_cut_file_is_called_cut() {
        let text = written(&sample());
        for length in [1, text.len() / 2, text.len() - 3] {
            assert!(message(&text[..length]).contains("ends in the middle"), "{length}");
        }
    }

    #[test]
    fn files_of_others_are_refused_with_the_reason() {
        assert!(message(b"").contains("it is not JSON"));
        assert!(message(b"GIF89a").contains("it is not JSON"));
        assert!(message(br#"{"results": []}"#).contains("no `schema_version`"));
        assert!(message(br#"{"schema_version": 1}"#).contains("missing field `program`"));
        assert!(message(b"[1, 2]").contains("no `schema_version`"));
    }

    #[test]
    fn a_later_schema_is_refused_and_an_unknown_key_is_not() {
        let text = altered(|value| value["schema_version"] = (SCHEMA_VERSION + 1).into());
        assert!(message(&text).contains("use a newer foliocopy"));
        let text = altered(|value| value["cells"][0]["colour"] = "green".into());
        assert_eq!(read_from(&text, Path::new("results.json")).unwrap(), sample());
    }

    #[test]
    fn the_loads_of_version_1_are_read() {
        let text = altered(|value| {
            value["schema_version"] = 1.into();
            value["cells"][0]["latency_cycles"] = serde_json::json!([[40, 300]]);
        });
        let results = read_from(&text, Path::new("results.json")).unwrap();
        assert_eq!(results.cells[0].probe_load_cycles, [[40, 300]]);
        let text = String::from_utf8(written(&results)).unwrap();
        assert!(text.contains("probe_load_cycles") && !text.contains("latency_cycles"));
    }

    #[test]
    fn impossible_latencies_and_loads_are_refused() {
        let good = serde_json::json!({"ns": [10, 20], "copies": [3, 1], "max_ns": 20});
        let text = altered(|value| value["cells"][0]["latency"] = good.clone());
        let latency = read_from(&text, Path::new("results.json")).unwrap().cells[0].latency.clone().unwrap();
        assert_eq!((latency.p50_ns, latency.max_ns), (10, 20));
        for (ns, copies) in [("[]", "[]"), ("[20, 10]", "[1, 1]"), ("[10]", "[1, 1]"), ("[10]", "[0]")] {
            let text = altered(|value| {
                value["cells"][0]["latency"] = serde_json::json!({
                    "ns": serde_json::from_str::<Value>(ns).unwrap(),
                    "copies": serde_json::from_str::<Value>(copies).unwrap(),
                });
            });
            assert!(message(&text).contains("as many `copies` as `ns`"), "{ns} {copies}");
        }
        let text = altered(|value| {
            value["cells"][0]["load"] = serde_json::json!({"threads": 1, "gbps": [-1.0]});
        });
        assert!(message(&text).contains("`load` of a cell"));
    }

    #[test]
    fn results_without_figures_are_refused() {
        assert!(message(&altered(|value| value["cells"] = Value::Array(vec![]))).contains("no cells"));
        for samples in ["[]", "[0.0]", "[-1.0]"] {
            let text =
                altered(|value| value["cells"][0]["samples_gbps"] = serde_json::from_str(samples).unwrap());
            assert!(message(&text).contains("per-page"), "{samples}");
        }
        for (figure, value) in [("median_gbps", -1.0), ("stdev_gbps", -1.0), ("mean_gbps", 0.0)] {
            let text = altered(|results| results["cells"][0][figure] = value.into());
            assert!(message(&text).contains("negative or infinite"), "{figure}");
        }
        for figure in ["median", "low", "corrected_high"] {
            let text = altered(|results| results["cells"][1]["ratio_to_baseline"][figure] = (-0.5).into());
            assert!(message(&text).contains("`foliocopy` (cold 64K 0->0) has a figure"), "{figure}");
        }
        let infinite = String::from_utf8(written(&sample())).unwrap().replacen("12.0", "1e999", 1);
        assert!(message(infinite.as_bytes()).contains("out of range"), "{}", message(infinite.as_bytes()));
    }
}
