//! The report: one self-contained HTML page, or its charts as SVG files.
//!
//! No script, nothing fetched: the page must open from a mail attachment years from now. Everything here is
//! rendering; the figures and their intervals come from `foliocopy_measure`.

mod bars;
mod chart;
mod curves;
mod environment;
mod figures;
mod lines;
mod matrix;
pub(crate) mod method;
mod page;
mod panel;
mod scale;
mod strips;
mod style;
mod tables;

pub(crate) use figures::files;
pub(crate) use page::page;
pub(crate) use panel::Machine;
