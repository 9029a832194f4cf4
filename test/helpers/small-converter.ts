/** A converter for tests of what happens around one: writes a word, and runs in no environment. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ConversionPlan, Converter, Toolchain } from '../../src/converter.js';

export const noToolchain: Toolchain = {
  name: 'none',
  title: 'nothing',
  downloadBytes: 0,
  digest: () => Promise.resolve('none'),
  status: () => Promise.resolve({ state: 'installed', versions: {} }),
  ensure: () => Promise.resolve({ python: '/bin/false' }),
  download: () => Promise.resolve({ files: 0, bytes: 0 }),
  remove: () => Promise.resolve({ freedBytes: 0, sharedBytes: 0 }),
};

export function smallConverter(
  reads: readonly string[],
  estimate: ConversionPlan['estimate'] = { diskBytes: 1, resultBytes: 1, memoryBytes: 1 },
): Converter {
  return {
    name: 'small',
    accepts: 'everything',
    makes: 'a word',
    toolchains: [noToolchain.name],
    settings: {},
    plan: (_model, { precision, device }) =>
      Promise.resolve({
        converter: 'small',
        toolchain: noToolchain.name,
        reads,
        precision,
        device,
        settings: {},
        steps: [],
        adjustments: [],
        estimate,
      }),
    run: async (_model, _plan, outDir) => {
      await writeFile(join(outDir, 'model.xml'), 'converted');
      return { versions: {}, warnings: [] };
    },
    check: () => Promise.resolve({ passed: true, compared: false, outputs: [], warnings: [] }),
  };
}
