/** What goes wrong around an import: interruptions, other processes, full disks, bombs; and what must not come along. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, rmSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { Modeldl, ModeldlEvent } from '../../src/index.js';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { canMount, smallDisk } from '../helpers/mounts.js';
import { rejected } from '../helpers/refused.js';
import { hasProgram, requirePeer } from '../helpers/require.js';
import { bundleOf, contentMember, EMPTY, machine, type Machine } from './machines.js';

const MiB = 1024 * 1024;
const LARGE = Buffer.alloc(9 * MiB, 'large weights');
const TOKEN = 'hf_secretsecretsecretsecret';

const onDisks = requirePeer('root and `mount`', canMount);
const withZstd = requirePeer('zstd', hasProgram('zstd'));

let hub: HfHub;
let here: Machine;
let there: Machine;
let file: string;

beforeEach(async () => {
  hub = await startHfHub({
    repos: [{ id: 'org/large', files: { 'config.json': '{}', 'model.onnx': LARGE } }],
    tokens: [{ token: TOKEN, user: 'somebody' }],
  });
  onTestFinished(() => hub.close());
  here = await machine(hub.endpoint);
  there = await machine();
  file = join(here.directory, 'models.tar');
});

async function make(modeldl?: Modeldl): Promise<Buffer> {
  const opened = modeldl ?? (await here.open());
  const created = await opened.createBundle({ output: file, references: ['org/large'] });
  if ('errors' in created) throw created.errors[0] ?? new Error('no bundle');
  return readFile(file);
}

/** Runs something once, at the first event of a type. */
function at(type: ModeldlEvent['type'], work: () => void): (event: ModeldlEvent) => void {
  let done = false;
  return (event) => {
    if (done || event.type !== type) return;
    done = true;
    work();
  };
}

const area = (at: Machine, name: string): Promise<string[]> => readdir(join(at.cacheDir, 'v1', name));

function compress(bytes: Buffer): Buffer {
  return execFileSync('zstd', ['-c', '-q'], { input: bytes, maxBuffer: 64 * MiB });
}

describe('an import', () => {
  it('that is interrupted leaves nothing half made, and the next one is whole', async () => {
    await make();
    const interruption = new AbortController();
    const emit = at('file-progress', () => {
      interruption.abort();
    });
    const error = await rejected(
      (await there.open({ signal: interruption.signal, emit })).importBundle(file),
    );
    expect([error.code, error.exitCode]).toEqual(['INTERRUPTED', 130]);
    expect([await area(there, 'tmp'), await area(there, 'records'), await area(there, 'claims')]).toEqual([
      [],
      [],
      [],
    ]);
    const modeldl = await there.open();
    await modeldl.importBundle(file);
    expect((await modeldl.verify([], { repair: false })).map(({ ok }) => ok)).toEqual([true]);
  });

  it('is whole beside a prune that may take its blobs', async () => {
    await make();
    const first = await there.open();
    await first.importBundle(file);
    // What is removed on purpose need not age.
    await first.remove(await first.planRemove(['org/large']), { prune: false });
    const other = await there.open();
    let pruning: Promise<unknown> = Promise.resolve();
    const emit = at('file-start', () => {
      pruning = other.planPrune({}).then((plan) => other.prune(plan, {}));
    });
    const modeldl = await there.open({ emit });
    await modeldl.importBundle(file);
    await pruning;
    expect((await modeldl.verify([], { repair: false })).map(({ ok }) => ok)).toEqual([true]);
  });

  it('reads the bundle again where a blob is gone before it is named', async () => {
    await make();
    const emit = at('file-done', () => {
      const blobs = join(there.cacheDir, 'v1', 'blobs', 'sha256');
      for (const name of readdirSync(blobs)) rmSync(join(blobs, name), { recursive: true });
    });
    const modeldl = await there.open({ emit });
    const { models, writtenBytes } = await modeldl.importBundle(file);
    expect([models.length, writtenBytes]).toEqual([1, 2 * (LARGE.length + 2)]);
    expect((await modeldl.verify([], { repair: false })).map(({ ok }) => ok)).toEqual([true]);
  });

  it('of one bundle by two processes is one model', async () => {
    await make();
    const [one, other] = [await there.open(), await there.open()];
    const both = await Promise.all([one.importBundle(file), other.importBundle(file)]);
    expect(both[0].models[0]?.path).toBe(both[1].models[0]?.path);
    expect((await one.list()).models).toHaveLength(1);
    expect((await one.verify([], { repair: false })).map(({ ok }) => ok)).toEqual([true]);
  });

  onDisks('onto a disk that is too small is refused, or ends there and goes on', async () => {
    await make();
    const disk = await smallDisk('size=6M');
    const small = { cacheDir: disk.directory };
    const before = await rejected((await there.open(small)).importBundle(file));
    expect([before.code, before.hint]).toEqual(['DISK', expect.stringContaining('--no-space-check')]);
    const modeldl = await there.open({ ...small, spaceCheck: false });
    const full = await rejected(modeldl.importBundle(file));
    expect([full.exitCode, full.message]).toEqual([7, expect.stringContaining('no space left')]);
    expect(await readdir(join(disk.directory, 'v1', 'tmp'))).toEqual([]);
    expect((await modeldl.list()).models).toEqual([]);
    await disk.resize('size=64M');
    await modeldl.importBundle(file);
    expect((await modeldl.verify([], { repair: false })).map(({ ok }) => ok)).toEqual([true]);
  });

  onDisks('of a bundle that did not fit its disk finds none, and nothing is left there', async () => {
    const disk = await smallDisk('size=6M');
    const modeldl = await here.open({ spaceCheck: false });
    const output = join(disk.directory, 'models.tar');
    const full = await rejected(modeldl.createBundle({ output, references: ['org/large'] }));
    expect([full.exitCode, full.message]).toEqual([7, expect.stringContaining('no space left')]);
    expect(await readdir(disk.directory)).toEqual([]);
  });
});

