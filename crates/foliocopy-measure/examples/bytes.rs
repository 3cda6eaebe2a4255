//! What copies of any bytes cost beside `memcpy`, with the data in the cache. Samples go to standard output as JSON, a table to
//! standard error.
//!
//! ```console
//! $ cargo run --release -p foliocopy-measure --example bytes >bytes.json
//! ```
//!
//! Each round runs every case by both, in shuffled order. Differences and ratios are taken within the round, and their
//! intervals are the sign test's.

use std::ffi::c_void;
use std::hint::black_box;
use std::time::{Duration, Instant};

use foliocopy::{PAGE_SIZE, Page, Policy, copy_mc, copy_mc_pages_raw};
use foliocopy_measure::statistics::{CONFIDENCE, median_interval, paired_ratios};
use serde_json::json;

const ROUNDS: usize = 101;

/// How long one sample takes, about.
const SAMPLE: Duration = Duration::from_micros(40);

const LENGTHS: [usize; 20] = [
    1,
    8,
    13,
    32,
    64,
    100,
    128,
    256,
    512,
    1000,
    2048,
    3000,
    4096,
    5000,
    8192,
    12_288,
    16_384,
    65_536,
    262_144,
    1 << 20,
];

/// Where source and destination start, counted from a page.
const PLACES: [(usize, usize); 4] = [(0, 0), (0, 64), (3, 71), (33, 1)];

/// Copies good memory.
///
/// # Safety
///
/// As memcpy(3).
type Copy = unsafe fn(*mut u8, *const u8, usize);

const CONTENDERS: [(&str, Copy); 3] =
    [("memcpy", by_memcpy), ("copy_mc", by_copy_mc), ("copy_mc_pages", by_copy_mc_pages)];

unsafe fn by_memcpy(dst: *mut u8, src: *const u8, bytes: usize) {
    // SAFETY: a `Copy`'s contract.
    unsafe { libc::memcpy(dst.cast::<c_void>(), src.cast(), bytes) };
}

unsafe fn by_copy_mc(dst: *mut u8, src: *const u8, bytes: usize) {
    // SAFETY: a `Copy`'s contract.
    unsafe { copy_mc(dst, src, bytes) }.expect("good memory");
}

unsafe fn by_copy_mc_pages(dst: *mut u8, src: *const u8, bytes: usize) {
    // SAFETY: a `Copy`'s contract, for whole pages.
    unsafe { copy_mc_pages_raw(dst.cast(), src.cast(), bytes / PAGE_SIZE) }.expect("good memory");
}

/// One length at one place, by one contender.
struct Cell {
    bytes: usize,
    place: (usize, usize),
    contender: usize,
    nanoseconds: Vec<f64>,
}

fn main() {
    let longest = LENGTHS.into_iter().max().unwrap_or(0) / PAGE_SIZE + 1;
    let mut memory = vec![Page::filled(1); 2 * longest + 1];
    let start = memory.as_mut_ptr().cast::<u8>();
    let mut cells: Vec<Cell> = Vec::new();
    for bytes in LENGTHS {
        for place in PLACES {
            let pages = bytes.is_multiple_of(PAGE_SIZE) && place == (0, 0);
            for contender in 0..if pages { 3 } else { 2 } {
                cells.push(Cell { bytes, place, contender, nanoseconds: Vec::new() });
            }
        }
    }
    let mut order: Vec<usize> = (0..cells.len()).collect();
    // The first round warms up.
    for round in 0..=ROUNDS {
        fastrand::shuffle(&mut order);
        for index in &order {
            let cell = &mut cells[*index];
            let sample = time(cell, start, longest * PAGE_SIZE);
            if round != 0 {
                cell.nanoseconds.push(sample);
            }
        }
    }
    print(&cells);
}

/// Nanoseconds a copy.
fn time(cell: &Cell, start: *mut u8, room: usize) -> f64 {
    let Cell { bytes, place: (from, to), contender, .. } = *cell;
    let copy = black_box(CONTENDERS[contender].1);
    let copies = (SAMPLE.as_nanos() as usize / (bytes / 32 + 8)).max(4);
    let (src, dst) = (start.wrapping_add(from), start.wrapping_add(room + to));
    let run = |copies: usize| {
        for _ in 0..copies {
            // SAFETY: each range is at most as long as the room of its half, less a page.
            unsafe { copy(dst, src, black_box(bytes)) };
        }
    };
    run(copies / 4 + 1);
    let started = Instant::now();
    run(copies);
    started.elapsed().as_nanos() as f64 / copies as f64
}

fn print(cells: &[Cell]) {
    let baseline = |cell: &Cell| {
        cells.iter().find(|other| (other.bytes, other.place, other.contender) == (cell.bytes, cell.place, 0))
    };
    eprintln!("| bytes | source, destination | contender | ns | more than memcpy, ns | speed of memcpy's |");
    eprintln!("|--:|---|---|--:|--:|--:|");
    for cell in cells {
        let name = CONTENDERS[cell.contender].0;
        let Some(baseline) = baseline(cell) else { continue };
        let differences: Vec<f64> =
            cell.nanoseconds.iter().zip(&baseline.nanoseconds).map(|(ours, theirs)| ours - theirs).collect();
        let ratios = paired_ratios(&baseline.nanoseconds, &cell.nanoseconds);
        let intervals =
            [&cell.nanoseconds, &differences, &ratios].map(|values| median_interval(values, CONFIDENCE));
        let [Some(time), Some(more), Some(speed)] = intervals else { continue };
        eprintln!(
            "| {} | {}, {} | {name} | {:.1} | {:.1} [{:.1}, {:.1}] | {:.2} [{:.2}, {:.2}] |",
            cell.bytes,
            cell.place.0,
            cell.place.1,
            time.median,
            more.median,
            more.low,
            more.high,
            speed.median,
            speed.low,
            speed.high
        );
    }
    let samples = cells.iter().map(|cell| {
        json!({
            "bytes": cell.bytes,
            "source": cell.place.0,
            "destination": cell.place.1,
            "contender": CONTENDERS[cell.contender].0,
            "nanoseconds": cell.nanoseconds.iter().map(|sample| (sample * 100.0).round() / 100.0).collect::<Vec<_>>(),
        })
    });
    let cpu = Policy::host().cpu();
    let microarchitecture = format!("{:?}, {:?}", cpu.vendor(), cpu.microarchitecture());
    println!(
        "{}",
        json!({ "cpu": microarchitecture, "rounds": ROUNDS, "cells": samples.collect::<Vec<_>>() })
    );
}
