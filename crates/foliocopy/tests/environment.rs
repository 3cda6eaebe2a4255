//! `FOLIOCOPY_MASK` and `FOLIOCOPY_PRIMITIVE`, from outside: each test runs this program anew.

use std::process::{Command, Output};

use foliocopy::{CopyError, Locality, Page, Policy, copy_pages};

/// Not a test of its own: what the others run, to print what the policy of its process says.
#[test]
fn report() {
    if std::env::var_os("FOLIOCOPY_TEST_REPORT").is_none() {
        return;
    }
    let mut dst = [Page::zeroed()];
    match (Policy::host(), copy_pages(&mut dst, &[Page::filled(1)])) {
        (Ok(policy), Ok(())) => println!("<{}>", policy.explain(Locality::Temporal, 1 << 20)),
        (Err(error), Err(again)) => {
            assert_eq!(error, again);
            assert!(dst == [Page::zeroed()], "nothing is copied");
            println!(
                "<{}: {error}>",
                if matches!(error, CopyError::Unavailable { .. }) { "lacks" } else { "bad" }
            );
        }
        (policy, copy) => panic!("{policy:?} and {copy:?} disagree"),
    }
}

fn reported(variables: &[(&str, &str)]) -> String {
    let program = std::env::current_exe().expect("a test knows where it is");
    let Output { stdout, status, .. } = Command::new(program)
        .args(["--exact", "report", "--nocapture"])
        .env("FOLIOCOPY_TEST_REPORT", "1")
        .envs(variables.iter().copied())
        .output()
        .expect("this program runs");
    assert!(status.success());
    let stdout = String::from_utf8(stdout).expect("text");
    let (_, rest) = stdout.split_once('<').expect("a report");
    rest.split_once('>').expect("a whole report").0.to_owned()
}

#[test]
fn a_primitive_for_the_whole_program() {
    assert_eq!(reported(&[("FOLIOCOPY_PRIMITIVE", "movq")]), "movq, since it was asked for by name");
}

#[test]
fn an_unknown_primitive_lists_the_known() {
    let report = reported(&[("FOLIOCOPY_PRIMITIVE", "memcpy")]);
    assert!(
        report.starts_with("bad: FOLIOCOPY_PRIMITIVE: unknown primitive; known are rep_movsb, "),
        "{report}"
    );
}

#[test]
fn an_unknown_feature_lists_the_known() {
    let report = reported(&[("FOLIOCOPY_MASK", "erms,nonsense")]);
    assert!(report.starts_with("bad: FOLIOCOPY_MASK: unknown CPU feature; known are erms, "), "{report}");
}

#[test]
fn a_mask_hides_what_a_primitive_needs() {
    let report = reported(&[("FOLIOCOPY_MASK", "avx2"), ("FOLIOCOPY_PRIMITIVE", "avx2")]);
    assert_eq!(report, "lacks: this CPU can't run avx2: it lacks avx2");
}

#[test]
fn empty_variables_count_as_unset() {
    assert_eq!(reported(&[("FOLIOCOPY_MASK", ""), ("FOLIOCOPY_PRIMITIVE", "")]), reported(&[]));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_mask_makes_the_cpu_pretend_to_have_less() {
    let report = reported(&[("FOLIOCOPY_MASK", "erms,rep_good,avx2,avx512f")]);
    assert_eq!(report, "movq, since the CPU has neither ERMS nor REP_GOOD");
}
