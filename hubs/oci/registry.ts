/** Asking a registry: manifests, and what names it has. */
import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { ModeldlError } from '../../src/errors.js';
import type { HubContext } from '../../src/hub.js';
import { parseJson } from '../../src/json.js';
import { loginTo } from './access.js';
import { apiAddress, originOf } from './address.js';
import { MANIFEST_TYPES, MAX_MANIFEST_BYTES, readManifest, type Index, type Manifest } from './manifest.js';
import { digestOf, isRepository, isTag, type Place } from './reference.js';
import { notARegistry, refusal, saidBy, type Said } from './refusal.js';

const tagsSchema = v.object({ tags: v.nullish(v.array(v.string())) });
const catalogueSchema = v.object({ repositories: v.nullish(v.array(v.string())) });
/** What all kinds of manifests have, read or not. */
const someManifest = v.looseObject({ schemaVersion: v.number() });
/** Most names that are asked for to offer the nearest. */
const NAMES = 1000;

export interface Fetched {
  readonly manifest: Manifest | Index;
  /** Hex of the sha256 over its bytes. */
  readonly digest: string;
}

/**
 * Asks for a manifest by a tag or the hex of its digest.
 * @returns what the registry said where it has no such thing
 * @throws ModeldlError AUTH, NETWORK, INTEGRITY for bytes that are not what their digest says, UNSUPPORTED
 */
export async function fetchManifest(
  place: Place,
  revision: string,
  context: HubContext,
): Promise<Fetched | { readonly missing: Said }> {
  const promised = digestOf(revision);
  const name = promised === undefined ? revision : `sha256:${promised}`;
  const address = apiAddress(place, `manifests/${name}`, context);
  const response = await context.fetch(address, {
    headers: { accept: MANIFEST_TYPES.join(', ') },
    signal: context.signal,
  });
  const text = await bodyOf(response);
  const what = `${place.host}/${place.repository}`;
  if (response.status === 404) {
    // Registries say in JSON what they lack; a page says that there is none.
    if (text === undefined) throw notARegistry(response);
    return { missing: saidBy(text) };
  }
  if (!response.ok)
    throw refusal(
      response,
      text ?? '',
      { what: `the model ${what}`, otherwise: ', or does not have it' },
      await loginTo(
        { origin: originOf(place.host, context), repository: place.repository },
        context,
        context.signal,
      ),
    );
  if (text === undefined || Buffer.byteLength(text) > MAX_MANIFEST_BYTES) throw notARegistry(response);
  const digest = createHash('sha256').update(text).digest('hex');
  const told =
    promised ?? /^sha256:([0-9a-f]{64})$/.exec(response.headers.get('docker-content-digest') ?? '')?.[1];
  if (told !== undefined && told !== digest) {
    throw new ModeldlError(
      'INTEGRITY',
      `The manifest of ${what} is not what its digest says: expected sha256:${told}, got sha256:${digest}`,
      { hint: 'try again; if it stays so, tell whoever runs the registry', details: { url: address } },
    );
  }
  const document = parseJson(text);
  const manifest = readManifest(document);
  if (manifest === undefined && !v.is(someManifest, document)) throw notARegistry(response);
  const type = mediaType(response);
  const isTold = manifest?.mediaType === undefined || type === '' || manifest.mediaType === type;
  if (manifest === undefined || !isTold) throw unreadable(response, what);
  return { manifest, digest };
}

/** The tags of a repository, as far as they are told. @throws ModeldlError INTERRUPTED */
export async function tagsOf(place: Place, context: HubContext): Promise<readonly string[]> {
  const answer = await names(apiAddress(place, `tags/list?n=${NAMES}`, context), tagsSchema, context);
  return (answer?.tags ?? []).filter(isTag);
}

/** The repositories of a registry, which few tell. @throws ModeldlError INTERRUPTED */
export async function repositoriesOf({ host }: Place, context: HubContext): Promise<readonly string[]> {
  const address = `${originOf(host, context)}/v2/_catalog?n=${NAMES}`;
  return ((await names(address, catalogueSchema, context))?.repositories ?? []).filter(isRepository);
}

/** For a hint only: what cannot be had is left out of it. */
async function names<Schema extends v.GenericSchema>(
  address: string,
  schema: Schema,
  context: HubContext,
): Promise<v.InferOutput<Schema> | undefined> {
  try {
    const response = await context.fetch(address, { signal: context.signal });
    const text = await bodyOf(response);
    const answer = response.ok ? v.safeParse(schema, parseJson(text ?? '')) : undefined;
    return answer?.success === true ? answer.output : undefined;
  } catch (error) {
    if (error instanceof ModeldlError && !context.signal.aborted) return undefined;
    throw error;
  }
}

/** The body of an answer in JSON; undefined for any other, which is not read. */
export async function bodyOf(response: Response): Promise<string | undefined> {
  if (/\bjson\b/.test(mediaType(response)) || mediaType(response) === 'text/plain') return response.text();
  await response.body?.cancel();
  // Some say nothing about an empty one.
  return mediaType(response) === '' ? '' : undefined;
}

function mediaType(response: Response): string {
  return (response.headers.get('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
}

function unreadable(response: Response, what: string): ModeldlError {
  const type = mediaType(response);
  if (!/^application\/(vnd\.(oci|docker)|json)/.test(type)) return notARegistry(response);
  return new ModeldlError(
    'UNSUPPORTED',
    `The manifest of ${what} is of a kind that modeldl cannot read: ${type}`,
    {
      hint: 'images of 2016 and before, and attestations alone, hold no model',
      details: { url: response.url },
    },
  );
}
