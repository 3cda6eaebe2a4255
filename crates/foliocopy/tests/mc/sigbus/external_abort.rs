//! Loads and stores that the bus refuses, where the CPU does not know the address. No emulator has such a CPU, so a real fault is
//! changed to what the kernel would say of one (`do_sea()` in Linux's `arch/arm64/mm/fault.c`).

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::memory::{Bad, Region, safe_primitives, system_page, unit};
use foliocopy::{Cause, CopyMcError, CopyOptions, MemoryError, Side, copy_mc, sigbus};
use libc::{SA_SIGINFO, c_int, c_void, mcontext_t, siginfo_t, ucontext_t};

use super::signals::act;

/// How many faults were changed.
static FAULTS: AtomicUsize = AtomicUsize::new(0);

/// Fields of the syndrome of a data abort (Arm ARM, ESR_EL1): the status, of an external abort, and whether the address is unknown.
const STATUS: u32 = 0x3f;
const EXTERNAL_ABORT: u32 = 0x10;
const LACKS_ADDRESS: u32 = 1 << 10;

/// The low half of the kernel's record of the syndrome.
///
/// # Safety
///
/// `context` is the third argument of a handler.
unsafe fn syndrome(context: *mut c_void) -> *mut u32 {
    const MAGIC: u32 = 0x4553_5201;
    const RECORDS: usize = 4096;
    // SAFETY: the records are the end of the registers, each starts with its magic number and its length, and zeros end them.
    unsafe {
        let registers = &raw mut (*context.cast::<ucontext_t>()).uc_mcontext;
        let mut record = registers.cast::<u32>().byte_add(size_of::<mcontext_t>() - RECORDS);
        while record.read() != MAGIC {
            assert_ne!(record.read(), 0, "the kernel keeps no syndrome");
            record = record.byte_add(record.add(1).read() as usize);
        }
        record.add(2)
    }
}

/// Changes a fault, and has ours handle it: only with the syndrome that explains it, an address of 0 is a fault of a copy.
extern "C" fn handler(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    FAULTS.fetch_add(1, SeqCst);
    // SAFETY: the arguments from the kernel. The address follows three integers and what aligns it.
    unsafe {
        (*info).si_code = libc::BUS_OBJERR;
        info.cast::<usize>().add(2).write(0);
        assert_eq!((*info).si_addr().addr(), 0);
        let syndrome = syndrome(context);
        assert!(!sigbus::try_handle(signal, info, context), "an address of 0 is in no range");
        syndrome.write(syndrome.read() & !STATUS | EXTERNAL_ABORT | LACKS_ADDRESS);
        assert!(sigbus::try_handle(signal, info, context), "the copy is not resumed");
    }
}

/// Copies with every primitive, and by bytes. The syndrome tells the side, and the copy itself the place.
pub(super) fn check() {
    act(handler as *const (), SA_SIGINFO, None);
    // SAFETY: the handler calls ours.
    unsafe { sigbus::handled_by_caller() };
    for side in [Side::Source, Side::Destination] {
        let (mut src, mut dst) = (Region::patterned(4), Region::new(4));
        let spoilt = if side == Side::Source { &mut src } else { &mut dst };
        spoilt.spoil(2, Bad::Cut);
        let (bad, address) = (2 * system_page(), spoilt.address() + 2 * system_page());
        for primitive in safe_primitives() {
            let options = CopyOptions::new().primitive(primitive);
            let error = memory_error(options.copy_mc_pages(dst.destination(), src.source()));
            let found = (error.bytes_copied, error.page_index, error.side, error.cause, error.address);
            assert_eq!(found, (bad, 2 * unit(), side, Cause::Other, address), "{primitive}");
            assert!(dst.bytes(0, bad) == src.bytes(0, bad), "{primitive}");
        }
        check_bytes(&dst, &src, side, address);
    }
}

/// A copy of bytes that starts 100 bytes before the bad page stops at the block that holds its start, without a second fault.
fn check_bytes(dst: &Region, src: &Region, side: Side, bad: usize) {
    const BEFORE: usize = 100;
    const COPIED: usize = 64;
    let start = 2 * system_page() - BEFORE;
    let (to, from) = if side == Side::Source { (7, start) } else { (start, 7) };
    let before = FAULTS.load(SeqCst);
    // SAFETY: within the regions, of which a page raises SIGBUS.
    let answer =
        unsafe { copy_mc(dst.start().cast::<u8>().add(to), src.start().cast::<u8>().add(from), 300) };
    let error = memory_error(answer);
    let found = (error.bytes_copied, error.side, error.cause, error.address);
    assert_eq!(found, (COPIED, side, Cause::Other, bad - BEFORE + COPIED));
    assert_eq!(FAULTS.load(SeqCst) - before, 1, "a bus error is provoked again");
    assert!(dst.bytes(to, to + COPIED) == src.bytes(from, from + COPIED));
}

fn memory_error(answer: Result<(), CopyMcError>) -> MemoryError {
    match answer {
        Err(CopyMcError::Memory(error)) => error,
        other => panic!("{other:?} where memory is bad"),
    }
}
