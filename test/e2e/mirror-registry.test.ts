/** A registry as mirror of other hubs, with Debian's docker-registry: filled by `push`, asked before the hub. */
import { createHash, randomBytes } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect } from 'vitest';
import { startHfHub, type HfHub, type HfRepo } from '../helpers/hf-hub.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import {
  digestOf,
  putModel,
  startRegistry,
  withRegistry,
  type Registry,
  type TestLayer,
} from '../helpers/registry.js';
import { startServer, type TestServer } from '../hubs/server.js';
import { END_OF_TAR, tarMember } from '../transfer/make-archive.js';
import { expectSoundStore } from '../helpers/sound-store.js';

const MiB = 1024 * 1024;
const LARGE = randomBytes(9 * MiB);
const REPO: HfRepo = {
  id: 'Org/Model',
  license: 'apache-2.0',
  files: {
    'config.json': '{"model_type": "bert"}',
    'model.safetensors': LARGE,
    'onnx/vocab.txt': 'a\nb\n',
    // Left out beside the safetensors.
    'pytorch_model.bin': randomBytes(1000),
  },
};
const PLAIN = ['--connections', '1', '--max-wait', '1ms'];

let hub: HfHub;
let registry: Registry;
/** One that fills the registry, and one of those that pull from it. */
let first: World;
let second: World;

beforeEach(async () => {
  hub = await startHfHub({ repos: [REPO] });
  registry = await startRegistry();
  [first, second] = [await createWorld(), await createWorld()];
  for (const world of [first, second]) await configure(world, `oci:${registry.host}/models`);
});
afterEach(async () => {
  await hub.close();
  await registry.close();
  await first.remove();
  await second.remove();
});

async function configure(world: World, ...mirrors: readonly string[]): Promise<void> {
  succeeded(await world.run('config', 'set', 'hubs.hf.mirrors', JSON.stringify(mirrors)));
}

function run(world: World, ...args: readonly string[]): Promise<Run> {
  return world.runWith({ HF_ENDPOINT: hub.endpoint }, ...args);
}

function succeeded({ exitCode, stdout, stderr }: Run): string {
  expect(exitCode, stderr).toBe(0);
  return stdout;
}

function pinned(): string {
  return `hf:Org/Model@${hub.commitOf('Org/Model')}`;
}

async function expectModel(path: string): Promise<void> {
  const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
  expect(sha256(await readFile(join(path, 'model.safetensors')))).toBe(sha256(LARGE));
  expect(await readFile(join(path, 'onnx/vocab.txt'), 'utf8')).toBe('a\nb\n');
  await expectSoundStore(second);
}

async function fill(): Promise<Record<string, unknown>> {
  const pushed = await run(first, 'push', 'hf:Org/Model', '--json');
  return JSON.parse(succeeded(pushed)) as Record<string, unknown>;
}

/** Requests for files of models, not for listings. */
function bytesAsked(): readonly string[] {
  return hub.requests.filter(({ url }) => !url.startsWith('/api/')).map(({ url }) => url);
}

