/** Plugins of others through the built program: the examples, and ones that are broken. */
import { createHash } from 'node:crypto';
import { cp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PluginState } from '../../src/results.js';
import { writeStandInOpenvino } from '../helpers/interpreter.js';
import { createWorld, type World } from '../helpers/program.js';
import { expectRefusal } from '../helpers/refused.js';
import { startServer, type TestServer } from '../hubs/server.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TOKEN = 'open-sesame';
const LINEAR = {
  weights: [
    [0.5, -1.25, 2],
    [1, 0, -0.75],
  ],
  bias: [0.1, -0.2],
  activation: 'softmax',
};

const FILES: Readonly<Record<string, string>> = {
  'iris/linear.json': JSON.stringify(LINEAR),
  'wrong/linear.json': 'other bytes',
};

function sums(path: string, text: string): string {
  return `${createHash('sha256').update(text).digest('hex')}  ${path}\n`;
}
const SUMS: Readonly<Record<string, string>> = {
  iris: sums('linear.json', JSON.stringify(LINEAR)),
  wrong: sums('linear.json', 'promised bytes'),
  evil: sums('../../evil.json', 'x'),
  away: sums('linear.json', 'elsewhere'),
};

let world: World;
let server: TestServer;
let other: TestServer;
let project: string;

beforeEach(async () => {
  world = await createWorld();
  other = await startServer(() => ({ body: 'elsewhere' }));
  server = await startServer((_request, path) => {
    const name = path.replace('/models/', '');
    if (name === 'away/linear.json') return { status: 302, headers: { location: `${other.origin}/x` } };
    const body = name.endsWith('/SHA256SUMS') ? SUMS[name.replace('/SHA256SUMS', '')] : FILES[name];
    return body === undefined ? undefined : { body };
  });
  project = join(world.directory, 'modeldl.config.json');
  for (const name of ['shelf-hub', 'linear-converter'])
    await cp(join(ROOT, 'examples', name), join(world.directory, name), { recursive: true });
  await mkdir(join(world.directory, 'node_modules'));
  await symlink(ROOT, join(world.directory, 'node_modules/modeldl'));
});

afterEach(async () => {
  await server.close();
  await other.close();
  await world.remove();
});

async function configure(plugins: readonly string[], hubs: object = shelf()): Promise<void> {
  await writeFile(project, JSON.stringify({ plugins, hubs }));
}
function shelf(): object {
  return { shelf: { endpoint: `${server.origin}/models` } };
}
/** Named by the user, so trusted. */
function run(...args: readonly string[]): ReturnType<World['run']> {
  return world.run('--config', project, ...args);
}
async function plugins(...args: readonly string[]): Promise<readonly PluginState[]> {
  const { stdout } = await world.run(...args, 'plugins', '--json');
  const { plugins: states } = JSON.parse(stdout) as { plugins: readonly PluginState[] };
  return states.filter(({ from }) => from !== 'built-in');
}

