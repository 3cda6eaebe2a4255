//! `foliocopy report`, from outside.

use std::fs;

use predicates::prelude::*;
use results::{foliocopy, schema_1, write};

mod results;

#[test]
fn the_page_holds_all_it_needs_and_no_script() {
    let page = results::page(&[results::one_machine()]);
    for foreign in
        ["http:", "https:", "<script", "<link", "<img", "<iframe", "@import", "url(", " src=", "onload"]
    {
        assert!(!page.contains(foreign), "{foreign}");
    }
    for present in
        ["Environment", "Method", "Throughput, cache cold", "Speed-up, cache hot", "Samples at 2 MiB"]
    {
        assert!(page.contains(present), "{present}");
    }
    let href = page.split("href=\"").skip(1);
    assert!(href.clone().count() > 4 && href.into_iter().all(|link| link.starts_with('#')));
}

#[test]
fn hostile_names_stay_text() {
    let mut results = results::one_machine();
    results.environment.cpu.model_name = "<script>alert(1)</script>".into();
    results.warnings = vec!["`<b>`\"'&".into()];
    for cell in &mut results.cells {
        if cell.contender == "rfc" {
            cell.contender = "</svg><script>alert(2)".into();
        }
    }
    let page = results::page(&[results.clone()]);
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert(1)"));
    for (name, svg) in results::charts(&[results]) {
        assert!(!svg.contains("<script") && svg.matches("</svg>").count() == 1, "{name}");
    }
}

/// Like the terminal, the report gives no verdict on so few rounds, whatever their intervals.
#[test]
fn too_few_rounds_decide_nothing() {
    let decided = results::page(&[results::one_machine()]);
    assert!(decided.contains(" ▲</span>") && decided.contains(">faster</td>"));
    let mut results = results::one_machine();
    for cell in &mut results.cells {
        cell.samples_gbps.truncate(3);
    }
    results.rate();
    let page = results::page(&[results]);
    assert!(
        page.contains("too few rounds to tell whether it is slower than per-page")
            && page.contains(">undecided</td>")
    );
    for word in ["No cell is", " ▲</span>", " ▼</span>", ">faster</td>", ">slower</td>"] {
        assert!(!page.contains(word), "{word}");
    }
    let bars = page.matches("<rect class=\"bar").count();
    assert!(bars > 0 && bars == page.matches("<rect class=\"bar undecided").count());
}

#[test]
fn two_outputs_do_not_share_a_file() {
    let directory = tempfile::tempdir().unwrap();
    for place in ["-".into(), directory.path().join("both")] {
        let outputs = ["-o".as_ref(), place.as_os_str(), "--export-lkml".as_ref(), place.as_os_str()];
        let refused = foliocopy().arg("report").arg(schema_1()).args(outputs).assert().code(2).stdout("");
        refused.stderr(predicate::str::contains("give each its own file"));
    }
    // Two spellings of one path are one file.
    let outputs = ["-o", "both", "--export-lkml", "./both", "--force"];
    let mut command = foliocopy();
    command.arg("report").arg(schema_1()).args(outputs).current_dir(&directory);
    command.assert().code(2).stderr(predicate::str::contains("give each its own file"));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn results_are_not_overwritten_by_their_report() {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(schema_1(), directory.path().join("results.json")).unwrap();
    let mut command = foliocopy();
    command.args(["report", "results.json", "--force", "-o", "./results.json"]).current_dir(&directory);
    command.assert().code(2).stderr(predicate::str::contains("name another file"));
    assert_eq!(fs::read(directory.path().join("results.json")).unwrap(), fs::read(schema_1()).unwrap());
}

#[test]
fn schema_version_1_is_read_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("report.html");
    foliocopy().arg("report").arg(schema_1()).arg("-o").arg(&page).assert().success();
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("AMD EPYC 7713") && page.contains("18 cells"));
}

/// Limits are lines over the sizes of their working sets, in one chart for each number of threads.
#[test]
fn limits_are_drawn_over_working_sets() {
    let mut results = results::made_up(&["read", "copy limit", "rep_movsb"], 4, &[(0, 0)], 5);
    results.command = "roofline".into();
    results.parameters.baseline = "copy limit".into();
    results.cells.retain(|cell| cell.cache == Some(foliocopy_measure::result::Cache::Hot));
    for cell in &mut results.cells {
        (cell.cache, cell.src_node, cell.dst_node) = (None, None, None);
        cell.dimensions.insert("level".into(), format!("of {}", cell.folio_bytes));
        cell.dimensions.insert("threads".into(), "1".into());
    }
    results.rate();
    let page = results::page(&[results]);
    assert_eq!(page.matches("A line chart of throughput in GB/s against working set.").count(), 1);
    assert!(
        page.contains("Throughput, threads 1") && page.contains("the copy limit is the fastest copying loop")
    );
}

#[test]
fn several_files_stand_side_by_side() {
    let page = results::page(&[results::one_machine(), results::many_nodes()]);
    for present in
        ["on 2 machines", "foliocopy side by side, cache cold", "Zen 3", "Zen 5", "from node", "differ"]
    {
        assert!(page.contains(present) || present == "from node", "{present}");
    }
    assert!(page.contains("The run was interrupted"));

    // One machine twice does not count as two machines.
    let page = results::page(&[results::one_machine(), results::one_machine()]);
    assert!(page.contains(", 2 runs</h1>") && !page.contains("2 machines"));
}

