import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { createWorld, type Run, type World } from '../helpers/program.js';

const BYTES = Buffer.from('not really a model, but bytes all the same');
const SHA256 = createHash('sha256').update(BYTES).digest('hex');

let world: World;

beforeEach(async () => {
  world = await createWorld();
  await writeFile(join(world.directory, 'model.onnx'), BYTES);
});

afterEach(async () => {
  await world.remove();
});

describe('modeldl pull', () => {
  it('prints the path of the file that the reference names, and nothing else', async () => {
    const { exitCode, stdout } = await world.run('pull', './model.onnx');
    expect(exitCode).toBe(0);
    expect(stdout.split('\n')).toHaveLength(1);
    expect(await readFile(stdout)).toEqual(BYTES);
    expect(stdout.startsWith(world.cacheDir)).toBe(true);
  });

  it('gives one JSON document with the digest, and says when nothing was fetched', async () => {
    await world.run('pull', './model.onnx');
    const { stdout } = await world.run('pull', './model.onnx', '--json');
    const document: unknown = JSON.parse(stdout);
    expect(document).toMatchObject({
      ok: true,
      models: [
        { hub: 'file', cached: true, downloadedBytes: 0, files: [{ path: 'model.onnx', sha256: SHA256 }] },
      ],
    });
  });

  it('prints a path that looks like a token as it is', async () => {
    const name = 'hf_sentencetransformers.onnx';
    await writeFile(join(world.directory, name), BYTES);
    const { stdout } = await world.run('pull', `./${name}`);
    expect(await readFile(stdout)).toEqual(BYTES);
    const document = JSON.parse((await world.run('pull', `./${name}`, '--json')).stdout) as {
      models: { path: string }[];
    };
    expect(document.models[0]?.path).toBe(stdout);
  });

  it('makes an independent copy with --output, and refuses a directory of others', async () => {
    expect((await world.run('pull', './model.onnx', '-o', 'out')).exitCode).toBe(0);
    expect(await readFile(join(world.directory, 'out', 'model.onnx'))).toEqual(BYTES);
    expect((await stat(join(world.directory, 'out', 'model.onnx'))).mode & 0o200).toBe(0o200);
    await mkdir(join(world.directory, 'taken'));
    await writeFile(join(world.directory, 'taken', 'mine.txt'), 'mine');
    const refused = await world.run('pull', './model.onnx', '-o', 'taken');
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).toContain('--overwrite');
    expect(await readFile(join(world.directory, 'taken', 'mine.txt'), 'utf8')).toBe('mine');
  });

  it('takes an output in again as the model that it was', async () => {
    await world.run('pull', './model.onnx', '-o', 'out');
    const { stdout, exitCode } = await world.run('pull', './out', '--json');
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      models: [{ files: [{ path: 'model.onnx', sha256: SHA256 }] }],
    });
    expect((await world.run('pull', './out', '-o', 'out2')).exitCode).toBe(0);
  });

  it('goes through list, path, verify, remove and prune', async () => {
    const { stdout: path } = await world.run('pull', './model.onnx');
    expect((await world.run('list', '--quiet')).stdout).toContain('model.onnx');
    expect((await world.run('path', './model.onnx')).stdout).toBe(path);
    expect((await world.run('verify')).exitCode).toBe(0);
    expect((await world.run('remove', './model.onnx')).exitCode).toBe(2);
    expect((await world.run('remove', './model.onnx', '-y', '--prune')).exitCode).toBe(0);
    expect((await world.run('path', './model.onnx')).exitCode).toBe(3);
    await expect(stat(path)).rejects.toThrow('ENOENT');
  });
});

