//! Results in the forms that other programs and people read, a file each.

pub(crate) mod csv;
pub(crate) mod json;
pub(crate) mod lkml;
pub(crate) mod markdown;

use std::path::{Path, PathBuf};

use anyhow::Result;
use foliocopy_measure::result::Results;

use crate::output_file::{self, OutputFile};

/// The files that a measurement is asked to write.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Output")]
pub(crate) struct ExportArgs {
    /// Write everything, samples included, as JSON to FILE (`-` for standard output)
    #[arg(long, value_name = "FILE")]
    export_json: Option<PathBuf>,
    /// Write a line a cell as CSV
    #[arg(long, value_name = "FILE")]
    export_csv: Option<PathBuf>,
    /// Write a table as Markdown
    #[arg(long, value_name = "FILE")]
    export_markdown: Option<PathBuf>,
    /// Write a mail for a mailing list: plain text, 72 columns
    #[arg(long, value_name = "FILE")]
    export_lkml: Option<PathBuf>,
    /// Overwrite files that exist
    #[arg(long)]
    force: bool,
}

/// A function that makes one form of the results.
type Form = fn(&Results) -> Result<Vec<u8>>;

/// The files, proved writable.
pub(crate) struct Exports {
    files: Vec<(OutputFile, Form)>,
    to_standard_output: bool,
}

impl ExportArgs {
    /// Proves that every file can be written.
    pub(crate) fn open(&self) -> Result<Exports> {
        let forms: [(&Option<PathBuf>, Form); 4] = [
            (&self.export_json, |results| Ok(json::text(results))),
            (&self.export_csv, |results| Ok(csv::text(results))),
            (&self.export_markdown, |results| Ok(markdown::text(results))),
            (&self.export_lkml, |results| Ok(lkml::mail(std::slice::from_ref(results))?.into_bytes())),
        ];
        let asked: Vec<(&Path, Form)> =
            forms.into_iter().filter_map(|(path, form)| Some((path.as_deref()?, form))).collect();
        let files = OutputFile::create_all(asked.iter().map(|(path, _)| *path), self.force)?;
        let to_standard_output = files.iter().any(OutputFile::is_standard_output);
        let forms = asked.into_iter().map(|(_, form)| form);
        Ok(Exports { files: files.into_iter().zip(forms).collect(), to_standard_output })
    }
}

impl Exports {
    /// Whether one of them takes standard output, which is then no place for anything else.
    pub(crate) fn to_standard_output(&self) -> bool {
        self.to_standard_output
    }

    /// Writes them all, before anything else can go wrong. The error names those that lie elsewhere now.
    pub(crate) fn write(self, results: &Results) -> Result<()> {
        let contents = self.files.into_iter().map(|(file, form)| (file, form(results)));
        output_file::write_all(contents, OutputFile::keep)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use foliocopy_measure::result::{Cache, Cell, Environment, Origin, Parameters, SCHEMA_VERSION};

    /// Results with two situations and two contenders, the second 0.8 times as fast when cold and 1.25 when hot.
    pub(crate) fn sample() -> Results {
        let mut results = Results {
            schema_version: SCHEMA_VERSION,
            program: "foliocopy 0.1.0".into(),
            command: "bench".into(),
            origin: Origin::UserSpace,
            started: "2026-11-23T09:00:00Z".into(),
            elapsed_seconds: 1.5,
            complete: true,
            environment: Environment::default(),
            parameters: Parameters { baseline: "per-page".into(), ..Parameters::default() },
            warnings: vec![],
            cells: vec![],
        };
        for (cache, speed_up) in [(Cache::Cold, 0.8), (Cache::Hot, 1.25)] {
            for (contender, factor) in [("per-page", 1.0), ("foliocopy", speed_up)] {
                let samples = (0..9).map(|round| factor * f64::from(8 + round)).collect();
                results.cells.push(Cell {
                    cache: Some(cache),
                    src_node: Some(0),
                    dst_node: Some(0),
                    ..Cell::new(contender, 65536, samples)
                });
            }
        }
        results.rate();
        results
    }

    #[test]
    fn two_exports_do_not_share_a_file() {
        let args = ExportArgs {
            export_json: Some("-".into()),
            export_csv: Some("-".into()),
            ..ExportArgs::default()
        };
        assert!(args.open().err().unwrap().to_string().contains("give each its own file"));
    }
}
