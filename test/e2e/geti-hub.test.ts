/** Models of Geti through the built program, from local servers of both generations. */
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { objectId, startGeti, TOKEN, uuid, type Geti, type GetiOptions } from '../helpers/geti.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import { selfSigned } from '../transfer/certificate.js';

const files = (text: string) => ({
  'model/model.xml': `<net name="${text}"/>`,
  'model/model.bin': `weights of ${text}`,
  'README.md': 'how to run it',
});
const project = (text: string): GetiOptions['projects'][number] => ({
  name: 'shop',
  models: [
    {
      name: 'SSD',
      versions: [
        {
          created: '2026-01-05T10:00:00+00:00',
          variants: [
            { format: 'OpenVINO', precision: 'FP16', files: files(`fp16 ${text}`) },
            { format: 'OpenVINO', precision: 'INT8', files: files(`int8 ${text}`) },
          ],
        },
      ],
    },
    { name: 'YOLOX', versions: [] },
  ],
});
const PROJECTS = [project('as trained')];

let server: Geti;
let world: World;

beforeEach(async () => {
  world = await createWorld();
});
afterEach(async () => {
  await world.remove();
  await server.close();
});

async function start(generation: 2 | 3, more: Partial<GetiOptions> = {}): Promise<void> {
  server = await startGeti({
    generation,
    projects: PROJECTS,
    ...(generation === 2 ? { token: TOKEN } : {}),
    ...more,
  });
}

function environment(more: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  return { GETI_HOST: server.endpoint, GETI_TOKEN: TOKEN, ...more };
}

/** Retries would only wait. */
function pull(...args: readonly string[]): Promise<Run> {
  return world.runWith(environment(), 'pull', ...args, '--max-wait', '1ms');
}

async function pulled(...args: readonly string[]): Promise<string> {
  const run = await pull(...args);
  expect(run.exitCode, run.stderr).toBe(0);
  return run.stdout;
}

function weights(directory: string): Promise<string> {
  return readFile(join(directory, 'model', 'model.bin'), 'utf8');
}

