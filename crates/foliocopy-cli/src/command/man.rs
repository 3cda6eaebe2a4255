//! `foliocopy man`: the manual pages, from the same definitions as `--help`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use foliocopy_measure::text::shown;

use crate::exit::{self, Exit};
use crate::output_file::{self, OutputFile};

/// What `foliocopy man` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write a page for the program and one for each subcommand into this directory, which is made if need be
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Overwrite pages that exist
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let directory = &args.output;
    std::fs::create_dir_all(directory)
        .with_context(|| format!("can't make the directory `{}`", shown(directory)))?;
    let mut program = crate::program();
    program.build();
    let mut pages = Vec::new();
    collect(&program, &mut pages)?;
    let paths: Vec<PathBuf> = pages.iter().map(|(name, _)| directory.join(name)).collect();
    let files = OutputFile::create_all(paths.iter().map(PathBuf::as_path), args.force)?;
    let contents = pages.into_iter().map(|(_, page)| Ok(page));
    output_file::write_all(files.into_iter().zip(contents), OutputFile::write)?;
    Ok(Exit::Good.into())
}

/// What the pages are of.
const SOURCE: &str = concat!("foliocopy ", env!("CARGO_PKG_VERSION"));

/// The section that every page has.
fn exit_status() -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["EXIT STATUS"]);
    for (exit, meaning) in exit::MEANINGS {
        section.control("TP", []).text([bold((exit as u8).to_string())]).text([roman(meaning)]);
    }
    section
}

/// The page of `command`, and those of its subcommands.
fn collect(command: &clap::Command, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    // An empty date would let the next words slip into its place.
    let man = Man::new(command.clone()).manual("foliocopy").source(SOURCE).date(" ");
    let mut text = Vec::new();
    man.render(&mut text)?;
    exit_status().to_writer(&mut text)?;
    pages.push((man.get_filename(), text));
    let public = |command: &&clap::Command| command.get_name() != "help" && !command.is_hide_set();
    command.get_subcommands().filter(public).try_for_each(|command| collect(command, pages))
}
