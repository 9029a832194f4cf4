/** What `convert` fetches, and when it refuses: no toolchain is needed to see that. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { fakePython } from '../helpers/interpreter.js';
import { canMount, smallDisk } from '../helpers/mounts.js';
import { createWorld, type World } from '../helpers/program.js';
import { expectRefusal } from '../helpers/refused.js';
import { requirePeer } from '../helpers/require.js';

const MODEL = Buffer.alloc(3_000_000, 'graph and weights ');
const OTHER = Buffer.alloc(5_000_000, 'the same weights in another format ');
const CONFIG = JSON.stringify({ model_type: 'bert', architectures: ['BertModel'] });

let world: World;
let hub: HfHub;

beforeEach(async () => {
  hub = await startHfHub({
    repos: [
      { id: 'org/bert', files: { 'config.json': CONFIG, 'model.safetensors': OTHER } },
      {
        id: 'org/gated',
        gated: { kind: 'auto', granted: [] },
        files: { 'config.json': CONFIG, 'model.safetensors': OTHER },
      },
      {
        id: 'org/mixed',
        files: { 'README.md': '# model', 'onnx/model.onnx': MODEL, 'model.safetensors': OTHER },
      },
    ],
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
});

afterEach(async () => {
  await world.remove();
  await hub.close();
});

function fetched(): number {
  return hub.requests.filter(({ server }) => server === 'cdn').reduce((sum, { bytes }) => sum + bytes, 0);
}

describe('modeldl convert', () => {
  it('plans by the listing, without fetching or storing anything', async () => {
    const { exitCode, stdout, stderr } = await world.run('convert', 'hf:org/mixed', '--dry-run', '--json');
    expect(exitCode, stderr).toBe(0);
    const commit = hub.commitOf('org/mixed');
    expect(JSON.parse(stdout)).toMatchObject({
      models: [
        {
          reference: `hf:org/mixed@${commit}+int8-cpu`,
          key: expect.stringMatching(/^[0-9a-f]{64}$/) as unknown,
          stored: false,
          downloadBytes: MODEL.length,
        },
      ],
    });
    expect(fetched()).toBe(0);
    expect((await world.run('list', '-q')).stdout).toBe('');
  });

  it('takes a folder whose name ends like a conversion as the folder that it is', async () => {
    await mkdir(join(world.directory, 'm+deadbeef'));
    await writeFile(join(world.directory, 'm+deadbeef', 'model.onnx'), 'graph');
    const { exitCode, stdout, stderr } = await world.run('convert', './m+deadbeef', '--dry-run');
    expect(exitCode, stderr).toBe(0);
    expect(stdout).toContain('m%2Bdeadbeef+int8-cpu');
    expect(stdout).toContain('read model.onnx as onnx');
  });

  it.each<readonly [string, readonly string[], 'UNSUPPORTED' | 'USAGE', RegExp, RegExp]>([
    ['a rule', ['--precision', 'int4', '--device', 'NPU'], 'UNSUPPORTED', /int4 on NPU/, /--precision int8/],
    ['an unknown setting', ['--set', 'nonsense=1'], 'USAGE', /nonsense/, /--set/],
    ['files that were left out', ['--include', '*.md'], 'UNSUPPORTED', /no ONNX/, /modeldl converters/],
  ])('is refused by %s before anything is fetched', async (_what, flags, code, message, hint) => {
    await expectRefusal(world, ['convert', 'hf:org/mixed', ...flags], { code, message, hint });
    expect(fetched()).toBe(0);
    expect((await world.run('list', '-q')).stdout).toBe('');
  });

  it('is refused before anything is fetched when its toolchain may not be installed', async () => {
    await expectRefusal(world, ['convert', 'hf:org/mixed', '--no-install'], {
      code: 'TOOLCHAIN',
      message: /`openvino` is not installed/,
      hint: /modeldl toolchain install openvino/,
    });
    expect(fetched()).toBe(0);
    expect((await world.run('list', '-q')).stdout).toBe('');
  });

  it('is refused before anything is fetched without Python, also when the hub tells no sha256 of small files', async () => {
    const { bin } = await fakePython({ name: 'perl' });
    for (const model of ['hf:org/mixed', 'hf:org/bert']) {
      const run = await world.runWith({ PATH: bin }, 'convert', model);
      expect(run.exitCode, run.stderr).toBe(9);
      expect(run.stderr).toContain('needs Python 3.10 to 3.14: none was found');
    }
    const forbidden = await world.run('convert', 'hf:org/bert', '--no-install');
    expect(forbidden.exitCode, forbidden.stderr).toBe(9);
    expect(fetched()).toBe(0);
    expect((await world.run('list', '-q')).stdout).toBe('');
  });

  requirePeer('root and `mount`', canMount)(
    'is refused before anything is fetched when the disk is too small for its toolchain',
    async () => {
      const { directory } = await smallDisk('size=60M');
      const args = ['convert', 'hf:org/mixed', '--cache-dir', directory];
      await expectRefusal(world, args, {
        code: 'DISK',
        message: /the cache and the conversion and the toolchain `openvino` in .*bytes needed/,
        hint: /--no-space-check/,
      });
      expect(fetched()).toBe(0);
      const { bin } = await fakePython({ pip: ['exit 1'] });
      const waived = await world.runWith({ PATH: `${bin}:/bin` }, ...args, '--no-space-check');
      expect(waived.exitCode, waived.stderr).toBe(9);
      expect(fetched()).toBe(MODEL.length);
    },
  );

  it('fetches only what its converter reads, and what was planned', async () => {
    const planned = await world.run('convert', 'hf:org/mixed', '--dry-run', '--json');
    const { bin } = await fakePython({ pip: ['exit 1'] });
    const failed = await world.runWith({ PATH: `${bin}:/bin` }, 'convert', 'hf:org/mixed');
    expect(failed.exitCode, failed.stderr).toBe(9);
    expect(fetched()).toBe(MODEL.length);
    const [before, after] = [planned, await world.run('convert', 'hf:org/mixed', '--dry-run', '--json')].map(
      ({ stdout }) => (JSON.parse(stdout) as { models: { key: string; downloadBytes: number }[] }).models[0],
    );
    expect(after).toMatchObject({ key: before?.key, downloadBytes: 0 });
  });

  it('plans a model of a library by its configuration alone, which it asks for once', async () => {
    const { exitCode, stdout, stderr } = await world.run('convert', 'hf:org/bert', '--dry-run', '--json');
    expect(exitCode, stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      models: [
        {
          converter: 'optimum',
          task: 'feature-extraction',
          toolchain: { name: 'optimum', state: 'missing' },
          downloadBytes: OTHER.length + CONFIG.length,
        },
      ],
    });
    const files = hub.requests.map(({ url }) => /\/resolve\/\w+\/(.*)$/.exec(url)?.[1]).filter(Boolean);
    expect(files).toEqual(['config.json']);
    expect(fetched()).toBe(0);
    expect((await world.run('list', '-q')).stdout).toBe('');
  });

  it('fetches the configuration that it plans by once, also of a model that it pulls then', async () => {
    const { bin } = await fakePython({ pip: ['exit 1'] });
    const { exitCode, stderr } = await world.runWith({ PATH: `${bin}:/bin` }, 'convert', 'hf:org/bert');
    expect(exitCode, stderr).toBe(9);
    const files = hub.requests.map(({ url }) => /\/resolve\/\w+\/(.*)$/.exec(url)?.[1]).filter(Boolean);
    expect(files).toEqual(['config.json', 'model.safetensors']);
    const verified = await world.run('verify', '--json');
    expect(verified.exitCode, verified.stdout).toBe(0);
    expect((await world.run('list', '-q')).stdout).toContain('hf:org/bert@');
  });

  it.each<readonly [string, readonly string[]]>([
    ['a plan', ['--dry-run']],
    ['a conversion', []],
  ])('of a gated model is refused by %s with where to ask for access', async (_what, flags) => {
    const { error } = await expectRefusal(world, ['convert', 'hf:org/gated', ...flags], {
      code: 'GATED',
      message: /Access to the model org\/gated has to be asked for/,
      hint: /ask for access on that page, then run `modeldl login hf`/,
    });
    expect(error.url).toContain('org/gated');
    expect(fetched()).toBe(0);
    expect((await world.run('list', '-q')).stdout).toBe('');
  });

  it('takes a model that is stored as it is, with the same key', async () => {
    const planned = await world.run('convert', 'hf:org/mixed', '--dry-run', '--json');
    await world.run('pull', 'hf:org/mixed');
    hub.clearRequests();
    const again = await world.run('convert', 'hf:org/mixed', '--dry-run', '--json');
    const keyOf = (stdout: string): unknown =>
      (JSON.parse(stdout) as { models: { key: string }[] }).models[0]?.key;
    expect(keyOf(again.stdout)).toBe(keyOf(planned.stdout));
    expect((await world.run('convert', 'hf:org/mixed', '--no-install')).exitCode).toBe(9);
    expect(fetched()).toBe(0);
  });
});
