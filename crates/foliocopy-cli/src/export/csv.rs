//! A line a cell, for spreadsheets and data frames.

use foliocopy_measure::result::{Cell, Latency, Results};

use crate::load;

const HEADER: [&str; 23] = [
    "cache",
    "folio_bytes",
    "src_node",
    "dst_node",
    "dimensions",
    "contender",
    "rounds",
    "median_gbps",
    "mean_gbps",
    "stdev_gbps",
    "ratio_median",
    "ratio_low",
    "ratio_high",
    "ratio_corrected_low",
    "ratio_corrected_high",
    "p50_ns",
    "p99_ns",
    "p99_9_ns",
    "max_ns",
    "first_median_ns",
    "load_gbps",
    "complete",
    "emulated",
];

pub(crate) fn text(results: &Results) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let written = (|| {
        writer.write_record(HEADER)?;
        results.cells.iter().try_for_each(|cell| writer.write_record(record(results, cell)))
    })();
    written.expect("every record has the header's length, and memory takes every byte");
    writer.into_inner().expect("memory takes every byte")
}

/// A text that a spreadsheet takes for no formula.
fn text_field(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text }
}

fn record(results: &Results, cell: &Cell) -> [String; HEADER.len()] {
    let number = |number: Option<u32>| number.map_or_else(String::new, |number| number.to_string());
    let dimensions: Vec<String> =
        cell.dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let ratio = cell.ratio_to_baseline.map(|ratio| {
        let interval = ratio.interval;
        [interval.median, interval.low, interval.high, ratio.corrected_low, ratio.corrected_high]
    });
    let ratio = ratio.map_or_else(Default::default, |numbers| numbers.map(|number| number.to_string()));
    let [median, low, high, corrected_low, corrected_high] = ratio;
    let time = |of: fn(&Latency) -> Option<u64>| {
        cell.latency.as_ref().and_then(of).map_or_else(String::new, |ns| ns.to_string())
    };
    [
        cell.cache.map_or_else(String::new, |cache| cache.to_string()),
        cell.folio_bytes.to_string(),
        number(cell.src_node),
        number(cell.dst_node),
        text_field(dimensions.join(" ")),
        text_field(cell.contender.clone()),
        cell.samples_gbps.len().to_string(),
        cell.median_gbps.to_string(),
        cell.mean_gbps.to_string(),
        cell.stdev_gbps.to_string(),
        median,
        low,
        high,
        corrected_low,
        corrected_high,
        time(|latency| Some(latency.p50_ns)),
        time(|latency| latency.p99_ns),
        time(|latency| latency.p99_9_ns),
        time(|latency| Some(latency.max_ns)),
        time(Latency::first_median_ns),
        load::gbps(cell).map_or_else(String::new, |gbps| gbps.to_string()),
        results.complete.to_string(),
        results.environment.emulated.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::sample;

    #[test]
    fn a_name_is_no_formula() {
        let mut results = sample();
        results.cells[3].contender = "@SUM(A1)".into();
        let text = String::from_utf8(text(&results)).unwrap();
        assert!(text.contains(",'@SUM(A1),") && !text.contains(",@SUM"), "{text}");
    }

    #[test]
    fn a_line_a_cell_with_what_the_cell_says() {
        let mut results = sample();
        results.cells[3].dimensions.insert("then".into(), "read".into());
        results.cells[3].contender = "a, \"b\"".into();
        let text = text(&results);
        let mut reader = csv::Reader::from_reader(text.as_slice());
        let header = reader.headers().unwrap().clone();
        let lines: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(lines.len(), 4);
        let field = |name: &str| &lines[3][header.iter().position(|other| other == name).unwrap()];
        assert_eq!((field("cache"), field("folio_bytes"), field("rounds")), ("hot", "65536", "9"));
        assert_eq!((field("contender"), field("dimensions")), ("a, \"b\"", "then=read"));
        assert_eq!(field("median_gbps").parse::<f64>().unwrap(), results.cells[3].median_gbps);
        assert_eq!(field("ratio_median").parse(), Ok(1.25));
        assert_eq!((field("p50_ns"), field("load_gbps")), ("", ""));
    }
}
