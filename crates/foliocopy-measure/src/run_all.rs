//! Reads files of `foliocopy kernel run-all`: a list of parts, of which those that measured have results.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::result::{self, ReadError, Results};
use crate::text::disarm;
use crate::{input, kit};

/// The version of the file.
pub const VERSION: u32 = 1;

/// Results, and the part of the run that they are from, if their file has parts.
#[derive(Debug)]
pub struct Measured {
    /// The name of the part, such as `bench`.
    pub part: Option<String>,
    /// The results.
    pub results: Results,
}

#[derive(Deserialize)]
struct File {
    run_all_version: u32,
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    name: String,
    #[serde(default)]
    said: Vec<String>,
    #[serde(default)]
    result: Value,
}

/// Whether a document is such a file, without reading the rest of it into memory.
#[derive(Deserialize)]
struct Marked {
    #[serde(rename = "run_all_version")]
    _version: Value,
}

/// Reads the results in `file`: each part's where `kernel run-all` wrote it, and otherwise what [`kit::read`] reads.
pub fn read(file: &Path) -> Result<Vec<Measured>, ReadError> {
    let content = input::read(file, result::LONGEST);
    let content = content.map_err(|source| ReadError::Io { file: file.to_owned(), source })?;
    match serde_json::from_slice::<Marked>(&content) {
        Ok(_) => read_parts(&content, file),
        Err(_) => Ok(vec![Measured { part: None, results: kit::read_from(&content, file)? }]),
    }
}

fn read_parts(content: &[u8], file: &Path) -> Result<Vec<Measured>, ReadError> {
    let unusable = |problem: String| ReadError::RunAll { file: file.to_owned(), problem };
    let damaged = |error: serde_json::Error| unusable(format!("it is damaged: {error}"));
    let mut document: Value = serde_json::from_slice(content).map_err(damaged)?;
    disarm(&mut document);
    let File { run_all_version, parts } = serde_json::from_value(document).map_err(damaged)?;
    if run_all_version > VERSION {
        return Err(unusable(format!(
            "it has version {run_all_version}, and this program reads up to {VERSION}: use a newer foliocopy"
        )));
    }
    let (measured, others): (Vec<_>, Vec<_>) =
        parts.into_iter().partition(|part| part.result.get("cells").is_some());
    if measured.is_empty() {
        let reasons: Vec<String> = others.iter().filter_map(Part::reason).collect();
        return Err(unusable(
            format!("no part of it has samples. {}", reasons.join("; ")).trim_end().to_owned(),
        ));
    }
    let results =
        |part: Part| Ok(Measured { part: Some(part.name), results: result::read_value(part.result, file)? });
    measured.into_iter().map(results).collect()
}

impl Part {
    /// The last message of the part, which is the reason where it failed.
    fn reason(&self) -> Option<String> {
        Some(format!("{}: {}", self.name, self.said.last()?.trim_start_matches("error: ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::tests::sample;

    fn parse(parts: &str, version: u32) -> Result<Vec<Measured>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, format!("{{\"run_all_version\": {version}, \"parts\": {parts}}}")).unwrap();
        read(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn parts_with_results_are_read_and_others_are_left_out() {
        let bench = serde_json::to_string(&sample()).unwrap();
        let parts = format!(
            "[{{\"name\": \"info\", \"result\": {{\"environment\": {{}}}}}}, {{\"name\": \"load\", \"text\": [\"loaded\"]}},
              {{\"name\": \"bench\", \"result\": {bench}}}]"
        );
        let found = parse(&parts, VERSION).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].part.as_deref(), &found[0].results.cells), (Some("bench"), &sample().cells));
    }

    #[test]
    fn a_file_without_samples_and_a_later_version_say_why() {
        let parts = r#"[{"name": "bench", "outcome": "failed", "said": ["error: not\u001b loaded"]}]"#;
        let why = parse(parts, VERSION).unwrap_err();
        assert!(why.contains("no part of it has samples. bench: not") && !why.contains('\u{1b}'), "{why}");
        assert!(parse(parts, VERSION + 1).unwrap_err().contains("it has version 2"));
        assert!(parse("7", VERSION).unwrap_err().contains("it is damaged"));
    }
}
