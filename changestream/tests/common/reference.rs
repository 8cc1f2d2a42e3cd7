//! What the tests against a reference share: random writes and watchers, and the reference, which decodes everything and says
//! in plain words what each entry means for a watcher.

use std::ops::Range;

use bson::{Bson, Document, RawDocumentBuf, doc};
use tailwater_changestream::{ChangeEvent, FullDocument, FullDocumentBeforeChange, Scope, Watch};
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{
    self as oplog, AppendOutcome, Durability, OpId, Oplog, ReadConcern, Record, Term, Timestamp, codec,
};

use super::COLLECTION_ID;

pub(crate) const DATABASES: [&str; 2] = ["shop", "town"];
pub(crate) const COLLECTIONS: [&str; 2] = ["a", "b"];
pub(crate) const TAGS: [&str; 3] = ["new", "old", "urgent"];
/// Kind of an entry that is none of a store's.
pub(crate) const FOREIGN: u8 = 200;

/// SplitMix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below as u64) as usize
    }

    pub(crate) fn number(&mut self) -> i32 {
        self.roll(10) as i32
    }

    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.roll(times) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }
}

/// One entry, as it was written.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) kind: u8,
    pub(crate) database: &'static str,
    pub(crate) collection: &'static str,
    pub(crate) key: Option<Document>,
    pub(crate) document: Option<Document>,
    pub(crate) diff: Option<Document>,
    pub(crate) pre_image: Option<Document>,
    pub(crate) detail: Option<Document>,
    pub(crate) op_id: OpId,
    pub(crate) term: Term,
    pub(crate) timestamp: Timestamp,
}

impl Written {
    pub(crate) fn random(dice: &mut Dice) -> Written {
        use EntryKind::{Create, Delete, Drop, DropDatabase, Insert, Noop, Rename, Replace, Update};
        let kinds = [
            (Insert, 30),
            (Update, 25),
            (Replace, 10),
            (Delete, 15),
            (Create, 3),
            (Drop, 3),
            (Rename, 2),
            (DropDatabase, 2),
            (Noop, 3),
        ];
        let kinds: Vec<u8> = kinds
            .iter()
            .flat_map(|(kind, weight)| vec![kind.number(); *weight])
            .collect();
        let kind = if dice.once_in(20) { FOREIGN } else { dice.pick(&kinds) };
        let named = EntryKind::from_number(kind);
        let (id, n) = (dice.number(), dice.number());
        let mut document = doc! { "_id": id, "n": n };
        if dice.once_in(2) {
            document.insert("tags", vec![dice.pick(&TAGS), dice.pick(&TAGS)]);
        }
        if dice.once_in(3) {
            // Now and then the log goes on to its next segment.
            document.insert("pad", "x".repeat(dice.roll(150_000)));
        }
        let with_document = matches!(named, Some(Insert | Replace)) || named == Some(Update) && !dice.once_in(5);
        let with_pre_image = matches!(named, Some(Update | Replace | Delete)) && dice.once_in(2);
        Written {
            kind,
            database: if named == Some(Noop) { "" } else { dice.pick(&DATABASES) },
            collection: if matches!(named, Some(Noop | DropDatabase)) {
                ""
            } else {
                dice.pick(&COLLECTIONS)
            },
            key: matches!(named, Some(Update | Delete)).then(|| doc! { "_id": id }),
            document: with_document.then_some(document),
            diff: (named == Some(Update))
                .then(|| doc! { "updatedFields": { "n": n }, "removedFields": [], "truncatedArrays": [] }),
            pre_image: with_pre_image.then(|| doc! { "_id": id, "n": -1 }),
            detail: match named {
                Some(Rename) => Some(doc! { "to": { "db": "shop", "coll": "c" } }),
                Some(Create) => Some(doc! { "capped": false }),
                _ => None,
            },
            op_id: OpId::ZERO,
            term: Term::default(),
            timestamp: Timestamp::default(),
        }
    }

    /// One entry, or some that are written together.
    pub(crate) fn batch(dice: &mut Dice) -> Vec<Written> {
        let count = if dice.once_in(3) { 1 + dice.roll(5) } else { 1 };
        (0..count).map(|_| Written::random(dice)).collect()
    }

    /// Writes a batch, and notes what the log has made of it.
    pub(crate) fn append(log: &Oplog, batch: &mut [Written]) {
        let payloads: Vec<_> = batch.iter().map(Written::payload).collect();
        let pieces: Vec<[&[u8]; 1]> = payloads.iter().map(|payload| [payload.as_slice()]).collect();
        let records = batch
            .iter()
            .zip(&pieces)
            .map(|(w, payload)| Record { kind: w.kind, payload });
        let records: Vec<_> = records.collect();
        let AppendOutcome {
            first, term, timestamp, ..
        } = log.append_batch(&records, Durability::Memory).unwrap();
        let mut op_id = first;
        for written in batch {
            (written.op_id, written.term, written.timestamp) = (op_id, term, timestamp);
            op_id = op_id.next();
        }
    }

