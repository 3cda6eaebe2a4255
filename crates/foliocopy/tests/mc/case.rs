//! A copy of any shape with bad memory anywhere, and what must come of it. The fuzz target `faults` and the
//! replay of its corpus share it.

use std::cell::RefCell;
use std::sync::OnceLock;

use foliocopy::{
    CopyMcError, CopyOptions, MemoryError, PAGE_SIZE, Page, PageRange, PageRangeMut, Primitive, Side, sigbus,
};

use crate::memory::{Bad, Region, pattern, safe_primitives};

/// Pages of the source and of the destination.
const NR_PAGES: usize = 32;
const BYTES: usize = NR_PAGES * PAGE_SIZE;
const LINE: usize = 64;
const UNTOUCHED: u8 = 0xee;

/// How many bytes make a case. What is missing counts as zeros, what is more is not looked at.
pub(crate) const ENCODED: usize = 17;

/// What is called.
#[derive(Clone, Copy, Debug)]
enum Call {
    /// [`Primitive::copy`], of good memory.
    Plain,
    /// [`Primitive::copy_mc`].
    Safe,
    /// [`CopyOptions::copy_mc_pages`].
    Pages,
    /// [`CopyOptions::copy_mc_pages_skipping`].
    Skipping,
}

/// What is copied. Offsets and lengths in bytes, bad pages as a bit each.
#[derive(Clone, Copy, Debug)]
struct Case {
    call: Call,
    primitive: Primitive,
    from: usize,
    to: usize,
    bytes: usize,
    chunk_bytes: usize,
    bad_src: u32,
    bad_dst: u32,
}

/// Decodes a case, makes the copy, and panics where anything differs from what it must be.
pub(crate) fn check(data: &[u8]) {
    thread_local! {
        static REGIONS: RefCell<(Region, Region)> = RefCell::new((Region::patterned(NR_PAGES), Region::new(NR_PAGES)));
    }
    sigbus::install().expect("nobody else wants SIGBUS");
    let case = Case::decode(data);
    REGIONS.with_borrow_mut(|(src, dst)| case.check(src, dst));
}

impl Case {
    fn decode(data: &[u8]) -> Self {
        let mut bytes = [0; ENCODED];
        let known = data.len().min(ENCODED);
        bytes[..known].copy_from_slice(&data[..known]);
        let two = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let four = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let call = [Call::Plain, Call::Safe, Call::Pages, Call::Skipping][usize::from(bytes[0]) % 4];
        let primitives = primitives();
        let unit = if matches!(call, Call::Plain | Call::Safe) { LINE } else { PAGE_SIZE };
        let (from, to) = (two(2) * unit % BYTES, two(4) * unit % BYTES);
        let longest = BYTES - from.max(to);
        let (bad_src, bad_dst) = if matches!(call, Call::Plain) { (0, 0) } else { (four(9), four(13)) };
        Self {
            call,
            primitive: primitives[usize::from(bytes[1]) % primitives.len()],
            from,
            to,
            bytes: two(6) * unit % (longest + unit),
            chunk_bytes: usize::from(bytes[8]) * PAGE_SIZE,
            bad_src,
            bad_dst,
        }
    }

    /// Whether the `index`th byte of the range can't be read, and whether it can't be written.
    fn is_bad(&self, index: usize) -> (bool, bool) {
        let bad = |pages: u32, offset: usize| pages >> (offset / PAGE_SIZE) & 1 == 1;
        (bad(self.bad_src, self.from + index), bad(self.bad_dst, self.to + index))
    }

    /// How many bytes can be copied before the first that can't.
    fn good(&self) -> usize {
        let bad = (0..self.bytes).step_by(LINE).find(|index| self.is_bad(*index) != (false, false));
        bad.unwrap_or(self.bytes)
    }

    fn check(&self, src: &mut Region, dst: &mut Region) {
        dst.fill(UNTOUCHED);
        let bad_pages = |pages: u32| (0..NR_PAGES).filter(move |index| pages >> index & 1 == 1);
        bad_pages(self.bad_src).for_each(|index| src.spoil(index, Bad::Cut));
        bad_pages(self.bad_dst).for_each(|index| dst.spoil(index, Bad::Cut));
        let mut expected = vec![UNTOUCHED; BYTES];
        match self.call {
            Call::Plain | Call::Safe => self.check_bytes(src, dst, &mut expected),
            Call::Pages => self.check_pages(src, dst, &mut expected),
            Call::Skipping => self.check_skipping(src, dst, &mut expected),
        }
        for index in (0..NR_PAGES).filter(|index| self.bad_dst >> index & 1 == 0) {
            let (start, end) = (index * PAGE_SIZE, (index + 1) * PAGE_SIZE);
            assert!(dst.bytes(start, end) == &expected[start..end], "page {index} of {self:?}");
        }
        assert!(src.canaries_live() && dst.canaries_live(), "{self:?}");
        bad_pages(self.bad_src).for_each(|index| src.mend(index, pattern(index)));
        bad_pages(self.bad_dst).for_each(|index| dst.mend(index, Page::zeroed()));
    }

