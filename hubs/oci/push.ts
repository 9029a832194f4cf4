/** Writing a model to a registry: what it lacks of the files, then the configuration, last the manifest. */
import pLimit from 'p-limit';
import { ModeldlError, throwIfAborted } from '../../src/errors.js';
import type { FileToPush, ModelToPush, Pushed, PushContext } from '../../src/hub.js';
import type { Reference } from '../../src/reference.js';
import { loginTo, widen } from './access.js';
import { apiAddress, originOf } from './address.js';
import { MAX_MANIFEST_BYTES } from './manifest.js';
import { pack, sha256Of } from './pack.js';
import { placeOf, tagToWrite, type Place } from './reference.js';
import { notARegistry, refusal, saidBy } from './refusal.js';
import { bodyOf } from './registry.js';

/** More do not make it faster where the way to the registry is narrow, and that is the usual case. */
const FILES_AT_ONCE = 4;
/** A connection may break in the middle of a long file. */
const ATTEMPTS = 3;

type Outcome = 'sent' | 'present' | 'mounted';

/** @throws ModeldlError as {@link Hub.push} */
export async function push(model: ModelToPush, target: Reference, context: PushContext): Promise<Pushed> {
  throwIfAborted(context.signal);
  const tag = tagToWrite(target);
  const place = placeOf(target.id);
  const sources = sourcesOf(model, place, context.beside);
  widen(originOf(place.host, context), place.repository, sources, context);
  const { config, manifest } = pack(model);
  if (Buffer.byteLength(manifest) > MAX_MANIFEST_BYTES) {
    throw new ModeldlError(
      'UNSUPPORTED',
      `Too many files for one manifest: ${model.files.length} of ${model.id}`,
      {
        hint: 'push a part of it: pull with `--include`, and push what `modeldl list` prints',
      },
    );
  }
  const files = [...new Map(model.files.map((file) => [file.sha256, file])).values()];
  const bytes: Record<Outcome, number> = { sent: 0, present: 0, mounted: 0 };
  const queue = pLimit(FILES_AT_ONCE);
  const stop = new AbortController();
  const within = { ...context, signal: AbortSignal.any([context.signal, stop.signal]) };
  let first: { readonly error: unknown } | undefined;
  await Promise.all(
    files.map((file) =>
      queue(async () => {
        if (within.signal.aborted) return;
        try {
          bytes[await pushFile(place, file, sources, model, within)] += file.bytes;
        } catch (error) {
          first ??= { error };
          stop.abort();
        }
      }),
    ),
  );
  throwIfAborted(context.signal);
  if (first !== undefined) throw first.error;
  await pushConfig(place, config, context);
  await pushManifest(place, tag, manifest, context);
  return {
    revision: sha256Of(manifest),
    sentBytes: bytes.sent,
    presentBytes: bytes.present,
    mountedBytes: bytes.mounted,
  };
}

/** Repositories of the same registry that may hold the same files. */
function sourcesOf(
  { hub, id }: ModelToPush,
  { host, repository }: Place,
  beside: readonly string[],
): readonly string[] {
  const ids = [...(hub === 'oci' ? [id] : []), ...beside];
  const others = ids.map(placeOf).filter((place) => place.host === host && place.repository !== repository);
  return [...new Set(others.map((place) => place.repository))];
}

async function pushFile(
  place: Place,
  file: FileToPush,
  sources: readonly string[],
  model: ModelToPush,
  context: PushContext,
): Promise<Outcome> {
  const digest = `sha256:${file.sha256}`;
  for (let attempt = 1; ; attempt += 1) {
    if (await isThere(place, digest, context)) return attempt === 1 ? 'present' : 'sent';
    const opened = await openUpload(place, digest, sources, context);
    if (opened === 'mounted') return 'mounted';
    try {
      const response = await context.send(file, uploadAddress(opened, digest), {
        method: 'PUT',
        headers: { 'content-type': 'application/octet-stream' },
        signal: context.signal,
      });
      const text = await response.text();
      if (response.status === 201) return 'sent';
      if (saidBy(text).code === 'DIGEST_INVALID') throw otherBytes(file, model, place);
      throw await refused(response, text, place, context);
    } catch (error) {
      const isBroken = error instanceof ModeldlError && error.code === 'NETWORK' && !context.signal.aborted;
      if (!isBroken || attempt === ATTEMPTS) throw error;
    }
  }
}

