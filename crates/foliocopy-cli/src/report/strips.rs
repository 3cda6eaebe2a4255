//! The distribution of samples: every sample a dot, the quartiles a box, the median a bar.
//!
//! A mean hides two modes (a host that changed its mind half-way); dots show them.

use foliocopy_measure::statistics::median;
use maud::{Markup, html};

use super::chart::{Chart, TOP, WIDTH, at, name_column, shortened};
use super::scale::Linear;
use super::style::Styles;

const RIGHT: f64 = WIDTH - 20.0;
const ROW: f64 = 34.0;

/// More dots than this a row only blacken the paper; as many are taken evenly over the sorted samples.
const MOST_DOTS: usize = 160;

/// One contender's samples in GB/s.
pub(super) struct Strip {
    pub(super) contender: String,
    pub(super) samples: Vec<f64>,
}

/// Draws `strips`, one under the other.
pub(super) fn draw(title: String, strips: &[Strip], styles: &Styles) -> Chart {
    let strips: Vec<Sorted> = strips.iter().filter_map(Sorted::new).collect();
    let maximum = strips.iter().filter_map(|strip| strip.samples.last()).copied().fold(0.0, f64::max);
    let left = 12.0 + name_column(strips.iter().map(|strip| strip.contender.as_str()));
    let across = Linear::new(left, RIGHT, maximum, 5.0);
    let top = TOP + 4.0;
    let bottom = top + ROW * strips.len() as f64;
    let body = html! {
        @for (x, text) in across.ticks() {
            line.grid x1=(at(x)) x2=(at(x)) y1=(top) y2=(at(bottom)) {}
            text.middle x=(at(x)) y=(at(bottom + 14.0)) { (text) }
        }
        @for (index, strip) in strips.iter().enumerate() {
            (row(strip, top + ROW * (index as f64 + 0.5), left, &across, styles))
        }
        text.middle x=(at((left + RIGHT) / 2.0)) y=(at(bottom + 31.0)) { "GB/s" }
    };
    Chart {
        title,
        subtitle: "a dot a round; box: middle half; bar: median; right is better".into(),
        description: describe(&strips),
        height: bottom + 40.0,
        body,
    }
}

/// A strip with at least one sample, in order.
struct Sorted {
    contender: String,
    samples: Vec<f64>,
    median: f64,
}

impl Sorted {
    fn new(strip: &Strip) -> Option<Self> {
        let mut samples = strip.samples.clone();
        samples.sort_by(f64::total_cmp);
        Some(Self { contender: strip.contender.clone(), median: median(&samples)?, samples })
    }

    fn quantile(&self, part: f64) -> f64 {
        self.samples[((self.samples.len() - 1) as f64 * part).round() as usize]
    }
}

fn row(strip: &Sorted, y: f64, left: f64, across: &Linear, styles: &Styles) -> Markup {
    let style = styles.of(&strip.contender);
    let (lower, upper) = (across.place(strip.quantile(0.25)), across.place(strip.quantile(0.75)));
    let middle = across.place(strip.median);
    let dots = strip.samples.len().min(MOST_DOTS);
    html! {
        g class=(style.class) {
            text.name.end x=(at(left - 7.0)) y=(at(y + 3.8)) { (shortened(&strip.contender)) }
            @for index in 0..dots {
                // Neighbours in value lie at different heights: the golden ratio spreads them without a pattern.
                @let sample = strip.samples[index * strip.samples.len() / dots];
                @let height = ((index as f64 * 0.618_034).fract() - 0.5) * 18.0;
                circle.sample cx=(at(across.place(sample))) cy=(at(y + height)) r="2.2" {}
            }
            rect.box x=(at(lower)) y=(at(y - 12.0)) width=(at((upper - lower).max(1.0))) height="24" rx="2" {}
            line.median x1=(at(middle)) x2=(at(middle)) y1=(at(y - 12.0)) y2=(at(y + 12.0)) {
                title { (strip.contender) ": median " (format!("{:.2}", strip.median)) " GB/s" }
            }
        }
    }
}

fn describe(strips: &[Sorted]) -> String {
    let mut text = String::from("The samples of each contender in GB/s.");
    for strip in strips {
        text.push_str(&format!(
            " {}: {} rounds, median {:.2}, middle half {:.2} to {:.2}, all {:.2} to {:.2}.",
            strip.contender,
            strip.samples.len(),
            strip.median,
            strip.quantile(0.25),
            strip.quantile(0.75),
            strip.quantile(0.0),
            strip.quantile(1.0),
        ));
    }
    text
}
