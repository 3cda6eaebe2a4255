//! Failures as C knows them: a negative errno, and a text that the thread may ask for.

use core::cell::Cell;
use core::ffi::{c_char, c_int, c_uint};
use core::fmt::{self, Write};

use foliocopy::{BatchError, CopyError, CopyMcError, MemoryError, Unsupported};

/// The length of the longest text that is kept whole, and the end of a longer one.
const LONGEST: usize = 1020;
const CUT: &str = "...";

thread_local! {
    /// The text of the thread's last failure. The last byte is never written, so that every text ends.
    static LAST: [Cell<u8>; LONGEST + CUT.len() + 1] =
        const { [const { Cell::new(0) }; LONGEST + CUT.len() + 1] };
}

/// The text of the last failure on this thread: what was wrong, and where that helps what would be right. ""
/// where no call on this thread has failed yet. A call that succeeds leaves the text alone. Never null.
///
/// The text belongs to the library, and to the thread. It is valid until the next call of the library on this
/// thread.
#[unsafe(no_mangle)]
pub extern "C" fn foliocopy_last_error() -> *const c_char {
    LAST.with(|last| last.as_ptr().cast())
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A pointer that must not be null is.
    Null(&'static str),
    /// No locality has this number.
    Locality(c_uint),
    /// The number of threads is 0.
    NoThreads,
    /// The pairs of a batch are not where pairs can be.
    MisalignedPairs(usize),
    /// More pairs than the address space has room for.
    TooManyPairs(usize),
    /// A name that is none of the known ones.
    Name(foliocopy::UnknownName),
    /// The process has a policy already.
    PolicyExists,
    /// The engine refuses.
    Copy(CopyError),
    /// A pair of a batch is wrong.
    Pair(BatchError<CopyError>),
    /// Memory went bad.
    Memory(MemoryError),
    /// Memory of a pair went bad.
    PairMemory(BatchError<MemoryError>),
    /// Anything else that the engine may come to know.
    Other(CopyMcError),
}

impl Failure {
    /// Its errno, positive.
    fn errno(&self) -> c_int {
        match self {
            Self::Null(_) | Self::Locality(_) | Self::NoThreads | Self::Name(_) => libc::EINVAL,
            Self::MisalignedPairs(_) => libc::EDOM,
            Self::TooManyPairs(_) => libc::EOVERFLOW,
            Self::PolicyExists => libc::EBUSY,
            Self::Copy(error) | Self::Pair(BatchError { error, .. }) => refused(error),
            Self::Memory(error) | Self::PairMemory(BatchError { error, .. }) => unreadable(error.cause),
            Self::Other(_) => libc::EIO,
        }
    }

    /// Keeps the text for [`foliocopy_last_error`], and answers the negative errno.
    #[cold]
    #[inline(never)]
    pub(crate) fn answer(self) -> c_int {
        keep(&self);
        -self.errno()
    }
}

/// The answer to C.
#[inline(always)]
pub(crate) fn status(result: Result<(), Failure>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(failure) => failure.answer(),
    }
}

/// The errno for a request that can't be met.
fn refused(error: &CopyError) -> c_int {
    match error {
        CopyError::Misaligned { .. } => libc::EDOM,
        CopyError::Overlap => libc::EBUSY,
        CopyError::Overflow { .. } | CopyError::ByteOverflow { .. } => libc::EOVERFLOW,
        CopyError::Unavailable { .. } | CopyError::Unsupported(_) | CopyError::ForeignCpu => libc::EOPNOTSUPP,
        CopyError::Environment(_) => libc::EPERM,
        _ => libc::EINVAL,
    }
}

/// The errno for memory that went bad. Poison has one of its own.
fn unreadable(cause: foliocopy::Cause) -> c_int {
    match cause {
        foliocopy::Cause::HardwareMemoryError => libc::EHWPOISON,
        _ => libc::EFAULT,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null(name) => write!(formatter, "{name} is null"),
            Self::Locality(number) => write!(
                formatter,
                "{number} is no locality: FOLIOCOPY_LOCALITY_TEMPORAL is 0, _NON_TEMPORAL 1 and _AUTO 2"
            ),
            Self::NoThreads => formatter.write_str("nr_threads is 0: the calling thread is one of them"),
            Self::MisalignedPairs(address) => write!(
                formatter,
                "pairs is {address:#x}, which is not a multiple of {}",
                align_of::<foliocopy::FolioPair>()
            ),
            Self::TooManyPairs(nr_pairs) => {
                write!(formatter, "an array of {nr_pairs} pairs does not fit the address space")
            }
            Self::Name(error) => error.fmt(formatter),
            Self::PolicyExists => formatter
                .write_str("the process has a policy already: features are masked before the first copy"),
            Self::Copy(error) => error.fmt(formatter),
            Self::Pair(error) => error.fmt(formatter),
            Self::Memory(error) => error.fmt(formatter),
            Self::PairMemory(error) => error.fmt(formatter),
            Self::Other(error) => error.fmt(formatter),
        }
    }
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        Self::Copy(error)
    }
}