describe.each([2, 3] as const)('models of Geti %s.x', (generation) => {
  const idOf = generation === 2 ? objectId : uuid;
  const half = idOf('shop/SSD/1/openvino-fp16');

  it('are unpacked, found by every name they have, and asked for once', async () => {
    await start(generation);
    const directory = await pulled('geti:shop/SSD');
    expect((await readdir(directory)).sort()).toEqual(['README.md', 'model']);
    expect(await weights(directory)).toBe('weights of fp16 as trained');
    const list = await world.run('list', '--quiet');
    expect(list.stdout).toBe(`geti:shop/SSD@${half}//openvino-fp16`);
    const before = server.asked().length;
    expect(await pulled(list.stdout)).toBe(directory);
    expect(server.asked()).toHaveLength(before);
    for (const text of ['geti:shop/SSD', list.stdout])
      expect((await world.runWith(environment(), 'path', text)).stdout).toBe(directory);
    expect(await pull('geti:SHOP/ssd', '--offline')).toMatchObject({ exitCode: 5 });
    expect(await pulled('geti:shop/SSD', '--offline')).toBe(directory);
    const shown = await world.runWith(environment(), 'show', 'geti:shop/SSD', '--json');
    expect(JSON.parse(shown.stdout)).toMatchObject({ ok: true });
    expect(await world.run('verify')).toMatchObject({ exitCode: 0 });
    const removed = await world.runWith(environment(), 'remove', 'geti:shop/SSD', '-y');
    expect(removed.exitCode, removed.stderr).toBe(0);
    expect((await world.run('list', '--quiet')).stdout).toBe('');
  });

  it('are several beside each other, one for each variant and part', async () => {
    await start(generation);
    const int8 = await pulled(generation === 2 ? 'geti:shop/SSD@1//int8' : 'geti:shop/SSD//int8');
    const fp16 = await pulled('geti:shop/SSD');
    expect(await weights(int8)).toBe('weights of int8 as trained');
    expect(await weights(fp16)).toBe('weights of fp16 as trained');
    const file = await pulled('geti:shop/SSD//openvino-int8/model/model.bin');
    expect(await readFile(file, 'utf8')).toBe('weights of int8 as trained');
    const folder = await pulled('geti:shop/SSD//int8/model');
    expect((await readdir(folder)).sort()).toEqual(['model.bin', 'model.xml']);
  });

  it('are what came first: other bytes under one id are refused until they are asked for', async () => {
    await start(generation);
    const directory = await pulled('geti:shop/SSD');
    // 3.x packs its archives anew for each request.
    expect(await pulled('geti:shop/SSD', '--force')).toBe(directory);
    server.set([project('by somebody else')]);
    const pinned = `geti:shop/SSD@${half}//openvino-fp16`;
    for (const text of ['geti:shop/SSD', pinned]) {
      const run = await pull(text, '--force');
      expect(run.exitCode, run.stderr).toBe(6);
      expect(run.stderr).toContain('in openvino-fp16.zip is not what was first pulled');
      expect(run.stderr).toContain('modeldl pull --refresh --force');
    }
    expect(await weights(directory)).toBe('weights of fp16 as trained');
    expect(await weights(await pulled('--refresh', '--force', pinned))).toBe(
      'weights of fp16 by somebody else',
    );
    expect(await world.run('verify')).toMatchObject({ exitCode: 0 });
  });

  it('are locked by what their archives hold, and frozen at it', async () => {
    await start(generation);
    const run = (...args: readonly string[]): Promise<Run> =>
      world.runWith(environment(), ...args, '--max-wait', '1ms');
    const list = (text: string): Promise<void> =>
      writeFile(join(world.directory, 'modeldl.config.yaml'), `models: ['${text}']`);
    await list('geti:shop/SSD');
    const lock = await run('lock');
    expect(lock.exitCode, lock.stderr).toBe(0);
    expect((await run('lock')).stderr).toContain('Nothing changed');
    await rm(world.cacheDir, { recursive: true });
    const before = server.asked().length;
    const frozen = await run('sync', '--frozen');
    expect(frozen.exitCode, frozen.stderr).toBe(0);
    expect(
      server
        .asked()
        .slice(before)
        .filter((path) => !/binary|export$/.test(path)),
    ).toEqual([]);
    expect(await weights(frozen.stdout)).toBe('weights of fp16 as trained');
    expect((await run('sync', '--frozen', '--offline')).stdout).toBe(frozen.stdout);
    server.set([project('by somebody else')]);
    await rm(world.cacheDir, { recursive: true });
    const other = await run('sync', '--frozen');
    expect([other.exitCode, other.stderr]).toEqual([
      6,
      expect.stringContaining('model/model.bin is another'),
    ]);
    await list('geti:shop/SSD//int8');
    const alias = await run('lock');
    expect([alias.exitCode, alias.stderr]).toEqual([
      2,
      expect.stringContaining('list `geti:shop/SSD//openvino-int8` in its place'),
    ]);
  });

  it('are repaired with the bytes that they had', async () => {
    await start(generation);
    const directory = await pulled('geti:shop/SSD');
    await rm(join(world.directory, 'cache', 'v1', 'blobs'), { recursive: true });
    await rm(join(directory, 'model', 'model.bin'));
    const run = await world.runWith(environment(), 'verify', '--repair');
    expect(run.exitCode, run.stderr).toBe(0);
    expect(await weights(directory)).toBe('weights of fp16 as trained');
  });

  it('come over TLS that is verified, by a private authority when it is named', async () => {
    const certificate = await selfSigned('IP:127.0.0.1');
    await start(generation, { certificate });
    const file = join(world.directory, 'authority.pem');
    await writeFile(file, certificate.cert);
    const refused = await pull('geti:shop/SSD');
    expect(refused.exitCode, refused.stderr).toBe(5);
    const plain = await world.runWith(
      environment({ SSL_CERT_FILE: file, GETI_HOST: server.endpoint.replace('https://', '') }),
      'pull',
      'geti:shop/SSD',
    );
    expect(plain.exitCode, plain.stderr).toBe(0);
    expect(await weights(plain.stdout)).toBe('weights of fp16 as trained');
  });
});

