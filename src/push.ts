/** Pushing: a stored model is written to a hub that takes models. */
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { format, hubContext, hubNamed, parse, withFileHint, type Context } from './context.js';
import { diskError, ModeldlError } from './errors.js';
import type { FileToPush, Hub, ModelToPush, PushContext } from './hub.js';
import { readRegistry } from './mirrors/sources.js';
import { pullModel, type PullOptions } from './pull.js';
import type { Reference } from './reference.js';
import { pinnedReference } from './resolve.js';
import type { PushedModel } from './results.js';
import { assertIntact, findStored } from './stored.js';
import type { StoredModel } from './store/models.js';
import type { ModelRecord } from './store/record.js';

export interface PushOptions {
  /** References of the target's hub whose files may be the same. */
  readonly mountFrom?: readonly string[];
}

/** Pieces that files are read in: the fastest size, and a few files at once have two each. */
const PIECE_BYTES = 512 * 1024;

/**
 * Writes one model to a hub; what is not stored yet is pulled first.
 * @param target a reference; a prefix that ends in `/`, below which the model gets the place where it is looked for as at a
 * mirror; or nothing, for the registry among the mirrors of its hub
 * @throws ModeldlError USAGE for a hub that takes none, and as pulling and the hub do
 */
export async function push(
  context: Context,
  reference: string,
  target: string | undefined,
  options: PushOptions,
): Promise<PushedModel> {
  const prefix = target?.endsWith('/') === true ? readRegistry(context, target) : undefined;
  if (target === undefined || prefix !== undefined) {
    const { fill } = await import('./mirrors/fill.js');
    return fill(context, reference, prefix, options);
  }
  const to = parse(context, target);
  const hub = hubNamed(context, to.hub);
  if (hub.push === undefined) throw takesNone(context, hub);
  if (to.conversion !== undefined || to.subpath !== undefined) {
    const { conversion, subpath, ...whole } = to;
    throw new ModeldlError(
      'USAGE',
      `A model is written whole, and not as a part or conversion of another: ${target}`,
      {
        hint: `write \`${format(context, whole)}\``,
        details: { reference: target },
      },
    );
  }
  // Before anything is fetched.
  for (const text of options.mountFrom ?? []) idAt(context, text, to);
  hub.checkTarget?.(to);
  const model = await modelToPush(context, reference);
  return pushStored(context, model, describe(context, model), to, options);
}

/** @param described the stored model as it is written */
export async function pushStored(
  context: Context,
  model: StoredModel,
  described: ModelToPush,
  to: Reference,
  options: PushOptions,
): Promise<PushedModel> {
  const hub = hubNamed(context, to.hub);
  if (hub.push === undefined) throw takesNone(context, hub);
  const beside = (options.mountFrom ?? []).map((text) => idAt(context, text, to));
  const { record } = model;
  const pushed = await hub.push(described, to, await pushContext(context, hub, model, beside));
  return {
    reference: format(context, pinnedReference(context, to, { id: to.id, revision: pushed.revision })),
    target: format(context, to),
    hub: hub.name,
    id: to.id,
    revision: pushed.revision,
    origin: record.reference,
    files: record.files.length,
    bytes: record.files.reduce((sum, { bytes }) => sum + bytes, 0),
    sentBytes: pushed.sentBytes,
    presentBytes: pushed.presentBytes,
    mountedBytes: pushed.mountedBytes,
  };
}

function takesNone(context: Context, { title }: Hub): ModeldlError {
  const taking = context.hubs.filter((other) => other.push !== undefined).map(({ name }) => `\`${name}:\``);
  return new ModeldlError('USAGE', `${title}: modeldl writes no models there`, {
    hint: `write to ${taking.join(', ')}; \`modeldl pull -o DIR\` gives a copy to work with`,
  });
}

/** @throws ModeldlError USAGE for a reference of another hub */
function idAt(context: Context, text: string, { hub }: Reference): string {
  const reference = parse(context, text);
  if (reference.hub === hub) return reference.id;
  throw new ModeldlError('USAGE', `Files can be taken from models of the same hub only: ${text}`, {
    hint: `name a reference that starts with \`${hub}:\``,
    details: { reference: text },
  });
}

/**
 * The stored model that a reference means, pulled where it is not stored.
 * @param choice what to do where only one of several quantizations can be meant
 * @throws ModeldlError
 */
