//! When whom to kill: at places in the plan that are drawn by lot, twice the writer and once a watcher.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use super::director::Role;
use super::watcher::WATCHERS;

/// One kill that is to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kill {
    pub(crate) whom: Role,
    /// It comes as soon as so many operations are done, and a moment.
    pub(crate) at: usize,
    /// The moment: so that any instruction of the victim can be its last.
    pub(crate) moment: Duration,
}

/// Draws the kills for a plan of so many operations, in the order in which they come.
pub(crate) fn draw(operations: usize) -> Vec<Kill> {
    let kill = |whom, from_percent: usize, to_percent: usize| Kill {
        whom,
        at: between(operations * from_percent / 100, operations * to_percent / 100),
        moment: Duration::from_micros(between(0, 4000) as u64),
    };
    let watcher = WATCHERS[between(0, WATCHERS.len())];
    vec![
        kill(Role::Writer, 20, 35),
        kill(Role::Watcher(watcher), 45, 60),
        kill(Role::Writer, 65, 80),
    ]
}

/// A number drawn by lot, from `low` to below `high`.
fn between(low: usize, high: usize) -> usize {
    // The standard library's random numbers, which seed its hash maps, are good enough for a lot.
    let random = RandomState::new().build_hasher().finish();
    low + (random % (high - low).max(1) as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::super::writer::OPERATIONS_BEYOND_KILL;
    use super::*;

    #[test]
    fn the_kills_come_in_order_and_in_the_middle() {
        for _ in 0..1000 {
            let kills = draw(3854);
            assert!(kills.is_sorted_by_key(|kill| kill.at));
            assert!(kills.iter().all(|kill| (770..3100).contains(&kill.at)));
            let beyond = |kill: &Kill| kill.at + OPERATIONS_BEYOND_KILL;
            assert!(
                kills.iter().all(|kill| beyond(kill) < 3800),
                "the writer cannot be done before it is killed"
            );
            assert!(kills.iter().any(|kill| matches!(kill.whom, Role::Watcher(_))));
        }
    }
}
