//! Signals during a transition of the kernel, and the child programs of the program.

use std::fs;
use std::process::Command;

use namespace::said;

mod namespace;

/// A fake kernel of files: a livepatch whose transition ends when it is removed.
const TRANSITION: &str = r#"
mount -t tmpfs none /sys
mkdir -p /sys/kernel/livepatch/foliocopy_livepatch /sys/module/foliocopy /sys/module/foliocopy_livepatch
patch=/sys/kernel/livepatch/foliocopy_livepatch
echo live >/sys/module/foliocopy/initstate
echo live >/sys/module/foliocopy_livepatch/initstate
echo 1 >$patch/enabled
echo 1 >$patch/transition
wait_for() { n=0; until eval "$1"; do sleep 0.05; n=$((n+1)); test $n -lt 2400 || { echo "never: $1" >&2; exit 98; }; done; }
"#;

#[test]
fn a_second_signal_during_a_roll_back_is_noted_and_the_roll_back_ends() {
    let here = tempfile::tempdir().unwrap();
    let script = format!(
        "{TRANSITION}
         $FOLIOCOPY kernel patch on --timeout 10m 2>err & pid=$!
         wait_for 'grep -q \"waiting for\" err'
         kill -INT $pid
         wait_for 'test \"$(cat $patch/enabled)\" = 0'
         sleep 0.5; kill -INT $pid; kill -TERM $pid
         wait_for 'grep -q \"is being put back\" err'
         kill -0 $pid
         rm -r $patch /sys/module/foliocopy_livepatch
         code=0; wait $pid || code=$?
         cat err >&2; exit $code"
    );
    let Some(output) = namespace::run(here.path(), &script) else { return };
    let said = said(&output, 130);
    assert!(
        said.contains("interrupted again, which is noted: the kernel is being put back as it was"),
        "{said}"
    );
    assert!(said.contains("interrupted: the kernel is as it was"), "{said}");
}

#[test]
fn a_second_signal_while_the_livepatch_leaves_is_noted_too() {
    let here = tempfile::tempdir().unwrap();
    let script = format!(
        "{TRANSITION}
         echo 0 >$patch/transition
         $FOLIOCOPY kernel patch off --timeout 10m 2>err & pid=$!
         wait_for 'grep -q \"waiting for\" err'
         echo 1 >$patch/transition
         kill -INT $pid
         wait_for 'test \"$(cat $patch/enabled)\" = 1'
         sleep 0.5; kill -HUP $pid
         wait_for 'grep -q \"is being put back\" err'
         kill -0 $pid; echo 0 >$patch/transition
         code=0; wait $pid || code=$?
         cat err >&2; exit $code"
    );
    let Some(output) = namespace::run(here.path(), &script) else { return };
    let said = said(&output, 130);
    assert!(said.contains("interrupted again, which is noted"), "{said}");
    assert!(said.contains("interrupted: the kernel is patched as before"), "{said}");
}

