/**
 * Regular expressions and replacements of Python's `re` module in terms of ECMAScript's, with the flag `u`. What the two
 * mean differently is written out; what has no counterpart here is refused, never guessed. Pure.
 */

/** @throws UntranslatableError */
export function translatePattern(pattern: string): string {
  const flags = /^\(\?([a-z]+)\)/.exec(pattern);
  const [multiline, dotAll] = ['m', 's'].map((flag) => flags?.[1]?.includes(flag) === true);
  if (flags !== null && !/^[msu]+$/.test(flags[1] ?? '')) throw untranslatable(pattern, flags[0]);
  let source = '';
  let at = flags?.[0].length ?? 0;
  while (at < pattern.length) {
    const rest = pattern.slice(at);
    const [, group] = /^(\((?:\?(?:[:=!]|<[=!]))?)(?!\?)/.exec(rest) ?? [];
    const [, quantifier] = /^((?:[*+?]|\{\d+(?:,\d*)?\}|\{,\d+\})\??)/.exec(rest) ?? [];
    const character = String.fromCodePoint(pattern.codePointAt(at) ?? 0);
    let taken = character.length;
    if (group !== undefined) {
      source += group;
      taken = group.length;
    } else if (quantifier !== undefined) {
      // What follows would make it possessive, or repeat a repetition.
      if (/^[*+?{]/.test(rest.slice(quantifier.length))) throw untranslatable(pattern, rest);
      source += quantifier.replace('{,', '{0,');
      taken = quantifier.length;
    } else if (character === '(') throw untranslatable(pattern, rest);
    else if (character === '[') {
      const found = readClass(pattern, at);
      source += found.source;
      taken = found.end - at;
    } else if (character === '\\') {
      source += outside(pattern, rest);
      taken = escapeOf(pattern, rest).length;
    } else if (character === '.') source += dotAll === true ? '[^]' : '[^\\n]';
    else if (character === '^') source += multiline === true ? '(?<![^\\n])' : '(?<![^])';
    else if (character === '$') source += multiline === true ? '(?![^\\n])' : '(?=\\n?(?![^]))';
    else if (/[|)]/.test(character)) source += character;
    else source += literal(character);
    at += taken;
  }
  try {
    new RegExp(source, 'u');
  } catch {
    throw untranslatable(pattern, pattern);
  }
  return source;
}

/** Texts and numbers of groups. @throws UntranslatableError */
export function translateReplacement(template: string): readonly (string | number)[] {
  const parts: (string | number)[] = [];
  const add = (text: string): void => {
    const last = parts.at(-1);
    if (typeof last === 'string') parts[parts.length - 1] = last + text;
    else parts.push(text);
  };
  for (const [piece, group, digits] of template.matchAll(
    /\\g<(\d{1,2})>|\\([1-9]\d?)(?!\d)|\\[^]|[^\\]+|\\$/g,
  )) {
    const number = group ?? digits;
    if (number !== undefined) parts.push(Number(number));
    else if (!piece.startsWith('\\')) add(piece);
    else {
      const escaped = CONTROLS[piece.slice(1)] ?? (/[^0-9A-Za-z]/.test(piece.slice(1)) ? undefined : null);
      if (escaped === null || piece === '\\') throw untranslatable(template, piece);
      // Python leaves the backslash before what it does not know, itself aside.
      add(escaped ?? (piece === '\\\\' ? '\\' : piece));
    }
  }
  return parts;
}

/** What Python's expressions can and these cannot. */
export class UntranslatableError extends Error {
  override readonly name = 'UntranslatableError';
}

function untranslatable(whole: string, where: string): UntranslatableError {
  return new UntranslatableError(`\`${whole}\` at \`${where.slice(0, 20)}\``);
}

const CONTROLS: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', f: '\f', v: '\v' };

/** Python's words are of every script. */
const WORD = '\\p{L}\\p{N}_';
/** Python's white space has five control characters more. (U+FEFF is white space here alone.) */
const SPACE = '\\s\\x1c-\\x1f\\x85';

const CLASSES: Readonly<Record<string, string>> = { w: WORD, d: '\\p{Nd}', s: SPACE };

function escapeOf(pattern: string, rest: string): string {
  const character = rest.codePointAt(1);
  if (character === undefined) throw untranslatable(pattern, rest);
  return `\\${String.fromCodePoint(character)}`;
}

/** An escape outside of a class. */
function outside(pattern: string, rest: string): string {
  const name = escapeOf(pattern, rest).slice(1);
  const kind = CLASSES[name.toLowerCase()];
  if (kind !== undefined) return name === name.toLowerCase() ? `[${kind}]` : `[^${kind}]`;
  if (name === 'b') return `(?:(?<=[${WORD}])(?![${WORD}])|(?<![${WORD}])(?=[${WORD}]))`;
  return inside(pattern, rest, name);
}

/** An escape that means one character. */
function inside(pattern: string, rest: string, name: string): string {
  if (name in CONTROLS) return `\\${name}`;
  if (/^[0-9A-Za-z]$/.test(name)) throw untranslatable(pattern, rest);
  return literal(name);
}

/** A class: its first `]` is a character of it, and so is `[`. */
function readClass(pattern: string, start: number): { readonly source: string; readonly end: number } {
  let at = start + 1;
  let source = '[';
  if (pattern[at] === '^') {
    source += '^';
    at += 1;
  }
  const first = at;
  for (; at < pattern.length;) {
    const character = String.fromCodePoint(pattern.codePointAt(at) ?? 0);
    if (character === ']' && at > first) return { source: `${source}]`, end: at + 1 };
    if (character === '\\') {
      const rest = pattern.slice(at);
      const escape = escapeOf(pattern, rest);
      source += CLASSES[escape.slice(1)] ?? inside(pattern, rest, escape.slice(1));
      at += escape.length;
    } else {
      source += character === '-' ? '-' : literal(character);
      at += character.length;
    }
  }
  throw untranslatable(pattern, pattern.slice(start));
}

function literal(character: string): string {
  if (character === '-') return '\\x2d';
  return character.replace(/[\\^$.*+?()[\]{}|/]/, '\\$&');
}
