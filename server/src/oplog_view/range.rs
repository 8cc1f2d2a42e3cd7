//! Where to begin to read the log, by what a filter asks of `ts`.

use bson::{RawBsonRef, RawDocument};
use tailwater::oplog::Timestamp;

/// The log's time before which no entry matches, if the filter says so. It may be earlier than need be, and never later: the
/// filter is asked about each entry all the same.
pub(super) fn lower_bound(filter: &RawDocument) -> Option<Timestamp> {
    let bounds = filter
        .iter()
        .flatten()
        .filter_map(|(name, value)| match (name.as_str(), value) {
            ("ts", RawBsonRef::Timestamp(time)) => Some(log_time(time)),
            ("ts", RawBsonRef::Document(conditions)) => of_conditions(conditions),
            ("$and", RawBsonRef::Array(parts)) => {
                let parts = parts.into_iter().flatten().filter_map(RawBsonRef::as_document);
                // One level is what drivers and tools send.
                parts
                    .filter_map(|part| part.get_document("ts").ok().and_then(of_conditions))
                    .max()
            }
            _ => None,
        });
    bounds.max()
}

fn of_conditions(conditions: &RawDocument) -> Option<Timestamp> {
    let bounds = ["$gte", "$gt", "$eq"].into_iter();
    let bounds = bounds.filter_map(|name| conditions.get_timestamp(name).ok().map(log_time));
    bounds.max()
}

/// The log's time for a cluster time; see [`tailwater::cluster_time`].
fn log_time(time: bson::Timestamp) -> Timestamp {
    let nanos = u64::from(time.increment.saturating_sub(1)).min(999_999_999);
    Timestamp::from_nanos(u64::from(time.time) * 1_000_000_000 + nanos)
}

#[cfg(test)]
mod tests {
    use bson::{Timestamp as ClusterTime, rawdoc};

    use super::*;

    #[test]
    fn the_bound_is_the_latest_that_the_filter_implies() {
        let at = |time| ClusterTime { time, increment: 1 };
        let seconds = |filter: &RawDocument| lower_bound(filter).map(|time| time.as_nanos() / 1_000_000_000);
        assert_eq!(seconds(&rawdoc! {}), None);
        assert_eq!(seconds(&rawdoc! { "ts": at(3) }), Some(3));
        assert_eq!(seconds(&rawdoc! { "ts": { "$gte": at(3), "$lt": at(9) } }), Some(3));
        assert_eq!(seconds(&rawdoc! { "ts": { "$lte": at(9) } }), None);
        let both = rawdoc! { "$and": [{ "ts": { "$gt": at(3) } }, { "ts": { "$gte": at(4) } }], "op": "i" };
        assert_eq!(seconds(&both), Some(4));
        // Of alternatives nothing is implied.
        assert_eq!(seconds(&rawdoc! { "$or": [{ "ts": { "$gt": at(3) } }] }), None);
        let odd = ClusterTime {
            time: 1,
            increment: u32::MAX,
        };
        assert_eq!(
            lower_bound(&rawdoc! { "ts": odd }).map(Timestamp::as_nanos),
            Some(1_999_999_999)
        );
    }
}
