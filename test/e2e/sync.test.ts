/** Lists of models and their lock, against a hub that counts what it is asked. */
import { createHash } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { startHfHub, type HfHub, type HfRepo } from '../helpers/hf-hub.js';
import { startOllamaRegistry } from '../helpers/ollama-registry.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import { startServer } from '../hubs/server.js';
import { tar } from '../transfer/make-archive.js';

const WEIGHTS = Buffer.alloc(9 * 1024 * 1024, 'weights');
const REPOS: readonly HfRepo[] = [
  {
    id: 'org/one',
    license: 'apache-2.0',
    files: { 'config.json': '{"one":1}', 'model.safetensors': WEIGHTS, 'pytorch_model.bin': 'weaker' },
  },
  { id: 'org/two', files: { 'config.json': '{"two":2}', 'model.onnx': 'two' } },
  {
    id: 'org/three',
    files: { 'config.json': '{"three":3}' },
    tags: { v1: { 'config.json': '{"three":1}' } },
  },
];

let world: World;
let hub: HfHub;

beforeEach(async () => {
  hub = await startHfHub({ repos: REPOS, tokens: [{ token: TOKEN, user: 'somebody' }] });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
});

afterEach(async () => {
  await Promise.all([world.remove(), hub.close()]);
});

const TOKEN = 'hf_secretsecretsecretsecret';
const sha256 = (bytes: string | Buffer): string => createHash('sha256').update(bytes).digest('hex');
const at = (...names: readonly string[]): string => join(world.directory, ...names);
const list = (...lines: readonly string[]): Promise<void> =>
  writeFile(at('modeldl.config.yaml'), `models:\n${lines.map((line) => `  - ${line}\n`).join('')}`);
const lockText = (): Promise<string> => readFile(at('modeldl.lock'), 'utf8');
/** Requests for anything but the bytes of files. */
const metadata = (): readonly string[] =>
  hub.requests
    .filter(({ server, url, method }) => server === 'hub' && (method !== 'GET' || !url.includes('/resolve/')))
    .map(({ url }) => url);

interface Document {
  readonly ok: boolean;
  readonly error?: { readonly code: string; readonly message: string };
  readonly errors?: readonly {
    readonly code: string;
    readonly message: string;
    readonly reference?: string;
  }[];
  readonly models: readonly {
    readonly reference: string;
    readonly path: string;
    readonly kind: string;
    readonly locked: boolean;
    readonly license: string | null;
    readonly downloadedBytes: number;
    readonly name: string | null;
  }[];
}
const documentOf = ({ stdout }: Run): Document => JSON.parse(stdout) as Document;

async function locked(...lines: readonly string[]): Promise<void> {
  await list(...lines);
  const run = await world.run('lock');
  expect(run.exitCode, run.stderr).toBe(0);
  hub.clearRequests();
}

/** The lock as an attacker's project has it. */
async function forge(change: (lock: { models: Forged[] }) => void): Promise<void> {
  const lock = JSON.parse(await lockText()) as { models: Forged[] };
  change(lock);
  await writeFile(at('modeldl.lock'), JSON.stringify(lock));
}

interface Forged {
  id: string;
  revision: string;
  license?: string;
  files: { path: string; size?: number; digest?: string; url?: string; leftOut?: boolean }[];
}

