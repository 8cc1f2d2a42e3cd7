//! Durable consumers: a name instead of a token. [`Watch::consumer`](crate::Watch::consumer).
//!
//! # What it promises
//!
//! - **At least once.** Every event of the watch is delivered until it is acknowledged, or has failed too often. The position
//!   is a document of the store, written by the store's one write path when an event is acknowledged, before
//!   [`Delivery::ack`] returns: it survives the death of the process as every other write, and power loss from the next sync
//!   on. What was acknowledged is not delivered again, also when earlier events are still open.
//! - **In order for each document**, whoever processes its events: see [`window`].
//! - **Nothing is held up by a member that is gone**: what it had goes to the others, at once when it was dropped, after its
//!   lease when it is silent.
//! - **Nothing is lost without a word.** An event that has failed too often becomes a document among the dead letters, in the
//!   same atomic step that moves the position over it. History that is gone is [`Error::ConsumerLostHistory`](crate::Error::ConsumerLostHistory).
//!
//! # Where it lives
//!
//! The members of a consumer are in one process, the one that writes the store; they may belong to different handles of it.
//! `tailwater.consumers` has a document for each consumer, and the log a retention slot, `consumer.` and the name, which keeps
//! what is not acknowledged, up to a cap.
//!
//! # What it costs
//!
//! A thread for each consumer that has members, and a small write for each acknowledgement: acknowledge many at once with
//! [`Consumer::ack_through`] where that counts.
//!
//! - [`window`]: who may have which event next;
//! - [`registry`]: which consumers have members, and whose turn it is to open or close one;
//! - [`begin`]: beginning with a snapshot;
//! - [`group`]: what members share, the thread that reads, the writing down;
//! - [`member`]: what a program holds;
//! - [`record`], [`slot`], [`status`]: what the store keeps, and what its log; what there is to see of it.

mod begin;
mod group;
mod member;
mod options;
mod record;
mod registry;
mod slot;
mod status;
mod window;

pub use begin::ConsumerSnapshot;
pub use member::{Consumer, Delivery};
pub use options::{CONSUMER_NAME_BYTES_MAX, ConsumerBuilder, ConsumerOptions, LostHistory};
pub use registry::ConsumerGroups;
pub use status::{ConsumerStatus, consumer_drop, consumers};