impl From<Unsupported> for Failure {
    fn from(error: Unsupported) -> Self {
        Self::Copy(CopyError::Unsupported(error))
    }
}

impl From<CopyMcError> for Failure {
    fn from(error: CopyMcError) -> Self {
        match error {
            CopyMcError::Memory(error) => Self::Memory(error),
            CopyMcError::Refused(error) => Self::Copy(error),
            error => Self::Other(error),
        }
    }
}

/// The engine names the first pair where no pair is wrong.
impl From<BatchError<CopyError>> for Failure {
    fn from(error: BatchError<CopyError>) -> Self {
        match error.error {
            CopyError::Null
            | CopyError::Misaligned { .. }
            | CopyError::Overflow { .. }
            | CopyError::Overlap => Self::Pair(error),
            error => Self::Copy(error),
        }
    }
}

impl From<BatchError<CopyMcError>> for Failure {
    fn from(BatchError { index, error }: BatchError<CopyMcError>) -> Self {
        match Self::from(error) {
            Self::Memory(error) => Self::PairMemory(BatchError { index, error }),
            Self::Copy(error) => BatchError { index, error }.into(),
            failure => failure,
        }
    }
}

/// Writes a text into [`LAST`].
struct Writer<'a> {
    text: &'a [Cell<u8>],
    length: usize,
}

impl Writer<'_> {
    fn push(&mut self, text: &str) {
        for (place, byte) in self.text[self.length..].iter().zip(text.bytes()) {
            place.set(byte);
        }
        self.length += text.len();
    }
}

impl Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.length + character.len_utf8() > LONGEST {
                return Err(fmt::Error);
            }
            self.push(character.encode_utf8(&mut [0; 4]));
        }
        Ok(())
    }
}

/// Keeps a text until the next failure on this thread, without its end where it is too long.
fn keep(text: &impl fmt::Display) {
    LAST.with(|last| {
        let mut writer = Writer { text: last, length: 0 };
        if write!(writer, "{text}").is_err() {
            writer.push(CUT);
        }
        last[writer.length].set(0);
    });
}

#[cfg(test)]
mod tests {
    use core::ffi::CStr;

    use super::*;

    fn last() -> String {
        // SAFETY: a text of this thread, which ends.
        unsafe { CStr::from_ptr(foliocopy_last_error()) }.to_str().expect("whole characters").to_owned()
    }

    /// The host's kernel may never say that memory is poisoned.
    #[test]
    fn poison_has_an_errno_of_its_own() {
        assert_eq!(unreadable(foliocopy::Cause::HardwareMemoryError), libc::EHWPOISON);
        assert_eq!(unreadable(foliocopy::Cause::BeyondEnd), libc::EFAULT);
        assert_eq!(unreadable(foliocopy::Cause::Other), libc::EFAULT);
    }

    #[test]
    fn the_last_text_stays_on_its_thread() {
        assert_eq!(last(), "");
        assert_eq!(Failure::NoThreads.answer(), -libc::EINVAL);
        assert_eq!(last(), "nr_threads is 0: the calling thread is one of them");
        assert_eq!(std::thread::spawn(last).join().unwrap(), "");
        assert_eq!(Failure::Null("pairs").answer(), -libc::EINVAL);
        assert_eq!(last(), "pairs is null");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        keep(&"a".repeat(LONGEST));
        assert_eq!(last(), "a".repeat(LONGEST));
        for long in ["a".repeat(LONGEST + 1), "ä".repeat(LONGEST), "€".repeat(LONGEST)] {
            keep(&long);
            let whole = last();
            let start = whole.strip_suffix(CUT).expect("a cut is shown");
            assert!(long.starts_with(start) && start.len() > LONGEST - 4, "{whole}");
        }
    }
}