describe('a registry as mirror', () => {
  withRegistry('is filled by push without a target, and gives all bytes then', async () => {
    const pushed = await fill();
    const commit = hub.commitOf('Org/Model');
    expect(pushed).toMatchObject({ ok: true, files: 3, origin: pinned() });
    expect(pushed['target']).toMatch(
      new RegExp(`^oci:${registry.host}/models/hf/org/model--[0-9a-f]{12}:${commit}$`),
    );
    hub.clearRequests();
    const asked = registry.requests().length;
    const path = succeeded(await run(second, 'pull', 'hf:Org/Model', ...PLAIN));
    await expectModel(path);
    expect(bytesAsked()).toEqual([]);
    expect(hub.requests).toHaveLength(2);
    const requests = registry.requests().slice(asked);
    expect(requests.filter((line) => line.includes('/manifests/'))).toHaveLength(1);
    expect(requests.filter((line) => line.includes('/blobs/'))).toHaveLength(3);
    // The same model as the hub gives, under the same name.
    expect(path).toContain(join('models', 'hf', 'Org--Model'));
    expect(succeeded(await second.run('list', '--quiet'))).toBe(pinned());
  });

  withRegistry('proves a lock by what lies under a path, not by another file of that digest', async () => {
    await fill();
    await writeFile(join(second.directory, 'modeldl.config.yaml'), 'models: [hf:Org/Model]');
    succeeded(await run(second, 'lock'));
    hub.clearRequests();
    const frozen = succeeded(await run(second, 'sync', '--frozen', ...PLAIN));
    expect(hub.requests).toEqual([]);
    await expectModel(frozen);
    await rm(second.cacheDir, { recursive: true });
    const lockFile = join(second.directory, 'modeldl.lock');
    const lock = await readFile(lockFile, 'utf8');
    const [, vocabulary = ''] = /"path": "onnx\/vocab.txt", ("size": .*) }/.exec(lock) ?? [];
    await writeFile(lockFile, lock.replace(/("path": "config.json", )"size": .* }/, `$1${vocabulary} }`));
    const forged = await run(second, 'sync', '--frozen', ...PLAIN);
    expect([forged.exitCode, forged.stderr]).toEqual([6, expect.stringContaining('config.json')]);
  });

  withRegistry('has what a pinned revision is while the hub is gone', async () => {
    await fill();
    hub.addFault({ kind: { reset: true } });
    const pulled = await run(second, 'pull', pinned(), ...PLAIN, '--json');
    const { models } = JSON.parse(succeeded(pulled)) as {
      models: readonly { path: string; license: string; reference: string; leftOut: readonly unknown[] }[];
    };
    expect(models).toMatchObject([{ reference: pinned(), license: 'apache-2.0' }]);
    // As the hub lists it: also what the registry does not have.
    expect(models[0]?.leftOut).toEqual([{ path: 'pytorch_model.bin', bytes: 1000 }]);
    await expectModel(models[0]?.path ?? '');
    expect(pulled.stderr).toContain('is believed');
    hub.clearFaults();
    hub.clearRequests();
    // What it has not, the hub is asked for.
    const all = succeeded(await run(second, 'pull', pinned(), '--all-files', ...PLAIN));
    expect((await readFile(join(all, 'pytorch_model.bin'))).length).toBe(1000);
    expect(bytesAsked().filter((url) => url.includes('/resolve/'))).toHaveLength(1);
  });

  withRegistry('is not believed about what a lock says, or is to say', async () => {
    await fill();
    const lockFile = join(second.directory, 'modeldl.lock');
    await writeFile(join(second.directory, 'modeldl.config.yaml'), `models: ['${pinned()}']`);
    hub.addFault({ kind: { reset: true } });
    for (const stored of [false, true]) {
      if (stored) succeeded(await run(second, 'pull', pinned(), ...PLAIN));
      const refused = await run(second, 'lock', ...PLAIN);
      expect([refused.exitCode, refused.stderr]).toEqual([5, expect.stringContaining('Nothing was written')]);
    }
    hub.clearFaults();
    succeeded(await run(second, 'lock'));
    const lock = await readFile(lockFile, 'utf8');
    expect(lock).not.toContain(registry.host);
    hub.addFault({ kind: { reset: true } });
    for (const stored of [true, false]) {
      if (!stored) await rm(second.cacheDir, { recursive: true });
      await writeFile(lockFile, lock.replace(/"size": 9\d{6}/, '"size": 9000000'));
      const refused = await run(second, 'sync', ...PLAIN);
      expect([refused.exitCode, refused.stderr]).toEqual([
        5,
        expect.stringContaining('not what the lock says'),
      ]);
      await writeFile(lockFile, lock);
      await expectModel(succeeded(await run(second, 'sync', ...PLAIN)));
    }
  });

  withRegistry('is believed no longer than until the hub answers', async () => {
    const pushed = await fill();
    const place = String(pushed['target']).replace(`oci:${registry.host}/`, '');
    const [repository = '', tag = ''] = place.split(/:(?=[^:]+$)/);
    const evil = (path: string) => ({
      mediaType: 'application/vnd.cncf.model.weight.v1.raw',
      bytes: Buffer.from('evil'),
      annotations: { 'org.cncf.model.filepath': path },
    });
    await putModel(registry, repository, tag, {
      layers: ['config.json', 'model.safetensors', 'onnx/vocab.txt'].map(evil),
      annotations: { 'vnd.modeldl.origin': pinned() },
    });
    hub.addFault({ kind: { reset: true } });
    const believed = succeeded(await run(second, 'pull', pinned(), ...PLAIN));
    expect(await readFile(join(believed, 'model.safetensors'), 'utf8')).toBe('evil');
    hub.clearFaults();
    await expectModel(succeeded(await run(second, 'pull', pinned(), '--refresh', ...PLAIN)));
    hub.addFault({ kind: { reset: true } });
    await expectModel(succeeded(await run(second, 'pull', pinned(), ...PLAIN)));
  });

  withRegistry('does not tell what a floating reference means', async () => {
    await fill();
    hub.addFault({ kind: { reset: true } });
    const refused = await run(second, 'pull', 'hf:Org/Model', ...PLAIN);
    expect(refused.exitCode, refused.stderr).toBe(5);
    expect(refused.stderr).toContain('full revision');
  });

  withRegistry('that has not the model is left, and says how it is filled', async () => {
    const pulled = await run(second, 'pull', 'hf:Org/Model', ...PLAIN);
    await expectModel(succeeded(pulled));
    expect(pulled.stderr).toContain(`it does not hold ${pinned()}`);
  });

  withRegistry('that gives other bytes is left for that file', async () => {
    await fill();
    hub.clearRequests();
    await registry.damage(digestOf(LARGE), randomBytes(LARGE.length));
    const pulled = await run(second, 'pull', 'hf:Org/Model', ...PLAIN);
    await expectModel(succeeded(pulled));
    expect(pulled.stderr).toContain('model.safetensors do not match their digest');
    expect(bytesAsked().filter((url) => url.includes('/resolve/'))).toHaveLength(1);
  });

  withRegistry('that is gone costs nothing but its bytes', async () => {
    const gone = await startRegistry();
    await gone.close();
    await configure(second, `oci:${gone.host}/models`);
    const pulled = await run(second, 'pull', 'hf:Org/Model', ...PLAIN);
    await expectModel(succeeded(pulled));
    expect(pulled.stderr.match(/Left the registry/g)).toHaveLength(1);
  });

  withRegistry('with another model in the place is not believed', async () => {
    const pushed = await fill();
    const [repository = '', tag = ''] = String(pushed['target'])
      .replace(`oci:${registry.host}/`, '')
      .split(/:(?=[^:]+$)/);
    await putModel(registry, repository, tag, {
      layers: [
        {
          mediaType: 'application/vnd.cncf.model.weight.v1.raw',
          bytes: Buffer.from('evil'),
          annotations: { 'org.cncf.model.filepath': 'model.safetensors' },
        },
      ],
      annotations: { 'vnd.modeldl.origin': 'hf:evil/model@0123456789012345678901234567890123456789' },
    });
    hub.addFault({ kind: { reset: true } });
    const refused = await run(second, 'pull', pinned(), ...PLAIN);
    expect(refused.exitCode, refused.stderr).toBe(5);
    expect(refused.stderr).toContain('says that it is hf:evil/model');
    const occupied = await run(first, 'push', pinned());
    expect(occupied.exitCode, occupied.stderr).toBe(2);
    expect(occupied.stderr).toContain('In the place of');
  });

  withRegistry('gains what another choice of files brings, and loses nothing', async () => {
    await fill();
    succeeded(await run(first, 'pull', 'hf:Org/Model', '--include', 'pytorch_model.bin', ...PLAIN));
    const stored = succeeded(await first.run('list', '--quiet')).split('\n');
    const choice = stored.find((reference) => reference.includes('+')) ?? '';
    const pushed = await run(first, 'push', choice, '--json');
    expect(JSON.parse(succeeded(pushed))).toMatchObject({ files: 1, sentBytes: 1000 });
    hub.clearRequests();
    await expectModel(succeeded(await run(second, 'pull', 'hf:Org/Model', '--all-files', ...PLAIN)));
    expect(bytesAsked()).toEqual([]);
  });

  withRegistry('is rid of what is not of the model when it is filled again', async () => {
    const [repository = '', tag = ''] = String((await fill())['target'])
      .replace(`oci:${registry.host}/`, '')
      .split(/:(?=[^:]+$)/);
    const layer = (path: string): TestLayer => ({
      mediaType: 'application/vnd.cncf.model.weight.v1.raw',
      bytes: Buffer.from(`evil ${path}`),
      annotations: { 'org.cncf.model.filepath': path },
    });
    await putModel(registry, repository, tag, {
      layers: [layer('pytorch_model.bin'), layer('setup.py')],
      annotations: { 'vnd.modeldl.origin': pinned() },
    });
    await fill();
    const manifest = await fetch(`${registry.origin}/v2/${repository}/manifests/${tag}`, {
      headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
    });
    expect(await manifest.json()).toMatchObject({
      layers: ['config.json', 'model.safetensors', 'onnx/vocab.txt'].map((path) => ({
        annotations: { 'org.cncf.model.filepath': path },
      })),
    });
  });

  withRegistry('is shown by hubs --check', async () => {
    const { hubs } = JSON.parse(succeeded(await run(second, 'hubs', '--check', '--json'))) as {
      hubs: readonly { name: string; mirrors: readonly unknown[] }[];
    };
    const mirrors = [{ address: `oci:${registry.host}/models`, reachable: true, problem: null }];
    expect(hubs.find(({ name }) => name === 'hf')?.mirrors).toEqual(mirrors);
  });
});

