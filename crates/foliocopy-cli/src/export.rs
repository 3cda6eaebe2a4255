//! Results in the forms that other programs and people read, a file each.

pub(crate) mod lkml;
