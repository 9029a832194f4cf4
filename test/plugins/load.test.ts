import { mkdir, realpath, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import type { NamedPlugin } from '../../src/config/load.js';
import { trust } from '../../src/config/trust.js';
import type { ModeldlEvent } from '../../src/events.js';
import { builtInPlugins } from '../../src/plugins.js';
import { findPlugin, pluginDigest } from '../../src/plugins/find.js';
import { loadPlugins, type LoadedPlugins, type LoadingContext } from '../../src/plugins/load.js';
import { refusalOf } from '../helpers/hub-context.js';
import { temporaryDirectory } from '../helpers/store.js';

let directory: string;
let warnings: string[];

beforeEach(async () => {
  directory = await realpath(await temporaryDirectory());
  warnings = [];
});

async function put(path: string, content: string | object): Promise<string> {
  const file = join(directory, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, typeof content === 'string' ? content : JSON.stringify(content));
  return file;
}

/** A hub as JavaScript. */
function hub(name: string, more = ''): string {
  return `{ name: '${name}', title: '${name}', syntax: { hub: '${name}', schemes: ['${name}'] }, resolve() {}, ${more} }`;
}
function converter(name: string, more = ''): string {
  return `{ name: '${name}', accepts: 'all', makes: 'some', toolchains: ['none'], settings: {}, plan() {}, run() {}, check() {}, ${more} }`;
}
const ACME = `export const hubs = [${hub('acme')}];`;

function named(specifier: string, more: Partial<NamedPlugin> = {}): NamedPlugin {
  return { specifier, file: join(directory, 'modeldl.config.json'), kind: 'user', trusted: true, ...more };
}

function load(
  plugins: readonly (string | NamedPlugin)[],
  more: Partial<LoadingContext> = {},
): Promise<LoadedPlugins> {
  return loadPlugins(
    plugins.map((plugin) => (typeof plugin === 'string' ? named(plugin) : plugin)),
    builtInPlugins(),
    {
      configDir: join(directory, 'config'),
      emit: (event: ModeldlEvent) => {
        if (event.type === 'warning') warnings.push(event.message);
      },
      untrusted: 'refuse',
      ...more,
    },
  );
}

describe('where a plugin is', () => {
  const manifest = (more: object) => ({ name: '@acme/hub', version: '1.2.3', type: 'module', ...more });

  it.each<[string, object, string]>([
    ['a text', { exports: './lib/a.js' }, 'lib/a.js'],
    ['the package itself', { exports: { '.': './lib/a.js', './b': './b.js' } }, 'lib/a.js'],
    [
      'conditions, the first that holds',
      { exports: { types: './a.d.ts', browser: './x.js', import: './a.js', default: './b.js' } },
      'a.js',
    ],
    [
      'conditions of the package itself',
      { exports: { '.': { require: './a.cjs', node: { import: './b.js' } } } },
      'b.js',
    ],
    ['a list', { exports: [{ require: './x.cjs' }, './a.js'] }, 'a.js'],
    ['main', { main: 'lib/main.js' }, 'lib/main.js'],
    ['nothing', {}, 'index.js'],
  ])('of a package: by %s', async (_what, exported, module) => {
    await put('node_modules/@acme/hub/package.json', manifest(exported));
    const deep = join(directory, 'deep/er/modeldl.config.json');
    expect(await findPlugin('@acme/hub', deep)).toEqual({
      name: '@acme/hub',
      version: '1.2.3',
      entry: join(directory, 'node_modules/@acme/hub', module),
      path: join(directory, 'node_modules/@acme/hub'),
    });
  });

  it.each<[string, string | object, RegExp]>([
    ['a module outside of it', { exports: '../../evil.js' }, /outside of it: \.\.\/\.\.\/evil\.js/],
    ['no module to import', { exports: { require: './a.cjs' } }, /exports no module/],
    ['no manifest', '{', /no manifest/],
  ])('is not told by a package with %s', async (_what, content, message) => {
    const file = await put('node_modules/hub/package.json', content);
    const error = await refusalOf(findPlugin('hub', join(directory, 'x.json')), 'CONFIG');
    expect(error.message).toMatch(message);
    expect(error.message).toContain(file);
  });

  it('is a file or a folder beside the configuration file', async () => {
    const file = await put('project/hub.mjs', ACME);
    await put('folder/package.json', { name: 'folder', version: '2.0.0', main: 'main.js' });
    const from = join(directory, 'project/modeldl.config.json');
    const module = { name: 'hub.mjs', version: null, entry: file, path: file };
    expect(await findPlugin('./hub.mjs', from)).toEqual(module);
    expect(await findPlugin(file, from)).toEqual(module);
    expect(await findPlugin('../folder', from)).toMatchObject({
      name: 'folder',
      entry: join(directory, 'folder/main.js'),
    });
    await refusalOf(findPlugin('../nowhere', from), 'NOT_FOUND');
  });
});

describe('what is trusted of a plugin', () => {
  it('is its file, or every file of its package but what it depends on', async () => {
    await put('hub/package.json', { name: 'hub' });
    await put('hub/index.js', ACME);
    await put('hub/lib/a.js', 'export {};');
    await put('hub/node_modules/x/index.js', 'export {};');
    const found = await findPlugin('./hub', join(directory, 'x.json'));
    const before = await pluginDigest(found);
    await put('hub/node_modules/x/index.js', 'export const x = 1;');
    expect(await pluginDigest(found)).toBe(before);
    await put('hub/lib/a.js', 'export const a = 1;');
    const after = await pluginDigest(found);
    expect(after).not.toBe(before);
    await symlink('/etc', join(directory, 'hub/link'));
    expect(await pluginDigest(found)).not.toBe(after);
  });

  it.each<[string, string]>([
    ['import', "import './lib/more.js';"],
    ['import of a name', 'import { more } from "./lib/more.js";'],
    ['export', "export * from './lib/more.js?v=1';"],
    ['import in code', "const more = await import(/* lazy */ './lib/more.js');"],
    ['require', "const more = require('./lib/more');"],
    ['an address', "new Worker(new URL('./lib/more.js', import.meta.url));"],
    ['an import of an import', "import './lib/between.js';"],
  ])('is of what its file names by a relative path too: %s', async (_what, code) => {
    await put('hub.mjs', `${code}\n${ACME}`);
    await put('lib/between.js', "import '../lib/more.js';");
    await put('lib/more.js', "import '../hub.mjs';");
    const found = await findPlugin('./hub.mjs', join(directory, 'x.json'));
    const before = await pluginDigest(found);
    await put('lib/other.js', 'export {};');
    expect(await pluginDigest(found)).toBe(before);
    await put('lib/more.js', 'export const changed = 1;');
    expect(await pluginDigest(found)).not.toBe(before);
  });

  it.each<[string, object, string, string]>([
    ['beside the package', { exports: './index.js' }, "import '../shared.js';", 'shared.js'],
    ['in its node_modules', { exports: './node_modules/own.js' }, '', 'hub/node_modules/own.js'],
    ['behind a link', { exports: './linked.js' }, '', 'target.js'],
  ])('is of what a package runs %s', async (_what, manifest, code, file) => {
    await put('hub/package.json', manifest);
    await put('hub/index.js', code);
    await put(file, 'export {};');
    await symlink(join(directory, 'target.js'), join(directory, 'hub/linked.js'));
    const found = await findPlugin('./hub', join(directory, 'x.json'));
    const before = await pluginDigest(found);
    await put(file, 'export const changed = 1;');
    expect(await pluginDigest(found)).not.toBe(before);
  });

  it('holds for a project until that changes', async () => {
    const ofProject = named('./hub.mjs', { kind: 'project' });
    const file = await put('hub.mjs', ACME);
    const found = await findPlugin('./hub.mjs', ofProject.file);
    const refused = await refusalOf(load([ofProject]), 'CONFIG');
    expect(refused.message).toContain(file);
    expect(refused.hint).toContain('modeldl config trust');
    await trust(join(directory, 'config'), found.path, await pluginDigest(found));
    expect((await load([ofProject])).states).toMatchObject([{ name: 'acme', state: 'loaded' }]);
    await put('hub.mjs', `${ACME}\n`);
    await refusalOf(load([ofProject]), 'CONFIG');
  });

  it('is looked at, and nothing of it is run, where it is only told of', async () => {
    await put('hub.mjs', 'globalThis.modeldlTestRan = true;');
    const untrusted = named('./hub.mjs', { kind: 'project', trusted: false });
    const { states, complete } = await load([untrusted], { untrusted: 'ignore' });
    expect(states).toMatchObject([{ name: './hub.mjs', state: 'untrusted', trusted: false, kind: null }]);
    expect(complete).toBe(false);
    expect(globalThis).not.toHaveProperty('modeldlTestRan');
  });
});

describe('loading', () => {
  it('adds hubs and converters after the built-in ones', async () => {
    await put('hub/package.json', { name: 'acme-hub', version: '1.0.0', main: 'index.cjs' });
    // As CommonJS has it, by the default export.
    await put(
      'hub/index.cjs',
      `const made = { hubs: [${hub('acme')}], converters: [${converter('press')}] }; module.exports = made;`,
    );
    const { plugins, states, complete } = await load(['./hub']);
    const { hubs, converters, toolchains } = builtInPlugins();
    expect(plugins.hubs.map(({ name }) => name)).toEqual([...hubs.map(({ name }) => name), 'acme']);
    expect(plugins.converters.map(({ name }) => name)).toEqual([
      ...converters.map(({ name }) => name),
      'press',
    ]);
    expect(plugins.toolchains.map(({ name }) => name)).toEqual([
      ...toolchains.map(({ name }) => name),
      'none',
    ]);
    expect(complete).toBe(true);
    const shared = { version: '1.0.0', from: './hub', trusted: true, state: 'loaded', error: null };
    expect(states).toMatchObject([
      { ...shared, name: 'acme', kind: 'hub', path: join(directory, 'hub/index.cjs') },
      { ...shared, name: 'press', kind: 'converter' },
    ]);
    expect(warnings).toEqual([]);
  });

  it('takes one that is named twice once, and tells what is there in every project', async () => {
    await put('a.mjs', ACME);
    await put('b.mjs', `export const hubs = [${hub('other')}];`);
    const both = [named('./a.mjs'), named('./a.mjs', { kind: 'named' }), named('./b.mjs', { kind: 'named' })];
    const { states, usersHubs } = await load(both);
    expect(states.map(({ name, state }) => [name, state])).toEqual([
      ['acme', 'loaded'],
      ['other', 'loaded'],
    ]);
    const known = usersHubs.map(({ name }) => name);
    expect(known).toContain('acme');
    expect(known).not.toContain('other');
  });

  it.each<[string, string, RegExp, RegExp]>([
    [
      'throws',
      'throw new TypeError("boom")',
      /importing .*plugin\.mjs failed with TypeError: boom/,
      /update it/,
    ],
    ['throws no error', 'throw 7', /failed with 7/, /update it/],
    ['throws what is no text', 'throw Object.create(null)', /failed with \[Object: null/, /update it/],
    [
      'cannot be read',
      'export default { get hubs() { throw new Error("boom"); } }',
      /cannot be read: .*Error: boom/,
      /lists of them/,
    ],
    ['lacks a package', 'import "modeldl-none"', /modeldl-none/, /npm install/],
    ['hangs', 'await new Promise(() => undefined)', /plugin\.mjs hangs/, /wait for nothing/],
    ['exports nothing', 'export {}', /exports neither hubs nor converters/, /exports `hubs` or `converters`/],
    ['exports no list', 'export const hubs = {}', /exports `hubs` that is no list/, /lists of them/],
  ])('tells of a plugin that %s, and loads the others', async (_what, source, message, hint) => {
    await put('plugin.mjs', source);
    await put('good.mjs', ACME);
    // Only the one that hangs is waited for.
    const { states, complete, plugins } = await load(['./plugin.mjs', './good.mjs'], {
      ...(/new Promise/.test(source) ? { importMs: 200 } : {}),
    });
    expect(states).toMatchObject([
      {
        name: './plugin.mjs',
        kind: null,
        state: 'failed',
        error: {
          message: expect.stringMatching(message) as unknown,
          hint: expect.stringMatching(hint) as unknown,
        },
      },
      { name: 'acme', state: 'loaded' },
    ]);
    expect(states[0]?.error?.hint).toContain(join(directory, 'modeldl.config.json'));
    expect(warnings).toEqual([expect.stringMatching(message)]);
    expect(complete).toBe(false);
    expect(plugins.hubs.at(-1)?.name).toBe('acme');
  });

  it('tells of packages that are not installed and files that are not there', async () => {
    const { states } = await load(['modeldl-hub-none', './none.mjs']);
    expect(states.map(({ error }) => error?.message)).toEqual([
      'The package modeldl-hub-none is not installed',
      `There is no file ${join(directory, 'none.mjs')}`,
    ]);
  });

  it.each<[string, string, RegExp]>([
    ['no object', 'hubs = [7]', /hubs\[0\] is no hub: it should be an object, and is 7/],
    ['no name', 'hubs = [{ title: "x" }]', /`name` is missing/],
    ['a wild name', `hubs = [${hub('acme', "name: '../x'")}]`, /`name` should be lower-case letters/],
    [
      'a getter that throws',
      'hubs = [{ get name() { throw new Error("boom"); } }]',
      /hubs\[0\].*Error: boom/,
    ],
    ['no resolve', `hubs = [${hub('acme', 'resolve: undefined')}]`, /`resolve` is missing/],
    [
      'a resolve that is none',
      `hubs = [${hub('acme', 'resolve: {}')}]`,
      /`resolve` should be a function, and is an object/,
    ],
    [
      'another syntax',
      `hubs = [${hub('acme', "syntax: { hub: 'x', schemes: ['x'] }")}]`,
      /`syntax\.hub` should be "acme"/,
    ],
    [
      'claims on bare names',
      `hubs = [${hub('acme', "syntax: { hub: 'acme', schemes: ['acme'], bareNames: true }")}]`,
      /`syntax\.bareNames` should be false, and is true/,
    ],
    [
      'a setting of no type',
      `hubs = [${hub('acme', "settings: { endpoint: { description: 'x', type: 'url' } }")}]`,
      /`settings\.endpoint\.type` should be .*"string".*, and is "url"/,
    ],
    ['the token of another', `hubs = [${hub('acme', "servedBy: 'hf'")}]`, /would give it the token of `hf`/],
    [
      'no toolchain',
      `converters = [${converter('press', 'toolchains: []')}]`,
      /`toolchains` should be the name of a toolchain/,
    ],
    [
      'an unknown toolchain',
      `converters = [${converter('press', "toolchains: ['mine']")}]`,
      /of none, openvino, .*, and names mine/,
    ],
  ])('refuses a hub or converter with %s, and takes the next', async (_what, source, message) => {
    await put('plugin.mjs', `export const ${source};`);
    await put('good.mjs', ACME.replaceAll('acme', 'good'));
    const { states } = await load(['./plugin.mjs', './good.mjs']);
    expect(states).toMatchObject([
      { state: 'failed', error: { message: expect.stringMatching(message) as unknown } },
      { name: 'good', state: 'loaded' },
    ]);
    expect(states[0]?.error?.message).toContain('./plugin.mjs');
  });

  it.each<[string, string, RegExp]>([
    [
      'name of a built-in hub',
      `hubs = [${hub('hf')}]`,
      /the hub `hf` of the plugin .*`hf` is the hub Hugging Face/,
    ],
    [
      'scheme of a built-in hub',
      `hubs = [${hub('acme', "syntax: { hub: 'acme', schemes: ['acme', 'https'] }")}]`,
      /the hub `acme` .*`https` is the hub Web addresses/,
    ],
    ['name of another plugin’s hub', `hubs = [${hub('first')}]`, /`first` is the hub first already/],
    ['name of a built-in converter', `converters = [${converter('nncf')}]`, /the converter `nncf`/],
    [
      'name of its own',
      `converters = [${converter('twice')}, ${converter('twice')}]`,
      /the converter `twice`/,
    ],
  ])('refuses by name what takes the %s', async (_what, source, message) => {
    await put('first.mjs', `export const hubs = [${hub('first')}];`);
    await put('plugin.mjs', `export const ${source};`);
    const { states, plugins } = await load(['./first.mjs', './plugin.mjs']);
    expect(states.at(-1)).toMatchObject({
      state: 'refused',
      error: { message: expect.stringMatching(message) as unknown },
    });
    const names = [...plugins.hubs, ...plugins.converters].map((one) => `${one.name} ${'resolve' in one}`);
    expect(new Set(names).size).toBe(names.length);
  });

  it('stops when it is aborted', async () => {
    await put('hangs.mjs', 'await new Promise(() => undefined)');
    const stop = new AbortController();
    const loading = refusalOf(load(['./hangs.mjs'], { signal: stop.signal }), 'INTERRUPTED');
    stop.abort();
    await loading;
  });
});
