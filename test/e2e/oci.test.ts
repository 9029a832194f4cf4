/** Registries through the built program: what one machine pushes another pulls, and what ORAS does with it. */
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, realpath, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeStandInOpenvino } from '../helpers/interpreter.js';
import { orasClient } from '../helpers/oras.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import {
  digestOf,
  putModel,
  startRegistry,
  withRegistry,
  type Registry,
  type RegistryOptions,
} from '../helpers/registry.js';
import { requirePeer } from '../helpers/require.js';
import { END_OF_TAR, tarMember } from '../transfer/make-archive.js';
import { selfSigned } from '../transfer/certificate.js';

const oras = await orasClient();
const withOras = requirePeer('ORAS, or Go to build it', oras !== undefined);

/** Longer than what is fetched in one go. */
const WEIGHTS = randomBytes(9 * 1024 * 1024);
const FILES: Readonly<Record<string, Buffer>> = {
  'weights.onnx': WEIGHTS,
  'config.json': Buffer.from('{"hidden_size": 1}'),
  'nested/vocab.txt': Buffer.from('a\nb\n'),
};

let registry: Registry;
let here: World;
let there: World;
let running: Registry[];

beforeEach(async () => {
  running = [];
  [here, there] = [await createWorld(), await createWorld()];
  for (const [path, bytes] of Object.entries(FILES)) {
    await mkdir(join(here.directory, 'model', path, '..'), { recursive: true });
    await writeFile(join(here.directory, 'model', path), bytes);
  }
});
afterEach(async () => {
  for (const each of running) await each.close();
  await here.remove();
  await there.remove();
});

async function start(options?: RegistryOptions): Promise<void> {
  registry = await startRegistry(options);
  running.push(registry);
}

function succeeded({ exitCode, stdout, stderr }: Run): string {
  expect(exitCode, stderr).toBe(0);
  return stdout;
}

/** Retries would only wait. */
function pull(world: World, ...args: readonly string[]): Promise<Run> {
  return world.run('pull', ...args, '--max-wait', '1ms');
}

/** Digests by path: comparing megabytes one by one takes minutes. */
function digests(files: Readonly<Record<string, string | Buffer>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(files).map(([path, bytes]) => [path, digestOf(bytes)] as const));
}

async function filesIn(directory: string): Promise<Readonly<Record<string, string>>> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const read = await Promise.all(files.map(async (path) => [path, await readFile(path)] as const));
  return digests(Object.fromEntries(read.map(([path, bytes]) => [path.slice(directory.length + 1), bytes])));
}

