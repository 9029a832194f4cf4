/** Models of Ollama's registry, and of others that speak like it: no Ollama is needed. The revision is a manifest's digest. */
import { createHash } from 'node:crypto';
import { throwIfAborted } from '../src/errors.js';
import type { Hub, HubContext, RemoteFile, Snapshot } from '../src/hub.js';
import type { Reference } from '../src/reference.js';
import { answerChallenge } from './ollama/challenge.js';
import { allowAddress, endpointOf, modelPage, registryOf, repositoryAddress } from './ollama/endpoint.js';
import { licenseOf } from './ollama/license.js';
import {
  placeLayers,
  readConfiguration,
  requireWeights,
  type Layer,
  type PlacedLayer,
} from './ollama/manifest.js';
import { writeModelfile, type ReadLayer } from './ollama/modelfile.js';
import { checkTag, DEFAULT_TAG, digestOf, idOf, readName, syntax, type Name } from './ollama/reference.js';
import { openRegistry, type FoundManifest, type Registry } from './ollama/registry.js';

/** Layers that say how the model is used. They are read at once, since a Modelfile repeats them. */
const TEXTS = new Set(['template', 'prompt', 'system', 'params', 'messages', 'license', 'config']);
/** Longer ones are fetched like weights, and the Modelfile names their files. */
const MAX_TEXT_BYTES = 256 * 1024;

export const ollama = {
  name: 'ollama',
  title: 'Ollama',
  syntax,
  settings: {
    endpoint: {
      description: 'Address of the registry for names without a host: a mirror or an own one',
      type: 'string',
      trust: true,
    },
    insecure: {
      description: 'Registries, with their port unless it is 80, that are asked without encryption',
      type: 'string[]',
      trust: true,
    },
  },
  endpoint: (context, id) => (id === undefined ? endpointOf(context) : registryOf(readName(id, id), context)),
  allow: allowAddress,
  answerChallenge,
  resolve,
  async *search(query, context) {
    const { search } = await import('./ollama/search.js');
    yield* search(query, context);
  },
  searches: {
    filters: [],
    orders: [],
    note: 'its registry has no search, so only a model of exactly this name is found; https://ollama.com/search knows the names',
  },
} as const satisfies Hub;

/**
 * One request where the listing of that manifest is stored, and else one more for each text. A tag that stays on the
 * manifest it had is found stored by its digest.
 * @throws ModeldlError as {@link Hub.resolve}
 */
async function resolve(reference: Reference, context: HubContext): Promise<Snapshot> {
  throwIfAborted(context.signal);
  const { name, hex } = asked(reference);
  const registry = openRegistry(name, context);
  const found = await (hex === undefined ? registry.tagged() : registry.pinned(hex));
  const id = idOf(name);
  const base = `${repositoryAddress(registryOf(name, context), name)}/`;
  const known = await context.known?.(id, found.hex);
  // A listing of another endpoint has that one's addresses.
  if (known?.files.every(({ url }) => url.startsWith('data:') || url.startsWith(base)) === true) return known;
  const page = modelPage(name);
  const { files, license } = await list(name, registry, found);
  return {
    hub: 'ollama',
    id,
    revision: found.hex,
    files,
    metadata: {
      ...(license === undefined ? {} : { license }),
      ...(page === undefined ? {} : { page }),
    },
  };
}

/** A tag is part of the id; a digest says what it meant. @throws ModeldlError USAGE */
function asked(reference: Reference): { name: Name; hex: string | undefined } {
  const text = syntax.format(reference);
  const name = readName(reference.id, text);
  const { revision } = reference;
  const hex = revision === undefined ? undefined : digestOf(revision);
  if (hex !== undefined) return { name, hex };
  const tag = revision ?? name.tag ?? DEFAULT_TAG;
  checkTag(tag, text);
  return { name: { ...name, tag }, hex };
}

interface Listing {
  readonly files: readonly RemoteFile[];
  readonly license: string | undefined;
}

async function list(
  name: Name,
  registry: Registry,
  { bytes, hex, manifest }: FoundManifest,
): Promise<Listing> {
  const { config, layers } = manifest;
  const texts = new Map(
    await Promise.all(
      [...layers, config]
        .filter(isText)
        .map(async (layer) => [layer.hex, await registry.read(layer)] as const),
    ),
  );
  const about = readConfiguration(texts.get(config.hex)?.toString('utf8') ?? '');
  requireWeights(manifest, about, idOf(name));
  const placed = placeLayers(name.model, manifest, about);
  const read = placed.map((layer): ReadLayer => {
    const text = texts.get(layer.hex)?.toString('utf8');
    return text === undefined ? layer : { ...layer, text };
  });
  const modelfile = Buffer.from(writeModelfile(read, about));
  return {
    files: [
      ...placed.map((layer) => remoteFile(layer, texts.get(layer.hex), registry)),
      inline('Modelfile', modelfile, sha256(modelfile)),
      inline('manifest.json', bytes, hex),
    ],
    license: licenseOf(
      read.flatMap(({ kind, text }) => (kind === 'license' && text !== undefined ? [text] : [])),
    ),
  };
}

function isText({ kind, size }: Layer): boolean {
  return TEXTS.has(kind) && size <= MAX_TEXT_BYTES;
}

function remoteFile(layer: PlacedLayer, bytes: Buffer | undefined, registry: Registry): RemoteFile {
  const { path, size, hex } = layer;
  if (bytes !== undefined) return inline(path, bytes, hex);
  return { path, size, digest: { algorithm: 'sha256', hex }, url: registry.addressOf(layer) };
}

/** What was read or written here is not asked for again. */
function inline(path: string, bytes: Buffer, hex: string): RemoteFile {
  return {
    path,
    size: bytes.length,
    digest: { algorithm: 'sha256', hex },
    url: `data:application/octet-stream;base64,${bytes.toString('base64')}`,
  };
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
