//! The style of a contender: the same hue, dash and marker in every chart of a report.
//!
//! Nothing is told by colour alone: a series also has a marker of its own shape and its name beside it.

use std::collections::HashMap;

/// The shape that marks a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    Wedge,
}

impl Marker {
    /// The outline around (x, y), about 7 units across.
    pub(super) fn path(self, x: f64, y: f64) -> String {
        match self {
            Self::Circle => format!("M{:.1} {y:.1}a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z", x - 3.5),
            Self::Square => format!("M{:.1} {:.1}h6.2v6.2h-6.2z", x - 3.1, y - 3.1),
            Self::Triangle => format!("M{x:.1} {:.1}l4 7h-8z", y - 4.2),
            Self::Diamond => format!("M{x:.1} {:.1}l4.2 4.2l-4.2 4.2l-4.2 -4.2z", y - 4.2),
            Self::Wedge => format!("M{x:.1} {:.1}l4 -7h-8z", y + 4.2),
        }
    }
}

/// How one contender is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// The class that sets the hue (`chart.css`).
    pub(super) class: &'static str,
    /// The machine-check-safe twin of a contender has its hue, dashed and hollow.
    pub(super) dashed: bool,
    pub(super) marker: Marker,
}

const HUES: [&str; 7] = ["hue-1", "hue-2", "hue-3", "hue-4", "hue-5", "hue-6", "hue-7"];
const MARKERS: [Marker; 5] =
    [Marker::Diamond, Marker::Wedge, Marker::Circle, Marker::Square, Marker::Triangle];

/// The styles of all the contenders of a report.
pub(super) struct Styles(HashMap<String, Style>);

impl Styles {
    /// Gives out the styles in the order in which the contenders first appear.
    pub(super) fn new<'a>(contenders: impl IntoIterator<Item = &'a str>) -> Self {
        let mut families: Vec<&str> = Vec::new();
        let mut styles = HashMap::new();
        for name in contenders {
            let family = family(name);
            let (class, marker) = match family {
                "per-page" => ("baseline", Marker::Square),
                "rfc" => ("rfc", Marker::Triangle),
                "foliocopy" => ("ours", Marker::Circle),
                _ => {
                    let slot = families.iter().position(|known| *known == family).unwrap_or_else(|| {
                        families.push(family);
                        families.len() - 1
                    });
                    (HUES[slot % HUES.len()], MARKERS[slot % MARKERS.len()])
                }
            };
            let dashed = family != name;
            styles.insert(name.to_owned(), Style { class, dashed, marker });
        }
        Self(styles)
    }

    /// The style of `contender`, which must be one of those that [`Styles::new`] was given.
    pub(super) fn of(&self, contender: &str) -> Style {
        self.0[contender]
    }
}

/// The plain contender of a machine-check-safe `name`, or `name` itself.
fn family(name: &str) -> &str {
    name.strip_suffix("-mc").or_else(|| name.strip_prefix("mc:")).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_share_a_hue_and_strangers_do_not() {
        let styles = Styles::new(["per-page", "per-page-mc", "foliocopy", "movnti", "glibc", "foliocopy-mc"]);
        assert_eq!(styles.of("per-page").class, styles.of("per-page-mc").class);
        assert_eq!(styles.of("foliocopy").class, styles.of("foliocopy-mc").class);
        assert!(styles.of("foliocopy-mc").dashed && !styles.of("foliocopy").dashed);
        assert_ne!(styles.of("movnti").class, styles.of("glibc").class);
        assert_ne!(styles.of("movnti").marker, styles.of("glibc").marker);
    }
}