describe('errors', () => {
  const rows: readonly (readonly [string, readonly string[], number, string])[] = [
    ['nothing to do', [], 2, 'Usage'],
    ['no reference', ['pull'], 2, 'modeldl pull hf:org/name'],
    ['an unknown command', ['pul'], 2, 'pull'],
    ['an unknown option', ['pull', '--bogus', 'x'], 2, '--bogus'],
    ['an unknown scheme', ['pull', 'hff:org/name'], 2, 'hf:org/name'],
    ['a malformed reference', ['pull', 'hf:'], 2, 'empty'],
    ['a missing file', ['pull', './missing.onnx'], 3, 'missing.onnx'],
    ['a model that is not stored', ['path', 'hf:org/name'], 3, 'modeldl pull'],
    ['offline and not stored', ['pull', 'hf:org/name', '--offline'], 5, '--offline'],
    ['an unknown precision', ['convert', './model.onnx', '--precision', 'int3'], 2, 'int8'],
    ['an unknown device', ['convert', './model.onnx', '--device', 'TPU'], 2, 'HETERO'],
    [
      'a precision that the device lacks',
      ['convert', './model.onnx', '--precision', 'int4', '--device', 'NPU'],
      9,
      'int8',
    ],
    [
      'a toolchain that may not be installed',
      ['convert', './model.onnx', '--precision', 'fp16', '--no-install'],
      9,
      'modeldl toolchain install openvino',
    ],
  ];
  for (const [name, args, exitCode, said] of rows) {
    it(`${name} exits ${exitCode} and says what to do`, async () => {
      const run = await world.run(...args);
      expect(run.exitCode).toBe(exitCode);
      expect(run.stderr).toContain(said);
      expect(run.stdout).toBe('');
    });
  }

  it('name an address once', async () => {
    const address = 'http://127.0.0.1:1/model.onnx';
    const { stderr } = await world.run('pull', address, '--max-wait', '1ms');
    expect(stderr.split(address)).toHaveLength(2);
  });

  it('are one JSON document with --json', async () => {
    const { exitCode, stdout } = await world.run('path', 'hf:org/name', '--json');
    expect(exitCode).toBe(3);
    expect(JSON.parse(stdout)).toMatchObject({ ok: false, error: { code: 'NOT_FOUND', exitCode: 3 } });
  });

  it('of several references, some of which succeed, exit 11', async () => {
    const { exitCode, stdout } = await world.run('pull', './model.onnx', './missing.onnx');
    expect(exitCode).toBe(11);
    expect(stdout.split('\n')).toHaveLength(1);
  });

  it('refuse a token in a project file', async () => {
    await writeFile(
      join(world.directory, 'modeldl.config.json'),
      '{"hubs":{"hf":{"token":"hf_abcdefghijkl"}}}',
    );
    const { exitCode, stderr } = await world.run('list');
    expect(exitCode).toBe(2);
    expect(stderr).toContain('token');
    expect(stderr).not.toContain('hf_abcdefghijkl');
  });

  it('name the nearest configuration key', async () => {
    await writeFile(join(world.directory, 'modeldl.config.json'), '{"job":2}');
    const { exitCode, stderr } = await world.run('list');
    expect(exitCode).toBe(2);
    expect(stderr).toContain('jobs');
  });

  it('are damage that verify finds and repairs', async () => {
    const { stdout: path } = await world.run('pull', './model.onnx');
    const { chmod } = await import('node:fs/promises');
    await chmod(path, 0o644);
    await writeFile(path, Buffer.from(BYTES).fill(0, 0, 4));
    const found = await world.run('verify');
    expect(found.exitCode).toBe(6);
    expect((await world.run('verify', '--repair')).exitCode).toBe(0);
    expect(await readFile((await world.run('path', './model.onnx')).stdout)).toEqual(BYTES);
  });
});

describe('an endpoint that changed', () => {
  async function moved(): Promise<{ world: World; first: HfHub; second: HfHub; commit: string }> {
    const repos = [
      { id: 'org/name', files: { 'config.json': '{}', 'onnx/model.onnx': 'graph', 'big.bin': 'other' } },
    ];
    const [first, second] = await Promise.all([startHfHub({ repos }), startHfHub({ repos })]);
    const here = await createWorld();
    onTestFinished(async () => {
      await Promise.all([here.remove(), second.close(), first.close()]);
    });
    const commit = first.commitOf('org/name');
    const part = `hf:org/name@${commit}//onnx`;
    expect((await here.runWith({ HF_ENDPOINT: first.endpoint }, 'pull', part)).exitCode).toBe(0);
    first.clearRequests();
    return { world: here, first, second, commit };
  }

  it('is asked for what is missing of a stored revision, and the old one is not', async () => {
    const { world: here, first, second, commit } = await moved();
    const pulled = await here.runWith({ HF_ENDPOINT: second.endpoint }, 'pull', `hf:org/name@${commit}`);
    expect(pulled.exitCode, pulled.stderr).toBe(0);
    expect(await readFile(join(pulled.stdout, 'big.bin'), 'utf8')).toBe('other');
    expect(first.requests).toEqual([]);
    expect(second.requests.length).toBeGreaterThan(0);
  });

  it('is not asked when everything is stored, nor under --offline', async () => {
    const { world: here, first, second, commit } = await moved();
    const elsewhere = { HF_ENDPOINT: second.endpoint };
    const same = await here.runWith(elsewhere, 'pull', `hf:org/name@${commit}//onnx`);
    expect(same.exitCode).toBe(0);
    const narrower = await here.runWith(elsewhere, 'pull', `hf:org/name@${commit}//onnx/model.onnx`);
    expect(narrower.exitCode).toBe(0);
    const offline = await here.runWith(elsewhere, 'pull', `hf:org/name@${commit}`, '--offline');
    expect(offline.exitCode).toBe(5);
    expect([...first.requests, ...second.requests]).toEqual([]);
  });
});