describe('a registry as mirror of web addresses', () => {
  const archive = Buffer.concat([tarMember({ name: 'dir/model.onnx', content: 'weights' }), END_OF_TAR]);
  let server: TestServer;
  let isGone = false;

  beforeEach(async () => {
    isGone = false;
    server = await startServer((_request, path) =>
      isGone ? { status: 503 } : { body: path.endsWith('.tar') ? archive : 'one file' },
    );
    for (const world of [first, second]) {
      const settings = [
        ['hubs.url.insecure', [new URL(server.origin).host]],
        ['hubs.url.mirrors', [`oci:${registry.host}/web`]],
      ] as const;
      for (const [key, value] of settings)
        succeeded(await world.run('config', 'set', key, JSON.stringify(value)));
    }
  });
  afterEach(() => server.close());

  for (const [name, content] of [
    ['m.onnx', 'one file'],
    ['m.tar#unpack', 'weights'],
  ] as const) {
    withRegistry(`has ${name} by its digest while its server is gone`, async () => {
      const address = `${server.origin}/${name}`;
      const pushed = JSON.parse(succeeded(await first.run('push', address, '--json'))) as { origin: string };
      isGone = true;
      const path = succeeded(await second.run('pull', pushed.origin, ...PLAIN));
      expect(await readFile(name === 'm.onnx' ? path : join(path, 'dir/model.onnx'), 'utf8')).toBe(content);
      const other = pushed.origin.replace(/sha256=[0-9a-f]{8}/, 'sha256=01234567');
      const gone = await second.run('pull', other, ...PLAIN);
      expect(gone.exitCode, gone.stderr).toBe(5);
    });
  }
});

