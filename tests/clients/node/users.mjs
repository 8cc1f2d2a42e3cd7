// Writes numbered users, and the status of each after it; the last says that it is the last.
import { MongoClient } from 'mongodb';

const [uri, first, end, last] = process.argv.slice(2);
const client = new MongoClient(uri);
const users = client.db('reconnect').collection('users');
for (let n = Number(first); n < Number(end); n += 1) {
  const isLast = last === 'last' && n + 1 === Number(end);
  await users.insertOne({ _id: n, n, ...(isLast && { last: true }) });
  await users.updateOne({ _id: n }, { $set: { seen: true } });
  await users.updateOne({ _id: n }, { $set: { status: isLast ? 'last' : String(n) } });
}
await client.close();
