import { execa } from 'execa';
import { createHash } from 'node:crypto';
import { chmod, cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { platform } from 'node:process';
import { fileURLToPath } from 'node:url';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMMANDS } from '../src/cli/program.js';
import { canRunAs } from './helpers/program.js';
import { requirePeer } from './helpers/require.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const INSTALL_MS = 300_000;
const MAX_BYTES = 1_000_000;
/** No system has a user of this number. */
const NOBODY_AT_ALL = 54_321;
const asStranger = requirePeer('root, and a repository that all may read', canRunAs(NOBODY_AT_ALL));

const packed = v.pipe(
  v.string(),
  v.parseJson(),
  v.tuple([
    v.object({
      filename: v.string(),
      size: v.number(),
      files: v.array(v.object({ path: v.string() })),
    }),
  ]),
);

let directory: string;
let tarball: v.InferOutput<typeof packed>[0];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'modeldl-package-'));
  [tarball] = v.parse(packed, await npm(ROOT, 'pack', '--json', '--pack-destination', directory));
}, INSTALL_MS);

afterAll(() => rm(directory, { recursive: true, force: true }));

async function npm(cwd: string, ...args: readonly string[]): Promise<string> {
  const { stdout } = await execa('npm', [...args, '--no-audit', '--no-fund', '--prefer-offline'], { cwd });
  return stdout;
}

