/** How models in registries are written: `host[:port]/repository[:tag|@sha256:…]`. Pure. */
import {
  formatSubpath,
  malformed,
  splitSubpath,
  type ReferenceParts,
  type ReferenceSyntax,
} from '../../src/reference.js';

/** What a reference without tag and digest means, at every registry. */
export const DEFAULT_TAG = 'latest';

const HINT = 'write `oci:host[:port]/repository:tag`, or `oci:host/repository@sha256:…`';
/** A dot, a port or `localhost` tells a host from the first part of a name, as Docker reads names. */
const HOST = /^(localhost|\[[0-9a-f:]+\]|[a-z0-9-]+(\.[a-z0-9-]+)+|[a-z0-9-]+(?=:))(:\d{1,5})?$/;
/** distribution-spec, "Pulling manifests". */
const REPOSITORY = /^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^\w[\w.-]{0,127}$/;
const SHA256 = /^[0-9a-f]{64}$/;
const DOCKER_HUB = new Set([
  'docker.io',
  'index.docker.io',
  'registry-1.docker.io',
  'registry.hub.docker.com',
]);

export const syntax = {
  hub: 'oci',
  schemes: ['oci'],
  parse: parseOci,
  format: ({ id, revision, subpath }) => `oci:${id}${pinOf(revision)}${formatSubpath(subpath)}`,
} as const satisfies ReferenceSyntax;

/** A model's place at a registry. */
export interface Place {
  /** With its port, as it is written: `docker.io`. */
  readonly host: string;
  readonly repository: string;
}

export function placeOf(id: string): Place {
  const at = id.indexOf('/');
  return { host: id.slice(0, at), repository: id.slice(at + 1) };
}

/** The hex of a revision that is a manifest's digest; undefined for a tag. */
export function digestOf(revision: string): string | undefined {
  const hex = revision.replace(/^sha256:/, '');
  return SHA256.test(hex) ? hex : undefined;
}

/** Could it stand in a reference? What a registry tells becomes part of those that are shown to be copied. */
export function isTag(text: string): boolean {
  return TAG.test(text) && !SHA256.test(text);
}

/** The same of a repository's name. */
export function isRepository(text: string): boolean {
  return REPOSITORY.test(text);
}

/** @throws ModeldlError USAGE for what could be no tag and no digest: a revision may come from an option as well */
export function checked(parts: ReferenceParts, text: string): ReferenceParts {
  const { revision } = parts;
  if (revision === undefined || digestOf(revision) !== undefined || TAG.test(revision)) return parts;
  throw malformed(text, `\`${revision}\` is neither a tag nor a digest`, HINT);
}

/** @throws ModeldlError USAGE for a reference that no model can be written to */
export function tagToWrite(target: ReferenceParts): string {
  const text = syntax.format(target);
  const { id, revision: tag = DEFAULT_TAG } = checked(target, text);
  if (digestOf(tag) === undefined) return tag;
  throw malformed(text, 'a digest follows from what is pushed', `write \`oci:${id}:tag\``);
}

function parseOci(rest: string): ReferenceParts {
  const text = `oci:${rest}`;
  const { head, subpath } = splitSubpath(rest.replace(/^\/\//, ''));
  const at = head.indexOf('@');
  const named = at < 0 ? head : head.slice(0, at);
  const slash = named.indexOf('/');
  const host = named.slice(0, Math.max(0, slash)).toLowerCase();
  if (/^https?:/.test(named)) throw malformed(text, 'an address inside has no scheme', HINT);
  if (!HOST.test(host)) {
    const guess = slash < 0 ? `library/${named}` : named;
    throw malformed(
      text,
      'it names no registry',
      `${HINT}; for a model at Docker Hub \`oci:docker.io/${guess}\``,
    );
  }
  // A port past 65535, or numbers that are no address of IPv4.
  if (!URL.canParse(`https://${host}`)) throw malformed(text, `\`${host}\` is no host`, HINT);
  const colon = named.lastIndexOf(':');
  const isTagged = colon > named.lastIndexOf('/');
  const repository = named.slice(slash + 1, isTagged ? colon : undefined);
  if (!isRepository(repository))
    throw malformed(text, `\`${repository}\` is no name of a repository, which is in lower case`, HINT);
  const tag = isTagged ? named.slice(colon + 1) : undefined;
  // Sixty-four hex digits would be read as a digest wherever the reference is written.
  if (tag !== undefined && !isTag(tag)) throw malformed(text, `\`${tag}\` is no tag`, HINT);
  const digest = at < 0 ? undefined : /^sha256:([0-9a-f]{64})$/.exec(head.slice(at + 1))?.[1];
  if (at >= 0 && digest === undefined)
    throw malformed(text, 'what follows `@` is no sha256 digest of 64 hex digits', HINT);
  const revision = digest ?? tag;
  return {
    id: canonicalId(host, repository),
    ...(revision === undefined ? {} : { revision }),
    ...(subpath === undefined ? {} : { subpath }),
  };
}

/** Docker Hub has several names, and a namespace that goes unsaid. */
function canonicalId(host: string, repository: string): string {
  if (!DOCKER_HUB.has(host)) return `${host}/${repository}`;
  return `docker.io/${repository.includes('/') ? repository : `library/${repository}`}`;
}

function pinOf(revision: string | undefined): string {
  if (revision === undefined) return '';
  const digest = digestOf(revision);
  return digest === undefined ? `:${revision}` : `@sha256:${digest}`;
}
