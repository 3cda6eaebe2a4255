//! The exception table of an object file.

/// The entry of the instruction at the label 771: EX_TYPE_FAULT_MCE_SAFE is 15.
macro_rules! entry {
    ($landing_pad:literal) => {
        concat!(
            ".pushsection ",
            $crate::extable::section!(),
            "\n.balign 4\n.long 771b - .\n.long ",
            $landing_pad,
            " - .\n.long 15\n.popsection"
        )
    };
}

/// The kernel's own table. Linux 7.3 marks it mergeable (`"aM",@progbits,12`); its module loader asks
/// for the name alone.
#[cfg(foliocopy_kernel)]
macro_rules! section {
    () => {
        "__ex_table, \"a\", @progbits"
    };
}

/// Our table. `R` keeps it through `--gc-sections`, which references to its start and stop symbols alone do not.
#[cfg(not(foliocopy_kernel))]
macro_rules! section {
    () => {
        concat!($crate::extable::table_name!(), ", \"aR\", @progbits")
    };
}

/// The name of the crate's table: a C identifier, for which the linker defines a start and a stop symbol.
///
/// It carries the version. Another version in the same program may lay out its [`Recovery`](super::Recovery) differently,
/// so each has a table of its own.
#[cfg(not(foliocopy_kernel))]
macro_rules! table_name {
    () => {
        concat!(
            "foliocopy_ex_table_",
            env!("CARGO_PKG_VERSION_MAJOR"),
            "_",
            env!("CARGO_PKG_VERSION_MINOR"),
            "_",
            env!("CARGO_PKG_VERSION_PATCH"),
            "_",
            env!("CARGO_PKG_VERSION_PRE")
        )
    };
}

#[cfg(not(foliocopy_kernel))]
pub(crate) use table_name;
pub(crate) use {entry, section};
