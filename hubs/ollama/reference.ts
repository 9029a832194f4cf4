/**
 * How models of Ollama registries are written: `[host/][namespace/]model[:tag][@sha256:hex][//path]`. An id is all of it
 * up to the tag; with a digest the tag belongs to the id, so that people see which one was meant. Pure.
 */
import {
  decodePart,
  formatSubpath,
  malformed,
  splitSubpath,
  type Reference,
  type ReferenceParts,
  type ReferenceSyntax,
} from '../../src/reference.js';

/** A name that says no host is one of this registry. */
export const PUBLIC_HOST = 'registry.ollama.ai';
/** Namespace of a name that says none. */
export const LIBRARY = 'library';
export const DEFAULT_TAG = 'latest';

/** Bounds of Ollama's own reader (types/model/name.go). */
const HOST = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,349}(:\d{1,5})?$/;
const NAMESPACE = /^[A-Za-z0-9_][A-Za-z0-9_-]{0,79}$/;
const MODEL_OR_TAG = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,79}$/;
const HEX = /^[0-9a-f]{64}$/;
const HINT =
  'write `ollama:llama3.2:3b`, `ollama:user/model:tag` or `ollama:host/user/model:tag`; a digest follows as `@sha256:…`';

export interface Name {
  /** Undefined for the public registry, or what is configured in its place. */
  readonly host?: string;
  readonly namespace: string;
  readonly model: string;
  readonly tag?: string;
}

export const syntax = {
  hub: 'ollama',
  schemes: ['ollama'],
  parse: (rest) => parse(rest, `ollama:${rest}`),
  format,
  fromWebAddress,
} as const satisfies ReferenceSyntax;

function parse(rest: string, text: string): ReferenceParts {
  if (/^[a-z]*:?\/\//i.test(rest)) {
    throw malformed(
      text,
      'it holds an address',
      'leave out the scheme; a registry without encryption is named in `hubs.ollama.insecure`',
    );
  }
  const { head, subpath } = splitSubpath(rest);
  const at = head.indexOf('@');
  const name = readName(decodePart(at < 0 ? head : head.slice(0, at)), text);
  const inside = subpath === undefined ? {} : { subpath };
  if (at >= 0)
    return { id: idOf(name), revision: readDigest(decodePart(head.slice(at + 1)), text), ...inside };
  const { tag, ...model } = name;
  return { id: idOf(model), ...(tag === undefined ? {} : { revision: tag }), ...inside };
}

function format({ id, revision, subpath }: ReferenceParts): string {
  const inside = formatSubpath(subpath);
  if (revision === undefined) return `ollama:${id}${inside}`;
  const digest = digestOf(revision);
  if (digest !== undefined) return `ollama:${id}@sha256:${digest}${inside}`;
  return `ollama:${id.slice(0, tagStart(id))}:${revision}${inside}`;
}

/** Hex of a revision that is a digest, as `sha256:<hex>`, as Ollama's files have it, or bare. */
export function digestOf(revision: string): string | undefined {
  const hex = revision.replace(/^sha256[:-]/, '');
  return HEX.test(hex) ? hex : undefined;
}

/** @throws ModeldlError USAGE for what could be no name: nothing else is put into an address */
export function readName(text: string, reference: string): Name {
  const at = tagStart(text);
  const tag = at === text.length ? undefined : text.slice(at + 1);
  const { host, rest } = splitHost(text.slice(0, at));
  const [model = '', namespace = LIBRARY, ...others] = rest.split('/').reverse();
  const refuse = (why: string): Error => malformed(reference, why, HINT);
  if (others.length > 0) throw refuse('it has more parts than host, namespace and model');
  if (host !== undefined && !isHost(host)) throw refuse(`\`${host}\` is no host`);
  if (!NAMESPACE.test(namespace)) throw refuse(`\`${namespace}\` is no namespace`);
  if (!MODEL_OR_TAG.test(model)) throw refuse(`\`${model}\` is no name of a model`);
  if (tag !== undefined) checkTag(tag, reference);
  const isPublic = host === undefined || host.toLowerCase() === PUBLIC_HOST;
  return {
    ...(isPublic ? {} : { host: host.toLowerCase() }),
    namespace,
    model,
    ...(tag === undefined ? {} : { tag }),
  };
}

/** Of those that look like one, some are none: a port past 65535, numbers that are no address of IPv4. */
function isHost(text: string): boolean {
  return HOST.test(text) && URL.canParse(`https://${text}`);
}

/** A tag is part of the id; a digest says what it meant. @throws ModeldlError USAGE */
export function askedName(reference: Reference): { name: Name; hex: string | undefined } {
  const text = syntax.format(reference);
  const name = readName(reference.id, text);
  const { revision } = reference;
  const hex = revision === undefined ? undefined : digestOf(revision);
  if (hex !== undefined) return { name, hex };
  const tag = revision ?? name.tag ?? DEFAULT_TAG;
  checkTag(tag, text);
  return { name: { ...name, tag }, hex };
}

export function checkTag(tag: string, reference: string): void {
  if (HEX.test(tag)) throw malformed(reference, 'the tag looks like a digest', HINT);
  if (!MODEL_OR_TAG.test(tag)) throw malformed(reference, `\`${tag}\` is no tag`, HINT);
}

/** Can it be written, and read as what it is? */
export function isName({ namespace, model, tag = DEFAULT_TAG }: Name): boolean {
  return (
    NAMESPACE.test(namespace) && [model, tag].every((part) => MODEL_OR_TAG.test(part) && !HEX.test(part))
  );
}

/** The shortest text that means this name. */
export function idOf({ host, namespace, model, tag }: Name): string {
  const path = host === undefined && namespace === LIBRARY ? model : `${namespace}/${model}`;
  return `${host === undefined ? '' : `${host}/`}${path}${tag === undefined ? '' : `:${tag}`}`;
}

/** Where the tag begins, with its colon; the end when there is none. A port is followed by a slash. */
function tagStart(id: string): number {
  const colon = id.lastIndexOf(':');
  return colon > id.lastIndexOf('/') ? colon : id.length;
}

/** A first part with a dot or a port, or `localhost`, is a host: no namespace looks like that. */
function splitHost(path: string): { host?: string; rest: string } {
  const slash = path.indexOf('/');
  const first = path.slice(0, Math.max(0, slash));
  const namesHost = /[.:]/.test(first) || first.toLowerCase() === 'localhost';
  return namesHost ? { host: first, rest: path.slice(slash + 1) } : { rest: path };
}

function readDigest(text: string, reference: string): string {
  const hex = digestOf(text);
  if (hex !== undefined && text !== hex) return hex;
  throw malformed(reference, 'expected `sha256:` and 64 hex digits after `@`', HINT);
}

/** Pages of models at ollama.com. What else is there (installers, the blog) is no model. */
function fromWebAddress({ host, pathname, search, hash }: URL): ReferenceParts | undefined {
  if (!/^(www\.)?ollama\.com$/.test(host) || search !== '' || hash !== '') return undefined;
  const [, namespace = '', name = '', tag] =
    /^\/([^/:]+)\/([^/:]+)(?::([^/:]+))?(?:\/tags)?\/?$/.exec(decodePart(pathname)) ?? [];
  if (namespace !== LIBRARY && tag === undefined) return undefined;
  const text = `${namespace}/${name}${tag === undefined ? '' : `:${tag}`}`;
  return parse(text, `https://${host}${pathname}`);
}
