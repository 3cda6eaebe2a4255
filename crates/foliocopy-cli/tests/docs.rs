//! Every command in README.md and docs/ is run here, so that none rots.
//!
//! A page's commands run in its own empty directory, in their order, with this build's `foliocopy` in front on PATH. A
//! small script stands before it that makes measurements short and asks the commands that would change this machine
//! (the kernel's module, page migration) for their help alone, which still refuses a misspelt option.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// In front of the program: `$program` is its path.
const SHORT: &str = r#"
command=$1; shift
rest=()
while [ $# -gt 0 ]; do
  case "$command $1" in
    'bench --time'|'bench --rounds'|'roofline --rounds'|'reproduce --time'|'tune --time') shift ;;
    'bench --preset') rest+=("$1"); shift; rest+=("$1") ;;
    *) rest+=("$1") ;;
  esac
  shift
done
case "$command" in
  # 1 is a verdict about the machine, and no fault of the page.
  bench) "$program" bench "${rest[@]}" --time 500ms --evict 4M || [ $? = 1 ] ;;
  compare) "$program" compare "${rest[@]}" || [ $? = 1 ] ;;
  roofline) "$program" roofline "${rest[@]}" --rounds 1 --memory 4M ;;
  reproduce) "$program" reproduce "${rest[@]}" --time 1s ;;
  tune)
    case " ${rest[*]} " in
      *' --profile '*) XDG_CONFIG_HOME=$PWD "$program" tune "${rest[@]}" ;;
      *) XDG_CONFIG_HOME=$PWD "$program" tune "${rest[@]}" --time 1ms --evict 1M ;;
    esac ;;
  kernel|migrate) "$program" "$command" "${rest[@]}" --help >/dev/null ;;
  *) "$program" "$command" "${rest[@]}" ;;
esac
"#;

/// What the pages tell a reader to run.
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

/// The lines after `$ ` in the page's blocks of `console`, where a line that ends in `\` goes on, and the indented lines
/// that call the program.
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

impl Step {
    /// Whether the command is one of those that another step of `cargo xtask test` runs, or that would run this test.
    fn runs_elsewhere(&self) -> bool {
        let elsewhere =
            ["cargo xtask ", "sudo ", "make -C kmod", "git clone ", "apt install ", "apt-get install "];
        elsewhere.iter().any(|start| self.command.starts_with(start))
    }

    /// As it runs here: what a fresh clone builds first is built already.
    fn here(&self) -> String {
        self.command.replace("cargo run --release -- ", "foliocopy ").replace("sudo foliocopy ", "foliocopy ")
    }
}

fn run(steps: &[Step]) {
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("bin/foliocopy");
    fs::create_dir(home.path().join("bin")).unwrap();
    let script = format!("#!/bin/bash\nprogram={}\n{SHORT}", env!("CARGO_BIN_EXE_foliocopy"));
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let directory = home.path().join("here");
    fs::create_dir(&directory).unwrap();
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
        let steps: Vec<Step> = steps(&page).into_iter().filter(|step| !step.runs_elsewhere()).collect();
        commands += steps.len();
        run(&steps);
    }
    assert!(commands > 20, "only {commands} commands were found");
}

/// `sudo foliocopy kernel …` and `cargo xtask …`: their words exist, though they do not run here.
#[test]
fn what_runs_elsewhere_is_spelt_right() {
    for page in pages() {
        for step in steps(&page).iter().filter(|step| step.runs_elsewhere()) {
            if step.command.starts_with("sudo foliocopy ") {
                run(std::slice::from_ref(step));
            }
            if let Some(arguments) = step.command.strip_prefix("cargo xtask ") {
                let status = Command::new(env!("CARGO"))
                    .args(["run", "--quiet", "--package", "xtask", "--"])
                    .args(arguments.split_whitespace())
                    .arg("--help")
                    .current_dir(repository())
                    .output()
                    .unwrap();
                assert!(status.status.success(), "{}:{}: {}", step.page.display(), step.line, step.command);
            }
        }
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
