//! Contenders: the kernel's copies, the RFC's, foliocopy's, any primitive, and any function with memcpy's signature.
//!
//! Each is called through a pointer to a function. So none is inlined into the measuring loop, and a function of a shared
//! object pays no more than foliocopy does.

mod error;
mod function;
mod loaded;
mod step;

use std::num::NonZeroUsize;

use foliocopy::{Bands, Cpu, Features, Locality, Policy, Primitive, Registers, Row, Step};

use crate::environment::as_the_kernel_sees;
use crate::result;

pub use error::ContenderError;
pub(crate) use function::Copier;
pub use function::CopyFunction;
use function::{BYTES_MC, HOST, HOST_MC, Job, PAGES_MC, POLICY, PRIMITIVE, PRIMITIVE_MC};
pub use step::{StepName, step_name};

/// The kernel's copy of today, to which every ratio refers.
pub const BASELINE: &str = "per-page";

/// The copy that the RFC proposes for the kernel.
pub const RFC: &str = "rfc";

/// The contenders of a bench without options.
pub const DEFAULT: [&str; 5] = [BASELINE, "per-page-mc", RFC, "rfc-mc", "foliocopy"];

/// Names that aren't primitives, beyond [`DEFAULT`].
const FURTHER: [&str; 7] = [
    "foliocopy-mc",
    "foliocopy-mc:bytes",
    "foliocopy:temporal",
    "foliocopy:non_temporal",
    "kernel:temporal",
    "kernel:non_temporal",
    LIMIT,
];

/// In front of a number of threads, 1 to 64: [`foliocopy::copy_pages_parallel`].
const PARALLEL: &str = "foliocopy:threads:";

/// The most threads that it takes.
const MOST_THREADS: usize = 64;

/// The fastest stream of this machine.
pub const LIMIT: &str = "limit";

/// How steps are written.
const STEPS: &str = "PRIMITIVE@DISTANCE, first:FIRST:REST@BURST, glance:NEAR:FAR@DISTANCE";

/// A contender.
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

impl Contender {
    /// The name of the one that copies by up to `threads` threads.
    pub fn parallel_name(threads: usize) -> String {
        format!("{PARALLEL}{threads}")
    }

