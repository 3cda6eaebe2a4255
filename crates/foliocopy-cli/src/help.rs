//! The parts of `--help` and of the manual pages beyond options: examples, files, environment and exit codes.

use crate::exit;

/// The help of one command.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Help {
    /// Pairs of a purpose and the command for it.
    pub(crate) examples: &'static [(&'static str, &'static str)],
    /// Files that the command reads or writes, each with its meaning.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// Whether it copies by the policy of the process, which the environment may change.
    pub(crate) copies: bool,
}

/// Files that decide how a process copies.
const PROFILES: &[(&str, &str)] = &[
    (
        "~/.config/foliocopy/profile.toml",
        "the user's profile of this CPU; $XDG_CONFIG_HOME stands for ~/.config",
    ),
    ("/etc/foliocopy/profile.toml", "the profile of all users"),
];

/// Files of the kernel modules.
const MODULES: &[(&str, &str)] = &[
    ("/sys/module/foliocopy/parameters", "the parameters of foliocopy.ko"),
    ("/sys/kernel/debug/foliocopy", "its counters, its policy, its bench and its self-test, for root"),
    ("/sys/kernel/livepatch/foliocopy_livepatch", "the state of the livepatch"),
    ("/etc/modprobe.d/foliocopy.conf", "parameters that `foliocopy tune --emit kernel` printed"),
];

/// Variables that decide how a process copies.
pub(crate) const ENVIRONMENT: [(&str, &str); 4] = [
    ("FOLIOCOPY_PROFILE", "a profile in place of the usual ones; none for no profile"),
    ("FOLIOCOPY_PRIMITIVE", "the one primitive to copy by, such as rep_movsb"),
    ("FOLIOCOPY_MASK", "CPU features to do without, such as erms,fsrm"),
    ("FOLIOCOPY_STRICT", "1 makes an error of a variable or profile that can't be followed"),
];

