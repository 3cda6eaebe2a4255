//! Work that several threads share.

use std::sync::Mutex;
use std::thread;

/// Works on the items in their order, `lanes` at a time. Returns the results in that order.
pub(crate) fn work<T: Send, R: Send>(
    lanes: usize,
    items: impl IntoIterator<Item = T, IntoIter: Send>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let waiting = Mutex::new(items.into_iter().enumerate());
    let next = || waiting.lock().expect("taking an item does not panic").next();
    let lane = || -> Vec<(usize, R)> {
        let mut results = Vec::new();
        while let Some((index, item)) = next() {
            results.push((index, work(item)));
        }
        results
    };
    let mut results = thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        let results = lanes.into_iter().flat_map(|lane| lane.join().expect("a lane does not panic"));
        results.collect::<Vec<_>>()
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// A lane for each CPU of this machine.
pub(crate) fn cpus() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn two_lanes_work_at_once() {
        let both = Barrier::new(2);
        let results = work(2, 0..6, |item| {
            both.wait();
            item * item
        });
        assert_eq!(results, [0, 1, 4, 9, 16, 25]);
    }
}
