//! What a scenario can do in the guest.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The booted guest: file systems are mounted, nothing else runs.
pub struct Guest {
    _private: (),
}

impl Guest {
    /// Only the init makes one, after it has mounted what scenarios need.
    pub fn booted() -> Self {
        Self { _private: () }
    }

    /// What a file holds, without the white space at its end.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<String> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.trim_end().to_owned())
    }
}