async function isThere(place: Place, digest: string, context: PushContext): Promise<boolean> {
  const response = await send(apiAddress(place, `blobs/${digest}`, context), { method: 'HEAD' }, context);
  await response.body?.cancel();
  if (response.status === 404) return false;
  if (response.ok) return true;
  throw await refused(response, '', place, context);
}

/** Where to send a blob; nothing has to be where the registry takes it from another repository. */
async function openUpload(
  place: Place,
  digest: string,
  sources: readonly string[],
  context: PushContext,
): Promise<'mounted' | URL> {
  let upload: URL | undefined;
  // The last refusal to mount opens an upload, as the request without a source does.
  for (const source of sources.length === 0 ? [undefined] : sources) {
    const address = new URL(apiAddress(place, 'blobs/uploads/', context));
    if (source !== undefined) {
      address.searchParams.set('mount', digest);
      address.searchParams.set('from', source);
    }
    const response = await send(address.href, { method: 'POST' }, context);
    const text = (await bodyOf(response)) ?? '';
    if (response.status === 201 && source !== undefined) return 'mounted';
    if (response.status !== 202) throw await refused(response, text, place, context);
    upload = placeToSend(response);
  }
  if (upload === undefined) throw new Error('No request was made');
  return upload;
}

/** Absolute or relative, by the specification. */
function placeToSend(response: Response): URL {
  const location = response.headers.get('location') ?? '';
  if (location === '' || !URL.canParse(location, response.url)) throw notARegistry(response);
  return new URL(location, response.url);
}

function uploadAddress(upload: URL, digest: string): string {
  // What the registry put into the query is signed: it stays as it was written.
  return `${upload.href}${upload.search === '' ? '?' : '&'}digest=${encodeURIComponent(digest)}`;
}

async function pushConfig(place: Place, config: string, context: PushContext): Promise<void> {
  const digest = `sha256:${sha256Of(config)}`;
  if (await isThere(place, digest, context)) return;
  const upload = await openUpload(place, digest, [], context);
  if (upload === 'mounted') return;
  const headers = { 'content-type': 'application/octet-stream' };
  const request = { method: 'PUT', headers, body: config };
  const response = await send(uploadAddress(upload, digest), request, context);
  const text = (await bodyOf(response)) ?? '';
  if (response.status !== 201) throw await refused(response, text, place, context);
}

async function pushManifest(
  place: Place,
  tag: string,
  manifest: string,
  context: PushContext,
): Promise<void> {
  const headers = { 'content-type': 'application/vnd.oci.image.manifest.v1+json' };
  const request = { method: 'PUT', headers, body: manifest };
  const response = await send(apiAddress(place, `manifests/${tag}`, context), request, context);
  const text = (await bodyOf(response)) ?? '';
  if (response.status !== 201) throw await refused(response, text, place, context);
}

function otherBytes(file: FileToPush, { origin, id }: ModelToPush, place: Place): ModeldlError {
  return new ModeldlError(
    'INTEGRITY',
    `What arrived at ${place.host} of ${file.path} is not what its digest says`,
    {
      hint: `look whether the stored file is sound: \`modeldl verify --repair ${origin ?? id}\``,
      details: { file: file.path },
    },
  );
}

function send(address: string, request: RequestInit, { fetch, signal }: PushContext): Promise<Response> {
  return fetch(address, { ...request, signal });
}

async function refused(
  response: Response,
  text: string,
  place: Place,
  context: PushContext,
): Promise<ModeldlError> {
  const what = `${place.host}/${place.repository}`;
  const { code, message } = saidBy(text);
  if (response.status === 405 || code === 'UNSUPPORTED') {
    return new ModeldlError('UNSUPPORTED', `${place.host} takes no models: ${message || response.status}`, {
      hint: 'a cache of another registry is read only; push to the one behind it',
      details: { url: response.url, status: response.status },
    });
  }
  const isPage = /\bhtml\b/.test(response.headers.get('content-type') ?? '');
  if (response.status === 404 && isPage) return notARegistry(response);
  if (response.status === 404) {
    return new ModeldlError('NOT_FOUND', `${place.host} has no place for ${what}`, {
      hint: 'some registries want a project or repository to be made before',
      details: { url: response.url.replace(/\?.*$/, ''), status: 404 },
    });
  }
  if (response.ok || (response.status >= 300 && response.status < 400)) return notARegistry(response);
  return refusal(
    response,
    text,
    { what: `writing to ${what}`, otherwise: '' },
    await loginTo(
      { origin: originOf(place.host, context), repository: place.repository },
      context,
      context.signal,
    ),
  );
}
