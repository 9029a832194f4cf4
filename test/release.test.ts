/** The workflows are right, and a release that cannot be published is refused first, with what to do. */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasProgram, requirePeer } from './helpers/require.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const CHECK = join(ROOT, '.github/release-check.mjs');
const URL_OF_IT = 'https://github.example/Acme/modeldl';

let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'modeldl-release-'));
});

afterAll(() => rm(directory, { recursive: true, force: true }));

async function check(manifest: object, changelog = '# Changelog\n\n## 1.2.3\n', tag = 'v1.2.3') {
  await writeFile(join(directory, 'package.json'), JSON.stringify({ name: 'modeldl', ...manifest }));
  await writeFile(join(directory, 'CHANGELOG.md'), changelog);
  const { stdout, exitCode } = await execa(process.execPath, [CHECK], {
    cwd: directory,
    env: {
      GITHUB_REF_NAME: tag,
      GITHUB_REPOSITORY: 'Acme/modeldl',
      GITHUB_SERVER_URL: 'https://github.example',
    },
    reject: false,
  });
  return { lines: stdout.split('\n'), exitCode };
}

describe('a release', () => {
  it.each([[{ type: 'git', url: `git+${URL_OF_IT}.git` }], [{ type: 'git', url: URL_OF_IT }], [URL_OF_IT]])(
    'of the repository %j goes on',
    async (repository) => {
      const { lines, exitCode } = await check({ version: '1.2.3', repository });
      expect([lines, exitCode]).toEqual([['modeldl 1.2.3 can be released'], 0]);
    },
  );

  it.each([
    ['another tag', { version: '1.2.4', repository: URL_OF_IT }, '## 1.2.4', /tag is v1\.2\.3, .* 1\.2\.4/],
    [
      'no section',
      { version: '1.2.3', repository: URL_OF_IT },
      '## 1.2.3 (unreleased)',
      /has no section "## 1\.2\.3"/,
    ],
    [
      'a version that only looks alike',
      { version: '1.2.3', repository: URL_OF_IT },
      '## 1x2.3',
      /has no section/,
    ],
    [
      'no repository',
      { version: '1.2.3' },
      '## 1.2.3',
      /npm pkg set .*repository\.url=git\+https:\/\/github\.example\/Acme\/modeldl\.git`/,
    ],
    [
      'letters of another size',
      { version: '1.2.3', repository: URL_OF_IT.toLowerCase() },
      '## 1.2.3',
      /each letter/,
    ],
    [
      'a fork',
      { version: '1.2.3', repository: { url: 'git+https://github.example/me/modeldl.git' } },
      '## 1.2.3',
      /this is https:\/\/github\.example\/Acme\/modeldl/,
    ],
  ])('with %s is refused', async (_case, manifest, changelog, message) => {
    const { lines, exitCode } = await check(manifest, changelog);
    expect(exitCode).toBe(1);
    expect(lines).toEqual([expect.stringMatching(message)]);
    expect(lines[0]).toMatch(/^::error::/);
  });

  it('is told of all that is wrong at once', async () => {
    const { lines } = await check({ version: '1.0.0' }, '');
    expect(lines).toHaveLength(3);
  });
});

describe('the workflows', () => {
  const withActionlint = requirePeer('actionlint', hasProgram('actionlint'));

  withActionlint('are what actionlint takes', async () => {
    const files = (await readdir(join(ROOT, '.github/workflows'))).map((name) =>
      join(ROOT, '.github/workflows', name),
    );
    const { stdout, exitCode } = await execa('actionlint', ['-no-color', ...files], { reject: false });
    expect([stdout, exitCode]).toEqual(['', 0]);
  });
});
