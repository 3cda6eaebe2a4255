//! `--mask`: the CPU pretends to have less.

use std::env;

use foliocopy::Features;

/// The argument that hides features.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct MaskArg {
    /// CPU features to do without, such as erms,fsrm; row makes this a CPU that nobody has measured
    #[arg(long, value_name = "FEATURES")]
    mask: Option<Features>,
}

impl MaskArg {
    /// Hides these features, or else those of a preset, in addition to `FOLIOCOPY_MASK`. The engine reads that variable.
    /// This happens before the first copy, while the program has no other thread.
    pub(crate) fn apply(self, preset: Option<Features>) {
        const VARIABLE: &str = "FOLIOCOPY_MASK";
        let Some(mask) = self.mask.or(preset) else { return };
        let outer = env::var(VARIABLE).unwrap_or_default();
        let mask = [outer, mask.to_string()].join(",");
        // SAFETY: the program has no other thread yet.
        unsafe { env::set_var(VARIABLE, mask.trim_start_matches(',')) };
    }
}
