//! Members that come, go, fall silent, fail and die, a store that crashes: each event is acknowledged exactly once in the books, every
//! document's events are dealt with in order, and none is missing.
//!
//! A schedule is made from a seed, which a failure names. `TAILWATER_SEEDS=17..18` runs one, `0..10000` many.

use crate::common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Dice, Home, Named, PATIENCE, seeds};
use tailwater::bson::{Bson, rawdoc};
use tailwater::{Consumer, ConsumerOptions, Delivery, INTERNAL_DATABASE, OpId, ReadConcern, Store};

const STEPS: usize = 220;
const DOCUMENTS: i32 = 6;

/// What has become of the events, by document.
#[derive(Default)]
struct Books {
    written: BTreeMap<i32, Vec<OpId>>,
    /// Acknowledged or dead, in the order in which that happened.
    settled: BTreeMap<i32, Vec<OpId>>,
    dead: u64,
}

struct Member {
    consumer: Consumer,
    held: Vec<Delivery>,
}

fn join(store: &Store, lease: Duration) -> Member {
    let options = ConsumerOptions {
        partitions: 4,
        retry_delay: Duration::ZERO,
        max_failures: Some(2),
        window_events: 24,
        lease,
        ..ConsumerOptions::default()
    };
    let watch = store.collection("shop", "orders").unwrap().watch();
    let watch = watch.read_concern(ReadConcern::Local);
    let consumer = watch.consumer("billing").options(options).join().unwrap();
    Member {
        consumer,
        held: Vec::new(),
    }
}

fn place(delivery: &Delivery) -> (i32, OpId) {
    let key = delivery.event().document_key().unwrap();
    (key.get_i32("_id").unwrap(), delivery.event().op_id())
}

impl Books {
    fn write(&mut self, dice: &mut Dice, store: &Store) {
        let id = dice.number(DOCUMENTS);
        let orders = store.collection("shop", "orders").unwrap();
        let op_id = match orders.insert_one(&rawdoc! { "_id": id }) {
            Ok(outcome) => outcome.op_id,
            Err(_) => orders.delete_one(&rawdoc! { "_id": id }).unwrap().op_id.unwrap(),
        };
        self.written.entry(id).or_default().push(op_id);
    }

    fn settle(&mut self, (id, op_id): (i32, OpId)) {
        self.settled.entry(id).or_default().push(op_id);
    }

    /// One thing that a member does.
    fn work(&mut self, dice: &mut Dice, member: &mut Member) {
        if member.held.is_empty() || dice.once_in(2) {
            member.held.extend(member.consumer.next_if_any().unwrap());
            return;
        }
        // What was taken back is refused, and delivered again.
        match dice.roll(8) {
            0 => {
                let delivery = member.held.remove(0);
                let dies = delivery.failures() == 1;
                if delivery.fail("no").is_ok() && dies {
                    self.dead += 1;
                    self.settle(place(&delivery));
                }
            }
            1 => {
                let at = dice.roll(member.held.len());
                let last = member.held[at].event().op_id();
                let stands = |d: &Delivery| d.event().op_id() <= last && !d.is_revoked();
                let mut done: Vec<_> = member.held.iter().filter(|d| stands(d)).map(place).collect();
                if member.consumer.ack_through(&member.held[at]).is_ok() {
                    done.sort_by_key(|(_, op_id)| *op_id);
                    done.into_iter().for_each(|place| self.settle(place));
                    member.held.retain(|delivery| !delivery.is_revoked());
                }
            }
            _ => {
                // In order within a document, as a consumer that deals with its events one by one does.
                let delivery = member.held.remove(0);
                if delivery.ack().is_ok() {
                    self.settle(place(&delivery));
                }
            }
        }
    }

    fn check(&self, store: &Store) {
        assert_eq!(self.settled, self.written, "in order, each once, none missing");
        let status = store.consumers().unwrap().remove(0);
        let all: usize = self.written.values().map(Vec::len).sum();
        assert_eq!(status.acknowledged + status.dead_lettered, all as u64);
        assert_eq!(status.dead_lettered, self.dead);
        let letters = store.collection(INTERNAL_DATABASE, "dead_letters").unwrap();
        assert_eq!(letters.count(&rawdoc! {}).unwrap(), self.dead);
        let consumers: Vec<Bson> = letters.distinct("_id.consumer", &rawdoc! {}).unwrap();
        assert!(consumers.len() <= 1);
    }
}

fn run(seed: u64) {
    let mut dice = Dice(seed);
    let mut books = Books::default();
    let mut home = Home::new();
    // Without a lease everybody is silent who does not wait just now, and what they have goes to whoever asks.
    let lease = match seed % 3 {
        0 => Duration::ZERO,
        _ => ConsumerOptions::default().lease,
    };
    let mut members = vec![join(&home.store, lease)];
    for _ in 0..STEPS {
        match dice.roll(30) {
            0 => {
                let crashed = home.crash();
                // The dead process's members go after the picture was taken.
                members.clear();
                home = crashed;
                members.push(join(&home.store, lease));
            }
            1 => {
                members.clear();
                home = home.reopen();
                members.push(join(&home.store, lease));
            }
            2 if members.len() < 4 => members.push(join(&home.store, lease)),
            3 if members.len() > 1 => drop(members.remove(dice.roll(members.len()))),
            4..=14 => books.write(&mut dice, &home.store),
            _ => {
                let at = dice.roll(members.len());
                books.work(&mut dice, &mut members[at]);
            }
        }
    }
    // One member is left, which deals with everything.
    members.truncate(1);
    let Member { mut consumer, held } = members.remove(0);
    for delivery in held {
        if delivery.ack().is_ok() {
            books.settle(place(&delivery));
        }
    }
    let open = |books: &Books| {
        let count = |of: &BTreeMap<i32, Vec<OpId>>| of.values().map(Vec::len).sum::<usize>();
        count(&books.written) - count(&books.settled)
    };
    while open(&books) > 0 {
        let delivery = consumer.wait_next(Some(PATIENCE)).unwrap().expect("an event in time");
        delivery.ack().unwrap();
        books.settle(place(&delivery));
    }
    assert!(consumer.next_if_any().unwrap().is_none());
    books.check(&home.store);
}

#[test]
fn every_event_is_settled_once_and_in_order_of_its_document() {
    for seed in seeds(15) {
        let _named = Named(seed);
        run(seed);
    }
}
