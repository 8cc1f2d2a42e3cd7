//! What the tests against a reference share: random writes and watchers, and the reference, which decodes everything and says
//! in plain words what each entry means for a watcher.

use std::ops::Range;

use bson::{Bson, Document, RawDocumentBuf, doc, rawdoc};
use tailwater_changestream::{ChangeEvent, Error, FullDocument, FullDocumentBeforeChange, OperationType, Scope, Watch};
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{
    self as oplog, AppendOutcome, Durability, OpId, Oplog, ReadConcern, Record, Term, Timestamp, codec,
};

use super::COLLECTION_ID;

pub(crate) const DATABASES: [&str; 2] = ["shop", "town"];
/// Of which some belong to the deployment, and one to nobody who watches.
const WRITTEN_DATABASES: [&str; 8] = ["shop", "shop", "shop", "town", "town", "town", "local", "tailwater"];
pub(crate) const COLLECTIONS: [&str; 2] = ["a", "b"];
pub(crate) const TAGS: [&str; 3] = ["new", "old", "urgent"];
/// As documents have them. A collation may say that some are the same.
const WRITTEN_TAGS: [&str; 5] = ["new", "old", "urgent", "New", "URGENT"];
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
    pub(crate) session: Option<Document>,
    pub(crate) detail: Option<Document>,
    pub(crate) op_id: OpId,
    pub(crate) term: Term,
    pub(crate) timestamp: Timestamp,
}

