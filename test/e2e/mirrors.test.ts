/** Mirrors of a hub through the built program: who is asked, in which order, with what, and who goes on midway. */
import { createHash, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startHfHub, type HfFault, type HfHub, type HfHubOptions, type HfRepo } from '../helpers/hf-hub.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import { expectSoundStore } from '../helpers/sound-store.js';

const MiB = 1024 * 1024;
/** Longer than what is fetched in one go. */
const LARGE = randomBytes(12 * MiB);
const SMALL = '{"model_type": "bert"}';
const REPO: HfRepo = {
  id: 'org/model',
  files: { 'config.json': SMALL, 'model.safetensors': LARGE, 'vocab.txt': 'a\nb\n' },
};
const TOKEN = 'hf_tokenOfAliAndNobodyElse';
/** One connection and no waiting, so that requests can be counted. */
const PLAIN = ['--connections', '1', '--max-wait', '1ms'];

let origin: HfHub;
let mirror: HfHub;
let world: World;
const running: HfHub[] = [];

async function start(options: HfHubOptions = { repos: [REPO] }): Promise<HfHub> {
  const hub = await startHfHub(options);
  running.push(hub);
  return hub;
}

beforeEach(async () => {
  world = await createWorld();
  [origin, mirror] = [await start(), await start()];
});
afterEach(async () => {
  for (const hub of running.splice(0)) await hub.close();
  await world.remove();
});

async function configure(...mirrors: readonly string[]): Promise<void> {
  const { exitCode, stderr } = await world.run('config', 'set', 'hubs.hf.mirrors', JSON.stringify(mirrors));
  expect(exitCode, stderr).toBe(0);
}

function run(...args: readonly string[]): Promise<Run> {
  return world.runWith({ HF_ENDPOINT: origin.endpoint }, ...args);
}

function pull(...args: readonly string[]): Promise<Run> {
  return run('pull', 'hf:org/model', ...PLAIN, ...args);
}

function succeeded({ exitCode, stdout, stderr }: Run): string {
  expect(exitCode, stderr).toBe(0);
  return stdout;
}

async function expectModel(path: string): Promise<void> {
  const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
  expect(sha256(await readFile(join(path, 'model.safetensors')))).toBe(sha256(LARGE));
  expect(await readFile(join(path, 'config.json'), 'utf8')).toBe(SMALL);
  await expectSoundStore(world);
}

/** Bytes of large files that a hub gave. */
function given({ requests }: HfHub): number {
  return requests.filter(({ server }) => server === 'cdn').reduce((sum, { bytes }) => sum + bytes, 0);
}

function apiRequests({ requests }: HfHub): number {
  return requests.filter(({ url }) => url.startsWith('/api/')).length;
}

const GONE: HfFault = { kind: { reset: true } };

describe('the order', () => {
  it('is that of the list, and the hub itself last: nothing is asked of it that a mirror has', async () => {
    await configure(mirror.endpoint);
    const path = succeeded(await pull());
    await expectModel(path);
    expect(origin.requests).toEqual([]);
    expect(apiRequests(mirror)).toBe(2);
    expect(given(mirror)).toBe(LARGE.length);
    const { models } = JSON.parse(succeeded(await run('list', '--json'))) as {
      models: readonly { reference: string }[];
    };
    expect(models.map(({ reference }) => reference)).toEqual([
      `hf:org/model@${origin.commitOf('org/model')}`,
    ]);
  });

  it('has the hub where its own address is listed', async () => {
    await configure(`${origin.endpoint}/`, mirror.endpoint);
    await expectModel(succeeded(await pull()));
    expect(mirror.requests).toEqual([]);
    expect(given(origin)).toBe(LARGE.length);
  });

  it('decides what a floating reference means', async () => {
    mirror.putRepo({ ...REPO, files: { ...REPO.files, 'vocab.txt': 'older\n' } });
    await configure(mirror.endpoint);
    const { models } = JSON.parse(succeeded(await pull('--json'))) as {
      models: readonly { revision: string }[];
    };
    expect(models[0]?.revision).toBe(mirror.commitOf('org/model'));
    expect(mirror.commitOf('org/model')).not.toBe(origin.commitOf('org/model'));
  });

  it('does not matter for a pinned revision, which any of them gives', async () => {
    const pinned = origin.commitOf('org/model');
    mirror.putRepo({ id: 'org/other', files: {} });
    const empty = await start({ repos: [] });
    await configure(empty.endpoint, mirror.endpoint);
    origin.addFault(GONE);
    const run = await world.runWith(
      { HF_ENDPOINT: origin.endpoint },
      'pull',
      `hf:org/model@${pinned}`,
      ...PLAIN,
    );
    await expectModel(succeeded(run));
    expect(run.stderr).toContain(`Left the mirror ${empty.endpoint} for hf:org/model@${pinned}`);
    expect(origin.requests).toEqual([]);
  });
});

