/** `modeldl search` through the built program, against a local Hugging Face hub and a local registry of Ollama. */
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { startOllamaRegistry, type OllamaRegistry } from '../helpers/ollama-registry.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import { expectRefusal } from '../helpers/refused.js';

const files = { 'config.json': '{}', 'openvino_model.xml': '<net/>', 'openvino_model.bin': 'weights' };
const REPOS = [
  {
    id: 'org/yolo11n',
    files,
    task: 'object-detection',
    library: 'ultralytics',
    license: 'agpl-3.0',
    downloads: 1_234_567,
    likes: 3,
    weights: { F16: 1_500_000 },
    gated: { kind: 'auto' as const, granted: [] },
  },
  { id: 'other/yolo11n-tuned', files, downloads: 12, likes: 40 },
  { id: 'OpenVINO/yolo11n-int8-ov', files, task: 'object-detection', downloads: 99 },
  { id: 'OpenVINO/yolo11n-fp16-ov', files, task: 'object-detection', downloads: 98 },
];

interface Found {
  readonly ok: boolean;
  readonly models: readonly {
    readonly reference: string;
    readonly hub: string;
    readonly [key: string]: unknown;
  }[];
  readonly hubs: readonly object[];
  readonly leftOut: readonly { readonly hub: string; readonly reason: string }[];
  readonly failures: readonly { readonly hub: string; readonly code: string; readonly message: string }[];
  readonly errors?: readonly object[];
}

let hub: HfHub;
let registry: OllamaRegistry;
let world: World;

