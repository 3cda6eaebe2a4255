//! Why a contender can't take part.

use std::io;

use foliocopy::{CopyError, Primitive, RowError};
use thiserror::Error;

use super::{DEFAULT, FURTHER, STEPS};

/// Why a contender can't take part.
#[derive(Debug, Error)]
pub enum ContenderError {
    /// The name is unknown.
    #[error(
        "unknown contender `{0}`; known are {known}, foliocopy:threads:N (1 to 64), a primitive ({primitives}), page:PRIMITIVE, \
         a step of a policy's table ({STEPS}), and NAME=LIBRARY.so:SYMBOL",
        known = known_names(),
        primitives = primitive_names()
    )]
    Unknown(String),
    /// This CPU, less what is masked, can't run the primitive.
    #[error("contender `{name}` can't run here")]
    Unavailable {
        /// The contender.
        name: String,
        /// The missing feature.
        source: CopyError,
    },
    /// No vector loop to find the limit with.
    #[error("contender `limit` needs AVX2 or AVX-512, which this CPU lacks")]
    NoVectorLoop,
    /// `NAME=LIBRARY:SYMBOL` without one of the three.
    #[error(
        "`{0}` is no loaded contender: write NAME=LIBRARY.so:SYMBOL, or NAME=-:SYMBOL for a function of this program; \
         behind a function that counts pages and not bytes, @pages, and behind one like foliocopy_copy_mc_pages, @mc"
    )]
    Malformed(String),
    /// A function of foliocopy that is not called like a contender.
    #[error(
        "`{0}` can't be a contender: of foliocopy's functions foliocopy_copy_pages and foliocopy_copy_mc_pages can"
    )]
    Ours(String),
    /// A name that would break tables and terminals.
    #[error("`{0}` can't be the name of a contender: it has letters that are not printed")]
    Unprintable(String),
    /// The library can't be loaded.
    #[error("can't load contender `{name}`")]
    Library {
        /// The contender.
        name: String,
        /// The loader's message.
        source: libloading::Error,
    },
    /// This build can't load anything.
    #[error(
        "can't load contender `{0}`: this program is linked statically, and such a program has no dlopen(3); use a build for \
         a target with shared libraries, such as x86_64-unknown-linux-gnu"
    )]
    Static(String),
    /// The library is no file.
    #[error("can't load contender `{name}`")]
    NoFile {
        /// The contender.
        name: String,
        /// The system's message.
        source: io::Error,
    },
    /// The library lacks the symbol.
    #[error("can't find `{symbol}` for contender `{name}`")]
    Symbol {
        /// The contender.
        name: String,
        /// The symbol.
        symbol: String,
        /// The loader's message.
        source: libloading::Error,
    },
    /// No table could have the step.
    #[error("contender `{name}` can't run here")]
    Step {
        /// The contender.
        name: String,
        /// What is wrong with it.
        source: RowError,
    },
    /// Two of one name.
    #[error("contender `{0}` is named twice")]
    Twice(String),
}

fn known_names() -> String {
    DEFAULT.iter().chain(&FURTHER).copied().collect::<Vec<_>>().join(", ")
}

fn primitive_names() -> String {
    Primitive::ALL.iter().map(|primitive| primitive.name()).collect::<Vec<_>>().join(", ")
}
