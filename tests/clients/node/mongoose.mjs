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
await mongoose.disconnect();
console.log('mongoose');
