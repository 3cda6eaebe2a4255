//! Functions of shared libraries.

use std::borrow::Cow;
use std::ffi::CString;
use std::path::Path;

use libloading::os::unix::Library;

use super::function::{CFolios, Copier, CopyFunction, McFunction};
use super::{Contender, ContenderError, Kind};
use crate::input;
use crate::text::harmless;

impl Contender {
    /// `LIBRARY:SYMBOL`, under the name of `alias`. Behind the symbol stands `@pages` where the function counts pages, and
    /// `@mc` where it is like `foliocopy_copy_mc_pages()`. The library stays loaded until the process ends.
    pub(super) fn loaded(alias: &str, function: &str) -> Result<Self, ContenderError> {
        let malformed = || ContenderError::Malformed(format!("{alias}={function}"));
        let (path, symbol) = function.rsplit_once(':').ok_or_else(malformed)?;
        let (symbol, form) = symbol.split_once('@').unwrap_or((symbol, ""));
        // With a wrong signature ours would copy 4096 times as much, or read what is not there.
        let form = match (symbol, form) {
            ("foliocopy_copy_pages", "" | "pages") => "pages",
            ("foliocopy_copy_mc_pages", "" | "mc") => "mc",
            _ if symbol.starts_with("foliocopy_") => return Err(ContenderError::Ours(function.to_owned())),
            _ => form,
        };
        let is_printable = |text| matches!(harmless(text), Cow::Borrowed(_));
        if alias.is_empty() || path.is_empty() || symbol.is_empty() || !is_printable(function) {
            return Err(malformed());
        }
        if !is_printable(alias) {
            return Err(ContenderError::Unprintable(alias.to_owned()));
        }
        let library = open(alias, path)?;
        // SAFETY: whoever names the symbol says which of the three signatures it has.
        let copier = unsafe {
            match form {
                "" => Copier::of_bytes(find::<CopyFunction>(&library, alias, symbol)?),
                "pages" => Copier::of_pages(find::<CopyFunction>(&library, alias, symbol)?),
                "mc" => Copier::of_mc_pages(find::<McFunction>(&library, alias, symbol)?),
                _ => return Err(malformed()),
            }
        };
        std::mem::forget(library);
        Ok(Self {
            name: alias.to_owned(),
            description: format!("{symbol} of {}", if path == "-" { "this process" } else { path }),
            loaded: Some(function.to_owned()),
            kind: Kind::Folios(copier),
        })
    }

    /// Plain copies by the C library of foliocopy in the file `path`, under the name of `alias`: `foliocopy_copy_pages()`, and
    /// `foliocopy_copy_folios()` where folios are scattered. The library stays loaded until the process ends.
    ///
    /// # Errors
    ///
    /// Where it can't be loaded, or lacks one of the two.
    pub fn of_library(alias: &str, path: &Path) -> Result<Self, ContenderError> {
        const COPY_PAGES: &str = "foliocopy_copy_pages";
        const COPY_FOLIOS: &str = "foliocopy_copy_folios";
        let path = path.to_string_lossy();
        let library = open(alias, &path)?;
        let shown = harmless(&path);
        // SAFETY: the two have these signatures in every version of the C library.
        let copier = unsafe {
            let copy_folios = find::<CFolios>(&library, alias, COPY_FOLIOS)?;
            Copier::of_library(find::<CopyFunction>(&library, alias, COPY_PAGES)?, copy_folios)
        };
        std::mem::forget(library);
        Ok(Self {
            name: alias.to_owned(),
            description: format!("{COPY_PAGES}, scattered {COPY_FOLIOS}, of {shown}"),
            loaded: Some(format!("{shown}:{COPY_PAGES}@pages")),
            kind: Kind::Folios(copier),
        })
    }
}

fn open(name: &str, path: &str) -> Result<Library, ContenderError> {
    if cfg!(target_feature = "crt-static") {
        return Err(ContenderError::Static(name.to_owned()));
    }
    if path == "-" {
        return Ok(Library::this());
    }
    if path.contains('/') {
        // dlopen(3) would wait for a pipe's writer.
        let no_file = |source| ContenderError::NoFile { name: name.to_owned(), source };
        input::open(Path::new(path)).map_err(no_file)?;
    }
    // SAFETY: runs the library's constructors, which is what whoever names it asks for. Its symbols stay its own (RTLD_LOCAL).
    let library = unsafe { Library::new(path) };
    library.map_err(|source| ContenderError::Library { name: name.to_owned(), source })
}

/// # Safety
///
/// The symbol is a function of type `F`.
unsafe fn find<F: Copy>(library: &Library, name: &str, symbol: &str) -> Result<F, ContenderError> {
    let malformed = |_| ContenderError::Malformed(format!("{name}={symbol}"));
    let c_symbol = CString::new(symbol).map_err(malformed)?;
    // SAFETY: the caller's promise; a null one is an error below.
    let found = unsafe { library.get::<F>(c_symbol.as_bytes_with_nul()) };
    let found = found.map_err(|source| ContenderError::Symbol {
        name: name.to_owned(),
        symbol: symbol.to_owned(),
        source,
    })?;
    Ok(*found)
}