describe('a project’s plugins', () => {
  it('run only once they were trusted, and are asked about again when they change', async () => {
    await configure(['./shelf-hub', './linear-converter']);
    await expectRefusal(world, ['pull', 'shelf:iris'], {
      code: 'CONFIG',
      message: /not trusted yet.*modeldl\.config\.json/,
      hint: /it sets plugins, .*modeldl config trust/,
    });
    expect(await plugins()).toMatchObject([
      { name: './shelf-hub', version: '1.0.0', trusted: false, state: 'untrusted', configuredIn: project },
      { name: './linear-converter', trusted: false, state: 'untrusted' },
    ]);
    expect(server.requests).toEqual([]);

    const trusted = await world.run('config', 'trust', '--json');
    expect(JSON.parse(trusted.stdout)).toMatchObject({
      ok: true,
      path: project,
      plugins: [join(world.directory, 'shelf-hub'), join(world.directory, 'linear-converter')],
    });
    expect(await plugins()).toMatchObject([
      { name: 'shelf', kind: 'hub', version: '1.0.0', from: './shelf-hub', trusted: true, state: 'loaded' },
      { name: 'linear', kind: 'converter', state: 'loaded' },
    ]);
    const { stdout, stderr, exitCode } = await world.run('pull', 'shelf:iris');
    expect([stderr, exitCode]).toEqual(['', 0]);
    expect(JSON.parse(await readFile(join(stdout, 'linear.json'), 'utf8'))).toEqual(LINEAR);

    const module = join(world.directory, 'shelf-hub/index.js');
    await writeFile(module, `${await readFile(module, 'utf8')}\n`);
    await expectRefusal(world, ['pull', 'shelf:iris'], {
      code: 'CONFIG',
      message: /The plugin \.\/shelf-hub is not trusted as it is now/,
      hint: /modeldl config trust/,
    });
    expect((await plugins()).map(({ state }) => state)).toEqual(['untrusted', 'loaded']);
  });

  it('that are installed later have to be trusted then', async () => {
    await configure(['modeldl-hub-shelf']);
    const { stderr } = await world.run('config', 'trust');
    expect(stderr).toContain('The package modeldl-hub-shelf is not installed');
    await cp(join(ROOT, 'examples/shelf-hub'), join(world.directory, 'node_modules/modeldl-hub-shelf'), {
      recursive: true,
    });
    expect((await world.run('pull', 'shelf:iris')).exitCode).toBe(2);
    await world.run('config', 'trust');
    expect((await world.run('pull', 'shelf:iris')).exitCode).toBe(0);
  });

  it('add to those of the user, who may not set what only the project knows', async () => {
    const user = JSON.stringify([join(world.directory, 'linear-converter')]);
    expect((await world.run('config', 'set', 'plugins', user)).exitCode).toBe(0);
    await configure(['./shelf-hub']);
    await world.run('config', 'trust');
    expect((await plugins()).map(({ name }) => name)).toEqual(['linear', 'shelf']);
    const listed = await world.run('config', 'list', '--json');
    const { values } = JSON.parse(listed.stdout) as { values: { key: string; source: string }[] };
    expect(values.find(({ key }) => key === 'plugins')?.source).toMatch(
      /config\.json, .*modeldl\.config\.json/,
    );
    await expectRefusal(world, ['config', 'set', 'hubs.shelf.endpoint', 'https://shelf.example'], {
      code: 'USAGE',
      message: /`hubs\.shelf\.endpoint` is of a plugin that only this project names/,
      hint: /project's file/,
    });
    await world.run('config', 'set', 'plugins', JSON.stringify([join(world.directory, 'shelf-hub')]));
    const set = await world.run('config', 'set', 'hubs.shelf.endpoint', 'https://shelf.example');
    expect(set.exitCode).toBe(0);
  });
});

