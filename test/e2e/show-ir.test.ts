/** What `show` says of an IR that is stored. */
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createWorld, type World } from '../helpers/program.js';

let world: World;
let model: string;

async function putIr(name: string, as = name): Promise<void> {
  const fixture = fileURLToPath(new URL(`../fixtures/ir/${name}.xml`, import.meta.url));
  await copyFile(fixture, join(model, `${as}.xml`));
  await writeFile(join(model, `${as}.bin`), Buffer.alloc(2_000));
}

beforeEach(async () => {
  world = await createWorld();
  model = join(world.directory, 'model');
  await mkdir(model);
});

afterEach(async () => {
  await world.remove();
});

describe('modeldl show of an IR', () => {
  it('lists inputs, outputs and weights, for people and as data', async () => {
    await putIr('int4');
    await world.run('pull', model);
    const { stdout } = await world.run('show', model);
    expect(stdout).toMatch(/^ {2}input {6}x {2}f32 \[\?,32\]\n {2}output {5}y {2}f32 \[\?,32\]$/m);
    expect(stdout).toMatch(/^ {2}weights {4}i4 79 %, f16 20 %, i64 1 %$/m);
    expect(JSON.parse((await world.run('show', model, '--json')).stdout)).toMatchObject({
      models: [
        {
          inputs: [{ file: 'int4.xml', name: 'x', type: 'f32', shape: ['?', 32] }],
          outputs: [{ file: 'int4.xml', name: 'y', type: 'f32', shape: ['?', 32] }],
          weights: [{ file: 'int4.xml', type: 'i4', bytes: 1024 }, { type: 'f16' }, { type: 'i64' }],
        },
      ],
    });
  });

  it('names the file where there are several, and passes by what is none', async () => {
    await putIr('int4');
    await putIr('branches');
    await writeFile(join(model, 'broken.xml'), '<net name="cut"><layers>');
    await writeFile(join(model, 'broken.bin'), '');
    await writeFile(join(model, 'alone.xml'), '<annotation/>');
    await world.run('pull', model);
    const { exitCode, stdout } = await world.run('show', model);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^ {2}input {6}branches\.xml: flag {2}boolean \[\]$/m);
    expect(stdout).toMatch(/^ {2}weights {4}int4\.xml: i4 /m);
    expect(stdout).not.toMatch(/(input|output|weights) .*(broken|alone)/);
  });

  it('has a name with line ends on one line, and as data as it is', async () => {
    await putIr('int4');
    const xml = join(model, 'int4.xml');
    const name = 'x\n  kind       remote';
    await writeFile(
      xml,
      (await readFile(xml, 'utf8')).replaceAll('names="x"', `names="${name.replace('\n', '&#10;')}"`),
    );
    await world.run('pull', model);
    const { stdout } = await world.run('show', model);
    expect(stdout.match(/^ {2}kind .*$/gm)).toEqual(['  kind       pulled']);
    expect(stdout).toMatch(/^ {2}input {6}x {3}kind {7}remote {2}f32 \[\?,32\]$/m);
    expect(JSON.parse((await world.run('show', model, '--json')).stdout)).toMatchObject({
      models: [{ inputs: [{ name }] }],
    });
  });
});
