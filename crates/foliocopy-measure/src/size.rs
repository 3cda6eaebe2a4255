//! Sizes as people write them. Sizes are binary: `4K`, `4KiB` and `4096` are one number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A number of bytes that reads and prints as `64K`, `2M` or `1G`, and is a plain number in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Size(pub u64);

/// The binary units, largest first, by the letter that the kernel's tables use.
const UNITS: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

/// Why a size could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SizeError {
    /// It is not a whole number followed by a unit.
    #[error("`{0}` is not a size: write a whole number of bytes or one with a unit, such as 4096, 64K or 2M")]
    Malformed(String),
    /// It is zero.
    #[error("`{0}` is zero: a size must be at least one byte")]
    Zero(String),
    /// It does not fit into 64 bits.
    #[error("`{0}` exceeds every address space: the largest size is below 16777216T")]
    TooLarge(String),
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let malformed = || SizeError::Malformed(text.to_owned());
        let trimmed = text.trim();
        let digits_end = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let (digits, unit) = trimmed.split_at(digits_end);
        if digits.is_empty() {
            return Err(malformed());
        }
        let shift = match unit.trim().to_ascii_uppercase().as_str() {
            "" | "B" => 0,
            unit => {
                let mut letters = unit.chars();
                let letter = letters.next();
                let known = UNITS.iter().find(|(name, _)| Some(*name) == letter).ok_or_else(malformed)?;
                match letters.as_str() {
                    "" | "B" | "IB" => known.1,
                    _ => return Err(malformed()),
                }
            }
        };
        let too_large = || SizeError::TooLarge(text.to_owned());
        let number: u64 = digits.parse().map_err(|_| too_large())?;
        match number.checked_mul(1 << shift).ok_or_else(too_large)? {
            0 => Err(SizeError::Zero(text.to_owned())),
            bytes => Ok(Self(bytes)),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, shift)| self.0 >= 1 << shift && self.0.trailing_zeros() >= *shift);
        match unit {
            Some((letter, shift)) => f.pad(&format!("{}{letter}", self.0 >> shift)),
            None => f.pad(&self.0.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_binary_in_every_spelling() {
        for text in ["64K", "64k", "64KiB", "64 KiB", "64KB", "65536", "65536B", " 64K "] {
            assert_eq!(text.parse(), Ok(Size(65536)), "{text}");
        }
        assert_eq!("1G".parse(), Ok(Size(1 << 30)));
    }

    #[test]
    fn what_is_no_size_says_why() {
        for text in ["", "K", "-4K", "4.5K", "4Q", "4KX", "4K4", "0x1000"] {
            assert_eq!(text.parse::<Size>(), Err(SizeError::Malformed(text.into())), "{text}");
        }
        assert_eq!("0".parse::<Size>(), Err(SizeError::Zero("0".into())));
        assert_eq!("0M".parse::<Size>(), Err(SizeError::Zero("0M".into())));
        for text in ["99999999999999999999", "16777216T"] {
            assert_eq!(text.parse::<Size>(), Err(SizeError::TooLarge(text.into())), "{text}");
        }
    }

    #[test]
    fn prints_the_largest_unit_that_is_exact() {
        assert_eq!(Size(2 << 20).to_string(), "2M");
        assert_eq!(Size(1536 << 10).to_string(), "1536K");
        assert_eq!(Size(4097).to_string(), "4097");
        assert_eq!(format!("{:>6}", Size(4096)), "    4K");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(bytes in 1..u64::MAX) {
            prop_assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }
    }
}
