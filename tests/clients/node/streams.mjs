// Change streams of the official driver for Node: every scope, every option, invalidation, and what is refused.
import assert from 'node:assert/strict';
import { MongoClient, MongoServerError, ObjectId } from 'mongodb';

const client = new MongoClient(process.argv[2], { serverSelectionTimeoutMS: 10_000 });
const database = client.db('streams');

async function fresh(name, options) {
  await database.collection(name).drop();
  return options ? database.createCollection(name, options) : database.collection(name);
}

const IMAGES = { changeStreamPreAndPostImages: { enabled: true } };

/** A stream that watches from now on: the driver begins with the first question. */
async function watching(target, pipeline = [], options = {}) {
  const stream = target.watch(pipeline, { maxAwaitTimeMS: 50, ...options });
  assert.equal(await stream.tryNext(), null);
  return stream;
}

async function next(stream, count) {
  const events = [];
  while (events.length < count) events.push(await stream.next());
  return events;
}

const kinds = async (stream, count) => (await next(stream, count)).map((event) => event.operationType);

/** The number that a promise is refused with. */
async function code(promise) {
  const error = await promise.then(() => undefined, (error) => error);
  assert(error instanceof MongoServerError, `not refused: ${error}`);
  return error.code;
}

async function starts() {
  const orders = await fresh('starts');
  const stream = await watching(orders);
  const before = stream.resumeToken;
  await database.collection('elsewhere').insertOne({});
  // The token goes on, though there is nothing for this stream.
  while (stream.resumeToken._data === before._data) assert.equal(await stream.tryNext(), null);
  const told = stream.resumeToken;
  await orders.insertMany([{ _id: 1 }, { _id: 2 }]);
  const [first] = await next(stream, 1);
  assert.deepEqual([first.operationType, first.fullDocument, first.ns], ['insert', { _id: 1 }, { db: 'streams', coll: 'starts' }]);
  assert.deepEqual(stream.resumeToken, first._id);
  assert(first.wallTime instanceof Date);
  for (const [options, id] of [
    [{ resumeAfter: first._id }, 2],
    [{ startAfter: first._id }, 2],
    [{ resumeAfter: told }, 1],
    [{ startAtOperationTime: first.clusterTime }, 1],
  ]) {
    const started = orders.watch([], options);
    assert.deepEqual((await started.next()).documentKey, { _id: id }, JSON.stringify(options));
    await started.close();
  }
  await stream.close();
}

async function documents() {
  const orders = await fresh('images', IMAGES);
  const plain = await watching(orders);
  const lookedUp = await watching(orders, [], { fullDocument: 'updateLookup' });
  const imaged = await watching(orders, [], { fullDocument: 'required', fullDocumentBeforeChange: 'required' });
  await orders.insertOne({ _id: 1, n: 1, list: [1, 2, 3], gone: true });
  await orders.updateOne({ _id: 1 }, [{ $set: { n: 2, list: [1] } }, { $unset: 'gone' }]);
  await orders.replaceOne({ _id: 1 }, { n: 3 });
  const [, update] = await next(plain, 2);
  assert.deepEqual(update.updateDescription, {
    updatedFields: { n: 2 },
    removedFields: ['gone'],
    truncatedArrays: [{ field: 'list', newSize: 1 }],
  });
  assert(!('fullDocument' in update) && !('fullDocumentBeforeChange' in update));
  // As the update left it, whatever has come since.
  assert.deepEqual((await next(lookedUp, 2))[1].fullDocument, { _id: 1, n: 2, list: [1] });
  const [, changed, replaced] = await next(imaged, 3);
  assert.deepEqual(changed.fullDocumentBeforeChange, { _id: 1, n: 1, list: [1, 2, 3], gone: true });
  assert.deepEqual(changed.fullDocument, { _id: 1, n: 2, list: [1] });
  assert.deepEqual(replaced.fullDocumentBeforeChange, changed.fullDocument);
  for (const stream of [plain, lookedUp, imaged]) await stream.close();

  const bare = await fresh('bare');
  await bare.insertOne({ _id: 1 });
  const wanted = await watching(bare, [], { fullDocumentBeforeChange: 'whenAvailable' });
  const required = await watching(bare, [], { fullDocumentBeforeChange: 'required' });
  await bare.deleteOne({ _id: 1 });
  assert.equal((await wanted.next()).fullDocumentBeforeChange, null);
  assert.equal(await code(required.next()), 47);
  await wanted.close();
}

async function scopes() {
  const orders = await fresh('scoped');
  const elsewhere = client.db('elsewhere').collection('scoped');
  const byPipeline = await watching(orders, [
    { $match: { 'updateDescription.updatedFields.status': { $exists: true } } },
    { $project: { operationType: 1, status: '$updateDescription.updatedFields.status' } },
  ]);
  const ofDatabase = await watching(database, [{ $match: { operationType: { $in: ['insert', 'drop'] } } }]);
  const ofEverything = await watching(client, [{ $match: { 'ns.coll': /^scoped/ } }]);
  const session = client.startSession();
  const inSession = await watching(orders, [{ $match: { operationType: 'drop' } }], { session });
  await orders.insertOne({ _id: 1 });
  await orders.updateOne({ _id: 1 }, { $set: { n: 1 } });
  await orders.updateOne({ _id: 1 }, { $set: { status: 'paid' } });
  await elsewhere.insertOne({ _id: new ObjectId() });
  await orders.drop();
  const [seen] = await next(byPipeline, 1);
  assert.deepEqual([seen.operationType, seen.status, seen.documentKey], ['update', 'paid', undefined]);
  assert.deepEqual(await kinds(ofDatabase, 2), ['insert', 'drop']);
  assert.deepEqual(await kinds(ofEverything, 5), ['insert', 'update', 'update', 'insert', 'drop']);
  assert.deepEqual(await kinds(inSession, 1), ['drop']);
  for (const stream of [byPipeline, ofDatabase, ofEverything, inSession]) await stream.close();
  await session.endSession();
}