    /// The contender called `name`, on the CPU of [`Policy::host`].
    ///
    /// # Errors
    ///
    /// The name is unknown, or this CPU or library lacks what the contender needs.
    pub fn named(name: &str) -> Result<Self, ContenderError> {
        if let Some((alias, function)) = name.split_once('=') {
            return Self::loaded(alias, function);
        }
        let cpu = *Policy::host().cpu();
        let kernel = as_the_kernel_sees(&cpu);
        let host = |way, locality| Copier::of(way, Job { locality, ..job() });
        let primitive = |way, primitive| Copier::of(way, Job { primitive, ..job() });
        let (copier, description) = match name {
            "per-page" => {
                let by = copy_page(&kernel);
                (Copier::bare(by, true), format!("copy_page ({by}) page by page"))
            }
            "per-page-mc" => match copy_mc_to_kernel(&kernel) {
                Mc::Safe(by) => (primitive(PAGES_MC, by), format!("copy_mc_to_kernel: {by} page by page")),
                // The fallback of copy_mc_to_kernel(), without exception-table entries.
                Mc::Memcpy(by) => {
                    (Copier::bare(by, true), format!("copy_mc_to_kernel: memcpy ({by}) page by page"))
                }
            },
            RFC => {
                let by = memcpy(&kernel);
                (Copier::bare(by, false), format!("one memcpy ({by}) a folio"))
            }
            "rfc-mc" => {
                let (copier, by) = match copy_mc_to_kernel(&kernel) {
                    Mc::Safe(by) => (primitive(PRIMITIVE_MC, by), by),
                    Mc::Memcpy(by) => (Copier::bare(by, false), by),
                };
                (copier, format!("one copy_mc_to_kernel ({by}) a folio"))
            }
            "foliocopy" => {
                (host(HOST, Locality::Auto), "copy_pages, scattered copy_folios, its own choice".to_owned())
            }
            "foliocopy-mc" => (
                host(HOST_MC, Locality::Auto),
                "copy_mc_pages, scattered copy_mc_folios, its own choice".to_owned(),
            ),
            "foliocopy-mc:bytes" => {
                (host(BYTES_MC, Locality::Auto), "copy_mc, which takes any bytes, its own choice".to_owned())
            }
            "foliocopy:temporal" => {
                (host(HOST, Locality::Temporal), "copy_pages, scattered copy_folios, temporal".to_owned())
            }
            "foliocopy:non_temporal" => (
                host(HOST, Locality::NonTemporal),
                "copy_pages, scattered copy_folios, non-temporal".to_owned(),
            ),
            "kernel:temporal" | "kernel:non_temporal" => {
                let locality =
                    if name == "kernel:temporal" { Locality::Temporal } else { Locality::NonTemporal };
                let policy = Policy::new(kernel, Registers::GeneralPurpose);
                let description = format!("copy_pages in general-purpose registers, {locality}");
                return Ok(Self { description, ..Self::of_policy(name, policy, locality) });
            }
            LIMIT => return Self::limit(&cpu),
            _ => {
                if let Some(threads) = name.strip_prefix(PARALLEL) {
                    let unknown = || ContenderError::Unknown(name.to_owned());
                    let threads: NonZeroUsize = threads.parse().map_err(|_| unknown())?;
                    if threads.get() > MOST_THREADS {
                        return Err(unknown());
                    }
                    let description = format!("copy_pages_parallel, {threads} threads at most");
                    (Copier::of(function::PARALLEL, Job { threads, ..job() }), description)
                } else if let Ok(StepName(step)) = name.parse() {
                    return Self::of_step(step);
                } else {
                    let (by_page, by) = match name.strip_prefix("page:") {
                        Some(by) => (true, by),
                        None => (false, name),
                    };
                    let by: Primitive = by.parse().map_err(|_| ContenderError::Unknown(name.to_owned()))?;
                    Policy::host()
                        .forcing(by)
                        .map_err(|source| ContenderError::Unavailable { name: name.to_owned(), source })?;
                    match by_page {
                        true => (Copier::bare(by, true), format!("{by} page by page")),
                        false if by.is_non_temporal() => {
                            (primitive(PRIMITIVE, by), format!("{by}, a folio at once"))
                        }
                        false => (Copier::bare(by, false), format!("{by}, a folio at once")),
                    }
                }
            }
        };
        Ok(Self { name: name.to_owned(), description, loaded: None, kind: Kind::Folios(copier) })
    }

    /// The fastest non-temporal loop over a large range.
    fn limit(cpu: &Cpu) -> Result<Self, ContenderError> {
        let loops: Vec<Primitive> = [Primitive::Avx2Nt, Primitive::Avx512Nt, Primitive::LdpStnp]
            .into_iter()
            .filter(|primitive| primitive.is_available(cpu))
            .collect();
        if loops.is_empty() {
            return Err(ContenderError::NoVectorLoop);
        }
        let names = loops.iter().map(|primitive| primitive.name()).collect::<Vec<_>>().join(", ");
        let copiers =
            loops.iter().map(|primitive| Copier::of(PRIMITIVE, Job { primitive: *primitive, ..job() }));
        Ok(Self {
            name: LIMIT.to_owned(),
            description: format!("a large aligned range, best of {names}"),
            loaded: None,
            kind: Kind::Limit(copiers.collect()),
        })
    }

    /// copy_pages with `policy` and `locality`, under the name of `name`. The policy stays until the process ends, as a loaded
    /// library does.
    pub fn of_policy(name: impl Into<String>, policy: Policy, locality: Locality) -> Self {
        let policy: &'static Policy = Box::leak(Box::new(policy));
        let copier = Copier::of(POLICY, Job { policy, locality, ..job() });
        Self {
            name: name.into(),
            description: format!("copy_pages, {locality}"),
            loaded: None,
            kind: Kind::Folios(copier),
        }
    }

