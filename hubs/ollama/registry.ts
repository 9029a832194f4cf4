/** What is asked of a registry: manifests, by tag or digest, and small layers. */
import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { ModeldlError } from '../../src/errors.js';
import type { HubContext } from '../../src/hub.js';
import { parseJson } from '../../src/json.js';
import { isHuggingFace, registryOf, repositoryAddress } from './endpoint.js';
import { MANIFEST_TYPE, readManifest, type Layer, type Manifest } from './manifest.js';
import { DEFAULT_TAG, idOf, type Name } from './reference.js';
import { isAbsent, notARegistry, otherBytes, refusal } from './refusal.js';

export interface FoundManifest {
  /** As it came: its digest is over these bytes. */
  readonly bytes: Buffer;
  /** Lower-case hex sha256. */
  readonly hex: string;
  readonly manifest: Manifest;
}

export interface Registry {
  /** The manifest of the name's tag. @throws ModeldlError NOT_FOUND, AUTH, GATED, NETWORK, UNSUPPORTED */
  tagged(): Promise<FoundManifest>;
  /** The manifest of a digest, whatever the tag means now. @throws ModeldlError as `tagged`, INTEGRITY */
  pinned(hex: string): Promise<FoundManifest>;
  /** Stable address of a layer. */
  addressOf(layer: Pick<Layer, 'hex'>): string;
  /** The bytes of a small layer. @throws ModeldlError INTEGRITY, and as `tagged` */
  read(layer: Layer): Promise<Buffer>;
}

/** What a shown tag may be: it becomes part of a reference to copy. */
const tagsSchema = v.object({ tags: v.nullish(v.array(v.pipe(v.string(), v.regex(/^\w[\w.-]{0,79}$/)))) });

interface Answer {
  readonly response: Response;
  readonly bytes: Buffer;
}

export function openRegistry(name: Name, context: HubContext): Registry {
  const repository = repositoryAddress(registryOf(name, context), name);

  async function get(path: string, accept = '*/*'): Promise<Answer> {
    const response = await context.fetch(`${repository}/${path}`, {
      headers: { accept },
      signal: context.signal,
    });
    return { response, bytes: Buffer.from(await response.arrayBuffer()) };
  }

  function manifestOf({ response, bytes }: Answer): FoundManifest {
    // Ollama's registry calls manifests plain text.
    const manifest = readManifest(bytes.toString('utf8'), idOf(name));
    if (manifest === undefined) throw notARegistry(response, name);
    return { bytes, hex: sha256(bytes), manifest };
  }

  async function refused({ response, bytes }: Answer): Promise<ModeldlError> {
    return refusal(response, bytes.toString('utf8'), name, context, otherTags);
  }

  /** Ollama's registry and Hugging Face's list none: there only the tag that most models have can be tried. */
  async function otherTags(): Promise<readonly string[]> {
    if (name.host !== undefined && !isHuggingFace(name.host)) {
      const { response, bytes } = await get('tags/list');
      const list = v.safeParse(tagsSchema, parseJson(bytes.toString('utf8')));
      if (response.ok && list.success) return list.output.tags ?? [];
    }
    if ((name.tag ?? DEFAULT_TAG) === DEFAULT_TAG) return [];
    return (await get(`manifests/${DEFAULT_TAG}`, MANIFEST_TYPE)).response.ok ? [DEFAULT_TAG] : [];
  }

  async function byDigest(hex: string): Promise<FoundManifest> {
    // Ollama's own client asks for it as for a layer; its registry answers 500 to `manifests/sha256:…`.
    const paths = [`blobs/sha256:${hex}`, ...(name.host === undefined ? [] : [`manifests/sha256:${hex}`])];
    let last: Answer | undefined;
    for (const path of paths) {
      last = await get(path, MANIFEST_TYPE);
      if (last.response.ok) {
        const got = sha256(last.bytes);
        if (got !== hex) throw otherBytes('manifest', name, last.response.url, hex, got);
        return manifestOf(last);
      }
      if (!isAbsent(last.response)) throw await refused(last);
    }
    throw gone(name, hex, last?.response.url ?? repository);
  }

  return {
    async tagged() {
      const answer = await get(`manifests/${name.tag ?? DEFAULT_TAG}`, MANIFEST_TYPE);
      if (!answer.response.ok) throw await refused(answer);
      return manifestOf(answer);
    },
    async pinned(hex) {
      // What the tag means now is mostly it, and every registry answers that.
      if (name.tag !== undefined) {
        const answer = await get(`manifests/${name.tag}`, MANIFEST_TYPE);
        if (answer.response.ok && sha256(answer.bytes) === hex) return manifestOf(answer);
        if (!answer.response.ok && !isAbsent(answer.response)) throw await refused(answer);
      }
      return byDigest(hex);
    },
    addressOf: ({ hex }) => `${repository}/blobs/sha256:${hex}`,
    async read({ kind, hex, size }) {
      const answer = await get(`blobs/sha256:${hex}`);
      if (!answer.response.ok) {
        if (isAbsent(answer.response)) throw missingLayer(kind, name, answer.response.url);
        throw await refused(answer);
      }
      const got = sha256(answer.bytes);
      if (got !== hex || answer.bytes.length !== size)
        throw otherBytes(kind, name, answer.response.url, hex, got);
      return answer.bytes;
    },
  };
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function gone(name: Name, hex: string, url: string): ModeldlError {
  const { tag = DEFAULT_TAG, ...model } = name;
  return new ModeldlError(
    'NOT_FOUND',
    `There is no ${idOf(model)} with the digest sha256:${hex} at ${new URL(url).host}`,
    {
      hint: `\`ollama:${idOf({ ...model, tag })}\` is what the tag means now`,
      details: { url },
    },
  );
}

function missingLayer(kind: string, name: Name, url: string): ModeldlError {
  const { origin, pathname } = new URL(url);
  return new ModeldlError(
    'NOT_FOUND',
    `The registry lacks the ${kind} of ${idOf(name)}: ${origin}${pathname}`,
    {
      hint: 'its manifest names what is not there; try again later, or another tag',
      details: { url: `${origin}${pathname}` },
    },
  );
}
