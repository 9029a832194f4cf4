/** Mirrors of hubs other than Hugging Face through the built program: each has addresses, redirects and logins of its own. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startGithub, type Github } from '../helpers/github.js';
import { startOllamaRegistry, type OllamaRegistry, type RegistryModel } from '../helpers/ollama-registry.js';
import { startZoo, type Zoo } from '../helpers/omz.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import { writeOllamaKey } from '../helpers/ssh-key.js';
import { startServer } from '../hubs/server.js';

let world: World;
const open: { readonly close: () => Promise<void> }[] = [];

function started<Server extends { readonly close: () => Promise<void> }>(server: Server): Server {
  open.push(server);
  return server;
}

beforeEach(async () => {
  world = await createWorld();
});
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
  await world.remove();
});

async function configure(hub: string, endpoint: string, ...mirrors: readonly string[]): Promise<void> {
  const directory = join(world.directory, '.config', 'modeldl');
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'config.json'), JSON.stringify({ hubs: { [hub]: { endpoint, mirrors } } }));
}

/** Retries would only wait. */
function pull(...args: readonly string[]): Promise<Run> {
  return world.run('pull', ...args, '--connections', '1', '--max-wait', '1ms');
}

function succeeded({ exitCode, stdout, stderr }: Run): string {
  expect(exitCode, stderr).toBe(0);
  return stdout;
}

describe('mirrors of Ollama', () => {
  const WEIGHTS = Buffer.alloc(4096, 'gguf');
  const MODEL: RegistryModel = {
    name: 'library/tiny:latest',
    layers: [{ kind: 'model', bytes: WEIGHTS }],
  };
  let origin: OllamaRegistry;
  let mirror: OllamaRegistry;

  beforeEach(async () => {
    origin = started(await startOllamaRegistry({ models: [MODEL] }));
    mirror = started(await startOllamaRegistry({ models: [MODEL] }));
  });

  async function expectWeights(run: Run): Promise<void> {
    expect(await readFile(join(succeeded(run), 'tiny.gguf'))).toEqual(WEIGHTS);
  }

  it('give manifests and layers, also while its registry is gone', async () => {
    await configure('ollama', origin.endpoint, mirror.endpoint);
    await origin.close();
    await expectWeights(await pull('ollama:tiny'));
    expect(origin.asked()).toEqual([]);
  });

  it('that have other bytes are left for the layer', async () => {
    mirror.swap(WEIGHTS, Buffer.alloc(WEIGHTS.length, 'evil'));
    await configure('ollama', origin.endpoint, mirror.endpoint);
    const run = await pull('ollama:tiny');
    await expectWeights(run);
    expect(run.stderr).toContain(`Left the mirror ${mirror.endpoint} for tiny.gguf`);
    expect(origin.asked()).toEqual([expect.stringContaining('/blobs/')]);
  });

  it('that want a login get no signature, and are called by their own name', async () => {
    const key = await writeOllamaKey(world.directory);
    const models = [{ ...MODEL, isPrivate: true }];
    const hidden = started(await startOllamaRegistry({ models, keys: [key] }));
    await configure('ollama', origin.endpoint, hidden.endpoint);
    const run = await pull('ollama:tiny');
    await expectWeights(run);
    expect(hidden.asked().some((path) => path.startsWith('/token'))).toBe(false);
    expect(run.stderr).toContain(`Left the mirror ${hidden.endpoint} for ollama:tiny: `);
    expect(run.stderr).not.toContain(new URL(origin.endpoint).host);
  });

  it('that lead where nothing may be asked are left', async () => {
    const astray = started(
      await startServer(() => ({ status: 302, headers: { location: 'http://mirror.example/' } })),
    );
    await configure('ollama', origin.endpoint, astray.origin);
    const run = await pull('ollama:tiny');
    await expectWeights(run);
    expect(run.stderr).toContain(`Left the mirror ${astray.origin} for ollama:tiny: Not encrypted`);
  });

  it('stand for no registry that a name itself names', async () => {
    const { host } = new URL(origin.endpoint);
    await configure('ollama', 'http://127.0.0.1:9', mirror.endpoint);
    const unknown = await pull(`ollama:${host}/library/none`);
    expect(unknown.exitCode).toBe(3);
    expect(unknown.stderr).not.toContain('Left the mirror');
    expect(origin.asked().filter((path) => path.endsWith('/manifests/latest'))).toHaveLength(1);
    await origin.close();
    // What cannot be reached is that registry, so the mirror is not given up for others.
    const both = await pull(`ollama:${host}/library/tiny`, 'ollama:tiny');
    expect(both.exitCode).toBe(11);
    await expectWeights({ ...both, exitCode: 0 });
  });
});

