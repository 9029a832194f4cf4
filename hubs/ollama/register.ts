/** A stored model as one of a local Ollama's: what its store has to hold for `ollama list` to show it. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import * as v from 'valibot';
import { ModeldlError } from '../../src/errors.js';
import type {
  FileToRegister,
  HubSettingsContext,
  ModelToRegister,
  RegisteredContent,
  Registration,
} from '../../src/hub.js';
import { parseJson } from '../../src/json.js';
import { decodePart } from '../../src/reference.js';
import { readGguf, UNKNOWN, type GgufHeader } from './gguf.js';
import { LAYER_PREFIX, MANIFEST_TYPE, readManifest, type Layer } from './manifest.js';
import { DEFAULT_TAG, isName, LIBRARY, readName, type Name } from './reference.js';
import { blobPath, exists, localStores, manifestPath, shownName } from './store.js';

const CONFIG_TYPE = 'application/vnd.docker.container.image.v1+json';
/** Files beside a GGUF that say how it is used, as hf.co has them too, by their kinds of layers. */
const TEXTS: Readonly<Record<string, string>> = { template: 'template', system: 'system', params: 'params' };
const MAX_TEXT_BYTES = 256 * 1024;
const paramsSchema = v.record(v.string(), v.unknown());

/** @throws ModeldlError USAGE for what could be no name, NOT_FOUND and CONFIG without a store */
export async function checkRegistration(
  asName: string | undefined,
  context: HubSettingsContext,
  given?: string,
): Promise<void> {
  givenName(asName);
  if (given === undefined) await storeToWrite(context);
}

function givenName(text: string | undefined): Name | undefined {
  return text === undefined ? undefined : readName(text.replace(/^ollama:/, ''), text);
}

/** @throws ModeldlError as {@link LocalProgram.register} */
export async function register(
  model: ModelToRegister,
  asName: string | undefined,
  context: HubSettingsContext,
  store?: string,
): Promise<Registration> {
  const given = givenName(asName);
  const image = (await pulledImage(model)) ?? (await imageOfGguf(model));
  const name = given ?? image.name;
  if (name === undefined) throw unnamed(model);
  const { directory, notes } =
    store === undefined ? await storeToWrite(context) : { directory: store, notes: [] };
  return {
    name: shownName(name),
    directory,
    contents: image.contents,
    entry: { path: await manifestPath(directory, name), bytes: image.manifest },
    isSame: (entry) => holds(entry, image.manifest),
    unwritableHint:
      'run it as a user who may write there; or have Ollama keep its models in a directory of yours, and name that by `OLLAMA_MODELS` for both',
    notes: [...notes, ...image.notes(shownName(name))],
  };
}

/** Has a manifest all layers of another one? `ollama create` adds a template, and Ollama writes manifests in its way. */
function holds(there: Uint8Array, wanted: Uint8Array): boolean {
  const [found, ours] = [there, wanted].map((bytes) => layersIn(bytes));
  return found !== undefined && ours?.every((layer) => found.includes(layer)) === true;
}

function layersIn(bytes: Uint8Array): readonly string[] | undefined {
  try {
    const text = Buffer.from(bytes).toString('utf8');
    return readManifest(text, 'what is there')?.layers.map(({ kind, hex }) => `${kind} ${hex}`);
  } catch {
    return undefined;
  }
}

interface Image {
  readonly name: Name | undefined;
  readonly manifest: Uint8Array;
  readonly contents: readonly RegisteredContent[];
  notes(name: string): readonly string[];
}

/** The store that the user's Ollama reads, as far as that can be told. @throws ModeldlError NOT_FOUND, CONFIG */
async function storeToWrite(
  context: HubSettingsContext,
): Promise<{ directory: string; notes: readonly string[] }> {
  const { directories, isNamed } = localStores(context);
  const [first = ''] = directories;
  if (isNamed) return { directory: first, notes: [] };
  const there: string[] = [];
  for (const directory of directories) if (await exists(directory)) there.push(directory);
  const [directory, other] = there;
  if (directory !== undefined) {
    const note = `Ollama's service has a store too, in ${String(other)}: \`OLLAMA_MODELS\` chooses`;
    return { directory, notes: other === undefined ? [] : [note] };
  }
  if (await exists(dirname(first))) return { directory: first, notes: [] };
  throw new ModeldlError('NOT_FOUND', `No store of Ollama on this machine: ${directories.join(', ')}`, {
    hint: 'start `ollama serve` once, or name the directory of its models by `OLLAMA_MODELS`',
    details: { file: first },
  });
}

