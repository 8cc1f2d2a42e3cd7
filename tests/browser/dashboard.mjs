// Uses the dashboard in a real browser, with the keyboard where that says more, and keeps pictures of it.
//
//   node dashboard.mjs URL BROWSER FOLDER
import assert from 'node:assert/strict';
import path from 'node:path';
import { chromium } from 'playwright-core';

const [url, executablePath, folder] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const complaints = [];

async function open(colorScheme, viewport = { width: 1360, height: 900 }) {
  const context = await browser.newContext({ colorScheme, viewport, reducedMotion: 'reduce' });
  const page = await context.newPage();
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) complaints.push(message.text()); });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => { if (!request.url().startsWith(url) && !request.url().startsWith('data:')) complaints.push(`asks ${request.url()}`); });
  await page.goto(url);
  await page.getByRole('status').filter({ hasText: 'live' }).waitFor();
  return page;
}

const picture = (page, name) => page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });
const text = (page, selector) => page.locator(selector).innerText();

// A watcher whose stream is to be seen.
const control = new AbortController();
const watched = await fetch(`${url}v1/watch/numbers/numbers?filter=${encodeURIComponent('n >= 10')}`, { signal: control.signal });

const page = await open('light');
await page.locator('#watches tr', { hasText: 'n >= 10' }).waitFor();
assert.match(await text(page, '#tiles'), /Live streams\s+1/);
assert.match(await text(page, '#log-facts'), /Kept\s+all of it/);
await page.locator('#plots .plot-line[d]').first().waitFor({ state: 'attached' });
assert.match(await page.locator('#plots svg').first().getAttribute('aria-label'), /^Writes, entries a second since/);
await page.getByText('Segments', { exact: false }).first().click();
await page.locator('#segments td', { hasText: 'open' }).waitFor();
await picture(page, 'overview-light');

// By keyboard: from the top to the other view.
await page.reload();
await page.keyboard.press('Tab');
assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
await page.keyboard.press('Tab');
await page.keyboard.press('Tab');
await page.keyboard.press('Enter');
await page.locator('#filter').waitFor();

// A filter that is none is shown where it goes wrong.
await page.getByLabel('Filter').fill('n > 1 and or');
await page.keyboard.press('Enter');
const problem = page.getByRole('alert').filter({ hasText: 'FailedToParse' });
await problem.waitFor();
assert.match(await problem.innerText(), /\^/);
await picture(page, 'events-problem');

// Events pass, the newest first.
await page.getByLabel('Filter').fill('n < 5');
await page.getByLabel('Begin').selectOption('oldest');
await page.getByRole('button', { name: 'Watch', exact: true }).click();
await page.locator('#event-rows tr').nth(4).waitFor();
assert.match(await text(page, '#event-rows tr:first-child'), /insert\s+numbers\.numbers\s+.*"n":4/s);
assert.equal(await page.locator('#event-rows tr').count(), 5);

// One of them is looked at, and the watch goes on from there.
await page.locator('#event-rows tr').nth(2).getByRole('button').press('Enter');
const shown = JSON.parse(await text(page, '#detail-json'));
assert.equal(shown.fullDocument.n, 2);
assert.equal(await text(page, '#detail-token'), shown._id._data);
await picture(page, 'events-light');
await page.getByRole('button', { name: 'Clear' }).click();
await page.getByRole('button', { name: 'Go on from here' }).click();
await page.locator('#event-rows tr').nth(1).waitFor();
assert.deepEqual(await page.locator('#event-rows td.text').allInnerTexts().then((all) => all.map((one) => JSON.parse(one).n)), [4, 3]);

// Paused, and on.
await page.getByRole('button', { name: 'Pause' }).click();
await page.getByText('Paused.').waitFor();
await page.getByRole('button', { name: 'Go on', exact: true }).click();
await page.getByText('Watching.').waitFor();

// What somebody else watches is followed from where that is.
await page.getByRole('link', { name: 'Overview' }).click();
await page.locator('#watches tr', { hasText: 'n >= 10' }).getByRole('button', { name: 'Follow' }).click();
await page.getByText('Watching.').waitFor();
assert.equal(await page.getByLabel('Filter').inputValue(), 'n >= 10');
assert.equal(await page.getByLabel('Collection').inputValue(), 'numbers');

const dark = await open('dark');
await dark.locator('#plots .plot-line[d]').first().waitFor({ state: 'attached' });
await picture(dark, 'overview-dark');
const narrow = await open('dark', { width: 390, height: 800 });
await picture(narrow, 'overview-narrow');
assert.ok(await narrow.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the page is wider than the window');

// Whose answer nobody has is ended when memory is collected: so it is kept until here.
assert.equal(watched.status, 200);
control.abort();
await browser.close();
// The refused filter is the one thing that the browser's console tells of.
assert.deepEqual(complaints.filter((text) => !text.includes('400 (Bad Request)')), []);
