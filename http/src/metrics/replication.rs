//! How the replication of the store stands, if it has any.

use tailwater::Store;
use tailwater::replication::{FollowerProgress, MemberStatus, PrimaryStatus, Standing, standing};

use super::text::{Kind, Text};

/// The families of a store that replicates; none for one that does not.
pub(super) fn render(text: &mut Text, store: &Store) {
    match standing(store) {
        Some(Standing::Primary(status)) => {
            role(text, "primary");
            primary(text, &status);
            members(text, &status.members);
        }
        Some(Standing::Follower { progress, followers }) => {
            role(text, "follower");
            follower(text, &progress);
            members(text, &followers);
        }
        _ => {}
    }
}

fn role(text: &mut Text, role: &str) {
    text.family(
        "tailwater_replication_role",
        Kind::Gauge,
        "Which part the store has in its replication.",
    );
    text.sample(&[("role", role)], 1.0);
}

fn number(text: &mut Text, name: &'static str, kind: Kind, help: &str, value: f64) {
    text.family(name, kind, help);
    text.sample(&[], value);
}

fn primary(text: &mut Text, status: &PrimaryStatus) {
    let help = "The last entry that a majority of the listed members is known to hold.";
    number(
        text,
        "tailwater_replication_majority_op_id",
        Kind::Gauge,
        help,
        status.majority.get() as f64,
    );
}

fn follower(text: &mut Text, progress: &FollowerProgress) {
    for (name, kind, help, value) in [
        (
            "tailwater_replication_majority_op_id",
            Kind::Gauge,
            "The last entry here that a majority of the listed members is known to hold.",
            progress.majority.get() as f64,
        ),
        (
            "tailwater_replication_received_bytes_total",
            Kind::Counter,
            "Bytes of frames that have come from the primary.",
            progress.bytes as f64,
        ),
        (
            "tailwater_replication_copied_bytes",
            Kind::Gauge,
            "Of the copy of the state that is being fetched, the bytes that are here; 0 while none is.",
            progress.copied_bytes as f64,
        ),
        (
            "tailwater_replication_copy_bytes",
            Kind::Gauge,
            "All bytes of the copy of the state that is being fetched; 0 while none is.",
            progress.copy_bytes as f64,
        ),
        (
            "tailwater_replication_durable_op_id",
            Kind::Gauge,
            "The last entry that is durable on this follower.",
            progress.durable.get() as f64,
        ),
        (
            "tailwater_replication_newest_op_id",
            Kind::Gauge,
            "The newest entry that the primary has spoken of.",
            progress.newest.get() as f64,
        ),
        (
            "tailwater_replication_behind_entries",
            Kind::Gauge,
            "Entries that the primary has spoken of and that are not durable here.",
            progress.entries_behind() as f64,
        ),
        (
            "tailwater_replication_behind_seconds",
            Kind::Gauge,
            "How far the newest entry here is behind the clock, while others are to come.",
            progress.behind.as_secs_f64(),
        ),
    ] {
        number(text, name, kind, help, value);
    }
}

/// The members that are known here; those of no name only by their numbers.
fn members(text: &mut Text, members: &[MemberStatus]) {
    type Number = fn(&MemberStatus) -> f64;
    let families: [(&str, &str, Number); 4] = [
        (
            "tailwater_replication_member_connected",
            "Whether a member is connected here.",
            |member| f64::from(u8::from(member.connected)),
        ),
        (
            "tailwater_replication_member_partial",
            "Whether a member has only a part of the entries.",
            |member| f64::from(u8::from(member.partial)),
        ),
        (
            "tailwater_replication_member_held_op_id",
            "The last entry that a member has said it holds.",
            |member| member.held.get() as f64,
        ),
        (
            "tailwater_replication_member_behind_entries",
            "Durable entries that a member has not said it holds.",
            |member| member.entries_behind as f64,
        ),
    ];
    for (name, help, number) in families {
        text.family(name, Kind::Gauge, help);
        for member in members {
            let of = member.number.to_string();
            let of = member.name.as_deref().unwrap_or(&of);
            text.sample(&[("member", of)], number(member));
        }
    }
}
