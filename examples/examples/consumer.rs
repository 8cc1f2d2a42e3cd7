//! Promise: a consumer with a name needs no token. What it has acknowledged does not come again, what it has not does, and what
//! fails too often is kept with its error.

use std::time::Duration;

use tailwater::bson::rawdoc;
use tailwater::{ConsumerOptions, INTERNAL_DATABASE, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let options = ConsumerOptions {
        max_failures: Some(2),
        retry_delay: Duration::ZERO,
        ..ConsumerOptions::default()
    };

    // The first life deals with one order and dies with another in hand.
    let store = Store::open(dir.path())?;
    let orders = store.collection("shop", "orders")?;
    let mut billing = orders.watch().consumer("billing").options(options.clone()).join()?;
    for id in 1..=3 {
        orders.insert_one(&rawdoc! { "_id": id })?;
    }
    billing.wait_next(None)?.expect("three orders were written").ack()?;
    let in_hand = billing.wait_next(None)?.expect("two are left");
    drop((in_hand, billing, orders));
    store.close()?;

    // The second life gets the other orders, one of which cannot be billed.
    let store = Store::open(dir.path())?;
    let orders = store.collection("shop", "orders")?;
    let mut billing = orders.watch().consumer("billing").options(options).join()?;
    let mut billed = Vec::new();
    for _ in 0..3 {
        let delivery = billing.wait_next(None)?.expect("what was not acknowledged comes again");
        let id = delivery.event().document_key().expect("an order").get_i32("_id")?;
        if id == 2 {
            delivery.fail("no address")?;
        } else {
            delivery.ack()?;
            billed.push(id);
        }
    }
    assert_eq!(billed, [3]);
    let letters = store.collection(INTERNAL_DATABASE, "dead_letters")?;
    let letter = letters.find_one(&rawdoc! {})?.expect("order 2 failed twice");
    assert_eq!(letter.get_str("error")?, "no address");
    assert_eq!(letter.get_i64("failures")?, 2);

    // Nothing is open any more, and everybody can see it.
    let status = store.consumers()?.remove(0);
    assert_eq!((status.acknowledged, status.dead_lettered, status.in_flight), (2, 1, 0));
    Ok(())
}
