import { chdir, cwd } from 'node:process';
import { describe, expect, it, onTestFinished } from 'vitest';
import { findPython } from '../../../converters/toolchain/python.js';
import { fakePython, toolchainContext } from '../../helpers/interpreter.js';
import { plantModules } from '../../helpers/planted.js';
import { hasProgram, requirePeer } from '../../helpers/require.js';
import { temporaryStore } from '../../helpers/store.js';

describe('looking for a Python', () => {
  const withPython = requirePeer('python3', hasProgram('python3'));

  withPython('runs nothing that lies in the working directory or on PYTHONPATH', async () => {
    const planted = await plantModules();
    const before = cwd();
    onTestFinished(() => {
      chdir(before);
    });
    chdir(planted.directory);
    const { PATH = '' } = process.env;
    for (const more of [{}, { PYTHONPATH: planted.directory }]) {
      const context = toolchainContext(await temporaryStore(), { environment: { PATH, ...more } });
      expect((await findPython(context, 'openvino')).version).toMatch(/^3\.\d+\.\d+/);
      expect(await planted.ran()).toEqual([]);
    }
  });

  it('starts one once in a run, whatever toolchains ask', async () => {
    const python = await fakePython();
    const environment = { PATH: `${python.bin}:/bin` };
    const context = toolchainContext(await temporaryStore(), { environment });
    const found = await findPython(context, 'openvino');
    expect(await findPython({ ...context }, 'optimum')).toEqual(found);
    expect(await python.calls()).toHaveLength(1);
    await findPython({ ...context, environment: { ...environment } }, 'optimum');
    expect(await python.calls()).toHaveLength(2);
  });
});