    /// copy_pages by a policy that has one step alone, under the step's name ([`step_name`]). It costs as much as the step
    /// in a table, probe included.
    ///
    /// # Errors
    ///
    /// This CPU can't run the step.
    pub fn of_step(step: Step) -> Result<Self, ContenderError> {
        // Only the table for `auto` takes every step.
        let other = Bands::always(Step::copy(Primitive::Portable));
        let row = Row { temporal: other, non_temporal: other, auto: Bands::always(step) };
        let name = step_name(step);
        let policy = Policy::with_row(*Policy::host().cpu(), Registers::Vector, &row)
            .map_err(|source| ContenderError::Step { name: name.clone(), source })?;
        Ok(Self { description: step.to_string(), ..Self::of_policy(name, policy, Locality::Auto) })
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

    /// The contender as the schema keeps it.
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

/// The arguments that contenders share.
fn job() -> Job {
    Job {
        primitive: Primitive::Portable,
        policy: Policy::host(),
        locality: Locality::Auto,
        threads: NonZeroUsize::MIN,
    }
}

/// What `copy_mc_to_kernel()` comes down to.
enum Mc {
    Safe(Primitive),
    Memcpy(Primitive),
}

/// `copy_page()`: arch/x86/lib/copy_page_64.S, and arch/arm64/lib/copy_page.S, which takes MOPS where the CPU has it.
fn copy_page(cpu: &Cpu) -> Primitive {
    match cpu {
        cpu if cpu.has(Features::MOPS) => Primitive::Mops,
        cpu if cpu.is_aarch64() => Primitive::LdpStnp,
        cpu if cpu.has(Features::REP_GOOD) => Primitive::RepMovsq,
        _ => plain_loop(),
    }
}

/// `memcpy()`: arch/x86/lib/memcpy_64.S, and arch/arm64/lib/memcpy.S.
fn memcpy(cpu: &Cpu) -> Primitive {
    match cpu {
        cpu if cpu.has(Features::MOPS) => Primitive::Mops,
        cpu if cpu.is_aarch64() => Primitive::LdpStp,
        cpu if cpu.has(Features::FSRM) => Primitive::RepMovsb,
        _ => plain_loop(),
    }
}

/// The loop for a CPU of which nothing is known.
fn plain_loop() -> Primitive {
    if Primitive::Movq.is_built() { Primitive::Movq } else { Primitive::Portable }
}

/// `copy_mc_to_kernel()`: arch/x86/lib/copy_mc.c, where `copy_mc_fragile` is not enabled. Elsewhere it is `memcpy()`.
fn copy_mc_to_kernel(cpu: &Cpu) -> Mc {
    if cpu.has(Features::ERMS) { Mc::Safe(Primitive::RepMovsb) } else { Mc::Memcpy(memcpy(cpu)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::base_page;
    use foliocopy::{Caches, FolioPair, PAGE_SIZE, Page, Vendor};
    use std::ffi::c_void;
    use std::ptr;

    /// Copies four pages with the contender's own function.
    fn copies(name: &str) -> bool {
        let contender = Contender::named(name).unwrap();
        let copiers = match contender.kind() {
            Kind::Folios(copier) => vec![*copier],
            Kind::Limit(copiers) => copiers.clone(),
        };
        copiers.iter().all(copies_four_pages)
    }

    fn copies_four_pages(copier: &Copier) -> bool {
        let source: Vec<Page> = (1..=4).map(Page::filled).collect();
        let mut destination: Vec<Page> = (0..4).map(|_| Page::zeroed()).collect();
        let folio = (destination.as_mut_ptr().cast(), source.as_ptr().cast());
        // SAFETY: two separate vectors of four pages each.
        unsafe { copier.copy_each(4 * PAGE_SIZE, [folio].into_iter()) };
        destination == source
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
            assert!(unsafe { copier.copy_at_once(&pairs) }, "{name}");
            let expected = [Page::filled(4), Page::zeroed(), Page::filled(2), Page::filled(1)];
            assert!(destination == expected, "{name}");
        }
        let past = if cfg!(target_arch = "aarch64") { "ldp_stnp" } else { "movnti" };
        for name in ["per-page", "per-page-mc", "rfc", "rfc-mc", "portable", past] {
            let contender = Contender::named(name).unwrap();
            let Kind::Folios(copier) = contender.kind() else { panic!("{contender:?}") };
            assert!(!copier.takes_batches(), "{name}");
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
        assert!(copies_four_pages(&Copier::of_pages(copy_pages)));
        let contender = Contender::named("pages=-:memcpy@pages").unwrap();
        let Kind::Folios(copier) = contender.kind() else { panic!("{contender:?}") };
        assert!(!copies_four_pages(copier), "memcpy copied four bytes");
        assert_eq!(contender.describe().loaded.as_deref(), Some("-:memcpy@pages"));
    }

    #[test]
    fn every_known_contender_that_this_cpu_can_run_copies() {
        let cpu = *Policy::host().cpu();
        let vector =
            [Primitive::Avx2, Primitive::Avx512, Primitive::LdpStp].iter().any(|one| one.is_available(&cpu));
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
        let cpu = *Policy::host().cpu();
        for primitive in Primitive::ALL {
            for name in [primitive.name().to_owned(), format!("page:{primitive}")] {
                if primitive.is_available(&cpu) {
                    assert!(copies(&name), "{name}");
                } else {
                    let error = Contender::named(&name).unwrap_err();
                    let reason = std::error::Error::source(&error).expect("there is a reason").to_string();
                    assert!(reason.contains(&primitive.missing(&cpu).to_string()), "{reason}");
                    assert!(reason.contains(primitive.name()), "{reason}");
                }
            }
        }
    }

    #[test]
    fn a_function_of_this_process_takes_part() {
        assert!(copies("glibc=-:memcpy"));
        let contender = Contender::named("glibc=-:memcpy").unwrap();
        let Kind::Folios(copier) = contender.kind() else { panic!("{contender:?}") };
        assert!(!copier.takes_batches());
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
        let cpu = |features| Cpu::foreign(Vendor::Other, [0; 3], features, Caches::default());
        let zen3 = cpu(Features::REP_GOOD);
        let zen5 = cpu(Features::REP_GOOD | Features::ERMS | Features::FSRM);
        let erms = cpu(Features::REP_GOOD | Features::ERMS);
        assert_eq!((copy_page(&zen3), copy_page(&zen5)), (Primitive::RepMovsq, Primitive::RepMovsq));
        assert_eq!(copy_page(&cpu(Features::NONE)), plain_loop());
        assert_eq!(
            (memcpy(&zen3), memcpy(&zen5), memcpy(&erms)),
            (plain_loop(), Primitive::RepMovsb, plain_loop())
        );
        assert!(matches!(copy_mc_to_kernel(&zen3), Mc::Memcpy(by) if by == plain_loop()));
        assert!(matches!(copy_mc_to_kernel(&erms), Mc::Safe(Primitive::RepMovsb)));
        let neoverse = cpu(Features::ASIMD);
        assert_eq!((copy_page(&neoverse), memcpy(&neoverse)), (Primitive::LdpStnp, Primitive::LdpStp));
        let mops = cpu(Features::ASIMD | Features::MOPS);
        assert_eq!((copy_page(&mops), memcpy(&mops)), (Primitive::Mops, Primitive::Mops));
        assert!(matches!(copy_mc_to_kernel(&neoverse), Mc::Memcpy(Primitive::LdpStp)));
    }

    /// The kernel's functions run by names that this machine's CPU has.
    #[test]
    fn the_kernels_functions_are_of_this_architecture() {
        let cpu = *Policy::host().cpu();
        for cpu in [cpu, cpu.without(Features::MOPS), cpu.without(Features::ALL)] {
            let by = [copy_page(&cpu), memcpy(&cpu)];
            assert!(by.iter().all(|by| by.is_available(&cpu)), "{by:?}");
        }
    }

    /// Also where the last page is a part of one.
    #[test]
    fn a_page_is_one_of_the_system() {
        let copier = Copier::bare(plain_loop(), true);
        assert_eq!(copier.piece(), Some(base_page()));
        let source: Vec<Page> = (0..64).map(Page::filled).collect();
        for nr_pages in [1, 4, 5, 16, 17, 63] {
            let mut destination = vec![Page::zeroed(); 64];
            let folio = (destination.as_mut_ptr().cast(), source.as_ptr().cast());
            // SAFETY: two separate vectors of 64 pages each.
            unsafe { copier.copy_each(nr_pages * PAGE_SIZE, [folio].into_iter()) };
            assert!(destination[..nr_pages] == source[..nr_pages], "{nr_pages}");
            assert!(destination[nr_pages..].iter().all(|page| *page == Page::zeroed()), "{nr_pages}");
        }
    }
}
