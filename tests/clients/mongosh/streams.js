// Change streams as a user of the shell has them: every scope, every option, invalidation, and what is refused.
const assert = require('node:assert/strict');

// The shell's values are of another realm than the assertions, so they are compared as text.
const same = (value, expected) => assert.equal(EJSON.stringify(value), EJSON.stringify(expected));

const shop = db.getSiblingDB('mongoshStreams');
shop.dropDatabase();

function next(stream, count) {
  const events = [];
  while (events.length < count) events.push(stream.next());
  return events;
}

const kinds = (stream, count) => next(stream, count).map((event) => event.operationType);

/** The number that something is refused with. */
function code(action) {
  try {
    action();
  } catch (error) {
    return error.code;
  }
  throw new Error('it was not refused');
}

shop.createCollection('orders', { changeStreamPreAndPostImages: { enabled: true } });
const plain = shop.orders.watch();
const imaged = shop.orders.watch([], { fullDocument: 'required', fullDocumentBeforeChange: 'required', batchSize: 2 });
const paid = shop.orders.watch([{ $match: { 'updateDescription.updatedFields.status': { $exists: true } } }]);
const ofDatabase = shop.watch([{ $match: { operationType: { $in: ['insert', 'drop'] } } }]);
const ofEverything = db.getMongo().watch([{ $match: { 'ns.db': 'mongoshStreams' } }], { maxAwaitTimeMS: 50, comment: 'of a test' });
const collated = shop.orders.watch([{ $match: { 'fullDocument.city': 'oslo' } }], { collation: { locale: 'en', strength: 2 } });
assert.equal(ofEverything.tryNext(), null);

shop.orders.insertOne({ _id: 1, n: 1, city: 'Oslo' });
shop.orders.updateOne({ _id: 1 }, { $set: { n: 2 } });
shop.orders.updateOne({ _id: 1 }, { $set: { status: 'paid' } });
const [inserted, updated] = next(plain, 2);
same(inserted.fullDocument, { _id: 1, n: 1, city: 'Oslo' });
same(updated.updateDescription.updatedFields, { n: 2 });
same(paid.next().updateDescription.updatedFields, { status: 'paid' });
same(collated.next().documentKey, { _id: 1 });
const change = next(imaged, 2)[1];
same([change.fullDocumentBeforeChange.n, change.fullDocument.n], [1, 2]);
for (const options of [
  { resumeAfter: inserted._id },
  { startAfter: inserted._id },
  { startAtOperationTime: updated.clusterTime, fullDocument: 'updateLookup' },
]) {
  const resumed = shop.orders.watch([], options);
  same(resumed.next().documentKey, { _id: 1 });
  resumed.close();
}

// As far as a majority has it; and one too large for a message, in fragments.
const agreed = shop.orders.watch([], { readConcern: { level: 'majority' }, startAfter: inserted._id });
same(agreed.next().documentKey, { _id: 1 });
agreed.close();
shop.createCollection('large', { changeStreamPreAndPostImages: { enabled: true } });
const halves = { fullDocument: 'required', fullDocumentBeforeChange: 'required' };
const split = shop.large.watch([{ $changeStreamSplitLargeEvent: {} }], halves);
shop.large.insertOne({ _id: 1, text: 'x'.repeat(9 << 20) });
shop.large.replaceOne({ _id: 1 }, { text: 'y'.repeat(9 << 20) });
assert.equal(split.next().operationType, 'insert');
const fragments = next(split, 2);
same(fragments.map((event) => event.splitEvent), [{ fragment: 1, of: 2 }, { fragment: 2, of: 2 }]);
split.close();
const resumed = shop.large.watch([{ $changeStreamSplitLargeEvent: {} }], { ...halves, resumeAfter: fragments[0]._id });
same(resumed.next().splitEvent, { fragment: 2, of: 2 });
resumed.close();

// A collection that has another name is another one.
const renamed = shop.large.watch();
shop.large.renameCollection('larger');
same(kinds(renamed, 2), ['rename', 'invalidate']);

const expanded = shop.other.watch([], { showExpandedEvents: true });
shop.createCollection('other');
shop.other.createIndex({ a: 1 });
same(kinds(expanded, 2), ['create', 'createIndexes']);
expanded.close();

shop.orders.drop();
next(plain, 2);
const last = plain.next();
assert.equal(last.operationType, 'invalidate');
assert.equal(code(() => shop.orders.watch([], { resumeAfter: last._id }).tryNext()), 260);
const again = shop.orders.watch([], { startAfter: last._id });
shop.orders.insertOne({ _id: 2 });
same(again.next().documentKey, { _id: 2 });
same(kinds(ofDatabase, 4), ['insert', 'insert', 'drop', 'insert']);
same(kinds(ofEverything, 5).slice(0, 3), ['insert', 'update', 'update']);

assert.equal(code(() => shop.orders.watch([{ $group: { _id: 1 } }]).tryNext()), 20);
assert.equal(code(() => shop.orders.watch([], { resumeAfter: { _data: '00' } }).tryNext()), 260);
assert.equal(code(() => shop.runCommand({ nope: 1 })), 59);
assert.equal(code(() => shop.orders.insertOne({ _id: 2 })), 11000);
const outcome = shop.orders.bulkWrite([
  { insertOne: { document: { _id: 3 } } },
  { updateOne: { filter: { _id: 3 }, update: { $set: { n: 1 } } } },
  { deleteOne: { filter: { _id: 3 } } },
]);
same([outcome.insertedCount, outcome.modifiedCount, outcome.deletedCount], [1, 1, 1]);
for (const stream of [imaged, paid, ofDatabase, ofEverything, collated, again]) stream.close();
print('done');
