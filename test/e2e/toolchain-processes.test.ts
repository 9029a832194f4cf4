/** An environment that several processes make with the real venv and pip, one of which is killed midway. */
import { createServer, type ServerResponse } from 'node:http';
import { existsSync } from 'node:fs';
import { readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { execa } from 'execa';
import { afterAll, expect, onTestFinished } from 'vitest';
import { transpile } from '../helpers/built.js';
import { listen, stop } from '../helpers/http-server.js';
import { quickPython } from '../helpers/interpreter.js';
import { hasProgram, requirePeer } from '../helpers/require.js';
import { temporaryDirectory } from '../helpers/store.js';
import { makeWheel } from '../helpers/wheels.js';

const PYTHON = hasProgram('python3', ['-m', 'pip', '--version']);
const test = requirePeer('python3 with pip', PYTHON);
const bin = PYTHON ? await quickPython() : '';

const built = await transpile(['src', 'hubs', 'converters']);
afterAll(built.remove);
await symlink(
  fileURLToPath(new URL('../../converters/python', import.meta.url)),
  join(built.directory, 'converters/python'),
);
const BUILT = `${pathToFileURL(built.directory).href}/`;
/** A program with one toolchain, whose lock is small. */
const PROGRAM = `
import { createModeldl } from '${BUILT}src/index.js';
import { createToolchain } from '${BUILT}converters/toolchain/environment.js';
const [lock, cwd, action] = process.argv.slice(1);
const sizes = { downloadBytes: 1000, installedBytes: 1000 };
const toolchain = createToolchain({ name: 'tiny', title: 'tiny', ...sizes, shown: ['solver'], lock });
const modeldl = await createModeldl({
  cwd, home: cwd, environment: process.env, cacheDir: cwd + '/cache',
  plugins: { hubs: [], converters: [], toolchains: [toolchain], runtimes: [] },
});
const result = action === 'install' ? await modeldl.installToolchain('tiny') : await modeldl.toolchains();
console.log(JSON.stringify(result));
await modeldl.close();
`;

test('is made anew after a kill, by one of two that want it at once', async () => {
  const directory = await temporaryDirectory();
  const wheel = makeWheel('solver', '1.0');
  const lock = join(directory, 'tiny.txt');
  await writeFile(lock, wheel.locked);
  const held: ServerResponse[] = [];
  let [holding, served] = [true, 0];
  const server = createServer((request, response) => {
    if (request.url === '/simple/solver/') {
      response.setHeader('content-type', 'text/html');
      response.end(`<a href="/files/${wheel.filename}#sha256=${wheel.sha256}">${wheel.filename}</a>`);
    } else if (holding) {
      held.push(response);
    } else {
      served += 1;
      response.end(wheel.content);
    }
  });
  const port = await listen(server, 0);
  onTestFinished(() => stop(server));
  const start = (action: string) =>
    execa(process.execPath, ['--input-type=module', '-e', PROGRAM, lock, directory, action], {
      extendEnv: false,
      env: {
        PATH: `${bin}:${process.env['PATH'] ?? ''}`,
        HOME: directory,
        PIP_CONFIG_FILE: '/dev/null',
        PIP_INDEX_URL: `http://127.0.0.1:${port}/simple`,
      },
      reject: false,
    });
  const toolchains = join(directory, 'cache', 'v1', 'toolchains');

  const killed = start('install');
  await expect.poll(() => held.length, { timeout: 50_000 }).toBeGreaterThan(0);
  killed.kill('SIGKILL');
  await killed;
  // pip does not outlive it, or it would write into what others make next.
  await expect.poll(() => held.every((response) => response.destroyed), { timeout: 50_000 }).toBe(true);
  const [half = ''] = await readdir(toolchains);
  expect(existsSync(join(toolchains, half, 'bin', 'python'))).toBe(true);
  expect(existsSync(join(toolchains, half, '.complete'))).toBe(false);
  const { stdout } = await start('list');
  expect(JSON.parse(stdout)).toMatchObject([
    {
      state: 'broken',
      reason: 'its installation is not finished: it goes on in another process, or is made anew on next use',
    },
  ]);

  holding = false;
  const both = await Promise.all([start('install'), start('install')]);
  const states = both.map(({ stdout: text }) => JSON.parse(text) as { state: string; directory: string });
  expect(states.map(({ state }) => state)).toEqual(['installed', 'installed']);
  expect(states.map(({ directory: made }) => made)).toEqual(Array(2).fill(join(toolchains, half)));
  expect(served).toBe(1);
  expect(await readdir(toolchains)).toEqual([half]);
  const mark = JSON.parse(await readFile(join(toolchains, half, '.complete'), 'utf8')) as { torch: string };
  expect(mark.torch).toBe('locked');
  const python = join(toolchains, half, 'bin', 'python');
  expect((await execa(python, ['-I', '-c', 'import solver; print(solver.version)'])).stdout).toBe('1.0');
}, 120_000);
