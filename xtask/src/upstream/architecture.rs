//! The architectures for which the series is compiled, and the changes that it may make on each.

use anyhow::{Result, ensure};
use xshell::{Shell, cmd};

use super::disassembly::{Objects, Sameness, differences};
use crate::need::Need;
use crate::source::Source;

/// The objects under test: they include the headers that the series touches, and copy pages.
const OBJECTS: &[&str] = &["mm/util.o", "mm/migrate.o", "mm/khugepaged.o", "mm/memory.o"];

/// The compilers for them.
pub(crate) const NEEDS_OF_ARCHITECTURES: &[Need] =
    &[Need::Program(&["gcc"], "gcc"), Need::Program(&["aarch64-linux-gnu-gcc"], "gcc-aarch64-linux-gnu")];

/// One of Linux's architectures.
pub(crate) struct Architecture {
    /// The name in our messages.
    pub(crate) name: &'static str,
    /// The name in Linux's Makefile.
    pub(crate) arch: &'static str,
    /// The prefix of its tools' names.
    cross: &'static str,
    defconfig: &'static str,
    /// Additional options.
    options: &'static [&'static str],
    /// Additional targets beside [`OBJECTS`].
    targets: &'static [&'static str],
    /// The functions that may differ, and how much.
    may_differ: &'static [(&'static str, Sameness)],
}

/// x86-64 is the first: every step is compiled for it, and its assembly is run.
pub(crate) const ARCHITECTURES: [Architecture; 3] = [
    Architecture {
        name: "x86-64",
        arch: "x86_64",
        cross: "",
        defconfig: "defconfig",
        options: &[],
        targets: &["arch/x86/lib/"],
        may_differ: &[
            ("folio_copy", Sameness::Free),
            ("folio_mc_copy", Sameness::Free),
            // The code that replaces `call __copy_pages_unrolled` at boot.
            (".altinstr_replacement", Sameness::Free),
        ],
    },
    // This architecture maps its pages one at a time.
    Architecture {
        name: "i386 with HIGHMEM",
        arch: "i386",
        cross: "",
        defconfig: "i386_defconfig",
        options: &["HIGHMEM4G"],
        targets: &[],
        // gcc 12 keeps the page count in a register here, which it read from the stack before. So there is one `mov` more.
        may_differ: &[("folio_copy", Sameness::Operations)],
    },
    // This architecture has its own copy_highpage(), which copies the tags of pages.
    Architecture {
        name: "arm64",
        arch: "arm64",
        cross: "aarch64-linux-gnu-",
        defconfig: "defconfig",
        options: &[],
        targets: &[],
        may_differ: &[],
    },
];

impl Architecture {
    /// Compiles the files that the series touches.
    pub(crate) fn compile(&self, shell: &Shell, source: &Source) -> Result<()> {
        let Self { arch, cross, defconfig, targets, .. } = self;
        let output = source.output(self.arch);
        let tree = source.tree();
        let make = |targets: &[&str]| {
            // Two targets of one folder race when they are made in parallel. So -j is for the compiler only.
            cmd!(shell, "make -s -j2 -C {tree} O={output} ARCH={arch} CROSS_COMPILE={cross} {targets...}")
                .quiet()
                .ignore_stdout()
                .run()
        };
        let config = output.join(".config");
        if !config.exists() {
            make(&[defconfig])?;
            let options = ["TRANSPARENT_HUGEPAGE", "MEMORY_FAILURE"].iter().chain(self.options);
            let options = options.flat_map(|option| ["-e", option]);
            cmd!(shell, "{tree}/scripts/config --file {config} {options...}").quiet().run()?;
            make(&["olddefconfig"])?;
            for option in self.options {
                let set = shell.read_file(&config)?.contains(&format!("CONFIG_{option}=y"));
                ensure!(set, "this kernel can't be configured with CONFIG_{option}");
            }
        }
        make(&["prepare"])?;
        make(&[OBJECTS, targets].concat())?;
        Ok(())
    }

    /// The machine code of [`OBJECTS`].
    pub(crate) fn disassemble(&self, shell: &Shell, source: &Source) -> Result<Objects> {
        let cross = self.cross;
        let output = source.output(self.arch);
        let of = |object: &&'static str| {
            let path = output.join(object);
            let text = cmd!(shell, "{cross}objdump -dr --no-show-raw-insn {path}").quiet().read()?;
            Ok((*object, text))
        };
        OBJECTS.iter().map(of).collect()
    }

    /// Fails where a function differs more than it may.
    pub(crate) fn compare(&self, before: &Objects, after: &Objects) -> Result<()> {
        for (object, before) in before {
            let different = differences(before, &after[object], self.may_differ);
            ensure!(different.is_empty(), "{object}: the machine code of {} differs", different.join(", "));
        }
        Ok(())
    }
}
