//! Guessing passwords takes longer with each failure.
//!
//! Failures are counted for each user at each address, for each address, and for each user. An attempt waits before anything is
//! looked at, whether it will succeed or not, so that leaving early gains nothing; and attempts that wait for one address, or for
//! one user at one address, wait one after the other, so that many at a time gain nothing either. A user who is attacked from
//! elsewhere is held up by [`BY_USER`] alone, and a program with an old password by far the most holds up itself.
//!
//! Many may share an address: those behind one proxy or one network. So failures of others hold up nobody who has logged in from
//! there within [`TRUSTED`], and nobody for longer than [`OTHERS_MAX`].
//!
//! What is counted is forgotten after [`FORGOTTEN`] without a failure; and there is room for [`RECORDS_MAX`] of each kind, above
//! which those that have been quiet longest go.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::name::UserName;

/// Records of each kind.
const RECORDS_MAX: usize = 10_000;
/// How long failures are remembered.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// How long a success at an address is remembered.
const TRUSTED: Duration = Duration::from_secs(24 * 3600);
/// The longest wait for what others at an address have done.
const OTHERS_MAX: Duration = Duration::from_secs(2);
/// An attempt that would have to wait longer than this is refused at once.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// How failures slow down.
struct Policy {
    /// Failures that cost nothing.
    free: u32,
    /// The wait after the first one that costs; each further one doubles it.
    first: Duration,
    max: Duration,
    /// Whether those that wait do so one after the other.
    in_turn: bool,
}

const BY_PAIR: Policy = Policy {
    free: 3,
    first: Duration::from_millis(100),
    max: Duration::from_secs(5),
    in_turn: true,
};

const BY_ADDRESS: Policy = Policy {
    free: 20,
    first: Duration::from_millis(50),
    max: Duration::from_millis(500),
    in_turn: true,
};

const BY_USER: Policy = Policy {
    free: 20,
    first: Duration::from_millis(50),
    max: Duration::from_secs(1),
    in_turn: false,
};

impl Policy {
    fn wait(&self, failures: u32) -> Duration {
        match failures.checked_sub(self.free) {
            None | Some(0) => Duration::ZERO,
            Some(costly) => self.first.saturating_mul(1 << (costly - 1).min(16)).min(self.max),
        }
    }
}

#[derive(Clone, Copy)]
struct Record {
    failures: u32,
    last: Instant,
    /// When the next attempt may begin, of those that wait in turn.
    free_at: Instant,
}

/// The records of one kind.
struct Records<K> {
    records: HashMap<K, Record>,
    policy: Policy,
}

impl<K: Hash + Eq + Clone> Records<K> {
    fn new(policy: Policy) -> Records<K> {
        Records {
            records: HashMap::new(),
            policy,
        }
    }

    fn begins_at(&self, key: &K, now: Instant) -> Instant {
        let Some(record) = self.records.get(key) else {
            return now;
        };
        if now.duration_since(record.last) >= FORGOTTEN {
            return now;
        }
        let wait = self.policy.wait(record.failures);
        match self.policy.in_turn && !wait.is_zero() {
            true => now.max(record.free_at) + wait,
            false => now + wait,
        }
    }

    /// An attempt will begin then.
    fn reserve(&mut self, key: &K, at: Instant) {
        if let Some(record) = self.records.get_mut(key) {
            record.free_at = record.free_at.max(at);
        }
    }

    fn failed(&mut self, key: K, now: Instant) {
        if self.records.len() >= RECORDS_MAX && !self.records.contains_key(&key) {
            self.make_room(now);
        }
        let record = self.records.entry(key).or_insert(Record {
            failures: 0,
            last: now,
            free_at: now,
        });
        if now.duration_since(record.last) >= FORGOTTEN {
            record.failures = 0;
        }
        record.failures = record.failures.saturating_add(1);
        record.last = now;
    }

    /// Forgets the quietest quarter.
    fn make_room(&mut self, now: Instant) {
        self.records
            .retain(|_, record| now.duration_since(record.last) < FORGOTTEN);
        if self.records.len() >= RECORDS_MAX {
            forget_quietest(&mut self.records, |record| record.last);
        }
    }
}

/// Forgets a quarter of [`RECORDS_MAX`], those that have been quiet longest.
fn forget_quietest<K: Hash + Eq, V>(records: &mut HashMap<K, V>, last: impl Fn(&V) -> Instant) {
    let mut times: Vec<Instant> = records.values().map(&last).collect();
    let (_, &mut quietest, _) = times.select_nth_unstable(RECORDS_MAX / 4);
    records.retain(|_, record| last(record) > quietest);
}

struct State {
    pairs: Records<(UserName, IpAddr)>,
    addresses: Records<IpAddr>,
    users: Records<UserName>,
    /// When a user has last logged in from an address.
    trusted: HashMap<(UserName, IpAddr), Instant>,
}

/// What has failed. See the module documentation.
pub(crate) struct Throttle(Mutex<State>);

