//! A primary that was restored from a backup, and a follower that knows more than it.

use crate::stores;

use std::path::Path;

use stores::{LONG, assert_same, follower, open, primary, write};
use tailwater_oplog::{OpId, ReadConcern};
use tailwater_replication::decision::Apart;
use tailwater_replication::{Error, FollowerEvent, Refusal};
use tempfile::TempDir;

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy_directory(&path, &copy),
            false => drop(std::fs::copy(&path, &copy).unwrap()),
        }
    }
}

#[test]
fn a_follower_ahead_of_a_restored_primary_is_replaced_only_when_that_is_allowed() {
    let [a, b, backup] = [(); 3].map(|()| TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &[]);
    let following = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    let shared = write(&store, 0, 100);
    following.wait_for(shared, LONG).unwrap();
    drop(serving);
    store.close().unwrap();
    copy_directory(a.path(), backup.path());

    // What comes behind the backup is on the follower only, once this machine is gone.
    let store = open(a.path());
    let serving = primary(&store, "a", &[]);
    drop(following);
    let following = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    let lost = write(&store, 1000, 50);
    following.wait_for(lost, LONG).unwrap();
    drop((following, serving));
    store.close().unwrap();

    let restored = open(backup.path());
    let serving = primary(&restored, "a", &[]);
    let last = write(&restored, 2000, 20);
    let refused = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    // The same member has written twice in one term, without knowing: those entries must not be mixed.
    let ended = refused.join();
    let Err(Error::ResyncNeeded { apart }) = ended else {
        panic!("{ended:?}");
    };
    assert!(matches!(apart, Apart::TermTwice(_)), "{apart:?}");
    assert!(refused.status().durable >= lost, "nothing was taken from it");
    drop(refused);

    let (told, replaced) = std::sync::mpsc::channel();
    let builder = follower(b.path(), "b", serving.address(), &[]).resync();
    let allowed = builder.on_event(move |event| {
        if let FollowerEvent::Resyncing { .. } = event {
            told.send(()).unwrap();
        }
    });
    let allowed = allowed.start().unwrap();
    // From then on nobody who waits for an entry is given the store that goes.
    replaced.recv_timeout(LONG).unwrap();
    assert_same(&allowed, &restored, last);
    assert_eq!(replaced.try_iter().count(), 0);
}

/// CRC-32 (IEEE) of `bytes`, continued from `seed`, as `docs/oplog-format.md` has it.
fn crc32(seed: u32, bytes: &[u8]) -> u32 {
    let shift = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
    !bytes
        .iter()
        .fold(!seed, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), shift))
}

/// Changes a letter in each of the last `count` of these frames, and their checksums with them.
fn edit(frames: &mut [u8], seed: u32, count: usize) {
    let u32_at = |frames: &[u8], at: usize| u32::from_le_bytes(frames[at..at + 4].try_into().unwrap());
    let mut starts = vec![0];
    loop {
        let last = starts[starts.len() - 1];
        let next = last + (40 + u32_at(frames, last + 4) as usize).next_multiple_of(8);
        if next >= frames.len() {
            break;
        }
        starts.push(next);
    }
    let ends = starts[1..].iter().copied().chain([frames.len()]).collect::<Vec<_>>();
    for (start, end) in starts.into_iter().zip(ends).rev().take(count) {
        let frame = &mut frames[start..end];
        let letter = frame.windows(3).rposition(|three| three == b"xxx").unwrap();
        frame[letter] = b'y';
        let crc = crc32(seed, &frame[4..]);
        frame[..4].copy_from_slice(&crc.to_le_bytes());
    }
}

#[test]
fn a_log_that_somebody_has_changed_is_refused_by_the_entry_and_nothing_is_mixed() {
    let a = TempDir::new().unwrap();
    let store = open(a.path());
    let serving = primary(&store, "a", &[]);
    let start = write(&store, 0, 5);
    let insert = |number: i32| {
        let things = store.collection("shop", "others").unwrap();
        let id = bson::rawdoc! { "_id": number, "text": "xxxxxxxx" };
        things.insert_one(&id).unwrap();
    };
    insert(0);
    let shared = store.log().watermarks().durable;
    assert!(shared > start);
    let b = TempDir::new().unwrap();
    let following = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    following.wait_for(shared, LONG).unwrap();
    drop(following);
    (1..=20).for_each(insert);
    let last = store.log().watermarks().durable;
    assert_eq!(last, OpId::new(shared.get() + 20));
    let run = store
        .log()
        .frames(shared.next(), 1 << 20, ReadConcern::Durable)
        .unwrap()
        .unwrap();
    let seed = store.log().segment_of(last).unwrap().seed;

    for count in [0, 1, 5, 8] {
        let parent = TempDir::new().unwrap();
        let dir = parent.path().join("b");
        copy_directory(b.path(), &dir);
        // It follows on, by what somebody has changed on the way.
        let mut frames = run.bytes().to_vec();
        edit(&mut frames, seed, count);
        let copy = open(&dir);
        copy.append_frames(&frames).unwrap();
        copy.close().unwrap();
        let following = follower(&dir, "b", serving.address(), &[]).start().unwrap();
        if count == 0 {
            assert_same(&following, &store, last);
            continue;
        }
        let ended = following.join();
        let Err(Error::Refused {
            refusal: Refusal::Differs(differs, same),
        }) = ended
        else {
            panic!("{count}: {ended:?}");
        };
        // Of those that are compared: the last one, and those 1, 3, 7 and 15 before it.
        let (first, before) = match count {
            1 => (0, 1),
            5 => (3, 7),
            _ => (7, 15),
        };
        let back = |count: u64| OpId::new(last.get() - count);
        assert_eq!((differs, same), (back(first), back(before)), "{count}");
        drop(following);
        assert_eq!(open(&dir).log().watermarks().durable, last);
    }
}