describe('modeldl sync', () => {
  it('brings in every model of the list, and prints their paths in its order', async () => {
    await list('hf:org/two', 'org/one', '{name: org/three, hub: huggingface, revision: v1}');
    const run = await world.run('sync');
    expect(run.exitCode, run.stderr).toBe(0);
    const [two = '', one = '', three = ''] = run.stdout.split('\n');
    expect(await readFile(join(two, 'model.onnx'), 'utf8')).toBe('two');
    expect((await readdir(one)).sort()).toEqual(['config.json', 'model.safetensors']);
    expect(await readFile(join(three, 'config.json'), 'utf8')).toBe('{"three":1}');
    expect((await world.run('path', 'org/one')).stdout).toBe(one);
  });

  it('asks nobody for pinned revisions that are stored', async () => {
    await list(`org/one@${hub.commitOf('org/one')}`, `org/two@${hub.commitOf('org/two')}`);
    await world.run('sync');
    hub.clearRequests();
    const run = await world.run('sync', '--json');
    expect(documentOf(run).models.map(({ downloadedBytes }) => downloadedBytes)).toEqual([0, 0]);
    expect(hub.requests).toEqual([]);
  });

  it('finishes the others when one fails, and tells each reason', async () => {
    await list('org/missing', 'org/two', 'org/three@v9');
    const run = await world.run('sync', '--json');
    expect(run.exitCode).toBe(11);
    const { ok, models, errors } = documentOf(run);
    expect(ok).toBe(false);
    expect(models.map(({ reference }) => reference)).toEqual([`hf:org/two@${hub.commitOf('org/two')}`]);
    expect(errors?.map(({ code, reference }) => [code, reference])).toEqual([
      ['AUTH', 'org/missing'],
      ['NOT_FOUND', 'org/three@v9'],
    ]);
    const text = await world.run('sync');
    expect(text.stdout.split('\n')).toHaveLength(1);
    expect(text.stderr).toContain('org/missing');
    expect(text.stderr).toContain('v9');
  });

  it('only tells with --dry-run', async () => {
    await list('org/one', 'org/two');
    const run = await world.run('sync', '--dry-run');
    expect(run.exitCode, run.stderr).toBe(0);
    expect(run.stdout).toContain('9.0 MiB to fetch');
    expect((await world.run('list', '--quiet')).stdout).toBe('');
  });

  it('writes copies where entries say, and nowhere outside the project', async () => {
    await list('{reference: org/two, output: models/two}');
    expect((await world.run('sync')).stdout).toBe(at('models/two'));
    expect(await readFile(at('models/two/model.onnx'), 'utf8')).toBe('two');
    const project = at('project');
    await mkdir(project);
    await symlink(world.directory, join(project, 'link'));
    for (const output of ['../two', '/tmp/two', 'link/two', '.']) {
      await writeFile(
        join(project, 'modeldl.config.json'),
        JSON.stringify({ models: [{ reference: 'org/two', output }] }),
      );
      const inside = await createWorldIn(project);
      const run = await inside('sync');
      expect([run.exitCode, run.stderr.includes('leads out of the project')], output).toEqual([2, true]);
    }
  });

  it('writes no part of a repository of models through a link that leads out of the project', async () => {
    const graph = { 'openvino_model.xml': '<net/>', 'openvino_model.bin': 'weights' };
    const text = { 'openvino_tokenizer.xml': '<net/>', 'openvino_detokenizer.xml': '<net/>' };
    const files = { 'config.json': '{}', 'openvino_config.json': '{"dtype":"int8"}', ...graph, ...text };
    hub.putRepo({ id: 'OpenVINO/Chat-int8-ov', files });
    const project = at('project');
    for (const directory of ['outside', 'project/served', 'project/linked', 'project/settings'])
      await mkdir(at(directory), { recursive: true });
    await writeFile(at('outside/settings.json'), '{}');
    await symlink(at('outside'), join(project, 'served/out'));
    await symlink(at('outside/settings.json'), join(project, 'linked/config.json'));
    await symlink('../settings', join(project, 'served/in'));
    const sync = async (output: string, name: string): Promise<Run> => {
      const entry = { reference: 'openvino:Chat-int8-ov', precision: 'int8', layout: 'ovms', output, name };
      await writeFile(join(project, 'modeldl.config.json'), JSON.stringify({ models: [entry] }));
      return (await createWorldIn(project))('sync');
    };
    for (const [output, name] of [
      ['served', 'out/model'],
      ['linked', 'model'],
    ] as const) {
      const run = await sync(output, name);
      expect([run.exitCode, run.stderr.includes('A link leads out of ')], run.stderr).toEqual([2, true]);
    }
    expect(await readdir(at('outside'))).toEqual(['settings.json']);
    expect(await readFile(at('outside/settings.json'), 'utf8')).toBe('{}');
    const good = await sync('served', 'in/model');
    expect(good.exitCode, good.stderr).toBe(0);
    expect(good.stdout).toMatch(/\/served\/in\/model$/);
  });

  it('goes on where it was stopped', async () => {
    await list('org/one', 'org/two');
    const isLarge = new RegExp(sha256(WEIGHTS));
    hub.addFault({ server: 'cdn', matches: isLarge, kind: { stall: 5 * 1024 * 1024 } });
    const started = world.start({}, 'sync', '--connections', '1', '--progress', 'json');
    await started.said(`"receivedBytes":${5 * 1024 * 1024}`);
    started.signal('SIGINT');
    expect((await started.done).exitCode).toBe(130);
    hub.clearFaults();
    hub.clearRequests();
    const run = await world.run('sync', '--json');
    expect(run.exitCode, run.stderr).toBe(0);
    expect(documentOf(run).models[0]?.downloadedBytes).toBeLessThan(5 * 1024 * 1024);
  });

  it('brings parts of one model in one after the other, without waiting for itself as for another process', async () => {
    await list(
      'org/one',
      '{reference: org/one, include: ["*.json"]}',
      '{reference: org/one, include: ["*.safetensors"]}',
    );
    const run = await world.run('sync', '--max-wait', '1ms');
    expect([run.exitCode, run.stderr]).toEqual([0, expect.not.stringContaining('Waiting for')]);
    expect(run.stdout.split('\n')).toHaveLength(3);
    expect(
      hub.requests.filter(({ url, server }) => server === 'hub' && url.endsWith('.safetensors')),
    ).toHaveLength(1);
  });

  it('is safe beside another: both end well, and each byte is fetched once', async () => {
    await list('org/one', 'org/two', 'org/three');
    const runs = await Promise.all([world.run('sync'), world.run('sync')]);
    expect(runs.map(({ exitCode }) => exitCode)).toEqual([0, 0]);
    expect(runs[0].stdout).toBe(runs[1].stdout);
    const fetched = hub.requests
      .filter(({ server }) => server === 'cdn')
      .reduce((sum, { bytes }) => sum + bytes, 0);
    expect(fetched).toBeLessThan(WEIGHTS.length * 1.5);
  });

  for (const [what, lines, message] of [
    ['an unknown key', ['{reference: org/two, precison: int8}'], 'models.0.precison'],
    ['a hub that is none', ['{name: org/two, hub: hugginface}'], 'nearest known one is `huggingface`'],
    ['no hub', ['{name: org/two}'], '`models.0.hub` is missing'],
    ['a revision twice', ['{reference: org/two@main, revision: main}'], 'beside `reference`'],
    ['a token', ['{reference: org/two, settings: {token: abc}}'], 'must not hold a token'],
    ['a wrong type', ['{reference: org/two, include: x}'], 'models.0.include'],
    ['a stored conversion', ['org/two+int8-cpu'], 'names a stored conversion'],
    ['a precision that is none', ['{reference: org/two, precision: int9}'], 'Unknown precision: int9'],
    ['a malformed reference', ['a/b/c/d'], 'neither `name`'],
  ] as const) {
    it(`refuses ${what}, and asks nobody`, async () => {
      await list(...lines);
      const run = await world.run('sync');
      expect([run.exitCode, run.stderr], run.stderr).toEqual([2, expect.stringContaining(message)]);
      expect(hub.requests).toEqual([]);
    });
  }

  it('says what to write where nothing is listed', async () => {
    const run = await world.run('sync');
    expect(run.exitCode).toBe(2);
    expect(run.stderr).toContain('`models`');
    expect((await world.run('sync', 'org/one')).exitCode).toBe(2);
  });
});