/// The help of the command with this path, such as `kernel patch on`.
pub(crate) fn of(path: &str) -> Help {
    let Help { examples, files, copies } = Help::default();
    match path {
        "" => Help {
            examples: &[
                ("Is there anything to gain on this machine?", "foliocopy bench"),
                ("How does it copy here, and why?", "foliocopy info"),
                ("Make every program of mine copy by a table of this CPU", "foliocopy tune"),
            ],
            files: PROFILES,
            copies: true,
        },
        "bench" => Help {
            examples: &[
                ("Is there anything to gain on this machine?", "foliocopy bench"),
                (
                    "Which instruction is fastest for huge pages in memory?",
                    "foliocopy bench --cache cold --folio 2M --contender rep_movsb --contender rep_movsq --contender movnti",
                ),
                (
                    "Does the copy leave its cost to the reader?",
                    "foliocopy bench --cache cold --folio 64K,2M --contender foliocopy:non_temporal --then read",
                ),
                (
                    "How long does a copy take at worst, alone and beside a thread that reads?",
                    "foliocopy bench --cache cold --folio 4K,2M --load 0-1 --latency",
                ),
                (
                    "How does it compare with the memcpy() of the C library?",
                    "foliocopy bench --contender glibc=-:memcpy",
                ),
                (
                    "Keep the samples, and make a page of them",
                    "foliocopy bench --export-json bench.json && foliocopy report bench.json -o bench.html",
                ),
                (
                    "Is my change slower than the last build?",
                    "foliocopy bench --against ../main/target/release",
                ),
            ],
            files: PROFILES,
            copies: true,
        },
        "migrate" => Help {
            examples: &[
                ("How fast does this kernel move pages between nodes?", "sudo foliocopy migrate"),
                (
                    "How much does the livepatch gain?",
                    "sudo foliocopy kernel patch on && sudo foliocopy migrate --export-json migrate.json",
                ),
                ("Move memory under load for a minute, and check it", "sudo foliocopy migrate --stress 60"),
            ],
            files: MODULES,
            copies,
        },
        "selftest" => Help {
            examples: &[
                ("May I trust this machine's copies?", "foliocopy selftest"),
                ("Check two primitives alone", "foliocopy selftest rep_movsb movnti"),
            ],
            files,
            copies,
        },
        "info" => Help {
            examples: &[
                ("How does foliocopy copy here, and why?", "foliocopy info"),
                ("What would a CPU get that nobody has measured?", "foliocopy info --mask row"),
                ("For a bug report", "foliocopy info --json"),
            ],
            files: PROFILES,
            copies: true,
        },
        "compare" => Help {
            examples: &[
                ("What did the firmware update change?", "foliocopy compare before.json after.json"),
                (
                    "Take several runs of each",
                    "foliocopy compare --old before-1.json before-2.json --new after-1.json after-2.json",
                ),
                (
                    "Hold logs of AMD's folio-bench-kit against each other",
                    "foliocopy compare ab_stock.log ab_patched.log",
                ),
                (
                    "Fail a script for a loss of more than 5 %",
                    "foliocopy compare before.json after.json --threshold 5",
                ),
            ],
            files,
            copies,
        },
        "report" => Help {
            examples: &[
                ("A page to send to a colleague", "foliocopy report bench.json -o bench.html"),
                ("Two machines beside each other", "foliocopy report here.json there.json -o both.html"),
                ("A mail to a kernel list", "foliocopy report bench.json --export-lkml mail.txt"),
            ],
            files,
            copies,
        },
        "reproduce" => Help {
            examples: &[
                ("Does the RFC's gain show on this CPU?", "foliocopy reproduce rfc"),
                (
                    "Keep the tables and the samples",
                    "foliocopy reproduce rfc --export-markdown rfc.md --keep rfc-results",
                ),
            ],
            files,
            copies: true,
        },
        "roofline" => Help {
            examples: &[
                ("How fast can a copy be on this memory?", "foliocopy roofline --export-json roofline.json"),
                ("How far from that is each copy?", "foliocopy bench --cache cold --roofline roofline.json"),
            ],
            files,
            copies,
        },
        "survey" => Help {
            examples: &[
                ("Get this CPU a table of its own in the next version", "foliocopy survey -o my-cpu.json"),
                ("See what was measured", "foliocopy report my-cpu.json -o my-cpu.html"),
            ],
            files: &[("foliocopy-survey.json", "the survey, in the current directory")],
            copies,
        },
        "tune" => Help {
            examples: &[
                ("Make every program of mine copy by a table of this CPU", "foliocopy tune"),
                ("Take more time on a noisy machine", "foliocopy tune --time 5m --force"),
                ("Tune the kernel module", "foliocopy tune --emit kernel > foliocopy.conf"),
                ("Tune all users' programs", "sudo foliocopy tune --output /etc/foliocopy/profile.toml"),
            ],
            files: PROFILES,
            copies,
        },
        "completions" => Help {
            examples: &[(
                "For bash, for this user",
                "foliocopy completions bash > ~/.local/share/bash-completion/completions/foliocopy",
            )],
            files,
            copies,
        },
        "man" => Help {
            examples: &[("Read a page", "foliocopy man -o man && man -l man/foliocopy-bench.1")],
            files,
            copies,
        },
        "kernel" => Help {
            examples: &[
                ("What is missing before the kernel can copy this way?", "foliocopy kernel status"),
                (
                    "Measure inside the kernel, and change nothing",
                    "sudo foliocopy kernel load && sudo foliocopy kernel bench",
                ),
                ("Have the kernel copy by foliocopy", "sudo foliocopy kernel patch on"),
                ("Undo it", "sudo foliocopy kernel patch off && sudo foliocopy kernel unload"),
            ],
            files: MODULES,
            copies,
        },
        "kernel load" => Help {
            examples: &[
                ("Load the installed module", "sudo foliocopy kernel load"),
                ("Load one that was built here", "sudo foliocopy kernel load --modules kmod"),
            ],
            files: MODULES,
            copies,
        },
        "kernel bench" => Help {
            examples: &[
                ("Does one copy a folio gain inside this kernel?", "sudo foliocopy kernel bench"),
                (
                    "Is it the length or the instruction?",
                    "sudo foliocopy kernel bench --contender rep_movsb --contender page:rep_movsb",
                ),
                (
                    "What does a scenario of AMD's folio-bench-kit give here?",
                    "sudo foliocopy kernel bench --preset kit-b",
                ),
            ],
            files: MODULES,
            copies,
        },
        "kernel run-all" => Help {
            examples: &[
                (
                    "Measure this machine for the project, and send the file",
                    "sudo foliocopy kernel run-all -o my-machine.json",
                ),
                ("See first that every part runs here", "sudo foliocopy kernel run-all --quick"),
                ("Look at what it found", "foliocopy report my-machine.json -o my-machine.html"),
            ],
            files: MODULES,
            copies,
        },
        "kernel status" => Help {
            examples: &[
                ("Is the module loaded?", "foliocopy kernel status"),
                ("For a script", "foliocopy kernel status --json"),
            ],
            files: MODULES,
            copies,
        },
        "kernel patch status" => Help {
            examples: &[(
                "For a monitor: exit code 0 where the kernel is patched",
                "foliocopy kernel patch status --json",
            )],
            files: MODULES,
            copies,
        },
        "kernel patch" | "kernel patch on" => Help {
            examples: &[
                ("Have the kernel copy by foliocopy", "sudo foliocopy kernel patch on"),
                ("Undo it", "sudo foliocopy kernel patch off"),
                (
                    "Compare with the kernel's own copies in one boot",
                    "sudo foliocopy kernel patch method stock",
                ),
            ],
            files: MODULES,
            copies,
        },
        path if path.starts_with("kernel") => Help { examples, files: MODULES, copies },
        _ => Help { examples, files, copies },
    }
}

