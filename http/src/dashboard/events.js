// The live event view: a watch of its own, which one can pause, resume and look into.

import { count, element, time } from './format.js';

/** Rows that are kept. */
const ROWS = 500;
/** Milliseconds before a connection that was lost is tried again. */
const RETRY = 1500;

const at = (id) => document.getElementById(id);
const form = at('watch-form');

/** What is being watched: its URL without the place, and the last token. */
let question = null;
let token = null;
let running = null;
let seen = 0;
/** Events that are not in the page yet, the oldest first. */
let fresh = [];
let chosen = null;

/** Makes the form work. */
export function begin() {
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    start();
  });
  at('from').addEventListener('change', showToken);
  at('pause').addEventListener('click', () => (running === null ? go() : pause()));
  at('clear').addEventListener('click', () => {
    [seen, fresh] = [0, []];
    at('event-rows').replaceChildren();
    empty();
    tell();
  });
  at('event-rows').addEventListener('click', (event) => choose(event.target.closest('tr')));
  at('resume').addEventListener('click', () => {
    form.elements.from.value = 'token';
    form.elements.token.value = chosen._id._data;
    showToken();
    start();
  });
  at('copy').addEventListener('click', async () => {
    await navigator.clipboard.writeText(chosen._id._data);
    at('copied').textContent = 'copied';
  });
  empty();
}

/** Watches what a stream of somebody else watches, from where that is. */
export function follow(watch) {
  const [, database = '', collection = ''] = /^(?:collection|database) ([^.]*)(?:\.(.*))?$/s.exec(watch.scope) ?? [];
  form.elements.database.value = database;
  form.elements.collection.value = collection;
  form.elements.filter.value = watch.filter ?? '';
  form.elements.operations.value = '';
  form.elements.from.value = 'token';
  form.elements.token.value = watch.token;
  showToken();
  start(watch.pipeline);
}

function showToken() {
  at('token-field').hidden = form.elements.from.value !== 'token';
}

function start(pipeline = null) {
  const value = (name) => form.elements[name].value.trim();
  const path = [value('database'), value('database') && value('collection')].filter(Boolean).map(encodeURIComponent);
  const query = new URLSearchParams();
  for (const name of ['filter', 'operations']) if (value(name)) query.set(name, value(name));
  if (pipeline !== null) query.set('pipeline', pipeline);
  if (value('filter') === '') query.set('fullDocument', 'updateLookup');
  query.set('heartbeat', '5');
  question = { path: ['/v1/watch', ...path].join('/'), query, oldest: value('from') === 'oldest' };
  token = value('from') === 'token' ? value('token') : null;
  go();
}

function pause() {
  running?.abort();
  running = null;
  tell('Paused. Nothing is missed: it goes on from its last token.');
}

/** Watches, and goes on when the connection is lost, until it is paused, has ended, or is refused. */
async function go() {
  running?.abort();
  const control = new AbortController();
  running = control;
  problem(null);
  while (running === control) {
    tell('Connecting…');
    try {
      const goesOn = await once(control);
      if (running !== control) return;
      if (!goesOn) break;
    } catch (error) {
      if (control.signal.aborted) return;
    }
    tell('The connection was lost; trying again…');
    await new Promise((wake) => setTimeout(wake, RETRY));
  }
  if (running === control) {
    running = null;
    tell('Not watching.');
  }
}

/** One connection to its end; whether another one is worth trying. */
async function once(control) {
  const query = new URLSearchParams(question.query);
  if (token !== null) query.set('startAfter', token);
  else if (question.oldest) query.set('from', 'oldest');
  const response = await fetch(`${question.path}?${query}`, { headers: { Accept: 'application/x-ndjson' }, signal: control.signal });
  if (!response.ok) {
    problem(await response.json());
    return response.status === 503;
  }
  tell('Watching.');
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return true;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      const said = JSON.parse(line);
      if (said.heartbeat) {
        token = said.heartbeat._data;
      } else if (said.problem) {
        problem(said.problem);
        return said.problem.status === 503;
      } else {
        token = said._id._data;
        arrived(said);
        if (said.operationType === 'invalidate') return false;
      }
    }
  }
}

function arrived(event) {
  seen += 1;
  if (fresh.length === 0) requestAnimationFrame(draw);
  fresh.push(event);
  if (fresh.length > ROWS) fresh.shift();
}

function draw() {
  const body = at('event-rows');
  if (body.firstChild?.dataset.empty) body.replaceChildren();
  body.prepend(...fresh.reverse().map(row));
  fresh = [];
  while (body.rows.length > ROWS) body.lastChild.remove();
  tell();
}

function row(event) {
  const moment = event.wallTime?.$date ?? (event.clusterTime ? event.clusterTime.$timestamp.t * 1000 : Date.now());
  const look = element('button', { type: 'button', className: 'link', textContent: time(moment) });
  const document = event.fullDocument ?? event.updateDescription?.updatedFields ?? event.documentKey ?? event.operationDescription ?? {};
  const made = element('tr', {},
    element('td', {}, look),
    element('td', { className: `op ${event.operationType}`, textContent: event.operationType }),
    element('td', { textContent: [event.ns?.db, event.ns?.coll].filter(Boolean).join('.') }),
    element('td', { className: 'text', textContent: shortened(JSON.stringify(document)) }));
  made.event = event;
  return made;
}

const shortened = (text) => (text.length > 240 ? `${text.slice(0, 240)}…` : text);

function choose(row) {
  if (!row?.event) return;
  document.querySelector('#event-rows tr.chosen')?.classList.remove('chosen');
  row.classList.add('chosen');
  chosen = row.event;
  at('detail').hidden = false;
  at('detail-hint').hidden = true;
  at('copied').textContent = '';
  at('detail-token').textContent = chosen._id._data;
  at('detail-json').textContent = JSON.stringify(chosen, null, 2);
}

function empty() {
  const body = at('event-rows');
  const made = element('tr', {}, element('td', { className: 'empty', colSpan: 4, textContent: body.dataset.empty }));
  made.dataset.empty = 'true';
  body.replaceChildren(made);
}

function tell(text = null) {
  if (text !== null) at('watching').textContent = text;
  at('seen').textContent = seen > 0 ? `${count(seen)} events seen${seen > ROWS ? `, the newest ${ROWS} are shown` : ''}` : '';
  at('pause').disabled = question === null;
  at('pause').textContent = running === null && question !== null ? 'Go on' : 'Pause';
}

function problem(document) {
  const box = at('problem');
  box.hidden = document === null;
  if (document === null) return;
  const name = document.codeName ? ` (${document.codeName})` : '';
  box.replaceChildren(element('strong', { textContent: `${document.title}${name}` }), element('pre', { textContent: document.detail }));
}