describe('a registry', () => {
  withRegistry('gives another machine what was pushed, pinned by its digest', async () => {
    await start();
    const target = `oci:${registry.host}/org/model:v1`;
    const first = JSON.parse(succeeded(await here.run('push', './model', target, '--json'))) as Record<
      string,
      unknown
    >;
    const bytes = Object.values(FILES).reduce((sum, { length }) => sum + length, 0);
    expect(first).toMatchObject({ ok: true, target, files: 3, bytes, sentBytes: bytes, presentBytes: 0 });
    const pinned = String(first['reference']);
    expect(pinned).toMatch(/^oci:127\.0\.0\.1:\d+\/org\/model@sha256:[0-9a-f]{64}$/);
    const again = await here.run('push', './model', target);
    expect(succeeded(again)).toBe(pinned);
    expect(again.stderr).toContain('0 B sent, 9.0 MiB were there');
  });

  withRegistry('is asked for a pinned model once', async () => {
    await start();
    const target = `oci:${registry.host}/org/model:v1`;
    const pinned = succeeded(await here.run('push', './model', target));
    const path = succeeded(await pull(there, target));
    expect(await filesIn(path)).toEqual(digests(FILES));
    await registry.logged();
    const requests = registry.requests().length;
    expect(succeeded(await pull(there, pinned))).toBe(path);
    await registry.logged();
    expect(registry.requests()).toHaveLength(requests);
    expect(succeeded(await there.run('list', '--quiet'))).toBe(pinned);
    const part = succeeded(await pull(there, `${target}//nested/vocab.txt`));
    expect(digestOf(await readFile(part))).toBe(digests(FILES)['nested/vocab.txt']);
  });

  withRegistry('is told nothing of this machine', async () => {
    await start();
    succeeded(await here.run('push', './model', `oci:${registry.host}/org/model`));
    const response = await fetch(`${registry.origin}/v2/org/model/manifests/latest`, {
      headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
    });
    expect(await response.text()).not.toContain(here.directory.slice(1));
  });

  withRegistry('keeps what a tag meant when it moves, and what was pulled by it', async () => {
    await start();
    const target = `oci:${registry.host}/org/model`;
    succeeded(await here.run('push', './model/config.json', target));
    const old = succeeded(await pull(there, target));
    succeeded(await here.run('push', './model', target));
    const moved = succeeded(await pull(there, target));
    expect(moved).not.toBe(old);
    expect(Object.keys(await filesIn(moved))).toHaveLength(3);
    expect(Object.keys(await filesIn(old))).toEqual(['config.json']);
  });

  withRegistry('may hold a model as layers that are archives', async () => {
    await start();
    const [tar, other] = [
      Buffer.concat([tarMember({ name: 'models/config.json', content: '{}' }), END_OF_TAR]),
      Buffer.concat([tarMember({ name: 'models/model.onnx', content: 'weights' }), END_OF_TAR]),
    ];
    await putModel(registry, 'car', 'latest', {
      layers: [tar, other].map((bytes) => ({ mediaType: 'application/vnd.oci.image.layer.v1.tar', bytes })),
    });
    const path = succeeded(await pull(there, `oci:${registry.host}/car//models`));
    expect(await filesIn(path)).toEqual(digests({ 'config.json': '{}', 'model.onnx': 'weights' }));
  });

  withRegistry('with a certificate of a private authority is reached by naming that', async () => {
    const certificate = await selfSigned('IP:127.0.0.1');
    await start({ certificate });
    const target = `oci:${registry.host}/org/model`;
    const unencrypted = await pull(there, target);
    expect(unencrypted.exitCode).toBe(5);
    expect(unencrypted.stderr).toContain(`list \`${registry.host}\` in \`hubs.oci.secure\``);
    const settings = { hubs: { oci: { secure: [registry.host] } } };
    for (const world of [here, there]) {
      await mkdir(join(world.directory, '.config', 'modeldl'), { recursive: true });
      await writeFile(join(world.directory, '.config', 'modeldl', 'config.json'), JSON.stringify(settings));
      await writeFile(join(world.directory, 'ca.pem'), certificate.cert);
    }
    const refused = await pull(there, target);
    expect(refused.exitCode).toBe(5);
    expect(refused.stderr).toContain('certificate');
    expect(refused.stderr).toContain('caFile');
    const trust = (world: World) => ({ SSL_CERT_FILE: join(world.directory, 'ca.pem') });
    succeeded(await here.runWith(trust(here), 'push', './model', target));
    expect(await filesIn(succeeded(await there.runWith(trust(there), 'pull', target)))).toEqual(
      digests(FILES),
    );
  });

  withRegistry('whose files are damaged gives none of them', async () => {
    await start();
    const bytes = Buffer.from('weights');
    const title = { 'org.opencontainers.image.title': 'model.onnx' };
    const digest = await putModel(registry, 'org/model', 'latest', {
      layers: [{ mediaType: 'application/octet-stream', bytes, annotations: title }],
    });
    expect(digest).toMatch(/^sha256:/);
    await registry.damage(digestOf(bytes), Buffer.from('wEIGHTS'));
    const run = await pull(there, `oci:${registry.host}/org/model`);
    expect(run.exitCode).toBe(6);
    expect(run.stderr).toContain('model.onnx');
    expect(succeeded(await there.run('list', '--quiet'))).toBe('');
  });
});