/** Events as an emitter gives them, and as an iterator does. */
async function emitted() {
  const orders = await fresh('emitted');
  const stream = orders.watch();
  const ready = new Promise((resolve) => stream.once('resumeTokenChanged', resolve));
  const tokens = [];
  const events = [];
  stream.on('resumeTokenChanged', (token) => tokens.push(token));
  const enough = new Promise((resolve, reject) => {
    stream.on('error', reject);
    stream.on('change', (event) => events.push(event.documentKey._id) === 3 && resolve());
  });
  await ready;
  await orders.insertMany([{ _id: 1 }, { _id: 2 }, { _id: 3 }]);
  await enough;
  assert.deepEqual(events, [1, 2, 3]);
  assert(tokens.length > 0);
  const closed = new Promise((resolve) => stream.once('close', resolve));
  await stream.close();
  await closed;
}

async function options() {
  const orders = await fresh('options');
  const expanded = await watching(orders, [], { showExpandedEvents: true });
  const collated = await watching(orders, [{ $match: { 'fullDocument.city': 'oslo' } }], {
    collation: { locale: 'en', strength: 2 },
    batchSize: 2,
    comment: 'of a test',
    readConcern: { level: 'majority' },
  });
  await database.createCollection('options');
  await orders.createIndex({ a: 1 });
  const cities = ['Oslo', 'Bergen', 'OSLO', 'oslo', 'Oslo'];
  await orders.insertMany(cities.map((city, _id) => ({ _id, city })));
  await orders.dropIndex('a_1');
  const found = (await next(collated, 4)).map((event) => event.documentKey._id);
  assert.deepEqual(found, [0, 2, 3, 4]);
  const events = await next(expanded, 8);
  const inserts = Array(5).fill('insert');
  assert.deepEqual(events.map((event) => event.operationType), ['create', 'createIndexes', ...inserts, 'dropIndexes']);
  assert(events.every((event) => event.collectionUUID));
  for (const stream of [expanded, collated]) await stream.close();
}

async function split() {
  const large = await fresh('large', IMAGES);
  const text = (letter) => letter.repeat(10 << 20);
  await large.insertOne({ _id: 1, text: text('a') });
  const images = { fullDocument: 'required', fullDocumentBeforeChange: 'required' };
  const stream = await watching(large, [{ $changeStreamSplitLargeEvent: {} }], images);
  await large.updateOne({ _id: 1 }, { $set: { text: text('b') } });
  const parts = [await stream.next()];
  while (parts.at(-1).splitEvent.fragment < parts[0].splitEvent.of) parts.push(await stream.next());
  const event = Object.assign({}, ...parts);
  assert(parts.length > 1);
  assert.deepEqual([event.fullDocumentBeforeChange.text[0], event.fullDocument.text[0]], ['a', 'b']);
  // Resumed behind a part, it goes on with the next.
  const resumed = large.watch([{ $changeStreamSplitLargeEvent: {} }], { ...images, resumeAfter: parts[0]._id });
  assert.equal((await resumed.next()).splitEvent.fragment, 2);
  await resumed.close();
  await stream.close();
}

async function invalidation() {
  const orders = await fresh('ends');
  await orders.insertOne({});
  const dropped = await watching(orders);
  await orders.drop();
  const [, last] = await next(dropped, 2);
  assert.equal(last.operationType, 'invalidate');
  assert.equal(await dropped.tryNext().catch(() => null), null);
  assert(dropped.closed);
  assert.equal(await code(orders.watch([], { resumeAfter: last._id }).next()), 260);
  const again = await watching(orders, [], { startAfter: last._id });
  await orders.insertOne({ _id: 'again' });
  assert.deepEqual((await again.next()).documentKey, { _id: 'again' });
  await orders.rename('renamed', { dropTarget: true });
  const [renamed, end] = await next(again, 2);
  assert.deepEqual([renamed.operationType, renamed.to, end.operationType], ['rename', { db: 'streams', coll: 'renamed' }, 'invalidate']);

  const whole = client.db('streamsEnd');
  await whole.dropDatabase();
  const ofDatabase = await watching(whole);
  await whole.collection('a').insertOne({});
  await whole.dropDatabase();
  assert.deepEqual(await kinds(ofDatabase, 4), ['insert', 'drop', 'dropDatabase', 'invalidate']);
}

async function refused() {
  const orders = await fresh('refused');
  const watch = (pipeline, options) => code(orders.watch(pipeline, options).next());
  assert.equal(await watch([{ $group: { _id: 1 } }]), 20);
  assert.equal(await watch([], { resumeAfter: { _data: '00' } }), 260);
  assert.equal(await code(client.db('admin').watch().next()), 73);
  assert.equal(await watch([{ $project: { _id: 0 } }]), 280);
}

await client.connect();
for (const part of [starts, documents, scopes, emitted, options, split, invalidation, refused]) {
  await part();
  console.log(part.name);
}
await client.close();
