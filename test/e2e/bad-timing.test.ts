import { createHash, randomBytes } from 'node:crypto';
import { constants as os } from 'node:os';
import { existsSync } from 'node:fs';
import { chmod, readdir, readFile, readlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { constants, deflateRawSync } from 'node:zlib';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { createWorld, type Started, type World } from '../helpers/program.js';
import { hasProgram, requirePeer } from '../helpers/require.js';
import { startServer } from '../hubs/server.js';
import { zip } from '../transfer/make-archive.js';

const MiB = 1024 * 1024;
/** Above the size that is fetched in one go, so that there is something to resume. */
const LARGE = Buffer.alloc(24 * MiB, 'large weights ');
const SMALL = Buffer.alloc(MiB, 'small weights ');

let world: World;
let hub: HfHub;

beforeEach(async () => {
  hub = await startHfHub({
    repos: [
      { id: 'org/large', files: { 'config.json': '{}', 'model.onnx': LARGE } },
      { id: 'org/small', files: { 'config.json': '{}', 'model.onnx': SMALL } },
    ],
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
});

afterEach(async () => {
  await world.remove();
  await hub.close();
});

function sha256Of(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function inCache(area: string): Promise<readonly string[]> {
  return readdir(join(world.cacheDir, 'v1', area));
}

describe('two processes that pull the same model at once', () => {
  it.each(['org/large', 'org/small'])('both succeed, and the bytes of %s come once', async (id) => {
    hub.addFault({ server: 'cdn', times: 1, kind: { delayMs: 300 } });
    const runs = await Promise.all(
      [1, 2, 3].map(() => world.run('pull', `hf:${id}`, '--json', '--connections', '1')),
    );
    expect(runs.map(({ exitCode }) => exitCode)).toEqual([0, 0, 0]);
    const models = runs.map(
      ({ stdout }) =>
        (JSON.parse(stdout) as { models: { path: string; cached: boolean; downloadedBytes: number }[] })
          .models[0],
    );
    expect(new Set(models.map((model) => model?.path)).size).toBe(1);
    expect(models.map((model) => model?.cached).sort()).toEqual([false, true, true]);
    const fetched = hub.requests.filter(({ server, method }) => server === 'cdn' && method === 'GET');
    const size = id === 'org/large' ? LARGE.length : SMALL.length;
    expect(fetched.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(size);
    expect(await inCache('claims')).toEqual([]);
    expect(await inCache('sessions')).toEqual([]);
  });

  it('go on when the one that fetches is killed: the other takes over what it had', async () => {
    hub.addFault({ server: 'cdn', times: 1, kind: { stall: 20 * MiB } });
    const first = world.start({}, 'pull', 'hf:org/large', '--connections', '1');
    await hub.stuck();
    const second = world.start({}, 'pull', 'hf:org/large');
    first.signal('SIGKILL');
    await first.done;
    const { exitCode, stdout } = await second.done;
    expect(exitCode).toBe(0);
    expect((await readFile(join(stdout, 'model.onnx'))).equals(LARGE)).toBe(true);
  });
});

describe('a prune while a removed model is pulled anew', () => {
  function isCached(bytes: Buffer): boolean {
    const sha256 = sha256Of(bytes);
    return existsSync(join(world.cacheDir, 'v1/blobs/sha256', sha256.slice(0, 2), sha256));
  }

  it('takes none of the files that are here already, whatever digest the hub promised', async () => {
    hub.putRepo({ id: 'org/two', files: { 'config.json': '{"a": 1}', 'a.onnx': SMALL, 'b.onnx': LARGE } });
    expect((await world.run('pull', 'hf:org/two')).exitCode).toBe(0);
    expect((await world.run('remove', 'hf:org/two', '-y')).exitCode).toBe(0);
    hub.addFault({
      server: 'cdn',
      times: 1,
      matches: new RegExp(sha256Of(LARGE)),
      kind: { stall: 20 * MiB },
    });
    const run = world.start({}, 'pull', 'hf:org/two', '--force', '--connections', '1');
    await hub.stuck();
    expect((await world.run('prune', '-y')).exitCode).toBe(0);
    expect([Buffer.from('{"a": 1}'), SMALL].map(isCached)).toEqual([true, true]);
    run.signal('SIGINT');
    await run.done;
  });
});

describe('an interrupted pull', () => {
  it.each([
    ['Ctrl-C', 'SIGINT', 130, 'Interrupted'],
    ['SIGTERM', 'SIGTERM', 143, 'Terminated'],
  ] as const)(
    'by %s keeps what came, says how to resume, and is resumed',
    async (_what, signal, code, said) => {
      hub.addFault({ server: 'cdn', times: 1, kind: { stall: 20 * MiB } });
      const run = world.start({}, 'pull', 'hf:org/large', '--connections', '1');
      await hub.stuck();
      run.signal(signal);
      const { exitCode, stdout, stderr } = await run.done;
      expect(exitCode).toBe(code);
      expect(stdout).toBe('');
      expect(stderr).toContain(`error: ${said}`);
      expect(stderr).toContain('run the same command again to resume');
      expect(stderr).not.toMatch(/^\s+at /m);
      for (const area of ['models/hf', 'records/hf', 'tmp', 'claims', 'sessions']) {
        expect([area, await inCache(area).catch(() => [])]).toEqual([area, []]);
      }
      expect((await world.run('path', 'hf:org/large')).exitCode).toBe(3);
      hub.clearRequests();
      const again = await world.run('pull', 'hf:org/large');
      expect(again.exitCode).toBe(0);
      expect((await readFile(join(again.stdout, 'model.onnx'))).equals(LARGE)).toBe(true);
      const [rest] = hub.requests.filter(({ server }) => server === 'cdn');
      expect(rest?.status).toBe(206);
      expect(rest?.bytes).toBeLessThan(LARGE.length);
      expect(await inCache('partials')).toEqual([]);
    },
  );

  it.each(['hub', 'cdn'] as const)(
    'that waits for an answer of the %s ends as well, as JSON',
    async (server) => {
      hub.addFault({ server, kind: { never: true } });
      const run = world.start({}, 'pull', 'hf:org/large', '--json', '--connections', '1');
      await hub.stuck();
      run.signal('SIGINT');
      const { exitCode, stdout } = await run.done;
      expect(exitCode).toBe(130);
      expect(JSON.parse(stdout)).toMatchObject({ ok: false, error: { code: 'INTERRUPTED', exitCode: 130 } });
    },
  );

  it('of a conversion ends alike while its model is fetched', async () => {
    hub.addFault({ server: 'cdn', times: 1, kind: { stall: 20 * MiB } });
    const run = world.start({}, 'convert', 'hf:org/large', '--precision', 'fp16', '--connections', '1');
    await hub.stuck();
    run.signal('SIGINT');
    const { exitCode, stdout, stderr } = await run.done;
    expect(exitCode).toBe(130);
    expect(stdout).toBe('');
    expect(stderr).toContain('run the same command again to resume');
    expect((await world.run('list', '--quiet')).stdout).toBe('');
    expect(await inCache('partials')).toHaveLength(1);
  });
});

describe('an interruption', () => {
  const onProc = requirePeer('/proc', existsSync('/proc/self/fd'));

  async function expectInterrupted(run: Started): Promise<void> {
    run.signal('SIGINT');
    const { exitCode, stdout, stderr } = await run.done;
    expect(exitCode, stderr).toBe(130);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/error: Interrupted|"type":"error".*Interrupted/);
    expect(stderr).not.toMatch(/^\s+at /m);
  }

  onProc('ends the hashing of a large stored file', async () => {
    // Hashing so much takes many minutes, more than a test may: only an end on the way passes.
    const bytes = 1024 ** 4;
    const { stdout: path } = await world.run('pull', 'hf:org/small');
    const file = join(path, 'model.onnx');
    const [record = ''] = (await readdir(join(world.cacheDir, 'v1/records'), { recursive: true }))
      .filter((name) => name.endsWith('.json'))
      .map((name) => join(world.cacheDir, 'v1/records', name));
    await writeFile(record, (await readFile(record, 'utf8')).replace(String(SMALL.length), String(bytes)));
    await chmod(file, 0o644);
    await truncate(file, bytes);
    const run = world.start({}, 'verify');
    await expect.poll(() => opened(run.pid), { timeout: 30_000 }).toContain(file);
    await expectInterrupted(run);
  });

  it('ends the unpacking of a large archive, which is kept, and leaves nothing half made', async () => {
    // A MiB that deflates to 3 KiB, 3072 times in one stream: the member is 3 GiB, its checksum is never reached.
    const block = Buffer.concat([randomBytes(2048), Buffer.alloc(MiB - 2048)]);
    const deflated = deflateRawSync(block, { finishFlush: constants.Z_FULL_FLUSH });
    const size = { uncompressedSize: 3072 * MiB };
    const raw = Buffer.concat([...Array<Buffer>(3072).fill(deflated), deflateRawSync('')]);
    const member = { name: 'model.onnx', method: 8, raw, local: size, central: size };
    const server = await startServer(() => ({ body: zip([member]) }));
    onTestFinished(server.close);
    const run = world.start({}, 'pull', `${server.origin}/large.zip`, '--unpack', '--progress', 'json');
    await run.said('"unpack"');
    await expectInterrupted(run);
    for (const area of ['blobs/sha256', 'models', 'records', 'tmp', 'claims', 'sessions'])
      expect([area, await inCache(area)]).toEqual([area, []]);
    expect(await inCache('partials')).toHaveLength(1);
  });

  it('ends waiting for another process, and leaves that one alone', async () => {
    hub.addFault({ server: 'cdn', times: 1, kind: { stall: 20 * MiB } });
    const first = world.start({}, 'pull', 'hf:org/large', '--connections', '1');
    await hub.stuck();
    const second = world.start({}, 'pull', 'hf:org/large');
    await second.said('Waiting for process');
    const claims = await inCache('claims');
    await expectInterrupted(second);
    expect(await inCache('claims')).toEqual(claims);
    await expectInterrupted(first);
    expect(await inCache('claims')).toEqual([]);
  });

  it.each(['hub', 'cdn'] as const)('ends the wait before the %s is asked again', async (server) => {
    // Longer than a test may take, and not so long that it is given up at once.
    hub.addFault({ server, kind: { status: 503, headers: { 'retry-after': '100' } } });
    const run = world.start({}, 'pull', 'hf:org/large');
    await run.said('again in');
    await expectInterrupted(run);
  });

  /** Nobody ever writes to what it reads, so that this never ends, as on a network disk that is gone. */
  async function hanging(): Promise<Started> {
    const pipe = join(world.directory, 'certificates.pem');
    await execa('mkfifo', [pipe]);
    const environment = { SSL_CERT_FILE: pipe };
    const run = world.start({ environment }, 'pull', 'hf:org/small', '--progress', 'json');
    await run.said('"resolve"');
    return run;
  }

  requirePeer('mkfifo', hasProgram('mkfifo'))('that comes once ends even what hangs', async () => {
    const run = await hanging();
    run.signal('SIGINT');
    const { exitCode, stderr } = await run.done;
    expect(exitCode).toBe(130);
    expect(stderr).toContain('run the same command again to resume');
  });

  requirePeer('mkfifo and /proc', existsSync('/proc/self/fd') && hasProgram('mkfifo'))(
    'that comes twice ends at once, whatever hangs',
    async () => {
      const run = await hanging();
      run.signal('SIGINT');
      // Of two equal signals that wait only one arrives.
      await expect.poll(() => pending(run.pid, 'SIGINT')).toBe(false);
      run.signal('SIGINT');
      expect((await run.done).exitCode).toBe(130);
    },
  );
});

describe('a server that asks to wait', () => {
  it.each([
    ['300', []],
    ['400', ['--max-wait', '1h']],
  ])('%s s is waited for with %j', async (seconds, options) => {
    hub.addFault({ server: 'cdn', kind: { status: 429, headers: { 'retry-after': seconds } } });
    const run = world.start({}, 'pull', 'hf:org/large', ...options);
    // Only a second request, or its failure, would end it.
    await run.said('again in').finally(() => {
      run.signal('SIGINT');
    });
    expect((await run.done).exitCode).toBe(130);
  });

  it.each([
    ['400', []],
    ['150', ['--max-wait', '100s']],
    // More than a timer can hold.
    ['3000000', ['--max-wait', '100d']],
  ])('%s s is not waited for with %j', async (seconds, options) => {
    hub.addFault({ server: 'cdn', kind: { status: 429, headers: { 'retry-after': seconds } } });
    const { exitCode, stderr } = await world.run('pull', 'hf:org/large', ...options);
    expect(exitCode).toBe(5);
    expect(stderr).toContain('answered 429');
    expect(stderr).toContain('`--max-wait`');
    expect(stderr).not.toContain('again in');
  });
});

describe('a stream that nobody reads', () => {
  it.each([
    ['pull', ['pull', 'hf:org/small']],
    ['pull --json', ['pull', 'hf:org/small', '--json']],
    ['list', ['list']],
    ['--help', ['--help']],
    ['--version', ['--version']],
    ['a failure with --json', ['path', 'hf:org/none', '--json']],
  ])('ends %s without a word', async (_what, args) => {
    const { stderr } = await world.start({ closed: 'stdout' }, ...args).done;
    expect(stderr).not.toMatch(/EPIPE|Unexpected|Unhandled|^\s+at /m);
  });

  it.each(['stdout', 'stderr'] as const)('does not keep a pull from its end: %s', async (closed) => {
    const { exitCode } = await world.start({ closed }, 'pull', 'hf:org/small').done;
    expect(exitCode).toBe(0);
    expect((await world.run('path', 'hf:org/small')).exitCode).toBe(0);
  });

  it.each([
    ['list --json', 0],
    ['path hf:org/none', 3],
    ['pul', 2],
  ])('leaves `%s` its exit code: %i', async (command, expected) => {
    for (const closed of ['stdout', 'stderr'] as const) {
      expect((await world.start({ closed }, ...command.split(' ')).done).exitCode).toBe(expected);
    }
  });
});

describe('a stdout that is full', () => {
  requirePeer('/dev/full', existsSync('/dev/full'))('fails, since results are missing', async () => {
    for (const command of ['list --json', '--help', '--version']) {
      const under = ['sh', '-c', 'exec "$@" >/dev/full', 'sh'];
      const { exitCode, stderr } = await world.start({ under }, ...command.split(' ')).done;
      expect([command, exitCode]).toEqual([command, 7]);
      expect(stderr).toMatch(/^error: Cannot write the result to stdout: .*ENOSPC.*$/);
    }
  });
});

/** Files that a process has open. */
async function opened(pid: number): Promise<readonly string[]> {
  const directory = `/proc/${pid}/fd`;
  const names = await readdir(directory).catch(() => []);
  return Promise.all(names.map((name) => readlink(join(directory, name)).catch(() => '')));
}

function pending(pid: number, signal: 'SIGINT'): Promise<boolean> {
  return inMask(pid, 'ShdPnd', signal);
}

/** Is the signal in this mask of the process (proc(5))? */
async function inMask(pid: number, mask: string, signal: 'SIGINT'): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const bits = new RegExp(`^${mask}:\\s*([0-9a-f]+)`, 'm').exec(status)?.[1] ?? '0';
  return ((BigInt(`0x${bits}`) >> BigInt(os.signals[signal] - 1)) & 1n) === 1n;
}
