// Watches a collection until a document says that it is the last, and prints the numbers of the documents it was told of, a line
// each: whatever happens to the server meanwhile, the driver has to go on where it was.
import { MongoClient } from 'mongodb';

const client = new MongoClient(process.argv[2], { serverSelectionTimeoutMS: 60_000 });
const stream = client.db('numbers').collection('numbers').watch([{ $match: { operationType: 'insert' } }]);
await stream.tryNext();
process.stdout.write('ready\n');
let lines = '';
for await (const change of stream) {
  lines += `${change.fullDocument.n}\n`;
  if (lines.length > 60_000 || change.fullDocument.last) {
    process.stdout.write(lines);
    lines = '';
  }
  if (change.fullDocument.last) break;
}
await stream.close();
await client.close();
