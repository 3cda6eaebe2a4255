//! A copy of any shape with bad memory anywhere, and its expected result. The fuzz target `faults` and the replay of its corpus
//! share it.

use std::cell::RefCell;
use std::sync::OnceLock;

use foliocopy::{
    ByteRange, ByteRangeMut, CopyMcError, CopyOptions, MemoryError, PAGE_SIZE, Page, PageRange, PageRangeMut,
    Primitive, Side, copy_mc_bytes, copy_mc_skipping, sigbus,
};

use crate::memory::{Bad, Region, pattern, safe_primitives, system_page, unit};

/// Pages of the source and of the destination.
const NR_PAGES: usize = 32;
const BYTES: usize = NR_PAGES * PAGE_SIZE;
const LINE: usize = 64;
const UNTOUCHED: u8 = 0xee;

/// The bytes of a case. Missing bytes count as zeros, and bytes behind the last are ignored.
pub(crate) const ENCODED: usize = 21;

/// The function under test.
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
    /// [`copy_mc_bytes`].
    Bytes,
    /// [`copy_mc_skipping`].
    SkippingBytes,
}

/// The copy of a case. Offsets and lengths are in bytes, and bad pages are a bit each.
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

/// Decodes a case, makes the copy, and panics where the result is not the expected one.
pub(crate) fn check(data: &[u8]) {
    thread_local! {
        static REGIONS: RefCell<(Region, Region)> = RefCell::new({
            let nr_pages = NR_PAGES / unit();
            (Region::patterned(nr_pages), Region::new(nr_pages))
        });
    }
    sigbus::install().expect("nobody else wants SIGBUS");
    let case = Case::decode(data);
    REGIONS.with_borrow_mut(|(src, dst)| case.check(src, dst));
}

/// The bad pages, and the pages that go bad with them: a page of the system goes bad as a whole.
fn whole(bad: u32) -> u32 {
    let is_bad = |index: usize| (bad >> (index / unit() * unit())) & ((1 << unit()) - 1) != 0;
    (0..NR_PAGES).filter(|index| is_bad(*index)).fold(0, |whole, index| whole | 1 << index)
}

