//! `--against`: this build and an older one, in the same rounds.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use comfy_table::{CellAlignment, Table, presets};
use foliocopy_measure::bench::{Case, Plan, Until};
use foliocopy_measure::contender::Contender;
use foliocopy_measure::gate::{API, Alternation, Api, Gate, How, NEW, OLD, Side};
use foliocopy_measure::result::{self, Cell, Results};
use foliocopy_measure::size::Size;
use foliocopy_measure::verdict::Rule;

/// How wide an interval may be unless told otherwise: a cell that is slower by 5 % is found by it.
pub(super) const WIDTH: f64 = 0.03;

/// The C library's file in a build folder.
const LIBRARY: &str = "libfoliocopy.so";

/// The program's file there.
const PROGRAM: &str = "foliocopy";

/// This program, even if its file has been replaced since it started.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Bytes of a batch: 512 pages, as many as the kernel migrates at once.
const BATCH_BYTES: u64 = 2 << 20;

/// The largest folio that is copied in batches: of larger ones hardly any fit.
const BATCHED: u64 = 64 << 10;

/// [`super::Args::alone`], to other processes.
const ALONE: &str = "--alone";

/// What a build consists of.
struct Build {
    library: Option<PathBuf>,
    program: Option<PathBuf>,
}

impl Build {
    /// Of a library, a program or a folder that has them.
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

    /// What is running, with the library beside it.
    fn this() -> Self {
        let library = env::current_exe().ok().map(|program| program.with_file_name(LIBRARY));
        Self { library: library.filter(|file| file.is_file()), program: Some(THIS_PROGRAM.into()) }
    }

    fn describe(&self, name: &str) -> result::Contender {
        let files = [&self.library, &self.program].into_iter().flatten();
        result::Contender {
            name: name.to_owned(),
            description: files.map(|file| file.display().to_string()).collect::<Vec<_>>().join(", "),
            loaded: None,
        }
    }
}

/// Whether a program can leave out the contenders that nobody asked for, which take two thirds of the time. Both builds measure the
/// same, or one would find other caches.
fn measures_alone(program: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(["bench", ALONE, "--contender=foliocopy", "--help"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// What is measured, and how its results describe the two builds.
pub(super) fn gate(old: &Path, plan: Plan) -> Result<(Gate, Vec<result::Contender>)> {
    let (old, mut new) = (Build::at(old)?, Build::this());
    if old.library.is_none() {
        new.library = None;
    } else if new.library.is_none() && old.program.is_none() {
        bail!("no {LIBRARY} lies beside this program: build it there, with `cargo build --release`");
    }
    if old.program.is_none() {
        new.program = None;
    }
    let contenders = vec![old.describe(OLD), new.describe(NEW)];

    let plain = plan.cases.clone();
    let batches: Vec<Case> = plain
        .iter()
        .filter(|case| case.folio_bytes <= BATCHED)
        .map(|case| Case { scattered: true, total_bytes: BATCH_BYTES, ..*case })
        .collect();
    let libraries = old.library.as_ref().zip(new.library.as_ref());
    let programs = old.program.as_ref().zip(new.program.as_ref());
    let tests = libraries.map_or(0, |_| 2 * plain.len() + batches.len())
        + programs.map_or(0, |_| 2 * (plain.len() + batches.len()));
    let width = plan.until.as_ref().map_or(WIDTH, |until| until.width);
    let until = Until { baseline: OLD.to_owned(), width, tests };
    let how = How { memory: plan.memory, evict_bytes: plan.evict_bytes, until: until.clone() };
    let alternation = |case: &Case, apis: Vec<Api>, sides| {
        Alternation::new(*case, apis, sides, how.clone(), plan.seed ^ case.folio_bytes)
    };

    let mut alternations = Vec::new();
    if let Some((old, new)) = libraries {
        const MEASURED: &str = "measured";
        let side = |library: &Path| {
            let mut contender = OsString::from(format!("--contender={MEASURED}="));
            contender.push(library);
            contender.push(":foliocopy_copy_mc_pages@mc");
            Side { program: THIS_PROGRAM.into(), arguments: vec![contender, ALONE.into()] }
        };
        let api = Api { name: "C copy_mc_pages".to_owned(), contender: MEASURED.to_owned() };
        alternations
            .extend(plain.iter().map(|case| alternation(case, vec![api.clone()], [side(old), side(new)])));
    }
    if let Some((old, new)) = programs {
        let arguments: &[&str] = match [old, new].into_iter().all(|program| measures_alone(program)) {
            true => &["--contender=foliocopy", "--contender=foliocopy-mc", ALONE],
            false => &["--contender=foliocopy-mc"],
        };
        let side = |program: &Path| Side {
            program: program.to_owned(),
            arguments: arguments.iter().map(OsString::from).collect(),
        };
        let apis = |names: [&str; 2]| {
            let api = |(name, contender): (&str, &str)| Api {
                name: format!("Rust {name}"),
                contender: contender.to_owned(),
            };
            names.into_iter().zip(["foliocopy", "foliocopy-mc"]).map(api).collect::<Vec<_>>()
        };
        for (cases, names) in
            [(&plain, ["copy_pages", "copy_mc_pages"]), (&batches, ["copy_folios", "copy_mc_folios"])]
        {
            alternations
                .extend(cases.iter().map(|case| alternation(case, apis(names), [side(old), side(new)])));
        }
    }
    let time = plan.time;
    let libraries = match libraries {
        Some((old, new)) => Some(Plan {
            contenders: vec![Contender::of_library(OLD, old)?, Contender::of_library(NEW, new)?],
            cases: [plain, batches].concat(),
            until: Some(until),
            ..plan
        }),
        None => None,
    };
    Ok((Gate { libraries, alternations, time }, contenders))
}

/// A row a cell.
pub(super) fn table(results: &Results) -> String {
    if results.environment.emulated {
        return "every copy was right (no speeds: the CPU is emulated)\n".to_owned();
    }
    let rule = Rule::of(results);
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "interface",
        "cache",
        "folio",
        "nodes",
        "old GB/s",
        "new GB/s",
        "new/old",
        "",
        "rounds",
    ]);
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
            format!("{:.3}", ratio.corrected()),
            standing.mark().trim().to_owned(),
            new.samples_gbps.len().to_string(),
        ]);
    }
    for index in [2, 4, 5, 8] {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!(
        "{}\n\nnew/old: median ratio of speeds within a round [99 % for all cells together]\n{}\n",
        table.trim_fmt(),
        rule.legend()
    )
}