export async function modelToPush(
  context: Context,
  text: string,
  options: PullOptions = {},
  choice = PULL_CHOICE,
): Promise<StoredModel> {
  try {
    const reference = parse(context, text);
    if (reference.conversion === undefined) return (await pullModel(context, reference, options)).model;
    const model = await findStored(context, reference, {});
    await assertIntact(context, model);
    return model;
  } catch (error) {
    throw await withFileHint(context, text, withChoiceHint(error, choice));
  }
}

/** For commands that have no option to choose by. */
export const PULL_CHOICE =
  'choose with `modeldl pull --quant NAME`, and name the reference that `modeldl list` prints then';
/** For those that have one, and none that takes everything. */
export const QUANT_CHOICE = 'choose one with `--quant NAME`';

/** What was asked of whoever pulls is not always an option of the command that does. */
export function withChoiceHint<Thrown>(error: Thrown, hint: string): Thrown | ModeldlError {
  if (!(error instanceof ModeldlError) || error.details['quantizations'] === undefined) return error;
  const { code, message, cause, details } = error;
  return new ModeldlError(code, message, {
    hint,
    cause,
    details,
  });
}

export function describe(context: Context, { record }: StoredModel): ModelToPush {
  const { hub, id, revision, reference, conversion } = record;
  return {
    hub,
    id,
    revision,
    ...(hubNamed(context, hub).syntax.paths === true ? {} : { origin: reference }),
    metadata: metadataOf(record),
    ...(conversion === undefined
      ? {}
      : {
          conversion: {
            precision: conversion.precision,
            device: conversion.device,
            converter: conversion.converter,
          },
        }),
    files: record.files.map(({ path, bytes, sha256, upstream }) => ({
      path,
      bytes,
      sha256,
      ...(upstream === undefined ? {} : { upstream }),
    })),
  };
}

function metadataOf({ license, task, library, page }: ModelRecord): ModelToPush['metadata'] {
  return {
    ...(license === undefined ? {} : { license }),
    ...(task === undefined ? {} : { task }),
    ...(library === undefined ? {} : { library }),
    ...(page === undefined ? {} : { page }),
  };
}

async function pushContext(
  context: Context,
  hub: Hub,
  { directory, record }: StoredModel,
  beside: readonly string[],
): Promise<PushContext> {
  const http = await context.httpFor(hub);
  const { reference } = record;
  /** Exactly as many bytes as were announced: a server would wait for those that lack. */
  async function* read({ path, bytes }: FileToPush): AsyncGenerator<Buffer> {
    context.emit({ type: 'file-start', reference, path, bytes, resumedBytes: 0 });
    const place = join(directory, path);
    let sent = 0;
    try {
      if (bytes > 0) {
        const stream: AsyncIterable<Buffer> = createReadStream(place, {
          highWaterMark: PIECE_BYTES,
          end: bytes - 1,
        });
        for await (const piece of stream) {
          yield piece;
          sent += piece.length;
          context.emit({ type: 'file-progress', reference, path, receivedBytes: sent });
        }
      }
    } catch (error) {
      throw unreadable(diskError(error, place, 'read'), place, reference);
    }
    if (sent < bytes) throw unreadable(undefined, place, reference);
  }
  return {
    ...(await hubContext(context, hub)),
    beside,
    send: async (file, url, { method, headers, signal }) => {
      const body = { bytes: file.bytes, open: () => Readable.from(read(file), { objectMode: false }) };
      const response = await http.request(url, {
        method,
        headers,
        body,
        signal,
        redirect: 'manual',
        retries: 0,
      });
      const { path, bytes, sha256 } = file;
      context.emit({ type: 'file-done', reference, path, bytes, sha256 });
      const text = await response.text();
      const answer = new Response(text === '' ? null : text, {
        status: response.status,
        headers: response.headers.map(([name, value]): [string, string] => [name, value]),
      });
      Object.defineProperty(answer, 'url', { value: response.url });
      return answer;
    },
  };
}

/** The file is gone or shorter since it was looked at. */
function unreadable(error: unknown, file: string, reference: string): unknown {
  if (error instanceof ModeldlError) return error;
  return new ModeldlError('INTEGRITY', `The stored file changed while it was sent: ${file}`, {
    hint: `repair it with \`modeldl verify --repair ${reference}\``,
    cause: error,
    details: { file },
  });
}
