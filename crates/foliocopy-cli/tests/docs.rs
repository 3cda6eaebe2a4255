//! Runs every command of README.md and docs/, so that none goes stale.
//!
//! A page's commands run in its own empty directory, in their order, with this build's `foliocopy` first on PATH. A small
//! script in front of it makes measurements short. [`ELSEWHERE`] names the commands that can't run here, and the test that runs
//! each. Of those, the words of `foliocopy` and of `cargo xtask` are still checked here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The script in front of the program: `$program` is its path.
const SHORT: &str = r#"
command=$1; shift
rest=()
evict=4M
while [ $# -gt 0 ]; do
  case "$command $1" in
    'bench --time'|'bench --rounds'|'roofline --rounds'|'reproduce --time'|'tune --time'|'survey --time') shift ;;
    'bench --evict') shift; evict=$1,4M ;;
    'bench --preset') rest+=("$1"); shift; rest+=("$1") ;;
    *) rest+=("$1") ;;
  esac
  shift
done
case "$command" in
  # 1 is a verdict about the machine, and no fault of the page.
  bench) "$program" bench "${rest[@]}" --time 500ms --evict "$evict" || [ $? = 1 ] ;;
  compare) "$program" compare "${rest[@]}" || [ $? = 1 ] ;;
  roofline) "$program" roofline "${rest[@]}" --rounds 1 --memory 4M ;;
  reproduce) "$program" reproduce "${rest[@]}" --time 1s ;;
  tune)
    case " ${rest[*]} " in
      *' --profile '*|*' --from '*) XDG_CONFIG_HOME=$PWD "$program" tune "${rest[@]}" --force ;;
      *) XDG_CONFIG_HOME=$PWD "$program" tune "${rest[@]}" --time 1ms --evict 1M ;;
    esac ;;
  survey) "$program" survey "${rest[@]}" --time 1ms --evict 1M ;;
  # It would change this machine. Its help is refused where an option is misspelt.
  kernel|migrate) "$program" "$command" "${rest[@]}" --help >/dev/null ;;
  *) "$program" "$command" "${rest[@]}" ;;
esac
"#;

/// A command of a page.
struct Step {
    page: PathBuf,
    line: usize,
    command: String,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(repository().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|of| of == "md")).collect();
    pages.extend([repository().join("README.md")].into_iter().filter(|readme| readme.exists()));
    pages.sort();
    pages
}

/// The lines after `$ ` in the page's blocks of `console`, and the indented lines that call the program. A line that ends in
/// `\` goes on.
fn steps(page: &Path) -> Vec<Step> {
    let text = fs::read_to_string(page).unwrap();
    let mut steps: Vec<Step> = Vec::new();
    let (mut inside, mut goes_on) = (false, false);
    for (index, line) in text.lines().enumerate() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            assert!(
                !["sh", "bash", "shell"].contains(&language.trim()),
                "{}:{}: commands stand in a block of `console`, after `$ `",
                page.display(),
                index + 1
            );
            inside = !inside && language.trim() == "console";
            continue;
        }
        if let Some(code) = line.strip_prefix("    ").filter(|code| !inside && code.starts_with("foliocopy "))
        {
            steps.push(Step { page: page.to_owned(), line: index + 1, command: code.to_owned() });
            continue;
        }
        let text = if goes_on { Some(line) } else { line.strip_prefix("$ ") };
        if let (true, Some(text)) = (inside, text) {
            let command = text.strip_suffix('\\').unwrap_or(text);
            match steps.last_mut().filter(|_| goes_on) {
                Some(step) => step.command.push_str(command),
                None => {
                    steps.push(Step { page: page.to_owned(), line: index + 1, command: command.to_owned() })
                }
            }
            goes_on = text.ends_with('\\');
        }
    }
    steps
}

/// The commands that don't run here, by page and start, and what runs them. The guest's scenario takes its commands from the
/// page, and lists those that it leaves to others.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("README.md", "cargo xtask test", "it runs this test"),
    (
        "reading-the-numbers.md",
        "cargo xtask verdicts",
        "it takes hours; tests/calibration.rs asks the same of simulated machines",
    ),
    ("comparing-and-reporting.md", "foliocopy compare ab_", "tests/kit.rs compares such logs"),
    ("comparing-and-reporting.md", "foliocopy report move_pages", "tests/kit.rs reports such a log"),
    ("KERNEL.md", "", "the virtual machine's scenario `guide` runs the page"),
    ("does-it-help-me.md", "", "the virtual machine's scenario `service` runs the page"),
    ("calling-from-c.md", "", "the C library's tests run it, in the repository"),
    ("surviving-bad-memory.md", "cc ", "the C library's tests run it, which have the library"),
];

impl Step {
    /// Where the command runs if not here.
    fn elsewhere(&self) -> Option<&'static str> {
        let found = ELSEWHERE
            .iter()
            .find(|(page, start, _)| self.page.ends_with(page) && self.command.starts_with(start));
        found.map(|(_, _, why)| *why)
    }

    /// The command as it runs here: programs that a fresh clone builds first are built already.
    fn here(&self) -> String {
        self.command.replace("cargo run --release -- ", "foliocopy ").replace("sudo foliocopy ", "foliocopy ")
    }
}