describe('the package', () => {
  it('has nothing that publint frowns at', async () => {
    const { messages, pkg } = await publint({ pkgDir: ROOT, strict: true });
    expect(messages.map((message) => formatMessage(message, pkg))).toEqual([]);
  });

  it('is small, and holds nothing that a user does not run or read', () => {
    expect(tarball.size).toBeLessThan(MAX_BYTES);
    const paths = tarball.files.map(({ path }) => path);
    expect(
      paths.filter((path) => /\.map$|^dist\/.*\.test\.|^(src|hubs|test|bench)\/.*\.ts$/.test(path)),
    ).toEqual([]);
    // What is neither an entry nor loaded by one is of another build.
    expect(
      paths.filter((path) => /^dist\/.*\.js$/.test(path) && !path.startsWith('dist/src/chunks/')),
    ).toEqual(['dist/bin/modeldl.js', 'dist/src/index.js', 'dist/test/testing.js']);
  });

  it(
    'installs globally into an empty prefix, with everything that its commands load and read',
    async () => {
      const prefix = join(directory, 'prefix');
      const home = join(directory, 'home');
      await mkdir(home);
      await npm(directory, 'install', '--global', '--prefix', prefix, join(directory, tarball.filename));
      const command = platform === 'win32' ? join(prefix, 'modeldl.cmd') : join(prefix, 'bin', 'modeldl');
      const modeldl = async (...args: readonly string[]): Promise<string> => {
        const { stdout } = await execa(command, args, {
          cwd: home,
          env: { HOME: home, USERPROFILE: home, MODELDL_CACHE_DIR: join(home, 'cache') },
        });
        return stdout;
      };
      expect(await modeldl('--version')).toBe(await version());
      await writeFile(join(home, 'model.onnx'), 'a model');
      expect(await readFile(await modeldl('pull', './model.onnx'), 'utf8')).toBe('a model');
      for (const { name } of COMMANDS) expect(await modeldl(name, '--help')).toContain(`modeldl ${name}`);
      const toolchains: unknown = JSON.parse(await modeldl('toolchain', 'list', '--json'));
      expect(toolchains).toMatchObject({ ok: true });
      // Their requirement files are packed.
      const lock = { toolchain: 'openvino', converter: 'openvino', key: '0'.repeat(64), platform: 'any' };
      await writeLocked(home, lock);
      const key: unknown = JSON.parse(await modeldl('ci', 'key', '--json'));
      const requirements = await readFile(join(ROOT, 'converters/requirements/openvino.txt'));
      const digest = createHash('sha256').update(requirements).digest('hex');
      expect(key).toMatchObject({ toolchains: { openvino: digest } });
      expect(await modeldl('hubs', '--quiet')).toContain('hf');
      // Windows has no `man`, and npm links none there.
      if (platform === 'win32') return;
      const pages = join(prefix, 'share/man/man1');
      expect(await readFile(join(pages, 'modeldl.1'), 'utf8')).toContain('.SH COMMANDS');
      for (const { name } of COMMANDS)
        expect(await readFile(join(pages, `modeldl-${name}.1`), 'utf8')).toContain(`modeldl ${name}`);
    },
    INSTALL_MS,
  );

  asStranger(
    'runs without its optional packages, for a user without a name or a home, who may write nothing but the cache',
    async () => {
      const prefix = join(directory, 'bare');
      await chmod(directory, 0o755);
      const install = ['install', '--global', '--omit=optional', '--prefix', prefix];
      await npm(directory, ...install, join(directory, tarball.filename));
      const model = join(directory, 'model.onnx');
      await writeFile(model, 'a model');
      const cache = await mkdtemp(join(directory, 'cache-'));
      await chmod(cache, 0o777);
      const modeldl = (environment: Readonly<Record<string, string>>, ...args: readonly string[]) =>
        execa(process.execPath, [join(prefix, 'lib/node_modules/modeldl/dist/bin/modeldl.js'), ...args], {
          cwd: directory,
          env: environment,
          extendEnv: false,
          reject: false,
          uid: NOBODY_AT_ALL,
          gid: NOBODY_AT_ALL,
        });
      for (const home of [{}, { HOME: '' }, { HOME: join(directory, 'nowhere') }]) {
        const { stdout, stderr } = await modeldl({ ...home, MODELDL_CACHE_DIR: cache }, 'pull', model);
        expect(stderr).not.toContain('error');
        expect(await readFile(stdout, 'utf8')).toBe('a model');
        const refused = await modeldl(home, 'pull', model);
        expect([refused.exitCode, refused.stdout]).toEqual([7, '']);
        expect(refused.stderr).toMatch(/^error: .*\.cache/m);
      }
    },
    INSTALL_MS,
  );

  it(
    'installs from its tarball, runs, and gives its types to a program',
    async () => {
      const user = join(directory, 'user');
      await mkdir(user);
      await writeFile(join(user, 'package.json'), '{ "name": "user", "version": "1.0.0", "type": "module" }');
      await npm(user, 'install', join(directory, tarball.filename));
      const { stdout } = await execa(join(user, 'node_modules/.bin/modeldl'), ['--version']);
      expect(stdout).toBe(await version());
      await writeFile(
        join(user, 'program.ts'),
        "import { createModeldl, type Hub, type Modeldl, type PullOptions } from 'modeldl';\n" +
          "import { createHubContext, startServer } from 'modeldl/testing';\n" +
          'export const options: PullOptions = { force: 1 };\n' +
          'export const listed = (modeldl: Modeldl, hub: Hub): Promise<number> =>\n' +
          '  modeldl.list().then(({ models }) => models.length + hub.name.length);\n' +
          'export { createModeldl, createHubContext, startServer };\n',
      );
      const program =
        "import { createModeldl, EXIT_CODES } from 'modeldl';\n" +
        'const [home] = process.argv.slice(1);\n' +
        'const modeldl = await createModeldl({ cwd: home, home, environment: {}, cacheDir: home + "/cache" });\n' +
        'console.log((await modeldl.list()).models.length, EXIT_CODES.DISK); await modeldl.close();';
      const run = await execa(process.execPath, ['--input-type=module', '-e', program, user], { cwd: user });
      expect(run.stdout).toBe('0 7');
      const compilerOptions = {
        strict: true,
        noEmit: true,
        module: 'nodenext',
        types: [],
        skipLibCheck: true,
      };
      await writeFile(
        join(user, 'tsconfig.json'),
        JSON.stringify({ compilerOptions, files: ['program.ts'] }),
      );
      const tsc = join(ROOT, 'node_modules/.bin/tsc');
      const checked = await execa(tsc, ['--pretty', 'false'], { cwd: user, reject: false });
      // The one deliberate mistake is seen, so the types were found.
      expect(checked.stdout.split('\n')).toEqual([
        expect.stringContaining("Type 'number' is not assignable to type 'boolean | undefined'"),
      ]);
    },
    INSTALL_MS,
  );

  it(
    'installs without development packages, leaving `dist` alone',
    async () => {
      const checkout = join(directory, 'checkout');
      await mkdir(checkout);
      for (const name of ['package.json', 'package-lock.json', '.npmrc', 'tsconfig.json', 'bin', 'src']) {
        await cp(join(ROOT, name), join(checkout, name), { recursive: true });
      }
      await npm(checkout, 'ci', '--omit=dev');
      await expect(stat(join(checkout, 'dist'))).rejects.toThrow('ENOENT');
    },
    INSTALL_MS,
  );
});

/** A list of one model, and a lock that holds a conversion of it. */
async function writeLocked(home: string, conversion: object): Promise<void> {
  const models = [{ reference: 'hf:org/name', precision: 'fp16' }];
  await writeFile(join(home, 'modeldl.config.json'), JSON.stringify({ models }));
  const asked = {
    reference: 'hf:org/name',
    conversion: { precision: 'fp16', device: 'CPU', prebuilt: 'tell' },
  };
  const model = { hub: 'hf', id: 'org/name', revision: '1', files: [{ path: 'a' }] };
  const lock = { version: 1, models: [{ asked, reference: 'hf:org/name@1', ...model, conversion }] };
  await writeFile(join(home, 'modeldl.lock'), JSON.stringify(lock));
}

async function version(): Promise<string> {
  const manifest: unknown = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'));
  return String(Reflect.get(Object(manifest), 'version'));
}
