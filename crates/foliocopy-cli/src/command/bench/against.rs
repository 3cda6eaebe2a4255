//! `--against`: this build and an older one, in the same rounds.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use foliocopy_measure::bench::{Case, Plan, Until};
use foliocopy_measure::contender::Contender;
use foliocopy_measure::gate::{API, Alternation, Api, Gate, How, INTERFACES, NEW, OLD, Side};
use foliocopy_measure::result::{self, Cell, Results};
use foliocopy_measure::size::Size;
use foliocopy_measure::text::shown;
use foliocopy_measure::verdict::Rule;

use crate::command::this_program;
use crate::table::{align_right, empty_table, trimmed};
use crate::wrap::paragraph;

/// How wide an interval may be unless told otherwise: a cell that is slower by 5 % is found by it.
pub(super) const WIDTH: f64 = 0.03;

/// The C library's file in a build folder.
const LIBRARY: &str = "libfoliocopy.so";

/// The program's file there.
const PROGRAM: &str = "foliocopy";

/// Bytes of a batch: 512 pages, as many as the kernel migrates at once.
const BATCH_BYTES: u64 = 2 << 20;

/// The largest folio that is copied in batches: of larger ones hardly any fit.
const BATCHED: u64 = 64 << 10;

/// [`super::Args::alone`], to other processes.
const ALONE: &str = "--alone";

/// The files of a build.
struct Build {
    library: Option<PathBuf>,
    program: Option<PathBuf>,
}

impl Build {
    /// The build of a library, a program or a folder with either or both.
    fn at(path: &Path) -> Result<Self> {
        let path =
            path.canonicalize().with_context(|| format!("can't find the old build `{}`", path.display()))?;
        let is_library = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with(".so") || name.contains(".so.")
        };
        let build = match path.is_dir() {
            true => {
                let file = |name| Some(path.join(name)).filter(|file| file.is_file());
                Self { library: file(LIBRARY), program: file(PROGRAM) }
            }
            false if is_library(&path) => Self { library: Some(path.clone()), program: None },
            false => Self { library: None, program: Some(path.clone()) },
        };
        ensure!(
            build.library.is_some() || build.program.is_some(),
            "`{}` has neither {LIBRARY} nor {PROGRAM}: name a folder such as target/release",
            path.display()
        );
        Ok(build)
    }

    /// The running program, with the library beside it.
    fn this() -> Result<Self> {
        let library = env::current_exe().ok().map(|program| program.with_file_name(LIBRARY));
        Ok(Self { library: library.filter(|file| file.is_file()), program: Some(this_program()?) })
    }

    fn describe(&self, name: &str) -> result::Contender {
        let files = [&self.library, &self.program].into_iter().flatten();
        result::Contender {
            name: name.to_owned(),
            // The running program is known by a link.
            description: files
                .map(|file| shown(&file.read_link().unwrap_or_else(|_| file.clone())))
                .collect::<Vec<_>>()
                .join(", "),
            loaded: None,
        }
    }
}

