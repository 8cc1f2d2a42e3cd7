// Mongoose, as its users write it, against the server at the address given.
import assert from 'node:assert/strict';
import mongoose from 'mongoose';

await mongoose.connect(process.argv[2], { dbName: 'mongoose', serverSelectionTimeoutMS: 10_000 });
await mongoose.connection.dropDatabase();

const userSchema = new mongoose.Schema({
  name: { type: String, unique: true },
  status: String,
  tags: [String],
  address: { city: String },
}, { timestamps: true });
const User = mongoose.model('User', userSchema);
await User.init();

const inserts = [];
const statuses = [];
const insertStream = User.watch([{ $match: { operationType: 'insert' } }]);
const statusStream = User.watch([{ $match: { 'updateDescription.updatedFields.status': { $exists: true } } }]);
const failed = (error) => { throw error; };
insertStream.on('change', (change) => inserts.push(change.fullDocument.name)).on('error', failed);
statusStream.on('change', (change) => statuses.push(change.updateDescription.updatedFields.status)).on('error', failed);
await Promise.all([insertStream, statusStream].map((stream) => new Promise((resolve) => stream.once('ready', resolve))));
await new Promise((resolve) => setTimeout(resolve, 500));

const ada = await User.create({ name: 'Ada', status: 'new', tags: ['a'], address: { city: 'London' } });
await User.create([{ name: 'Bo' }, { name: 'Cy' }]);
ada.status = 'known';
await ada.save();
ada.tags.push('b');
await ada.save();
await User.updateOne({ name: 'Bo' }, { status: 'seen' });

await assert.rejects(User.create({ name: 'Ada' }), { code: 11000 });
const upserted = await User.findOneAndUpdate({ name: 'Di' }, { status: 'made' }, { upsert: true, returnDocument: 'after' });
assert.equal(upserted.status, 'made');
const found = await User.find({ 'address.city': 'London', tags: 'b' }).lean();
assert.deepEqual([found.length, found[0].tags, found[0].__v], [1, ['a', 'b'], 1]);
const counts = await User.aggregate([{ $group: { _id: '$status', n: { $sum: 1 } } }, { $sort: { _id: 1 } }]);
assert.deepEqual(counts.map((count) => count._id), [null, 'known', 'made', 'seen']);
await mongoose.connection.transaction(async (session) => {
  await User.deleteOne({ name: 'Cy' }, { session });
});
assert.equal(await User.countDocuments(), 3);

while (inserts.length < 4 || statuses.length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
assert.deepEqual(inserts.sort(), ['Ada', 'Bo', 'Cy', 'Di']);
assert.deepEqual(statuses, ['known', 'seen']);
await insertStream.close();
await statusStream.close();

// Indexes by the schema, in bulk, and what is refused.
assert.deepEqual(Object.keys(await User.collection.indexInformation()).sort(), ['_id_', 'name_1']);
const bulk = await User.bulkWrite([
  { insertOne: { document: { name: 'Ed', status: 'new' } } },
  { updateOne: { filter: { name: 'Ed' }, update: { $set: { status: 'old' } } } },
  { replaceOne: { filter: { name: 'Fi' }, replacement: { name: 'Fi' }, upsert: true } },
  { deleteOne: { filter: { name: 'Ed' } } },
]);
assert.deepEqual([bulk.insertedCount, bulk.modifiedCount, bulk.upsertedCount, bulk.deletedCount], [1, 1, 1, 1]);
await assert.rejects(User.bulkWrite([{ insertOne: { document: { name: 'Fi' } } }]), { code: 11000 });
await assert.rejects(User.collection.updateOne({}, { $nope: { a: 1 } }), { code: 9 });
await assert.rejects(User.create({ name: 'Gi', tags: { no: 'list' }, address: 'no document' }), { name: 'ValidationError' });

// Every option of a stream, on documents that keep their images; and how one ends.
const itemSchema = new mongoose.Schema({ n: Number, city: String }, { versionKey: false, changeStreamPreAndPostImages: { enabled: true } });
itemSchema.set('autoCreate', false);
const Item = mongoose.model('Item', itemSchema);
await Item.createCollection({ changeStreamPreAndPostImages: { enabled: true } });

/** A stream that watches from now on, and what comes of it. */
async function watching(pipeline, options) {
  const stream = Item.watch(pipeline, { maxAwaitTimeMS: 50, ...options });
  const events = [];
  stream.on('change', (change) => events.push(change)).on('error', failed);
  await new Promise((resolve) => stream.once('resumeTokenChanged', resolve));
  const take = async (count) => {
    while (events.length < count) await new Promise((resolve) => setTimeout(resolve, 10));
    return events.splice(0, count);
  };
  return { stream, take };
}

const imaged = await watching([], {
  fullDocument: 'required',
  fullDocumentBeforeChange: 'required',
  showExpandedEvents: true,
  batchSize: 3,
  comment: 'of a test',
});
const agreed = await watching([], { readConcern: { level: 'majority' } });
const collated = await watching([{ $match: { 'fullDocument.city': 'oslo' } }], { collation: { locale: 'en', strength: 2 } });
// Of the database, and of all of them.
const wider = [mongoose.connection, mongoose.connection.getClient()].map((scope) => {
  const stream = scope.watch([{ $match: { operationType: 'insert', 'ns.coll': 'items' } }], { maxAwaitTimeMS: 50 });
  const seen = new Promise((resolve) => stream.once('change', resolve).on('error', failed));
  return { stream, seen, ready: new Promise((resolve) => stream.once('resumeTokenChanged', resolve)) };
});
await Promise.all(wider.map(({ ready }) => ready));
const item = await Item.create({ n: 1, city: 'Oslo' });
item.n = 2;
await item.save();
const [inserted, updated] = await imaged.take(2);
assert.deepEqual([inserted.operationType, inserted.fullDocument.n], ['insert', 1]);
assert.deepEqual([updated.fullDocumentBeforeChange.n, updated.fullDocument.n], [1, 2]);
for (const options of [
  { resumeAfter: inserted._id },
  { startAfter: inserted._id },
  { startAtOperationTime: updated.clusterTime, fullDocument: 'updateLookup', hydrate: true },
]) {
  const resumed = Item.watch([], options);
  const change = await resumed.next();
  assert.deepEqual(change._id, updated._id);
  assert.equal(change.fullDocument instanceof Item, options.hydrate === true);
  await resumed.close();
}
assert.deepEqual((await collated.take(1)).map((event) => event.fullDocument.city), ['Oslo']);
assert.deepEqual((await agreed.take(2)).map((event) => event.operationType), ['insert', 'update']);
for (const { stream, seen } of wider) {
  assert.deepEqual((await seen).documentKey, { _id: item._id });
  await stream.close();
}
await Promise.all([agreed, collated].map(({ stream }) => stream.close()));
const closed = new Promise((resolve) => imaged.stream.once('close', resolve));
await Item.collection.drop();
assert.deepEqual((await imaged.take(2)).map((event) => event.operationType), ['drop', 'invalidate']);
await closed;
await assert.rejects(Item.watch([{ $group: { _id: 1 } }]).next(), { code: 20 });
await assert.rejects(Item.watch([], { resumeAfter: { _data: '00' } }).next(), { code: 260 });
await mongoose.disconnect();
console.log('mongoose');