/** A model of an Ollama registry, as it came. Undefined for others. @throws ModeldlError UNSUPPORTED for a part of one */
async function pulledImage(model: ModelToRegister): Promise<Image | undefined> {
  const file = model.files.find(({ path }) => path === 'manifest.json');
  if (model.hub !== 'ollama' || file === undefined) return undefined;
  const bytes = await readFile(file.location);
  const manifest = readManifest(bytes.toString('utf8'), model.reference);
  if (manifest === undefined) return undefined;
  const bySha256 = new Map(model.files.map((held) => [held.sha256, held]));
  const contents = [...manifest.layers, manifest.config].map(({ hex, kind }: Layer) => {
    const held = bySha256.get(hex);
    if (held !== undefined) return contentOf(held);
    throw new ModeldlError(
      'UNSUPPORTED',
      `Not the whole model, its ${kind} is left out: ${model.reference}`,
      {
        hint: 'pull it without `--include` and `--exclude`',
      },
    );
  });
  return {
    name: readName(model.id, model.reference),
    manifest: bytes,
    contents: distinct(contents),
    notes: () => [],
  };
}

interface Gguf {
  readonly file: FileToRegister;
  readonly header: GgufHeader;
}

/** What `ollama create` makes of GGUF files (createModel in server/create.go). @throws ModeldlError UNSUPPORTED, USAGE */
async function imageOfGguf(model: ModelToRegister): Promise<Image> {
  const read = model.files.filter(({ path }) => /\.gguf$/i.test(path)).map(readFileHeader);
  const weights = theWeights(model, read);
  const { header } = weights;
  const projectors = read.filter((other) => other.header.role === 'projector');
  const texts = await textLayers(model);
  const ggufs = [weights, ...projectors];
  const layers = [
    ...ggufs.map((gguf) => layerOf(gguf.header.role, gguf.file.sha256, gguf.file.bytes)),
    ...texts.map(({ kind, file }) => layerOf(kind, file.sha256, file.bytes)),
  ];
  const config = jsonLine({
    model_format: 'gguf',
    model_family: header.architecture,
    model_families: ggufs.map((gguf) => gguf.header.architecture),
    model_type: shownCount(header.parameters),
    file_type: header.fileType,
    architecture: 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => digest) },
  });
  const hex = createHash('sha256').update(config).digest('hex');
  const manifest = jsonLine({
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: { mediaType: CONFIG_TYPE, digest: `sha256:${hex}`, size: config.length },
    layers,
  });
  const files = [...ggufs, ...texts].map(({ file }) => contentOf(file));
  const needsTemplate = header.hasChatTemplate && !texts.some(({ kind }) => kind === 'template');
  return {
    name: nameFor(model, weights),
    manifest,
    contents: distinct([...files, { path: blobPath(hex), bytes: config.length, from: config }]),
    notes: (name) => (needsTemplate ? [templateNote(name, weights.file.location)] : []),
  };
}

function templateNote(name: string, location: string): string {
  return `Ollama does not use the chat template in the GGUF: for chats let it choose one of its own by \`echo 'FROM ${location}' | ollama create ${name} -f -\`, which copies nothing either`;
}

function readFileHeader(file: FileToRegister): Gguf {
  const header = readGguf(file.location);
  if (header !== undefined) return { file, header };
  throw new ModeldlError(
    'UNSUPPORTED',
    `Damaged, or of a version that Ollama does not read: ${file.location}`,
    {
      hint: 'take a GGUF file of version 2 or 3; `modeldl verify` tells whether it is what its hub has',
      details: { file: file.location },
    },
  );
}

