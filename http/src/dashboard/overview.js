// How the store is: tiles, plots, the log, who watches.

import { bytes, count, date, duration, element, facts, rate, rows } from './format.js';
import { plot } from './plot.js';

const at = (id) => document.getElementById(id);

const PLOTS = [
  ['Writes, entries a second', (point) => point.entries, rate],
  ['Writes, bytes a second', (point) => point.bytes, (n) => `${bytes(n)}/s`],
  ['Events delivered a second', (point) => point.delivered, rate],
  ['Syncs a second', (point) => point.syncs, rate],
].map(([title, value, format]) => ({ value, ...plot(title, format) }));

/** Puts what never changes into the page. `inspect(watch)` is called for a stream that is to be looked at. */
export function begin(inspect) {
  at('plots').append(...PLOTS.map(({ figure }) => figure));
  at('watches').addEventListener('click', (event) => {
    const button = event.target.closest('button');
    const watch = button && last?.watches.told.find((told) => String(told.id) === button.dataset.id);
    if (watch) inspect(watch);
  });
}

let last = null;

/** Shows what `/v1/stats` says. */
export function show(stats) {
  last = stats;
  const { log, watches, http, wire } = stats;
  at('about').textContent = `${log.path} · ${log.following ? 'follower' : 'term ' + log.term} · up ${duration(stats.uptimeSeconds)} · ${stats.version}`;
  at('about').title = at('about').textContent;
  const alarm = at('alarm');
  alarm.hidden = !log.poisoned;
  alarm.textContent = log.poisoned ? 'A sync has failed, and the log takes no more writes: see what the disk says, and open the store again.' : '';

  const delivered = stats.history.at(-1)?.delivered ?? 0;
  facts(at('tiles'), [
    ['Writes', `${rate(log.entriesPerSecond)} /s`],
    ['Written', `${bytes(log.bytesPerSecond)}/s`],
    ['Events delivered', `${rate(delivered)} /s`],
    ['Live streams', count(watches.total)],
    ['Entries furthest behind', rate(watches.maxLagEntries), watches.maxLagEntries > 100000 ? 'warn' : ''],
    ['Log on disk', bytes(log.bytes)],
    ['Sync, p99', log.syncs > 0 ? `≤ ${duration(log.syncMicrosP99 / 1e6)}` : '–', log.syncMicrosP99 > 1e6 ? 'warn' : ''],
  ]);
  for (const { value, draw } of PLOTS) draw(stats.history.map((point) => ({ at: point.at, value: value(point) })));

  showLog(log);
  showWatches(stats);
  rows(at('consumers'), stats.consumers, (consumer) => consumer.name, (consumer) => [
    consumer.name,
    consumer.scope,
    number(consumer.members),
    number(consumer.acknowledged),
    number(consumer.inFlight),
    number(consumer.waiting),
    { text: count(consumer.deadLettered), className: consumer.deadLettered > 0 ? 'number warn' : 'number' },
    { text: consumer.lost ? 'history lost' : count(consumer.lagEntries), className: consumer.lost ? 'number bad' : 'number' },
    date(consumer.lastActivity),
  ]);
  at('consumer-count').textContent = count(stats.consumers.length);
  const servers = [
    ['HTTP connections', `${count(http.connections)} of ${count(http.connectionsMax)}`],
    ['HTTP requests', count(http.requestsTotal)],
    ['Refused or failed', count(http.problemsTotal + http.refusedTotal)],
  ];
  if (wire) {
    servers.push(
      ['MongoDB connections', `${count(wire.connections)} of ${count(wire.connectionsMax)}`],
      ['MongoDB commands', count(wire.commandsTotal)],
      ['Cursors, sessions', `${count(wire.cursors)}, ${count(wire.sessions)}`],
    );
  }
  facts(at('servers'), servers);
}

const number = (n) => ({ text: count(n), className: 'number' });