impl Case {
    fn decode(data: &[u8]) -> Self {
        let mut bytes = [0; ENCODED];
        let known = data.len().min(ENCODED);
        bytes[..known].copy_from_slice(&data[..known]);
        let two = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let four = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let call = match usize::from(bytes[17]) % 3 {
            0 => [Call::Plain, Call::Safe, Call::Pages, Call::Skipping][usize::from(bytes[0]) % 4],
            1 => Call::Bytes,
            _ => Call::SkippingBytes,
        };
        let primitives = primitives();
        let unit = match call {
            Call::Plain | Call::Safe => LINE,
            Call::Pages | Call::Skipping => PAGE_SIZE,
            Call::Bytes | Call::SkippingBytes => 1,
        };
        // Copies of bytes start in any page, a few bytes from its start or end.
        let place = |page: usize, byte: usize| match unit {
            1 => two(page) * PAGE_SIZE + usize::from(bytes[byte]) + BYTES - 128,
            _ => two(page) * unit,
        };
        let (from, to) = (place(2, 18) % BYTES, place(4, 19) % BYTES);
        let longest = BYTES - from.max(to);
        let (bad_src, bad_dst) =
            if matches!(call, Call::Plain) { (0, 0) } else { (whole(four(9)), whole(four(13))) };
        Self {
            call,
            primitive: primitives[usize::from(bytes[1]) % primitives.len()],
            from,
            to,
            // Often a short length, for copies of bytes.
            bytes: if unit == 1 && bytes[20] != 0 { usize::from(bytes[20]) } else { two(6) * unit }
                % (longest + unit),
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

    /// How many bytes can be copied before the first bad one.
    fn good(&self) -> usize {
        let bad = |index: &usize| *index < self.bytes && self.is_bad(*index) != (false, false);
        let (src, dst) = (self.starts(self.from), self.starts(self.to));
        src.chain(dst).filter(bad).min().unwrap_or(self.bytes)
    }

    /// The indices at which the range or a page starts. The first byte of the range has this offset.
    fn starts(&self, offset: usize) -> impl Iterator<Item = usize> + use<> {
        std::iter::once(0).chain((PAGE_SIZE - offset % PAGE_SIZE..self.bytes).step_by(PAGE_SIZE))
    }

    fn check(&self, src: &mut Region, dst: &mut Region) {
        dst.fill(UNTOUCHED);
        let bad_pages =
            |pages: u32| (0..NR_PAGES / unit()).filter(move |index| pages >> (index * unit()) & 1 == 1);
        bad_pages(self.bad_src).for_each(|index| src.spoil(index, Bad::Cut));
        bad_pages(self.bad_dst).for_each(|index| dst.spoil(index, Bad::Cut));
        let mut expected = vec![UNTOUCHED; BYTES];
        match self.call {
            Call::Plain | Call::Safe => self.check_bytes(src, dst, &mut expected),
            Call::Pages => self.check_pages(src, dst, &mut expected),
            Call::Skipping => self.check_skipping(src, dst, &mut expected),
            Call::Bytes => self.check_any_bytes(src, dst, &mut expected),
            Call::SkippingBytes => self.check_skipping_bytes(src, dst, &mut expected),
        }
        for index in (0..NR_PAGES).filter(|index| self.bad_dst >> index & 1 == 0) {
            let (start, end) = (index * PAGE_SIZE, (index + 1) * PAGE_SIZE);
            assert!(dst.bytes(start, end) == &expected[start..end], "page {index} of {self:?}");
        }
        assert!(src.canaries_live() && dst.canaries_live(), "{self:?}");
        bad_pages(self.bad_src).for_each(|index| src.mend(index, pattern));
        bad_pages(self.bad_dst).for_each(|index| dst.mend(index, |_| Page::zeroed()));
    }

    /// Fills in the expected copy of the source's bytes from `start` to `end`.
    fn expect_copied(&self, expected: &mut [u8], start: usize, end: usize) {
        let mut index = start;
        while index < end {
            let (page, first) = ((self.from + index) / PAGE_SIZE, (self.from + index) % PAGE_SIZE);
            let length = (PAGE_SIZE - first).min(end - index);
            expected[self.to + index..][..length].copy_from_slice(&pattern_of(page)[first..][..length]);
            index += length;
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
        let start = if error.side == Side::Source { self.from } else { self.to };
        assert_eq!(error.page_index, (start % PAGE_SIZE + good) / PAGE_SIZE, "{self:?}");
        let (unreadable, unwritable) = self.is_bad(good);
        let blamed = if error.side == Side::Source { unreadable } else { unwritable };
        assert!(blamed, "{error:?} of {self:?}");
    }

    fn check_skipping(&self, src: &Region, dst: &Region, expected: &mut [u8]) {
        let (to, from) = self.ranges(src, dst);
        let (mut reported, mut skipped) = (Vec::new(), Vec::new());
        let answer = self.options().copy_mc_pages_skipping(to, from, |skipped| {
            assert!(skipped.nr_pages <= unit());
            reported.extend(skipped.page_index..skipped.page_index + skipped.nr_pages);
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
        if stopped.is_some() && unit() > 1 {
            // The start of a page of the system was zeroed, and is not reported yet.
            assert!(skipped.starts_with(&reported) && skipped.len() - reported.len() < unit(), "{self:?}");
        } else {
            assert_eq!(reported, skipped, "{self:?}");
        }
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

impl Case {
    fn byte_ranges<'a>(&self, src: &'a Region, dst: &'a Region) -> (ByteRangeMut<'a>, ByteRange<'a>) {
        // SAFETY: within the regions, of which some pages raise SIGBUS.
        unsafe {
            (
                ByteRangeMut::new(dst.start().cast::<u8>().add(self.to), self.bytes).expect("our own"),
                ByteRange::new(src.start().cast::<u8>().add(self.from), self.bytes).expect("our own"),
            )
        }
    }

    fn check_any_bytes(&self, src: &Region, dst: &Region, expected: &mut [u8]) {
        let (to, from) = self.byte_ranges(src, dst);
        match copy_mc_bytes(to, from) {
            Ok(()) => assert_eq!(self.good(), self.bytes, "{self:?}"),
            Err(CopyMcError::Memory(error)) => self.check_error(&error, self.good()),
            Err(error) => panic!("{error}: {self:?}"),
        }
        self.expect_copied(expected, 0, self.good());
    }

    fn check_skipping_bytes(&self, src: &Region, dst: &Region, expected: &mut [u8]) {
        let (to, from) = self.byte_ranges(src, dst);
        let mut reported = Vec::new();
        let answer = copy_mc_skipping(to, from, |skipped| {
            reported.push(skipped.offset..skipped.offset + skipped.bytes)
        });
        // One piece for each page of the source, up to the first byte that can't be written.
        let unwritable = self.starts(self.to).filter(|index| *index < self.bytes && self.is_bad(*index).1);
        let stop = unwritable.min().unwrap_or(self.bytes);
        let (mut lost, mut start) = (Vec::new(), 0);
        while start < stop {
            let end = (start + system_page() - (self.from + start) % system_page()).min(self.bytes);
            if !self.is_bad(start).0 {
                self.expect_copied(expected, start, end.min(stop));
            } else {
                expected[self.to + start..self.to + end.min(stop)].fill(0);
                if end <= stop {
                    lost.push(start..end);
                }
            }
            start = end;
        }
        assert_eq!(reported, lost, "{self:?}");
        match answer {
            Ok(skipped) => {
                assert_eq!((skipped, stop), (lost.iter().map(ExactSizeIterator::len).sum(), self.bytes))
            }
            Err(CopyMcError::Memory(error)) => {
                assert_eq!(error.side, Side::Destination, "{self:?}");
                assert_eq!((error.bytes_copied, error.bytes_left), (stop, self.bytes - stop), "{self:?}");
            }
            Err(error) => panic!("{error}: {self:?}"),
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
