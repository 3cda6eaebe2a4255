//! Steps, and tables of steps, of which a CPU's tuning consists.

use core::fmt;

use crate::cpu::Cpu;
use crate::locality::Locality;
use crate::page::PAGE_SIZE;
use crate::primitive::Primitive;

/// The way to copy one range. Eight bytes, so that it moves in a register.
///
/// Primitives whose stores bypass the cache end with a store fence. A distance says how many bytes ahead of its loads a loop
/// prefetches the source. With 0 the CPU prefetches alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Copies by one primitive.
    Copy {
        /// The primitive.
        by: Primitive,
        /// Its prefetch distance, in bytes.
        distance: u32,
    },
    /// Times the copy of the first page. If source and destination were in the L1 the rest is copied like it. If they were
    /// in memory, the start of the rest is prefetched before it is copied.
    TimeFirstPage {
        /// Copies the first page, and the rest after a fast one.
        first: Primitive,
        /// Copies the rest otherwise.
        rest: Primitive,
        /// How much of the rest is prefetched after a slow first page, in bytes.
        burst: u32,
    },
    /// Times a load from the source. From 512 KiB up it times several loads, on Intel always. They have to agree.
    Glance {
        /// Copies a source that is in a cache, or whose place is unknown.
        near: Primitive,
        /// Copies a source that is in memory.
        far: Primitive,
        /// The prefetch distance of `far`, in bytes.
        distance: u32,
    },
}

impl Step {
    /// Copies by one primitive, without software prefetch.
    pub const fn copy(by: Primitive) -> Self {
        Self::Copy { by, distance: 0 }
    }

    /// The primitives that it may use. One may be listed twice.
    pub const fn primitives(self) -> [Primitive; 2] {
        match self {
            Self::Copy { by, .. } => [by, by],
            Self::TimeFirstPage { first, rest, .. } => [first, rest],
            Self::Glance { near, far, .. } => [near, far],
        }
    }

    /// Whether it reads the time-stamp counter.
    pub const fn is_probe(self) -> bool {
        !matches!(self, Self::Copy { .. })
    }

    /// The copy that it becomes where the source is in a cache, or where its place is unknown.
    pub const fn near(self) -> Self {
        match self {
            Self::Copy { .. } => self,
            Self::TimeFirstPage { rest: by, .. } | Self::Glance { near: by, .. } => Self::copy(by),
        }
    }

    /// The copy that it becomes where the source is in memory.
    pub const fn far(self) -> Self {
        match self {
            Self::Copy { .. } | Self::TimeFirstPage { .. } => self.near(),
            Self::Glance { far: by, distance, .. } => Self::Copy { by, distance },
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Copy { by, distance: 0 } => write!(formatter, "{by}"),
            Self::Copy { by, distance } => write!(formatter, "{by}, prefetching {distance} bytes ahead"),
            Self::TimeFirstPage { first, rest, burst } => write!(
                formatter,
                "first page by {first}: if it was fast, the rest too; otherwise {rest}, after a burst of prefetches \
                 ({burst} bytes) if it came from memory"
            ),
            Self::Glance { near, .. } => {
                write!(formatter, "glance at the source: in a cache {near}; in memory {}", self.far())
            }
        }
    }
}

/// The end of a [`Band`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// At this length, in bytes: a positive multiple of 4096.
    Bytes(usize),
    /// At the size of the last-level cache, and nowhere where that is unknown.
    LastLevelCache,
    /// Nowhere.
    Unlimited,
}

impl Limit {
    /// The limit on one CPU, in bytes.
    pub(crate) const fn bytes(self, cpu: &Cpu) -> usize {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::LastLevelCache if cpu.caches().l3 != 0 => cpu.caches().l3 / PAGE_SIZE * PAGE_SIZE,
            Self::LastLevelCache | Self::Unlimited => usize::MAX,
        }
    }
}

/// One line of a tuning table: up to this length, do this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    /// The greatest length that the line covers.
    pub up_to: Limit,
    /// The step for such a range.
    pub step: Step,
}

impl Band {
    /// Covers ranges of up to `bytes` bytes.
    pub const fn up_to(bytes: usize, step: Step) -> Self {
        Self { up_to: Limit::Bytes(bytes), step }
    }

    /// Covers every range that is longer than those of the lines before it.
    pub const fn rest(step: Step) -> Self {
        Self { up_to: Limit::Unlimited, step }
    }
}

/// The most bands that a table has.
pub const MOST_BANDS: usize = 8;

/// The bands for one [`Locality`], shortest first. The last one is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bands {
    bands: [Band; MOST_BANDS],
    count: usize,
}