/// The section of the manual for this path: 8 for commands of the machine's operator.
pub(crate) fn section(path: &str) -> &'static str {
    match path.split(' ').next() {
        Some("kernel" | "migrate") => "8",
        _ => "1",
    }
}

/// The text below the options.
pub(crate) fn below(path: &str) -> String {
    let help = of(path);
    let mut text = String::new();
    let environment: &[(&str, &str)] = if help.copies { &ENVIRONMENT } else { &[] };
    for (title, entries) in [("Files", help.files), ("Environment", environment)] {
        if !entries.is_empty() {
            text += &format!("{title}:\n");
            entries.iter().for_each(|(name, what)| text += &format!("  {name}\n      {what}\n"));
            text += "\n";
        }
    }
    text += &exit::help();
    if !help.examples.is_empty() {
        text += "\n\nExamples:";
        help.examples.iter().for_each(|(what, command)| text += &format!("\n  {what}\n    $ {command}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The path of every command that people see.
    fn paths(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        found.push(path.to_owned());
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            paths(sub, format!("{path} {}", sub.get_name()).trim(), found);
        }
    }

    #[test]
    fn every_example_is_a_command_that_the_program_takes() {
        let mut found = Vec::new();
        paths(&crate::program(), "", &mut found);
        let mut examples = 0;
        for path in &found {
            for (_, line) in of(path).examples {
                for command in line.split(" && ").map(|command| command.trim_start_matches("sudo ")) {
                    let words = command.split(" > ").next().unwrap().split_whitespace();
                    if words.clone().next() == Some("foliocopy") {
                        examples += 1;
                        let taken = crate::throughout(crate::program(), "").try_get_matches_from(words);
                        assert!(taken.is_ok(), "{path}: {command}: {}", taken.unwrap_err());
                    }
                }
            }
        }
        assert!(examples > 30, "{examples}");
    }

    #[test]
    fn every_command_of_the_first_level_has_an_example() {
        for command in crate::program().get_subcommands() {
            assert!(!of(command.get_name()).examples.is_empty(), "{}", command.get_name());
        }
    }
}