describe('push to a mirror', () => {
  withRegistry('refuses what no mirror is asked for', async () => {
    for (const [reference, said] of [
      ['hf:Org/Model//onnx', 'It is a part of a model'],
      ['./file', 'It comes from no hub'],
      [`oci:${registry.host}/org/model`, 'It is in a registry already'],
      ['hf:Org/Model+int8-cpu', 'It is a conversion of a model'],
    ] as const) {
      const refused = await run(first, 'push', reference);
      expect(refused.exitCode, refused.stderr).toBe(2);
      expect(refused.stderr).toContain(said);
    }
    expect(registry.requests()).toEqual([]);
  });

  withRegistry('says how one of several quantizations is chosen', async () => {
    hub.putRepo({ id: 'org/gguf', files: { 'm-Q4_K_M.gguf': 'four', 'm-Q8_0.gguf': 'eight' } });
    const refused = await run(first, 'push', 'hf:org/gguf');
    expect([refused.exitCode, refused.stderr]).toEqual([2, expect.stringContaining('`modeldl list` prints')]);
    succeeded(await run(first, 'pull', 'hf:org/gguf', '--quant', 'Q8_0', ...PLAIN));
    succeeded(await run(first, 'push', succeeded(await first.run('list', '--quiet'))));
    hub.clearRequests();
    succeeded(await run(second, 'pull', 'hf:org/gguf', '--quant', 'Q8_0', ...PLAIN));
    expect(bytesAsked()).toEqual([]);
  });

  withRegistry('wants a target where no registry or several are configured', async () => {
    await configure(first);
    const none = await run(first, 'push', 'hf:Org/Model');
    expect([none.exitCode, none.stderr]).toEqual([2, expect.stringContaining('hubs.hf.mirrors')]);
    await configure(first, `oci:${registry.host}/a`, `oci:${registry.host}/b`);
    const several = await run(first, 'push', 'hf:Org/Model');
    expect(several.exitCode).toBe(2);
    expect(several.stderr).toContain(`modeldl push hf:Org/Model oci:${registry.host}/b/`);
    expect(hub.requests).toEqual([]);
  });

  withRegistry('is the same whoever does it', async () => {
    const one = await fill();
    const other = JSON.parse(succeeded(await run(second, 'push', 'hf:Org/Model', '--json'))) as Record<
      string,
      unknown
    >;
    expect(other).toMatchObject({ reference: one['reference'], sentBytes: 0 });
  });
});