describe('mirrors of Open Model Zoo', () => {
  const files = { 'FP16/aclnet.xml': Buffer.from('<net/>'), 'FP16/aclnet.bin': Buffer.alloc(2000, 'x') };
  const models = { 'public/aclnet': { files } };

  async function start(): Promise<Zoo> {
    return started(await startZoo({ models }));
  }

  it('give descriptions, also while its repository is gone', async () => {
    const [origin, mirror] = [await start(), await start()];
    await configure('omz', origin.endpoint, mirror.endpoint);
    await origin.close();
    const path = succeeded(await pull('omz:aclnet'));
    expect(await readFile(join(path, 'FP16', 'aclnet.bin'))).toEqual(files['FP16/aclnet.bin']);
    expect(mirror.asked()).toHaveLength(1);
  });

  it.each([
    ['a web page', { headers: { 'content-type': 'text/html' }, body: '<html>' }],
    ['nothing', { status: 404 }],
    ['what is no description', { headers: { 'content-type': 'text/plain' }, body: '- 1' }],
  ])('that answer %s are left', async (_name, route) => {
    const [origin, mirror] = [await start(), await start()];
    mirror.refuse(route);
    await configure('omz', origin.endpoint, mirror.endpoint);
    const run = await pull('omz:aclnet');
    succeeded(run);
    expect(run.stderr).toContain(`Left the mirror ${mirror.endpoint} for omz:aclnet: `);
    expect(origin.asked()).toHaveLength(1);
  });
});

describe('mirrors of Ultralytics', () => {
  const WEIGHTS = Buffer.from('weights of a YOLO model');
  const releases = [{ tag: 'v8.4.0', assets: { 'yolo11n.pt': WEIGHTS } }];
  let origin: Github;
  let mirror: Github;

  beforeEach(async () => {
    origin = started(await startGithub({ releases }));
    mirror = started(await startGithub({ releases }));
    await configure('ultralytics', origin.endpoint, mirror.endpoint);
  });

  it('give releases and files while GitHub is gone, and get no token', async () => {
    await origin.close();
    const token = 'ghp_0123456789abcdefghijABCDEFGHIJ012345';
    const run = await world.runWith({ GH_TOKEN: token }, 'pull', 'ultralytics:yolo11n', '--max-wait', '1ms');
    expect(await readFile(join(succeeded(run), 'yolo11n.pt'))).toEqual(WEIGHTS);
    const requests = [...mirror.site.requests, ...mirror.files.requests];
    expect(requests.length).toBeGreaterThan(0);
    expect(JSON.stringify(requests)).not.toContain(token);
  });

  it('that have other bytes are left for the file', async () => {
    mirror.swap('v8.4.0/yolo11n.pt', Buffer.from('weights of an evil mind'));
    const run = await pull('ultralytics:yolo11n');
    expect(await readFile(join(succeeded(run), 'yolo11n.pt'))).toEqual(WEIGHTS);
    expect(run.stderr).toContain(`Left the mirror ${mirror.endpoint} for yolo11n.pt`);
  });
});