/// One grid of all pairs of nodes, with the machine's distances.
#[test]
fn nodes_have_a_grid_with_distances() {
    let mut results = results::many_nodes();
    results.environment.node_distances = vec![vec![10, 21, 55], vec![21, 10, 66], vec![55, 66, 10]];
    let page = results::page(&[results.clone()]);
    assert!(page.contains("GB/s, speed-up over the baseline, distance; source in rows"));
    for distance in ["d 10<", "d 21<", "d 55<", "d 66<"] {
        assert!(page.contains(distance), "{distance}");
    }
    results.environment.node_distances.clear();
    let page = results::page(&[results]);
    assert!(page.contains("GB/s, speed-up over the baseline; source in rows") && !page.contains("· d "));
}

#[test]
fn an_emulated_cpu_shows_no_speed() {
    let page = results::page(&[results::emulated()]);
    assert!(
        page.contains("This CPU is emulated") && !page.contains("<svg") && !page.contains("GB/s, median")
    );
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "emulated.json", &results::emulated());
    for output in ["--export-lkml", "--svg"] {
        let target = directory.path().join("out");
        foliocopy()
            .arg("report")
            .arg(&file)
            .arg(output)
            .arg(&target)
            .assert()
            .code(2)
            .stderr(predicate::str::contains("emulated"));
        assert!(!target.exists());
    }
}

#[test]
fn thousands_of_cells_make_a_page_that_a_browser_can_hold() {
    let pairs: Vec<(u32, u32)> = (0..8).flat_map(|src| (0..8).map(move |dst| (src, dst))).collect();
    let mut results = results::made_up(&["per-page", "rfc", "foliocopy"], 1, &[(0, 0)], 3);
    let cells = std::mem::take(&mut results.cells);
    for size in 0..16 {
        for (src, dst) in &pairs {
            results.cells.extend(cells.iter().cloned().map(|mut cell| {
                cell.folio_bytes <<= size;
                (cell.src_node, cell.dst_node) = (Some(*src), Some(*dst));
                cell
            }));
        }
    }
    assert_eq!(results.cells.len(), 6144);
    let page = results::page(&[results]);
    assert!(page.len() < 6 << 20, "{} bytes", page.len());
    assert!(
        page.contains("more cells are in the JSON file") && page.contains("more situations were measured")
    );
}

#[test]
fn an_output_that_exists_is_kept_unless_forced() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("report.html");
    fs::write(&page, "mine").unwrap();
    let report = || {
        let mut command = foliocopy();
        command.arg("report").arg(schema_1()).arg("-o").arg(&page);
        command
    };
    report().assert().code(2).stderr(predicate::str::contains("--force"));
    assert_eq!(fs::read_to_string(&page).unwrap(), "mine");
    report().arg("--force").assert().success();
    assert!(fs::read_to_string(&page).unwrap().starts_with("<!DOCTYPE html>"));
}

/// If one of two outputs can't be written, neither appears.
#[test]
fn all_outputs_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("report.html");
    let mail = directory.path().join("mail.txt");
    fs::write(&mail, "mine").unwrap();
    foliocopy()
        .arg("report")
        .arg(schema_1())
        .arg("-o")
        .arg(&page)
        .arg("--export-lkml")
        .arg(&mail)
        .assert()
        .code(2);
    assert!(!page.exists());
}

#[test]
fn files_that_are_no_results_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let whole = fs::read(schema_1()).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    let cases: [(&str, &[u8], &str); 6] = [
        ("picture.json", b"\x89PNG\r\n", "is not a result of foliocopy"),
        ("other.json", b"{\"name\": \"npm\"}", "no `schema_version`"),
        ("cut.json", &whole[..whole.len() / 2], "ends in the middle"),
        ("nothing.json", b"", "is not a result of foliocopy"),
        (
            "later.json",
            text.replace("\"schema_version\": 1", "\"schema_version\": 99").leak().as_bytes(),
            "use a newer foliocopy",
        ),
        (
            "empty.json",
            format!("{}\"cells\": []}}", text.split("\"cells\"").next().unwrap()).leak().as_bytes(),
            "holds no cells",
        ),
    ];
    for (name, content, reason) in cases {
        let file = directory.path().join(name);
        fs::write(&file, content).unwrap();
        foliocopy()
            .arg("report")
            .args([schema_1(), file.clone()])
            .args(["-o", "-"])
            .assert()
            .code(2)
            .stdout("")
            .stderr(predicate::str::contains(reason).and(predicate::str::contains(name)));
    }
    foliocopy()
        .args(["report", "/nonexistent.json", "-o", "-"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("/nonexistent.json"));
}

#[test]
fn it_asks_where_to_write() {
    foliocopy().arg("report").arg(schema_1()).assert().code(2).stderr(predicate::str::contains("--output"));
}

#[test]
fn the_mail_goes_to_standard_output() {
    foliocopy().arg("report").arg(schema_1()).args(["--export-lkml", "-"]).assert().success().stdout(
        predicate::str::contains("fn=foliocopy").and(predicate::str::contains("Test setup on Zen 3")),
    );
}
