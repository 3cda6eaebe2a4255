//! Where a copy leaves its destination: in the cache, or past it.

use core::fmt;
use core::str::FromStr;

use crate::name::UnknownName;

/// Whether a copy goes through the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Locality {
    /// Past the cache where the source is in memory and the length makes that worth it; through the cache otherwise.
    #[default]
    Auto,
    /// Through the cache: the destination is read soon, or the source is in the cache.
    Temporal,
    /// Past the cache: the destination is not read soon, as after a demotion to a slower tier.
    NonTemporal,
}

impl Locality {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Temporal, Self::NonTemporal, Self::Auto];

    const NAMES: &'static [&'static str] = &["auto", "temporal", "non_temporal"];

    /// The name by which it is asked for.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Locality {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let unknown = UnknownName::new("locality", Self::NAMES);
        Self::ALL.iter().copied().find(|locality| locality.name() == name).ok_or(unknown)
    }
}