describe('a hub of a plugin', () => {
  it('is one among the others', async () => {
    await configure(['./shelf-hub']);
    const { stdout } = await run('hubs', '--check');
    expect(stdout).toMatch(/^shelf +Shelf +none +http:.*reachable/m);
    expect((await run('pull', 'shelv:iris')).stderr).toContain('did you mean `shelf:iris`');
    const { stdout: path } = await run('pull', 'shelf:iris');
    expect((await run('--offline', 'path', 'shelf:iris')).stdout).toBe(path);
    // The model stays when its plugin goes.
    await writeFile(project, '{}');
    expect((await world.run('list', '--quiet')).stdout).toMatch(/^shelf:iris@/);
    expect((await world.run('verify')).exitCode).toBe(0);
  });

  it('has its settings checked as others have', async () => {
    await configure(['./shelf-hub'], { shelf: { endpont: 'https://shelf.example' } });
    await expectRefusal(world, ['--config', project, 'list'], {
      code: 'CONFIG',
      message: /Unknown key `hubs\.shelf\.endpont` in .*modeldl\.config\.json/,
      hint: /`hubs\.shelf\.endpoint`/,
    });
  });

  it('writes no file outside of its model, and keeps no bytes but those that were promised', async () => {
    await configure(['./shelf-hub']);
    await expectRefusal(world, ['--config', project, 'pull', 'shelf:evil'], {
      code: 'INTEGRITY',
      message: /\.\.\/\.\.\/evil\.json/,
      hint: /hostile/,
    });
    await expectRefusal(world, ['--config', project, 'pull', 'shelf:wrong'], {
      code: 'INTEGRITY',
      message: /linear\.json/,
      hint: /./,
    });
    await expectRefusal(world, ['--config', project, 'path', 'shelf:wrong'], {
      code: 'NOT_FOUND',
      message: /shelf:wrong/,
      hint: /pull/,
    });
  });

  it('has its token sent to its endpoint, and nowhere else', async () => {
    await configure(['./shelf-hub']);
    const token = { SHELF_TOKEN: TOKEN };
    const { exitCode, stdout, stderr } = await world.runWith(
      token,
      '--config',
      project,
      'pull',
      'shelf:away',
    );
    expect([exitCode, `${stdout}${stderr}`.includes(TOKEN)]).toEqual([0, false]);
    expect(new Set(server.requests.map(({ headers }) => headers.authorization))).toEqual(
      new Set([`Bearer ${TOKEN}`]),
    );
    expect(other.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
    // A project's endpoint gets no token of the environment.
    await world.run('config', 'trust');
    await world.runWith(token, 'pull', '--force', 'shelf:iris');
    expect(server.requests.at(-1)?.headers.authorization).toBeUndefined();
  });
});

function modelsOf(stdout: string): readonly { readonly path: string }[] {
  return (JSON.parse(stdout) as { models: readonly { path: string }[] }).models;
}

it('a plugin in a folder has this modeldl where none is installed for it', async () => {
  await rm(join(world.directory, 'node_modules'), { recursive: true });
  await configure(['./shelf-hub', './linear-converter']);
  const { stderr, exitCode } = await run('convert', 'shelf:iris', '--precision', 'fp32');
  expect([exitCode, stderr]).toEqual([0, expect.not.stringContaining('warning')]);
  await expectRefusal(world, ['--config', project, 'pull', 'shelf:none'], {
    code: 'NOT_FOUND',
    message: /no model none on the shelf/,
    hint: /look at/,
  });
});

describe('a converter of a plugin', () => {
  it('takes what no other does, checks what it made, and says what it cannot do', async () => {
    await configure(['./shelf-hub', './linear-converter']);
    const converted = await run('convert', 'shelf:iris', '--precision', 'fp32', '--json');
    const [model] = modelsOf(converted.stdout);
    expect(model).toMatchObject({
      converter: 'linear',
      precision: 'fp32',
      toolchain: { name: 'none' },
      check: { passed: true },
    });
    const path = model?.path ?? '';
    const bin = await readFile(join(path, 'openvino_model.bin'));
    expect(bin.readFloatLE(4)).toBe(-1.25);
    expect(await readFile(join(path, 'openvino_model.xml'), 'utf8')).toContain('type="SoftMax"');
    await expectRefusal(world, ['--config', project, 'convert', 'shelf:iris'], {
      code: 'UNSUPPORTED',
      message: /to fp32 only, not to int8/,
      hint: /--precision fp32/,
    });
    // Another version of the plugin may make another thing.
    const manifest = join(world.directory, 'linear-converter/package.json');
    await writeFile(manifest, (await readFile(manifest, 'utf8')).replace('1.0.0', '1.0.1'));
    const again = await run('convert', 'shelf:iris', '--precision', 'fp32', '--json');
    expect(modelsOf(again.stdout)[0]?.path).toMatch(/--openvino-fp32-cpu-/);
    expect(modelsOf(again.stdout)[0]?.path).not.toBe(path);
  });
});

describe('a converter of a plugin that runs Python', () => {
  it('gets the interpreter of the toolchain that it plans for', async () => {
    await writeFile(
      join(world.directory, 'press.mjs'),
      `import { writeFile } from 'node:fs/promises';
const plan = (model, { precision, device }) => Promise.resolve({ converter: 'press', toolchain: 'openvino',
  reads: [model.files[0].path], precision, device, settings: {}, steps: [], adjustments: [],
  estimate: { diskBytes: 1, resultBytes: 1, memoryBytes: 1 } });
const run = async (model, plan, outDir, context) => {
  await writeFile(outDir + '/openvino_model.xml', await context.interpreter());
  return { versions: {}, warnings: [] };
};
export const converters = [{ name: 'press', accepts: 'all', makes: 'IR', toolchains: ['openvino'], settings: {}, plan, run, check() {} }];`,
    );
    const python = await writeStandInOpenvino(join(world.directory, 'python'));
    const toolchains = { interpreters: { openvino: python } };
    await writeFile(
      project,
      JSON.stringify({ plugins: ['./shelf-hub', './press.mjs'], hubs: shelf(), toolchains }),
    );
    const { stdout } = await run('convert', 'shelf:iris', '--converter', 'press', '--no-check');
    expect(await readFile(join(stdout, 'openvino_model.xml'), 'utf8')).toBe(python);
  });
});

describe('broken plugins', () => {
  it('are named with what is wrong and what to do, and stop no others', async () => {
    const modules: Readonly<Record<string, string>> = {
      'throws.mjs': 'throw new TypeError("boom");',
      'syntax.mjs': 'export const hubs = [;',
      'shape.mjs': 'export const hubs = [{ name: "half", title: "Half" }];',
      'clash.mjs':
        'export const hubs = [{ name: "hf", title: "x", syntax: { hub: "hf", schemes: ["hf"] }, resolve() {} }];',
    };
    for (const [name, source] of Object.entries(modules))
      await writeFile(join(world.directory, name), source);
    await configure([...Object.keys(modules).map((name) => `./${name}`), 'modeldl-none', './shelf-hub'], {
      ...shelf(),
      // Of one that cannot be loaded, so nobody can tell whether that is right.
      half: { server: 'https://half.example' },
    });
    const { stdout, stderr, exitCode } = await run('pull', 'shelf:iris');
    expect([exitCode, stdout]).toEqual([0, expect.stringMatching(/shelf/)]);
    const warnings = stderr.split('\n').filter((line) => line.startsWith('warning:'));
    expect(warnings).toEqual([
      expect.stringMatching(/\.\/throws\.mjs: .*TypeError: boom.*`plugins` in .*modeldl\.config\.json/),
      expect.stringMatching(/\.\/syntax\.mjs: .*SyntaxError.*node --check/),
      expect.stringMatching(/\.\/shape\.mjs is malformed: hubs\[0\] is no hub: `syntax` is missing/),
      expect.stringMatching(/Refused the hub `hf` of the plugin \.\/clash\.mjs/),
      expect.stringMatching(/modeldl-none is not installed.*npm install modeldl-none/),
    ]);
    const states = await plugins('--config', project);
    expect(states.map(({ name, state }) => [name, state])).toEqual([
      ['./throws.mjs', 'failed'],
      ['./syntax.mjs', 'failed'],
      ['half', 'failed'],
      ['hf', 'refused'],
      ['modeldl-none', 'failed'],
      ['shelf', 'loaded'],
    ]);
    const shown = await run('plugins');
    expect(shown.exitCode).toBe(0);
    for (const { error } of states) if (error !== null) expect(shown.stdout).toContain(error.message);
  });

  it('that fail later are named, and are no bug of modeldl', async () => {
    await writeFile(
      join(world.directory, 'acme.mjs'),
      'export const hubs = [{ name: "acme", title: "Acme", syntax: { hub: "acme", schemes: ["acme"] }, resolve: () => undefined.x }];',
    );
    await configure(['./acme.mjs'], {});
    await expectRefusal(world, ['--config', project, 'pull', 'acme:bert'], {
      code: 'INTERNAL',
      message: /The plugin \.\/acme\.mjs failed while resolving `bert`: TypeError/,
      hint: /a bug in that plugin/,
    });
  });

  const acme = (resolve: string): string =>
    `export const hubs = [{ name: "acme", title: "Acme", syntax: { hub: "acme", schemes: ["acme"] }, resolve: ${resolve} }];`;

  it('print nothing among the results', async () => {
    await writeFile(
      join(world.directory, 'acme.mjs'),
      `console.log('hello');\n${acme('() => { process.stdout.write("resolving\\n"); return undefined.x; }')}`,
    );
    await configure(['./acme.mjs', './shelf-hub']);
    const { stdout, stderr } = await run('pull', 'shelf:iris', 'acme:bert', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ ok: false, models: [{ hub: 'shelf' }] });
    expect(stderr).toMatch(/^hello\nresolving$/);
  });

  it('do not end the process: not while they are imported, and not later', async () => {
    await writeFile(join(world.directory, 'exits.mjs'), 'process.exit(0);');
    await writeFile(join(world.directory, 'acme.mjs'), acme('() => process.exit(0)'));
    await configure(['./exits.mjs', './acme.mjs', './shelf-hub']);
    const { stdout, stderr, exitCode } = await run('pull', 'shelf:iris');
    expect([exitCode, stdout]).toEqual([0, expect.stringMatching(/shelf/)]);
    expect(stderr).toMatch(/warning: Cannot load the plugin \.\/exits\.mjs: .*process\.exit\(0\)/);
    await expectRefusal(world, ['--config', project, 'pull', 'acme:bert'], {
      code: 'INTERNAL',
      message: /The plugin \.\/acme\.mjs failed while resolving `bert`: .*process\.exit\(0\)/,
      hint: /a bug in that plugin/,
    });
  });

  it.each([
    ['a promise', '() => { Promise.reject(new Error("late")); return new Promise(() => undefined); }'],
    [
      'a timer',
      '() => { setTimeout(() => { throw new Error("late"); }); return new Promise(() => undefined); }',
    ],
  ])('are told of by an error that nobody waits for: of %s', async (_what, resolve) => {
    await writeFile(join(world.directory, 'acme.mjs'), acme(resolve));
    await configure(['./acme.mjs'], {});
    await expectRefusal(world, ['--config', project, 'pull', 'acme:bert'], {
      code: 'INTERNAL',
      message: /Unexpected: Error: late, at .*acme\.mjs:1:/,
      hint: /a plugin/,
    });
  });
});
