//! The report in a real browser: light and dark, on a desktop, on a phone and on paper.
//!
//! `cargo xtask test` runs these and fails without Chromium; plain `cargo test` lists them as ignored.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

mod results;

const CHECK: &str = include_str!("browser/check.js");
const IGNORED: &str = "needs Chromium: apt install chromium, then cargo xtask test";

#[derive(Clone, Copy, PartialEq)]
enum Scheme {
    Light,
    Dark,
}

/// Frames `page.html` at a given width, since no window of Chromium is narrower than 500 pixels, and keeps the result of the
/// page's check.
const FRAME: &str = r#"<!doctype html><html style="color-scheme: light dark"><body style="margin: 0">
<script>addEventListener("message", event => {
  const verdict = document.createElement("pre");
  verdict.id = "verdict";
  verdict.textContent = event.data;
  document.body.append(verdict);
});</script>
<iframe src="page.html" style="border: 0; width: WIDTHpx; height: 900px"></iframe></body></html>"#;

/// The page's check, run inside the browser.
fn look(page: &str, scheme: Scheme, width: u32) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let page = page.replace("</body>", &format!("<script>{CHECK}</script></body>"));
    std::fs::write(directory.path().join("page.html"), page).unwrap();
    let frame = directory.path().join("frame.html");
    std::fs::write(&frame, FRAME.replace("WIDTH", &width.to_string())).unwrap();
    let preferred = if scheme == Scheme::Dark { 0 } else { 1 };
    let dom = chromium(
        directory.path(),
        &[
            format!("--blink-settings=preferredColorScheme={preferred}"),
            "--window-size=1400,1000".into(),
            // Long enough for the message to come.
            "--virtual-time-budget=10000".into(),
            "--dump-dom".into(),
            format!("file://{}", frame.display()),
        ],
    );
    let (_, after) = dom.split_once("<pre id=\"verdict\">").expect("the check left its verdict");
    let text = after.split("</pre>").next().unwrap();
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let verdict: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(verdict["width"], width);
    assert_eq!(verdict["dark"], scheme == Scheme::Dark);
    verdict
}

/// Runs Chromium with `arguments` and no network, and returns what it printed.
fn chromium(directory: &Path, arguments: &[String]) -> String {
    let output = Command::new(browser())
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--hide-scrollbars",
        ])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg("--host-resolver-rules=MAP * ~NOTFOUND")
        .arg(format!("--user-data-dir={}", directory.join("profile").display()))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn browser() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path)
        .flat_map(|directory| names.map(|name| directory.join(name)))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("there is no chromium on PATH: {IGNORED}"))
}

fn assert_good(page: &str, scheme: Scheme, width: u32) {
    let verdict = look(page, scheme, width);
    assert!(verdict["texts"].as_u64().unwrap() > 20, "the page has charts: {verdict}");
    assert_eq!(verdict["wrong"], Value::Array(vec![]), "at a width of {width}: {verdict:#}");
}

#[test]
#[ignore = "needs Chromium: apt install chromium, then cargo xtask test"]
fn one_machine_on_a_desk_light_and_dark() {
    let page = results::page(&[results::one_machine()]);
    assert_good(&page, Scheme::Light, 1280);
    assert_good(&page, Scheme::Dark, 1280);
}

#[test]
#[ignore = "needs Chromium: apt install chromium, then cargo xtask test"]
fn one_machine_on_a_phone() {
    let page = results::page(&[results::one_machine()]);
    assert_good(&page, Scheme::Light, 390);
    assert_good(&page, Scheme::Dark, 390);
}

#[test]
#[ignore = "needs Chromium: apt install chromium, then cargo xtask test"]
fn many_contenders_keep_their_labels_apart() {
    let page = results::page(&[results::many_contenders()]);
    assert_good(&page, Scheme::Light, 1280);
}

#[test]
#[ignore = "needs Chromium: apt install chromium, then cargo xtask test"]
fn long_names_stay_in_their_charts() {
    let page = results::page(&[results::long_names()]);
    assert_good(&page, Scheme::Light, 1280);
    assert_good(&page, Scheme::Light, 390);
}

#[test]
#[ignore = "needs Chromium: apt install chromium, then cargo xtask test"]
fn nodes_and_machines_side_by_side() {
    let page = results::page(&[results::many_nodes(), results::one_machine(), results::emulated()]);
    assert_good(&page, Scheme::Light, 1280);
    assert_good(&page, Scheme::Dark, 390);
}

#[test]
#[ignore = "needs Chromium: apt install chromium, then cargo xtask test"]
fn on_paper_nothing_is_cut_off_or_dark() {
    let page = results::page(&[results::one_machine()]);
    // The page as printed, on a screen as wide as A4: with the rules for print, and without those for dark screens.
    let paper = page.replace("@media print", "@media all").replace("@media screen and", "@media not all and");
    assert_good(&paper, Scheme::Dark, 794);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("page.html");
    let printed = directory.path().join("page.pdf");
    std::fs::write(&file, &page).unwrap();
    chromium(
        directory.path(),
        &[format!("--print-to-pdf={}", printed.display()), format!("file://{}", file.display())],
    );
    let pdf = std::fs::read(printed).unwrap();
    let pages = pdf.windows(12).filter(|window| window.starts_with(b"/Type /Page\n")).count();
    assert!((2..=8).contains(&pages), "{pages} pages");
}

/// Charts in files bring their own style sheet and labels.
#[test]
#[ignore = "needs Chromium: apt install chromium, then cargo xtask test"]
fn charts_as_files_stand_alone() {
    let charts = results::charts(&[results::many_nodes()]);
    assert!(charts.len() > 10);
    let figures: String = charts
        .iter()
        .map(|(_, svg)| format!("<figure style=\"width: 630px; background: var(--surface)\">{svg}</figure>"))
        .collect();
    let page = format!("<!doctype html><html><body>{figures}</body></html>");
    for scheme in [Scheme::Light, Scheme::Dark] {
        assert_good(&page, scheme, 1000);
    }
}
