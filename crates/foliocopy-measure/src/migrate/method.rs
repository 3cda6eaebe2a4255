//! The ways in which the kernel copies the pages that it moves.

use std::fs;
use std::path::Path;

use super::MigrateError;
use super::guard::Guard;

/// The livepatch's parameter that chooses.
const PARAMETER: &str = "/sys/module/foliocopy_livepatch/parameters/method";

/// A way that `folio_copy()` and `folio_mc_copy()` take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Whatever the running kernel does; nothing is switched.
    Kernel,
    /// Page by page as the kernel's own, by the livepatch's parameter.
    Stock,
    /// Ours, by the livepatch's parameter.
    Foliocopy,
}

impl Method {
    /// The methods that can be compared: the stock one first, as the baseline, and foliocopy's where the livepatch is
    /// loaded.
    pub fn of_this_kernel() -> Vec<Self> {
        if Path::new(PARAMETER).exists() { vec![Self::Stock, Self::Foliocopy] } else { vec![Self::Kernel] }
    }

    /// The name that cells carry. An unpatched kernel's own way is the stock one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel | Self::Stock => "stock",
            Self::Foliocopy => "foliocopy",
        }
    }

    /// The method in a few words.
    pub fn description(self) -> &'static str {
        match self {
            Self::Kernel => "the running kernel's folio_mc_copy(), as it is",
            Self::Stock => "page by page, as the kernel's own folio_mc_copy() does",
            Self::Foliocopy => "the livepatched folio_mc_copy(): foliocopy's policy",
        }
    }

    /// Makes the kernel copy this way.
    pub(super) fn set(self, guard: &mut Guard) -> Result<(), MigrateError> {
        if self == Self::Kernel {
            return Ok(());
        }
        let path = Path::new(PARAMETER);
        let now =
            fs::read_to_string(path).map_err(MigrateError::system(format!("can't read {PARAMETER}")))?;
        if now.trim() == self.name() {
            return Ok(());
        }
        guard
            .write(path, self.name())
            .map_err(MigrateError::system(format!("can't choose the method in {PARAMETER}: this needs root")))
    }
}
