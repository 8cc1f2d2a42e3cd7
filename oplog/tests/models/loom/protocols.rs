//! Bells, watermarks, the ring's two marks, and who leads.

use std::sync::Arc;
use std::task::{Wake, Waker};

use crate::bell::Bell;
use crate::disk::FileIdentity;
use crate::format::FRAMES_START;
use crate::group::Group;
use crate::ids::OpId;
use crate::primitives::{AtomicU64, Condvar, Mutex, Ordering, begin, note_read, note_write, thread};
use crate::region::{Region, Ring};
use crate::runner::Model;
use crate::tail::Tail;

pub(crate) const MODELS: &[Model] = &[
    ("a_ring_wakes_a_thread", || check(None, a_ring_wakes_a_thread)),
    ("a_ring_wakes_two_threads", || check(Some(2), a_ring_wakes_two_threads)),
    ("two_ringers_of_one_bell_wake_a_thread", || {
        check(Some(3), two_ringers_of_one_bell_wake_a_thread);
    }),
    ("a_ringer_that_dies_beside_another_leaves_the_flag_up", || {
        check(Some(3), a_ringer_that_dies_beside_another_leaves_the_flag_up);
    }),
    ("a_ring_wakes_a_task", || check(None, a_ring_wakes_a_task)),
    ("an_accepted_entry_is_seen_or_its_waiter_is", || {
        check(None, an_accepted_entry_is_seen_or_its_waiter_is);
    }),
    ("an_accepted_entry_is_seen_or_its_waiter_here_is", || {
        check(None, an_accepted_entry_is_seen_or_its_waiter_here_is);
    }),
    ("a_ring_wakes_a_thread_of_the_writer", || {
        check(None, a_ring_wakes_a_thread_of_the_writer);
    }),
    ("an_accepted_entry_is_seen_or_its_task_is", || {
        check(None, an_accepted_entry_is_seen_or_its_task_is);
    }),
    ("who_sees_a_watermark_sees_the_frames", || {
        check(None, who_sees_a_watermark_sees_the_frames);
    }),
    ("the_ring_hands_bytes_over_and_back", || {
        check(Some(3), the_ring_hands_bytes_over_and_back);
    }),
    ("who_goes_to_sleep_as_a_leader_stops_is_woken", || {
        check(None, who_goes_to_sleep_as_a_leader_stops_is_woken);
    }),
    ("somebody_leads_or_is_woken_to", || {
        check(Some(2), somebody_leads_or_is_woken_to);
    }),
];

/// Tries every schedule; with at most so many preemptions if that is too much.
fn check(preemptions: Option<usize>, model: fn()) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 10_000;
    builder.check(move || {
        begin();
        model();
    });
}

const FIRST: OpId = OpId::FIRST;

fn tail() -> Arc<Tail> {
    tail_of(false)
}

/// As the writer has it, or one who only reads.
fn tail_of(writer: bool) -> Arc<Tail> {
    let region = Arc::new(Region::heap(4096));
    for offset in [768, 772] {
        region.cell_u32(offset);
    }
    let tail = Tail::on(region, FileIdentity { device: 0, inode: 0 }, writer);
    tail.watermarks();
    tail.accepted();
    Arc::new(tail)
}

fn wait_for(tail: &Arc<Tail>, mark: fn(&Tail) -> OpId) -> thread::JoinHandle<()> {
    let tail = Arc::clone(tail);
    thread::spawn(move || assert!(tail.appended_bell.wait_until(None, || mark(&tail) >= FIRST)))
}

fn a_ring_wakes_a_thread() {
    let tail = tail();
    let waiter = wait_for(&tail, Tail::appended);
    tail.set_appended(FIRST);
    waiter.join().unwrap();
}

fn a_ring_wakes_a_thread_of_the_writer() {
    let tail = tail_of(true);
    let waiter = wait_for(&tail, Tail::appended);
    tail.set_appended(FIRST);
    waiter.join().unwrap();
}

