//! `foliocopy report`: results as a page, as charts, as a mail.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail, ensure};
use foliocopy_measure::result::Results;
use foliocopy_measure::run_all;
use foliocopy_measure::text::shown;

use crate::exit::Exit;
use crate::export::lkml;
use crate::output_file::{self, OutputFile};
use crate::report::{self, Machine};

/// Arguments of `foliocopy report`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Results that `--export-json` wrote, files of `kernel run-all`, or logs of AMD's folio-bench-kit; several stand beside
    /// each other
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    outputs: Outputs,
    /// Show this contender beside the baseline, and the others that are named so, alone
    #[arg(long = "contender", value_name = "NAME")]
    contenders: Vec<String>,
    /// Overwrite files that exist
    #[arg(long)]
    force: bool,
}

/// The forms of the report: at least one of these.
#[derive(clap::Args)]
#[group(required = true, multiple = true)]
struct Outputs {
    /// Write one self-contained HTML page (`-` for standard output)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the charts of the page as SVG files into this directory, which is made if need be
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Write plain text of 72 columns for a mailing list (`-` for standard output)
    #[arg(long, value_name = "FILE")]
    export_lkml: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let (mut sources, mut results) = (Vec::new(), Vec::new());
    for file in &args.files {
        for measured in run_all::read(file)? {
            sources.push(Source { file, part: measured.part });
            results.push(measured.results);
        }
    }
    if !args.contenders.is_empty() {
        for (results, source) in results.iter_mut().zip(&sources) {
            results.retain_contenders(&args.contenders).map_err(|name| {
                anyhow!("`{}` has no contender `{name}`: {}", source.path(), measured(results))
            })?;
        }
    }
    let machines = name(&sources, &results);

    // Everything is rendered and every place proved before the first file is put there.
    let mut outputs: Vec<(PathBuf, String)> = Vec::new();
    if let Some(path) = &args.outputs.output {
        outputs.push((path.clone(), report::page(&machines)));
    }
    if let Some(path) = &args.outputs.export_lkml {
        outputs.push((path.clone(), lkml::mail(&results)?));
    }
    if let Some(directory) = &args.outputs.svg {
        outputs.extend(charts(directory, &machines)?);
    }
    let files = OutputFile::create_all(outputs.iter().map(|(path, _)| path.as_path()), args.force)?;
    for (file, (path, _)) in files.iter().zip(&outputs) {
        ensure!(
            !args.files.iter().any(|input| file.is_also(input)),
            "`{}` holds results of which the report is made: name another file",
            shown(path)
        );
    }
    let contents = outputs.into_iter().map(|(_, text)| Ok(text.into_bytes()));
    output_file::write_all(files.into_iter().zip(contents), OutputFile::write)?;
    Ok(Exit::Good.into())
}

/// The contenders, in words.
fn measured(results: &Results) -> String {
    let names: BTreeSet<&str> = results.cells.iter().map(|cell| cell.contender.as_str()).collect();
    format!("it has {}", names.into_iter().collect::<Vec<_>>().join(", "))
}

fn charts(directory: &Path, machines: &[Machine<'_>]) -> Result<Vec<(PathBuf, String)>> {
    let files = report::files(machines);
    if files.is_empty() {
        bail!("there is nothing to draw: the timings of an emulated CPU are not shown as speed");
    }
    std::fs::create_dir_all(directory)
        .with_context(|| format!("can't make the directory `{}`", shown(directory)))?;
    Ok(files.into_iter().map(|(name, text)| (directory.join(name), text)).collect())
}

/// The place of results: a file, or a part of one.
struct Source<'a> {
    file: &'a Path,
    part: Option<String>,
}

impl Source<'_> {
    /// The name of the file without folder and suffix.
    fn stem(&self) -> String {
        self.of_part(self.file.file_stem().unwrap_or(self.file.as_os_str()).as_ref())
    }

    fn path(&self) -> String {
        self.of_part(self.file)
    }

    fn of_part(&self, file: &Path) -> String {
        match &self.part {
            Some(part) => format!("{}: {part}", shown(file)),
            None => shown(file),
        }
    }
}

/// Names the machines: by their CPU if the names differ, else by their files, else by their place.
fn name<'a>(sources: &[Source<'_>], results: &'a [Results]) -> Vec<Machine<'a>> {
    let distinct = |names: &[String]| names.iter().collect::<HashSet<_>>().len() == names.len();
    let microarchitecture = |results: &Results| {
        let cpu = &results.environment.cpu;
        cpu.microarchitecture.clone().unwrap_or_else(|| cpu.model_name.clone())
    };
    let number = |(index, source): (usize, &Source<'_>)| format!("{} ({})", source.stem(), index + 1);
    let names = [
        results.iter().map(microarchitecture).collect::<Vec<_>>(),
        sources.iter().map(Source::stem).collect(),
        sources.iter().map(Source::path).collect(),
    ]
    .into_iter()
    .find(|names| distinct(names))
    .unwrap_or_else(|| sources.iter().enumerate().map(number).collect());
    names.into_iter().zip(results).map(|(name, results)| Machine { name, results }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use foliocopy_measure::result;

    fn results(microarchitecture: &str) -> Results {
        let text = include_bytes!("../../tests/fixtures/schema-1.json");
        let mut results = result::read_from(text, Path::new("schema-1.json")).unwrap();
        results.environment.cpu.microarchitecture = Some(microarchitecture.into());
        results
    }

    fn names(files: &[&str], microarchitectures: &[&str]) -> Vec<String> {
        let sources: Vec<_> = files.iter().map(|file| Source { file: Path::new(file), part: None }).collect();
        let results: Vec<Results> = microarchitectures.iter().copied().map(results).collect();
        name(&sources, &results).into_iter().map(|machine| machine.name).collect()
    }

    #[test]
    fn machines_are_named_by_what_tells_them_apart() {
        assert_eq!(names(&["a.json", "b.json"], &["Zen 3", "Zen 5"]), ["Zen 3", "Zen 5"]);
        assert_eq!(names(&["a.json", "b.json"], &["Zen 3", "Zen 3"]), ["a", "b"]);
        assert_eq!(names(&["x/a.json", "y/a.json"], &["Zen 3", "Zen 3"]), ["x/a.json", "y/a.json"]);
        assert_eq!(names(&["a.json", "a.json"], &["Zen 3", "Zen 3"]), ["a (1)", "a (2)"]);
    }
}
