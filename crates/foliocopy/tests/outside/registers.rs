//! Callers that keep values in vector registers across a copy. With such registers in the target CPU the compiler may inline a
//! copy into its caller, so each `asm!` block has to name every register that it changes.

use std::process::Command;

use crate::project::{Project, succeed};

/// Builds a program for `cpu` with each kind of link-time optimization, and runs it.
fn check(cpu: &str) {
    if !is_x86_feature_detected!("avx2") {
        eprintln!("not tested on this CPU: it lacks avx2");
        return;
    }
    let profiles = ["off", "thin", "fat"]
        .map(|lto| format!("[profile.{lto}]\ninherits = \"release\"\nlto = \"{lto}\"\ncodegen-units = 1\n"));
    let manifest = format!("foliocopy = {{ path = \"copies/foliocopy\" }}\n\n{}", profiles.join("\n"));
    let project = Project::new(&format!("registers-{cpu}"), &manifest, include_str!("programs/registers.rs"));
    project.copy_crate("foliocopy", env!("CARGO_PKG_VERSION"), |_, text| with_everything_inlined(&text));
    let wrong = ["off", "thin", "fat"].map(|lto| {
        let program = project.build(lto, |build| {
            let flags = format!("-C target-cpu={cpu}");
            build.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", flags);
        });
        let output = succeed(&mut Command::new(program));
        let wrong = output.strip_suffix("<end>\n").expect("the program came to its end");
        if wrong.is_empty() { String::new() } else { format!("target-cpu={cpu}, lto={lto}:\n{wrong}") }
    });
    let wrong = wrong.concat();
    assert!(wrong.is_empty(), "{wrong}");
}

/// Makes the compiler inline every function that it may inline.
fn with_everything_inlined(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let inlined = |index: usize| {
        let near = &lines[index.saturating_sub(1)..lines.len().min(index + 2)];
        match lines[index].trim() {
            // This is not allowed together with `target_feature`.
            "#[inline]" | "#[inline(never)]" if near.iter().all(|line| !line.contains("target_feature")) => {
                "#[inline(always)]"
            }
            _ => lines[index],
        }
    };
    (0..lines.len()).map(|index| format!("{}\n", inlined(index))).collect()
}

#[test]
#[ignore = "builds the crate six times: cargo test --test outside -- --ignored"]
fn callers_keep_their_registers_on_x86_64_v3() {
    check("x86-64-v3");
}

#[test]
#[ignore = "builds the crate six times: cargo test --test outside -- --ignored"]
fn callers_keep_their_registers_on_this_cpu() {
    check("native");
}