describe('a mirror that fails', () => {
  const METADATA: readonly (readonly [string, HfFault['kind']])[] = [
    ['is not there', { reset: true }],
    ['answers 503', { status: 503 }],
    ['answers 404', { status: 404, headers: { 'x-error-code': 'RepoNotFound' } }],
    ['wants a login', { status: 401, headers: { 'www-authenticate': 'Bearer realm="http://127.0.0.1:9/"' } }],
    ['answers a web page', { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>' }],
    ['answers something else', { status: 200, headers: { 'content-type': 'application/json' }, body: '[1]' }],
  ];
  it.each(METADATA)('at its listing: %s', async (_name, kind) => {
    mirror.addFault({ kind });
    await configure(mirror.endpoint);
    const run = await pull();
    await expectModel(succeeded(run));
    expect(run.stderr).toContain(`Left the mirror ${mirror.endpoint} for hf:org/model: `);
    expect(run.stderr).not.toContain(origin.endpoint);
    expect(apiRequests(origin)).toBe(2);
  });

  const BYTES: readonly (readonly [string, HfFault['kind']])[] = [
    ['404', { status: 404, headers: { 'x-error-code': 'EntryNotFound' } }],
    ['503', { status: 503 }],
    ['a login', { status: 401 }],
    ['a web page', { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>' }],
    ['other sizes', { status: 200, headers: { 'content-type': 'binary/octet-stream' }, body: 'short' }],
    ['other bytes', { corrupt: true }],
    ['nothing', { reset: true }],
  ];
  it.each(BYTES)('at its files: %s', async (_name, kind) => {
    mirror.addFault({ server: 'hub', matches: /\/resolve\/.*(json|txt)$/, kind });
    mirror.addFault({ server: 'cdn', kind });
    await configure(mirror.endpoint);
    const run = await pull('--json');
    succeeded(run);
    const [model] = (
      JSON.parse(run.stdout) as { models: readonly { path: string; downloadedBytes: number }[] }
    ).models;
    await expectModel(model?.path ?? '');
    expect(run.stderr).toContain(`Left the mirror ${mirror.endpoint} for `);
    expect(apiRequests(origin)).toBe(0);
    expect(given(origin)).toBe(LARGE.length);
  });

  it('midway is followed by the next, which goes on where it ended', async () => {
    const kept = 9 * MiB;
    mirror.addFault({ server: 'cdn', kind: { cut: kept }, times: 1 });
    mirror.addFault({ server: 'cdn', kind: { reset: true } });
    await configure(mirror.endpoint);
    const run = await pull('--json');
    succeeded(run);
    const { models } = JSON.parse(run.stdout) as {
      models: readonly { path: string; downloadedBytes: number; bytes: number }[];
    };
    await expectModel(models[0]?.path ?? '');
    expect(given(mirror)).toBe(kept);
    expect(given(origin)).toBe(LARGE.length - kept);
    expect(models[0]?.downloadedBytes).toBe(models[0]?.bytes);
    const [asked] = origin.requests.filter(({ server }) => server === 'cdn');
    expect(asked?.headers.range).toBe(`bytes=${kept}-`);
  });

  it('with wrong bytes midway is found out, and all of the file is fetched anew', async () => {
    const kept = 9 * MiB;
    mirror.addFault({
      server: 'cdn',
      kind: {
        change: (answer) => ({
          ...answer,
          status: 200,
          headers: { ...answer.headers, 'content-length': String(LARGE.length) },
          body: randomBytes(kept),
        }),
      },
      times: 1,
    });
    mirror.addFault({ server: 'cdn', kind: { reset: true } });
    await configure(mirror.endpoint);
    const run = await pull();
    await expectModel(succeeded(run));
    expect(run.stderr).toMatch(/model\.safetensors from the mirror .* does not match its digest together/);
    expect(given(origin)).toBe(LARGE.length - kept + LARGE.length);
  });

  it('of which the hub is asked no more is left for the other files as well', async () => {
    const files = Object.fromEntries(
      Array.from({ length: 100 }, (_, at) => [`part/${at}.txt`, `text ${at}`]),
    );
    origin.putRepo({ id: 'org/many', files });
    mirror.putRepo({ id: 'org/many', files });
    mirror.addFault({ server: 'hub', matches: /\/resolve\//, kind: { status: 404 } });
    await configure(mirror.endpoint);
    const run = await world.runWith({ HF_ENDPOINT: origin.endpoint }, 'pull', 'hf:org/many', ...PLAIN);
    succeeded(run);
    // As many as are asked at once may be under way when the third fails.
    expect(mirror.requests.filter(({ url }) => url.includes('/resolve/')).length).toBeLessThan(40);
    expect(run.stderr.match(/Left the mirror/g)).toHaveLength(1);
  });
});

describe('a hub that is listed first', () => {
  const files = Object.fromEntries(Array.from({ length: 6 }, (_, at) => [`part/${at}.txt`, `text ${at}`]));

  it('and was given up for some files is asked again for what no mirror has', async () => {
    origin.putRepo({ id: 'org/many', files });
    origin.addFault({ server: 'hub', matches: /\/resolve\//, kind: { status: 503 }, times: 4 });
    await configure(origin.endpoint, mirror.endpoint);
    succeeded(await run('pull', 'hf:org/many', ...PLAIN));
    expect(mirror.requests.length).toBeGreaterThan(0);
  });

  it('and cannot be reached is what the error is about, not the mirror that lacks a file', async () => {
    mirror.addFault({ server: 'hub', matches: /\/resolve\/.*json$/, kind: { status: 404 } });
    await configure(origin.endpoint, mirror.endpoint);
    await origin.close();
    const refused = await pull();
    expect([refused.exitCode, refused.stderr]).toEqual([
      5,
      expect.stringMatching(new RegExp(`error: .*${new URL(origin.endpoint).host}`)),
    ]);
  });
});

describe('when no source is left', () => {
  it('the error is that of the hub itself', async () => {
    origin.addFault(GONE);
    mirror.addFault({ kind: { status: 404 } });
    await configure(mirror.endpoint);
    const run = await pull();
    expect(run.exitCode, run.stderr).toBe(5);
    expect(run.stderr).toContain(new URL(origin.endpoint).host);
  });

  it('and the hub says that there is no such model, that is it', async () => {
    await configure(mirror.endpoint);
    const run = await world.runWith(
      { HF_ENDPOINT: origin.endpoint, HF_TOKEN: TOKEN },
      'pull',
      'hf:org/none',
      ...PLAIN,
    );
    expect([3, 4]).toContain(run.exitCode);
    expect(run.stderr).toContain('org/none');
  });

  it('what is stored is used, and told to be stale', async () => {
    await configure(mirror.endpoint);
    succeeded(await pull());
    origin.addFault(GONE);
    mirror.addFault(GONE);
    const run = await pull('--json');
    expect(JSON.parse(succeeded(run))).toMatchObject({ models: [{ stale: true, cached: true }] });
  });

  it('one mirror is enough while the hub is gone', async () => {
    origin.addFault(GONE);
    await configure(mirror.endpoint);
    await expectModel(succeeded(await pull()));
  });
});

describe('credentials', () => {
  const tokens = [{ token: TOKEN, user: 'ali' }];
  const hidden: HfRepo = { ...REPO, id: 'ali/private', privateTo: ['ali'] };

  it('go to the hub and to no mirror', async () => {
    [origin, mirror] = [await start({ repos: [hidden], tokens }), await start({ repos: [hidden], tokens })];
    await configure(mirror.endpoint);
    const run = await world.runWith(
      { HF_ENDPOINT: origin.endpoint, HF_TOKEN: TOKEN },
      'pull',
      'hf:ali/private',
      ...PLAIN,
    );
    await expectModel(succeeded(run));
    expect(mirror.requests.length).toBeGreaterThan(0);
    expect(JSON.stringify(mirror.requests)).not.toContain(TOKEN);
    expect(mirror.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
    expect(origin.requests.some(({ headers }) => headers.authorization === `Bearer ${TOKEN}`)).toBe(true);
  });

  it('are not asked for where a mirror has the files of a gated model', async () => {
    const gated: HfRepo = { ...REPO, gated: { kind: 'auto', granted: [] } };
    origin.putRepo(gated);
    await configure(origin.endpoint, mirror.endpoint);
    const refused = await pull();
    await expectModel(succeeded(refused));
    expect(given(origin)).toBe(0);
    expect(given(mirror)).toBe(LARGE.length);
  });
});

describe('what else the hub is asked', () => {
  it('whose a token is, no mirror is asked, which a failure says', async () => {
    await configure(mirror.endpoint);
    origin.addFault(GONE);
    const refused = await world.runWith(
      { HF_ENDPOINT: origin.endpoint, HF_TOKEN: TOKEN },
      'whoami',
      'hf',
      ...['--max-wait', '1ms'],
    );
    expect([refused.exitCode, refused.stderr]).toEqual([5, expect.stringContaining('mirrors are not asked')]);
    expect(mirror.requests).toEqual([]);
  });

  it('which conversions are published, mirrors are asked as well', async () => {
    const published = { 'openvino_model.xml': '<net/>', 'openvino_model.bin': 'weights' };
    mirror.putRepo({ id: 'org/Chat', files: { 'config.json': '{}', 'onnx/model.onnx': 'bytes' } });
    mirror.putRepo({ id: 'OpenVINO/Chat-int8-ov', files: published });
    await configure(mirror.endpoint);
    origin.addFault(GONE);
    const plan = await run('convert', 'org/Chat', '--dry-run', '--no-space-check', '--max-wait', '1ms');
    expect(succeeded(plan)).toContain('published  hf:OpenVINO/Chat-int8-ov');
    const taken = await run('convert', 'org/Chat', '--prebuilt', '--dry-run', '--max-wait', '1ms');
    expect(succeeded(taken)).toContain('hf:OpenVINO/Chat-int8-ov@');
    expect(origin.requests).toEqual([]);
  });
});

describe('a file without a digest', () => {
  it('is taken from the hub itself, and the user is told', async () => {
    const forget: HfFault = {
      matches: /\/tree\//,
      kind: {
        change: (answer) => {
          const entries = JSON.parse(String(answer.body)) as Record<string, unknown>[];
          const changed = entries.map(({ oid: _oid, ...entry }) => entry);
          const body = JSON.stringify(changed);
          return {
            ...answer,
            headers: { ...answer.headers, 'content-length': String(Buffer.byteLength(body)) },
            body,
          };
        },
      },
    };
    mirror.addFault(forget);
    await configure(mirror.endpoint);
    const run = await pull();
    await expectModel(succeeded(run));
    expect(run.stderr).toContain('No digest is known of ');
    expect(mirror.requests.filter(({ url }) => /resolve.*(json|txt)$/.test(url))).toEqual([]);
    expect(origin.requests.filter(({ url }) => /resolve.*(json|txt)$/.test(url))).toHaveLength(2);
    expect(given(origin)).toBe(0);
  });
});

describe('the configuration', () => {
  it('of a project is used once it is trusted', async () => {
    const file = join(world.directory, 'modeldl.config.json');
    await writeFile(file, JSON.stringify({ hubs: { hf: { mirrors: [mirror.endpoint] } } }));
    const refused = await pull();
    expect(refused.exitCode, refused.stderr).toBe(2);
    expect(refused.stderr).toContain('hubs.hf.mirrors');
    expect(mirror.requests).toEqual([]);
    succeeded(await run('config', 'trust'));
    await expectModel(succeeded(await pull()));
    expect(origin.requests).toEqual([]);
  });

  it.each([
    ['no address', 'mirror.example'],
    ['a login', 'https://ali:open-sesame@mirror.example'],
    ['another scheme', 'ftp://mirror.example'],
    ['no registry', 'oci:models'],
  ])('is refused with its key: %s', async (_name, address) => {
    await configure(address);
    const run = await pull();
    expect(run.exitCode, run.stderr).toBe(2);
    expect(run.stderr).toContain('hubs.hf.mirrors');
    expect(run.stderr).not.toContain('open-sesame');
  });

  it('is shown by `hubs`, and whether each answers with `--check`', async () => {
    const gone = await start();
    await gone.close();
    await configure(mirror.endpoint, gone.endpoint);
    const { hubs } = JSON.parse(succeeded(await run('hubs', '--check', '--json'))) as {
      hubs: readonly { name: string; mirrors: readonly { address: string; reachable: boolean | null }[] }[];
    };
    expect(hubs.find(({ name }) => name === 'hf')?.mirrors).toMatchObject([
      { address: mirror.endpoint, reachable: true, problem: null },
      { address: gone.endpoint, reachable: false },
    ]);
    const table = await run('hubs');
    expect(succeeded(table)).toContain(mirror.endpoint);
  });

  it('that cannot be read hides no other hub from `hubs`', async () => {
    await configure('mirror.example');
    const { hubs } = JSON.parse(succeeded(await run('hubs', '--json'))) as {
      hubs: readonly { name: string; mirrors: readonly unknown[] }[];
    };
    const problem = expect.stringContaining('No mirror that Hugging Face can have') as string;
    expect(hubs.find(({ name }) => name === 'hf')?.mirrors).toEqual([
      { address: 'hubs.hf.mirrors', reachable: false, problem },
    ]);
    expect(succeeded(await run('hubs'))).toContain('mirror.example');
  });

  it('opens no connection with --offline', async () => {
    await configure(mirror.endpoint);
    const run = await pull('--offline');
    expect(run.exitCode).toBe(5);
    expect(mirror.requests).toEqual([]);
    expect(origin.requests).toEqual([]);
  });
});