    pub(crate) fn payload(&self) -> Vec<u8> {
        if self.kind == FOREIGN {
            return b"something else".to_vec();
        }
        let raw = |d: &Option<Document>| d.as_ref().map(|d| RawDocumentBuf::try_from(d).unwrap());
        let [key, document, diff, pre_image, detail] =
            [&self.key, &self.document, &self.diff, &self.pre_image, &self.detail].map(raw);
        let entry = StoreEntry {
            database: self.database,
            collection: self.collection,
            collection_id: if self.collection.is_empty() {
                [0; 16]
            } else {
                COLLECTION_ID
            },
            key: key.as_deref(),
            document: document.as_deref(),
            diff: diff.as_deref(),
            pre_image: pre_image.as_deref(),
            detail: detail.as_deref(),
            ..StoreEntry::default()
        };
        let mut payload = Vec::new();
        entry.encode(&mut payload);
        payload
    }
}

/// What a `$match` stage asks, in two forms: as the stage, and as code on a decoded event.
#[derive(Clone, Debug)]
pub(crate) enum Condition {
    Operation(Vec<&'static str>),
    Collection(&'static str),
    NAtLeast(i32),
    NIsNot(i32),
    Tagged(&'static str),
    Sets(bool),
    Key(i32),
    NoDocument,
    Either(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
}

impl Condition {
    pub(crate) fn random(dice: &mut Dice, depth: usize) -> Condition {
        let operations = [
            "insert",
            "update",
            "replace",
            "delete",
            "drop",
            "rename",
            "dropDatabase",
            "invalidate",
            "create",
        ];
        match dice.roll(if depth == 0 { 8 } else { 10 }) {
            0 => Condition::Operation((0..=dice.roll(4)).map(|_| dice.pick(&operations)).collect()),
            1 => Condition::Collection(dice.pick(&COLLECTIONS)),
            2 => Condition::NAtLeast(dice.number()),
            3 => Condition::NIsNot(dice.number()),
            4 => Condition::Tagged(dice.pick(&TAGS)),
            5 => Condition::Sets(dice.once_in(2)),
            6 => Condition::Key(dice.number()),
            7 => Condition::NoDocument,
            8 => {
                let [one, other] = [(); 2].map(|()| Box::new(Condition::random(dice, depth - 1)));
                Condition::Either(one, other)
            }
            _ => Condition::Not(Box::new(Condition::random(dice, depth - 1))),
        }
    }

    pub(crate) fn stage(&self) -> Document {
        match self {
            Condition::Operation(names) => doc! { "operationType": { "$in": names.clone() } },
            Condition::Collection(name) => doc! { "ns.coll": *name },
            Condition::NAtLeast(n) => doc! { "fullDocument.n": { "$gte": n } },
            Condition::NIsNot(n) => doc! { "fullDocument.n": { "$ne": n } },
            Condition::Tagged(tag) => doc! { "fullDocument.tags": *tag },
            Condition::Sets(sets) => doc! { "updateDescription.updatedFields.n": { "$exists": *sets } },
            Condition::Key(id) => doc! { "documentKey._id": f64::from(*id) },
            Condition::NoDocument => doc! { "fullDocument": null },
            Condition::Either(one, other) => doc! { "$or": [one.stage(), other.stage()] },
            Condition::Not(inner) => doc! { "$nor": [inner.stage()] },
        }
    }

    pub(crate) fn holds(&self, event: &Document) -> bool {
        let full_document = event.get_document("fullDocument");
        let n = || full_document.as_ref().ok()?.get_i32("n").ok();
        match self {
            Condition::Operation(names) => names.contains(&event.get_str("operationType").unwrap()),
            Condition::Collection(name) => event
                .get_document("ns")
                .is_ok_and(|ns| ns.get_str("coll").ok() == Some(*name)),
            Condition::NAtLeast(least) => n().is_some_and(|n| n >= *least),
            Condition::NIsNot(other) => n() != Some(*other),
            Condition::Tagged(tag) => full_document.is_ok_and(|d| tagged(d, tag)),
            Condition::Sets(sets) => event.contains_key("updateDescription") == *sets,
            Condition::Key(id) => event
                .get_document("documentKey")
                .is_ok_and(|key| key.get_i32("_id").ok() == Some(*id)),
            Condition::NoDocument => full_document.is_err(),
            Condition::Either(one, other) => one.holds(event) || other.holds(event),
            Condition::Not(inner) => !inner.holds(event),
        }
    }
}

pub(crate) fn tagged(document: &Document, tag: &str) -> bool {
    document
        .get_array("tags")
        .is_ok_and(|tags| tags.contains(&Bson::from(tag)))
}

/// A text filter, in the same two forms.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Filter {
    Above(i32),
    Not(i32),
    Has(&'static str),
    BelowAndNotTagged(i32, &'static str),
}

impl Filter {
    pub(crate) fn random(dice: &mut Dice) -> Filter {
        match dice.roll(4) {
            0 => Filter::Above(dice.number()),
            1 => Filter::Not(dice.number()),
            2 => Filter::Has(dice.pick(&TAGS)),
            _ => Filter::BelowAndNotTagged(dice.number(), dice.pick(&TAGS)),
        }
    }

    pub(crate) fn text(self) -> String {
        match self {
            Filter::Above(n) => format!("n > {n}"),
            Filter::Not(n) => format!("not n = {n}"),
            Filter::Has(tag) => format!("tags has \"{tag}\""),
            Filter::BelowAndNotTagged(n, tag) => format!("n < {n} and not tags has \"{tag}\""),
        }
    }

    pub(crate) fn holds(self, document: &Document) -> bool {
        let n = document.get_i32("n").unwrap();
        match self {
            Filter::Above(least) => n > least,
            Filter::Not(other) => n != other,
            Filter::Has(tag) => tagged(document, tag),
            Filter::BelowAndNotTagged(most, tag) => n < most && !tagged(document, tag),
        }
    }
}

/// What a watcher asks for.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) scope: Scope,
    pub(crate) filter: Option<Filter>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) full_document: FullDocument,
    pub(crate) before_change: FullDocumentBeforeChange,
    pub(crate) expanded: bool,
    pub(crate) concern: ReadConcern,
}

impl Question {
    pub(crate) fn random(dice: &mut Dice) -> Question {
        let database = dice.pick(&DATABASES).to_owned();
        let collection = dice.pick(&COLLECTIONS).to_owned();
        Question {
            scope: match dice.roll(4) {
                0 => Scope::Everything,
                1 => Scope::Database(database),
                _ => Scope::Collection { database, collection },
            },
            filter: dice.once_in(3).then(|| Filter::random(dice)),
            conditions: (0..dice.roll(3)).map(|_| Condition::random(dice, 2)).collect(),
            full_document: dice.pick(&[
                FullDocument::Default,
                FullDocument::UpdateLookup,
                FullDocument::WhenAvailable,
            ]),
            before_change: dice.pick(&[FullDocumentBeforeChange::Off, FullDocumentBeforeChange::WhenAvailable]),
            expanded: dice.once_in(2),
            concern: dice.pick(&[ReadConcern::Local, ReadConcern::Durable]),
        }
    }

    /// The watch, begun by `make` for a scope.
    pub(crate) fn watch(&self, make: impl FnOnce(Scope) -> Watch) -> Watch {
        let mut watch = make(self.scope.clone())
            .pipeline(
                self.conditions
                    .iter()
                    .map(|condition| doc! { "$match": condition.stage() }),
            )
            .full_document(self.full_document)
            .full_document_before_change(self.before_change)
            .show_expanded_events(self.expanded)
            .read_concern(self.concern);
        if let Some(filter) = self.filter {
            watch = watch.filter(filter.text());
        }
        watch
    }
}

/// An event and its token, as a watcher gets them.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Seen {
    pub(crate) event: Document,
    pub(crate) token: String,
}

impl Seen {
    pub(crate) fn new(event: &ChangeEvent) -> Seen {
        Seen {
            event: Document::try_from(event.to_document().as_ref()).unwrap(),
            token: event.resume_token().to_string(),
        }
    }
}

/// The reference: decodes everything, and says in plain words what each entry means for a watcher.
pub(crate) struct Reference<'a> {
    pub(crate) entries: &'a [Written],
    pub(crate) log_id: oplog::LogId,
}

impl Reference<'_> {
    /// Every event for a watcher of the entries in `range`, who after each end begins again right behind it.
    pub(crate) fn answer(&self, question: &Question, range: Range<usize>) -> Vec<Seen> {
        let mut seen = Vec::new();
        for entry in &self.entries[range] {
            let (mine, ends) = Reference::concerns(&question.scope, entry);
            if !mine {
                continue;
            }
            if let Some(operation) = Reference::operation(entry, question.expanded) {
                let event = self.event(question, entry, operation);
                let filtered = question
                    .filter
                    .is_none_or(|filter| event.get_document("fullDocument").is_ok_and(|d| filter.holds(d)));
                if filtered && question.conditions.iter().all(|condition| condition.holds(&event)) {
                    seen.push(Seen {
                        event,
                        token: self.token(entry, 1),
                    });
                }
            }
            if ends {
                let event = self.event(question, entry, "invalidate");
                if question.conditions.iter().all(|condition| condition.holds(&event)) {
                    seen.push(Seen {
                        event,
                        token: self.token(entry, 2),
                    });
                }
            }
        }
        seen
    }

