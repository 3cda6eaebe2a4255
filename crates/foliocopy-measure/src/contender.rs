//! Who copies: the kernel's ways, the RFC's, ours, any primitive, and any function with memcpy's signature.
//!
//! Everybody is called the same way, through a pointer to such a function, so that nobody is inlined into the
//! measuring loop and a peer from a shared object stands beside us on the same footing.

mod function;
mod loaded;

use foliocopy::{CopyError, Cpu, Features, Locality, Policy, Primitive, Registers};
use thiserror::Error;

use crate::result;

pub(crate) use function::Copier;
pub use function::CopyFunction;
use function::{
    batch_auto, batch_mc, batch_non_temporal, batch_temporal, foliocopy_auto, foliocopy_mc,
    foliocopy_non_temporal, foliocopy_temporal, kernel_non_temporal, kernel_temporal, page_function,
    parallel_function, policy_function, range_function,
};

/// What the kernel does today, and what every ratio refers to.
pub const BASELINE: &str = "per-page";

/// Who takes part unless told otherwise.
pub const DEFAULT: [&str; 5] = [BASELINE, "per-page-mc", "rfc", "rfc-mc", "foliocopy"];

/// Names that aren't primitives, beyond [`DEFAULT`].
const FURTHER: [&str; 6] = [
    "foliocopy-mc",
    "foliocopy:temporal",
    "foliocopy:non_temporal",
    "kernel:temporal",
    "kernel:non_temporal",
    LIMIT,
];

/// In front of a number of threads, 1 to 64: [`foliocopy::copy_pages_parallel`].
const PARALLEL: &str = "foliocopy:threads:";

/// The fastest stream of this machine.
const LIMIT: &str = "limit";

/// One who copies.
#[derive(Debug)]
pub struct Contender {
    name: String,
    description: String,
    loaded: Option<String>,
    kind: Kind,
}

/// How a contender is run.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Folio by folio, or scattered ones at once where the copier can.
    Folios(Copier),
    /// A large range of its own, by each of these; the fastest counts.
    Limit(Vec<Copier>),
}

