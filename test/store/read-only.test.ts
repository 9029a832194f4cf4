import { execFile, execFileSync } from 'node:child_process';
import { chmod, mkdir, readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openStore } from '../../src/store/layout.js';
import { listModels } from '../../src/store/models.js';
import { transpile } from '../helpers/built.js';
import { requirePeer } from '../helpers/require.js';
import { putModel, temporaryDirectory, temporaryStore } from '../helpers/store.js';

const MOUNTED = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && shift 0 && exec "$@"';
const canMount = ((): boolean => {
  try {
    execFileSync('unshare', ['-m', 'sh', '-c', MOUNTED, tmpdir(), 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

describe('a read-only cache works (promise 9)', () => {
  requirePeer('root and `unshare`', canMount)('mounted read-only', async () => {
    const { directory: built, remove } = await transpile([
      'src/store',
      'src/converter.ts',
      'src/json.ts',
      'src/directories.ts',
      'src/errors.ts',
      'src/paths.ts',
    ]);
    onTestFinished(remove);
    const store = await temporaryStore();
    await putModel(store, { 'config.json': '{}' });
    const output = join(await temporaryDirectory(), 'out');
    const reader = fileURLToPath(new URL('fixtures/reader.mjs', import.meta.url));
    const command = [process.execPath, reader, built, store.cacheDir, output];
    const { stdout } = await promisify(execFile)('unshare', [
      '-m',
      'sh',
      '-c',
      MOUNTED,
      store.cacheDir,
      ...command,
    ]);
    const sound = { damaged: [], missing: [] };
    expect(JSON.parse(stdout)).toEqual({ writable: false, checks: [sound, sound], codes: ['DISK', 'DISK'] });
    expect(await readFile(join(output, 'config.json'), 'utf8')).toBe('{}');
  });

  it('that was never made is an empty one', async () => {
    const parent = await temporaryDirectory();
    await mkdir(join(parent, 'cache'));
    await chmod(join(parent, 'cache'), 0o555);
    const cacheDir = join(parent, 'cache');
    const store = await openStore({ cacheDir, durability: 'lazy', emit: () => undefined, readOnly: true });
    expect(await listModels(store)).toEqual([]);
    expect(await readdir(cacheDir)).toEqual([]);
  });
});