/** @throws ModeldlError UNSUPPORTED without weights, USAGE for several */
function theWeights({ reference, files }: ModelToRegister, read: readonly Gguf[]): Gguf {
  const unsupported = (why: string, hint: string): ModeldlError =>
    new ModeldlError('UNSUPPORTED', `Ollama cannot take ${reference}: ${why}`, { hint });
  const [weights, other] = read.filter(({ header }) => header.role === 'model');
  if (read.some(({ header, file }) => header.parts > 1 || /-\d{5}-of-\d{5}\.gguf$/i.test(file.path)))
    throw unsupported(
      'its GGUF is in several files',
      "join them with llama.cpp's `llama-gguf-split --merge`, and export the one file",
    );
  if (weights === undefined) {
    if (read.length > 0)
      throw unsupported('its GGUF is only a part that goes with a model', 'export the model');
    const isSafetensors = files.some(({ path }) => path.endsWith('.safetensors'));
    throw unsupported(
      'it is no GGUF',
      isSafetensors
        ? 'pull a GGUF of it, such as `hf:org/name-GGUF`; `ollama create` makes one of safetensors, with a Modelfile that says `FROM` and their directory'
        : 'pull a GGUF of it, such as `hf:org/name-GGUF`',
    );
  }
  if (other !== undefined) {
    throw new ModeldlError('USAGE', `Several GGUF files, of which one is a model of Ollama: ${reference}`, {
      hint: `choose by \`--quant\`, or name one: \`//${weights.file.path}\``,
    });
  }
  return weights;
}

interface TextLayer {
  readonly kind: string;
  readonly file: FileToRegister;
}

async function textLayers({ files }: ModelToRegister): Promise<readonly TextLayer[]> {
  const layers: TextLayer[] = [];
  for (const file of files) {
    const kind = TEXTS[file.path];
    if (kind === undefined || file.bytes > MAX_TEXT_BYTES) continue;
    // Ollama opens no model whose parameters it cannot read.
    const isRight = kind !== 'params' || v.is(paramsSchema, parseJson(await readFile(file.location, 'utf8')));
    if (isRight) layers.push({ kind, file });
  }
  return layers;
}

function layerOf(
  kind: string,
  hex: string,
  size: number,
): { mediaType: string; digest: string; size: number } {
  return { mediaType: `${LAYER_PREFIX}${kind}`, digest: `sha256:${hex}`, size };
}

function contentOf({ sha256, bytes, location }: FileToRegister): RegisteredContent {
  return { path: blobPath(sha256), bytes, from: location };
}

function distinct(contents: readonly RegisteredContent[]): readonly RegisteredContent[] {
  return [...new Map(contents.map((content) => [content.path, content])).values()];
}

/** As Go writes it. */
function jsonLine(value: object): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}

/** `org/Name-1B-GGUF` with 4 bits is `name-1b:q4_k_m`. */
function nameFor({ id }: ModelToRegister, { file, header }: Gguf): Name | undefined {
  const shown = header.fileType === UNKNOWN ? undefined : header.fileType;
  const quantization = (file.quantization ?? shown)?.toLowerCase();
  const words = basename(decodePart(id).replaceAll('\\', '/'))
    .toLowerCase()
    .replace(/\.gguf$/, '')
    .replace(/[-_.]gguf$/, '')
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[-.]+/, '');
  const stem = ['-', '.', '_']
    .filter((separator) => words.endsWith(`${separator}${quantization ?? ''}`))
    .map((separator) => words.slice(0, words.length - separator.length - (quantization ?? '').length));
  const [model = words] = quantization === undefined ? [] : stem;
  const name = { namespace: LIBRARY, model, tag: quantization ?? DEFAULT_TAG };
  return isName(name) ? name : undefined;
}

function unnamed({ reference }: ModelToRegister): ModeldlError {
  return new ModeldlError('USAGE', `No name for Ollama can be made of ${reference}`, {
    hint: 'choose one by `--name`, such as `--name llama3.2:1b`',
  });
}

/** Numbers in all tensors as Ollama shows them (format/format.go): `1.2B`, `137.90M`, `22K`. */
export function shownCount(count: number): string {
  if (count >= 1e9) return `${fixed(count / 1e9, 1)}B`;
  if (count >= 1e6) return `${fixed(count / 1e6, 2)}M`;
  return count >= 1000 ? `${fixed(count / 1000, 0)}K` : String(count);
}

/** Whole numbers without digits after the point; a half goes to the even digit, as Go has it. */
function fixed(value: number, digits: number): string {
  if (Number.isInteger(value)) return String(value);
  const isHalf = (value * 2 ** (digits + 1)) % 2 === 1;
  const scaled = Math.floor(value * 10 ** digits);
  return isHalf ? ((scaled + (scaled % 2)) / 10 ** digits).toFixed(digits) : value.toFixed(digits);
}