/// Why a contender can't take part.
#[derive(Debug, Error)]
pub enum ContenderError {
    /// Nobody is called that.
    #[error(
        "unknown contender `{0}`; known are {known}, foliocopy:threads:N (1 to 64), a primitive ({primitives}), page:PRIMITIVE, \
         and NAME=LIBRARY.so:SYMBOL",
        known = known_names(),
        primitives = primitive_names()
    )]
    Unknown(String),
    /// This CPU, or what the mask left of it, can't run the primitive.
    #[error("contender `{name}` can't run here")]
    Unavailable {
        /// The contender.
        name: String,
        /// What is missing.
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
    /// The library can't be loaded.
    #[error("can't load contender `{name}`")]
    Library {
        /// The contender.
        name: String,
        /// What the loader said.
        source: libloading::Error,
    },
    /// The library lacks the symbol.
    #[error("can't find `{symbol}` for contender `{name}`")]
    Symbol {
        /// The contender.
        name: String,
        /// The symbol.
        symbol: String,
        /// What the loader said.
        source: libloading::Error,
    },
    /// No function is left for one more policy.
    #[error("more than 64 policies can't be measured in one process")]
    TooManyPolicies,
    /// Two of one name.
    #[error("contender `{0}` is named twice")]
    Twice(String),
    /// The environment says something that can't be done.
    #[error(transparent)]
    Host(#[from] CopyError),
}

fn known_names() -> String {
    DEFAULT.iter().chain(&FURTHER).copied().collect::<Vec<_>>().join(", ")
}

fn primitive_names() -> String {
    Primitive::ALL.iter().map(|primitive| primitive.name()).collect::<Vec<_>>().join(", ")
}

impl Contender {
    /// The name of the one that copies by up to `threads` threads.
    pub fn parallel_name(threads: usize) -> String {
        format!("{PARALLEL}{threads}")
    }

    /// The one called `name`, on the CPU of [`Policy::host`].
    pub fn named(name: &str) -> Result<Self, ContenderError> {
        let cpu = *Policy::host()?.cpu();
        if let Some((alias, function)) = name.split_once('=') {
            return Self::loaded(alias, function);
        }
        let mc = |primitive| match primitive {
            // memcpy() as copy_mc_to_kernel() falls back to it: without exception-table entries.
            Mc::Safe(primitive) => (page_function(primitive, true), format!("{primitive} page by page")),
            Mc::Memcpy(primitive) => {
                (page_function(primitive, false), format!("memcpy ({primitive}) page by page"))
            }
        };
        let (kind, description) = match name {
            "per-page" => {
                let primitive = copy_page(&cpu);
                (
                    Kind::Folios(Copier::of_bytes(page_function(primitive, false))),
                    format!("copy_page ({primitive}) page by page"),
                )
            }
            "per-page-mc" => {
                let (function, description) = mc(copy_mc_to_kernel(&cpu));
                (Kind::Folios(Copier::of_bytes(function)), format!("copy_mc_to_kernel: {description}"))
            }
            "rfc" => {
                let primitive = memcpy(&cpu);
                (
                    Kind::Folios(Copier::of_bytes(range_function(primitive, false))),
                    format!("one memcpy ({primitive}) a folio"),
                )
            }
            "rfc-mc" => {
                let (function, primitive) = match copy_mc_to_kernel(&cpu) {
                    Mc::Safe(primitive) => (range_function(primitive, true), primitive),
                    Mc::Memcpy(primitive) => (range_function(primitive, false), primitive),
                };
                (
                    Kind::Folios(Copier::of_bytes(function)),
                    format!("one copy_mc_to_kernel ({primitive}) a folio"),
                )
            }
            "foliocopy" => (
                Kind::Folios(Copier::of_bytes(foliocopy_auto).with_batch(batch_auto)),
                "copy_pages, scattered copy_folios, its own choice".to_owned(),
            ),
            "foliocopy-mc" => (
                Kind::Folios(Copier::of_bytes(foliocopy_mc).with_batch(batch_mc)),
                "copy_mc_pages, scattered copy_mc_folios, its own choice".to_owned(),
            ),
            "foliocopy:temporal" => (
                Kind::Folios(Copier::of_bytes(foliocopy_temporal).with_batch(batch_temporal)),
                "copy_pages, scattered copy_folios, temporal".to_owned(),
            ),
            "foliocopy:non_temporal" => (
                Kind::Folios(Copier::of_bytes(foliocopy_non_temporal).with_batch(batch_non_temporal)),
                "copy_pages, scattered copy_folios, non-temporal".to_owned(),
            ),
            name if name.starts_with(PARALLEL) => {
                let unknown = || ContenderError::Unknown(name.to_owned());
                let threads: usize = name[PARALLEL.len()..].parse().map_err(|_| unknown())?;
                let function = parallel_function(threads).ok_or_else(unknown)?;
                let description = format!("copy_pages_parallel, {threads} threads at most");
                (Kind::Folios(Copier::of_bytes(function)), description)
            }
            "kernel:temporal" => (
                Kind::Folios(Copier::of_bytes(kernel_temporal)),
                "copy_pages in general-purpose registers, temporal".to_owned(),
            ),
            "kernel:non_temporal" => (
                Kind::Folios(Copier::of_bytes(kernel_non_temporal)),
                "copy_pages in general-purpose registers, non-temporal".to_owned(),
            ),
            LIMIT => {
                let loops: Vec<Primitive> = [Primitive::Avx2Nt, Primitive::Avx512Nt]
                    .into_iter()
                    .filter(|primitive| primitive.is_available(&cpu))
                    .collect();
                if loops.is_empty() {
                    return Err(ContenderError::NoVectorLoop);
                }
                let names = loops.iter().map(|primitive| primitive.name()).collect::<Vec<_>>().join(", ");
                let functions = loops
                    .iter()
                    .map(|primitive| Copier::of_bytes(range_function(*primitive, false)))
                    .collect();
                (Kind::Limit(functions), format!("a large aligned range, best of {names}"))
            }
            name => {
                let (by_page, primitive) = match name.strip_prefix("page:") {
                    Some(primitive) => (true, primitive),
                    None => (false, name),
                };
                let primitive: Primitive =
                    primitive.parse().map_err(|_| ContenderError::Unknown(name.to_owned()))?;
                Policy::new(cpu, Registers::Vector)
                    .with_primitive(primitive)
                    .map_err(|source| ContenderError::Unavailable { name: name.to_owned(), source })?;
                match by_page {
                    true => (
                        Kind::Folios(Copier::of_bytes(page_function(primitive, false))),
                        format!("{primitive} page by page"),
                    ),
                    false => (
                        Kind::Folios(Copier::of_bytes(range_function(primitive, false))),
                        format!("{primitive}, a folio at once"),
                    ),
                }
            }
        };
        Ok(Self { name: name.to_owned(), description, loaded: None, kind })
    }

    /// copy_pages with `policy` and `locality`, under the name of `name`.
    ///
    /// # Errors
    ///
    /// [`ContenderError::TooManyPolicies`] after 64 different ones.
    pub fn of_policy(
        name: impl Into<String>,
        policy: Policy,
        locality: Locality,
    ) -> Result<Self, ContenderError> {
        let function = policy_function(policy, locality).ok_or(ContenderError::TooManyPolicies)?;
        let kind = Kind::Folios(Copier::of_bytes(function));
        Ok(Self { name: name.into(), description: format!("copy_pages, {locality}"), loaded: None, kind })
    }

    /// Any function, under the name of `name`.
    #[cfg(test)]
    pub(crate) fn from_function(name: &str, copy: CopyFunction) -> Self {
        Self {
            name: name.to_owned(),
            description: String::new(),
            loaded: None,
            kind: Kind::Folios(Copier::of_bytes(copy)),
        }
    }

    /// All of `names`, the baseline among them or not.
    pub fn all_named<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Self>, ContenderError> {
        let mut contenders: Vec<Self> = Vec::new();
        for name in names {
            let contender = Self::named(name)?;
            if contenders.iter().any(|other| other.name == contender.name) {
                return Err(ContenderError::Twice(contender.name));
            }
            contenders.push(contender);
        }
        Ok(contenders)
    }

    /// The name that its cells carry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it copies the folios it is given: `limit` has a range of its own.
    pub fn copies_folios(&self) -> bool {
        !matches!(self.kind, Kind::Limit(_))
    }

    /// As the schema keeps it.
    pub fn describe(&self) -> result::Contender {
        result::Contender {
            name: self.name.clone(),
            description: self.description.clone(),
            loaded: self.loaded.clone(),
        }
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }
}

/// What `copy_mc_to_kernel()` comes down to.
enum Mc {
    Safe(Primitive),
    Memcpy(Primitive),
}

/// `copy_page()`: arch/x86/lib/copy_page_64.S.
fn copy_page(cpu: &Cpu) -> Primitive {
    if cpu.has(Features::REP_GOOD) { Primitive::RepMovsq } else { Primitive::Movq }
}

/// `memcpy()`: arch/x86/lib/memcpy_64.S.
fn memcpy(cpu: &Cpu) -> Primitive {
    if cpu.has(Features::FSRM) { Primitive::RepMovsb } else { Primitive::Movq }
}

/// `copy_mc_to_kernel()`: arch/x86/lib/copy_mc.c, where `copy_mc_fragile` is not enabled.
fn copy_mc_to_kernel(cpu: &Cpu) -> Mc {
    if cpu.has(Features::ERMS) { Mc::Safe(Primitive::RepMovsb) } else { Mc::Memcpy(memcpy(cpu)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use foliocopy::{FolioPair, PAGE_SIZE, Page};
    use std::ffi::c_void;
    use std::ptr;

    /// Copies four pages with the contender's own function.
    fn copies(name: &str) -> bool {
        let contender = Contender::named(name).unwrap();
        let copiers = match contender.kind() {
            Kind::Folios(copier) => vec![*copier],
            Kind::Limit(copiers) => copiers.clone(),
        };
        copiers.into_iter().all(|copier| {
            let source: Vec<Page> = (1..=4).map(Page::filled).collect();
            let mut destination: Vec<Page> = (0..4).map(|_| Page::zeroed()).collect();
            let count = copier.count(size_of_val(&source[..]));
            // SAFETY: two separate vectors of four pages each.
            unsafe { copier.copy(destination.as_mut_ptr().cast(), source.as_ptr().cast(), count) };
            destination == source
        })
    }

    #[test]
    fn the_engine_copies_scattered_folios_at_once_and_nobody_else_does() {
        for name in ["foliocopy", "foliocopy-mc", "foliocopy:temporal", "foliocopy:non_temporal"] {
            let contender = Contender::named(name).unwrap();
            let Kind::Folios(copier) = contender.kind() else { panic!("{contender:?}") };
            let source: Vec<Page> = (1..=4).map(Page::filled).collect();
            let mut destination: Vec<Page> = (0..4).map(|_| Page::zeroed()).collect();
            let start = destination.as_mut_ptr();
            let pairs = [(0, 3), (2, 1), (3, 0)].map(|(dst, src)| FolioPair {
                dst: start.wrapping_add(dst),
                src: source.as_ptr().wrapping_add(src),
                nr_pages: 1,
            });
            // SAFETY: pages of two separate vectors of four pages each, none twice.
            unsafe { copier.batch().expect(name).copy(&pairs) };
            let expected = [Page::filled(4), Page::zeroed(), Page::filled(2), Page::filled(1)];
            assert!(destination == expected, "{name}");
        }
        for name in ["per-page", "per-page-mc", "rfc", "rfc-mc", "movnti", "glibc=-:memcpy"] {
            let contender = Contender::named(name).unwrap();
            let Kind::Folios(copier) = contender.kind() else { panic!("{contender:?}") };
            assert!(copier.batch().is_none(), "{name}");
        }
    }

    /// Copies as `foliocopy_copy_pages()` does.
    unsafe extern "C" fn copy_pages(dst: *mut c_void, src: *const c_void, nr_pages: usize) -> *mut c_void {
        // SAFETY: the caller passes ranges of `nr_pages` pages.
        unsafe { ptr::copy_nonoverlapping(src.cast::<Page>(), dst.cast::<Page>(), nr_pages) };
        ptr::null_mut()
    }

    #[test]
    fn a_function_may_count_pages() {
        let source: Vec<Page> = (1..=4).map(Page::filled).collect();
        let mut destination: Vec<Page> = (0..4).map(|_| Page::zeroed()).collect();
        let copier = Copier::of_pages(copy_pages);
        // SAFETY: two separate vectors of four pages each.
        unsafe {
            copier.copy(destination.as_mut_ptr().cast(), source.as_ptr().cast(), copier.count(4 * PAGE_SIZE))
        };
        assert!(destination == source);
        let contender = Contender::named("pages=-:memcpy@pages").unwrap();
        let Kind::Folios(copier) = contender.kind() else { panic!("{contender:?}") };
        assert_eq!(copier.count(4 * PAGE_SIZE), 4);
        assert_eq!(contender.describe().loaded.as_deref(), Some("-:memcpy@pages"));
    }

    #[test]
    fn every_known_contender_that_this_cpu_can_run_copies() {
        let cpu = *Policy::host().unwrap().cpu();
        let vector = Primitive::Avx2.is_available(&cpu) || Primitive::Avx512.is_available(&cpu);
        for name in DEFAULT.into_iter().chain(FURTHER) {
            if name == LIMIT && !vector {
                assert!(matches!(Contender::named(name), Err(ContenderError::NoVectorLoop)));
            } else {
                assert!(copies(name), "{name}");
            }
        }
    }

    #[test]
    fn every_primitive_takes_part_or_says_what_the_cpu_lacks() {
        let cpu = *Policy::host().unwrap().cpu();
        for primitive in Primitive::ALL {
            for name in [primitive.name().to_owned(), format!("page:{primitive}")] {
                if primitive.is_available(&cpu) {
                    assert!(copies(&name), "{name}");
                } else {
                    let error = Contender::named(&name).unwrap_err().to_string();
                    assert!(error.contains(&primitive.missing(&cpu).to_string()), "{error}");
                }
            }
        }
    }

    #[test]
    fn a_function_of_this_process_takes_part() {
        assert!(copies("glibc=-:memcpy"));
        let contender = Contender::named("glibc=-:memcpy").unwrap();
        assert_eq!(contender.name(), "glibc");
        assert_eq!(contender.describe().loaded.as_deref(), Some("-:memcpy"));
    }

    #[test]
    fn bad_names_say_what_would_be_right() {
        let error = |name: &str| Contender::named(name).unwrap_err().to_string();
        assert!(error("memcpi").contains("foliocopy") && error("memcpi").contains("rep_movsq"));
        assert!(error("page:memcpi").contains("page:PRIMITIVE"));
        for malformed in ["x=", "x=lib.so", "=-:memcpy", "x=-:", "x=:memcpy"] {
            assert!(error(malformed).contains("NAME=LIBRARY.so:SYMBOL"), "{malformed}");
        }
        assert!(error("x=/nonexistent/lib.so:memcpy").contains("can't load contender `x`"));
        assert!(error("x=-:no_such_symbol").contains("can't find `no_such_symbol`"));
    }

    #[test]
    fn a_name_stands_once() {
        assert!(
            matches!(Contender::all_named(["rfc", "rfc=-:memcpy"]), Err(ContenderError::Twice(name)) if name == "rfc")
        );
    }

    #[test]
    fn the_kernels_functions_resolve_as_its_alternatives_do() {
        let cpu = |features| Cpu { features, ..Cpu::UNKNOWN };
        let zen3 = cpu(Features::REP_GOOD);
        let zen5 = cpu(Features::REP_GOOD | Features::ERMS | Features::FSRM);
        let erms = cpu(Features::REP_GOOD | Features::ERMS);
        assert_eq!((copy_page(&zen3), copy_page(&zen5)), (Primitive::RepMovsq, Primitive::RepMovsq));
        assert_eq!(copy_page(&cpu(Features::NONE)), Primitive::Movq);
        assert_eq!(
            (memcpy(&zen3), memcpy(&zen5), memcpy(&erms)),
            (Primitive::Movq, Primitive::RepMovsb, Primitive::Movq)
        );
        assert!(matches!(copy_mc_to_kernel(&zen3), Mc::Memcpy(Primitive::Movq)));
        assert!(matches!(copy_mc_to_kernel(&erms), Mc::Safe(Primitive::RepMovsb)));
    }
}
