// The official driver for Node, as its users use it, against the server at the address given.
import assert from 'node:assert/strict';
import { MongoClient, MongoServerError } from 'mongodb';

const client = new MongoClient(process.argv[2], { serverSelectionTimeoutMS: 10_000 });
const database = client.db('node');

async function fresh(name) {
  const collection = database.collection(name);
  await collection.drop();
  return collection;
}

/** The error that a promise is rejected with. */
async function refused(promise) {
  const error = await promise.then(() => undefined, (error) => error);
  assert(error instanceof MongoServerError, `not refused: ${error}`);
  return error;
}

async function documents() {
  const people = await fresh('people');
  const inserted = await people.insertMany([{ name: 'Ada', age: 36 }, { name: 'Bo', age: 7 }, { name: 'Cy', age: 19 }]);
  assert.equal(inserted.insertedCount, 3);
  const adults = await people.find({ age: { $gte: 18 } }).sort({ age: -1 }).project({ _id: 0, name: 1 }).toArray();
  assert.deepEqual(adults, [{ name: 'Ada' }, { name: 'Cy' }]);
  const updated = await people.updateMany({ age: { $lt: 30 } }, { $inc: { age: 1 }, $push: { tags: 'young' } });
  assert.deepEqual([updated.matchedCount, updated.modifiedCount], [2, 2]);
  const replaced = await people.replaceOne({ name: 'Di' }, { name: 'Di', age: 50 }, { upsert: true });
  assert.equal(replaced.upsertedCount, 1);
  const found = await people.findOneAndUpdate({ name: 'Bo' }, { $set: { age: 9 } }, { returnDocument: 'after' });
  assert.equal(found.age, 9);
  assert.equal((await people.findOneAndDelete({ name: 'Di' })).age, 50);
  assert.equal(await people.countDocuments(), 3);
  assert.equal(await people.estimatedDocumentCount(), 3);
  assert.deepEqual((await people.distinct('name')).sort(), ['Ada', 'Bo', 'Cy']);
  const bulk = await people.bulkWrite([
    { insertOne: { document: { _id: 1 } } },
    { updateOne: { filter: { _id: 1 }, update: { $set: { n: 1 } } } },
    { replaceOne: { filter: { _id: 1 }, replacement: { n: 2 } } },
    { deleteOne: { filter: { _id: 1 } } },
  ]);
  assert.deepEqual([bulk.insertedCount, bulk.modifiedCount, bulk.deletedCount], [1, 2, 1]);
  const averages = await people.aggregate([
    { $group: { _id: { $gte: ['$age', 18] }, average: { $avg: '$age' } } },
    { $sort: { _id: 1 } },
  ]).toArray();
  assert.deepEqual(averages, [{ _id: false, average: 9 }, { _id: true, average: 28 }]);
  const explained = await people.find({ age: 20 }).explain('queryPlanner');
  assert.equal(explained.queryPlanner.winningPlan.stage, 'COLLSCAN');
}

async function largeResults() {
  const many = await fresh('many');
  await many.insertMany(Array.from({ length: 5000 }, (_, i) => ({ _id: i, text: 'x'.repeat(100) })));
  let sum = 0;
  for await (const document of many.find().batchSize(333)) sum += document._id;
  assert.equal(sum, (4999 * 5000) / 2);
  const cursor = many.find().batchSize(10);
  await cursor.next();
  await cursor.close();
}

async function indexes() {
  const users = await fresh('users');
  assert.equal(await users.createIndex({ email: 1 }, { unique: true }), 'email_1');
  await users.insertOne({ email: 'a@b.c' });
  const error = await refused(users.insertOne({ email: 'a@b.c' }));
  assert.equal(error.code, 11000);
  assert.deepEqual(error.keyValue, { email: 'a@b.c' });
  assert.deepEqual((await users.indexes()).map((index) => index.name), ['_id_', 'email_1']);
  const explained = await users.find({ email: 'a@b.c' }).explain();
  assert.equal(explained.queryPlanner.winningPlan.inputStage.indexName, 'email_1');
  await users.dropIndex('email_1');
  await users.insertOne({ email: 'a@b.c' });
}

