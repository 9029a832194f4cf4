/** Model files inside npm packages: npm's own configuration and libraries decide where from, nothing of them is run. */
import type { Packument } from 'pacote';
import * as v from 'valibot';
import { ModeldlError, systemErrorCode } from '../src/errors.js';
import type { Digest, Hub, HubContext } from '../src/hub.js';
import { parseJson } from '../src/json.js';
import {
  formatStandard,
  malformed,
  parseStandard,
  type Reference,
  type ReferenceParts,
} from '../src/reference.js';
import { npmAuthorization, npmNetwork, npmOptions, type NpmOptions } from './npm/config.js';
import { askIndex, fileAddress, notAnIndex, type Document, type Question } from './package-index.js';
import { nearestVersions } from './versions.js';

const LOGIN_HINT = 'log in with `npm login`, or set the registry’s `_authToken` in your `.npmrc`';

export const npm = {
  name: 'npm',
  title: 'npm registry',
  syntax: {
    hub: 'npm',
    schemes: ['npm'],
    parse,
    format: (parts: ReferenceParts) => formatStandard('npm', parts),
  },
  loginHint: LOGIN_HINT,
  settings: {
    endpoint: {
      description: "Registry used in place of npm's own `registry`; scopes keep theirs",
      type: 'string',
      trust: true,
    },
  },
  endpoint: ({ settings }) => (typeof settings['endpoint'] === 'string' ? settings['endpoint'] : undefined),
  server: async (context) => (await npmOptions(context)).registry,
  authorize: npmAuthorization,
  network: npmNetwork,
  mayMean,
  resolve,
} as const satisfies Hub;

const manifestSchema = v.looseObject({
  name: v.string(),
  version: v.string(),
  dist: v.looseObject({ tarball: v.string() }),
});
const packumentSchema = v.looseObject({
  name: v.string(),
  'dist-tags': v.record(v.string(), v.string()),
  versions: v.record(v.string(), manifestSchema),
});

/** The parts that decide anything are checked; the rest is passed on as the registry gave it. */
const packument = v.custom<Packument>((input) => v.is(packumentSchema, input));

function parse(rest: string): ReferenceParts {
  // A range has neither; git, file and web address specs do.
  const parts = parseStandard(rest, `npm:${rest}`);
  if (/[:/\\]/.test(parts.revision ?? '')) throw otherSource(`npm:${rest}`);
  return parts;
}

async function resolve(reference: Reference, context: HubContext): ReturnType<Hub['resolve']> {
  const text = formatStandard('npm', reference);
  const spec = await packageSpec(reference, text);
  const options = await npmOptions(context);
  const { default: npmFetch } = await import('npm-registry-fetch');
  const registry = npmFetch.pickRegistry(spec, options);
  const address = new URL(`${registry.replace(/\/+$/, '')}/${reference.id.replace('/', '%2f')}`);
  address.username = '';
  address.password = '';
  const question: Question = {
    source: 'The npm registry',
    what: `npm package ${reference.id}`,
    login: LOGIN_HINT,
    credentials: "npm's configuration",
    // The full document: the short one lacks the licence.
    headers: { accept: 'application/json', ...(await npmAuthorization(address, context)) },
  };
  const document = await askIndex(address, question, context);
  const listing = v.safeParse(packument, parseJson(document.text));
  if (!listing.success) throw notAnIndex(document, question, 'hubs.npm.endpoint');
  const manifest = await pick(spec, listing.output, { ...options, registry }, reference);
  if (typeof manifest.deprecated === 'string' && manifest.deprecated !== '') {
    context.warn(`npm package ${manifest.name}@${manifest.version} is deprecated: ${manifest.deprecated}`);
  }
  const digest = strongestDigest(manifest._integrity);
  const license = licenseOf(manifest.license);
  const page = manifest.homepage?.startsWith('https://') ? manifest.homepage : undefined;
  return {
    hub: 'npm',
    id: reference.id,
    revision: manifest.version,
    files: [
      {
        path: 'package.tgz',
        ...(await tarballAddress(manifest.dist.tarball, { ...options, registry }, document)),
        ...(digest === undefined ? {} : { digest }),
        unpack: { format: 'tar.gz', strip: 1 },
      },
    ],
    metadata: {
      ...(license === undefined ? {} : { license }),
      ...(page === undefined ? {} : { page }),
    },
  };
}