beforeEach(async () => {
  hub = await startHfHub({ repos: REPOS });
  registry = await startOllamaRegistry({
    models: [{ name: 'library/yolo11n:latest', layers: [{ kind: 'model', bytes: Buffer.alloc(2048) }] }],
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
  const directory = join(world.directory, '.config', 'modeldl');
  await mkdir(directory, { recursive: true });
  const hubs = { ollama: { endpoint: registry.endpoint } };
  await writeFile(join(directory, 'config.json'), JSON.stringify({ hubs }));
});
afterEach(async () => {
  await world.remove();
  await registry.close();
  await hub.close();
});

/** Retries would only wait. */
function search(...args: readonly string[]): Promise<Run> {
  return world.run('search', ...args, '--max-wait', '1ms');
}

async function found(...args: readonly string[]): Promise<Found & { readonly exitCode: number }> {
  const { stdout, exitCode } = await search(...args, '--json');
  return { ...(JSON.parse(stdout) as Found), exitCode };
}

describe('modeldl search', () => {
  it('shows what every hub has in one table, and asks each once', async () => {
    const run = await search('yolo11n', '--limit', '2');
    expect([run.exitCode, run.stdout.split('\n')]).toEqual([
      0,
      [
        'REFERENCE                 TASK              LIBRARY      PRECISION     SIZE  DOWNLOADS  LIKES  UPDATED     LICENCE   ACCESS',
        'hf:org/yolo11n            object-detection  ultralytics  fp16       2.9 MiB       1.2M      3  2026-01-02  agpl-3.0  gated',
        'ollama:yolo11n:latest     -                 -            -          2.0 KiB          -      -  -           -         -',
        'openvino:yolo11n-int8-ov  object-detection  -            int8             -         99      0  2026-01-02  -         -',
        'openvino:yolo11n-fp16-ov  object-detection  -            fp16             -         98      0  2026-01-02  -         -',
        'ultralytics:yolo11n       detect            ultralytics  -                n          -      -  -           -         -',
        'ultralytics:yolo11n-cls   classify          ultralytics  -                n          -      -  -           -         -',
      ],
    ]);
    expect(run.stderr).toContain('There is more at hf, ultralytics: `--limit` shows it');
    expect(run.stderr).toContain('ollama: its registry has no search');
    expect(hub.requests).toHaveLength(2);
    expect(registry.asked()).toEqual([
      '/v2/library/yolo11n/tags/list',
      '/v2/library/yolo11n/manifests/latest',
    ]);
  });

  it('prints references that pull takes as they are', async () => {
    const { stdout } = await search('yolo11n-int8', '--quiet');
    expect(stdout).toBe('openvino:yolo11n-int8-ov');
    const pulled = await world.run('pull', stdout);
    expect(pulled.exitCode, pulled.stderr).toBe(0);
    const tagged = await world.run('search', '--hub', 'ollama', 'yolo11n', '--quiet');
    expect((await world.run('pull', tagged.stdout)).exitCode).toBe(0);
  });

  it('prints one document, in which nothing is missing', async () => {
    const document = await found('tuned');
    expect(document).toEqual({
      ok: true,
      models: [
        {
          reference: 'hf:other/yolo11n-tuned',
          hub: 'hf',
          id: 'other/yolo11n-tuned',
          ...{ task: null, library: null, license: null, precisions: [], scale: null, parameters: null },
          ...{ bytes: null, downloads: 12, likes: 40, updatedAt: '2026-01-02T00:00:00.000Z' },
          ...{ gated: false, private: false, page: `${hub.endpoint}/other/yolo11n-tuned` },
        },
      ],
      hubs: [
        { hub: 'hf', models: 1, more: false, note: null },
        { hub: 'ollama', models: 0, more: false, note: expect.any(String) as string },
        { hub: 'openvino', models: 0, more: false, note: null },
        { hub: 'omz', models: 0, more: false, note: null },
        { hub: 'ultralytics', models: 0, more: false, note: null },
        { hub: 'pipeline-zoo', models: 0, more: false, note: null },
      ],
      leftOut: [],
      failures: [],
      exitCode: 0,
    });
  });

  it('asks for a precision of the organisation OpenVINO without words', async () => {
    const { models } = await found('--hub', 'openvino', '--precision', 'int8');
    expect(models.map(({ reference }) => reference)).toEqual(['openvino:yolo11n-int8-ov']);
    expect(hub.requests).toHaveLength(1);
  });

  it('sorts over hubs, and leaves out those that cannot', async () => {
    const { models, leftOut } = await found('yolo11n', '--sort', 'likes');
    expect(models.map(({ reference }) => reference)).toEqual([
      'hf:other/yolo11n-tuned',
      'hf:org/yolo11n',
      'openvino:yolo11n-fp16-ov',
      'openvino:yolo11n-int8-ov',
    ]);
    expect(leftOut.map(({ hub: name, reason }) => `${name} ${reason}`)).toEqual([
      'ollama cannot sort by likes',
      'omz cannot sort by likes',
      'ultralytics cannot sort by likes',
      'pipeline-zoo cannot sort by likes',
    ]);
  });

  it('finds nothing with exit code 0', async () => {
    const run = await search('no', 'such', 'model');
    expect([run.exitCode, run.stdout]).toEqual([0, '']);
    expect(run.stderr).toContain('Nothing was found');
  });

  it('opens no connection with --offline', async () => {
    const run = await search('yolo11n', 'segment', '--offline');
    expect([run.exitCode, run.stdout]).toEqual([0, expect.stringContaining('ultralytics:yolo11n-seg')]);
    expect(run.stderr).toContain('hf was left out: needs the network, which --offline forbids');
    expect([...hub.requests, ...registry.site.requests]).toEqual([]);
    const named = await found('yolo11n', '--hub', 'hf', '--offline');
    expect(named).toMatchObject({
      ok: false,
      exitCode: 5,
      models: [],
      failures: [{ hub: 'hf', code: 'NETWORK' }],
    });
  });

  it('makes no cache', async () => {
    const run = await world.run('search', 'yolo11n', '--hub', 'omz', '--cache-dir', 'nowhere');
    expect(run.exitCode).toBe(0);
    expect((await world.run('list', '--cache-dir', 'nowhere')).stdout).toBe('');
  });

  it('shows nothing on a terminal that a hub could harm it with', async () => {
    const body = JSON.stringify([
      { id: 'org/name', pipeline_tag: 'a\u001b[2J\nb', library_name: '\u009b31m' },
    ]);
    hub.addFault({ kind: { status: 200, headers: { 'content-type': 'application/json' }, body } });
    const { stdout } = await search('name', '--hub', 'hf');
    expect(stdout.split('\n')[1]).toMatch(/^hf:org\/name {2}a\\x1b\[2J b {2}\\x9b31m$/);
  });
});

describe('mirrors', () => {
  const TOKEN = 'hf_tokenOfAliAndNobodyElse';
  let mirror: HfHub;

  beforeEach(async () => {
    mirror = await startHfHub({ repos: REPOS.slice(1, 2) });
    const directory = join(world.directory, '.config', 'modeldl');
    const hubs = { hf: { mirrors: [mirror.endpoint] } };
    await writeFile(join(directory, 'config.json'), JSON.stringify({ hubs }));
  });
  afterEach(() => mirror.close());

  it('are searched before the hub, without its token, and as if they were it', async () => {
    const run = await world.runWith({ HF_TOKEN: TOKEN }, 'search', 'yolo11n', '--hub', 'hf', '--json');
    expect([run.exitCode, JSON.parse(run.stdout)]).toMatchObject([
      0,
      { models: [{ reference: 'hf:other/yolo11n-tuned', page: `${hub.endpoint}/other/yolo11n-tuned` }] },
    ]);
    expect(hub.requests).toEqual([]);
    expect(JSON.stringify(mirror.requests)).not.toContain(TOKEN);
  });

  it('that have no list are left', async () => {
    mirror.addFault({ kind: { status: 404 } });
    const run = await search('yolo11n-tuned', '--hub', 'hf', '--quiet');
    expect([run.exitCode, run.stdout]).toEqual([0, 'hf:other/yolo11n-tuned']);
    expect(run.stderr).toContain(`Left the mirror ${mirror.endpoint} for the search of Hugging Face: `);
  });

  it('that do not answer leave the hub its time', async () => {
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as AddressInfo;
    const address = `http://127.0.0.1:${port}`;
    const set = await world.run('config', 'set', 'hubs.hf.mirrors', JSON.stringify([address]));
    expect(set.exitCode, set.stderr).toBe(0);
    const run = await search('yolo11n-tuned', '--hub', 'hf', '--timeout', '4s', '--quiet');
    silent.closeAllConnections();
    silent.close();
    expect([run.exitCode, run.stdout]).toEqual([0, 'hf:other/yolo11n-tuned']);
    expect(run.stderr).toContain(`the mirror ${address} did not answer within `);
  });
});

describe('hubs that fail', () => {
  it('are named, and others are shown all the same', async () => {
    registry.setFault('503');
    const run = await search('yolo11n', '--limit', '1');
    expect(run.exitCode).toBe(11);
    expect(run.stdout).toContain('\nhf:org/yolo11n ');
    expect(run.stderr).toMatch(/^error: ollama: .*503/m);
    expect(run.stderr).toContain('5 hubs answered, 1 hub did not');
    const document = await found('yolo11n', '--limit', '1');
    expect(document).toMatchObject({
      ok: false,
      exitCode: 11,
      error: { code: 'NETWORK', hub: 'ollama' },
      failures: [{ hub: 'ollama', code: 'NETWORK', exitCode: 5 }],
    });
    expect(document.models.map(({ hub: name }) => name)).toEqual(['hf', 'openvino', 'ultralytics']);
  });

  it('are waited for no longer than their time', async () => {
    hub.addFault({ kind: { never: true } });
    const run = await search('yolo11n', '--hub', 'hf', '--hub', 'ultralytics', '--timeout', '700ms');
    expect(run.exitCode).toBe(11);
    expect(run.stdout).toContain('\nultralytics:yolo11n ');
    expect(run.stderr).toContain('error: hf: Hugging Face did not answer within 0.7 s');
    expect(run.stderr).toContain('hint: try again, or give it longer with `--timeout`');
  });

  it.each([
    [{ status: 503 }, 5, 'NETWORK'],
    [{ status: 401 }, 4, 'AUTH'],
    [{ status: 200, headers: { 'content-type': 'text/html' }, body: '<html>Log in</html>' }, 5, 'NETWORK'],
    [{ reset: true as const }, 5, 'NETWORK'],
  ])('end with their own code where they are all that was asked: %j', async (kind, exitCode, code) => {
    hub.addFault({ kind });
    const document = await found('x', '--hub', 'hf', '--hub', 'openvino');
    expect(document).toMatchObject({ ok: false, exitCode, models: [], failures: [{ code }, { code }] });
    expect(document.failures.map(({ hub: name }) => name)).toEqual(['hf', 'openvino']);
  });

  it('tell the code that is right though nothing was found elsewhere', async () => {
    hub.addFault({ kind: { status: 503 } });
    expect(await found('nothing like that', '--hub', 'hf', '--hub', 'omz')).toMatchObject({
      exitCode: 11,
      models: [],
    });
  });
});

describe('what cannot be searched', () => {
  it.each<[readonly string[], string, string]>([
    [[], 'Missing what to search for', 'modeldl search qwen3'],
    [['x', '--hub', 'npm'], 'npm registry cannot be searched (npm)', 'hubs that can: hf, ollama'],
    [
      ['x', '--hub', 'openvino', '--hub', 'hf', '--precision', 'int8'],
      'The search of Hugging Face cannot filter by precision (hf)',
      'hubs that can: openvino, omz',
    ],
    [['x', '--hub', 'ultralytics', '--task', 'segmant'], 'Ultralytics has no task segmant', 'segment'],
    [['a b', '--hub', 'ollama'], "Ollama's registry has no search", 'https://ollama.com/search?q=a%20b'],
    [['x', '--limit', 'many'], 'Expected a number for --limit, got many', '--limit 50'],
    [['x', '--timeout', '0'], 'Expected some time for --timeout, got 0 s', '15s'],
  ])('is refused before anything is asked: %j', async (args, message, hint) => {
    await expectRefusal(world, ['search', ...args], {
      code: 'USAGE',
      message: new RegExp(escaped(message)),
      hint: new RegExp(escaped(hint)),
    });
    expect([...hub.requests, ...registry.site.requests]).toEqual([]);
  });
});

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