/// Anybody can choose the name of a task.
#[test]
fn what_the_kernel_shows_steers_nothing() {
    let here = tempfile::tempdir().unwrap();
    let script = format!(
        "{TRANSITION}
         mkdir -p \"/sys/kernel/livepatch/$(printf 'other\\033[31m\\nforged')\" /sys/module/foliocopy/parameters
         printf 'x\\033]0;evil\\007' >/sys/module/foliocopy/version
         printf '\\033c' >/sys/module/foliocopy/parameters/nontemporal_nodes
         $FOLIOCOPY kernel status; code=0; $FOLIOCOPY kernel patch status || code=$?; test $code = 4"
    );
    let Some(output) = namespace::run(here.path(), &script) else { return };
    said(&output, 0);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\\u{1b}[31m\\nforged") && text.contains("version x\\u{1b}"), "{text}");
    assert!(!text.chars().any(|letter| letter.is_control() && letter != '\n'), "{text:?}");
}

/// The status is in the exit code and in the JSON. It says whether another livepatch replaces one of the same functions.
#[test]
fn a_script_can_tell_patched_from_not_patched_and_from_in_between() {
    let here = tempfile::tempdir().unwrap();
    let script = format!(
        "{TRANSITION}
         mkdir -p /sys/kernel/livepatch/other/vmlinux/folio_mc_copy,1
         tell() {{ code=0; $FOLIOCOPY kernel patch status --json >$1.json || code=$?; echo $1 $code >&2; }}
         tell turning-on; echo 0 >$patch/transition; tell on
         echo 0 >$patch/enabled; tell turning-off; rm -r $patch; tell off
         $FOLIOCOPY kernel status --json >loaded.json; echo loaded $? >&2
         rm -r /sys/module/foliocopy
         code=0; $FOLIOCOPY kernel status --json >absent.json || code=$?; echo absent $code >&2"
    );
    let Some(output) = namespace::run(here.path(), &script) else { return };
    let said = said(&output, 0);
    let codes: Vec<&str> = said.lines().collect();
    assert_eq!(codes, ["turning-on 4", "on 0", "turning-off 4", "off 3", "loaded 0", "absent 3"]);
    let told = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&fs::read(here.path().join(format!("{name}.json"))).unwrap()).unwrap()
    };
    for state in ["turning-on", "on", "turning-off", "off"] {
        let told = told(state);
        assert_eq!(told["state"], state);
        assert_eq!(told["others"], serde_json::json!([{ "name": "other", "functions": ["folio_mc_copy"] }]));
    }
    assert_eq!(told("loaded")["loaded"], true);
    let absent = told("absent");
    assert_eq!((&absent["loaded"], &absent["livepatch"]["state"]), (&false.into(), &"off".into()));
    assert!(absent["headers"]["installed"].is_boolean() && absent["kernel"].is_string());
}

/// The livepatch that is loaded last wins, and a fix of the other one would be undone.
#[test]
fn another_livepatch_of_the_same_function_is_not_undone_unasked() {
    let here = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs none /sys; mkdir -p /sys/kernel/livepatch/other/vmlinux/folio_copy,1
         printf '#!/bin/sh\nexit 1\n' >modprobe; chmod +x modprobe; export PATH=$PWD:$PATH
         code=0; $FOLIOCOPY kernel patch on || code=$?; test $code = 2
         code=0; $FOLIOCOPY kernel patch on --on-top || code=$?; test $code = 2";
    let Some(output) = namespace::run(here.path(), script) else { return };
    let said = said(&output, 0);
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].contains("other replaces folio_copy() already") && lines[0].contains("--on-top"),
        "{said}"
    );
    assert!(lines[1].starts_with("note: other livepatches are there: other (replaces"), "{said}");
    assert!(lines[2].contains("foliocopy-dkms"), "it went on to load its own: {said}");
}

#[test]
fn modprobes_complaint_is_one_line_and_gets_advice() {
    let here = tempfile::tempdir().unwrap();
    let modprobe = here.path().join("modprobe");
    let complain = "#!/bin/sh\necho \"modprobe: ERROR: could not insert '$1': Key was rejected by service\" >&2; exit 1\n";
    fs::write(&modprobe, complain).unwrap();
    let script = "mount -t tmpfs none /sys; chmod +x modprobe
         PATH=$PWD:$PATH $FOLIOCOPY kernel load && exit 99 || true";
    let Some(output) = namespace::run(here.path(), script) else { return };
    let said = said(&output, 0);
    assert!(said.contains("Key was rejected") && said.contains("mokutil --import"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// The program starts itself for each bench. An update or a removal in between does not matter.
#[test]
fn a_program_that_was_removed_goes_on() {
    let here = tempfile::tempdir().unwrap();
    let script = "cp $FOLIOCOPY program; ./program reproduce rfc --time 3s --keep kept >text & pid=$!
         until test -e kept; do sleep 0.05; done; rm program
         code=0; wait $pid || code=$?; exit $code";
    let output = Command::new("sh")
        .args(["-euc", script])
        .env("FOLIOCOPY", assert_cmd::cargo::cargo_bin("foliocopy"))
        .current_dir(&here)
        .output()
        .unwrap();
    said(&output, 0);
    assert_eq!(fs::read_dir(here.path().join("kept")).unwrap().count(), 5);
}

#[test]
fn without_proc_the_program_says_that_it_cannot_find_itself() {
    let here = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs none /proc; $FOLIOCOPY reproduce rfc --time 1s";
    let Some(output) = namespace::run(here.path(), script) else { return };
    assert!(said(&output, 2).contains("is /proc mounted?"));
}