describe('a bundle that is compressed', () => {
  withZstd('is imported and shown alike, with the same digest', async () => {
    const bytes = await make();
    const compressed = join(there.directory, 'models.tar.zst');
    await writeFile(compressed, compress(bytes));
    const modeldl = await there.open();
    const [one, other] = [await modeldl.showBundle(file), await modeldl.showBundle(compressed)];
    expect({ ...other, file: one.file, bytes: one.bytes }).toEqual(one);
    await modeldl.importBundle(compressed, { digest: one.digest });
    expect((await modeldl.verify([], { repair: false })).map(({ ok }) => ok)).toEqual([true]);
  });

  withZstd('is refused where it is cut off', async () => {
    const bytes = compress(await make());
    const cut = join(there.directory, 'cut.tar.zst');
    await writeFile(cut, bytes.subarray(0, bytes.length - 100));
    const error = await rejected((await there.open()).importBundle(cut));
    expect([error.exitCode, error.message]).toEqual([6, expect.stringContaining('cut off')]);
  });

  withZstd('is refused where something follows it', async () => {
    const bytes = compress(await make());
    const long = join(there.directory, 'long.tar.zst');
    const modeldl = await there.open();
    for (const more of [Buffer.from('more'), Buffer.alloc(600), bytes]) {
      await writeFile(long, Buffer.concat([bytes, more]));
      const error = await rejected(modeldl.importBundle(long));
      expect([error.code, error.exitCode]).toEqual(['INTEGRITY', 6]);
      expect((await modeldl.list()).models).toEqual([]);
    }
  });

  withZstd('is no bomb', async () => {
    const zeros = Buffer.alloc(100 * MiB);
    const sha256 = createHash('sha256').update(zeros).digest('hex');
    await make();
    const { models } = await (await here.open()).showBundle(file);
    const [model] = models;
    const record = {
      ...{ hub: 'hf', id: 'org/large', revision: model?.revision, reference: model?.reference },
      ...{ files: [{ path: 'model.onnx', bytes: zeros.length, sha256 }], leftOut: [] },
    };
    const bomb = join(there.directory, 'bomb.tar.zst');
    const bytes = bundleOf({ ...EMPTY, models: [record] }, contentMember(sha256, zeros));
    await writeFile(bomb, compress(bytes));
    const error = await rejected((await there.open()).importBundle(bomb));
    expect([error.exitCode, error.message]).toEqual([6, expect.stringContaining('more than it may hold')]);
    expect(await area(there, 'tmp')).toEqual([]);
  });
});

describe('secrets', () => {
  /** Changes a document of the store as an earlier version, or a hub's plugin, may have written it. */
  async function edit(name: string, change: (text: string) => string): Promise<void> {
    const root = join(here.cacheDir, 'v1', name);
    let edited = 0;
    for (const found of await readdir(root, { recursive: true })) {
      if (!/\.(json|copy)$/.test(found)) continue;
      const path = join(root, found);
      const before = await readFile(path, 'utf8');
      await writeFile(path, change(before));
      if (change(before) !== before) edited += 1;
    }
    expect(edited).toBeGreaterThan(0);
  }

  it('never come along: not in addresses, not in what was set', async () => {
    const environment = { HF_ENDPOINT: hub.endpoint, HF_TOKEN: TOKEN };
    const modeldl = await here.open({ environment });
    await modeldl.convert('org/large', { precision: 'fp16' });
    await edit('snapshots', (text) =>
      text
        .replaceAll('"url": "http://', '"url": "http://me:passphrase@')
        .replaceAll(/("url": "[^"]+)"/g, '$1?X-Amz-Signature=signedsigned"'),
    );
    await edit('records', (text) =>
      text.replace('"given": {}', `"given": { "hint": "with ${TOKEN} of mine" }`),
    );
    const offline = await here.open({ environment, offline: true });
    const created = await offline.createBundle({ output: file, references: ['org/large+fp16-cpu'] });
    expect(created).toHaveProperty('bundle');
    const bytes = await readFile(file);
    for (const secret of [TOKEN, 'passphrase', 'signedsigned']) expect(bytes.includes(secret)).toBe(false);
    expect(bytes.includes('with *** of mine')).toBe(true);
    expect(bytes.includes(`"url": "${hub.endpoint}/org/large/resolve/`)).toBe(true);
    await (await there.open()).importBundle(file);
  });
});