impl Throttle {
    pub(crate) fn new() -> Throttle {
        Throttle(Mutex::new(State {
            pairs: Records::new(BY_PAIR),
            addresses: Records::new(BY_ADDRESS),
            users: Records::new(BY_USER),
            trusted: HashMap::new(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Counters are as good as they were, whatever their holder was at.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long an attempt has to wait that comes now; nothing if it is not to be made at all.
    pub(crate) fn admit(&self, user: &UserName, address: IpAddr, now: Instant) -> Option<Duration> {
        let mut state = self.lock();
        let pair = (user.clone(), address);
        let of_pair = state.pairs.begins_at(&pair, now);
        let is_trusted = (state.trusted.get(&pair)).is_some_and(|at| now.saturating_duration_since(*at) < TRUSTED);
        let of_address = match is_trusted {
            true => now,
            false => state.addresses.begins_at(&address, now).min(now + OTHERS_MAX),
        };
        let of_user = state.users.begins_at(user, now);
        let wait = of_pair.max(of_address).max(of_user).duration_since(now);
        if wait > WAIT_MAX {
            return None;
        }
        // Each takes its own turn: whoever waits long for one reason holds up nobody for another.
        state.pairs.reserve(&pair, of_pair);
        if !is_trusted {
            state.addresses.reserve(&address, of_address);
        }
        Some(wait)
    }

    pub(crate) fn failed(&self, user: &UserName, address: IpAddr, now: Instant) {
        let mut state = self.lock();
        state.pairs.failed((user.clone(), address), now);
        state.addresses.failed(address, now);
        state.users.failed(user.clone(), now);
    }

    /// Whoever knows the password has not been guessing; the address may have been, for others.
    pub(crate) fn succeeded(&self, user: &UserName, address: IpAddr, now: Instant) {
        let mut state = self.lock();
        let pair = (user.clone(), address);
        state.pairs.records.remove(&pair);
        if state.trusted.len() >= RECORDS_MAX && !state.trusted.contains_key(&pair) {
            forget_quietest(&mut state.trusted, |at| *at);
        }
        state.trusted.insert(pair, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserName {
        UserName::new("admin", name)
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn waits_grow_with_failures_up_to_a_limit_and_end_with_a_success() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..12 {
            // Long enough after one another that none waits for the one before it.
            let at = now + FORGOTTEN / 100 * waits.len() as u32;
            waits.push(throttle.admit(&user("ada"), address(1), at).unwrap());
            throttle.failed(&user("ada"), address(1), at);
        }
        assert_eq!(waits[..4], [Duration::ZERO; 4]);
        assert!(waits.is_sorted() && waits[4] > Duration::ZERO);
        assert_eq!(*waits.last().unwrap(), BY_PAIR.max);
        throttle.succeeded(&user("ada"), address(1), now);
        assert_eq!(throttle.admit(&user("ada"), address(1), now), Some(Duration::ZERO));
    }

    #[test]
    fn attempts_at_the_same_time_wait_one_after_the_other_until_there_are_too_many() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        for _ in 0..12 {
            throttle.failed(&user("ada"), address(1), now);
        }
        assert_eq!(throttle.admit(&user("ada"), address(1), now), Some(BY_PAIR.max));
        assert_eq!(throttle.admit(&user("ada"), address(1), now), Some(BY_PAIR.max * 2));
        assert_eq!(throttle.admit(&user("ada"), address(1), now), None);
        // Neither another user at that address nor the user elsewhere waits for them.
        assert_eq!(throttle.admit(&user("bob"), address(1), now), Some(Duration::ZERO));
        assert_eq!(throttle.admit(&user("ada"), address(2), now), Some(Duration::ZERO));
        assert_eq!(
            throttle.admit(&user("ada"), address(1), now + FORGOTTEN),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn many_names_from_one_address_and_many_addresses_for_one_name_are_slowed_down() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        for n in 0..50 {
            throttle.failed(&user(&format!("user{n}")), address(1), now);
            throttle.failed(&user("ada"), address(100 + n), now);
        }
        assert!(throttle.admit(&user("somebody"), address(1), now) >= Some(BY_ADDRESS.max));
        assert_eq!(throttle.admit(&user("ada"), address(2), now), Some(BY_USER.max));
        assert_eq!(throttle.admit(&user("ada"), address(3), now), Some(BY_USER.max));
    }

    #[test]
    fn who_shares_an_address_with_somebody_who_guesses_logs_in_all_the_same() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        throttle.succeeded(&user("ada"), address(1), now);
        for n in 0..1000 {
            throttle.failed(&user(&format!("user{n}")), address(1), now);
            throttle.admit(&user(&format!("user{n}")), address(1), now);
        }
        assert_eq!(throttle.admit(&user("ada"), address(1), now), Some(Duration::ZERO));
        // Who has not been there before waits, and is not refused.
        assert_eq!(throttle.admit(&user("bob"), address(1), now), Some(OTHERS_MAX));
        // The address that ada logged in from before says nothing of another.
        for n in 0..1000 {
            throttle.failed(&user(&format!("user{n}")), address(2), now);
        }
        assert!(throttle.admit(&user("ada"), address(2), now) > Some(Duration::ZERO));
        // Her own failures count as ever.
        for _ in 0..12 {
            throttle.failed(&user("ada"), address(1), now);
        }
        assert_eq!(throttle.admit(&user("ada"), address(1), now), Some(BY_PAIR.max));
    }

    #[test]
    fn memory_is_bounded_and_what_is_newest_stays() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        for n in 0..3 * RECORDS_MAX as u64 {
            let at = now + Duration::from_micros(n);
            throttle.failed(&user(&n.to_string()), address(1), at);
            throttle.succeeded(&user(&n.to_string()), address(1), at);
        }
        let state = throttle.lock();
        assert!(state.users.records.len() <= RECORDS_MAX && state.trusted.len() <= RECORDS_MAX);
        let last = user(&(3 * RECORDS_MAX as u64 - 1).to_string());
        assert!(state.users.records.contains_key(&last));
    }
}
