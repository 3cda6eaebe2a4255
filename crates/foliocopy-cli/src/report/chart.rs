//! The parts that all charts share: the frame, the title, the accessible text, and the chart as a file.

use maud::{Markup, PreEscaped, html};

/// The width of every chart in its own units. A phone shows one at about 0.85 of a CSS pixel a unit and a
/// desk's screen two side by side at about 1.3, so 11 units stay readable on both.
pub(super) const WIDTH: f64 = 420.0;

/// Where the drawing may start, under the title and the subtitle.
pub(super) const TOP: f64 = 50.0;

/// A drawn chart: inline in the page or a file of its own.
pub(super) struct Chart {
    /// The title, for the eye and for a screen reader.
    pub(super) title: String,
    /// The quantity, its unit and which way is better.
    pub(super) subtitle: String,
    /// The chart in words, for readers who cannot see it: its most important figures.
    pub(super) description: String,
    /// The height in the units of [`WIDTH`].
    pub(super) height: f64,
    /// The marks.
    pub(super) body: Markup,
}

impl Chart {
    /// The `<svg>` element for a page that has the style sheets already. `id` is unique in the page.
    pub(super) fn inline(&self, id: &str) -> Markup {
        html! {
            svg.chart viewBox={ "0 0 " (WIDTH) " " (self.height) } role="img"
                aria-labelledby={ (id) "-title " (id) "-description" } {
                (self.content(id))
            }
        }
    }

    /// The chart as a file called `id`: light and dark by the reader's own setting, no reference to anything outside.
    pub(super) fn file(&self, id: &str) -> String {
        let style = format!("{}{}", include_str!("tokens.css"), include_str!("chart.css"));
        let content = html! {
            style { (PreEscaped(style)) }
            rect.paper width=(WIDTH) height=(self.height) rx="6" {}
            (self.content(id))
        };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{width}\" height=\"{scaled}\" role=\"img\" \
             aria-labelledby=\"{id}-title {id}-description\">{content}</svg>\n",
            height = self.height,
            width = WIDTH * 1.5,
            scaled = self.height * 1.5,
            content = content.into_string(),
        )
    }

    fn content(&self, id: &str) -> Markup {
        html! {
            title id={ (id) "-title" } { (self.title) }
            desc id={ (id) "-description" } { (self.description) }
            text.title x="12" y="20" { (self.title) }
            text.subtitle x="12" y="37" { (self.subtitle) }
            (self.body)
        }
    }
}

/// The longest name that is written out beside a chart's marks; the table under it has it whole.
const LONGEST_NAME: usize = 22;

/// `name` as a chart shows it.
pub(super) fn shortened(name: &str) -> String {
    if name.chars().count() <= LONGEST_NAME {
        return name.to_owned();
    }
    name.chars().take(LONGEST_NAME - 1).chain(['…']).collect()
}

/// How wide a column has to be that holds these names, in the widest font that browsers come with.
pub(super) fn name_column<'a>(names: impl Iterator<Item = &'a str>) -> f64 {
    let longest = names.map(|name| name.chars().count().min(LONGEST_NAME)).max().unwrap_or(0);
    (7.7 * longest as f64 + 8.0).max(70.0)
}

/// A number as a coordinate: a tenth of a unit is finer than any screen shows.
pub(super) fn at(value: f64) -> String {
    format!("{value:.1}")
}

/// Moves labels that would overlap apart, down or up by as little as needed, within `top` to `bottom`.
/// `places` are the wished-for heights in any order; the answer has the same order.
pub(super) fn spread(places: &[f64], gap: f64, top: f64, bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|a, b| places[*a].total_cmp(&places[*b]));
    let mut spread = places.to_vec();
    let mut floor = top;
    for &index in &order {
        spread[index] = spread[index].max(floor);
        floor = spread[index] + gap;
    }
    let mut ceiling = bottom;
    for &index in order.iter().rev() {
        spread[index] = spread[index].min(ceiling);
        ceiling = spread[index] - gap;
    }
    spread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_their_distance_and_their_order() {
        let places = [100.0, 101.0, 99.0, 20.0, 198.0, 199.0];
        let spread = spread(&places, 12.0, 10.0, 200.0);
        for (a, place_a) in places.iter().zip(&spread) {
            for (b, place_b) in places.iter().zip(&spread) {
                assert!(a == b || (place_a - place_b).abs() >= 11.99, "{spread:?}");
                assert!(a >= b || place_a < place_b);
            }
            assert!((10.0..=200.0).contains(place_a));
        }
    }

    #[test]
    fn a_file_escapes_what_it_was_given() {
        let chart = Chart {
            title: "<script>&\"".into(),
            subtitle: String::new(),
            description: String::new(),
            height: 100.0,
            body: html! {},
        };
        let file = chart.file("chart");
        assert!(!file.contains("<script>") && file.contains("&lt;script&gt;&amp;"));
    }
}
