// Mongoose users' watchers whose error handlers connect again: prints the inserts and the changes of status of numbered users,
// until the last. The driver gives up quickly, so that it is the handlers that go on; each says so when it is told of an error.
import mongoose from 'mongoose';

const user = new mongoose.Schema({ n: Number, status: String, last: Boolean });
const User = mongoose.model('User', user, 'users');
// What a handler meets while the server is away must be an error at once, not a wait.
await mongoose.connect(process.argv[2], { dbName: 'reconnect', serverSelectionTimeoutMS: 300, bufferCommands: false });

const say = (line) => process.stdout.write(`${line}\n`);
const open = new Set();
let waiting = 2;

/** Watches from behind the last event on, through whatever errors. */
function watch(name, pipeline, handle, resumeAfter) {
  const stream = User.watch(pipeline, resumeAfter ? { resumeAfter } : {});
  open.add(stream);
  let token = resumeAfter;
  stream.on('change', (change) => {
    token = change._id;
    handle(change);
  });
  // Without an event it is this token that a watcher goes on from.
  stream.once('ready', () => {
    stream.driverChangeStream.on('resumeTokenChanged', (changed) => {
      if (!token) {
        waiting -= 1;
        if (waiting === 0) say('ready');
      }
      token = changed;
    });
  });
  let failed = false;
  stream.on('error', () => {
    if (failed) return;
    failed = true;
    say(`error ${name}`);
    open.delete(stream);
    stream.close().catch(() => {});
    setTimeout(() => watch(name, pipeline, handle, token), 50);
  });
}

let unfinished = 2;
async function end() {
  unfinished -= 1;
  if (unfinished > 0) return;
  for (const stream of open) await stream.close();
  await mongoose.disconnect();
}

watch('inserts', [{ $match: { operationType: 'insert' } }], (change) => {
  say(`insert ${change.fullDocument.n}`);
  if (change.fullDocument.last) end();
});
watch('statuses', [{ $match: { 'updateDescription.updatedFields.status': { $exists: true } } }], (change) => {
  const { status } = change.updateDescription.updatedFields;
  say(`status ${status}`);
  if (status === 'last') end();
});
