//! The loops: plain streams over one buffer, in every vector width this CPU has.

#[cfg(target_arch = "x86_64")]
use foliocopy::Features;
use foliocopy::{Cpu, Primitive};

/// Every loop moves whole blocks of so many bytes.
pub(super) const BLOCK: usize = 512;

/// What the writing loops write. Not zero: past the caches a Zen 5 guest took zeroes at 80 to 90 GB/s, and this at 44.
#[cfg(target_arch = "x86_64")]
const WRITTEN: i8 = 0x5a;

/// The width of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// 16 bytes, which every x86-64 CPU has.
    #[cfg(target_arch = "x86_64")]
    Sse2,
    /// 32 bytes.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 64 bytes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// The loop over 64-bit words as the compiler makes it.
    #[cfg(not(target_arch = "x86_64"))]
    Words,
}

/// One loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loop {
    Read(Width),
    Write(Width),
    #[cfg(target_arch = "x86_64")]
    WriteNonTemporal(Width),
    /// The first half of the buffer to the second.
    Copy(Primitive),
}

impl Loop {
    /// The loops that `cpu` can run.
    pub(super) fn available(cpu: &Cpu) -> Vec<Self> {
        let widths = Width::available(cpu);
        let streams: &[fn(Width) -> Self] = &[
            Self::Read,
            Self::Write,
            #[cfg(target_arch = "x86_64")]
            Self::WriteNonTemporal,
        ];
        let streams = streams.iter().flat_map(|of| widths.iter().map(move |width| of(*width)));
        let copies =
            Primitive::ALL.iter().copied().filter(|primitive| primitive.is_available(cpu)).map(Self::Copy);
        streams.chain(copies).collect()
    }

    /// Runs once over the buffer and returns how many bytes that moved; a copied byte counts once.
    ///
    /// # Safety
    ///
    /// `buffer`, aligned to 64 bytes, is valid for reads and writes of `bytes`, a multiple of two [`BLOCK`]s. The CPU
    /// is one that the loop is available on.
    pub(super) unsafe fn run(self, buffer: *mut u8, bytes: usize) -> usize {
        debug_assert!(bytes.is_multiple_of(2 * BLOCK));
        // SAFETY: each loop stays in the first `bytes` bytes and needs the features that `available` asked for.
        unsafe {
            match self {
                Self::Read(width) => width.read(buffer, bytes),
                Self::Write(width) => width.write(buffer, bytes),
                #[cfg(target_arch = "x86_64")]
                Self::WriteNonTemporal(width) => width.write_non_temporal(buffer, bytes),
                Self::Copy(primitive) => {
                    let half = bytes / 2;
                    primitive.copy(buffer.add(half), buffer, half);
                    return half;
                }
            }
        }
        bytes
    }
}

#[cfg(target_arch = "x86_64")]
impl Width {
    fn available(cpu: &Cpu) -> Vec<Self> {
        let wider = [(Self::Avx2, Features::AVX2), (Self::Avx512, Features::AVX512F)];
        let wider = wider.into_iter().filter(|(_, needed)| cpu.has(*needed));
        [Self::Sse2].into_iter().chain(wider.map(|(width, _)| width)).collect()
    }

    unsafe fn read(self, buffer: *const u8, bytes: usize) {
        // SAFETY: as `Loop::run` requires.
        unsafe {
            match self {
                Self::Sse2 => sse2::read(buffer, bytes),
                Self::Avx2 => avx2::read(buffer, bytes),
                Self::Avx512 => avx512::read(buffer, bytes),
            }
        }
    }

    unsafe fn write(self, buffer: *mut u8, bytes: usize) {
        // SAFETY: as `Loop::run` requires.
        unsafe {
            match self {
                Self::Sse2 => sse2::write(buffer, bytes),
                Self::Avx2 => avx2::write(buffer, bytes),
                Self::Avx512 => avx512::write(buffer, bytes),
            }
        }
    }

    unsafe fn write_non_temporal(self, buffer: *mut u8, bytes: usize) {
        // SAFETY: as `Loop::run` requires.
        unsafe {
            match self {
                Self::Sse2 => sse2::write_non_temporal(buffer, bytes),
                Self::Avx2 => avx2::write_non_temporal(buffer, bytes),
                Self::Avx512 => avx512::write_non_temporal(buffer, bytes),
            }
        }
    }
}

