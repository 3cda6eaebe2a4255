//! A row as TOML: for each locality a list of bands.

use std::borrow::Cow;
use std::vec::Vec;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::primitive::Primitive;
use crate::step::{Band, Bands, Limit, MOST_BANDS, Row, Step};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowText {
    temporal: Vec<BandText>,
    non_temporal: Vec<BandText>,
    auto: Vec<BandText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BandText {
    /// Bytes, or `last_level_cache`. The last band has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    up_to: Option<LimitText>,
    step: StepText,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum LimitText {
    Bytes(usize),
    Name(LimitName),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LimitName {
    LastLevelCache,
}

/// [`Step`], with the names of primitives.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum StepText {
    Copy {
        by: Name,
        #[serde(default)]
        distance: u32,
    },
    TimeFirstPage {
        first: Name,
        rest: Name,
        #[serde(default)]
        burst: u32,
    },
    Glance {
        near: Name,
        far: Name,
        #[serde(default)]
        distance: u32,
    },
}

/// A primitive by its name.
struct Name(Primitive);

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

impl From<Step> for StepText {
    fn from(step: Step) -> Self {
        match step {
            Step::Copy { by, distance } => Self::Copy { by: Name(by), distance },
            Step::TimeFirstPage { first, rest, burst } => {
                Self::TimeFirstPage { first: Name(first), rest: Name(rest), burst }
            }
            Step::Glance { near, far, distance } => {
                Self::Glance { near: Name(near), far: Name(far), distance }
            }
        }
    }
}

impl From<StepText> for Step {
    fn from(step: StepText) -> Self {
        match step {
            StepText::Copy { by, distance } => Self::Copy { by: by.0, distance },
            StepText::TimeFirstPage { first, rest, burst } => {
                Self::TimeFirstPage { first: first.0, rest: rest.0, burst }
            }
            StepText::Glance { near, far, distance } => Self::Glance { near: near.0, far: far.0, distance },
        }
    }
}

pub(super) fn serialize<S: Serializer>(row: &Row, serializer: S) -> Result<S::Ok, S::Error> {
    let text = |bands: &Bands| {
        let band = |band: &Band| BandText {
            up_to: match band.up_to {
                Limit::Bytes(bytes) => Some(LimitText::Bytes(bytes)),
                Limit::LastLevelCache => Some(LimitText::Name(LimitName::LastLevelCache)),
                Limit::Unlimited => None,
            },
            step: band.step.into(),
        };
        bands.as_slice().iter().map(band).collect()
    };
    let row = RowText {
        temporal: text(&row.temporal),
        non_temporal: text(&row.non_temporal),
        auto: text(&row.auto),
    };
    row.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Row, D::Error> {
    let row = RowText::deserialize(deserializer)?;
    let bands = |bands: Vec<BandText>| {
        let band = |BandText { up_to, step }| Band {
            up_to: match up_to {
                Some(LimitText::Bytes(bytes)) => Limit::Bytes(bytes),
                Some(LimitText::Name(LimitName::LastLevelCache)) => Limit::LastLevelCache,
                None => Limit::Unlimited,
            },
            step: step.into(),
        };
        let bands: Vec<Band> = bands.into_iter().map(band).collect();
        Bands::try_of(&bands).ok_or_else(|| {
            D::Error::custom(std::format!("a table has 1 to {MOST_BANDS} bands, not {}", bands.len()))
        })
    };
    Ok(Row { temporal: bands(row.temporal)?, non_temporal: bands(row.non_temporal)?, auto: bands(row.auto)? })
}
