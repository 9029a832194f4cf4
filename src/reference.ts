/**
 * The reference grammar: `[scheme:]id[@revision][//subpath]`, with an optional `+conversion` at the end.
 * Pure: no file system beyond what `exists` answers, no network. Hubs describe their own part as a {@link ReferenceSyntax}.
 */
import { isAbsolute, resolve } from 'node:path';
import { closest, distance } from 'fastest-levenshtein';
import { ModeldlError } from './errors.js';
import { redactReference } from './redact.js';

/** What a user named, after parsing. `id`, `revision` and `subpath` are decoded. */
export interface Reference {
  /** Name of the hub: `hf`, `url`, … */
  readonly hub: string;
  readonly id: string;
  readonly revision?: string;
  /** Only what lies under this path; no leading or trailing slash. */
  readonly subpath?: string;
  /**
   * A pasted address does not tell where a revision with slashes ends: `revision` is the first segment, and more of
   * `subpath` may belong to it.
   */
  readonly openRevision?: true;
  /** Lower-case hex sha256 that the bytes must have (`#sha256=` of a web address). */
  readonly sha256?: string;
  /** Query of a web address, without `?`: for fetching only, so never formatted, recorded or logged. */
  readonly query?: string;
  /** What is stored of it: a conversion as `int8-cpu`, or 8 hex digits of a conversion's key or a selection's hash. */
  readonly conversion?: string;
}

export type ReferenceParts = Omit<Reference, 'hub' | 'conversion'>;

export interface ParseOptions {
  /** Absolute directory that relative paths start from. */
  readonly cwd: string;
  /** Home directory, for `~/…`. */
  readonly home: string;
  /** `--unpack`: `//` separates a subpath even without an archive suffix. */
  readonly unpack?: boolean;
  /** Is there such a file or folder? A path that is there is a path, whatever its name ends in. */
  readonly exists?: (path: string) => boolean;
  /** Configured endpoints by hub name, so that addresses of their web pages are understood. */
  readonly endpoints?: Readonly<Record<string, string | undefined>>;
}

/** How one hub's references are written. A hub without `parse` and `format` uses the standard form. */
export interface ReferenceSyntax {
  /** Hub name. */
  readonly hub: string;
  /** Schemes that lead to this hub; the first is the canonical one. */
  readonly schemes: readonly string[];
  /** This hub takes references without a scheme: `name` and `org/name`. At most one hub. */
  readonly bareNames?: boolean;
  /** This hub takes file system paths. At most one hub. */
  readonly paths?: boolean;
  /** What this hub's references name may be an archive that is unpacked when asked (`ParseOptions.unpack`). */
  readonly unpacks?: boolean;
  /** Reads what follows `scheme:`; throws USAGE when it is malformed. */
  parse?(rest: string, options: ParseOptions & { scheme: string }): ReferenceParts;
  /** The whole canonical text, scheme included, without `+conversion`. `parse(format(r))` equals `r`. */
  format?(parts: ReferenceParts): string;
  /** A pasted web address that belongs to this hub or to its configured endpoint, else undefined. */
  fromWebAddress?(address: URL, endpoint?: string): ReferenceParts | undefined;
}

const CONVERSION = /\+((?:fp32|fp16|int8|int4|nf4|mxfp4|cb4)-[a-z][a-z0-9_.]*|[0-9a-f]{8})$/;
const SCHEME = /^([a-z][a-z0-9-]*):/;
const BARE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*(\/[A-Za-z0-9][A-Za-z0-9._-]*)?$/;

/** Would the end of this text be read as a conversion? A hub whose ids are not encoded must avoid that. */
export function endsLikeConversion(text: string): boolean {
  return CONVERSION.test(text);
}

/** Decodes `%xx` after splitting; a stray `%` stays as it is, so that a name with `%` can be typed. */
export function decodePart(text: string): string {
  return text.replace(/(?:%[0-9A-Fa-f]{2})+/g, (run) => {
    try {
      return decodeURIComponent(run);
    } catch {
      return run;
    }
  });
}