    /// Whether an entry belongs to a scope, and whether it is its end.
    pub(crate) fn concerns(scope: &Scope, entry: &Written) -> (bool, bool) {
        let kind = EntryKind::from_number(entry.kind);
        let is_rename = kind == Some(EntryKind::Rename);
        let detail = entry.detail.as_ref().filter(|_| is_rename);
        let to = detail.and_then(|detail| detail.get_document("to").ok());
        let is = |name: &Document, field, value: &String| name.get_str(field).is_ok_and(|found| found == value);
        match scope {
            Scope::Everything => (true, false),
            Scope::Database(database) => {
                let mine = entry.database == database || to.is_some_and(|to| is(to, "db", database));
                (mine, mine && kind == Some(EntryKind::DropDatabase))
            }
            Scope::Collection { database, collection } => {
                let named = |name: &Document| is(name, "db", database) && is(name, "coll", collection);
                let mine = entry.database == database && entry.collection == collection || to.is_some_and(named);
                (mine, mine && matches!(kind, Some(EntryKind::Drop | EntryKind::Rename)))
            }
        }
    }

    pub(crate) fn operation(entry: &Written, expanded: bool) -> Option<&'static str> {
        Some(match EntryKind::from_number(entry.kind)? {
            EntryKind::Noop => return None,
            EntryKind::Create if !expanded => return None,
            kind => kind.name(),
        })
    }

    pub(crate) fn event(&self, question: &Question, entry: &Written, operation: &str) -> Document {
        let nanos = entry.timestamp.as_nanos();
        let time = bson::Timestamp {
            time: (nanos / 1_000_000_000) as u32,
            increment: (nanos % 1_000_000_000) as u32 + 1,
        };
        let is_invalidate = operation == "invalidate";
        let mut event = doc! {
            "_id": { "_data": self.token(entry, 1 + u8::from(is_invalidate)) },
            "operationType": operation,
            "clusterTime": time,
            "wallTime": bson::DateTime::from_millis((nanos / 1_000_000) as i64),
        };
        if question.expanded && !entry.collection.is_empty() {
            let (subtype, bytes) = (bson::spec::BinarySubtype::Uuid, COLLECTION_ID.to_vec());
            event.insert("collectionUUID", bson::Binary { subtype, bytes });
        }
        if is_invalidate {
            return event;
        }
        let shown = |document: &Option<Document>| document.clone().map_or(Bson::Null, Bson::Document);
        let asks = question.filter.is_some() || question.full_document != FullDocument::Default;
        if matches!(operation, "insert" | "replace") || operation == "update" && asks {
            event.insert("fullDocument", shown(&entry.document));
        }
        let mut namespace = doc! { "db": entry.database };
        if !entry.collection.is_empty() {
            namespace.insert("coll", entry.collection);
        }
        event.insert("ns", namespace);
        if let Some(detail) = &entry.detail {
            if operation == "rename" {
                event.insert("to", detail.get_document("to").unwrap());
            }
            if question.expanded {
                let mut detail = detail.clone();
                if operation == "create" {
                    detail.insert("idIndex", doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" });
                    event.insert("nsType", "collection");
                }
                event.insert("operationDescription", detail);
            }
        }
        let of_document = |document: &Document| doc! { "_id": document.get_i32("_id").unwrap() };
        if let Some(key) = entry.key.clone().or(entry.document.as_ref().map(of_document)) {
            event.insert("documentKey", key);
        }
        if let Some(mut diff) = entry.diff.clone() {
            if question.expanded {
                // No name in these documents is a number.
                diff.insert("disambiguatedPaths", doc! {});
            }
            event.insert("updateDescription", diff);
        }
        let changes = matches!(operation, "update" | "replace" | "delete");
        if changes && question.before_change != FullDocumentBeforeChange::Off {
            event.insert("fullDocumentBeforeChange", shown(&entry.pre_image));
        }
        event
    }

    /// A token's bytes by hand: version, log, term, OpID, timestamp, kind, checksum.
    pub(crate) fn token(&self, entry: &Written, kind: u8) -> String {
        let mut bytes = vec![2];
        bytes.extend(self.log_id.to_bytes());
        bytes.extend(entry.term.get().to_be_bytes());
        bytes.extend(entry.op_id.get().to_be_bytes());
        bytes.extend(entry.timestamp.as_nanos().to_be_bytes());
        bytes.push(kind);
        bytes.extend(codec::checksum(&bytes).to_be_bytes());
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Names the seed when a schedule fails.
pub(crate) struct Named(pub(crate) u64);

impl Drop for Named {
    #[expect(clippy::print_stderr, reason = "a failing test says how to run it again")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {0}: TAILWATER_SEEDS={0}..{1}", self.0, self.0 + 1);
        }
    }
}