impl Written {
    pub(crate) fn random(dice: &mut Dice) -> Written {
        use EntryKind::{
            Create, CreateIndexes, Delete, Drop, DropDatabase, DropIndexes, Insert, Modify, Noop, Rename, Replace,
            SessionWrite, StartIndexBuild, Update,
        };
        let kinds = [
            (Insert, 30),
            (Update, 25),
            (Replace, 10),
            (Delete, 15),
            (Create, 3),
            (Drop, 3),
            (Rename, 3),
            (DropDatabase, 2),
            (Noop, 3),
            (SessionWrite, 2),
            (StartIndexBuild, 1),
            (CreateIndexes, 2),
            (DropIndexes, 2),
            (Modify, 3),
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
            document.insert("tags", vec![dice.pick(&WRITTEN_TAGS), dice.pick(&WRITTEN_TAGS)]);
        }
        if dice.once_in(3) {
            // Now and then the log goes on to its next segment.
            document.insert("pad", "x".repeat(dice.roll(150_000)));
        }
        let with_document = matches!(named, Some(Insert | Replace)) || named == Some(Update) && !dice.once_in(5);
        let with_pre_image = matches!(named, Some(Update | Replace | Delete)) && dice.once_in(2);
        let nameless = matches!(named, Some(Noop | SessionWrite));
        let mut pre_image = doc! { "_id": id, "n": dice.number() };
        if dice.once_in(2) {
            pre_image.insert("tags", vec![dice.pick(&WRITTEN_TAGS)]);
        }
        Written {
            kind,
            database: if nameless { "" } else { dice.pick(&WRITTEN_DATABASES) },
            collection: if nameless || named == Some(DropDatabase) {
                ""
            } else {
                dice.pick(&COLLECTIONS)
            },
            key: matches!(named, Some(Update | Delete)).then(|| doc! { "_id": id }),
            document: with_document.then_some(document),
            diff: (named == Some(Update))
                .then(|| doc! { "updatedFields": { "n": n }, "removedFields": [], "truncatedArrays": [] }),
            pre_image: with_pre_image.then_some(pre_image),
            session: None,
            detail: match named {
                Some(Rename) => {
                    let (database, collection) = (dice.pick(&WRITTEN_DATABASES), dice.pick(&["a", "b", "c"]));
                    Some(doc! { "to": { "db": database, "coll": collection } })
                }
                Some(Create) => Some(doc! { "capped": false }),
                Some(StartIndexBuild | CreateIndexes | DropIndexes) => {
                    Some(doc! { "indexes": [{ "v": 2, "key": { "n": 1 }, "name": "n_1" }] })
                }
                Some(Modify) if dice.once_in(2) => {
                    Some(doc! { "options": { "validationLevel": "off" }, "before": { "validationLevel": "strict" } })
                }
                Some(Modify) => Some(doc! {
                    "index": { "name": "n_1", "hidden": true },
                    "before": { "name": "n_1", "hidden": false },
                }),
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
        let session = dice.once_in(4).then(|| {
            let mut session = doc! { "lsid": { "id": dice.number() } };
            if dice.once_in(2) {
                session.insert("txnNumber", i64::from(dice.number()));
            }
            session
        });
        let mut batch: Vec<Written> = (0..count).map(|_| Written::random(dice)).collect();
        for written in &mut batch {
            written.session.clone_from(&session);
        }
        batch
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
        let images = [&self.key, &self.document, &self.diff, &self.pre_image];
        let [key, document, diff, pre_image] = images.map(raw);
        let [session, detail] = [&self.session, &self.detail].map(raw);
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
            session: session.as_deref(),
            detail: detail.as_deref(),
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
    /// And whether upper and lower case are one.
    Tagged(&'static str, bool),
    Sets(bool),
    Key(i32),
    NoDocument,
    Either(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
}

impl Condition {
    pub(crate) fn random(dice: &mut Dice, depth: usize) -> Condition {
        let operations = OPERATIONS.map(OperationType::name);
        match dice.roll(if depth == 0 { 8 } else { 10 }) {
            0 => Condition::Operation((0..=dice.roll(4)).map(|_| dice.pick(&operations)).collect()),
            1 => Condition::Collection(dice.pick(&COLLECTIONS)),
            2 => Condition::NAtLeast(dice.number()),
            3 => Condition::NIsNot(dice.number()),
            4 => Condition::Tagged(dice.pick(&TAGS), false),
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

    /// One of which it is plain whether it can hold when an image is not known: alternatives of conditions on one field each.
    pub(crate) fn plain(dice: &mut Dice, depth: usize) -> Condition {
        loop {
            match Condition::random(dice, 0) {
                Condition::NIsNot(_) | Condition::Sets(_) => {}
                plain if depth == 0 || dice.once_in(2) => return plain,
                plain => {
                    let other = Condition::plain(dice, depth - 1);
                    return Condition::Either(Box::new(plain), Box::new(other));
                }
            }
        }
    }

    /// Whether it can hold for an event whose document is not known.
    fn can_hold(&self, event: &Document, document_is_known: bool) -> bool {
        match self {
            Condition::Either(one, other) => {
                one.can_hold(event, document_is_known) || other.can_hold(event, document_is_known)
            }
            Condition::NAtLeast(_) | Condition::Tagged(..) | Condition::NoDocument if !document_is_known => true,
            known => known.holds(event),
        }
    }

    /// The same under a collation to which upper and lower case are one.
    fn caseless(self) -> Condition {
        match self {
            Condition::Tagged(tag, _) => Condition::Tagged(tag, true),
            Condition::Either(one, other) => Condition::Either(Box::new(one.caseless()), Box::new(other.caseless())),
            Condition::Not(inner) => Condition::Not(Box::new(inner.caseless())),
            other => other,
        }
    }

    pub(crate) fn stage(&self) -> Document {
        match self {
            Condition::Operation(names) => doc! { "operationType": { "$in": names.clone() } },
            Condition::Collection(name) => doc! { "ns.coll": *name },
            Condition::NAtLeast(n) => doc! { "fullDocument.n": { "$gte": n } },
            Condition::NIsNot(n) => doc! { "fullDocument.n": { "$ne": n } },
            Condition::Tagged(tag, _) => doc! { "fullDocument.tags": *tag },
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
            Condition::Tagged(tag, caseless) => full_document.is_ok_and(|d| tagged(d, tag, *caseless)),
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

pub(crate) fn tagged(document: &Document, tag: &str, caseless: bool) -> bool {
    let is = |found: &str| found == tag || caseless && found.to_lowercase() == tag;
    let tags = document.get_array("tags");
    tags.is_ok_and(|tags| tags.iter().any(|found| found.as_str().is_some_and(is)))
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
            Filter::Has(tag) => tagged(document, tag, false),
            Filter::BelowAndNotTagged(most, tag) => n < most && !tagged(document, tag, false),
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
    pub(crate) operations: Option<Vec<OperationType>>,
    pub(crate) match_deletes: bool,
    pub(crate) caseless: bool,
    pub(crate) splits: bool,
    /// Events and bytes in a channel.
    pub(crate) capacity: (usize, usize),
}

const OPERATIONS: [OperationType; 12] = [
    OperationType::Insert,
    OperationType::Update,
    OperationType::Replace,
    OperationType::Delete,
    OperationType::Drop,
    OperationType::Rename,
    OperationType::DropDatabase,
    OperationType::Invalidate,
    OperationType::Create,
    OperationType::CreateIndexes,
    OperationType::DropIndexes,
    OperationType::Modify,
];

impl Question {
    pub(crate) fn random(dice: &mut Dice) -> Question {
        let database = dice.pick(&DATABASES).to_owned();
        let collection = dice.pick(&COLLECTIONS).to_owned();
        let required = dice.once_in(10);
        let match_deletes = dice.once_in(5);
        // What a collation says of a field is not looked at where an image is missing.
        let caseless = dice.once_in(6) && !required && !match_deletes;
        let condition = |dice: &mut Dice| match required || match_deletes {
            true => Condition::plain(dice, 2),
            false => Condition::random(dice, 2),
        };
        let conditions = (0..dice.roll(3)).map(|_| condition(dice));
        let conditions = conditions.map(|condition| if caseless { condition.caseless() } else { condition });
        let conditions = conditions.collect();
        let named = dice.once_in(5);
        Question {
            scope: match dice.roll(5) {
                0 => Scope::Everything,
                1 => Scope::Deployment,
                2 => Scope::Database(database),
                _ => Scope::Collection { database, collection },
            },
            // A collation says nothing to it, and is refused beside it.
            filter: (!caseless && dice.once_in(3)).then(|| Filter::random(dice)),
            conditions,
            full_document: match required && dice.once_in(2) {
                true => FullDocument::Required,
                false => dice.pick(&[
                    FullDocument::Default,
                    FullDocument::UpdateLookup,
                    FullDocument::WhenAvailable,
                ]),
            },
            before_change: match required && dice.once_in(2) {
                true => FullDocumentBeforeChange::Required,
                false => dice.pick(&[FullDocumentBeforeChange::Off, FullDocumentBeforeChange::WhenAvailable]),
            },
            expanded: dice.once_in(2),
            concern: dice.pick(&[ReadConcern::Local, ReadConcern::Durable]),
            operations: named.then(|| (0..=dice.roll(6)).map(|_| dice.pick(&OPERATIONS)).collect()),
            match_deletes,
            caseless,
            splits: dice.once_in(6),
            capacity: (
                dice.pick(&[1, 2, 3, 4, 1000]),
                // Now and then less than any event.
                dice.pick(&[1, 10_000, 20_000, usize::MAX]),
            ),
        }
    }

    /// The watch, begun by `make` for a scope.
    pub(crate) fn watch(&self, make: impl FnOnce(Scope) -> Watch) -> Watch {
        let stages = self
            .conditions
            .iter()
            .map(|condition| doc! { "$match": condition.stage() });
        let splits = self.splits.then(|| doc! { "$changeStreamSplitLargeEvent": {} });
        let (events, bytes) = self.capacity;
        let mut watch = make(self.scope.clone())
            .pipeline(stages.chain(splits))
            .full_document(self.full_document)
            .full_document_before_change(self.before_change)
            .show_expanded_events(self.expanded)
            .match_deletes_by_pre_image(self.match_deletes)
            .channel_capacity(events, bytes)
            .read_concern(self.concern);
        if let Some(filter) = self.filter {
            watch = watch.filter(filter.text());
        }
        if let Some(operations) = &self.operations {
            watch = watch.operations(operations.iter().copied());
        }
        if self.caseless {
            watch = watch.collation(rawdoc! { "locale": "en", "strength": 2 });
        }
        watch
    }

    /// What is told of an event: the event, that it is not wanted, or why it cannot be told.
    fn judge(&self, entry: &Written, operation: &str, event: &Document) -> Verdict {
        // No condition asks for the document before the change.
        let can_hold = |document_is_known| {
            let mut conditions = self.conditions.iter();
            conditions.all(|condition| condition.can_hold(event, document_is_known))
        };
        let filtered = |event: &Document| {
            let filter = |document: &Document| self.filter.is_none_or(|filter| filter.holds(document));
            self.filter.is_none() || event.get_document("fullDocument").is_ok_and(filter)
        };
        let by_deleted = self.match_deletes && operation == "delete";
        let no_document =
            self.full_document == FullDocument::Required && operation == "update" && entry.document.is_none();
        let changes = matches!(operation, "update" | "replace" | "delete");
        let no_pre_image =
            self.before_change == FullDocumentBeforeChange::Required && changes && entry.pre_image.is_none();
        if no_document || no_pre_image {
            let document_is_known = !no_document && !by_deleted;
            return match (!document_is_known || filtered(event)) && can_hold(document_is_known) {
                false => Verdict::Passed,
                true if no_document => Verdict::Fails("no post-image"),
                true => Verdict::Fails("no pre-image"),
            };
        }
        let mut judged = event.clone();
        if by_deleted {
            let Some(pre_image) = &entry.pre_image else {
                return if can_hold(false) {
                    Verdict::Wanted
                } else {
                    Verdict::Passed
                };
            };
            judged.insert("fullDocument", pre_image.clone());
            judged.insert("fullDocumentBeforeChange", pre_image.clone());
        }
        let wanted = filtered(&judged) && self.conditions.iter().all(|condition| condition.holds(&judged));
        if wanted { Verdict::Wanted } else { Verdict::Passed }
    }
}

/// What becomes of an event.
enum Verdict {
    Wanted,
    Passed,
    /// The stream fails at it, for good.
    Fails(&'static str),
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

    /// What stands for an event that cannot be told, behind which nothing comes.
    pub(crate) fn failed(why: &str) -> Seen {
        Seen {
            event: doc! { "fails": why },
            token: String::new(),
        }
    }

    /// As [`Seen::failed`], for the error of a watch that requires what is not there.
    pub(crate) fn of_error(error: &Error) -> Option<Seen> {
        match error {
            Error::NoPostImage { .. } => Some(Seen::failed("no post-image")),
            Error::NoPreImage { .. } => Some(Seen::failed("no pre-image")),
            _ => None,
        }
    }

    /// Whether nothing comes behind it.
    pub(crate) fn is_failure(&self) -> bool {
        self.token.is_empty()
    }
}

/// The reference: decodes everything, and says in plain words what each entry means for a watcher.
pub(crate) struct Reference<'a> {
    pub(crate) entries: &'a [Written],
    pub(crate) log_id: oplog::LogId,
}

impl Reference<'_> {
    /// Every event for a watcher of the entries in `range`, who after each end begins again right behind it, up to one that it
    /// fails at.
    pub(crate) fn answer(&self, question: &Question, range: Range<usize>) -> Vec<Seen> {
        let mut seen = Vec::new();
        for entry in &self.entries[range] {
            let (mine, ends) = Reference::concerns(&question.scope, entry);
            if !mine {
                continue;
            }
            if let Some(operation) = Reference::operation(entry, question) {
                let event = self.event(question, entry, operation);
                let token = self.token(entry, 1 + u8::from(ends));
                match question.judge(entry, operation, &event) {
                    Verdict::Wanted => seen.push(Seen { event, token }),
                    Verdict::Passed => {}
                    Verdict::Fails(why) => {
                        seen.push(Seen::failed(why));
                        break;
                    }
                }
            }
            if ends {
                let event = self.event(question, entry, "invalidate");
                if question.conditions.iter().all(|condition| condition.holds(&event)) {
                    seen.push(Seen {
                        event,
                        token: self.token(entry, 3),
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
        let of_deployment = |name: &str| ["admin", "config", "local", "tailwater"].contains(&name);
        match scope {
            Scope::Everything => (entry.database != "tailwater", false),
            Scope::Deployment => {
                let target = to.is_some_and(|to| !of_deployment(to.get_str("db").unwrap()));
                (!of_deployment(entry.database) || target, false)
            }
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

    pub(crate) fn operation(entry: &Written, question: &Question) -> Option<&'static str> {
        use EntryKind::{Create, CreateIndexes, DropIndexes, Modify, Noop, SessionWrite, StartIndexBuild};
        let kind = EntryKind::from_number(entry.kind)?;
        let is_expanded = matches!(kind, Create | CreateIndexes | DropIndexes | Modify);
        let shown = match &question.operations {
            Some(named) => named.iter().any(|named| named.name() == kind.name()),
            None => question.expanded || !is_expanded,
        };
        let never = matches!(kind, Noop | SessionWrite | StartIndexBuild);
        (shown && !never).then(|| kind.name())
    }

    pub(crate) fn event(&self, question: &Question, entry: &Written, operation: &str) -> Document {
        let nanos = entry.timestamp.as_nanos();
        let time = bson::Timestamp {
            time: (nanos / 1_000_000_000) as u32,
            increment: (nanos % 1_000_000_000) as u32 + 1,
        };
        let is_invalidate = operation == "invalidate";
        let (_, ends) = Reference::concerns(&question.scope, entry);
        let kind = 1 + u8::from(ends) + u8::from(is_invalidate);
        let mut event = doc! {
            "_id": { "_data": self.token(entry, kind) },
            "operationType": operation,
            "clusterTime": time,
            "wallTime": bson::DateTime::from_millis((nanos / 1_000_000) as i64),
        };
        if question.expanded && !entry.collection.is_empty() {
            let (subtype, bytes) = (bson::spec::BinarySubtype::Uuid, COLLECTION_ID.to_vec());
            event.insert("collectionUUID", bson::Binary { subtype, bytes });
        }
        if let Some(session) = &entry.session {
            event.extend(session.clone());
            if question.expanded && session.contains_key("txnNumber") {
                event.insert("commitTimestamp", time);
            }
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
                if operation == "modify" {
                    let mut before = detail.get_document("before").unwrap().clone();
                    let mut options = doc! { "uuid": event.get("collectionUUID").unwrap().clone() };
                    let state = match detail.remove("options") {
                        Some(Bson::Document(now)) => {
                            options.extend(std::mem::take(&mut before));
                            detail = now;
                            doc! { "collectionOptions": options }
                        }
                        _ => {
                            detail.remove("before");
                            doc! { "collectionOptions": options, "indexOptions": before }
                        }
                    };
                    event.insert("stateBeforeChange", state);
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
        let mut bytes = vec![3];
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