/** What a range or a tag is, the registry's list of versions tells. */
async function mayMean(named: string, revision: string): Promise<boolean> {
  const { default: npa } = await import('npm-package-arg');
  const { type, fetchSpec } = npa.resolve('package', named);
  return type !== 'version' || fetchSpec === revision;
}

/** @throws ModeldlError USAGE for anything but a version, a range or a tag of a package by name */
async function packageSpec(reference: Reference, text: string): Promise<string> {
  const { default: npa } = await import('npm-package-arg');
  try {
    const spec = npa.resolve(reference.id, reference.revision ?? '');
    if (!spec.registry || spec.type === 'alias') throw otherSource(text);
    return spec.raw;
  } catch (error) {
    if (error instanceof ModeldlError) throw error;
    throw malformed(
      text,
      error instanceof Error ? error.message : 'it is no package name',
      'packages are written `npm:name` or `npm:@scope/name`',
    );
  }
}

function otherSource(text: string): ModeldlError {
  return malformed(
    text,
    'only versions, ranges and tags of packages in a registry are taken',
    'write `npm:name@1.2.3`',
  );
}

/** Lets npm's own rules choose the version: ranges, tags, `before`, deprecations. */
async function pick(spec: string, listing: Packument, options: NpmOptions, reference: Reference) {
  const { default: pacote } = await import('pacote');
  // pacote asks this before the network. The listing came through modeldl's client, with its proxies, certificates,
  // retries and offline switch, so whatever the key, this one listing is the answer.
  const packumentCache = Object.assign(new Map<string, Packument>(), { has: () => true, get: () => listing });
  try {
    return await pacote.manifest(spec, { ...options, fullMetadata: true, packumentCache });
  } catch (error) {
    throw pickError(error, listing, reference);
  }
}

function pickError(error: unknown, listing: Packument, reference: Reference): unknown {
  const code = systemErrorCode(error);
  if (code !== 'ETARGET' && code !== 'ENOVERSIONS' && code !== 'E403') return error;
  const asked = reference.revision ?? 'latest';
  const near = nearestVersions(asked, Object.keys(listing.versions));
  const tags = Object.keys(listing['dist-tags']).slice(0, 5);
  return new ModeldlError('NOT_FOUND', `The npm package ${reference.id} has no version ${asked}`, {
    hint:
      near.length === 0
        ? 'nothing of it is published'
        : `versions: ${near.join(', ')}; tags: ${tags.join(', ')}`,
    cause: error,
    details: { versions: near },
  });
}

/** Where the tarball is: a mirror that passes on another registry's addresses is asked itself, by npm's own rule. */
async function tarballAddress(tarball: string, options: NpmOptions, document: Document) {
  const { default: pacote } = await import('pacote');
  const { url, query } = fileAddress(tarball, document.url);
  const replaced = fileAddress(await pacote.resolve(url, options), document.url);
  return query === undefined ? replaced : { ...replaced, query };
}

/** The strongest digest of a Subresource Integrity text (`sha512-<base64> …`). */
export function strongestDigest(integrity: string | undefined): Digest | undefined {
  const lengths = { sha512: 64, sha384: 48, sha256: 32, sha1: 20 } as const;
  for (const algorithm of ['sha512', 'sha384', 'sha256', 'sha1'] as const) {
    const base64 = new RegExp(`(?:^|\\s)${algorithm}-([A-Za-z0-9+/=]+)`).exec(integrity ?? '')?.[1];
    const bytes = Buffer.from(base64 ?? '', 'base64');
    if (bytes.length === lengths[algorithm]) return { algorithm, hex: bytes.toString('hex') };
  }
  return undefined;
}

function licenseOf(license: unknown): string | undefined {
  const named = typeof license === 'object' && license !== null && 'type' in license ? license.type : license;
  return typeof named === 'string' && /^[A-Za-z0-9.+-]+$/.test(named) ? named.toLowerCase() : undefined;
}