describe('models of Geti that are not there, or not what they should be', () => {
  it.each([
    ['geti:sho/SSD', 3, '`geti:shop/SSD`'],
    ['geti:shop/SDS', 3, '`geti:shop/SSD`'],
    ['geti:shop/SSD@7', 3, 'has no version 7'],
    ['geti:shop/SSD//int4', 3, '`geti:shop/SSD//openvino-int8`'],
    ['geti:shop/SSD//openvino-fp16/model/other.xml', 3, 'other.xml'],
    ['geti:shop', 2, 'write `geti:project/model`'],
  ])('are not %s', async (text, exitCode, message) => {
    await start(2);
    const run = await pull(text);
    expect(run.exitCode, run.stderr).toBe(exitCode);
    expect(run.stderr).toContain(message);
  });

  it.each([
    [
      'a web page',
      { headers: { 'content-type': 'text/html' }, body: '<html></html>' },
      6,
      'answers a web page',
    ],
    [
      'no archive',
      { headers: { 'content-type': 'application/zip' }, body: 'not a zip' },
      6,
      'openvino-fp16.zip',
    ],
    ['gone', { status: 404 }, 3, 'No such file at'],
    ['without a login', { status: 401 }, 4, 'modeldl login geti'],
    ['forbidden', { status: 403 }, 4, 'refuses access to openvino-fp16.zip'],
    ['a failure', { status: 500 }, 5, '500'],
  ])('are not fetched from %s, and nothing is left of them', async (_what, route, exitCode, message) => {
    await start(2);
    server.swap(objectId('shop/SSD/1/openvino-fp16'), route);
    const run = await pull('geti:shop/SSD');
    expect(run.exitCode, run.stderr).toBe(exitCode);
    expect(run.stderr).toContain(message);
    await expect(stat(join(world.directory, 'cache', 'v1', 'models', 'geti'))).rejects.toThrow('ENOENT');
  });
});

describe('an account of Geti', () => {
  it('is logged in with a token, which no output shows', async () => {
    await start(2);
    const host = { GETI_HOST: server.endpoint };
    const none = await world.runWith(host, 'pull', 'geti:shop/SSD');
    expect(none.exitCode).toBe(4);
    expect(none.stderr).toContain('modeldl login geti');
    const wrong = await world.runWith(
      { ...host, GETI_TOKEN: 'geti_pat_wrong' },
      'pull',
      'geti:shop/SSD',
      '-v',
    );
    expect(wrong.exitCode).toBe(4);
    expect(wrong.stderr).toContain('wrong or expired');
    expect(wrong.stderr).not.toContain('geti_pat_wrong');
    const who = await world.runWith(environment(), 'whoami', 'geti', '--json');
    expect(JSON.parse(who.stdout)).toMatchObject({ name: 'ada@example.com' });
    const run = await world.runWith(environment(), 'pull', 'geti:shop/SSD', '--json', '-vv');
    expect(run.exitCode, run.stderr).toBe(0);
    expect(`${run.stdout}${run.stderr}`).not.toContain(TOKEN);
  });

  it('is not asked for by a server that a project file names until that is trusted', async () => {
    await start(2);
    await writeFile(
      join(world.directory, 'modeldl.config.json'),
      JSON.stringify({ hubs: { geti: { endpoint: server.endpoint } } }),
    );
    const run = await world.runWith({ GETI_TOKEN: TOKEN }, 'pull', 'geti:shop/SSD');
    expect(run.exitCode).toBe(2);
    expect(server.asked()).toEqual([]);
  });

  it('needs an address of a server', async () => {
    await start(2);
    const run = await world.run('pull', 'geti:shop/SSD');
    expect(run.exitCode).toBe(2);
    expect(run.stderr).toContain('GETI_HOST');
    const plain = await world.runWith({ GETI_HOST: 'http://geti.example.com' }, 'pull', 'geti:shop/SSD');
    expect(plain.exitCode).toBe(2);
    expect(plain.stderr).toContain('without encryption');
    const hubs = await world.run('hubs', '--json');
    expect(hubs.exitCode, hubs.stderr).toBe(0);
    expect(hubs.stdout).toContain('"geti"');
  });
});
