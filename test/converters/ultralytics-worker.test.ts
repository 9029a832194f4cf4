/** What the worker decides without any of its libraries, and the guard around it. */
import { access, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { describe, expect } from 'vitest';
import { assetPath } from '../../converters/assets.js';
import { hasProgram, requirePeer } from '../helpers/require.js';
import { temporaryDirectory } from '../helpers/store.js';

const WORKERS = dirname(assetPath('python', 'ultralytics_worker.py'));

async function python(...lines: readonly string[]): Promise<{ stdout: string; stderr: string }> {
  const start = ['import json, os, socket, sys', `sys.path.insert(0, ${JSON.stringify(WORKERS)})`];
  return execa('python3', ['-I', '-B', '-c', [...start, ...lines].join('\n')]);
}

describe('the weights of a result', () => {
  const test = requirePeer('python3', hasProgram('python3'));

  test('are held against the precision that was asked for', async () => {
    const { stdout } = await python(
      'from ultralytics_worker import other_weights as other',
      'print(json.dumps([',
      '  other({"i8": 90, "f32": 10}, 5, "int8"), other({"f32": 100}, 5, "int8"), other({"u8": 90}, 0, "int8"),',
      '  other({"f16": 90, "f32": 10}, 0, "fp16"), other({"f32": 100}, 0, "fp16"),',
      '  other({"f32": 90, "i64": 10}, 0, "fp32"), other({"f16": 90, "f32": 10}, 0, "fp32"),',
      ']))',
    );
    expect(JSON.parse(stdout)).toEqual([
      null,
      'No layer was quantized to int8',
      'No layer was quantized to int8',
      null,
      expect.stringContaining('did not become fp16'),
      null,
      expect.stringContaining('did not become fp32'),
    ]);
  });
});

describe('the guard of a worker', () => {
  const test = requirePeer('python3', hasProgram('python3'));

  test('lets it write below its directories and nowhere else, links included', async () => {
    const own = await temporaryDirectory();
    const foreign = await temporaryDirectory();
    await mkdir(join(own, 'sub'));
    await writeFile(join(foreign, 'there'), 'kept');
    await symlink(join(foreign, 'there'), join(own, 'link'));
    const { stdout, stderr } = await python(
      'from worker_guard import confine',
      `own, foreign = ${JSON.stringify(own)}, ${JSON.stringify(foreign)}`,
      'confine([own])',
      'open(os.path.join(own, "sub", "made"), "w").close()',
      'open(os.path.join(foreign, "there")).read()',
      'open(os.devnull, "w").close()',
      'refused = []',
      'for name, attempt in {',
      '  "open": lambda: open(os.path.join(foreign, "made"), "w"),',
      '  "link": lambda: open(os.path.join(own, "link"), "a"),',
      '  "os.open": lambda: os.open(os.path.join(foreign, "made"), os.O_CREAT | os.O_WRONLY),',
      '  "mkdir": lambda: os.mkdir(os.path.join(foreign, "made")),',
      '  "rename": lambda: os.rename(os.path.join(own, "sub", "made"), os.path.join(foreign, "made")),',
      '  "remove": lambda: os.remove(os.path.join(foreign, "there")),',
      '}.items():',
      '  try: attempt()',
      '  except PermissionError: refused.append(name)',
      'print(json.dumps(refused))',
    );
    expect(JSON.parse(stdout)).toEqual(['open', 'link', 'os.open', 'mkdir', 'rename', 'remove']);
    expect(stderr.split('\n')).toHaveLength(6);
    await access(join(own, 'sub', 'made'));
    expect(await readFile(join(foreign, 'there'), 'utf8')).toBe('kept');
  });

  test('lets it reach no other program', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    let reached = 0;
    server.on('connection', () => (reached += 1));
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    const { stdout, stderr } = await python(
      'from worker_protocol import forbid_connections',
      'forbid_connections()',
      'refused = []',
      'for attempt in (',
      `  lambda: socket.create_connection(("127.0.0.1", ${port})),`,
      '  lambda: socket.getaddrinfo("example.org", 443),',
      `  lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", ${port})),`,
      '):',
      '  try: attempt()',
      '  except PermissionError: refused.append(True)',
      'print(json.dumps(refused))',
    );
    server.close();
    expect(JSON.parse(stdout)).toEqual([true, true, true]);
    expect(stderr).toContain('refused to connect: example.org');
    expect(reached).toBe(0);
  });
});
