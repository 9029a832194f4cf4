/** Bundles made of what a hub has, brought to machines that may ask nobody. */
import { createHash } from 'node:crypto';
import { chmod, copyFile, mkdir, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { Converter, Toolchain } from '../../src/converter.js';
import type { CreateBundleOptions, CreatedBundle, Modeldl } from '../../src/index.js';
import { INDEX_NAME, parseIndex, SEAL_NAME, type BundleIndex } from '../../src/bundle/bundle-index.js';
import { builtInPlugins } from '../../src/plugins.js';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { rejected } from '../helpers/refused.js';
import { noToolchain, smallConverter } from '../helpers/small-converter.js';
import { tar, tarMember, type TarMember } from '../transfer/make-archive.js';
import { bundleOf, contentMember, machine, type Machine } from './machines.js';

const WEIGHTS = Buffer.alloc(300_000, 'weights');
const NOTES = '{"notes":1}';
const sha256 = (bytes: string | Buffer): string => createHash('sha256').update(bytes).digest('hex');

let hub: HfHub;
let here: Machine;
let there: Machine;

beforeEach(async () => {
  hub = await startHfHub({
    repos: [
      {
        id: 'org/one',
        license: 'apache-2.0',
        files: { 'config.json': '{"one":1}', 'model.safetensors': WEIGHTS, 'pytorch_model.bin': 'weaker' },
      },
      {
        id: 'org/two',
        files: { 'config.json': '{"two":2}', 'model.onnx': 'two', 'copy.safetensors': WEIGHTS },
      },
      { id: 'org/noted', files: { 'model.onnx': Buffer.alloc(5_000_000, 'noted'), 'notes.json': NOTES } },
    ],
  });
  onTestFinished(() => hub.close());
  here = await machine(hub.endpoint);
  there = await machine();
});

function made(created: CreatedBundle): Extract<CreatedBundle, { bundle: unknown }>['bundle'] {
  if ('errors' in created) throw created.errors[0] ?? new Error('no bundle');
  return created.bundle;
}

async function bundle(
  options: Partial<CreateBundleOptions> = {},
  modeldl?: Modeldl,
): Promise<ReturnType<typeof made>> {
  const opened = modeldl ?? (await here.open());
  const output = join(here.directory, 'models.tar');
  return made(
    await opened.createBundle({ output, references: ['org/one', 'org/two'], overwrite: true, ...options }),
  );
}

/** Members of a bundle as they are in it. */
async function membersOf(file: string): Promise<{ index: BundleIndex; contents: TarMember[] }> {
  const bytes = await readFile(file);
  const members: { name: string; content: Buffer }[] = [];
  for (let at = 0; at < bytes.length && bytes[at] !== 0;) {
    const name = bytes
      .subarray(at, at + 100)
      .toString()
      .replace(/\0.*$/s, '');
    const size = parseInt(bytes.subarray(at + 124, at + 135).toString(), 8);
    members.push({ name, content: bytes.subarray(at + 512, at + 512 + size) });
    at += 512 + Math.ceil(size / 512) * 512;
  }
  const [first, seal, ...contents] = members;
  if (first?.name !== INDEX_NAME || seal?.name !== SEAL_NAME)
    throw new Error(`Expected index and seal first, got ${first?.name ?? 'nothing'}`);
  return { index: parseIndex(file, first.content), contents };
}

/** What a machine has of models and blobs, and what an import that ended left of temporary files. */
async function left(at: Machine): Promise<{ models: number; blobs: number; temporary: readonly string[] }> {
  const names = async (area: string): Promise<readonly string[]> =>
    readdir(join(at.cacheDir, 'v1', area), { recursive: true }).catch(() => []);
  const files = (all: readonly string[], pattern: RegExp): number =>
    all.filter((name) => pattern.test(name)).length;
  return {
    models: files(await names('records'), /\.json$/),
    blobs: files(await names('blobs'), /[0-9a-f]{64}$/),
    temporary: await names('tmp'),
  };
}

async function importAs(bytes: Buffer, modeldl?: Modeldl): ReturnType<Modeldl['importBundle']> {
  const file = join(there.directory, 'given.tar');
  await writeFile(file, bytes);
  return (modeldl ?? (await there.open())).importBundle(file);
}

describe('importing', () => {
  it('brings models with their records and references, so that nothing is asked', async () => {
    const { file, digest, models, references } = await bundle();
    expect(references.map(({ reference }) => reference)).toEqual(['hf:org/one', 'hf:org/two']);
    const modeldl = await there.open();
    const imported = await modeldl.importBundle(file, { digest });
    expect(imported).toMatchObject({ digest, models: models.map((model) => ({ ...model, stored: false })) });
    const { results, errors } = await modeldl.pull(['org/one', `org/two@${hub.commitOf('org/two')}`]);
    expect(errors).toEqual([]);
    expect(results.map(({ cached, license }) => [cached, license])).toEqual([
      [true, 'apache-2.0'],
      [true, null],
    ]);
    expect(await readFile(join(results[0]?.path ?? '', 'model.safetensors'))).toEqual(WEIGHTS);
    expect(results[0]?.leftOut).toEqual([{ path: 'pytorch_model.bin', bytes: 6 }]);
    expect((await modeldl.path('org/two')).path).toBe(results[1]?.path);
    expect((await modeldl.show('org/one')).reference).toBe(`hf:org/one@${hub.commitOf('org/one')}`);
    expect((await modeldl.list()).models).toHaveLength(2);
    expect((await modeldl.verify([], { repair: false })).map(({ ok }) => ok)).toEqual([true, true]);
  });

  it('holds and writes each content once, and nothing the second time', async () => {
    const { file, contentBytes } = await bundle();
    const distinct = ['{"one":1}', WEIGHTS, '{"two":2}', 'two'].reduce((sum, one) => sum + one.length, 0);
    expect(contentBytes).toBe(distinct);
    expect((await stat(file)).size).toBeLessThan(2 * WEIGHTS.length);
    const modeldl = await there.open();
    expect((await modeldl.importBundle(file)).writtenBytes).toBe(distinct);
    const before = await left(there);
    const again = await modeldl.importBundle(file);
    expect([again.writtenBytes, again.models.map(({ stored }) => stored)]).toEqual([0, [true, true]]);
    expect(await left(there)).toEqual(before);
  });

  it('is the same bytes wherever and whenever it is made, whatever the order of references', async () => {
    const one = await bundle();
    const bytes = await readFile(one.file);
    const elsewhere = await machine(hub.endpoint);
    const references = ['org/two', 'org/one', 'org/two'];
    const other = await bundle({ references }, await elsewhere.open());
    expect(other.digest).toBe(one.digest);
    expect((await readFile(other.file)).equals(bytes)).toBe(true);
  });

  it('tells parts of a revision apart, by names that commands take', async () => {
    const modeldl = await here.open();
    await modeldl.pull(['org/one'], { include: ['*.json'] });
    const [{ reference } = { reference: '' }] = (await modeldl.list()).models;
    const { file, models } = await bundle({ references: ['org/one', reference] }, modeldl);
    expect(models.map((model) => model.reference).sort()).toEqual(
      [reference.split('+')[0], reference].sort(),
    );
    const offline = await there.open();
    const imported = await offline.importBundle(file);
    for (const model of imported.models) expect((await offline.path(model.reference)).path).toBe(model.path);
  });

  it('is made again of what it brought', async () => {
    const { file, digest } = await bundle();
    const modeldl = await there.open();
    await modeldl.importBundle(file);
    const output = join(there.directory, 'again.tar');
    const again = made(await modeldl.createBundle({ output, references: ['org/one', 'org/two'] }));
    expect(again.digest).toBe(digest);
  });

  it('says what is in one without bringing it', async () => {
    const { file, list, lock, ...shown } = await bundle();
    expect([list, lock]).toEqual([null, null]);
    expect(await (await there.open()).showBundle(file)).toEqual({ file, ...shown });
    expect((await left(there)).models).toBe(0);
  });

  it('says what a reference means from then on, beside what it meant before', async () => {
    const { file } = await bundle({ references: ['org/one'] });
    const moved = await startHfHub({ repos: [{ id: 'org/one', files: { 'config.json': '{"one":2}' } }] });
    onTestFinished(() => moved.close());
    const later = await machine(moved.endpoint);
    const modeldl = await later.open();
    await modeldl.pull(['org/one']);
    await modeldl.importBundle(file);
    const offline = await later.open({ offline: true });
    expect((await offline.path('org/one')).path).toContain(hub.commitOf('org/one').slice(0, 12));
    expect((await offline.list()).models).toHaveLength(2);
  });

  it('mends a stored model whose files changed', async () => {
    const { file } = await bundle({ references: ['org/one'] });
    const modeldl = await there.open();
    await modeldl.importBundle(file);
    const { path } = await modeldl.path('org/one');
    await chmod(join(path, 'config.json'), 0o644);
    await writeFile(join(path, 'config.json'), '{"one":9}');
    const again = await (await there.open()).importBundle(file);
    expect(again.models.map(({ stored }) => stored)).toEqual([false]);
    expect(await readFile(join(path, 'config.json'), 'utf8')).toBe('{"one":1}');
  });

  it.each(['config.json', 'model.safetensors'])(
    'mends what its disk changed, which no time tells: %s',
    async (name) => {
      const { file } = await bundle({ references: ['org/one'] });
      const modeldl = await there.open();
      await modeldl.importBundle(file);
      const damaged = join((await modeldl.path('org/one')).path, name);
      const before = await readFile(damaged);
      await rot(damaged, Buffer.alloc(before.length, 'rot'));
      const again = await (await there.open()).importBundle(file);
      expect([again.writtenBytes, again.models.map(({ stored }) => stored)]).toEqual([
        before.length,
        [false],
      ]);
      expect((await readFile(damaged)).equals(before)).toBe(true);
      expect((await modeldl.verify([], { repair: false })).map(({ ok }) => ok)).toEqual([true]);
    },
  );
});

/** Other bytes under the same size and time, as a disk gives them that fails. */
async function rot(path: string, content: string | Buffer): Promise<void> {
  const { atime, mtime } = await stat(path);
  await chmod(path, 0o644);
  await writeFile(path, content);
  await utimes(path, atime, mtime);
}

describe('what a lock names', () => {
  const MODELS = ['org/one', { reference: 'org/two', precision: 'fp16', output: './out' }];

  it('comes with its conversions and what they read, and is frozen without network', async () => {
    await (await here.open({ models: MODELS })).lock();
    const modeldl = await here.open({ models: MODELS });
    const { file, models, list, lock } = await bundle({ references: [] }, modeldl);
    expect(models.map(({ kind, precision }) => [kind, precision]).sort()).toEqual([
      ['converted', 'fp16'],
      ['pulled', null],
      ['pulled', null],
    ]);
    expect([list, lock]).toEqual([
      join(here.directory, 'modeldl.config.json'),
      join(here.directory, 'modeldl.lock'),
    ]);
    // What a list wants beside the store is for `sync`.
    expect(await readdir(here.directory)).not.toContain('out');
    await writeFile(
      join(there.directory, 'modeldl.lock'),
      await readFile(join(here.directory, 'modeldl.lock')),
    );
    const offline = await there.open({ models: MODELS });
    await offline.importBundle(file);
    const synced = await offline.sync({ frozen: true });
    expect(synced.errors).toEqual([]);
    expect(synced.results.map(({ cached }) => cached)).toEqual([true, true]);
    expect(await readFile(join(there.directory, 'out', 'model.xml'), 'utf8')).toBe('converted');
    const converted = await offline.convert('org/two', { precision: 'fp16' });
    expect(converted).toMatchObject({ cached: true, precision: 'fp16' });
  });

  /** Looks at a text that it does not read, as those of real models do. */
  const small = smallConverter(['model.onnx']);
  const looking: Converter = {
    ...small,
    plan: async (model, request) => {
      await model.text('notes.json');
      return small.plan(model, request);
    },
  };
  const plugins = { ...builtInPlugins(), converters: [looking], toolchains: [noToolchain] };

  async function convertedBundle(isPruned: boolean): Promise<ReturnType<typeof made>> {
    const modeldl = await here.open({ plugins });
    await modeldl.convert('org/noted', { precision: 'fp16' });
    if (isPruned) await modeldl.prune(await modeldl.planPrune({ ci: true }), {});
    const offline = await here.open({ plugins, offline: true });
    return bundle({ references: ['org/noted+fp16-cpu'] }, offline);
  }

  it('finds a conversion by what it was planned by, as after `prune --ci`', async () => {
    const { file, models } = await convertedBundle(true);
    expect(models.map(({ kind }) => kind)).toEqual(['converted']);
    expect(here.told.at(-1)).toContain('so that another conversion of it asks its hub');
    const offline = await there.open({ plugins });
    await offline.importBundle(file);
    expect(await offline.convert('org/noted', { precision: 'fp16' })).toMatchObject({ cached: true });
    await offline.prune(await offline.planPrune({}), {});
    expect(await offline.convert('org/noted', { precision: 'fp16' })).toMatchObject({ cached: true });
  });

  it('converts otherwise without network, where what a conversion was made of came along', async () => {
    const { file } = await convertedBundle(false);
    const offline = await there.open({ plugins });
    await offline.importBundle(file);
    expect(await offline.convert('org/noted', { precision: 'fp32' })).toMatchObject({ cached: false });
  });

  it('tells what a conversion was planned by and is gone', async () => {
    await (await here.open({ plugins })).convert('org/noted', { precision: 'fp16' });
    const notes = sha256(NOTES);
    await rm(join(here.cacheDir, 'v1', 'blobs', 'sha256', notes.slice(0, 2), notes));
    const { file } = await bundle({ references: ['org/noted+fp16-cpu'] }, await here.open({ offline: true }));
    expect(here.told.at(-1)).toMatch(/^notes\.json, by which hf:org\/noted@.* is no longer stored/);
    await (await there.open()).importBundle(file);
  });

  it('is refused where a text that later plans would read is not what its hub has', async () => {
    const { file } = await convertedBundle(false);
    const { index, contents } = await membersOf(file);
    const evil = NOTES.replace('1', '2');
    const forged = JSON.stringify(index).replaceAll(sha256(NOTES), sha256(evil));
    const others = contents.filter(({ name }) => name !== contentMember(sha256(NOTES), '').name);
    const members = [...others, contentMember(sha256(evil), evil)];
    members.sort((a, b) => (String(a.name) < String(b.name) ? -1 : 1));
    const error = await rejected(importAs(bundleOf(forged, ...members)));
    expect([error.code, error.message]).toEqual([
      'INTEGRITY',
      expect.stringMatching(/contradicts itself \(The bytes of notes\.json do not match their digest/),
    ]);
    expect(await left(there)).toMatchObject({ models: 0, temporary: [] });
  });

  it('comes with the draft model that a server gets with it, which no lock names', async () => {
    const served = [
      'openvino_model.xml',
      'openvino_model.bin',
      'openvino_tokenizer.xml',
      'openvino_detokenizer.xml',
    ];
    const serving: Converter = {
      ...small,
      plan: async (model, request) => ({
        ...(await small.plan(model, request)),
        task: 'text-generation-with-past',
      }),
      run: async ({ id }, _plan, directory) => {
        for (const name of served) await writeFile(join(directory, name), `${name} of ${id}`);
        return { versions: {}, warnings: [] };
      },
    };
    const models = [
      {
        ...{ reference: 'org/two', precision: 'fp16', layout: 'ovms', output: './served' },
        settings: { draft_source_model: 'org/noted' },
      },
    ];
    const machines = { models, plugins: { ...plugins, converters: [serving] } };
    await (await here.open(machines)).lock();
    const { file, models: bundled } = await bundle({ references: [] }, await here.open(machines));
    const converted = bundled.filter(({ kind }) => kind === 'converted');
    expect(converted.map(({ id }) => id).sort()).toEqual(['org/noted', 'org/two']);
    await copyFile(join(here.directory, 'modeldl.lock'), join(there.directory, 'modeldl.lock'));
    const offline = await there.open(machines);
    await offline.importBundle(file);
    expect((await offline.sync({})).errors).toEqual([]);
    const draft = join(there.directory, 'served', 'org', 'two', 'org-noted', 'openvino_model.bin');
    expect(await readFile(draft, 'utf8')).toBe('openvino_model.bin of org/noted');
  });

  it('has to be what the list asks for', async () => {
    await (await here.open({ models: ['org/one'] })).lock();
    const modeldl = await here.open({ models: ['org/one', 'org/two'] });
    const output = join(here.directory, 'models.tar');
    const created = await modeldl.createBundle({ output });
    expect('errors' in created && created.errors.map(({ code, message }) => [code, message])).toEqual([
      ['CONFIG', 'The lock does not hold hf:org/two'],
    ]);
    const planned = await modeldl.planBundle({ output });
    expect(planned).toMatchObject({ errors: [{ code: 'CONFIG' }] });
    await expect(stat(output)).rejects.toThrow('ENOENT');
  });

  it('has to be there', async () => {
    const modeldl = await here.open({ models: ['org/one'] });
    const error = await rejected(modeldl.createBundle({ output: join(here.directory, 'models.tar') }));
    expect([error.code, error.hint]).toEqual(['CONFIG', expect.stringContaining('modeldl lock')]);
  });

  it('is planned without a byte fetched', async () => {
    await (await here.open({ models: MODELS })).lock();
    hub.clearRequests();
    const modeldl = await here.open({ models: MODELS });
    const planned = await modeldl.planBundle({ output: join(here.directory, 'models.tar') });
    expect(planned).toMatchObject({
      plan: { models: [{ kind: 'pulled', stored: false }, { kind: 'converted' }] },
    });
    expect(hub.requests.filter(({ url, method }) => method === 'GET' && url.includes('/resolve/'))).toEqual(
      [],
    );
  });
});

describe('a bundle that is not what it was made', () => {
  const REFUSED: readonly [
    string,
    (bytes: Buffer, parts: Awaited<ReturnType<typeof membersOf>>) => Buffer,
    RegExp,
  ][] = [
    ['is cut off in a content', (bytes) => bytes.subarray(0, bytes.length - 200_000), /damaged or cut off/],
    ['is cut off before its end', (bytes) => bytes.subarray(0, bytes.length - 1024), /cut off/],
    ['is cut off in its index', (bytes) => bytes.subarray(0, 700), /damaged or cut off/],
    ['is empty', () => Buffer.alloc(0), /cut off|Not a bundle/],
    [
      'has another byte',
      (bytes) => flipped(bytes, bytes.indexOf(WEIGHTS.subarray(0, 64)) + 5),
      /another digest/,
    ],
    [
      'lacks a content',
      (_bytes, { index, contents }) => bundleOf(index, ...contents.slice(0, -1)),
      /it lacks sha256-/,
    ],
    [
      'has a content twice',
      (_bytes, { index, contents }) => bundleOf(index, ...contents, ...contents.slice(-1)),
      /its index does not name "sha256-/,
    ],
    [
      'has contents in another order',
      (_bytes, { index, contents }) => bundleOf(index, ...[...contents].reverse()),
      /its index does not name/,
    ],
    [
      'has a name that leads out',
      (_bytes, { index, contents }) => bundleOf(index, { ...firstOf(contents), name: '../../evil' }),
      /does not name "\.\.\/\.\.\/evil"/,
    ],
    [
      'has a link for a content',
      (_bytes, { index, contents }) =>
        bundleOf(index, { name: firstOf(contents).name, type: '2', linkname: '/etc/passwd' }),
      /is no plain file/,
    ],
    [
      'has a content of another size',
      (_bytes, { index, contents }) => bundleOf(index, { ...firstOf(contents), content: 'short' }),
      /bytes instead of/,
    ],
    [
      'has another byte in its index',
      (bytes) => flipped(bytes, bytes.indexOf('apache-2.0') + 3),
      /its index is not what modeldl-bundle\.sha256 says/,
    ],
    [
      'has nothing that tells the digest of its index',
      (_bytes, { index, contents }) =>
        tar([{ name: INDEX_NAME, content: JSON.stringify(index) }, ...contents]),
      /its index is not what modeldl-bundle\.sha256 says/,
    ],
    [
      'ends after its index',
      (_bytes, { index }) => tar([{ name: INDEX_NAME, content: JSON.stringify(index) }]),
      /ends after its index/,
    ],
    ['does not begin with its index', (_bytes, { contents }) => tar(contents), /Not a bundle of modeldl/],
    [
      'has a link for its index',
      () => tar([{ name: INDEX_NAME, type: '2', linkname: '/etc/passwd' }]),
      /Not a bundle/,
    ],
    ['has no JSON for its index', () => bundleOf('hello'), /its index is none/],
    [
      'has an index that is too long',
      () => tarMember({ name: INDEX_NAME, size: 1024 ** 3 }),
      /its index has more than/,
    ],
    [
      'names files outside of their model',
      (_bytes, { index, contents }) => bundleOf(renamed(index, '../outside'), ...contents),
      /of its index is wrong/,
    ],
    [
      'has files that collide',
      (_bytes, { index, contents }) => bundleOf(renamed(index, 'config.json/deeper'), ...contents),
      /is also the directory of/,
    ],
    [
      'has a model twice',
      (_bytes, { index, contents }) =>
        bundleOf({ ...index, models: [...index.models, ...index.models] }, ...contents),
      /its index holds .* twice/,
    ],
    [
      'calls a model by the name of another',
      (_bytes, { index, contents }) =>
        bundleOf(
          {
            ...index,
            models: index.models.map((model) => ({ ...model, reference: `hf:org/other@${model.revision}` })),
          },
          ...contents,
        ),
      /calls a model "hf:org\/other/,
    ],
    [
      'names a revision that it does not hold',
      (_bytes, { index, contents }) =>
        bundleOf(
          { ...index, references: index.references.map((one) => ({ ...one, revision: 'f'.repeat(40) })) },
          ...contents,
        ),
      /names a revision that it does not hold/,
    ],
    [
      'has other files than its own listing',
      (_bytes, { index }) => {
        const other = 'evil';
        const models = index.models.map((model) => ({
          ...model,
          files: model.files.map((file) => ({ ...file, bytes: other.length, sha256: sha256(other) })),
        }));
        return bundleOf({ ...index, models }, contentMember(sha256(other), other));
      },
      /contradicts itself/,
    ],
    [
      'has a hostile precision',
      (_bytes, { index, contents }) => bundleOf(converted(index, { precision: '../../x' }), ...contents),
      /the hostile name "\.\.\/\.\.\/x"/,
    ],
  ];

  it.each(REFUSED)('is refused where it %s', async (_what, change, message) => {
    const { file } = await bundle({ references: ['org/one'] });
    const error = await rejected(importAs(change(await readFile(file), await membersOf(file))));
    expect([error.code, error.exitCode], error.message).toEqual(['INTEGRITY', 6]);
    expect(error.message).toMatch(message);
    expect(error.message).toContain('given.tar');
    expect(error.hint).toMatch(/bundle create|broken or hostile/);
    expect(await left(there)).toMatchObject({ models: 0, temporary: [] });
  });

  it('is told from one by the digest, before anything is written', async () => {
    const { file, digest } = await bundle();
    const modeldl = await there.open();
    const other = `sha256:${'0'.repeat(64)}`;
    const error = await rejected(modeldl.importBundle(file, { digest: other }));
    expect([error.code, error.message, error.hint]).toEqual([
      'INTEGRITY',
      expect.stringContaining(digest),
      expect.stringContaining(other),
    ]);
    expect(await left(there)).toMatchObject({ models: 0, blobs: 0 });
    expect((await rejected(modeldl.importBundle(file, { digest: 'deadbeef' }))).code).toBe('USAGE');
  });

  it('is refused when a later version made it', async () => {
    const { file } = await bundle();
    const { index, contents } = await membersOf(file);
    const error = await rejected(importAs(bundleOf({ ...index, version: 2, news: true }, ...contents)));
    expect([error.exitCode, error.message, error.hint]).toEqual([
      2,
      expect.stringContaining('version 2'),
      expect.stringContaining('update modeldl'),
    ]);
  });

  it('is refused where a hub is not here', async () => {
    const { file } = await bundle();
    const { index, contents } = await membersOf(file);
    const models = index.models.map((model) => ({ ...model, hub: 'acme' }));
    const error = await rejected(importAs(bundleOf({ ...index, models }, ...contents)));
    expect([error.code, error.hint]).toEqual(['CONFIG', expect.stringContaining('plugins')]);
  });

  it('leaves what was good of it for the next one', async () => {
    const { file } = await bundle();
    const { index, contents } = await membersOf(file);
    const last = Buffer.from(contents.at(-1)?.content ?? '');
    const damaged = bundleOf(index, ...contents.slice(0, -1), {
      ...firstOf(contents.slice(-1)),
      content: flipped(last, 0),
    });
    await rejected(importAs(damaged));
    expect(await left(there)).toMatchObject({ models: 0, blobs: 3, temporary: [] });
    expect((await importAs(await readFile(file))).writtenBytes).toBe(last.length);
    expect((await left(there)).models).toBe(2);
  });

  it('is not believed over what is known here', async () => {
    const { file } = await bundle({ references: ['org/one'] });
    const { index } = await membersOf(file);
    await importAs(await readFile(file));
    const evil = 'evil evil';
    const changed = JSON.parse(
      JSON.stringify(index).replaceAll(sha256('{"one":1}'), sha256(evil)),
    ) as BundleIndex;
    const contents = [contentMember(sha256(evil), evil), contentMember(sha256(WEIGHTS), WEIGHTS)];
    contents.sort((a, b) => (String(a.name) < String(b.name) ? -1 : 1));
    const listings = changed.listings.map((listing) => ({
      ...listing,
      files: listing.files.map((one) =>
        one.path === 'config.json' ? { ...one, digest: { algorithm: 'sha256', hex: sha256(evil) } } : one,
      ),
    }));
    const error = await rejected(importAs(bundleOf({ ...changed, listings }, ...contents)));
    expect([error.code, error.message]).toEqual([
      'INTEGRITY',
      expect.stringContaining('what its hub has said here'),
    ]);
    const unlisted = await rejected(
      importAs(bundleOf({ ...changed, listings: [], references: [] }, ...contents)),
    );
    expect([unlisted.code, unlisted.hint]).toEqual([
      'INTEGRITY',
      expect.stringContaining('modeldl remove hf:org/one@'),
    ]);
    const modeldl = await there.open();
    expect(await readFile(join((await modeldl.path('org/one')).path, 'config.json'), 'utf8')).toBe(
      '{"one":1}',
    );
  });

  it('is no file, or none at all', async () => {
    const modeldl = await there.open();
    expect((await rejected(modeldl.importBundle(join(there.directory, 'none.tar')))).exitCode).toBe(3);
    expect((await rejected(modeldl.importBundle(there.directory))).exitCode).toBe(2);
  });

  function flipped(bytes: Buffer, at: number): Buffer {
    const copy = Buffer.from(bytes);
    copy[at] = (copy[at] ?? 0) ^ 1;
    return copy;
  }

  function firstOf(contents: readonly TarMember[]): TarMember {
    const [first] = contents;
    if (first === undefined) throw new Error('Expected a content');
    return first;
  }

  function renamed(index: BundleIndex, path: string): BundleIndex {
    const models = index.models.map((model) => ({
      ...model,
      files: model.files.map((file) => (file.path === 'config.json' ? file : { ...file, path })),
    }));
    return { ...index, models };
  }

  function converted(index: BundleIndex, names: { readonly precision: string }): unknown {
    const conversion = {
      ...{
        key: 'a'.repeat(64),
        converter: 'small',
        device: 'CPU',
        settings: {},
        origin: '',
        originReference: '',
      },
      ...{ toolchain: { name: 'none', versions: {} }, seconds: 1, adjustments: [], consent: [], ...names },
    };
    return { ...index, models: index.models.map((model) => ({ ...model, conversion })) };
  }
});

describe('wheels', () => {
  const KIT = { lock: 'a'.repeat(64), python: '3.11', platform: 'linux-x86_64' };
  const wheeled = (at: Machine, kit = KIT): Toolchain => ({
    ...noToolchain,
    kit: () => Promise.resolve({ ...kit, directory: join(at.cacheDir, 'v1', 'wheels', 'none-0123456789ab') }),
    download: async (_context, folder) => {
      await writeFile(join(folder, 'a-1.0-py3-none-any.whl'), 'wheel a');
      await writeFile(join(folder, 'b-1.0-py3-none-any.whl'), 'wheel b');
      return { files: 2, bytes: 14 };
    },
  });

  it('come along when they are asked for, and lie where their toolchain looks', async () => {
    const modeldl = await here.open({ toolchain: wheeled(here) });
    await modeldl.convert('org/two', { precision: 'fp16' });
    const { file, toolchains } = await bundle(
      { references: ['org/two+fp16-cpu'], toolchains: true },
      modeldl,
    );
    expect(toolchains).toEqual([
      { name: 'none', python: KIT.python, platform: KIT.platform, files: 2, bytes: 14 },
    ]);
    const offline = await there.open({ toolchain: wheeled(there) });
    const imported = await offline.importBundle(file);
    const [kit] = imported.toolchains;
    expect(await readFile(join(kit?.directory ?? '', 'b-1.0-py3-none-any.whl'), 'utf8')).toBe('wheel b');
    expect((await offline.importBundle(file)).writtenBytes).toBe(0);
    // What was removed of it by hand comes back.
    await chmod(kit?.directory ?? '', 0o755);
    await writeFile(join(kit?.directory ?? '', 'stray'), '');
    await offline.importBundle(file);
    expect(await readdir(kit?.directory ?? '')).toHaveLength(2);
    await rot(join(kit?.directory ?? '', 'b-1.0-py3-none-any.whl'), 'wheel X');
    expect((await offline.importBundle(file)).writtenBytes).toBe('wheel b'.length);
    expect(await readFile(join(kit?.directory ?? '', 'b-1.0-py3-none-any.whl'), 'utf8')).toBe('wheel b');
    expect((await readdir(join(here.cacheDir, 'v1', 'tmp'))).length).toBe(0);
  });

  it.each([
    ['another platform', { ...KIT, platform: 'macosx-14.0-arm64' }, 'Python 3.11 on linux-x86_64'],
    ['another Python', { ...KIT, python: '3.12' }, 'here is Python 3.12'],
    ['another version', { ...KIT, lock: 'b'.repeat(64) }, 'another version of modeldl'],
  ])('of %s are refused, and models come without', async (_what, kit, message) => {
    const modeldl = await here.open({ toolchain: wheeled(here) });
    const { file } = await bundle({ references: ['org/one'], toolchain: ['none'] }, modeldl);
    const offline = await there.open({ toolchain: wheeled(there, kit) });
    const error = await rejected(offline.importBundle(file));
    expect([error.code, error.exitCode, error.message, error.hint]).toEqual([
      'TOOLCHAIN',
      9,
      expect.stringContaining(message),
      expect.stringContaining('--no-toolchains'),
    ]);
    expect(await left(there)).toMatchObject({ models: 0, blobs: 0 });
    const without = await offline.importBundle(file, { toolchains: false });
    expect([without.models.length, without.toolchains]).toEqual([1, []]);
    expect(await left(there)).toMatchObject({ models: 1, blobs: 2 });
  });

  it('are not asked for where nothing was converted', async () => {
    const modeldl = await here.open({ toolchain: wheeled(here) });
    const error = await rejected(bundle({ references: ['org/one'], toolchains: true }, modeldl));
    expect([error.code, error.hint]).toEqual([
      'USAGE',
      expect.stringContaining('`--toolchain` and one of none'),
    ]);
  });
});

describe('where a bundle may be written', () => {
  it.each([
    ['a file that is there', 'taken.tar', '--overwrite'],
    ['a directory', './', '--output models.tar'],
    ['an archive of another kind', 'models.zip', '--output models.tar'],
    ['stdout', '-', '--output models.tar'],
    ['a place inside the cache', 'cache/v1/tmp/models.tar', 'outside'],
    ['a place below a file', 'taken.tar/models.tar', 'another place'],
  ])('is not %s', async (_what, name, hint) => {
    const modeldl = await here.open();
    await writeFile(join(here.directory, 'taken.tar'), 'mine');
    const output = name.startsWith('.') || name === '-' ? name : join(here.directory, name);
    const error = await rejected(modeldl.createBundle({ output, references: ['org/one'] }));
    expect(error.hint).toContain(hint);
    expect(error.exitCode).toBe(2);
    expect(hub.requests).toEqual([]);
    expect(await readFile(join(here.directory, 'taken.tar'), 'utf8')).toBe('mine');
  });

  it('nothing is fetched under a time that is none', async () => {
    const environment = { HF_ENDPOINT: hub.endpoint, SOURCE_DATE_EPOCH: 'yesterday' };
    const modeldl = await here.open({ environment });
    const options = { output: join(here.directory, 'models.tar'), references: ['org/one'] };
    expect((await rejected(modeldl.createBundle(options))).code).toBe('CONFIG');
    expect((await rejected(modeldl.planBundle(options))).code).toBe('CONFIG');
    expect(hub.requests).toEqual([]);
  });

  it('nothing is made where one model fails', async () => {
    const modeldl = await here.open();
    const output = join(here.directory, 'models.tar');
    const created = await modeldl.createBundle({ output, references: ['org/one', 'org/none'] });
    expect(created).toMatchObject({ errors: [{ code: 'AUTH', details: { reference: 'org/none' } }] });
    await expect(stat(output)).rejects.toThrow('ENOENT');
  });

  it('says how one of several quantizations is chosen, which no option of it does', async () => {
    const file = join(here.directory, 'chat');
    await mkdir(file);
    for (const name of ['chat-Q4_K_M.gguf', 'chat-Q8_0.gguf']) await writeFile(join(file, name), name);
    const modeldl = await here.open();
    const options = { output: join(here.directory, 'models.tar'), references: ['./chat'] };
    const hint = expect.stringMatching(/`modeldl pull --quant NAME`, and name the reference/) as unknown;
    expect(await modeldl.createBundle(options)).toMatchObject({ errors: [{ hint }] });
    expect(await modeldl.planBundle(options)).toMatchObject({ errors: [{ hint }] });
    const refused = await rejected(modeldl.exportTree(['./chat'], 'out', {}));
    const planned = await rejected(modeldl.planExportTree(['./chat'], 'out', {}));
    expect([refused.hint, planned.hint]).toEqual(Array(2).fill('choose one with `--quant NAME`'));
  });

  it('says once how a file is written that was named as a model is', async () => {
    await writeFile(join(here.directory, 'none'), '');
    const modeldl = await here.open({ offline: true });
    const options = { output: join(here.directory, 'models.tar'), references: ['none'] };
    const hint = 'a file is written `./none`; otherwise run `modeldl pull hf:none` once with network';
    expect(await modeldl.createBundle(options)).toMatchObject({ errors: [{ hint }] });
    expect(await modeldl.planBundle(options)).toMatchObject({ errors: [{ hint }] });
  });

  it('nothing is made of a stored file that changed meanwhile', async () => {
    const modeldl = await here.open();
    await bundle({ references: ['org/one'] }, modeldl);
    const { path } = await modeldl.path('org/one');
    const weights = join(path, 'model.safetensors');
    await rot(weights, flippedWeights());
    const output = join(here.directory, 'damaged.tar');
    const error = await rejected(
      (await here.open({ offline: true })).createBundle({ output, references: ['org/one'] }),
    );
    expect([error.code, error.hint]).toEqual(['INTEGRITY', expect.stringContaining('modeldl verify')]);
    expect((await readdir(here.directory)).filter((name) => /damaged|^\.modeldl-/.test(name))).toEqual([]);
  });

  function flippedWeights(): Buffer {
    const bytes = Buffer.from(WEIGHTS);
    bytes[100] = 0;
    return bytes;
  }
});
