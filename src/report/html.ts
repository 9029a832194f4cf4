/**
 * The one place where text becomes HTML. A value in {@link html} is escaped, whoever wrote it; what is markup already has a type
 * of its own, which only `html` makes. Values stand in text or within double quotes, nowhere else.
 */
import { createHash } from 'node:crypto';
import { asCodePoints, printable } from '../redact.js';

const MARKUP = Symbol('markup');

/** HTML that was made by {@link html} or {@link link}. No other value can be one, whatever its keys are. */
export interface Markup {
  readonly [MARKUP]: string;
}

/** Nothing becomes of null: what is not known is said in words by whoever knows them. */
export type Value = string | number | Markup | null | readonly Value[];

/** Longer texts are of no use on a page: of these the beginning and the end are kept. */
const LONGEST_TEXT = 1000;

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '`': '&#96;',
};

/** What is not seen, or turns around what follows; joiners belong to words of some languages. */
const UNSEEN = /(?![\u200c\u200d])[\p{Cf}\p{Zl}\p{Zp}]/gu;

export function html(parts: TemplateStringsArray, ...values: readonly Value[]): Markup {
  // Indentation is for who reads the source of it here, and would be a third of a page.
  const raw = parts.map((part) => part.replace(/\s*\n\s*/g, '\n'));
  return { [MARKUP]: String.raw({ raw }, ...values.map(markupOf)) };
}

function markupOf(value: Value): string {
  if (value === null) return '';
  if (typeof value === 'string' || typeof value === 'number') return escapeText(String(value));
  return isMarkup(value) ? value[MARKUP] : value.map(markupOf).join('');
}

function isMarkup(value: Markup | readonly Value[]): value is Markup {
  return MARKUP in value;
}

/**
 * A whole document that asks nobody for anything: its policy allows its own style, by its hash, and nothing else.
 * @param style CSS that is written here, never a value from outside
 */
export function documentOf(title: string, style: string, body: Markup): string {
  const digest = createHash('sha256').update(style).digest('base64');
  const policy = `default-src 'none'; style-src 'sha256-${digest}'; base-uri 'none'; form-action 'none'`;
  const head = html`<meta charset="utf-8" />
    <meta http-equiv="Content-Security-Policy" content="${policy}" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <meta name="referrer" content="no-referrer" />
    <title>${title}</title>`;
  return [
    '<!doctype html>',
    '<html lang="en">',
    `<head>${markupOf(head)}<style>${style}</style></head>`,
    `<body>${markupOf(body)}</body>`,
    '</html>',
    '',
  ].join('\n');
}

function escapeText(text: string): string {
  return visible(clip(text, LONGEST_TEXT)).replace(/[&<>"'`]/g, (sign) => ENTITIES[sign] ?? '');
}

/** Control characters, those of direction and those that nobody sees, as text; what is no character at all too. */
function visible(text: string): string {
  return Buffer.from(asCodePoints(printable(text), UNSEEN), 'utf8').toString('utf8');
}

/** At most so many characters: what is left out in the middle is a `…`. */
export function clip(text: string, most: number): string {
  if (text.length <= most) return text;
  const kept = most - 1;
  return `${text.slice(0, Math.ceil(kept / 2))}…${text.slice(text.length - Math.floor(kept / 2))}`;
}

/** A link to a web address; any other address is a text. */
export function link(address: string): Markup {
  const known = address.length <= LONGEST_TEXT && URL.canParse(address) ? new URL(address) : undefined;
  const isWeb = known?.protocol === 'https:' || known?.protocol === 'http:';
  if (!isWeb || known.username !== '' || known.password !== '') return html`${address}`;
  return html`<a href="${known.href}" rel="noopener noreferrer">${address}</a>`;
}
