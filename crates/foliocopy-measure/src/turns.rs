//! Taking turns: cases are visited again and again, some rounds at a time, until none needs more rounds or the time is
//! over. So each case has rounds from all of the run, and drift meets all cases alike.

use std::time::{Duration, Instant};

use crate::bench::Observer;

/// How a visit ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Visit {
    /// More rounds are wanted; this part of them is done.
    More(f64),
    /// None are.
    Enough,
    /// Somebody ended it.
    Interrupted,
}

/// A case that takes turns.
#[derive(Clone, Copy, Default)]
struct Turn {
    visited: bool,
    spent: Duration,
    done: f64,
    enough: bool,
}

/// Calls `visit` for one of `count` after the other, next for the one that has had the least time, with the time at which the visit
/// should end: `None` where the `time` for all is longer than any clock runs. Each is visited once at least. Whether it came to its
/// end.
pub(crate) fn take<E>(
    count: usize,
    time: Duration,
    observer: &mut dyn Observer,
    mut visit: impl FnMut(usize, Option<Instant>, &mut dyn Observer) -> Result<Visit, E>,
) -> Result<bool, E> {
    let started = Instant::now();
    let mut turns = vec![Turn::default(); count];
    loop {
        let open = turns.iter().enumerate().filter(|(_, turn)| !turn.enough);
        let Some((index, next)) = open.min_by_key(|(_, turn)| (turn.visited, turn.spent)) else {
            return Ok(true);
        };
        let left = time.saturating_sub(started.elapsed());
        if next.visited && left.is_zero() {
            return Ok(true);
        }
        let unvisited = turns.iter().filter(|turn| !turn.visited).count();
        let begun = Instant::now();
        let visit = visit(index, begun.checked_add(left / unvisited.max(1) as u32), observer)?;
        let turn = &mut turns[index];
        (turn.visited, turn.spent) = (true, turn.spent + begun.elapsed());
        (turn.done, turn.enough) = match visit {
            Visit::More(part) => (part, false),
            Visit::Enough => (1.0, true),
            Visit::Interrupted => return Ok(false),
        };
        let by_rounds = turns.iter().map(|turn| turn.done).sum::<f64>() / count as f64;
        let by_time = started.elapsed().as_secs_f64() / time.as_secs_f64().max(f64::MIN_POSITIVE);
        observer.progress(by_rounds.max(by_time).min(1.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Case;

    struct Watcher;

    impl Observer for Watcher {
        fn case(&mut self, _: usize, _: &Case) {}
        fn progress(&mut self, done: f64) {
            assert!((0.0..=1.0).contains(&done), "{done}");
        }
        fn interrupted(&self) -> bool {
            false
        }
    }

    fn order(time: Duration, mut visit: impl FnMut(usize) -> Visit) -> (Vec<usize>, bool) {
        let mut order = Vec::new();
        let complete = take(3, time, &mut Watcher, |index, _, _| {
            order.push(index);
            Ok::<_, ()>(visit(index))
        });
        (order, complete.unwrap())
    }

    #[test]
    fn each_is_visited_once_in_no_time() {
        assert_eq!(order(Duration::ZERO, |_| Visit::More(0.0)), (vec![0, 1, 2], true));
    }

    #[test]
    fn whoever_has_enough_is_not_visited_again() {
        let mut left = [2, 1, 3];
        let (mut order, complete) = order(Duration::MAX, |index| {
            left[index] -= 1;
            if left[index] == 0 { Visit::Enough } else { Visit::More(0.5) }
        });
        assert_eq!((&order[..3], complete), (&[0, 1, 2][..], true));
        order.sort_unstable();
        assert_eq!(order, [0, 0, 1, 2, 2, 2]);
    }

    #[test]
    fn those_that_take_long_have_fewer_visits() {
        let (order, _) = order(Duration::from_millis(60), |index| {
            std::thread::sleep(Duration::from_millis(if index == 0 { 10 } else { 1 }));
            Visit::More(0.0)
        });
        let visits = |index| order.iter().filter(|visited| **visited == index).count();
        assert!(visits(0) < visits(1) && visits(0) < visits(2), "{order:?}");
    }

    #[test]
    fn an_interruption_is_the_end() {
        assert_eq!(order(Duration::MAX, |_| Visit::Interrupted), (vec![0], false));
    }
}