fn run(steps: &[Step]) {
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("bin/foliocopy");
    fs::create_dir(home.path().join("bin")).unwrap();
    let script = format!("#!/bin/bash\nprogram={}\n{SHORT}", env!("CARGO_BIN_EXE_foliocopy"));
    let written = home.path().join("script");
    fs::write(&written, script).unwrap();
    // By another process. A child that another test starts meanwhile would inherit the open file, and a program that is open
    // for writing can't be run (ETXTBSY).
    let installed = Command::new("install").arg("--mode=755").arg(&written).arg(&program).status().unwrap();
    assert!(installed.success());
    let directory = home.path().join("here");
    // The old build for comparisons is this build.
    fs::create_dir_all(directory.join("target")).unwrap();
    let build = Path::new(env!("CARGO_BIN_EXE_foliocopy")).parent().unwrap();
    std::os::unix::fs::symlink(build, directory.join("target/release")).unwrap();
    let path = format!("{}:{}", home.path().join("bin").display(), std::env::var("PATH").unwrap());
    for step in steps {
        let output = Command::new("bash")
            .args(["-e", "-o", "pipefail", "-c", &step.here()])
            .current_dir(&directory)
            .env("PATH", &path)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}:{}: `{}` fails ({}):\n{}{}",
            step.page.display(),
            step.line,
            step.command,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn every_command_runs() {
    let mut commands = 0;
    for page in pages() {
        let steps: Vec<Step> = steps(&page).into_iter().filter(|step| step.elsewhere().is_none()).collect();
        commands += steps.len();
        run(&steps);
    }
    assert!(commands > 20, "only {commands} commands were found");
}

/// The words of `sudo foliocopy kernel …` and `cargo xtask …` exist, though the commands do not run here.
#[test]
fn what_runs_elsewhere_is_spelt_right() {
    let mut named = Vec::new();
    for step in pages().iter().flat_map(|page| steps(page)) {
        if let Some(why) = step.elsewhere() {
            println!("not run here: {}:{}: {} ({why})", step.page.display(), step.line, step.command);
            named.push(why);
            spelt_right(&step);
        }
    }
    for (page, start, why) in ELSEWHERE {
        assert!(named.contains(why), "{page} has no `{start}` any more");
    }
}

/// Commands within the text are spelt correctly too. Commands of other programs stand in blocks, where they are run.
#[test]
fn commands_in_passing_are_spelt_right() {
    const OTHERS: [&str; 10] =
        ["cc", "sudo", "make", "insmod", "rmmod", "modprobe", "dkms", "echo", "dmesg", "apt"];
    let mut ours = 0;
    for page in pages() {
        for step in in_passing(&page) {
            let (first, rest) = step.command.split_once(' ').unwrap_or((&step.command, ""));
            let place = format!("{}:{}", page.display(), step.line);
            assert!(
                rest.is_empty() || !OTHERS.contains(&first),
                "{place}: `{}` is run by no test: it stands in a block of `console`, after `$ `",
                step.command
            );
            let is_ours = first == "foliocopy" && rest.starts_with(|c: char| c.is_ascii_lowercase());
            if is_ours || step.command.starts_with("cargo xtask ") {
                ours += 1;
                spelt_right(&step);
            }
        }
    }
    assert!(ours > 10, "only {ours} commands were found");
}

/// The text between two backquotes outside of blocks, with the line on which it starts.
fn in_passing(page: &Path) -> Vec<Step> {
    let text = fs::read_to_string(page).unwrap();
    let mut inside = false;
    let prose = text.lines().map(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        if inside || fence { "" } else { line }
    });
    let prose = prose.collect::<Vec<_>>().join("\n");
    let mut line = 1;
    let mut steps = Vec::new();
    for (index, piece) in prose.split('`').enumerate() {
        if index % 2 == 1 {
            let command = piece.split_whitespace().collect::<Vec<_>>().join(" ");
            steps.push(Step { page: page.to_owned(), line, command });
        }
        line += piece.matches('\n').count();
    }
    steps
}

/// Asks the command for its help, which refuses a misspelt word.
fn spelt_right(step: &Step) {
    let command = step.command.split(" # ").next().unwrap().trim_end();
    if let Some(arguments) = command.strip_prefix("cargo xtask ") {
        let output = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--package", "xtask", "--"])
            .args(arguments.split_whitespace())
            .arg("--help")
            .current_dir(repository())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}:{}: {command}: {said}", step.page.display(), step.line);
    } else if step.here().starts_with("foliocopy ") {
        let command = format!("{command} --help");
        run(&[Step { page: step.page.clone(), line: step.line, command }]);
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let target = link.split('#').next().unwrap();
            if !target.is_empty() && !target.contains(':') {
                assert!(page.parent().unwrap().join(target).exists(), "{}: {link}", page.display());
            }
        }
    }
}

/// A misspelt command must fail, or this test proves nothing.
#[test]
fn the_test_can_fail() {
    for wrong in ["foliocopy bnech", "foliocopy bench --chache cold", "foliocopy report nothing.json -o -"] {
        let step = Step { page: PathBuf::from("page.md"), line: 1, command: wrong.into() };
        assert!(std::panic::catch_unwind(|| run(&[step])).is_err(), "{wrong}");
    }
}

/// The parameters that `foliocopy tune --emit kernel` prints have the module's own names.
#[test]
fn the_module_has_the_parameters_that_are_emitted() {
    let source = fs::read_to_string(repository().join("kmod/parameters.c")).unwrap();
    for name in ["table_temporal", "table_nontemporal", "table_sampling"] {
        assert!(source.contains(&format!("module_param_cb({name},")), "{name}");
    }
}
