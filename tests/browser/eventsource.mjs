// Watches a collection as a page does, until a document says that it is the last, and prints the numbers of the documents it was
// told of, a line each: whatever happens to the server meanwhile, the EventSource has to go on where it was by itself.
import { EventSource } from 'eventsource';

const source = new EventSource(process.argv[2]);
source.onopen = () => {
  source.onopen = null;
  process.stdout.write('ready\n');
};
let lines = '';
source.onmessage = ({ data }) => {
  const { fullDocument } = JSON.parse(data);
  lines += `${fullDocument.n}\n`;
  if (!fullDocument.last) return;
  process.stdout.write(lines);
  source.close();
};
source.addEventListener('problem', ({ data }) => {
  process.stderr.write(`${data}\n`);
  process.exit(1);
});
source.onerror = ({ code }) => {
  // It reconnects by itself, unless it is told that there is no use.
  if (source.readyState !== EventSource.CLOSED) return;
  process.stderr.write(`given up: ${code}\n`);
  process.exit(1);
};
