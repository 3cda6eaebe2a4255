//! Whether copies on this machine are right, and stop where memory is bad: each primitive against a byte
//! loop, then with faults that are real.

mod memory;

use std::fmt;
use std::io;

use foliocopy::{CopyMcError, CopyOptions, Fault, MemoryError, PAGE_SIZE, Primitive, Side};

use foliocopy_measure::memory::base_page;
use memory::Memory;

/// Parameters of the kinds of faults and of loops.
const LINE: usize = 64;

/// Lines in a page.
const LINES: usize = PAGE_SIZE / LINE;

/// The folio of which every page goes bad: 2 MiB.
const FOLIO_PAGES: usize = 512;

/// The pages of the system in it.
fn folio_base_pages() -> usize {
    FOLIO_PAGES * PAGE_SIZE / base_page()
}

/// The destination's contents before a copy.
const UNTOUCHED: u8 = 0xee;

/// Copies in lines beyond each of which a loop could go wrong: past every unrolling (a page at most) line by
/// line, and around sizes at which a copy is cut or changes its ways.
fn lengths() -> impl Iterator<Item = usize> {
    let around = |lines: usize| lines - 1..=lines + 1;
    (0..=LINES + 8)
        .chain([2 * LINES, 4 * LINES, 16 * LINES].into_iter().flat_map(around))
        .map(|lines| lines * LINE)
}

/// Offsets in a page at which a range may start.
const OFFSETS: [usize; 4] = [0, LINE, PAGE_SIZE / 2 - LINE, PAGE_SIZE - LINE];

/// The longest of the copies, with all that is around it, in pages.
const ROOM: usize = 20;

/// A wrong copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch(String);

impl fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// How many copies were right, or the first that wasn't.
pub(crate) type Outcome = Result<usize, Mismatch>;

/// A byte-granular copy, as [`Primitive::copy`] and [`Primitive::copy_mc`] are: destination, source, bytes.
pub(crate) trait Copy: Fn(*mut u8, *const u8, usize) -> Result<(), Fault> {}

impl<F: Fn(*mut u8, *const u8, usize) -> Result<(), Fault>> Copy for F {}

/// The plain copy of a primitive that this CPU has.
pub(crate) fn plain(primitive: Primitive) -> impl Copy {
    move |dst, src, bytes| {
        // SAFETY: the checks below copy within their own memory, in multiples of 64.
        unsafe { primitive.copy(dst, src, bytes) };
        Ok(())
    }
}

/// Its machine-check-safe copy. The handler of SIGBUS has been installed.
pub(crate) fn safe(primitive: Primitive) -> impl Copy {
    // SAFETY: as above.
    move |dst, src, bytes| unsafe { primitive.copy_mc(dst, src, bytes) }
}

/// Memory in which the checks are made.
pub(crate) struct Bench {
    src: Memory,
    dst: Memory,
}

