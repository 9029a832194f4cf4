import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startHfHub, type HfFault, type HfHub } from '../helpers/hf-hub.js';
import { createWorld, type World } from '../helpers/program.js';
import { expectRefusal, type Refusal } from '../helpers/refused.js';
import { startServer, type Route, type TestServer } from '../hubs/server.js';
import { tar, zip, type TarMember, type ZipMember } from '../transfer/make-archive.js';

const MODEL = Buffer.alloc(1024 * 1024, 'weights ');
const OTHER_SHA256 = '00'.repeat(32);

let world: World;
let hub: HfHub;
let server: TestServer;
let routes: Readonly<Record<string, Route>>;

beforeEach(async () => {
  routes = {};
  server = await startServer((_request, path) => routes[path]);
  hub = await startHfHub({
    repos: [{ id: 'org/model', files: { 'config.json': '{}', 'model.onnx': MODEL } }],
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
});

afterEach(async () => {
  await world.remove();
  await server.close();
  await hub.close();
});

/** Neither a model nor unfinished bytes are left: these bytes are of no use to the next run. */
async function expectNothingKept(): Promise<void> {
  for (const area of ['records', 'models', 'partials', 'tmp', 'claims', 'sessions']) {
    expect([area, await readdir(join(world.cacheDir, 'v1', area))]).toEqual([area, []]);
  }
}

describe('a web page where a model should be is refused', () => {
  const page = { headers: { 'content-type': 'text/html' }, body: '<html>Please log in</html>' };

  it('at a plain address', async () => {
    routes = { '/model.onnx': page };
    const { error } = await expectRefusal(world, ['pull', `${server.origin}/model.onnx`], {
      code: 'INTEGRITY',
      message: /answers a web page, not a model: http.*\/model\.onnx/,
      hint: /address of the file itself/,
    });
    expect(error.url).toBe(`${server.origin}/model.onnx`);
    await expectNothingKept();
  });

  it('by the digest that the address carries', async () => {
    routes = { '/model.onnx': { body: page.body } };
    await expectRefusal(world, ['pull', `${server.origin}/model.onnx#sha256=${OTHER_SHA256}`], {
      code: 'INTEGRITY',
      message: /model\.onnx.*expected.*0000/,
      hint: /run the same command again/,
    });
    await expectNothingKept();
  });

  it('in place of a hub, as a portal that wants a login first', async () => {
    hub.addFault({ server: 'hub', kind: { status: 200, ...page } });
    await expectRefusal(world, ['pull', 'hf:org/model'], {
      code: 'NETWORK',
      message: /No answer of a Hugging Face hub \(200, text\/html\): http.*org\/model/,
      hint: /HF_ENDPOINT.*proxy/,
    });
  });

  it('in place of a file of a hub', async () => {
    hub.addFault({ server: 'cdn', kind: { status: 200, ...page } });
    await expectRefusal(world, ['pull', 'hf:org/model'], {
      code: 'INTEGRITY',
      message: /model\.onnx is wrong: expected 1048576 bytes/,
      hint: /try again later/,
    });
    await expectNothingKept();
  });
});

it('an archive whose bytes are not what its address promises is not unpacked', async () => {
  routes = { '/models.zip': { body: zip([{ name: 'model.onnx', content: 'the bytes of a member' }]) } };
  const address = `${server.origin}/models.zip#sha256=${OTHER_SHA256}`;
  await expectRefusal(world, ['pull', address, '--unpack'], {
    code: 'INTEGRITY',
    message: /models\.zip.*expected.*0000/,
    hint: /run the same command again/,
  });
  await expectNothingKept();
  const blobs = await readdir(join(world.cacheDir, 'v1', 'blobs'), { recursive: true, withFileTypes: true });
  expect(blobs.filter((entry) => entry.isFile())).toEqual([]);
});

describe('bytes that are not what was promised are refused, and the next run fetches them', () => {
  it.each<readonly [string, HfFault, RegExp]>([
    [
      'a flipped bit in a large file',
      { server: 'cdn', kind: { corrupt: true } },
      /model\.onnx.*sha256|sha256.*model\.onnx/,
    ],
    [
      'a flipped bit in a small file',
      { server: 'hub', matches: /resolve\/.*config\.json/, kind: { corrupt: true } },
      /config\.json/,
    ],
  ])('%s', async (_what, fault, message) => {
    hub.addFault(fault);
    const { error } = await expectRefusal(world, ['pull', 'hf:org/model'], {
      code: 'INTEGRITY',
      message,
      hint: /run the same command again/,
    });
    expect(error).toMatchObject({ reference: 'hf:org/model', file: expect.any(String) as unknown });
    await expectNothingKept();
    hub.clearFaults();
    const again = await world.run('pull', 'hf:org/model');
    expect(again.exitCode).toBe(0);
    expect(await readFile(join(again.stdout, 'model.onnx'))).toEqual(MODEL);
  });
});

describe('a listing with a hostile name is refused before anything is fetched', () => {
  it.each([
    ['that leaves the directory', '../../.ssh/authorized_keys', /`\.\.` segment/],
    ['that is absolute', '/etc/cron.d/x', /absolute/],
    ['with a backslash', '..\\..\\x', /backslash/],
    ['with a control character', 'model\u001b[2J.onnx', /control character/],
    ['that is also a directory', 'model.onnx/x', /also the directory/],
  ])('%s', async (_what, path, why) => {
    hub.putRepo({ id: 'org/model', files: { 'model.onnx': MODEL, [path]: 'x' } });
    hub.clearRequests();
    await expectRefusal(world, ['pull', 'hf:org/model'], {
      code: 'INTEGRITY',
      message: new RegExp(`Refused the file name.*${why.source}`),
      hint: /nothing was written/,
      secret: '\u001b',
    });
    expect(hub.requests.filter(({ url }) => url.includes('/resolve/'))).toEqual([]);
    await expectNothingKept();
    expect(await readdir(world.directory)).toEqual(['cache']);
  });
});

describe('an archive is refused by its name', () => {
  const big = Buffer.alloc(80 * 1024 * 1024);
  const good = { name: 'model.onnx', content: 'x' };
  const lie = { uncompressedSize: 10 };
  const tarred =
    (...members: readonly TarMember[]): (() => Buffer) =>
    () =>
      gzipSync(tar(members));
  const zipped =
    (...members: readonly ZipMember[]): (() => Buffer) =>
    () =>
      zip(members);
  type Row = readonly [string, string, () => Buffer, RegExp];

  it.each<Row>([
    ['a tar that leaves its directory', 'm.tar.gz', tarred(good, { name: '../x' }), /`\.\.` segment/],
    ['a zip that leaves its directory', 'm.zip', zipped(good, { name: '../x' }), /\.\.\/x/],
    [
      'a tar with a link to elsewhere',
      'm.tar.gz',
      tarred(good, { name: 'l', type: '2', linkname: '/etc' }),
      /a link/,
    ],
    ['two members of one name', 'm.zip', zipped(good, good), /collides/],
    ['a tar bomb', 'm.tar.gz', tarred(good, { name: 'bomb', content: big }), /more than 1000 times/],
    [
      'a zip that unpacks to more than it says',
      'm.zip',
      zipped({ name: 'bomb', method: 8, content: big, local: lie, central: lie }),
      /"bomb": it is longer than declared/,
    ],
    ['a tar that was cut', 'm.tar.gz', () => tarred(good)().subarray(0, -20), /end of file/],
    ['a zip that was cut', 'm.zip', () => zipped(good)().subarray(0, -20), /truncated/],
    ['something else', 'm.zip', () => Buffer.from('<html>not a zip</html>'), /[Nn]ot a zip/],
  ])('%s', async (_what, name, bytes, why) => {
    routes = { [`/${name}`]: { body: bytes() } };
    const refusal: Refusal = {
      code: 'INTEGRITY',
      message: new RegExp(`(${name}.*${why.source}|${why.source}.*${name})`),
      hint: /source of this model is broken or hostile/,
    };
    await expectRefusal(world, ['pull', `${server.origin}/${name}`, '--unpack'], refusal);
    await expectNothingKept();
    expect(await readdir(world.directory)).toEqual(['cache']);
  });
});
