// What `benches -- wire` measures through this driver. Says `ready` when it has prepared itself, and prints nanoseconds.
import { createInterface } from 'node:readline/promises';
import { Long, MongoClient, Timestamp } from 'mongodb';

const [task, uri, count] = process.argv.slice(2);
const client = new MongoClient(uri);
const documents = client.db('measured').collection('documents');
const text = 'x'.repeat(171);

/** One by one, each waiting for its answer. */
async function insertOne() {
  for (let n = 0; n < 200; n += 1) await documents.insertOne({ _id: Long.fromNumber(-1 - n), text });
  console.log('ready');
  const start = process.hrtime.bigint();
  for (let n = 0; n < Number(count); n += 1) await documents.insertOne({ _id: Long.fromNumber(n), text });
  console.log(String(process.hrtime.bigint() - start));
}

/** Notes the time, waits for a line, and reads so many events from then on. */
async function stream() {
  const { operationTime } = await client.db('admin').command({ ping: 1 });
  console.log('ready');
  const lines = createInterface({ input: process.stdin });
  await new Promise((resolve) => lines.once('line', resolve));
  lines.close();
  const start = process.hrtime.bigint();
  const startAtOperationTime = Timestamp.fromBits(operationTime.getLowBits() + 1, operationTime.getHighBits());
  const changes = documents.watch([], { startAtOperationTime });
  for (let n = 0; n < Number(count); n += 1) await changes.next();
  console.log(String(process.hrtime.bigint() - start));
  await changes.close();
}

await client.connect();
await { 'insert-one': insertOne, stream }[task]();
await client.close();