impl Bench {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { src: Memory::new(FOLIO_PAGES)?, dst: Memory::new(FOLIO_PAGES)? })
    }

    /// Good memory, over lengths and offsets.
    pub(crate) fn lengths_and_offsets(&mut self, copy: impl Copy) -> Outcome {
        self.reset();
        let mut copies = 0;
        let mut expected = vec![UNTOUCHED; ROOM * PAGE_SIZE];
        for bytes in lengths() {
            for from in OFFSETS {
                for to in OFFSETS {
                    // The reference: a byte at a time.
                    for index in 0..bytes {
                        expected[PAGE_SIZE + to + index] = self.src.bytes()[from + index];
                    }
                    let wrong = |what: &str| {
                        Mismatch(format!("{bytes} bytes from offset {from} to offset {to}: {what}"))
                    };
                    let (dst, src) = (self.dst.at(PAGE_SIZE + to), self.src.at(from));
                    copy(dst, src, bytes).map_err(|fault| wrong(&format!("{fault:?} in good memory")))?;
                    let copied = &self.dst.bytes()[..ROOM * PAGE_SIZE];
                    if let Some(index) = first_difference(copied, &expected) {
                        let (is, must) = (copied[index], expected[index]);
                        let place = index as isize - (PAGE_SIZE + to) as isize;
                        return Err(wrong(&format!("byte {place} is {is:#04x} and must be {must:#04x}")));
                    }
                    expected[PAGE_SIZE + to..][..bytes].fill(UNTOUCHED);
                    self.dst.fill(PAGE_SIZE + to, bytes, UNTOUCHED);
                    copies += 1;
                }
            }
        }
        Ok(copies)
    }

    /// Every page of the system in a folio goes bad in turn, in the source and in the destination.
    pub(crate) fn faults_by_page(&mut self, primitive: Primitive) -> Outcome {
        self.reset();
        let mut faults = 0;
        for side in [Side::Source, Side::Destination] {
            for index in 0..folio_base_pages() {
                let good = index * base_page();
                let wrong = |what: String| Mismatch(format!("page {index} of the {side} is bad: {what}"));
                self.side(side).spoil(index).map_err(|error| wrong(error.to_string()))?;
                let copied = CopyOptions::new()
                    .primitive(primitive)
                    .copy_mc_pages(self.dst.range_mut(), self.src.range());
                let expected = |error: &MemoryError| {
                    (error.bytes_copied, error.page_index, error.side) == (good, good / PAGE_SIZE, side)
                };
                match copied {
                    Err(CopyMcError::Memory(error)) if expected(&error) => {}
                    Err(error) => return Err(wrong(format!("the copy says: {error}"))),
                    Ok(()) => return Err(wrong("the copy went through".to_owned())),
                }
                self.check_prefix(0, 0, good).map_err(wrong)?;
                let after = if side == Side::Source { good } else { good + base_page() };
                self.check_untouched(after, FOLIO_PAGES * PAGE_SIZE).map_err(wrong)?;
                self.side(side).mend(index).map_err(|error| wrong(error.to_string()))?;
                self.dst.fill(0, good, UNTOUCHED);
                if side == Side::Destination {
                    self.dst.fill(good, base_page(), UNTOUCHED);
                }
                faults += 1;
            }
        }
        Ok(faults)
    }

    /// A page of the system goes bad after every number of lines before it, from none to two pages.
    pub(crate) fn faults_by_line(&mut self, copy: impl Copy) -> Outcome {
        const BAD: usize = 2;
        self.reset();
        let mut faults = 0;
        for side in [Side::Source, Side::Destination] {
            self.side(side).spoil(BAD).map_err(|error| Mismatch(error.to_string()))?;
            for lines in 0..=2 * LINES {
                let (good, bytes) = (lines * LINE, lines * LINE + PAGE_SIZE / 2);
                let wrong =
                    |what: String| Mismatch(format!("{lines} lines before a bad page of the {side}: {what}"));
                // The other side starts elsewhere in its page.
                let (start, other) = (BAD * base_page() - good, LINE);
                let (from, to) = if side == Side::Source { (start, other) } else { (other, start) };
                match copy(self.dst.at(to), self.src.at(from), bytes) {
                    Err(fault) if fault.bytes_left == bytes - good => {}
                    Err(fault) => {
                        return Err(wrong(format!("{} of {bytes} bytes left", fault.bytes_left)));
                    }
                    Ok(()) => return Err(wrong("the copy went through".to_owned())),
                }
                self.check_prefix(to, from, good).map_err(wrong)?;
                self.check_untouched(0, to).map_err(wrong)?;
                let after = if side == Side::Source { to + good } else { (BAD + 1) * base_page() };
                self.check_untouched(after, (ROOM * PAGE_SIZE).max((BAD + 2) * base_page()))
                    .map_err(wrong)?;
                self.dst.fill(to, good, UNTOUCHED);
                faults += 1;
            }
            self.side(side).mend(BAD).map_err(|error| Mismatch(error.to_string()))?;
        }
        Ok(faults)
    }

    fn side(&mut self, side: Side) -> &mut Memory {
        match side {
            Side::Source => &mut self.src,
            Side::Destination => &mut self.dst,
        }
    }

    fn reset(&mut self) {
        self.src.pattern();
        self.dst.fill(0, FOLIO_PAGES * PAGE_SIZE, UNTOUCHED);
    }

    /// Bytes before the error are the source's.
    fn check_prefix(&self, to: usize, from: usize, bytes: usize) -> Result<(), String> {
        match first_difference(self.dst.part(to, bytes), self.src.part(from, bytes)) {
            Some(index) => Err(format!("byte {index}, before the error, is not the source's")),
            None => Ok(()),
        }
    }

    /// Bytes outside the range, or after the error, are unchanged.
    fn check_untouched(&self, start: usize, end: usize) -> Result<(), String> {
        let page = [UNTOUCHED; PAGE_SIZE];
        for chunk in self.dst.part(start, end.saturating_sub(start)).chunks(PAGE_SIZE) {
            if first_difference(chunk, &page[..chunk.len()]).is_some() {
                return Err("memory after the error was written".to_owned());
            }
        }
        Ok(())
    }
}

fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    // Compared as a whole first: that is fast.
    if one == other { None } else { one.iter().zip(other).position(|(one, other)| one != other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loop of this architecture.
    const LOOP: Primitive = if cfg!(target_arch = "aarch64") { Primitive::LdpStp } else { Primitive::Movq };

    fn mismatch(outcome: Outcome) -> String {
        outcome.expect_err("a wrong copy must be found").to_string()
    }

    /// A copy a byte at a time, less its last bytes, or with some more.
    fn wrong_by(bytes_more: isize) -> impl Copy {
        move |dst, src, bytes| {
            let bytes = bytes.saturating_add_signed(bytes_more);
            // SAFETY: the checks leave room around every range.
            unsafe { std::ptr::copy_nonoverlapping(src, dst, bytes) };
            Ok(())
        }
    }

    #[test]
    fn a_right_copy_is_right() {
        sigbus();
        let mut bench = Bench::new().unwrap();
        assert!(bench.lengths_and_offsets(plain(Primitive::Portable)).unwrap() > 1000);
        assert!(bench.lengths_and_offsets(safe(LOOP)).unwrap() > 1000);
        assert_eq!(bench.faults_by_page(LOOP), Ok(2 * folio_base_pages()));
        assert_eq!(bench.faults_by_line(safe(LOOP)), Ok(2 * (2 * LINES + 1)));
    }

    #[test]
    fn a_byte_too_few_or_too_many_is_found() {
        let mut bench = Bench::new().unwrap();
        let short = mismatch(bench.lengths_and_offsets(wrong_by(-1)));
        assert!(
            short.starts_with("64 bytes from offset 0 to offset 0: byte 63 is 0xee and must be "),
            "{short}"
        );
        let long = mismatch(bench.lengths_and_offsets(wrong_by(1)));
        assert!(long.starts_with("0 bytes from offset 0 to offset 0: byte 0 is"), "{long}");
    }

    #[test]
    fn an_inexact_fault_is_found() {
        sigbus();
        let mut bench = Bench::new().unwrap();
        let inexact = |dst, src, bytes| {
            safe(LOOP)(dst, src, bytes).map_err(|fault| Fault { bytes_left: fault.bytes_left + 8, ..fault })
        };
        let text = mismatch(bench.faults_by_line(inexact));
        assert_eq!(text, "0 lines before a bad page of the source: 2056 of 2048 bytes left");
    }

    #[test]
    fn a_fault_that_leaves_bytes_behind_is_found() {
        sigbus();
        let mut bench = Bench::new().unwrap();
        let forgetful = |dst: *mut u8, src: *const u8, bytes: usize| {
            let answer = safe(LOOP)(dst, src, bytes);
            if let Err(fault) = answer {
                let copied = bytes - fault.bytes_left;
                if copied != 0 {
                    // SAFETY: a byte that was copied.
                    unsafe { dst.add(copied - 1).write(!src.add(copied - 1).read()) };
                }
            }
            answer
        };
        let text = mismatch(bench.faults_by_line(forgetful));
        assert_eq!(
            text,
            "1 lines before a bad page of the source: byte 63, before the error, is not the source's"
        );
    }

    fn sigbus() {
        foliocopy::sigbus::install().unwrap();
    }
}