fn a_ring_wakes_two_threads() {
    let tail = tail();
    let waiters = [wait_for(&tail, Tail::appended), wait_for(&tail, Tail::appended)];
    tail.set_appended(FIRST);
    for waiter in waiters {
        waiter.join().unwrap();
    }
}

/// As those of the draining thread's bell, which readers in other processes ring as well as the writer. Each has something of its
/// own to tell, and the waiter waits for one after the other.
fn two_ringers_of_one_bell_wake_a_thread() {
    let bell = Arc::new(bell());
    let told = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let waiter = {
        let (bell, told) = (Arc::clone(&bell), Arc::clone(&told));
        thread::spawn(move || {
            for what in &*told {
                assert!(bell.wait_until(None, || what.load(Ordering::Acquire) > 0));
            }
        })
    };
    let other = {
        let (bell, told) = (Arc::clone(&bell), Arc::clone(&told));
        thread::spawn(move || {
            told[1].store(1, Ordering::Release);
            bell.ring();
        })
    };
    told[0].store(1, Ordering::Release);
    bell.ring();
    for thread in [waiter, other] {
        thread.join().unwrap();
    }
}

fn bell() -> Bell {
    let region = Arc::new(Region::heap(64));
    for offset in [0, 4] {
        region.cell_u32(offset);
    }
    Bell::new(region, 0, false)
}

/// One of two ringers is killed just before it wakes the waiter. Whatever the other has done meanwhile, who rings next wakes it.
fn a_ringer_that_dies_beside_another_leaves_the_flag_up() {
    let bell = Arc::new(bell());
    let told = Arc::new(AtomicU64::new(0));
    let waiter = {
        let (bell, told) = (Arc::clone(&bell), Arc::clone(&told));
        thread::spawn(move || assert!(bell.wait_until(None, || told.load(Ordering::Acquire) > 0)))
    };
    let dead = {
        let bell = Arc::clone(&bell);
        thread::spawn(move || bell.ring_and_die())
    };
    // For nothing that the waiter waits for.
    bell.ring();
    dead.join().unwrap();
    told.store(1, Ordering::Release);
    bell.ring();
    waiter.join().unwrap();
}

