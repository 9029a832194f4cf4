/** The listing of a model: its layers as files, the texts among them in the listing itself, and a Modelfile. */
import { createHash } from 'node:crypto';
import pLimit from 'p-limit';
import type { RemoteFile, Snapshot } from '../../src/hub.js';
import { modelPage } from './endpoint.js';
import { licenseOf } from './license.js';
import { placeLayers, readConfiguration, requireWeights, type Layer, type PlacedLayer } from './manifest.js';
import { writeModelfile, type ReadLayer } from './modelfile.js';
import { idOf, type Name } from './reference.js';
import type { FoundManifest, Registry } from './registry.js';

/** Layers that say how the model is used. They are read at once, since a Modelfile repeats them. */
const TEXTS = new Set(['template', 'prompt', 'system', 'params', 'messages', 'license', 'config']);
/** Longer ones are fetched like weights, and the Modelfile names their files. */
const MAX_TEXT_BYTES = 256 * 1024;

/** Models have some five. What one has more is fetched like weights too, so that no manifest asks for thousands at once. */
const MAX_TEXTS = 100;
const TEXTS_AT_ONCE = 8;

/** Where the layers of a manifest are: a registry, or the store of an Ollama. */
export type Layers = Pick<Registry, 'addressOf' | 'read'>;

/** Its texts are read, which the `Modelfile` repeats. @throws ModeldlError UNSUPPORTED, and as `Layers.read` */
export async function snapshotOf(
  name: Name,
  source: Layers,
  { bytes, hex, manifest }: FoundManifest,
): Promise<Snapshot> {
  const { config, layers } = manifest;
  const queue = pLimit(TEXTS_AT_ONCE);
  const readable = [config, ...layers].filter(isText).slice(0, MAX_TEXTS);
  const texts = new Map(
    await Promise.all(
      readable.map((layer) => queue(async () => [layer.hex, await source.read(layer)] as const)),
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
  const license = licenseOf(
    read.flatMap(({ kind, text }) => (kind === 'license' && text !== undefined ? [text] : [])),
  );
  const page = modelPage(name);
  return {
    hub: 'ollama',
    id: idOf(name),
    revision: hex,
    files: [
      ...placed.map((layer) => remoteFile(layer, texts.get(layer.hex), source)),
      inline('Modelfile', modelfile, sha256(modelfile)),
      inline('manifest.json', bytes, hex),
    ],
    metadata: {
      ...(license === undefined ? {} : { license }),
      ...(page === undefined ? {} : { page }),
    },
  };
}

function isText({ kind, size }: Layer): boolean {
  return TEXTS.has(kind) && size <= MAX_TEXT_BYTES;
}

function remoteFile(layer: PlacedLayer, bytes: Buffer | undefined, source: Layers): RemoteFile {
  const { path, size, hex } = layer;
  if (bytes !== undefined) return inline(path, bytes, hex);
  return { path, size, digest: { algorithm: 'sha256', hex }, url: source.addressOf(layer) };
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

export function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