async function collections() {
  const capped = await database.createCollection('capped', { capped: true, size: 4096, max: 2 }).catch(() => database.collection('capped'));
  await capped.insertMany([{ _id: 1 }, { _id: 2 }, { _id: 3 }]);
  assert.deepEqual(await capped.find().map((document) => document._id).toArray(), [2, 3]);
  await capped.drop();
  const validated = await fresh('validated');
  await database.createCollection('validated', { validator: { $jsonSchema: { required: ['name'] } } });
  assert.equal((await refused(validated.insertOne({ a: 1 }))).code, 121);
  await validated.rename('renamed', { dropTarget: true });
  const names = (await database.listCollections().toArray()).map((collection) => collection.name);
  assert(names.includes('renamed') && !names.includes('validated'));
  const databases = (await client.db().admin().listDatabases()).databases.map((database) => database.name);
  assert(databases.includes('node'));
}

async function transactions() {
  const accounts = await fresh('accounts');
  await accounts.insertMany([{ _id: 'a', balance: 10 }, { _id: 'b', balance: 0 }]);
  await client.withSession((session) => session.withTransaction(async () => {
    await accounts.updateOne({ _id: 'a' }, { $inc: { balance: -5 } }, { session });
    assert.equal((await accounts.findOne({ _id: 'a' })).balance, 10);
    await accounts.updateOne({ _id: 'b' }, { $inc: { balance: 5 } }, { session });
    assert.equal(await accounts.countDocuments({ balance: 5 }, { session }), 2);
  }));
  assert.deepEqual(await accounts.find().map((account) => account.balance).toArray(), [5, 5]);
  await client.withSession(async (session) => {
    session.startTransaction();
    await accounts.deleteMany({}, { session });
    await session.abortTransaction();
  });
  assert.equal(await accounts.countDocuments(), 2);
  // Both write the same document: one is tried again.
  await Promise.all([1, 2, 3, 4].map(() => client.withSession((session) => session.withTransaction(async () => {
    const { balance } = await accounts.findOne({ _id: 'a' }, { session });
    await accounts.updateOne({ _id: 'a' }, { $set: { balance: balance + 1 } }, { session });
  }))));
  assert.equal((await accounts.findOne({ _id: 'a' })).balance, 9);
}

async function bulkWrites() {
  await fresh('bulk');
  const namespace = 'node.bulk';
  const result = await client.bulkWrite([
    { namespace, name: 'insertOne', document: { _id: 1 } },
    { namespace: 'elsewhere.nodeBulk', name: 'insertOne', document: { n: 1 } },
    { namespace, name: 'updateOne', filter: { _id: 1 }, update: { $set: { n: 1 } } },
    { namespace, name: 'replaceOne', filter: { _id: 2 }, replacement: { n: 2 }, upsert: true },
    { namespace: 'elsewhere.nodeBulk', name: 'deleteMany', filter: {} },
  ], { verboseResults: true });
  const { insertedCount, modifiedCount, upsertedCount, deletedCount } = result;
  assert.deepEqual([insertedCount, modifiedCount, upsertedCount, deletedCount], [2, 1, 1, 1]);
  assert.equal(result.updateResults.get(3).upsertedId, 2);
  const duplicate = [{ namespace, name: 'insertOne', document: { _id: 1 } }];
  const error = await client.bulkWrite(duplicate).then(() => undefined, (error) => error);
  assert.equal(error.writeErrors.get(0).code, 11000);
}

await client.connect();
for (const part of [documents, bulkWrites, largeResults, indexes, collections, transactions]) {
  await part();
  console.log(part.name);
}
await client.close();
