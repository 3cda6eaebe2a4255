//! `foliocopy man`: the manual pages, from the same definitions as `--help`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use foliocopy_measure::text::shown;

use crate::exit::{self, Exit};
use crate::help::{self, ENVIRONMENT};
use crate::output_file::{self, OutputFile};

/// Arguments of `foliocopy man`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write one page a command into this directory, which is made if need be: section 8 for `kernel` and `migrate`, else 1
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
    collect(&program, "", &mut pages)?;
    let paths: Vec<PathBuf> = pages.iter().map(|(name, _)| directory.join(name)).collect();
    let files = OutputFile::create_all(paths.iter().map(PathBuf::as_path), args.force)?;
    let contents = pages.into_iter().map(|(_, page)| Ok(page));
    output_file::write_all(files.into_iter().zip(contents), OutputFile::write)?;
    Ok(Exit::Good.into())
}

/// The source of the pages.
const SOURCE: &str = concat!("foliocopy ", env!("CARGO_PKG_VERSION"));

/// Sections that say more than the options do, in the order of man-pages(7).
fn sections(path: &str) -> Roff {
    let help = help::of(path);
    let mut roff = Roff::new();
    let entries = |roff: &mut Roff, title: &str, entries: &[(&str, &str)]| {
        if !entries.is_empty() {
            roff.control("SH", [title]);
            for (name, what) in entries {
                roff.control("TP", []).text([bold(*name)]).text([roman(*what)]);
            }
        }
    };
    roff.control("SH", ["EXIT STATUS"]);
    for (exit, meaning) in exit::MEANINGS {
        roff.control("TP", []).text([bold((exit as u8).to_string())]).text([roman(meaning)]);
    }
    entries(&mut roff, "ENVIRONMENT", if help.copies { &ENVIRONMENT } else { &[] });
    entries(&mut roff, "FILES", help.files);
    if !help.examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
        for (what, command) in help.examples {
            roff.control("PP", []).text([roman(*what)]);
            roff.control("PP", []).control("RS", ["4"]).control("nf", []).text([roman(*command)]);
            roff.control("fi", []).control("RE", []);
        }
    }
    roff
}

/// Pages to go on with: those of the commands below, or of the one above.
fn see_also(command: &clap::Command, path: &str) -> Roff {
    let page = |path: &str| format!("{}({})", file_stem(path), help::section(path));
    let mut pages: Vec<String> = public(command).map(|sub| page(&join(path, sub.get_name()))).collect();
    if let Some((above, _)) = path.rsplit_once(' ') {
        pages.push(page(above));
    }
    if !path.is_empty() {
        pages.push(page(""));
    }
    let library = if path.is_empty() { ", foliocopy(3)" } else { "" };
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]).text([roman(pages.join(", ") + library)]);
    roff
}

/// The commands below, each with its page.
fn subcommands(command: &clap::Command, path: &str) -> Roff {
    let mut roff = Roff::new();
    let mut of = public(command).peekable();
    if of.peek().is_some() {
        roff.control("SH", ["COMMANDS"]);
    }
    for sub in of {
        let path = join(path, sub.get_name());
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        let name = format!("{}({})", file_stem(&path), help::section(&path));
        roff.control("TP", []).text([bold(name)]).text([roman(about)]);
    }
    roff
}

fn public(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command.get_subcommands().filter(|command| command.get_name() != "help" && !command.is_hide_set())
}

fn join(path: &str, name: &str) -> String {
    format!("{path} {name}").trim_start().to_owned()
}

/// Such as `foliocopy-kernel-load`.
fn file_stem(path: &str) -> String {
    ["foliocopy"].into_iter().chain(path.split_whitespace()).collect::<Vec<_>>().join("-")
}

/// The page of `command`, and those of its subcommands.
fn collect(command: &clap::Command, path: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let section = help::section(path);
    // An empty date would let the next words slip into its place.
    let man = Man::new(command.clone()).section(section).manual("foliocopy").source(SOURCE).date(" ");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    subcommands(command, path).to_writer(&mut text)?;
    if command.get_after_help().is_some() {
        man.render_extra_section(&mut text)?;
    }
    sections(path).to_writer(&mut text)?;
    see_also(command, path).to_writer(&mut text)?;
    pages.push((format!("{}.{section}", file_stem(path)), text));
    public(command).try_for_each(|sub| collect(sub, &join(path, sub.get_name()), pages))
}
