/** The examples, as those have them who install modeldl: from its tarball, with types, in a project of their own. */
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const INSTALL_MS = 300_000;

let directory: string;
let user: string;

async function versionOf(name: string): Promise<string> {
  const manifest: unknown = JSON.parse(
    await readFile(join(ROOT, 'node_modules', name, 'package.json'), 'utf8'),
  );
  return String(Reflect.get(Object(manifest), 'version'));
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'modeldl-examples-'));
  user = join(directory, 'user');
  await mkdir(user);
  await execa('npm', ['pack', '--pack-destination', directory], { cwd: ROOT });
  const [tarball = ''] = (await readdir(directory)).filter((name) => name.endsWith('.tgz'));
  await cp(join(ROOT, 'examples/shelf-hub'), user, { recursive: true });
  await cp(join(ROOT, 'examples/linear-converter/index.js'), join(user, 'linear.js'));
  const peers = await Promise.all(
    ['vitest', '@types/node'].map(async (name) => `${name}@${await versionOf(name)}`),
  );
  await execa(
    'npm',
    [
      ...['install', '--no-save', '--no-audit', '--no-fund', '--prefer-offline'],
      ...[join(directory, tarball), ...peers],
    ],
    { cwd: user },
  );
}, INSTALL_MS);

afterAll(() => rm(directory, { recursive: true, force: true }));

interface Report {
  readonly numPassedTests: number;
  readonly testResults: readonly {
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[];
  }[];
}

async function runTests(): Promise<{ readonly failed: readonly string[]; readonly numPassedTests: number }> {
  const file = join(directory, 'report.json');
  await execa('npx', ['vitest', 'run', '--reporter=json', `--outputFile=${file}`], {
    cwd: user,
    reject: false,
  });
  const { numPassedTests, testResults } = JSON.parse(await readFile(file, 'utf8')) as Report;
  const results = testResults.flatMap(({ assertionResults }) => assertionResults);
  const failed = results.flatMap(({ status, fullName }) => (status === 'failed' ? [fullName] : []));
  return { failed, numPassedTests };
}

describe('the examples of plugins', () => {
  it('pass the tests of `modeldl/testing` in a project of their own', async () => {
    const { failed, numPassedTests } = await runTests();
    expect(failed).toEqual([]);
    // Those that every hub passes, and its own one.
    expect(numPassedTests).toBeGreaterThanOrEqual(15);
  });

  it('fail them when they are wrong', async () => {
    const module = join(user, 'index.js');
    const source = await readFile(module, 'utf8');
    const broken = source.replace("algorithm: 'sha256', hex }", "algorithm: 'sha256', hex: '0'.repeat(64) }");
    expect(broken).not.toBe(source);
    try {
      await writeFile(module, broken);
      const { failed, numPassedTests } = await runTests();
      expect(failed).toEqual([
        expect.stringMatching(/gives the size and digest of the bytes at each address$/),
      ]);
      expect(numPassedTests).toBeGreaterThan(0);
    } finally {
      await writeFile(module, source);
    }
  });

  it('have the types of modeldl', async () => {
    const compilerOptions = {
      ...{ strict: true, noEmit: true, allowJs: true, checkJs: true, skipLibCheck: true },
      ...{ module: 'nodenext', target: 'es2023', types: ['node'] },
      ...{ exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true },
    };
    await writeFile(
      join(user, 'tsconfig.json'),
      JSON.stringify({ compilerOptions, include: ['*.js', '*.ts'] }),
    );
    // The one deliberate mistake is seen, so the types were found.
    await writeFile(
      join(user, 'mistake.ts'),
      "import type { HubWorld } from 'modeldl/testing';\nexport const world: Pick<HubWorld, 'unknown'> = { unknown: 1 };\n",
    );
    const tsc = join(ROOT, 'node_modules/.bin/tsc');
    const { stdout } = await execa(tsc, ['--pretty', 'false'], { cwd: user, reject: false });
    expect(stdout.split('\n')).toEqual([expect.stringMatching(/^mistake\.ts.*'number' is not assignable/)]);
  });
});
