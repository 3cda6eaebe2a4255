//! `foliocopy kernel load` and `unload`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

use super::debugfs::{ENGINE, require_root};
use super::livepatch::LIVEPATCH;
use super::module;
use crate::exit::Exit;
use crate::printer;

/// Arguments of `foliocopy kernel load`.
#[derive(clap::Args)]
pub(crate) struct LoadArgs {
    /// The folder that has foliocopy.ko [default: as modprobe finds it]
    #[arg(long, value_name = "DIRECTORY")]
    modules: Option<PathBuf>,
}

pub(super) fn load(args: LoadArgs) -> Result<ExitCode> {
    require_root("loading a module is for root")?;
    match module::load(ENGINE, args.modules.as_deref())? {
        true => printer::line(format_args!(
            "{ENGINE} is loaded; nothing copies with it yet but its own bench and self-test"
        ))?,
        false => printer::line(format_args!("{ENGINE} was loaded already"))?,
    }
    super::status::show()?;
    Ok(Exit::Good.into())
}

pub(super) fn unload() -> Result<ExitCode> {
    require_root("unloading a module is for root")?;
    if !module::is_loaded(ENGINE) {
        printer::line(format_args!("{ENGINE} is not loaded"))?;
        return Ok(Exit::Good.into());
    }
    if module::is_loaded(LIVEPATCH) {
        bail!("the livepatch uses it: `foliocopy kernel patch off` first");
    }
    module::unload(ENGINE)?;
    printer::line(format_args!("{ENGINE} is unloaded"))?;
    Ok(Exit::Good.into())
}
