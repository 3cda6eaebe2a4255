//! The kernel's own tests of moving memory, built from its source.

use anyhow::{Context, Result};
use foliocopy_vm::scenario::SELFTESTS;
use xshell::{Shell, cmd};

use super::initramfs::Initramfs;
use crate::need::{self, Need};
use crate::source::Source;

/// The needs of building them.
const NEEDS: &[Need] = &[need::MAKE, Need::Header("numa.h", "libnuma-dev")];

/// Builds the tests of the scenario, and packs them.
pub(crate) fn pack(shell: &Shell, packing: &mut Initramfs) -> Result<()> {
    need::demand(shell, NEEDS)?;
    let source = Source::fetch(shell)?;
    let (tree, output) = (source.tree(), source.output("selftests"));
    shell.create_dir(&output)?;
    eprintln!("building the kernel's own tests");
    cmd!(shell, "make -s -C {tree} O={output} headers").quiet().run()?;
    let tests = SELFTESTS.map(|name| output.join(name));
    let targets = &tests;
    let headers = format!("-isystem {}/usr/include", output.display());
    cmd!(
        shell,
        "make -s -C {tree}/tools/testing/selftests/mm OUTPUT={output} KHDR_INCLUDES={headers} {targets...}"
    )
    .quiet()
    .run()
    .context("the kernel's own tests do not compile")?;
    SELFTESTS.iter().zip(&tests).try_for_each(|(name, test)| packing.program(&format!("tests/{name}"), test))
}