    /// What must be there of the source's first bytes.
    fn expect_copied(&self, expected: &mut [u8], start: usize, end: usize) {
        for index in (start..end).step_by(LINE) {
            let (page, line) = ((self.from + index) / PAGE_SIZE, (self.from + index) % PAGE_SIZE);
            expected[self.to + index..][..LINE].copy_from_slice(&pattern_of(page)[line..][..LINE]);
        }
    }

    fn check_bytes(&self, src: &Region, dst: &Region, expected: &mut [u8]) {
        // SAFETY: within the regions, in multiples of 64, and the handler is installed.
        let answer = unsafe {
            let (dst, src) = (dst.start().byte_add(self.to).cast(), src.start().byte_add(self.from).cast());
            match self.call {
                Call::Plain => {
                    self.primitive.copy(dst, src, self.bytes);
                    Ok(())
                }
                _ => self.primitive.copy_mc(dst, src, self.bytes),
            }
        };
        let bytes_left = answer.map_or_else(|fault| fault.bytes_left, |()| 0);
        assert_eq!(bytes_left, self.bytes - self.good(), "{self:?}");
        self.expect_copied(expected, 0, self.good());
    }

    fn ranges<'a>(&self, src: &'a Region, dst: &'a Region) -> (PageRangeMut<'a>, PageRange<'a>) {
        let nr_pages = self.bytes / PAGE_SIZE;
        let start = |region: &Region, offset| region.start().wrapping_byte_add(offset);
        // SAFETY: within the regions, of which some pages raise SIGBUS.
        unsafe {
            (
                PageRangeMut::new(start(dst, self.to), nr_pages).expect("whole pages"),
                PageRange::new(start(src, self.from), nr_pages).expect("whole pages"),
            )
        }
    }

    fn options(&self) -> CopyOptions<'static> {
        CopyOptions::new().primitive(self.primitive).chunk_bytes(self.chunk_bytes)
    }

    fn check_pages(&self, src: &Region, dst: &Region, expected: &mut [u8]) {
        let (to, from) = self.ranges(src, dst);
        match self.options().copy_mc_pages(to, from) {
            Ok(()) => assert_eq!(self.good(), self.bytes, "{self:?}"),
            Err(CopyMcError::Memory(error)) => self.check_error(&error, self.good()),
            Err(error) => panic!("{error}: {self:?}"),
        }
        self.expect_copied(expected, 0, self.good());
    }

    fn check_error(&self, error: &MemoryError, good: usize) {
        assert_eq!((error.bytes_copied, error.bytes_left), (good, self.bytes - good), "{self:?}");
        assert_eq!(error.page_index, good / PAGE_SIZE, "{self:?}");
        let (unreadable, unwritable) = self.is_bad(good);
        let blamed = if error.side == Side::Source { unreadable } else { unwritable };
        assert!(blamed, "{error:?} of {self:?}");
    }

    fn check_skipping(&self, src: &Region, dst: &Region, expected: &mut [u8]) {
        let (to, from) = self.ranges(src, dst);
        let (mut reported, mut skipped) = (Vec::new(), Vec::new());
        let answer = self.options().copy_mc_pages_skipping(to, from, |skipped| {
            assert_eq!(skipped.nr_pages, 1);
            reported.push(skipped.page_index);
        });
        let mut stopped = None;
        for index in 0..self.bytes / PAGE_SIZE {
            let (start, end) = (index * PAGE_SIZE, (index + 1) * PAGE_SIZE);
            match self.is_bad(start) {
                (_, true) => {
                    stopped = Some(start);
                    break;
                }
                (true, false) => {
                    expected[self.to + start..self.to + end].fill(0);
                    skipped.push(index);
                }
                (false, false) => self.expect_copied(expected, start, end),
            }
        }
        assert_eq!(reported, skipped, "{self:?}");
        match (answer, stopped) {
            (Ok(nr_skipped), None) => assert_eq!(nr_skipped, skipped.len(), "{self:?}"),
            (Err(CopyMcError::Memory(error)), Some(good)) => {
                assert_eq!(error.side, Side::Destination, "{self:?}");
                self.check_error(&error, good);
            }
            (answer, stopped) => panic!("{answer:?} where {stopped:?} stops {self:?}"),
        }
    }
}

fn primitives() -> &'static [Primitive] {
    static PRIMITIVES: OnceLock<Vec<Primitive>> = OnceLock::new();
    PRIMITIVES.get_or_init(safe_primitives)
}

/// The contents of a page of the source, worked out once.
fn pattern_of(index: usize) -> &'static [u8; PAGE_SIZE] {
    static PATTERNS: OnceLock<Vec<Page>> = OnceLock::new();
    PATTERNS.get_or_init(|| (0..NR_PAGES).map(pattern).collect())[index].as_bytes()
}
