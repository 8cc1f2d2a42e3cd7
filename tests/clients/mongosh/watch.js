// A watcher in the shell whose user connects again after errors, behind the last event. Prints the numbers of inserted documents,
// a line each, until the last.
const numbers = db.getSiblingDB('numbers').numbers;
const pipeline = [{ $match: { operationType: 'insert' } }];
let stream = numbers.watch(pipeline);
stream.tryNext();
let token = stream.getResumeToken();
print('ready');
let lines = [];
for (let last = false; !last;) {
  try {
    stream ??= numbers.watch(pipeline, { resumeAfter: token });
    const change = stream.tryNext();
    if (change) {
      lines.push(String(change.fullDocument.n));
      last = change.fullDocument.last === true;
    }
    token = stream.getResumeToken();
  } catch (error) {
    stream = null;
    sleep(50);
  }
  if (lines.length > 10_000 || (last && lines.length > 0)) {
    print(lines.join('\n'));
    lines = [];
  }
}
stream.close();
