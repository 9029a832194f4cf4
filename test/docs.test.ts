/** The documentation of the API is whole: every type that it names is in it, and every link leads somewhere. */
import { execa } from 'execa';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DOCS_MS = 300_000;

it(
  '`npm run docs` has no warning',
  async () => {
    // The build has checked the types.
    const typedoc = join(ROOT, 'node_modules/.bin/typedoc');
    const { exitCode, all } = await execa(typedoc, ['--emit', 'none', '--skipErrorChecking'], {
      cwd: ROOT,
      all: true,
      reject: false,
    });
    expect([all, exitCode]).toEqual(['', 0]);
  },
  DOCS_MS,
);