function showLog(log) {
  const { retention } = log;
  const limits = [
    retention.maxBytes !== null && bytes(retention.maxBytes),
    retention.maxAgeSeconds !== null && duration(retention.maxAgeSeconds),
    retention.hardMaxBytes !== null && `${bytes(retention.hardMaxBytes)} at the very most`,
  ].filter(Boolean);
  const oldest = log.segments[0]?.from ?? null;
  facts(at('log-facts'), [
    ['Appended', count(log.appended)],
    ['Durable', count(log.durable)],
    ['Released to watchers', count(log.released)],
    ['Oldest entry', count(log.oldest)],
    ['History since', oldest === null ? '–' : date(oldest)],
    ['Kept', limits.length > 0 ? limits.join(', ') : 'all of it'],
    ['Written since it was opened', `${count(log.entriesWritten)} entries, ${bytes(log.bytesWritten)}`],
    ['Log', log.id],
  ]);
  at('segment-count').textContent = count(log.segmentCount);
  const strip = at('strip');
  const told = log.segments.slice(-80);
  while (strip.children.length > told.length) strip.lastChild.remove();
  told.forEach((segment, i) => {
    const block = strip.children[i] ?? strip.appendChild(element('span'));
    const filled = segment.frameBytes === null ? 100 : (segment.frameBytes / Math.max(1, segment.fileBytes)) * 100;
    block.style.setProperty('--filled', `${Math.min(100, filled).toFixed(1)}%`);
    block.title = `entries ${count(segment.first)} to ${count(segment.last)}, ${segment.state}`;
  });
  rows(at('segments'), [...log.segments].reverse(), (segment) => segment.file, (segment) => [
    number(segment.first),
    number(Math.max(segment.last, segment.first - 1)),
    segment.refused === null ? segment.state : { text: segment.refused, className: 'bad text' },
    number(segment.last - segment.first + 1),
    { text: segment.frameBytes === null ? '' : `${bytes(segment.frameBytes)} of ${bytes(segment.fileBytes)}`, className: 'number' },
    date(segment.from),
    date(segment.to),
  ]);
  // What the log keeps for a follower stands in a slot of its name.
  const followers = log.slots.filter((slot) => slot.name.startsWith(FOLLOWER));
  at('follower-count').textContent = followers.length ? count(followers.length) : '';
  showSlots('followers', followers, (slot) => slot.name.slice(FOLLOWER.length));
  showSlots('slots', log.slots.filter((slot) => !slot.name.startsWith(FOLLOWER)), (slot) => slot.name);
}

/** What the names of followers' slots begin with. */
const FOLLOWER = 'follower.';

function showSlots(table, slots, name) {
  rows(at(table), slots, (slot) => slot.name, (slot) => [
    name(slot),
    number(slot.position),
    number(slot.lagEntries),
    { text: bytes(slot.lagBytes), className: slot.lagBytes > slot.maxLagBytes * 0.8 ? 'number warn' : 'number' },
    { text: slot.maxLagBytes > Number.MAX_SAFE_INTEGER ? 'none' : bytes(slot.maxLagBytes), className: 'number' },
    slot.lost ? { text: 'lost', className: 'bad' } : 'active',
  ]);
}

function showWatches(stats) {
  const { watches } = stats;
  const more = watches.total > watches.told.length ? `, the ${watches.told.length} furthest behind are shown` : '';
  at('watch-count').textContent = `${count(watches.total)}${more}`;
  rows(at('watches'), watches.told, (watch) => watch.id, (watch) => [
    `${watch.transport} · ${watch.scope}`,
    watch.client,
    { text: watch.filter ?? watch.pipeline ?? 'everything', className: 'text' },
    number(watch.matched),
    number(watch.delivered),
    { text: lag(watch), className: watch.lagSeconds > 60 ? 'number warn' : 'number' },
    expiry(watch.expiresInSeconds),
    { text: duration(Math.max(0, (stats.now - watch.since) / 1000)), className: 'number' },
    { node: () => {
      const button = element('button', { type: 'button', className: 'small', textContent: 'Follow', title: 'Watch the same from where this stream is' });
      button.dataset.id = watch.id;
      return button;
    } },
  ]);
  const [durable, local] = stats.dispatcher;
  const seen = durable.entries + local.entries;
  at('dispatcher').textContent = seen === 0 ? '' : `One reader for all: ${count(seen)} entries read, ${count(durable.evaluations + local.evaluations)} filters evaluated, ${count(durable.delivered + local.delivered)} events delivered, ${count(durable.catchingUp + local.catchingUp)} catching up, ${count(durable.parks + local.parks)} times a reader was too slow and waited.`;
}

function lag(watch) {
  if (watch.lagEntries === 0) return 'none';
  return watch.lagSeconds > 0 ? `${count(watch.lagEntries)} entries, ${duration(watch.lagSeconds)}` : `${count(watch.lagEntries)} entries`;
}

function expiry(seconds) {
  if (seconds === null) return 'not in sight';
  const className = seconds < 3600 ? 'bad' : seconds < 86400 ? 'warn' : '';
  return { text: seconds === 0 ? 'expired' : `in ${duration(seconds)}`, className };
}
