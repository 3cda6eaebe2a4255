// SPDX-License-Identifier: GPL-2.0
//! Tables as the module's parameters write them: bands with commas between them, such as `60K:movnti@1024,movnti@4096`. A band
//! is its greatest length and a step. The last has no length. Steps are written as the bench names them.

use crate::primitive::Primitive;
use crate::step::{Band, Bands, Limit, MOST_BANDS, Step};

/// The band of a table that can't be read, counted from 0, and the reason.
pub(crate) type Refusal = (usize, &'static str);

const NO_PRIMITIVE: &str = "there is no such primitive";
const NO_STEP: &str = "a step is PRIMITIVE@DISTANCE, glance:NEAR:FAR@DISTANCE or first:FIRST:REST@BURST, and @0 may be left out";
const NO_NUMBER: &str = "a length or a distance is a number of bytes, such as 4096 or 4K";
const TOO_MANY: &str = "a table has eight bands at most";

/// Reads a table.
pub(crate) fn parse(text: &[u8]) -> Result<Bands, Refusal> {
    let mut bands = [Band::rest(Step::copy(Primitive::Movq)); MOST_BANDS];
    let mut count = 0;
    for band in text.split(|byte| *byte == b',') {
        let slot = bands.get_mut(count).ok_or((count, TOO_MANY))?;
        *slot = parse_band(band).map_err(|reason| (count, reason))?;
        count += 1;
    }
    bands.get(..count).and_then(Bands::try_of).ok_or((count, TOO_MANY))
}

fn parse_band(text: &[u8]) -> Result<Band, &'static str> {
    // No primitive begins with a digit.
    if !text.first().is_some_and(u8::is_ascii_digit) {
        return Ok(Band { up_to: Limit::Unlimited, step: parse_step(text)? });
    }
    let (length, step) = split(text, b':').ok_or(NO_STEP)?;
    Ok(Band { up_to: Limit::Bytes(number(length)?), step: parse_step(step)? })
}

fn parse_step(text: &[u8]) -> Result<Step, &'static str> {
    let (ways, distance) = match split(text, b'@') {
        Some((ways, distance)) => (ways, u32::try_from(number(distance)?).map_err(|_| NO_NUMBER)?),
        None => (text, 0),
    };
    let Some((kind, ways)) = split(ways, b':') else {
        return Ok(Step::Copy { by: primitive(ways)?, distance });
    };
    let (one, other) = split(ways, b':').ok_or(NO_STEP)?;
    if is_same(kind, b"glance") {
        Ok(Step::Glance { near: primitive(one)?, far: primitive(other)?, distance })
    } else if is_same(kind, b"first") {
        Ok(Step::TimeFirstPage { first: primitive(one)?, rest: primitive(other)?, burst: distance })
    } else {
        Err(NO_STEP)
    }
}

/// The primitive of that name.
pub(crate) fn primitive(name: &[u8]) -> Result<Primitive, &'static str> {
    Primitive::ALL.iter().copied().find(|one| is_same(one.name().as_bytes(), name)).ok_or(NO_PRIMITIVE)
}

/// Reads a whole number with a unit or none.
fn number(text: &[u8]) -> Result<usize, &'static str> {
    let (digits, unit) = match text {
        [digits @ .., b'K' | b'k'] => (digits, 1 << 10),
        [digits @ .., b'M' | b'm'] => (digits, 1 << 20),
        [digits @ .., b'G' | b'g'] => (digits, 1 << 30),
        digits => (digits, 1),
    };
    let mut number = if digits.is_empty() { None } else { Some(0usize) };
    for digit in digits {
        let value = if digit.is_ascii_digit() { Some(usize::from(*digit & 0xf)) } else { None };
        number = number.and_then(|number| number.checked_mul(10)?.checked_add(value?));
    }
    number.and_then(|number| number.checked_mul(unit)).ok_or(NO_NUMBER)
}

/// The text before the first such byte, and the text behind it.
fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|byte| *byte == at)?;
    Some((text.get(..place)?, text.get(place + 1..)?))
}

/// Compares byte by byte: the function that compares memory in a kernel has another name on each target.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one == other)
}