impl Bands {
    /// The table of these bands.
    ///
    /// # Panics
    ///
    /// Where there are more than [`MOST_BANDS`], or none: at compile time for a table that is a constant. [`Bands::try_of`]
    /// returns `None` instead.
    pub const fn of(bands: &[Band]) -> Self {
        match Self::try_of(bands) {
            Some(bands) => bands,
            None => panic!("a table has one to eight bands"),
        }
    }

    /// The table of these bands, unless there are none or more than [`MOST_BANDS`].
    pub const fn try_of(bands: &[Band]) -> Option<Self> {
        // Not by `and`: the compiler would leave its panic in the object of a kernel.
        let [.., last] = bands else { return None };
        if bands.len() > MOST_BANDS {
            return None;
        }
        let mut table = Self { bands: [*last; MOST_BANDS], count: bands.len() };
        let mut index = 0;
        while index < bands.len() {
            table.bands[index] = bands[index];
            index += 1;
        }
        Some(table)
    }

    /// One step for every length.
    pub const fn always(step: Step) -> Self {
        Self { bands: [Band::rest(step); MOST_BANDS], count: 1 }
    }

    /// No band yet, for [`Bands::and`].
    pub(crate) const NONE: Self = Self { count: 0, ..Self::always(Step::copy(Primitive::Portable)) };

    /// The table with one band more. The last one that is added must be unlimited.
    #[must_use]
    pub(crate) const fn and(mut self, band: Band) -> Self {
        let mut place = self.count;
        assert!(place < MOST_BANDS, "a table has one to eight bands");
        self.count += 1;
        while place < MOST_BANDS {
            self.bands[place] = band;
            place += 1;
        }
        self
    }

    /// The table with these bands more.
    #[must_use]
    pub(crate) const fn and_all(mut self, mut bands: &[Band]) -> Self {
        while let [band, others @ ..] = bands {
            self = self.and(*band);
            bands = others;
        }
        self
    }

    /// The bands. The last one fills the other places.
    pub(crate) const fn padded(&self) -> [Band; MOST_BANDS] {
        self.bands
    }

    /// The bands, shortest first.
    pub const fn as_slice(&self) -> &[Band] {
        match self.bands.split_at_checked(self.count) {
            Some((bands, _)) => bands,
            None => &self.bands,
        }
    }
}

/// The tables of one CPU, for one set of registers: one for each [`Locality`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// For [`Locality::Temporal`].
    pub temporal: Bands,
    /// For [`Locality::NonTemporal`].
    pub non_temporal: Bands,
    /// For [`Locality::Auto`].
    pub auto: Bands,
}

impl Row {
    /// The table for a locality.
    pub const fn bands(&self, locality: Locality) -> &Bands {
        match locality {
            Locality::Temporal => &self.temporal,
            Locality::NonTemporal => &self.non_temporal,
            Locality::Auto => &self.auto,
        }
    }

    /// One primitive for everything, without software prefetch.
    pub const fn always(by: Primitive) -> Self {
        let bands = Bands::always(Step::copy(by));
        Self { temporal: bands, non_temporal: bands, auto: bands }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    #[test]
    fn a_step_is_eight_bytes() {
        assert_eq!(size_of::<Step>(), 8);
    }

    #[test]
    fn a_burst_is_not_called_a_look_ahead() {
        use Primitive::{Avx2Nt, Avx512, RepMovsb};
        let first = Step::TimeFirstPage { first: Avx512, rest: RepMovsb, burst: 16384 };
        assert_eq!(
            first.to_string(),
            "first page by avx512: if it was fast, the rest too; otherwise rep_movsb, after a burst of prefetches \
             (16384 bytes) if it came from memory"
        );
        let glance = Step::Glance { near: RepMovsb, far: Avx2Nt, distance: 4096 };
        assert_eq!(
            glance.to_string(),
            "glance at the source: in a cache rep_movsb; in memory avx2_nt, prefetching 4096 bytes ahead"
        );
        assert_eq!(Step::copy(RepMovsb).to_string(), "rep_movsb");
    }

    #[test]
    fn a_table_has_one_to_eight_bands() {
        let band = Band::rest(Step::copy(Primitive::Movq));
        assert_eq!(Bands::try_of(&[]), None);
        assert_eq!(Bands::try_of(&[band; 9]), None);
        assert_eq!(Bands::of(&[band; 8]).as_slice(), [band; 8]);
        assert_eq!(Bands::of(&[band]), Bands::always(band.step));
    }
}