describe('modeldl lock', () => {
  it('writes revisions, sizes and digests by what the hub lists, and fetches no file', async () => {
    await list('org/two', 'org/one');
    const run = await world.run('lock');
    expect(run.exitCode, run.stderr).toBe(0);
    expect(run.stdout).toBe(at('modeldl.lock'));
    expect(hub.requests.filter(({ url }) => url.includes('/resolve/'))).toEqual([]);
    const text = await lockText();
    expect(text).toContain(
      `{ "path": "model.safetensors", "size": ${WEIGHTS.length}, "digest": "sha256:${sha256(WEIGHTS)}" }`,
    );
    expect(text).toContain('"path": "config.json", "size": 9, "digest": "git-sha1:');
    expect(text).toMatch(/"path": "pytorch_model.bin".*"leftOut": true/);
    expect(text).not.toContain(hub.endpoint);
    expect(text.indexOf('org/one')).toBeLessThan(text.indexOf('org/two'));
  });

  it('is the same text for the same models, whatever their order, and says so', async () => {
    await locked('org/two', 'org/one');
    const before = await lockText();
    await list('org/one', 'org/two');
    const run = await world.run('lock', '--json');
    expect(JSON.parse(run.stdout)).toMatchObject({
      written: false,
      models: [{ change: 'same' }, { change: 'same' }],
    });
    expect(await lockText()).toBe(before);
  });

  it('tells what changes, and with --dry-run only tells', async () => {
    await locked('org/two', 'org/three');
    const before = await lockText();
    hub.putRepo({ id: 'org/two', files: { 'config.json': '{"two":3}', 'model.onnx': 'two' } });
    await list('org/two', 'org/one');
    const run = await world.run('lock', '--dry-run');
    expect(run.stdout).toMatch(/changed {2}hf:org\/two@/);
    expect(run.stdout).toMatch(/new {6}hf:org\/one@/);
    expect(run.stdout).toContain('removed  hf:org/three');
    expect(await lockText()).toBe(before);
  });

  it('writes nothing when a model fails', async () => {
    await list('org/two', 'org/missing');
    const run = await world.run('lock');
    expect(run.exitCode).toBe(4);
    await expect(lockText()).rejects.toThrow('ENOENT');
  });

  it('holds the revisions for sync until it is written anew', async () => {
    await locked('org/two');
    const before = hub.commitOf('org/two');
    hub.putRepo({ id: 'org/two', files: { 'config.json': '{"two":3}', 'model.onnx': 'new' } });
    const run = await world.run('sync', '--json');
    expect(documentOf(run).models).toMatchObject([{ reference: `hf:org/two@${before}`, locked: true }]);
    await world.run('lock');
    expect(documentOf(await world.run('sync', '--json')).models[0]?.reference).toBe(
      `hf:org/two@${hub.commitOf('org/two')}`,
    );
  });

  it('locks web addresses and local files by their bytes', async () => {
    await writeFile(at('model.onnx'), 'local');
    await locked('./model.onnx');
    const text = await lockText();
    expect(text).toContain(sha256('local'));
    expect(text).not.toContain(world.directory);
    expect((await world.run('sync', '--frozen')).exitCode).toBe(0);
    await writeFile(at('model.onnx'), 'other');
    const run = await world.run('sync', '--frozen');
    expect([run.exitCode, run.stderr]).toEqual([
      6,
      expect.stringContaining('./model.onnx is not what the lock says'),
    ]);
  });
});

