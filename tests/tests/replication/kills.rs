//! Members that are killed at random, also while a copy is under way, and one that is frozen.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bson::rawdoc;
use tailwater::OpId;
use tailwater::replication::Selection;
use tailwater_tests::binary::tailwater;
use tempfile::TempDir;

use crate::members::{
    LONG, Member, Writer, address, assert_are_there, assert_digests_agree, await_entry, end_of, eventually, link, open,
};

const KILLS: Duration = Duration::from_secs(8);
/// Insertions that are given to a primary before it has acknowledged those in front of them.
const UNDER_WAY_MAX: usize = 100;

/// The partial copy has its part of what all have.
fn assert_part_agrees(all: &Path, part: &Path) {
    let selection = Selection::new(["shop.*"], &rawdoc! { "_id": { "$mod": [2, 0] } }).unwrap();
    let of = |dir: &Path| {
        let store = open(dir);
        let digest = store.digest_of(&selection).unwrap();
        let count = store.collection("shop", "things").unwrap().count(&rawdoc! {}).unwrap();
        store.close().unwrap();
        (digest, count)
    };
    let ((all, count), (part, of_part)) = (of(all), of(part));
    assert_eq!(part, all);
    assert!(of_part < count, "{of_part} of {count}");
}

#[test]
fn killed_at_random_no_member_loses_what_was_acknowledged() {
    // What may take minutes is not to be taken for the time of the test.
    let _ = tailwater();
    let seconds = std::env::var("TAILWATER_KILL_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let [a, b, c, p] = [(); 4].map(|()| TempDir::new().unwrap());
    let from = address(0, 0);
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let behind = [("b", &b), ("c", &c)];
    let mut followers = behind.map(|(name, dir)| Member::follow(dir.path(), name, &from));
    let mut of_p = Member::follow_part(p.path(), &from);
    let mut writer = Writer::start(a.path(), "a", &from);
    // All have a log, and have made a majority, before the first one dies.
    assert!(writer.insert(0));
    let first = writer.acknowledged();
    for dir in [&b, &c, &p] {
        await_entry(dir.path(), first.op_id);
    }
    let (mut next, mut acknowledged) = (1, vec![first.id]);
    let until = Instant::now() + seconds.map_or(KILLS, Duration::from_secs);
    for round in 0.. {
        // Each of them is killed once at least.
        if round >= 4 && Instant::now() >= until {
            break;
        }
        // Some at a time, so that some are under way when the end comes.
        for _ in 0..random.i32(1..40) {
            if writer.under_way.len() < UNDER_WAY_MAX && writer.insert(next) {
                next += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(random.u64(..60)));
        acknowledged.extend(writer.already());
        let victim = if round < 4 { round } else { random.usize(..10) };
        match victim {
            0 => {
                // Those that are under way may come to be there or not; they are not sent again.
                acknowledged.extend(writer.kill());
                assert_are_there(a.path(), &acknowledged, seed);
                writer = Writer::start(a.path(), "a", &from);
                // It lives for long enough now and then, however busy the machine is.
                if random.bool() {
                    assert!(writer.insert(next));
                    next += 1;
                    acknowledged.push(writer.acknowledged().id);
                }
            }
            1 | 2 => {
                let (name, dir) = behind[victim - 1];
                followers[victim - 1].kill();
                followers[victim - 1] = Member::follow(dir.path(), name, &from);
            }
            3 => {
                of_p.kill();
                of_p = Member::follow_part(p.path(), &from);
            }
            _ => {}
        }
    }
    assert!(writer.insert(next));
    let mut last = writer.acknowledged();
    acknowledged.push(last.id);
    while last.id != next {
        last = writer.acknowledged();
        acknowledged.push(last.id);
    }
    for dir in [&b, &c, &p] {
        await_entry(dir.path(), last.op_id);
    }
    writer.kill();
    followers.iter_mut().for_each(Member::kill);
    of_p.kill();
    assert_digests_agree(&[&a, &b, &c]);
    assert_part_agrees(a.path(), p.path());
    for (_, dir) in behind {
        assert_are_there(dir.path(), &acknowledged, seed);
    }
}

#[test]
fn a_frozen_primary_that_wakes_is_no_primary_any_more() {
    let [a, b, c] = [(); 3].map(|()| TempDir::new().unwrap());
    let (at, new_at) = (address(1, 0), address(1, 1));
    let mut of_b = Member::follow(b.path(), "b", &at);
    let mut of_c = Member::follow(c.path(), "c", &at);
    let mut old = Writer::start(a.path(), "a", &at);
    let mut shared = OpId::ZERO;
    for id in 0..20 {
        assert!(old.insert(id));
        shared = old.acknowledged().op_id;
    }
    await_entry(b.path(), shared);
    await_entry(c.path(), shared);
    of_b.kill();
    of_c.kill();
    // One that nobody else has.
    assert!(old.insert(50));
    await_entry(a.path(), shared.next());
    old.member.signal("-STOP");

    let mut promote = Command::new(tailwater());
    promote
        .args(["promote", "--name", "b", "--members", "a,b,c", "--dir"])
        .arg(b.path());
    let promoted = promote.output().unwrap();
    assert!(
        promoted.status.success(),
        "{}",
        String::from_utf8_lossy(&promoted.stderr)
    );
    let again = promote.output().unwrap();
    assert_eq!(again.status.code(), Some(2), "it takes writes already");
    let mut new = Writer::start_with(b.path(), "b", &new_at, &["--fence", &at]);
    let mut of_c = Member::follow(c.path(), "c", &new_at);
    for id in 100..110 {
        assert!(new.insert(id));
        new.acknowledged();
    }

    // It wakes, and would write; nobody would hold that.
    old.insert(51);
    old.member.signal("-CONT");
    // The new primary tells it, and it ends; before that it has acknowledged nothing.
    assert_eq!(old.line(), None, "acknowledged at majority by a primary of the past");
    let status = old.member.0.wait().unwrap();
    assert_eq!(status.code(), Some(4));

    // It comes back as a follower, and has what the others have; what only it had is in a file.
    let mut of_a = Member::follow(a.path(), "a", &new_at);
    assert!(new.insert(200));
    let last = new.acknowledged().op_id;
    let until = Instant::now() + LONG;
    while !a.path().join("rollback").exists() {
        assert!(Instant::now() < until, "nothing was rolled back");
        std::thread::sleep(Duration::from_millis(20));
    }
    await_entry(a.path(), last);
    await_entry(c.path(), last);
    new.kill();
    of_a.kill();
    of_c.kill();
    assert_digests_agree(&[&a, &b, &c]);
    let file = std::fs::read_dir(a.path().join("rollback"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert!(std::fs::read_to_string(file.path()).unwrap().contains("50"));
}

/// Bytes of files in a directory, whatever is below it.
fn bytes_in(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

#[test]
fn a_copy_survives_whoever_is_killed_while_it_is_under_way() {
    let [a, b, c] = [(); 3].map(|()| TempDir::new().unwrap());
    let (from, seed) = (address(5, 0), fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let way = link(5, &from);
    let mut writer = Writer::start(a.path(), "a", &from);
    let mut of_b = Member::follow(b.path(), "b", &from);
    // Some megabytes that cannot be made smaller.
    let mut next = 60;
    for id in 0..next {
        let text: String = (0..100_000).map(|_| random.alphanumeric()).collect();
        writer.insert_all(id..id + 1, &text);
    }
    // Some seconds for a copy of them.
    way.weather.pace.store(20_000, Ordering::SeqCst);
    let slow = way.address.to_string();
    let mut of_c = Member::follow(c.path(), "c", &slow);
    let parts = c.path().join("incoming").join("state");
    for of_primary in [false, true, false, true, false] {
        let before = bytes_in(&parts);
        let more = before + random.u64(1..500_000);
        eventually("no copy comes", || {
            let now = bytes_in(&parts);
            assert!(end_of(c.path()).is_none(), "it came whole: seed {seed}");
            // The one that a primary gave that was killed is of no use.
            now > more || now < before
        });
        match of_primary {
            true => {
                writer.kill();
                assert_are_there(a.path(), &(0..next).collect::<Vec<_>>(), seed);
                writer = Writer::start(a.path(), "a", &from);
                // What was on its way may still come; then another copy begins.
                let mut most = 0;
                eventually("the copy does not begin anew", || {
                    let now = bytes_in(&parts);
                    most = most.max(now);
                    now < most
                });
            }
            false => {
                of_c.kill();
                let here = bytes_in(&parts);
                of_c = Member::follow(c.path(), "c", &slow);
                eventually("the copy does not go on", || {
                    let now = bytes_in(&parts);
                    assert!(now >= here, "{now} of {here} bytes are left, seed {seed}");
                    now > here
                });
            }
        }
        writer.insert_all(next..next + 5, "");
        next += 5;
    }
    way.weather.pace.store(0, Ordering::SeqCst);
    let last = writer.insert_all(next..next + 5, "");
    for dir in [&b, &c] {
        await_entry(dir.path(), last);
    }
    writer.kill();
    of_b.kill();
    of_c.kill();
    assert_digests_agree(&[&a, &b, &c]);
}
