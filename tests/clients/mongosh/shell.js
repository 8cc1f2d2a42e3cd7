// What a user types into the shell, against the server it is connected to.
const assert = require('node:assert/strict');

// The shell's values are of another realm than the assertions, so they are compared as text.
const same = (value, expected) => assert.equal(EJSON.stringify(value), EJSON.stringify(expected));

assert.equal(db.hello().setName, 'rs0');
assert.equal(db.version(), '8.0.0');
const shop = db.getSiblingDB('mongosh');
shop.dropDatabase();

shop.orders.insertMany([{ _id: 1, total: 5 }, { _id: 2, total: 50 }, { _id: 3, total: 500 }]);
same(shop.orders.find({ total: { $gt: 10 } }).sort({ total: -1 }).toArray(), [
  { _id: 3, total: 500 },
  { _id: 2, total: 50 },
]);
assert.equal(shop.orders.updateMany({ total: { $lt: 100 } }, { $inc: { total: 1 } }).modifiedCount, 2);
assert.equal(shop.orders.countDocuments(), 3);
shop.orders.createIndex({ total: 1 });
same(shop.orders.getIndexes().map((index) => index.name), ['_id_', 'total_1']);
assert.equal(shop.orders.find({ total: 51 }).explain().queryPlanner.winningPlan.inputStage.stage, 'IXSCAN');
const [sum] = shop.orders.aggregate([{ $group: { _id: null, total: { $sum: '$total' } } }]).toArray();
assert.equal(sum.total, 557);
same(shop.getCollectionNames(), ['orders']);
assert(db.adminCommand({ listDatabases: 1 }).databases.some((database) => database.name === 'mongosh'));
assert.equal(shop.orders.stats().count, 3);
assert(rs.status().members.length === 1);

const stream = shop.orders.watch([{ $match: { operationType: 'delete' } }]);
shop.orders.insertOne({ _id: 4 });
shop.orders.deleteOne({ _id: 4 });
same(stream.next().documentKey, { _id: 4 });
stream.close();

const session = db.getMongo().startSession();
session.startTransaction();
session.getDatabase('mongosh').orders.insertOne({ _id: 5 });
assert.equal(shop.orders.findOne({ _id: 5 }), null);
session.commitTransaction();
assert.equal(shop.orders.findOne({ _id: 5 })._id, 5);
session.endSession();

const oplog = db.getSiblingDB('local').getCollection('oplog.rs');
const newest = oplog.find().sort({ $natural: -1 }).limit(1).next();
assert.equal(newest.o.applyOps[0].o._id, 5);

shop.orders.drop();
print('done');
