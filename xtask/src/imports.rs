//! The engine's modules import each other in one direction only. This check finds circles, also through re-exports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use xshell::Shell;

/// The folder of the engine's modules.
pub(crate) const SOURCE: &str = "crates/foliocopy/src";

/// The top-level modules that each module imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// Fails where modules of the engine import each other in a circle.
pub(crate) fn check(shell: &Shell, _: &mut Vec<String>) -> Result<()> {
    let imports = read(&shell.current_dir().join(SOURCE))?;
    ensure!(imports.len() > 20, "only {} modules were found in {SOURCE}", imports.len());
    let circle = circle(&imports);
    ensure!(circle.is_empty(), "modules of the engine import each other in a circle: {}", circle.join(" → "));
    Ok(())
}

/// The imports of every module in the folder of a crate, without its tests.
fn read(source: &Path) -> Result<Imports> {
    let root = fs::read_to_string(source.join("lib.rs")).context("the engine has no lib.rs")?;
    let modules: BTreeSet<String> = declared(&root).collect();
    let exported = re_exports(&root, &modules);
    let mut imports: Imports = modules.iter().map(|module| (module.clone(), BTreeSet::new())).collect();
    for (module, imported) in &mut imports {
        for text in texts(source, module)? {
            for name in names_behind(&text, "crate::") {
                let target = if modules.contains(&name) { Some(&name) } else { exported.get(&name) };
                imported.extend(target.filter(|target| *target != module).cloned());
            }
        }
    }
    Ok(imports)
}

/// The modules that the root declares in files.
fn declared(root: &str) -> impl Iterator<Item = String> {
    let lines = root.lines().map(|line| line.trim_start_matches("pub ").trim());
    lines
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned))
        .filter(|name| name != "kernel")
}

/// The module of each name that the root exports again.
fn re_exports(root: &str, modules: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut exported = BTreeMap::new();
    for module in modules {
        for name in names_behind(root, &format!("pub use {module}::")) {
            exported.insert(name, module.clone());
        }
    }
    exported
}

/// The code of a module: its file and those in its folder, up to where their tests begin.
pub(crate) fn texts(source: &Path, module: &str) -> Result<Vec<String>> {
    let mut files = vec![source.join(format!("{module}.rs"))];
    let mut folders = vec![source.join(module)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name != "tests.rs") {
                files.push(path);
            }
        }
    }
    let code = |file: &std::path::PathBuf| {
        let text = fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))?;
        let code = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
        Ok(code.map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n"))
    };
    files.iter().map(code).collect()
}

/// The names right after `prefix`: one, or a list in braces.
fn names_behind(text: &str, prefix: &str) -> Vec<String> {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let name = |text: &str| text.trim_start().chars().take_while(|c| is_name(*c)).collect::<String>();
    let mut names = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        let rest = &text[at + prefix.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            names.push(name(rest));
            continue;
        };
        let mut depth = 0_usize;
        let mut item = String::new();
        for character in list.chars() {
            match character {
                '}' if depth == 0 => break,
                ',' if depth == 0 => names.push(name(&std::mem::take(&mut item))),
                other => {
                    depth = depth + usize::from(other == '{') - usize::from(other == '}');
                    item.push(other);
                }
            }
        }
        names.push(name(&item));
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The modules of a circle, the first of them twice; empty without a circle.
fn circle(imports: &Imports) -> Vec<String> {
    fn visit(module: &str, imports: &Imports, path: &mut Vec<String>, done: &mut BTreeSet<String>) -> bool {
        if let Some(start) = path.iter().position(|one| one == module) {
            path.drain(..start);
            path.push(module.to_owned());
            return true;
        }
        if !done.insert(module.to_owned()) {
            return false;
        }
        path.push(module.to_owned());
        for next in imports.get(module).into_iter().flatten() {
            if visit(next, imports, path, done) {
                return true;
            }
        }
        path.pop();
        false
    }
    let (mut path, mut done) = (Vec::new(), BTreeSet::new());
    for module in imports.keys() {
        if visit(module, imports, &mut path, &mut done) {
            return path;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(edges: &[(&str, &str)]) -> Imports {
        let mut imports = Imports::new();
        for (from, to) in edges {
            imports.entry((*from).into()).or_default().insert((*to).into());
        }
        imports
    }

    #[test]
    fn a_circle_is_found_and_a_diamond_is_none() {
        assert!(circle(&imports(&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])).is_empty());
        let found = circle(&imports(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b")]));
        assert_eq!(found, ["b", "c", "d", "b"]);
    }

    #[test]
    fn names_are_found_in_lists_and_alone() {
        let text = "use crate::page::Page;\nuse crate::{arch, once::{Once, Other}, step as step_of};\n$crate::extable::x!()";
        assert_eq!(names_behind(text, "crate::"), ["page", "arch", "once", "step", "extable"]);
    }

    /// A name that the root exports counts as an import of its module.
    #[test]
    fn re_exports_are_resolved() {
        let root = "mod page;\npub mod folio;\npub use page::{PAGE_SIZE, Page};\n";
        let modules: BTreeSet<String> = declared(root).collect();
        assert_eq!(modules.iter().collect::<Vec<_>>(), ["folio", "page"]);
        assert_eq!(re_exports(root, &modules).get("Page").map(String::as_str), Some("page"));
    }

    #[test]
    fn the_engine_has_none() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(SOURCE);
        assert_eq!(circle(&read(&source).unwrap()), Vec::<String>::new());
    }
}
