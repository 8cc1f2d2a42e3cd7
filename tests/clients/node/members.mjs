// Finds all members of a replica set from one of them, writes to the primary, and reads from the secondaries what was written.
import assert from 'node:assert/strict';
import { MongoClient, ReadPreference } from 'mongodb';

const [uri, seed] = process.argv.slice(2);
const client = new MongoClient(uri, { monitorCommands: true, serverSelectionTimeoutMS: 60_000 });
const secondaries = new Set();
let known;
const complete = new Promise((resolve) => (known = resolve));
client.on('topologyDescriptionChanged', ({ newDescription }) => {
  for (const [address, server] of newDescription.servers) {
    if (server.type === 'RSSecondary') secondaries.add(address);
  }
  const types = [...newDescription.servers.values()].map((server) => server.type);
  if (types.includes('RSPrimary') && secondaries.size === 2) known();
});
const asked = new Set();
client.on('commandStarted', (event) => {
  if (['find', 'aggregate', 'getMore'].includes(event.commandName)) asked.add(event.address);
});
await client.connect();
await complete;
const things = client.db('node').collection('things');
await things.insertMany(Array.from({ length: 100 }, (_, n) => ({ _id: n })));

// A session reads on any member what it has written.
const elsewhere = { readPreference: ReadPreference.secondary };
const session = client.startSession();
for (let n = 100; n < 150; n++) {
  await things.insertOne({ _id: n }, { session });
  assert.ok(await things.findOne({ _id: n }, { ...elsewhere, session }), `${n}`);
}
const settled = { ...elsewhere, session, readConcern: { level: 'majority' }, batchSize: 20 };
assert.equal((await things.find({}, settled).toArray()).length, 150);
await session.endSession();
assert.ok(asked.size > 0 && [...asked].every((address) => secondaries.has(address)), `${[...asked]}`);

// A stream of a secondary goes on at the primary.
const stream = things.watch([], elsewhere);
await stream.tryNext();
await things.insertOne({ _id: 'one' });
await things.insertOne({ _id: 'two' });
// It begins with what the secondary knew a majority to hold, which may be before the last of the writes above.
let first = await stream.next();
while (typeof first.documentKey._id === 'number') first = await stream.next();
assert.equal(first.documentKey._id, 'one');
await stream.close();
const resumed = things.watch([], { resumeAfter: first._id, readPreference: ReadPreference.primary });
assert.equal((await resumed.next()).documentKey._id, 'two');
await resumed.close();

// As many members as there are, and no more.
for (const w of [1, 2, 3, 'majority']) {
  await things.updateOne({ _id: 0 }, { $inc: { a: 1 } }, { writeConcern: { w } });
}
await assert.rejects(things.insertOne({ _id: 'four' }, { writeConcern: { w: 4 } }), { code: 100 });
assert.ok(await things.findOne({ _id: 'four' }));

// Connected to a secondary alone, as tools are: it reads, and does not write.
const alone = new MongoClient(seed, { directConnection: true });
assert.ok((await alone.db('node').collection('things').countDocuments()) > 0);
await assert.rejects(alone.db('node').collection('things').insertOne({}), { code: 10107 });
const status = await alone.db('admin').command({ replSetGetStatus: 1 });
assert.equal(status.myState, 2);
await alone.close();
await client.close();
