//! The module's files, or what is missing to have them.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use foliocopy_measure::kernel::DEBUGFS;

use super::module;

/// The module whose files they are.
pub(super) const ENGINE: &str = "foliocopy";

/// The folder with the module's files.
pub(super) fn folder() -> Result<PathBuf> {
    if !module::is_loaded(ENGINE) {
        bail!("{ENGINE}.ko is not loaded: `foliocopy kernel load` does that, as root");
    }
    require_root("the module's files are for root")?;
    let folder = Path::new(DEBUGFS);
    if !folder.is_dir() {
        bail!("{DEBUGFS} is not there: mount debugfs (`mount -t debugfs none /sys/kernel/debug`)");
    }
    Ok(folder.to_owned())
}

/// Refuses to go on for anybody but root, whom `what` is about.
pub(super) fn require_root(what: &str) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("{what}: run this as root");
    }
    Ok(())
}