/// A task that has a thread of its own.
struct Task {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

fn await_mark(tail: &Arc<Tail>, mark: fn(&Tail) -> OpId) -> thread::JoinHandle<()> {
    let tail = Arc::clone(tail);
    thread::spawn(move || {
        let task = Arc::new(Task {
            woken: Mutex::new(false),
            changed: Condvar::new(),
        });
        let mut registration = None;
        tail.appended_bell
            .register(&Waker::from(Arc::clone(&task)), &mut registration);
        if mark(&tail) < FIRST {
            let mut woken = task.woken.lock().unwrap();
            while !*woken {
                woken = task.changed.wait(woken).unwrap();
            }
            assert!(mark(&tail) >= FIRST);
        }
    })
}

fn a_ring_wakes_a_task() {
    let tail = tail();
    let task = await_mark(&tail, Tail::appended);
    tail.set_appended(FIRST);
    task.join().unwrap();
}

fn an_accepted_entry_is_seen_or_its_waiter_is() {
    let tail = tail();
    let waiter = wait_for(&tail, Tail::accepted);
    if tail.accept(FIRST).elsewhere {
        tail.set_appended(FIRST);
    }
    waiter.join().unwrap();
}

fn an_accepted_entry_is_seen_or_its_waiter_here_is() {
    let tail = tail_of(true);
    let waiter = wait_for(&tail, Tail::accepted);
    if tail.accept(FIRST).here {
        tail.appended_bell.wake_here();
    }
    waiter.join().unwrap();
}

fn an_accepted_entry_is_seen_or_its_task_is() {
    let tail = tail_of(true);
    let task = await_mark(&tail, Tail::accepted);
    if tail.accept(FIRST).here {
        tail.appended_bell.wake_here();
    }
    task.join().unwrap();
}

/// A segment that the writer publishes in, and the watermarks that say so.
fn who_sees_a_watermark_sees_the_frames() {
    let tail = tail();
    let segment = Arc::new(Region::heap(FRAMES_START + 8));
    segment.load(FRAMES_START, &mut [0; 8]);
    let mut claim = segment.claim().unwrap();
    let reader = {
        let (tail, segment) = (Arc::clone(&tail), Arc::clone(&segment));
        thread::spawn(move || {
            let marks = tail.watermarks();
            assert!(marks.released <= marks.durable && marks.durable <= marks.appended);
            let mut frame = [0; 8];
            let end = segment.published();
            segment.load(FRAMES_START, &mut frame);
            assert!(end == FRAMES_START || frame == [7; 8], "torn");
            if marks.appended >= FIRST {
                assert_eq!(segment.published(), FRAMES_START + 8);
                segment.load(FRAMES_START, &mut frame);
                assert_eq!(frame, [7; 8], "torn");
            }
        })
    };
    // First, so that its fences do not stand in for what is looked at here.
    tail.accept(FIRST);
    segment.store(FRAMES_START, &[7; 8]);
    claim.publish(FRAMES_START + 8);
    tail.set_appended(FIRST);
    tail.set_durable(FIRST);
    reader.join().unwrap();
}

/// Plain bytes of a ring of two words: loom reports a race if one end can touch what is the other's.
fn the_ring_hands_bytes_over_and_back() {
    let region = Arc::new(Region::heap(FRAMES_START + 16));
    let (ring, mut writer, mut reader) = Ring::over(region, 0).unwrap();
    for at in [0, 8] {
        writer.slot(at, 8).unwrap();
    }
    let out = thread::spawn(move || {
        let mut at = 0;
        for _ in 0..3 {
            let head = ring.head();
            if head > at {
                let bytes = reader.bytes(at..head).concat();
                for (i, byte) in bytes.iter().enumerate() {
                    assert_eq!(u64::from(*byte), (at + i as u64) / 8 + 1, "torn");
                }
                reader.release(head);
                at = head;
            }
        }
    });
    let mut at = 0;
    for _ in 0..4 {
        if writer.has_room(at + 8) {
            writer.write(at, &[(at / 8 + 1) as u8; 8]);
            writer.publish(at + 8);
            at += 8;
        }
    }
    out.join().unwrap();
}

/// Somebody leads and stops, and one thread waits to lead: few enough steps for every schedule.
fn who_goes_to_sleep_as_a_leader_stops_is_woken() {
    let group = Arc::new(Group::default());
    assert!(group.try_lead());
    let waiter = {
        let group = Arc::clone(&group);
        thread::spawn(move || while group.sleep(FIRST, || group.try_lead().then_some(())).is_none() {})
    };
    group.stop_leading(false);
    waiter.join().unwrap();
}

/// Two threads that each want an entry durable, as `Core::sync` goes about it.
fn somebody_leads_or_is_woken_to() {
    struct Log {
        group: Group,
        durable: AtomicU64,
    }
    fn sync(log: &Log, wanted: u64) {
        let durable = || log.durable.load(Ordering::Acquire) >= wanted;
        log.group.arrive();
        loop {
            let served = log.group.sleep(OpId::new(wanted), || match durable() {
                true => Some(true),
                false => log.group.try_lead().then_some(false),
            });
            match served {
                Some(true) => return log.group.pass_on(),
                Some(false) => {
                    if !durable() {
                        log.group.begin(OpId::new(wanted));
                        log.durable.store(wanted, Ordering::Release);
                    }
                    log.group.stop_leading(false);
                }
                None => {}
            }
        }
    }
    let log = Arc::new(Log {
        group: Group::default(),
        durable: AtomicU64::new(0),
    });
    let other = {
        let log = Arc::clone(&log);
        thread::spawn(move || sync(&log, 1))
    };
    sync(&log, 2);
    other.join().unwrap();
}