/// The three streams for one vector width. Four vectors of an iteration, so that the loop's own instructions don't
/// count. What is read is folded and what is written is opaque, so that the compiler can leave out neither.
#[cfg(target_arch = "x86_64")]
macro_rules! streams {
    ($name:ident, $feature:literal, $vector:ident, $load:ident, $xor:ident, $zero:ident, $fill:ident, $store:ident, $stream:ident) => {
        mod $name {
            use std::arch::x86_64::{_mm_sfence, $fill, $load, $store, $stream, $vector, $xor, $zero};
            use std::hint::black_box;

            use super::WRITTEN;

            const UNROLL: usize = 4;

            #[target_feature(enable = $feature)]
            pub(super) unsafe fn read(buffer: *const u8, bytes: usize) {
                let start = buffer.cast::<$vector>();
                let mut folded = [$zero(); UNROLL];
                for at in (0..bytes / size_of::<$vector>()).step_by(UNROLL) {
                    for (lane, folded) in folded.iter_mut().enumerate() {
                        // SAFETY: whole blocks of readable, aligned bytes.
                        *folded = $xor(*folded, unsafe { $load(start.add(at + lane)) });
                    }
                }
                black_box(folded);
            }

            #[target_feature(enable = $feature)]
            pub(super) unsafe fn write(buffer: *mut u8, bytes: usize) {
                let start = buffer.cast::<$vector>();
                let value = black_box($fill(WRITTEN));
                for at in (0..bytes / size_of::<$vector>()).step_by(UNROLL) {
                    for lane in 0..UNROLL {
                        // SAFETY: whole blocks of writable, aligned bytes.
                        unsafe { $store(start.add(at + lane), value) };
                    }
                }
            }

            #[target_feature(enable = $feature)]
            pub(super) unsafe fn write_non_temporal(buffer: *mut u8, bytes: usize) {
                let start = buffer.cast::<$vector>();
                let value = black_box($fill(WRITTEN));
                for at in (0..bytes / size_of::<$vector>()).step_by(UNROLL) {
                    for lane in 0..UNROLL {
                        // SAFETY: whole blocks of writable, aligned bytes; the fence below orders the stores.
                        unsafe { $stream(start.add(at + lane), value) };
                    }
                }
                _mm_sfence();
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
streams!(
    sse2,
    "sse2",
    __m128i,
    _mm_load_si128,
    _mm_xor_si128,
    _mm_setzero_si128,
    _mm_set1_epi8,
    _mm_store_si128,
    _mm_stream_si128
);
#[cfg(target_arch = "x86_64")]
streams!(
    avx2,
    "avx2",
    __m256i,
    _mm256_load_si256,
    _mm256_xor_si256,
    _mm256_setzero_si256,
    _mm256_set1_epi8,
    _mm256_store_si256,
    _mm256_stream_si256
);
#[cfg(target_arch = "x86_64")]
streams!(
    avx512,
    "avx512f",
    __m512i,
    _mm512_load_si512,
    _mm512_xor_si512,
    _mm512_setzero_si512,
    _mm512_set1_epi8,
    _mm512_store_si512,
    _mm512_stream_si512
);

#[cfg(not(target_arch = "x86_64"))]
impl Width {
    fn available(_: &Cpu) -> Vec<Self> {
        vec![Self::Words]
    }

    unsafe fn read(self, buffer: *const u8, bytes: usize) {
        // SAFETY: readable and aligned, as `Loop::run` requires.
        let words = unsafe { std::slice::from_raw_parts(buffer.cast::<u64>(), bytes / size_of::<u64>()) };
        std::hint::black_box(words.iter().fold(0, |folded, word| folded ^ word));
    }

    unsafe fn write(self, buffer: *mut u8, bytes: usize) {
        // SAFETY: writable, aligned and nobody else's, as `Loop::run` requires.
        let words = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u64>(), bytes / size_of::<u64>()) };
        words.fill(std::hint::black_box(0x5a5a_5a5a_5a5a_5a5a));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Mapping, MemoryKind};

    #[test]
    fn streams_do_what_they_say_and_stay_inside() {
        let mut mapping = Mapping::new(MemoryKind::Anon, 8192, 1, None).unwrap();
        for of in Loop::available(&Cpu::detect()) {
            mapping.as_mut_slice().fill(0xa5);
            mapping.as_mut_slice()[..1024].fill(0x11);
            // SAFETY: 4096 bytes of a mapping that is ours; the CPU is this one.
            let moved = unsafe { of.run(mapping.as_mut_ptr(), 4096) };
            let memory = mapping.as_slice();
            assert!(memory[4096..8192].iter().all(|byte| *byte == 0xa5), "{of:?}");
            match of {
                Loop::Read(_) => assert_eq!((moved, memory[0], memory[4095]), (4096, 0x11, 0xa5), "{of:?}"),
                Loop::Copy(_) => {
                    assert_eq!(moved, 2048, "{of:?}");
                    assert_eq!(memory[..2048], memory[2048..4096], "{of:?}");
                }
                _ => assert!(moved == 4096 && memory[..4096].iter().all(|byte| *byte == 0x5a), "{of:?}"),
            }
        }
    }
}
