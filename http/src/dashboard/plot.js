// Plots over time, as SVG.

import { element, time } from './format.js';

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 600;
const HEIGHT = 100;

function svg(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** The least of 1, 2 and 5 times a power of ten that is not below. */
function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((bound) => bound >= value);
}

/** A plot of one number. `draw(points)` takes `[{ at, value }]`, the oldest first. */
export function plot(title, format) {
  const now = element('b');
  const caption = element('figcaption', {}, element('span', { textContent: title }), now);
  const canvas = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' });
  const area = svg('path', { class: 'plot-area' });
  const line = svg('path', { class: 'plot-line' });
  const cursor = svg('line', { class: 'plot-cursor', y1: 0, y2: HEIGHT, visibility: 'hidden' });
  for (const y of [0, HEIGHT / 2, HEIGHT]) canvas.append(svg('line', { class: 'plot-grid', x1: 0, x2: WIDTH, y1: y, y2: y }));
  canvas.append(area, line, cursor);
  const begin = element('span');
  const top = element('span');
  const figure = element('figure', {}, caption, canvas, element('div', { className: 'plot-foot' }, begin, top, element('span', { textContent: 'now' })));
  let shown = [];
  let pointed = null;

  function tell() {
    const point = pointed === null ? shown.at(-1) : shown[pointed];
    if (point === undefined) return;
    now.textContent = pointed === null ? format(point.value) : `${time(point.at)}: ${format(point.value)}`;
  }

  canvas.addEventListener('pointermove', (event) => {
    if (shown.length < 2) return;
    const box = canvas.getBoundingClientRect();
    const part = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    pointed = Math.round(part * (shown.length - 1));
    const x = (pointed / (shown.length - 1)) * WIDTH;
    cursor.setAttribute('x1', x);
    cursor.setAttribute('x2', x);
    cursor.setAttribute('visibility', 'visible');
    tell();
  });
  canvas.addEventListener('pointerleave', () => {
    pointed = null;
    cursor.setAttribute('visibility', 'hidden');
    tell();
  });

  function draw(points) {
    shown = points;
    if (pointed !== null && pointed >= points.length) pointed = null;
    tell();
    if (points.length < 2) return;
    const values = points.map((point) => point.value);
    const most = Math.max(...values);
    const scale = ceiling(most);
    const place = (value, i) => `${((i / (points.length - 1)) * WIDTH).toFixed(1)} ${(HEIGHT - (value / scale) * HEIGHT).toFixed(1)}`;
    const path = values.map(place).join('L');
    line.setAttribute('d', `M${path}`);
    area.setAttribute('d', `M0 ${HEIGHT}L${path}L${WIDTH} ${HEIGHT}Z`);
    begin.textContent = time(points[0].at);
    top.textContent = `scale ${format(scale)}`;
    canvas.setAttribute('aria-label', `${title} since ${time(points[0].at)}: now ${format(values.at(-1))}, at most ${format(most)}`);
  }

  return { figure, draw };
}