describe('pushing', () => {
  withRegistry('restores a stored file that became shorter before it sends it', async () => {
    await start();
    const path = succeeded(await here.run('pull', './model')).trim();
    const file = await realpath(join(path, 'weights.onnx'));
    await chmod(file, 0o600);
    await truncate(file, 1024);
    const run = await here.run('push', './model', `oci:${registry.host}/m:v1`);
    succeeded(run);
    expect(run.stderr).toContain('are restored: weights.onnx');
    const pulled = succeeded(await pull(there, `oci:${registry.host}/m:v1`)).trim();
    expect(await filesIn(pulled)).toEqual(digests(FILES));
  });

  withRegistry('a conversion gives another machine the IR, and tells what it is', async () => {
    await start();
    const python = await writeStandInOpenvino(join(here.directory, 'python'), {});
    const config = { toolchains: { interpreters: { openvino: python } } };
    await writeFile(join(here.directory, 'own.json'), JSON.stringify(config));
    const flags = ['--precision', 'fp16'];
    const path = succeeded(
      await here.run('--config', 'own.json', 'convert', './model/weights.onnx', ...flags),
    ).trim();
    const target = `oci:${registry.host}/m:fp16`;
    succeeded(await here.run('push', './model/weights.onnx+fp16-cpu', target));
    const pulled = succeeded(await pull(there, target)).trim();
    expect(await filesIn(pulled)).toEqual(await filesIn(path));
    const accept = 'application/vnd.oci.image.manifest.v1+json';
    const manifest = await fetch(`${registry.origin}/v2/m/manifests/fp16`, { headers: { accept } });
    expect(await manifest.json()).toMatchObject({
      annotations: {
        'vnd.modeldl.converter': 'openvino',
        'vnd.modeldl.precision': 'fp16',
        'vnd.modeldl.device': 'CPU',
      },
    });
  });

  it.each([
    ['a hub that takes none', ['./model', 'hf:org/model'], 2, 'Hugging Face: modeldl writes no models there'],
    ['a part', ['./model', 'oci:h.io/m:v1//sub'], 2, 'write `oci:h.io/m:v1`'],
    ['nothing', ['./model'], 2, 'It comes from no hub'],
    ['what is not there', ['./absent', 'oci:h.io/m'], 3, 'absent'],
    ['a conversion that is not there', ['./model+int8-cpu', 'oci:h.io/m'], 3, 'modeldl convert'],
    ['from elsewhere', ['./model', 'oci:h.io/m', '--mount-from', './model'], 2, 'starts with `oci:`'],
    [
      'from elsewhere, before it is fetched',
      ['hf:org/absent', 'oci:h.io/m', '--mount-from', './model', '--offline'],
      2,
      'starts with `oci:`',
    ],
    [
      'to a digest, before it is fetched',
      ['hf:org/absent', `oci:h.io/m@sha256:${'1'.repeat(64)}`, '--offline'],
      2,
      'write `oci:h.io/m:tag`',
    ],
    ['without network', ['./model', 'oci:127.0.0.1:9/m', '--offline'], 5, 'Offline'],
    ['to nobody', ['./model', 'oci:127.0.0.1:9/m', '--max-wait', '1ms'], 5, 'Cannot reach 127.0.0.1:9'],
    ['unencrypted', ['./model', 'oci:h.io:81/m', '--offline'], 5, 'https://h.io:81'],
  ])('%s is refused', async (_what, args, exitCode, said) => {
    const run = await here.run('push', ...args);
    expect([run.exitCode, run.stdout]).toEqual([exitCode, '']);
    expect(run.stderr).toContain(said);
  });
});

describe('ORAS', () => {
  withOras('pulls what modeldl pushed, byte for byte', async () => {
    if (oras === undefined) throw new Error('Expected ORAS');
    await start();
    succeeded(await here.run('push', './model', `oci:${registry.host}/org/model:v1`));
    await oras(there.directory, 'pull', '--plain-http', `${registry.host}/org/model:v1`, '-o', 'pulled');
    expect(await filesIn(join(there.directory, 'pulled'))).toEqual(digests(FILES));
  });

  withOras('pushes files and folders that modeldl pulls, byte for byte', async () => {
    if (oras === undefined) throw new Error('Expected ORAS');
    await start();
    const model = join(here.directory, 'model');
    const target = `${registry.host}/org/model:v1`;
    await oras(model, 'push', '--plain-http', target, 'weights.onnx', 'config.json', 'nested');
    expect(await filesIn(succeeded(await pull(there, `oci:${target}`)))).toEqual(digests(FILES));
  });
});