describe('--dry-run', () => {
  it('changes nothing of a stored model: neither when it was used nor what chose its files', async () => {
    const hub = await startHfHub({ repos: [{ id: 'org/one', files: { 'model.onnx': BYTES } }] });
    onTestFinished(() => hub.close());
    const run = (...args: readonly string[]): Promise<Run> =>
      world.runWith({ HF_ENDPOINT: hub.endpoint }, ...args);
    expect((await run('pull', 'hf:org/one', '--include', '*.onnx')).exitCode).toBe(0);
    /** A plan may mark as flushed what is, in the record itself. */
    const stateOf = async (): Promise<readonly unknown[]> => {
      const root = join(world.cacheDir, 'v1');
      const names = (await readdir(root, { recursive: true })).sort();
      const used = names.filter((name) => name.startsWith('used/'));
      const records = names.filter((name) => /^records\/.*\.json$/.test(name));
      return [
        await Promise.all(used.map(async (name) => (await stat(join(root, name))).mtimeMs)),
        await Promise.all(
          records.map(async (name) => {
            const { asked } = JSON.parse(await readFile(join(root, name), 'utf8')) as { asked?: unknown };
            return asked;
          }),
        ),
      ];
    };
    const before = await stateOf();
    expect(JSON.stringify(before)).toContain('*.onnx');
    for (const command of ['pull', 'convert']) {
      const planned = await run(command, 'hf:org/one', '--dry-run');
      expect(planned.exitCode, planned.stderr).toBe(0);
      expect(await stateOf(), command).toEqual(before);
    }
  });
});

describe('files of a model that are the same bytes', () => {
  it('are fetched once, and none waits for another longer than for other processes', async () => {
    const large = Buffer.alloc(9 * 1024 * 1024, 'weights ');
    const files = { 'config.json': '{"small":true}', 'adapter.safetensors': 'adapter', 'model.onnx': large };
    const twice = ['a', 'b'].flatMap((directory) =>
      Object.entries(files).map(([name, content]) => [`${directory}/${name}`, content] as const),
    );
    const hub = await startHfHub({ repos: [{ id: 'org/twice', files: Object.fromEntries(twice) }] });
    onTestFinished(() => hub.close());
    const environment = { HF_ENDPOINT: hub.endpoint };
    const bytes = Object.values(files).reduce((sum, content) => sum + content.length, 0);
    const planned = await world.runWith(environment, 'pull', 'hf:org/twice', '--dry-run', '--json');
    expect(JSON.parse(planned.stdout)).toMatchObject({
      models: [{ bytes: 2 * bytes, downloadBytes: bytes }],
    });
    const slowly = ['--limit-rate', '4M', '--max-wait', '1s', '--connections', '1'];
    const run = await world.runWith(environment, 'pull', 'hf:org/twice', '--json', ...slowly);
    expect(run.exitCode, run.stderr).toBe(0);
    const { models } = JSON.parse(run.stdout) as { models: [{ path: string; downloadedBytes: number }] };
    const [{ path, downloadedBytes }] = models;
    expect(downloadedBytes).toBe(bytes);
    for (const [name, content] of twice) {
      expect((await readFile(join(path, name))).equals(Buffer.from(content)), name).toBe(true);
    }
  });
});