/** Encodes what the grammar gives a meaning to, so that splitting and decoding give the text back. */
export function encodePart(text: string): string {
  return text.replace(/[%@#+\s]|\/(?=\/)|^\/|\/$/g, (character) => encodeURIComponent(character));
}

/** What to write instead, where nothing better is known. */
const FORM_HINT = 'write `[scheme:]id[@revision][//subpath]`, for example `hf:org/name@main//onnx`';

/** A USAGE error about a reference, in one wording. */
export function malformed(reference: string, why: string, hint = FORM_HINT): ModeldlError {
  const shown = redactReference(reference);
  return new ModeldlError('USAGE', `Malformed reference \`${shown}\`: ${why}`, {
    hint,
    details: { reference: shown },
  });
}

/** Splits `rest` at its first `//` into what precedes it and a cleaned, decoded subpath. */
export function splitSubpath(rest: string): { head: string; subpath?: string } {
  const at = rest.indexOf('//');
  if (at < 0) return { head: rest };
  return { head: rest.slice(0, at), subpath: cleanSubpath(rest.slice(at + 2), rest) };
}

/** Decodes a subpath and refuses what could not be a path inside a model. */
export function cleanSubpath(text: string, reference: string): string {
  const subpath = decodePart(text.replace(/\/$/, ''));
  const segments = subpath.split('/');
  if (subpath === '') throw malformed(reference, 'nothing follows `//`');
  if (segments.some((segment) => segment === '' || segment === '.' || segment === '..')) {
    throw malformed(reference, `the subpath \`${subpath}\` has an empty, \`.\` or \`..\` segment`);
  }
  return subpath;
}

/** The standard form: `id[@revision][//subpath]`; the revision follows the last `@` after position 0. */
export function parseStandard(rest: string, reference = rest): ReferenceParts {
  const { head, subpath } = splitSubpath(rest);
  const at = head.lastIndexOf('@');
  const id = decodePart(at > 0 ? head.slice(0, at) : head);
  const revision = at > 0 ? decodePart(head.slice(at + 1)) : undefined;
  if (id === '') throw malformed(reference, 'the name is empty');
  if (revision === '') throw malformed(reference, 'the revision after `@` is empty');
  return {
    id,
    ...(revision === undefined ? {} : { revision }),
    ...(subpath === undefined ? {} : { subpath }),
  };
}

/** The inverse of {@link parseStandard}. */
export function formatStandard(scheme: string, parts: ReferenceParts): string {
  const id = parts.id.startsWith('@') ? `@${encodePart(parts.id.slice(1))}` : encodePart(parts.id);
  const revision = parts.revision === undefined ? '' : `@${encodePart(parts.revision)}`;
  return `${scheme}:${id}${revision}${formatSubpath(parts.subpath)}`;
}

export function formatSubpath(subpath: string | undefined): string {
  return subpath === undefined ? '' : `//${encodePart(subpath)}`;
}

/** Is this text a file system path by its first characters? Such text is taken verbatim. */
export function looksLikePath(text: string): boolean {
  return /^(\.|~|\/|\\|[A-Za-z]:[\\/])/.test(text);
}

/** Does this text start with a scheme, known or not? */
export function hasScheme(text: string): boolean {
  return SCHEME.test(text);
}

/**
 * Parses what a user typed.
 *
 * Reading order: a path by its first characters; `scheme:` of a known hub; a web address that a hub recognises; a
 * bare `name` or `org/name`.
 * @throws ModeldlError USAGE, with a hint at the likely meaning.
 */
export function parseReference(
  text: string,
  syntaxes: readonly ReferenceSyntax[],
  options: ParseOptions,
): Reference {
  if (text.trim() === '') throw malformed(text, 'it is empty');
  if (text.includes('\0')) throw malformed(JSON.stringify(text), 'it holds a NUL character');
  const isThere = looksLikePath(text) && options.exists?.(absolutePath(text, options)) === true;
  const conversion = isThere ? null : CONVERSION.exec(text);
  const body = conversion === null ? text : text.slice(0, conversion.index);
  if (body === '') throw malformed(text, 'nothing precedes the conversion');
  const parsed = parseBody(body, syntaxes, options);
  // Written `%00`, which no file system and no hub takes.
  if (Object.values(parsed).some((part) => typeof part === 'string' && part.includes('\0')))
    throw malformed(text, 'it holds a NUL character');
  if (options.unpack === true) refuseUnpacking(text, parsed.hub, syntaxes);
  return { ...parsed, ...(conversion?.[1] ? { conversion: conversion[1] } : {}) };
}

function refuseUnpacking(text: string, hub: string, syntaxes: readonly ReferenceSyntax[]): void {
  const unpacking = syntaxes.filter((syntax) => syntax.unpacks);
  if (unpacking.some((syntax) => syntax.hub === hub)) return;
  const schemes = unpacking.flatMap((syntax) => syntax.schemes.map((scheme) => `\`${scheme}:\``));
  throw new ModeldlError('USAGE', `\`--unpack\` means nothing here: ${redactReference(text)}`, {
    hint: `it is for ${schemes.join(' and ')}; packages are unpacked anyway, local archives by other programs`,
    details: { reference: redactReference(text) },
  });
}

function parseBody(text: string, syntaxes: readonly ReferenceSyntax[], options: ParseOptions): Reference {
  const paths = syntaxes.find((syntax) => syntax.paths);
  if (looksLikePath(text)) {
    if (paths === undefined) throw malformed(text, 'no hub takes file system paths');
    return { hub: paths.hub, id: absolutePath(text, options) };
  }
  const scheme = SCHEME.exec(text)?.[1];
  if (scheme !== undefined) {
    if (/^[a-z0-9-]+:\/\//.test(text)) {
      const address = URL.canParse(text) ? new URL(text) : undefined;
      for (const syntax of syntaxes) {
        const parts = address && syntax.fromWebAddress?.(address, options.endpoints?.[syntax.hub]);
        if (parts) return { hub: syntax.hub, ...parts };
      }
    }
    const syntax = syntaxes.find((candidate) => candidate.schemes.includes(scheme));
    if (syntax === undefined) throw unknownScheme(text, scheme, syntaxes);
    return readBy(syntax, text.slice(scheme.length + 1), scheme, options);
  }
  const bare = syntaxes.find((syntax) => syntax.bareNames);
  const { head } = splitSubpath(text);
  const at = head.lastIndexOf('@');
  const name = at > 0 ? head.slice(0, at) : head;
  if (bare === undefined || !BARE_NAME.test(decodePart(name))) throw notAReference(text, name, syntaxes);
  return readBy(bare, text, bare.schemes[0] ?? bare.hub, options);
}

/** What follows a hub's scheme, or stands without one, as that hub reads it. */
function readBy(syntax: ReferenceSyntax, rest: string, scheme: string, options: ParseOptions): Reference {
  const parts = syntax.parse ? syntax.parse(rest, { ...options, scheme }) : parseStandard(rest);
  return { hub: syntax.hub, ...parts };
}

function absolutePath(text: string, options: ParseOptions): string {
  if (/^[A-Za-z]:[\\/]/.test(text)) return text;
  if (text === '~' || text.startsWith('~/')) return resolve(options.home, `.${text.slice(1)}`);
  return isAbsolute(text) ? resolve(text) : resolve(options.cwd, text);
}

function unknownScheme(typed: string, scheme: string, syntaxes: readonly ReferenceSyntax[]): ModeldlError {
  const text = redactReference(typed);
  const known = syntaxes.flatMap((syntax) => syntax.schemes);
  const nearest = closestOf(scheme, known);
  const rest = text.slice(scheme.length + 1);
  const meant = nearest === undefined ? [] : [`${nearest}:${rest}`];
  // `llama3:8b` is how Ollama's own command line has it.
  if (known.includes('ollama') && /^[\w.-]+$/.test(rest) && (nearest ?? 'ollama') === 'ollama')
    meant.unshift(`ollama:${text}`);
  return new ModeldlError('USAGE', `Unknown scheme \`${scheme}:\` in \`${text}\``, {
    hint:
      meant.length === 0
        ? `known schemes: ${known.join(', ')}; a local file is written \`./${text}\``
        : `did you mean ${meant.map((one) => `\`${one}\``).join(' or ')}`,
    details: { reference: text },
  });
}

function closestOf(word: string, candidates: readonly string[]): string | undefined {
  const nearest = closest(word, [...candidates]);
  return distance(word, nearest) <= Math.max(1, Math.floor(word.length / 3)) ? nearest : undefined;
}

function notAReference(typed: string, name: string, syntaxes: readonly ReferenceSyntax[]): ModeldlError {
  const text = redactReference(typed);
  const segments = name.split('/');
  let hint = `expected \`[scheme:]id[@revision][//subpath]\`; a local file is written \`./${text}\``;
  // Only where there is a hub whose names look like this: a hint must not be refused in turn.
  const tagged = syntaxes.some(({ schemes }) => schemes.includes('ollama'));
  if (tagged && /^[^/:]+(\/[^/:]+)?:[^/:]+$/.test(name)) hint = `did you mean \`ollama:${text}\``;
  else if (segments.length > 2 && segments.every((segment) => segment !== '')) {
    hint = `did you mean \`hf:${segments.slice(0, 2).join('/')}//${segments.slice(2).join('/')}\`, or the file \`./${text}\``;
  }
  return malformed(text, 'it is neither `name`, `org/name`, a path nor `scheme:…`', hint);
}

/** The canonical text of a reference; {@link parseReference} gives the same reference back. */
export function formatReference(reference: Reference, syntaxes: readonly ReferenceSyntax[]): string {
  const syntax = syntaxes.find((candidate) => candidate.hub === reference.hub);
  const scheme = syntax?.schemes[0] ?? reference.hub;
  const text = syntax?.format ? syntax.format(reference) : formatStandard(scheme, reference);
  return reference.conversion === undefined ? text : `${text}+${reference.conversion}`;
}
