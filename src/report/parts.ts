/** What a report is put together of: bars with their values as text, tables, facts. */
import { formatCount } from '../format.js';
import type { TypeShare } from '../headers/shares.js';
import { clip, html, type Markup, type Value } from './html.js';
import { bytesIn } from './layers.js';

/** Classes `t0` to `t7` of the style; the last one is for all other types. */
const COLOURS = 8;
const MOST_TYPES = 8;

/** The number of the colour that an element type has on all of a page. */
export type Palette = (type: string) => number;

/** `F16` of safetensors and `f16` of an IR are one type. */
function spelt(type: string): string {
  return type.toLowerCase();
}

/** @param shares of the whole page: what most bytes have gets the first colour */
export function paletteOf(shares: readonly TypeShare[]): Palette {
  const bytesOf = new Map<string, number>();
  for (const { type, bytes } of shares) bytesOf.set(spelt(type), (bytesOf.get(spelt(type)) ?? 0) + bytes);
  const order = [...bytesOf].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).map(([type]) => type);
  const colours = new Map(order.map((type, at) => [type, Math.min(at, COLOURS - 1)]));
  return (type) => colours.get(spelt(type)) ?? COLOURS - 1;
}

export function formatShare(part: number, whole: number): string {
  const percent = whole === 0 ? 0 : (100 * part) / whole;
  if (part > 0 && percent < 0.1) return '< 0.1 %';
  return `${percent >= 99.95 || percent === 0 ? Math.round(percent) : percent.toFixed(1)} %`;
}

/** For the eye: whatever stands beside it says the same as text. */
function bar(pieces: readonly Markup[]): Markup {
  return html`<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
    <rect class="track" width="100" height="10" />
    ${pieces}
  </svg>`;
}

function piece(from: number, width: number, colour: string): Markup {
  return html`<rect class="${colour}" x="${coordinate(from)}" width="${coordinate(width)}" height="10" />`;
}

/** Half a percent is seen. */
const LEAST_WIDTH = 0.5;

function coordinate(value: number): number {
  return Math.round(value * 100) / 100;
}

export function sizeBar(bytes: number, most: number): Markup {
  const width = most === 0 ? 0 : Math.max(bytes === 0 ? 0 : LEAST_WIDTH, (100 * bytes) / most);
  return bar([piece(0, width, 'size')]);
}

/**
 * Element types by their share of the bytes, without a word.
 * @param most bytes that fill all of the bar
 */
export function shareBar(shares: readonly TypeShare[], palette: Palette, most: number): Markup {
  let at = 0;
  const pieces = shares.slice(0, MOST_TYPES).map(({ type, bytes }) => {
    const width = most === 0 ? 0 : (100 * bytes) / most;
    at += width;
    return piece(at - width, width, `t${palette(type)}`);
  });
  return bar(pieces);
}

/** The same with a legend. */
export function typeBar(shares: readonly TypeShare[], palette: Palette): Markup {
  const whole = bytesIn(shares);
  const shown = shares.slice(0, MOST_TYPES);
  const rest = whole - bytesIn(shown);
  const legend = shown.map(
    ({ type, bytes }) =>
      html`<li>
        <svg class="key" viewBox="0 0 1 1" aria-hidden="true">
          <rect class="t${palette(type)}" width="1" height="1" /></svg
        ><code>${clip(type, 40)}</code> ${formatShare(bytes, whole)}
      </li>`,
  );
  const others = shares.length - shown.length;
  return html`${shareBar(shares, palette, whole)}
    <ul class="shares">
      ${legend}${others === 0 ? null : html`<li>${formatCount(others, 'other type')} ${formatShare(rest, whole)}</li>`}
    </ul>`;
}

/** And in words alone. */
export function typeWords(shares: readonly TypeShare[]): string {
  const whole = bytesIn(shares);
  const words = shares
    .slice(0, MOST_TYPES)
    .map(({ type, bytes }) =>
      shares.length === 1 ? clip(type, 40) : `${clip(type, 40)} ${formatShare(bytes, whole)}`,
    );
  return words.join(', ');
}

export interface Column {
  readonly title: string;
  readonly isNumber?: true;
}

/** The first cell of a row names it. */
export function table(
  caption: Value,
  columns: readonly Column[],
  rows: readonly (readonly Value[])[],
): Markup {
  const head = columns.map(
    ({ title, isNumber }) => html`<th scope="col" class="${isNumber ? 'number' : 'text'}">${title}</th>`,
  );
  const body = rows.map((row) => {
    const cells = row.map((value, at) => {
      const { title = '', isNumber } = columns[at] ?? {};
      return at === 0
        ? html`<th scope="row">${value}</th>`
        : html`<td class="${isNumber ? 'number' : 'text'}" data-label="${title}">${value}</td>`;
    });
    return html`<tr>
      ${cells}
    </tr> `;
  });
  return html`<table>
    <caption>
      ${caption}
    </caption>
    <thead>
      <tr>
        ${head}
      </tr>
    </thead>
    <tbody>
      ${body}
    </tbody>
  </table> `;
}

/** Names with their values; what has none is left out. */
export function facts(all: readonly (readonly [name: string, value: Value])[]): Markup {
  const known = all.filter(([, value]) => value !== null && value !== '');
  return html`<dl>
    ${known.map(
      ([name, value]) =>
        html`<dt>${name}</dt>
          <dd>${value}</dd> `,
    )}
  </dl>`;
}

export function code(text: string, most = 1000): Markup {
  return html`<code>${clip(text, most)}</code>`;
}

export function list(items: readonly Value[]): Markup {
  return html`<ul>
    ${items.map((item) => html`<li>${item}</li> `)}
  </ul>`;
}
