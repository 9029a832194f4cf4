import { execa } from 'execa';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const INSTALL_MS = 300_000;

let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'modeldl-package-'));
});

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

  it(
    'installs from its tarball, runs, and gives its types to a program',
    async () => {
      await npm(ROOT, 'pack', '--pack-destination', directory);
      const [tarball] = (await readdir(directory)).filter((name) => name.endsWith('.tgz'));
      const user = join(directory, 'user');
      await mkdir(user);
      await writeFile(join(user, 'package.json'), '{ "name": "user", "version": "1.0.0", "type": "module" }');
      await npm(user, 'install', join(directory, tarball ?? ''));
      const { stdout } = await execa(join(user, 'node_modules/.bin/modeldl'), ['--version']);
      expect(stdout).toBe(await version());
      await writeFile(
        join(user, 'program.ts'),
        "import { createModeldl, type PullOptions } from 'modeldl';\n" +
          'export const options: PullOptions = { force: 1 };\nexport { createModeldl };\n',
      );
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

async function version(): Promise<string> {
  const manifest: unknown = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'));
  return String(Reflect.get(Object(manifest), 'version'));
}
