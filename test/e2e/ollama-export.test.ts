/** Exporting to an Ollama on this machine: its own code reads what the built program wrote into its store. */
import { chown, lstat, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import * as v from 'valibot';
import { gguf, LLAMA, text, uint16, uint32 } from '../helpers/gguf.js';
import { manifestOf, sha256Of, startOllamaRegistry } from '../helpers/ollama-registry.js';
import { ollamaStoreReader } from '../helpers/ollama-store.js';
import { canRunAs, createWorld, type Run, type World } from '../helpers/program.js';
import { requirePeer } from '../helpers/require.js';
import { writeOllamaKey } from '../helpers/ssh-key.js';

const readStore = await ollamaStoreReader();
const withOllamaCode = requirePeer("Go, with the modules of Ollama's code", readStore !== undefined);
const OTHER_USER = 1001;
const asRoot = requirePeer('root, and a repository that all may read', canRunAs(OTHER_USER));

const WEIGHTS = gguf();
const HEX = sha256Of(WEIGHTS);
const BLOB = `blobs/sha256-${HEX}`;
const LIBRARY = 'manifests/registry.ollama.ai/library';

const exportedSchema = v.object({
  ok: v.literal(true),
  reference: v.string(),
  to: v.literal('ollama'),
  name: v.string(),
  directory: v.string(),
  path: v.string(),
  state: v.picklist(['added', 'replaced', 'unchanged']),
  files: v.number(),
  bytes: v.number(),
  linkedBytes: v.number(),
  writtenBytes: v.number(),
  presentBytes: v.number(),
});
const manifestSchema = v.object({
  config: v.object({ digest: v.string() }),
  layers: v.array(v.object({ mediaType: v.string(), digest: v.string(), size: v.number() })),
});

let world: World;
let models: string;

beforeEach(async () => {
  world = await createWorld();
  models = join(world.directory, '.ollama', 'models');
  await mkdir(models, { recursive: true });
  await put('Tiny-1B-Q4_K_M.gguf', WEIGHTS);
});
afterEach(() => world.remove());

async function put(path: string, bytes: string | Uint8Array): Promise<void> {
  const file = join(world.directory, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, bytes);
}

function exporting(...args: readonly string[]): Promise<Run> {
  return world.run('export', ...args, '--to', 'ollama');
}

async function exported(...args: readonly string[]): Promise<v.InferOutput<typeof exportedSchema>> {
  const run = await exporting(...args, '--json');
  expect(run.exitCode, run.stderr).toBe(0);
  return v.parse(exportedSchema, JSON.parse(run.stdout));
}

async function layersOf(path: string): Promise<readonly string[]> {
  const { layers } = v.parse(manifestSchema, JSON.parse(await readFile(join(models, path), 'utf8')));
  return layers.map(({ mediaType }) => mediaType.replace('application/vnd.ollama.image.', ''));
}

/** Every file of the store, relative to it. */
async function storeFiles(): Promise<readonly string[]> {
  const entries = await readdir(models, { recursive: true, withFileTypes: true });
  return entries.flatMap((entry) =>
    entry.isFile() ? [join(entry.parentPath, entry.name).slice(models.length + 1)] : [],
  );
}

describe('a GGUF', () => {
  it('is a model of Ollama by a link and three small things, and again nothing new', async () => {
    const first = await exported('./Tiny-1B-Q4_K_M.gguf');
    expect(first).toMatchObject({
      name: 'tiny-1b:q4_k_m',
      directory: models,
      path: join(models, LIBRARY, 'tiny-1b', 'q4_k_m'),
      state: 'added',
      files: 2,
      linkedBytes: WEIGHTS.length,
      presentBytes: 0,
    });
    expect(first.bytes).toBe(first.linkedBytes + first.writtenBytes);
    expect(await storeFiles()).toHaveLength(3);
    const before = await readFile(first.path);
    expect(await exported('./Tiny-1B-Q4_K_M.gguf')).toMatchObject({
      state: 'unchanged',
      linkedBytes: 0,
      writtenBytes: 0,
      presentBytes: first.bytes,
    });
    expect(await readFile(first.path)).toEqual(before);
    const plain = await exporting('./Tiny-1B-Q4_K_M.gguf', '--name', 'mine');
    expect(plain.stdout).toBe('mine:latest');
    expect(plain.stderr).toContain(`mine:latest is added in ${models}`);
  });

  withOllamaCode('is described as Ollama itself would', async () => {
    if (readStore === undefined) throw new Error('Expected the reader');
    const values = { ...LLAMA, 'general.architecture': text('qwen2'), 'general.file_type': uint32(7) };
    await put('qwen.gguf', gguf({ values, tensors: { a: [1000, 1250], b: [7, 3] } }));
    const { bytes } = await exported('./qwen.gguf', '--name', 'me/qwen');
    await exported('./Tiny-1B-Q4_K_M.gguf');
    const listed = await readStore(models);
    expect(listed.map(({ Name }) => Name).sort()).toEqual(['me/qwen:latest', 'tiny-1b:q4_k_m']);
    for (const { Config, Made } of listed)
      expect({ ...Config, rootfs: undefined }).toEqual({ ...Made, rootfs: undefined });
    expect(listed.find(({ Name }) => Name === 'me/qwen:latest')).toMatchObject({
      Size: bytes,
      Config: { model_family: 'qwen2', model_type: '1.25M', file_type: 'Q8_0', rootfs: { type: 'layers' } },
    });
  });

  it('stays whole in Ollama when it is removed here, and is not fetched again from there', async () => {
    await exported('./Tiny-1B-Q4_K_M.gguf');
    const removed = await world.run('remove', './Tiny-1B-Q4_K_M.gguf', '--prune', '-y');
    expect(removed.exitCode, removed.stderr).toBe(0);
    // Blobs younger than an hour are kept for others.
    await rm(world.cacheDir, { recursive: true });
    expect(sha256Of(await readFile(join(models, BLOB)))).toBe(HEX);
    expect(await layersOf(`${LIBRARY}/tiny-1b/q4_k_m`)).toEqual(['model']);
  });

  it('stays whole here when Ollama removes it', async () => {
    await exported('./Tiny-1B-Q4_K_M.gguf');
    await rm(models, { recursive: true });
    const run = await world.run('verify', './Tiny-1B-Q4_K_M.gguf');
    expect(run.exitCode, run.stderr).toBe(0);
  });

  it('comes with its projector and the texts beside it, one quantization of several', async () => {
    const clip = { 'general.architecture': text('clip'), 'clip.vision.block_count': uint32(2) };
    await put('set/a-Q4_K_M.gguf', WEIGHTS);
    await put('set/a-Q8_0.gguf', gguf({ values: { ...LLAMA, 'general.file_type': uint32(7) } }));
    await put('set/mmproj-a.gguf', gguf({ values: clip }));
    await put('set/template', '{{ .Prompt }}');
    await put('set/params', 'no JSON');
    const several = await exporting('./set', '--no-input');
    expect(several.exitCode).toBe(2);
    expect(several.stderr).toContain('--quant');
    expect(await storeFiles()).toEqual([]);
    expect((await exported('./set', '--quant', 'Q8_0')).name).toBe('set:q8_0');
    expect(await layersOf(`${LIBRARY}/set/q8_0`)).toEqual(['model', 'projector', 'template']);
  });

  it('is told to lack the chat template that Ollama does not read', async () => {
    const values = { ...LLAMA, 'tokenizer.chat_template': text('{{ messages }}') };
    await put('chat.gguf', gguf({ values }));
    const run = await exporting('./chat.gguf');
    expect(run.exitCode, run.stderr).toBe(0);
    expect(run.stderr).toContain('| ollama create chat:q4_k_m -f -`');
  });
});

describe('a name', () => {
  it('of another model is not taken away unless that is asked for', async () => {
    const taken = join(models, LIBRARY, 'Tiny-1b', 'q4_k_m');
    await mkdir(dirname(taken), { recursive: true });
    const other = manifestOf([{ kind: 'model', bytes: Buffer.from('others') }], {});
    await writeFile(taken, other);
    const run = await exporting('./Tiny-1B-Q4_K_M.gguf');
    expect(run.exitCode).toBe(2);
    expect(run.stderr).toContain('Ollama has another model of this name: tiny-1b:q4_k_m');
    expect(run.stderr).toContain('--force');
    expect(await readFile(taken, 'utf8')).toBe(other);
    expect(await storeFiles()).toHaveLength(1);
    const forced = await exported('./Tiny-1B-Q4_K_M.gguf', '--force');
    // Names are the same in whatever case.
    expect(forced).toMatchObject({ state: 'replaced', path: taken });
    expect(await layersOf(`${LIBRARY}/Tiny-1b/q4_k_m`)).toEqual(['model']);
  });

  it('under which Ollama has the same weights with a template of its own is left to it', async () => {
    const { path } = await exported('./Tiny-1B-Q4_K_M.gguf');
    const created = manifestOf(
      [
        { kind: 'model', bytes: WEIGHTS },
        { kind: 'template', bytes: Buffer.from('{{ .Prompt }}') },
      ],
      {},
    );
    await writeFile(path, created);
    expect((await exported('./Tiny-1B-Q4_K_M.gguf')).state).toBe('unchanged');
    expect(await readFile(path, 'utf8')).toBe(created);
  });
});

describe('a model of Ollama', () => {
  it('is under its own name what its registry has, by the same ID', async () => {
    const layers = [
      { kind: 'model', bytes: WEIGHTS },
      { kind: 'template', bytes: Buffer.from('{{ .Prompt }}') },
    ];
    const config = { model_format: 'gguf', model_family: 'llama', model_type: '1B', file_type: 'Q4_0' };
    const registry = await startOllamaRegistry({ models: [{ name: 'me/tiny:1b', layers, config }] });
    try {
      await put(
        '.config/modeldl/config.json',
        JSON.stringify({ hubs: { ollama: { endpoint: registry.endpoint } } }),
      );
      const { name, path, files } = await exported('ollama:me/tiny:1b');
      expect([name, files]).toEqual(['me/tiny:1b', 3]);
      expect(path).toBe(join(models, 'manifests/registry.ollama.ai/me/tiny/1b'));
      expect(await readFile(path, 'utf8')).toBe(manifestOf(layers, config));
      const listed = await readStore?.(models);
      if (listed !== undefined)
        expect(listed).toMatchObject([
          { Name: 'me/tiny:1b', Digest: sha256Of(Buffer.from(manifestOf(layers, config))) },
        ]);
      const part = await world.run('pull', 'ollama:me/tiny:1b', '--exclude', 'template', '--quiet');
      expect(part.exitCode, part.stderr).toBe(0);
      const refs = (await world.run('list', '--quiet')).stdout.split('\n').filter((ref) => ref.includes('+'));
      const refused = await exporting(refs[0] ?? 'nothing');
      expect(refused.exitCode, refused.stderr).toBe(9);
      expect(refused.stderr).toContain('its template is left out');
    } finally {
      await registry.close();
    }
  });
});

type Refused = readonly [
  what: string,
  files: Readonly<Record<string, string | Uint8Array>>,
  args: readonly string[],
  exitCode: number,
  said: string,
];

describe('what Ollama does not take', () => {
  it.each<Refused>([
    [
      'safetensors',
      { 'm/model.safetensors': 'weights' },
      ['./m'],
      9,
      '`ollama create` makes one of safetensors',
    ],
    ['no GGUF inside', { 'm/model.gguf': 'PK archive' }, ['./m'], 9, 'Damaged, or of a version'],
    [
      'a part of several',
      { 'm/a.gguf': gguf({ values: { ...LLAMA, 'split.count': uint16(2) } }) },
      ['./m'],
      9,
      'llama-gguf-split --merge',
    ],
    [
      'an adapter',
      { 'm/a.gguf': gguf({ values: { ...LLAMA, 'general.type': text('adapter') } }) },
      ['./m'],
      9,
      'only a part that goes with a model',
    ],
    [
      'two models',
      { 'm/a.gguf': WEIGHTS, 'm/b.gguf': gguf({ tensors: { w: [8] } }) },
      ['./m'],
      2,
      'name one: `//a.gguf`',
    ],
    ['what is not there', {}, ['./absent.gguf'], 3, 'absent.gguf'],
    ['a name with spaces', {}, ['./Tiny-1B-Q4_K_M.gguf', '--name', 'my model'], 2, 'no name of a model'],
    [
      'a name that is a digest',
      {},
      ['./Tiny-1B-Q4_K_M.gguf', '--name', `x:${'a'.repeat(64)}`],
      2,
      'looks like a digest',
    ],
  ])('%s', async (_what, files, args, exitCode, said) => {
    for (const [path, content] of Object.entries(files)) await put(path, content);
    const run = await exporting(...args);
    expect([run.exitCode, run.stdout], run.stderr).toEqual([exitCode, '']);
    expect(run.stderr).toContain(said);
    expect(run.stderr).toContain('hint: ');
    expect(await storeFiles()).toEqual([]);
  });

  it.each<[string, Readonly<Record<string, string>>, readonly string[], number, string]>([
    ['a name', {}, ['--name', 'a/b/c/d'], 2, 'more parts than'],
    ['a store', { OLLAMA_MODELS: 'relative' }, [], 2, 'no absolute path'],
  ])('is told before anything is fetched: %s', async (_what, environment, args, exitCode, said) => {
    const all = ['export', './Tiny-1B-Q4_K_M.gguf', '--to', 'ollama', ...args];
    const run = await world.runWith(environment, ...all);
    expect([run.exitCode, run.stdout], run.stderr).toEqual([exitCode, '']);
    expect(run.stderr).toContain(said);
    expect((await world.run('list', '--quiet')).stdout).toBe('');
  });

  it.each([
    ['nowhere', ['export', './Tiny-1B-Q4_K_M.gguf'], 2, 'Missing a target, or `--to`'],
    ['nothing', ['export', '--to', 'ollama'], 2, 'Missing a reference'],
    ['to a hub without a program', ['export', './Tiny-1B-Q4_K_M.gguf', '--to', 'hf'], 2, 'export to ollama'],
    ['to nobody', ['export', './Tiny-1B-Q4_K_M.gguf', '--to', 'llama'], 2, 'Unknown hub: llama'],
  ])('%s', async (_what, args, exitCode, said) => {
    const run = await world.run(...args);
    expect([run.exitCode, run.stdout]).toEqual([exitCode, '']);
    expect(run.stderr).toContain(said);
  });
});

describe('the store', () => {
  it('is the one that OLLAMA_MODELS names, made where it is not there yet', async () => {
    const other = join(world.directory, 'other', 'models');
    const run = await world.runWith(
      { OLLAMA_MODELS: other },
      'export',
      './Tiny-1B-Q4_K_M.gguf',
      '--to',
      'ollama',
    );
    expect(run.exitCode, run.stderr).toBe(0);
    expect(sha256Of(await readFile(join(other, BLOB)))).toBe(HEX);
    const relative = await world.runWith(
      { OLLAMA_MODELS: 'other' },
      'export',
      './Tiny-1B-Q4_K_M.gguf',
      '--to',
      'ollama',
    );
    expect(relative.exitCode).toBe(2);
    expect(relative.stderr).toContain('no absolute path: other');
  });

  it('is asked for where no Ollama was started yet', async () => {
    await rm(dirname(models), { recursive: true });
    const run = await exporting('./Tiny-1B-Q4_K_M.gguf');
    // Unless the machine has the service's store.
    if (
      await stat('/usr/share/ollama/.ollama/models').then(
        () => true,
        () => false,
      )
    )
      return;
    expect(run.exitCode, run.stderr).toBe(3);
    expect(run.stderr).toContain('start `ollama serve` once');
  });

  it('is no file', async () => {
    const file = join(world.directory, 'Tiny-1B-Q4_K_M.gguf');
    const run = await world.runWith(
      { OLLAMA_MODELS: file },
      'export',
      './Tiny-1B-Q4_K_M.gguf',
      '--to',
      'ollama',
    );
    expect([run.exitCode, run.stdout], run.stderr).toEqual([7, '']);
    expect(run.stderr).toContain(`Cannot write to the store of Ollama in ${file}: not a directory`);
  });

  it('gets anew what is of another size there', async () => {
    await put(join('.ollama/models', BLOB), 'half');
    expect((await exported('./Tiny-1B-Q4_K_M.gguf')).presentBytes).toBe(0);
    expect(sha256Of(await readFile(join(models, BLOB)))).toBe(HEX);
  });

  asRoot('of another user is told to be that, and nothing is left in it', async () => {
    await chown(world.directory, OTHER_USER, OTHER_USER);
    const run = await world.start({ uid: OTHER_USER }, 'export', './Tiny-1B-Q4_K_M.gguf', '--to', 'ollama')
      .done;
    expect([run.exitCode, run.stdout], run.stderr).toEqual([7, '']);
    expect(run.stderr).toContain(`Cannot write to the store of Ollama in ${models}: permission denied`);
    expect(run.stderr).toContain('OLLAMA_MODELS');
    expect(await storeFiles()).toEqual([]);
  });

  asRoot(
    'of a service belongs to it also after an administrator wrote there, and can be read by it',
    async () => {
      await chown(models, OTHER_USER, OTHER_USER);
      const run = await world.start(
        { under: ['sh', '-c', 'umask 077; exec "$@"', 'sh'] },
        'export',
        './Tiny-1B-Q4_K_M.gguf',
        '--to',
        'ollama',
      ).done;
      expect(run.exitCode, run.stderr).toBe(0);
      const entries = await readdir(models, { recursive: true });
      expect(entries).toHaveLength(8);
      for (const entry of entries) {
        const { uid, mode } = await lstat(join(models, entry));
        const isReadable = uid === OTHER_USER || (mode & 0o004) !== 0;
        expect([entry, isReadable]).toEqual([entry, true]);
        if (!entry.startsWith('blobs/')) expect([entry, uid]).toEqual([entry, OTHER_USER]);
      }
    },
  );
});

describe('the key', () => {
  it('is what Ollama knows a user by, and no token', async () => {
    const none = await world.run('whoami', 'ollama');
    expect(none.exitCode).toBe(4);
    expect(none.stderr).toContain('`ollama serve` makes one on its first start');
    const line = `ssh-ed25519 ${await writeOllamaKey(world.directory)}`;
    const who = await world.run('whoami', 'ollama');
    expect([who.exitCode, who.stdout]).toEqual([0, line]);
    expect(who.stderr).toContain('https://ollama.com/settings/keys');
    const login = await world.run('login', 'ollama');
    expect(login.exitCode).toBe(2);
    expect(login.stderr).toContain('takes no token');
    expect(login.stderr).toContain(line);
    expect((await world.run('login', 'ollama', '--token-stdin')).stderr).toContain('takes no token');
  });
});
