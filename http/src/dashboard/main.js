// The dashboard: fetches how things are every two seconds while somebody looks, and shows one of two views.

import * as events from './events.js';
import * as overview from './overview.js';

const INTERVAL = 2000;
const VIEWS = ['overview', 'events'];
const state = document.getElementById('state');

function route() {
  const view = VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : 'overview';
  for (const name of VIEWS) document.getElementById(name).hidden = name !== view;
  for (const link of document.querySelectorAll('nav a')) {
    if (link.dataset.view === view) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  // An anchor of the same name would scroll.
  scrollTo(0, 0);
}

function tell(text, className) {
  if (state.textContent !== text) state.textContent = text;
  state.className = `state ${className}`;
}

async function refresh() {
  try {
    const response = await fetch('/v1/stats', { cache: 'no-store' });
    if (!response.ok) throw new Error((await response.json()).detail);
    overview.show(await response.json());
    tell('live', 'live');
  } catch (error) {
    tell('no answer', 'lost');
    state.title = String(error);
  }
}

async function run() {
  for (;;) {
    if (!document.hidden) await refresh();
    await new Promise((wake) => setTimeout(wake, INTERVAL));
  }
}

document.addEventListener('visibilitychange', () => { if (!document.hidden) refresh(); });
addEventListener('hashchange', route);
events.begin();
overview.begin((watch) => {
  location.hash = '#events';
  events.follow(watch);
});
route();
run();
