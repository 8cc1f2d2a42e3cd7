// How numbers, bytes, times and rows are shown.

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium', hour12: false });

export const count = (n) => whole.format(n);
export const rate = (n) => (n >= 10000 ? short.format(n) : n >= 10 || n === 0 ? whole.format(n) : n.toFixed(1));
export const time = (millis) => clock.format(new Date(millis));
export const date = (millis) => (millis === null ? '' : day.format(new Date(millis)));

export function bytes(n) {
  if (n === null) return '';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return `${n >= 100 || unit === 0 ? Math.round(n) : n.toFixed(1)} ${units[unit]}`;
}

export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 100) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const steps = [[86400, 'd'], [3600, 'h'], [60, 'min']];
  for (const [size, name] of steps) {
    if (seconds >= 2 * size) return `${Math.round(seconds / size)} ${name}`;
  }
  return `${Math.round(seconds)} s`;
}

/** An element with properties and children; text is never taken as HTML. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/**
 * Brings the rows of a table body up to date, keeping those that stay, so that focus and selection stay, too.
 * `cells(item)` gives for each cell its text, or `{ text, className, node }`.
 */
export function rows(body, items, key, cells) {
  if (items.length === 0) {
    const columns = body.parentElement.tHead.rows[0].cells.length;
    body.replaceChildren(element('tr', {}, element('td', { className: 'empty', colSpan: columns, textContent: body.dataset.empty ?? '' })));
    return;
  }
  const heads = body.parentElement.tHead.rows[0].cells;
  const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  const wanted = items.map((item) => {
    const name = String(key(item));
    let row = known.get(name);
    if (row === undefined) {
      row = element('tr');
      row.dataset.key = name;
    }
    cells(item).forEach((cell, i) => {
      const { text, className = '', node } = typeof cell === 'object' ? cell : { text: cell };
      const place = row.cells[i] ?? row.insertCell();
      heads[i].classList.toggle('number', className.includes('number'));
      if (place.className !== className) place.className = className;
      if (node !== undefined) {
        if (place.firstChild === null) place.append(node());
      } else if (place.textContent !== String(text)) {
        place.textContent = text;
      }
    });
    return row;
  });
  const present = new Set(wanted);
  for (const row of [...body.rows]) if (!present.has(row)) row.remove();
  wanted.forEach((row, i) => { if (body.rows[i] !== row) body.insertBefore(row, body.rows[i] ?? null); });
}

/** A list of terms and what they are: `[[term, text or node, className]]`. */
export function facts(list, pairs) {
  pairs.forEach(([term, text, className = ''], i) => {
    let pair = list.children[i];
    if (pair === undefined) {
      pair = element('div', {}, element('dt'), element('dd'));
      list.append(pair);
    }
    const [dt, dd] = pair.children;
    if (dt.textContent !== term) dt.textContent = term;
    if (dd.textContent !== text) dd.textContent = text;
    if (dd.className !== className) dd.className = className;
  });
  while (list.children.length > pairs.length) list.lastChild.remove();
}
