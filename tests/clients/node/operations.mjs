// Watches the changes of a collection that are of some kinds, as a user who may do just that, and prints each until there were as
// many as asked for.
import { MongoClient } from 'mongodb';

const [uri, operations, count] = process.argv.slice(2);
const client = new MongoClient(uri, { serverSelectionTimeoutMS: 60_000 });
const pipeline = [{ $match: { operationType: { $in: operations.split(',') } } }];
const stream = client.db('shop').collection('orders').watch(pipeline);
await stream.tryNext();
process.stdout.write('ready\n');
for (let seen = 0; seen < Number(count); seen += 1) {
  const change = await stream.next();
  process.stdout.write(`${change.operationType} ${change.documentKey._id}\n`);
}
await stream.close();
await client.close();
