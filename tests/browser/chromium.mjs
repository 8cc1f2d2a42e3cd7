// Watches a collection by Chromium's own EventSource, in a page of the server, until a document says that it is the last, and prints
// the numbers of the documents it was told of, a line each: whatever happens to the server meanwhile, the browser has to come back by
// itself, with the last id that it has seen.
//
//   node chromium.mjs URL BROWSER
import { chromium } from 'playwright-core';

const [url, executablePath] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const page = await browser.newPage();
await page.goto(new URL('/healthz', url).href);
await page.exposeFunction('ready', () => process.stdout.write('ready\n'));
const numbers = await page.evaluate((url) => new Promise((resolve, reject) => {
  const source = new EventSource(url);
  const numbers = [];
  source.onopen = () => {
    source.onopen = null;
    window.ready();
  };
  source.onmessage = ({ data }) => {
    const { fullDocument } = JSON.parse(data);
    numbers.push(fullDocument.n);
    if (!fullDocument.last) return;
    source.close();
    resolve(numbers);
  };
  source.addEventListener('problem', ({ data }) => reject(new Error(data)));
  source.onerror = () => {
    // It reconnects by itself, unless it is told that there is no use.
    if (source.readyState === EventSource.CLOSED) reject(new Error('given up'));
  };
}), url);
await browser.close();
process.stdout.write(numbers.map((n) => `${n}\n`).join(''));