describe('modeldl sync --frozen', () => {
  it('asks for bytes alone on a machine that knows nothing, and for nothing the second time', async () => {
    await locked(
      'org/one',
      'org/two',
      '{reference: org/three, revision: v1}'.replace(
        'reference: org/three, revision: v1',
        'name: org/three, hub: hf, revision: v1',
      ),
    );
    await rm(world.cacheDir, { recursive: true });
    const run = await world.run('sync', '--frozen', '--json');
    expect(run.exitCode, run.stderr).toBe(0);
    expect(metadata()).toEqual([]);
    expect(hub.requests.length).toBeGreaterThan(0);
    const { models } = documentOf(run);
    expect(models.map(({ locked: isLocked }) => isLocked)).toEqual([true, true, true]);
    expect(models[0]?.license).toBe('apache-2.0');
    const [one] = models;
    expect((await readFile(join(one?.path ?? '', 'model.safetensors'))).equals(WEIGHTS)).toBe(true);
    hub.clearRequests();
    const again = await world.run('sync', '--frozen', '--json');
    expect(documentOf(again).models.map(({ path }) => path)).toEqual(models.map(({ path }) => path));
    expect(hub.requests).toEqual([]);
    expect((await world.run('path', 'org/one', '--offline')).stdout).toBe(one?.path);
    const verified = await world.run('verify');
    expect(verified.exitCode, verified.stderr).toBe(0);
  });

  it('is known by its hub after the next pull, with its licence, and that fetches nothing', async () => {
    await locked('org/one');
    await rm(world.cacheDir, { recursive: true });
    await world.run('sync', '--frozen');
    hub.clearRequests();
    const pulled = await world.run('pull', 'org/one', '--json');
    expect(documentOf(pulled).models).toMatchObject([{ downloadedBytes: 0, license: 'apache-2.0' }]);
    expect(metadata().length).toBeGreaterThan(0);
    hub.clearRequests();
    await world.run('pull', `org/one@${hub.commitOf('org/one')}`);
    expect(hub.requests).toEqual([]);
  });

  it('names every difference between list and lock, and asks nobody', async () => {
    await locked('org/one', 'org/two');
    await list('{reference: org/one, include: ["*.json"]}', 'org/three');
    const run = await world.run('sync', '--frozen', '--json');
    expect(run.exitCode).toBe(2);
    const messages = documentOf(run).errors?.map(({ message }) => message) ?? [];
    expect(messages).toHaveLength(3);
    expect(messages.join('\n')).toContain('include differ');
    expect(messages.join('\n')).toContain('The lock does not hold hf:org/three');
    expect(messages.join('\n')).toContain('hf:org/two, which the list does not');
    expect(hub.requests).toEqual([]);
  });

  it('goes on after bytes that were fetched before it was stopped', async () => {
    const shards = { 'a.safetensors': WEIGHTS, 'b.safetensors': Buffer.alloc(9 * 1024 * 1024, 'more') };
    hub.putRepo({ id: 'org/shards', files: shards });
    await locked('org/shards');
    await rm(world.cacheDir, { recursive: true });
    hub.addFault({
      server: 'cdn',
      matches: new RegExp(sha256(shards['b.safetensors'])),
      kind: { stall: 1024 },
      times: 100,
    });
    const started = world.start({}, 'sync', '--frozen', '--progress', 'json');
    await started.said('"file-done"');
    started.signal('SIGINT');
    expect((await started.done).exitCode).toBe(130);
    hub.clearFaults();
    hub.clearRequests();
    const run = await world.run('sync', '--frozen');
    expect(run.exitCode, run.stderr).toBe(0);
    expect(hub.requests.filter(({ url }) => url.includes('a.safetensors'))).toEqual([]);
  });

  const eachFile =
    (change: (file: Forged['files'][number]) => void) =>
    ({ models }: { models: Forged[] }): void => {
      for (const { files } of models) files.forEach(change);
    };
  const address = (url: string) => eachFile((file) => (file.url = url));
  const model =
    (change: Partial<Forged>) =>
    (lock: { models: Forged[] }): void => {
      for (const one of lock.models) Object.assign(one, change);
    };

  for (const [what, change, code, message] of [
    [
      'bytes that are others',
      eachFile((file) => (file.digest = `sha256:${'0'.repeat(64)}`)),
      6,
      'do not match their digest',
    ],
    ['a path out of the tree', eachFile((file) => (file.path = `../../${file.path}`)), 6, '`..` segment'],
    ['another model', model({ id: 'org/evil' }), 2, 'The lock has hf:org/evil@'],
    [
      'a revision that is a path',
      model({ revision: '../../evil/model/resolve/main' }),
      2,
      'its revision is a path',
    ],
    ['a revision that is no commit', model({ revision: 'main' }), 2, 'it tells no address'],
    ['an address beyond the endpoint', address('{endpoint}/../../x'), 2, 'leaves the endpoint'],
    ['one that is written otherwise', address('{endpoint}/x/%2E%2e/x'), 2, 'leaves the endpoint'],
    ['an address without encryption', address('http://192.0.2.1/x'), 2, 'Not encrypted'],
    ['an address of files of this machine', address('file:///etc/passwd'), 2, 'no web address'],
    [
      'an address without a digest',
      eachFile((file) => {
        file.url = 'https://host.invalid/x';
        delete file.digest;
      }),
      2,
      'not what its digest is',
    ],
    ['an address with a login', address('https://a:b@host.invalid/x'), 2, 'without a login'],
  ] as const) {
    it(`refuses a lock with ${what}`, async () => {
      await locked('org/two');
      await rm(world.cacheDir, { recursive: true });
      await forge(change);
      const run = await world.run('sync', '--frozen');
      expect([run.exitCode, run.stderr], run.stderr).toEqual([code, expect.stringContaining(message)]);
      expect((await world.run('list', '--quiet')).stdout).toBe('');
      expect(metadata()).toEqual([]);
    });
  }

  it('believes no digest that other bytes here have: they are fetched from the hub, and prove the lock wrong', async () => {
    // A project brings its bytes into the store under its own name, and claims that a known model has them.
    await writeFile(at('evil.onnx'), 'evil');
    await locked('./evil.onnx', 'org/two');
    await rm(world.cacheDir, { recursive: true });
    await forge(({ models }) => {
      for (const { id, files } of models) {
        if (id !== 'org/two') continue;
        for (const file of files)
          if (file.path === 'model.onnx')
            Object.assign(file, { size: 4, digest: `sha256:${sha256('evil')}` });
      }
    });
    await world.run('pull', './evil.onnx');
    const run = await world.run('sync', '--frozen', '--json');
    expect(run.exitCode).toBe(11);
    expect(documentOf(run).errors).toMatchObject([{ code: 'INTEGRITY', reference: 'org/two' }]);
    expect((await world.run('path', `org/two@${hub.commitOf('org/two')}`)).exitCode).toBe(3);
  });

  it('keeps what only the lock lists apart from the model of that name', async () => {
    await locked('org/two');
    await rm(world.cacheDir, { recursive: true });
    const evil = await startHfHub({ repos: [{ id: 'evil/evil', files: { 'model.onnx': 'evil' } }] });
    onTestFinished(() => evil.close());
    const token = { HF_TOKEN: TOKEN };
    await forge(({ models }) => {
      for (const file of models[0]?.files ?? []) {
        if (file.path !== 'model.onnx') continue;
        Object.assign(file, {
          size: 4,
          digest: `sha256:${sha256('evil')}`,
          url: `${evil.endpoint}/evil/evil/resolve/${evil.commitOf('evil/evil')}/model.onnx`,
        });
      }
    });
    const run = await world.runWith(token, 'sync', '--frozen');
    expect(run.exitCode, run.stderr).toBe(0);
    expect(await readFile(join(run.stdout, 'model.onnx'), 'utf8')).toBe('evil');
    expect(evil.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
    const pinned = `org/two@${hub.commitOf('org/two')}`;
    expect((await world.run('path', pinned)).exitCode).toBe(3);
    const [exact = ''] = (await world.run('list', '--quiet')).stdout.split('\n');
    expect((await world.run('path', pinned)).stderr).toContain(exact);
    expect((await world.run('path', exact)).stdout).toBe(run.stdout);
    expect((await world.run('sync', '--frozen', '--offline')).stdout).toBe(run.stdout);
    expect((await world.run('pull', pinned, '--offline')).exitCode).toBe(5);
    const pulled = await world.run('pull', pinned);
    expect(await readFile(join(pulled.stdout, 'model.onnx'), 'utf8')).toBe('two');
  });

  it.each([
    ['npm:package@1.0.0', 'npm', 'package', ['2.0.0'], ['1.0.0']],
    ['npm:package@^1', 'npm', 'package', [], ['1.2.0']],
    ['npm:package@latest', 'npm', 'package', [], ['1.2.0']],
    [
      'pypi:package@1.0',
      'pypi',
      'package',
      ['2.0', '1.0.1'],
      ['1.0.0', '1.0/package-1.0-cp312-cp312-linux.whl'],
    ],
    ['pypi:package@>=1,<2', 'pypi', 'package', ['2.0'], ['1.9']],
    ['ultralytics:yolo11n@v8.3.0', 'ultralytics', 'yolo11n', ['v8.4.0'], ['v8.3.0']],
    ['omz:aclnet@2024.6.0', 'omz', 'aclnet', ['0'.repeat(40)], []],
    [`ollama:one:1b@sha256:${'1'.repeat(64)}`, 'ollama', 'one:1b', ['2'.repeat(64)], ['1'.repeat(64)]],
    [
      `oci:host.invalid/one@sha256:${'1'.repeat(64)}`,
      'oci',
      'host.invalid/one',
      ['2'.repeat(64)],
      ['1'.repeat(64)],
    ],
  ] as const)(
    'takes no other revision for %s than that can be',
    async (reference, name, id, others, alike) => {
      await list(`"${reference}"`);
      const revisions = [...others, ...alike];
      const refused: boolean[] = [];
      for (const revision of revisions) {
        const models = [{ asked: { reference }, reference, hub: name, id, revision, files: [{ path: 'a' }] }];
        await writeFile(at('modeldl.lock'), JSON.stringify({ version: 1, models }));
        const run = await world.run('sync', '--offline');
        refused.push(run.exitCode === 2 && run.stderr.includes('The lock has'));
      }
      expect(refused).toEqual(revisions.map((_revision, index) => index < others.length));
    },
  );

  it('refuses a lock whose pin of a web address is of other bytes', async () => {
    const server = await startServer(() => ({ body: 'evil' }));
    onTestFinished(() => server.close());
    await locked(`${server.origin}/model.onnx`);
    await rm(world.cacheDir, { recursive: true });
    const pin = sha256('good');
    await forge((lock) => {
      lock.models.forEach((one) => (one.revision = pin));
    });
    const run = await world.run('sync', '--frozen');
    expect([run.exitCode, run.stderr]).toEqual([2, expect.stringContaining('which is another')]);
    expect((await world.run('path', `${server.origin}/model.onnx#sha256=${pin}`)).exitCode).toBe(3);
  });

  it('keeps apart what two locks list of one revision, though sizes are alike', async () => {
    const archive = (text: string): Buffer => gzipSync(tar([{ name: 'net.py', content: Buffer.from(text) }]));
    const server = await startServer((_request, path) => ({ body: archive(path.slice(1)) }));
    onTestFinished(() => server.close());
    await list('omz:yolox-tiny');
    const lockOf = (text: string): string =>
      JSON.stringify({
        version: 1,
        models: [
          {
            asked: { reference: 'omz:yolox-tiny' },
            reference: 'omz:yolox-tiny@2024.6.0',
            hub: 'omz',
            id: 'yolox-tiny',
            revision: '2024.6.0',
            files: [
              {
                path: 'net.tar.gz',
                digest: `sha256:${sha256(archive(text))}`,
                url: `${server.origin}/${text}`,
                unpack: { format: 'tar.gz' },
              },
            ],
            members: [{ path: 'net.py', bytes: 4, archive: 'net.tar.gz' }],
          },
        ],
      });
    for (const text of ['evil', 'good']) {
      await writeFile(at('modeldl.lock'), lockOf(text));
      const run = await world.run('sync', '--frozen');
      expect(run.exitCode, run.stderr).toBe(0);
      expect(await readFile(join(run.stdout, 'net.py'), 'utf8')).toBe(text);
    }
  });

  it('takes a lock that lists too little for what it is, once the hub is asked', async () => {
    await locked('org/two');
    await rm(world.cacheDir, { recursive: true });
    await forge(({ models }) => models[0]?.files.splice(0, 1));
    expect((await world.run('sync', '--frozen')).exitCode).toBe(0);
    const pulled = await world.run('pull', 'org/two');
    expect((await readdir(pulled.stdout)).sort()).toEqual(['config.json', 'model.onnx']);
  });

  it('compares the lock with a listing that is stored', async () => {
    await locked('org/two');
    await world.run('sync');
    await forge(({ models }) => models[0]?.files.splice(0, 1));
    const run = await world.run('sync', '--frozen');
    expect([run.exitCode, run.stderr]).toEqual([6, expect.stringContaining('config.json is new')]);
  });

  for (const [what, text, message] of [
    ['a merge conflict', '{\n<<<<<<< HEAD\n}', 'merge conflict at line 2'],
    ['a later version', '{"version": 2, "models": []}', 'has version 2, and this modeldl reads 1'],
    ['no JSON', '{"version": 1,', 'it is no JSON'],
    ['what is no lock, which is not shown', 'first line\nsecond', "it is no JSON: Unexpected token 'i': /"],
    ['an unknown key', '{"version": 1, "models": [], "more": 1}', 'more'],
  ] as const) {
    it(`refuses a lock with ${what}`, async () => {
      await list('org/two');
      await writeFile(at('modeldl.lock'), text);
      const run = await world.run('sync', '--frozen');
      expect([run.exitCode, run.stderr]).toEqual([2, expect.stringContaining(message)]);
      expect(run.stderr).toContain('modeldl lock');
    });
  }

  it('says what to do about files that are gone from their hub', async () => {
    await locked('org/two');
    await rm(world.cacheDir, { recursive: true });
    hub.addFault({ matches: /model\.onnx/, kind: { status: 404 } });
    const run = await world.run('sync', '--frozen');
    expect([run.exitCode, run.stderr]).toEqual([3, expect.stringContaining('`modeldl lock` writes it anew')]);
  });

  it('needs a lock, and takes no --refresh', async () => {
    await list('org/two');
    expect((await world.run('sync', '--frozen')).stderr).toContain('There is no lock');
    expect((await world.run('sync', '--frozen', '--refresh')).exitCode).toBe(2);
  });
});

describe('a startup list of the microservice', () => {
  it('is brought in, laid out below --output, locked beside itself, and frozen from a registry too', async () => {
    const bytes = Buffer.from('GGUF weights');
    const registry = await startOllamaRegistry({
      models: [
        {
          name: 'library/llama3.2:1b',
          config: { model_format: 'gguf', model_type: '1.2B', file_type: 'Q8_0' },
          layers: [{ kind: 'model', bytes }],
        },
      ],
    });
    onTestFinished(() => registry.close());
    const user = at('.config/modeldl');
    await mkdir(user, { recursive: true });
    const hubs = { ollama: { endpoint: registry.endpoint } };
    await writeFile(join(user, 'config.json'), JSON.stringify({ hubs }));
    await writeFile(
      at('startup.yaml'),
      'download_path: chat\nparallel_downloads: true\nmodels:\n' +
        '  - {name: org/two, hub: HuggingFace, type: llm}\n  - {name: llama3.2, hub: ollama, revision: 1b}\n',
    );
    const first = await world.run('sync', '--file', 'startup.yaml', '-o', 'opt');
    expect(first.exitCode, first.stderr).toBe(0);
    expect(first.stdout.split('\n')).toEqual([
      at('opt/chat/huggingface/org_two'),
      at('opt/chat/ollama/llama3.2/1b'),
    ]);
    expect(await readFile(at('opt/chat/huggingface/org_two/model.onnx'), 'utf8')).toBe('two');
    expect(first.stderr).toContain('not used, since nothing is converted: type');
    expect((await world.run('lock', '--file', 'startup.yaml')).stdout).toBe(at('startup.lock'));
    expect(await readFile(at('startup.lock'), 'utf8')).not.toContain(registry.endpoint);
    await rm(world.cacheDir, { recursive: true });
    const before = registry.asked().length;
    const frozen = await world.run('sync', '--file', 'startup.yaml', '--frozen');
    expect(frozen.exitCode, frozen.stderr).toBe(0);
    const asked = registry.asked().slice(before);
    expect(asked.length).toBeGreaterThan(0);
    expect(asked.filter((request) => request.includes('/manifests/'))).toEqual([]);
    const [, model = ''] = frozen.stdout.split('\n');
    const [weights = ''] = (await readdir(model)).filter((name) => name.endsWith('.gguf'));
    expect(await readFile(join(model, weights))).toEqual(bytes);
  });

  it('is refused by name where something of it has no counterpart, before anything is asked', async () => {
    await writeFile(
      at('startup.json'),
      JSON.stringify({
        download_path: 'x',
        models: [{ name: 'org/two', hub: 'huggingface', config: { quantize: 'coco8' } }],
      }),
    );
    const run = await world.run('sync', '--file', 'startup.json', '--json');
    expect(run.exitCode).toBe(2);
    expect(documentOf(run).error?.message).toContain('`models.0.config.quantize` has no counterpart');
    expect(hub.requests).toEqual([]);
  });
});

/** Runs in a project directory of its own, with its own home, so that its file is a project's. */
async function createWorldIn(directory: string): Promise<(...args: readonly string[]) => Promise<Run>> {
  const inner = await createWorld({ HF_ENDPOINT: hub.endpoint });
  onTestFinished(() => inner.remove());
  await cp(directory, inner.directory, { recursive: true, verbatimSymlinks: true });
  return (...args) => inner.run(...args);
}
