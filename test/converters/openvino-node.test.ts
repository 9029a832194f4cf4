import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openvinoNodeStatus } from '../../converters/openvino-node.js';
import { temporaryDirectory } from '../helpers/store.js';

/** A file beside a `node_modules` that holds openvino-node with these files. */
async function importer(files: Readonly<Record<string, string>>): Promise<string> {
  const directory = await temporaryDirectory();
  const root = join(directory, 'node_modules', 'openvino-node');
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(root, path, '..'), { recursive: true });
    await writeFile(join(root, path), text);
  }
  return join(directory, 'index.js');
}

// Code that must not run, whatever is asked.
const MANIFEST = JSON.stringify({ name: 'openvino-node', version: '2026.4.0', main: 'index.js' });
const TRAP = 'throw new Error("loaded")';
const INSTALLED = { 'package.json': MANIFEST, 'index.js': TRAP, 'bin/ov_node_addon.node': '' };

describe('openvinoNodeStatus', () => {
  it.each([
    ['is there', INSTALLED, 'v22.1.0', { version: '2026.4.0' }],
    [
      'is there for a newer Node.js',
      INSTALLED,
      'v20.17.0',
      { version: '2026.4.0', reason: 'needs Node.js 21 or later, this is v20.17.0' },
    ],
    [
      'was installed without its script',
      { 'package.json': MANIFEST },
      'v24.0.0',
      {
        version: '2026.4.0',
        reason: 'its native part is missing: `npm rebuild openvino-node` downloads it',
      },
    ],
    ['is absent', {}, 'v22.1.0', { reason: 'not installed: `npm install openvino-node` adds it' }],
    [
      'is absent since Node.js is old',
      {},
      'v20.17.0',
      { reason: 'needs Node.js 21 or later, this is v20.17.0' },
    ],
  ])('when it %s', async (_state, files, node, expected) => {
    expect(await openvinoNodeStatus(await importer(files), node)).toEqual(expected);
  });

  it('does not trip over a damaged package', async () => {
    const status = await openvinoNodeStatus(await importer({ 'package.json': '{' }), 'v22.1.0');
    expect(status.version).toBeUndefined();
    expect(status.reason).toContain('damaged');
  });
});
