//! Links that are pulled or slow, a disk that is full, and a member that stands still.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;

use tempfile::TempDir;

use crate::members::{Member, Writer, address, assert_digests_agree, await_entry, base_with, end_of, eventually, link};
use crate::mount::on_tmpfs;

#[test]
fn a_link_that_is_pulled_keeps_one_member_behind_and_nobody_else() {
    let [a, b, c] = [(); 3].map(|()| TempDir::new().unwrap());
    let from = address(2, 0);
    let way = link(2, &from);
    let mut writer = Writer::start(a.path(), "a", &from);
    let mut of_b = Member::follow(b.path(), "b", &way.address.to_string());
    let mut of_c = Member::follow(c.path(), "c", &from);
    let mut next = 0;
    for _ in 0..3 {
        let last = writer.insert_all(next..next + 20, "");
        await_entry(b.path(), last);
        let made = way.made();
        // Nothing comes through, and nobody is told.
        way.weather.silent.store(true, Ordering::SeqCst);
        let last = writer.insert_all(next + 20..next + 60, "");
        await_entry(c.path(), last);
        eventually("the member behind it does not notice", || way.made() > made);
        assert!(end_of(b.path()).unwrap() < last);
        way.weather.silent.store(false, Ordering::SeqCst);
        await_entry(b.path(), last);
        next += 60;
    }
    writer.kill();
    of_b.kill();
    of_c.kill();
    assert_digests_agree(&[&a, &b, &c]);
}

#[test]
fn a_majority_comes_over_a_kilobyte_a_second() {
    let [a, b, c] = [(); 3].map(|()| TempDir::new().unwrap());
    let from = address(3, 0);
    let way = link(3, &from);
    let mut writer = Writer::start(a.path(), "a", &from);
    let mut of_b = Member::follow(b.path(), "b", &way.address.to_string());
    await_entry(b.path(), writer.insert_all(0..10, ""));
    // One that has its copy already: with the first one it connects again when its store is complete.
    of_b.kill();
    of_b = Member::follow(b.path(), "b", &way.address.to_string());
    await_entry(b.path(), writer.insert_all(10..20, ""));
    let made = way.made();
    // Ten bytes in ten milliseconds: each of these is on its way for many heartbeats, and there is nobody else to acknowledge it.
    way.weather.pace.store(10, Ordering::SeqCst);
    let last = writer.insert_all(20..24, &"x".repeat(700));
    await_entry(b.path(), last);
    assert_eq!(way.made(), made, "a slow connection is no dead one");
    way.weather.pace.store(0, Ordering::SeqCst);
    let mut of_c = Member::follow(c.path(), "c", &from);
    let last = writer.insert_all(24..40, "");
    for dir in [&b, &c] {
        await_entry(dir.path(), last);
    }
    writer.kill();
    of_b.kill();
    of_c.kill();
    assert_digests_agree(&[&a, &b, &c]);
}

/// Takes all the space there is.
fn fill(path: &Path) {
    let mut filler = File::create(path).unwrap();
    let zeros = [0; 4096];
    while filler.write_all(&zeros).is_ok() {}
}

#[test]
fn a_member_with_a_full_disk_holds_nobody_up_and_catches_up() {
    on_tmpfs(
        "links::a_member_with_a_full_disk_holds_nobody_up_and_catches_up",
        "600m",
        |mount| {
            let [a, c] = [(); 2].map(|()| TempDir::new().unwrap());
            let b = mount.join("b");
            let from = address(4, 0);
            let way = link(4, &from);
            let mut writer = Writer::start(a.path(), "a", &from);
            let (mut of_b, said) = Member::follow_aloud(&b, "b", &way.address.to_string());
            let mut of_c = Member::follow(c.path(), "c", &from);
            await_entry(&b, writer.insert_all(0..20, ""));
            let filler = mount.join("filler");
            fill(&filler);
            // More than the segments that are prepared.
            let large = "x".repeat(1 << 20);
            let last = writer.insert_all(20..220, &large);
            await_entry(c.path(), last);
            eventually("nothing is said of the disk", || {
                said.try_iter()
                    .any(|line| line.contains("space") && line.contains("trying again"))
            });
            assert!(end_of(&b).is_none_or(|end| end < last));
            std::fs::remove_file(filler).unwrap();
            let last = writer.insert_all(220..230, "");
            await_entry(&b, last);
            await_entry(c.path(), last);
            writer.kill();
            of_b.kill();
            of_c.kill();
            assert_digests_agree(&[a.path(), &b, c.path()]);
        },
    );
}

#[test]
fn a_follower_that_stands_still_costs_the_primary_neither_memory_nor_writes() {
    let [a, b, c] = [(); 3].map(|()| TempDir::new().unwrap());
    let from = address(6, 0);
    // So long that nobody is given up meanwhile: it stays connected, and takes nothing.
    let patient = |command: &str, dir: &TempDir, name: &str| base_with(command, dir.path(), name, "60000");
    let mut primary = patient("replicate", &a, "a");
    let mut writer = Writer::spawn(primary.args(["--listen", &from, "--insert", "shop.things", "--w", "1"]));
    let [mut of_b, mut of_c] = [(&b, "b"), (&c, "c")].map(|(dir, name)| {
        let mut process = patient("follow", dir, name);
        Member(process.args(["--from", &from]).spawn().unwrap())
    });
    let large = "x".repeat(1 << 20);
    // What it has for itself, and for followers that are there.
    let last = writer.insert_all(0..150, &large);
    for dir in [&b, &c] {
        await_entry(dir.path(), last);
    }
    let before = writer.member.peak();
    of_b.signal("-STOP");
    let last = writer.insert_all(150..400, &large);
    let after = writer.member.peak();
    assert!(after < before + (64 << 20), "{before} bytes before, {after} after");
    await_entry(c.path(), last);
    assert!(end_of(b.path()).unwrap() < last);
    of_b.signal("-CONT");
    let last = writer.insert_all(400..401, "");
    for dir in [&b, &c] {
        await_entry(dir.path(), last);
    }
    writer.kill();
    of_b.kill();
    of_c.kill();
    assert_digests_agree(&[&a, &b, &c]);
}