/// Whether a program can leave out the contenders that were not named, which take two thirds of the time. Both builds
/// measure the same contenders, or one would find other caches.
fn measures_alone(program: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(["bench", ALONE, "--contender=foliocopy", "--help"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The plan for the `interfaces`, or for all where none is named, and the description of the two builds.
pub(super) fn gate(old: &Path, interfaces: &[String], plan: Plan) -> Result<(Gate, Vec<result::Contender>)> {
    let (old, mut new) = (Build::at(old)?, Build::this()?);
    if old.library.is_none() {
        new.library = None;
    } else if new.library.is_none() && old.program.is_none() {
        bail!("no {LIBRARY} lies beside this program: build it there, with `cargo build --release`");
    }
    if old.program.is_none() {
        new.program = None;
    }
    let libraries = old.library.as_deref().zip(new.library.as_deref());
    let programs = old.program.as_deref().zip(new.program.as_deref());
    let has =
        |interface: &str| if interface.starts_with("c:") { libraries.is_some() } else { programs.is_some() };
    let wanted = |interface: &str| {
        has(interface) && (interfaces.is_empty() || interfaces.iter().any(|wanted| wanted == interface))
    };
    if let Some(missing) = interfaces.iter().find(|interface| !has(interface)) {
        bail!("nothing to compare {missing} with: it takes {LIBRARY} or {PROGRAM} of both builds");
    }

    let plain = plan.cases.clone();
    let batches: Vec<Case> = plain
        .iter()
        .filter(|case| case.folio_bytes <= BATCHED)
        .map(|case| Case { scattered: true, total_bytes: BATCH_BYTES, ..*case })
        .collect();
    let [c_pages, c_folios, c_mc_pages, rust @ ..] = INTERFACES;
    let of = |interface: &str, cases: &[Case]| if wanted(interface) { cases.to_vec() } else { Vec::new() };
    let in_one_process = [of(c_pages, &plain), of(c_folios, &batches)].concat();
    // Interfaces that run in processes of their own: the cases, the two programs, and the contenders behind the interfaces.
    let mut apart: Vec<(&[Case], [Side; 2], Vec<Api>)> = Vec::new();
    let apis = |pairs: &[(&str, &str)]| -> Vec<Api> {
        let api = |(name, contender): &(&str, &str)| Api {
            name: (*name).to_owned(),
            contender: (*contender).to_owned(),
        };
        pairs.iter().filter(|(name, _)| wanted(name)).map(api).collect()
    };
    if let Some((old, new)) = libraries {
        const MEASURED: &str = "measured";
        apart.push((
            &plain,
            [mc_side(MEASURED, old)?, mc_side(MEASURED, new)?],
            apis(&[(c_mc_pages, MEASURED)]),
        ));
    }
    if let Some((old, new)) = programs {
        let sides = rust_sides(old, new);
        let [pages, mc_pages, folios, mc_folios] = rust;
        apart.push((&plain, sides.clone(), apis(&[(pages, "foliocopy"), (mc_pages, "foliocopy-mc")])));
        apart.push((&batches, sides, apis(&[(folios, "foliocopy"), (mc_folios, "foliocopy-mc")])));
    }
    apart.retain(|(_, _, apis)| !apis.is_empty());
    let until = Until {
        baseline: OLD.to_owned(),
        width: plan.until.as_ref().map_or(WIDTH, |until| until.width),
        tests: in_one_process.len()
            + apart.iter().map(|(cases, _, apis)| cases.len() * apis.len()).sum::<usize>(),
    };
    ensure!(until.tests > 0, "folios above {} are not copied in batches", Size(BATCHED));
    let how =
        How { memory: plan.memory, evict_bytes: plan.evict_bytes, evict: plan.evict, until: until.clone() };
    let alternation = |(cases, sides, apis): (&[Case], [Side; 2], Vec<Api>)| {
        let of_case = |case: &Case| {
            Alternation::new(*case, apis.clone(), sides.clone(), how.clone(), plan.seed ^ case.folio_bytes)
        };
        cases.iter().map(of_case).collect::<Vec<_>>()
    };
    let alternations = apart.into_iter().flat_map(alternation).collect();
    let time = plan.time;
    let contenders = vec![old.describe(OLD), new.describe(NEW)];
    let libraries = match libraries.filter(|_| !in_one_process.is_empty()) {
        Some((old, new)) => Some(Plan {
            contenders: vec![Contender::of_library(OLD, old)?, Contender::of_library(NEW, new)?],
            cases: in_one_process,
            until: Some(until),
            ..plan
        }),
        None => None,
    };
    Ok((Gate { libraries, alternations, time }, contenders))
}

/// This program with the machine-check-safe copies of `library`, as the contender `name`.
fn mc_side(name: &str, library: &Path) -> Result<Side> {
    let mut contender = OsString::from(format!("--contender={name}="));
    contender.push(library);
    contender.push(":foliocopy_copy_mc_pages@mc");
    Ok(Side { program: this_program()?, arguments: vec![contender, ALONE.into()] })
}

/// Two programs with the same contenders: without the usual ones if both can.
fn rust_sides(old: &Path, new: &Path) -> [Side; 2] {
    let sides = [old, new];
    let arguments: &[&str] = match sides.iter().all(|program| measures_alone(program)) {
        true => &["--contender=foliocopy", "--contender=foliocopy-mc", ALONE],
        false => &["--contender=foliocopy-mc"],
    };
    sides.map(|program| Side {
        program: program.to_owned(),
        arguments: arguments.iter().map(OsString::from).collect(),
    })
}

/// A row a cell.
pub(super) fn table(results: &Results) -> String {
    if results.environment.emulated {
        return "every copy was right (no speeds: the CPU is emulated)\n".to_owned();
    }
    let rule = Rule::of(results);
    let mut table = empty_table(["interface", "cache", "folio", "nodes", "old", "new", "new/old", "rounds"]);
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    for (situation, cells) in results.situations() {
        let find = |name: &str| cells.iter().find(|cell: &&&Cell| cell.contender == name);
        let (Some(old), Some(new)) = (find(OLD), find(NEW)) else { continue };
        let Some((ratio, standing)) = new.ratio_to_baseline.zip(rule.standing_of(new)) else { continue };
        let nodes = situation.src_node.zip(situation.dst_node);
        table.add_row([
            situation.dimensions.get(API).cloned().unwrap_or_default(),
            situation.cache.map(|cache| cache.to_string()).unwrap_or_default(),
            Size(situation.folio_bytes).to_string(),
            nodes.map_or_else(String::new, |(src, dst)| format!("{src}->{dst}")),
            format!("{:.2}", old.median_gbps),
            format!("{:.2}", new.median_gbps),
            format!("{:.3}{}", ratio.corrected(), standing.mark()),
            new.samples_gbps.len().to_string(),
        ]);
    }
    for index in [2, 4, 5, 7] {
        align_right(&mut table, index);
    }
    format!(
        "{}\n\n{}",
        trimmed(&table),
        paragraph(&format!(
            "old and new: median GB/s. new/old: median ratio within a round [99 % for all cells together]: {}.",
            rule.legend()
        ))
    )
}
