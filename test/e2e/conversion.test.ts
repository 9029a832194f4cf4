/** Conversions as the store sees them: made by an interpreter that is a shell script, whose results are a few bytes. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeStandInOpenvino } from '../helpers/interpreter.js';
import { canMount, withReadOnly } from '../helpers/mounts.js';
import { createWorld, type Run, type Started, type World } from '../helpers/program.js';
import { expectRefusedInText } from '../helpers/refused.js';
import { requirePeer } from '../helpers/require.js';

let world: World;
/** What every worker was asked to do, a line each. */
let jobs: () => Promise<readonly string[]>;
/** Lets conversions come to their end. */
let go: string;

beforeEach(async () => {
  world = await createWorld();
  go = join(world.directory, 'go');
  const log = join(world.directory, 'jobs');
  await writeFile(log, '');
  jobs = async () => (await readFile(log, 'utf8')).split('\n').filter(Boolean);
  const python = await writeStandInOpenvino(join(world.directory, 'python'), {
    convert: [
      `echo convert >> ${log}`,
      // Not for ever, should the test have ended without.
      `while [ -d ${world.directory} ] && ! [ -e ${go} ]; do :; done`,
    ],
    check: [`echo check >> ${log}`],
  });
  const config = { toolchains: { interpreters: { openvino: python } } };
  await writeFile(join(world.directory, 'own.json'), JSON.stringify(config));
  await writeFile(join(world.directory, 'model.onnx'), 'bytes that only a real toolchain would look at');
});

afterEach(() => world.remove());

function start(under: readonly string[], ...flags: readonly string[]): Started {
  return world.start({ under }, '--config', 'own.json', 'convert', './model.onnx', ...flags);
}

interface Converted {
  readonly path: string;
  readonly cached: boolean;
}

function convertedBy({ exitCode, stdout, stderr }: Run): Converted {
  expect(exitCode, stderr).toBe(0);
  const [model] = (JSON.parse(stdout) as { models: readonly Converted[] }).models;
  return { path: model?.path ?? '', cached: model?.cached ?? false };
}

describe('a conversion', () => {
  const FLAGS = ['--precision', 'fp16', '--json'];

  it('that two processes want at the same time is made once', async () => {
    await world.run('pull', './model.onnx');
    const both = [1, 2].map(() => start([], ...FLAGS, '--progress', 'json'));
    await Promise.race(both.map((run) => run.said('the conversion of')));
    await writeFile(go, '');
    const models = (await Promise.all(both.map((run) => run.done))).map(convertedBy);
    expect(models.map(({ cached }) => cached).sort()).toEqual([false, true]);
    expect(models[0]?.path).toBe(models[1]?.path);
    expect(await readFile(join(models[0]?.path ?? '', 'model.bin'), 'utf8')).toBe('weights\n');
    expect(await jobs()).toEqual(['convert', 'check']);
  });

  requirePeer('root and `mount`', canMount)('that is stored is handed out of a read-only cache', async () => {
    await writeFile(go, '');
    const made = convertedBy(await start([], ...FLAGS).done);
    expect(made.cached).toBe(false);
    const readOnly = withReadOnly(world.cacheDir);
    const again = await start(readOnly, ...FLAGS).done;
    expect(again.stderr).toBe('');
    expect(convertedBy(again)).toEqual({ path: made.path, cached: true });
    expect(await jobs()).toEqual(['convert', 'check']);
    expectRefusedInText(await start(readOnly, '--precision', 'fp32').done, {
      code: 'DISK',
      message: `The cache is read-only: ${world.cacheDir}`,
      hint: /--cache-dir/,
    });
    expect(await jobs()).toEqual(['convert', 'check']);
  });

  it('says what it was made with, so that it can be told from others of its precision', async () => {
    await writeFile(go, '');
    const shapes = ['x[1,3]', 'x[2,3]'];
    for (const shape of shapes) convertedBy(await start([], ...FLAGS, '--set', `input-shape=${shape}`).done);
    expectRefusedInText(await world.run('path', './model.onnx', '--precision', 'fp16'), {
      code: 'USAGE',
      message: /Several conversions of .*model\.onnx are stored/,
      hint: /; `modeldl show` of each says how it was made/,
    });
    const stored = JSON.parse((await world.run('list', '--json')).stdout) as {
      models: { reference: string }[];
    };
    const names = stored.models.map(({ reference }) => reference).filter((name) => name.includes('+'));
    const shown = await Promise.all(names.map((name) => world.run('show', name)));
    expect(shown.map(({ stdout }) => /settings +(.*)/.exec(stdout)?.[1]).sort()).toEqual(
      shapes.map((shape) => `input-shape=${shape}`),
    );
  });
});
