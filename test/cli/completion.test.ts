/** What completion answers, and how it is said to each shell. */
import { mkdir, writeFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { answerShell, complete } from '../../src/cli/completion/answer.js';
import { readBash, writeBash } from '../../src/cli/completion/bash.js';
import type { CliEnvironment } from '../../src/cli/command.js';
import { scriptFor } from '../../src/cli/completion/scripts.js';
import { COMMANDS } from '../../src/cli/program.js';
import { fakeStream } from '../helpers/fake-stream.js';
import { openedStore, putConversion, putModel, temporaryDirectory } from '../helpers/store.js';

function environment(home: string): CliEnvironment & { readonly written: () => string } {
  const stdout = fakeStream();
  return {
    stdin: Readable.from([]),
    stdout: stdout.stream,
    stderr: fakeStream().stream,
    environment: { MODELDL_CACHE_DIR: `${home}/cache` },
    cwd: home,
    home,
    version: '1.2.3',
    signal: new AbortController().signal,
    createModeldl: () => Promise.reject(new Error('completion opens nothing')),
    written: () => stdout.text(),
  };
}

async function values(...words: readonly string[]): Promise<readonly string[]> {
  const { candidates } = await complete(words, environment(await temporaryDirectory()));
  return candidates.map(({ value }) => value);
}

describe('the next word', () => {
  it.each<readonly [readonly string[], readonly string[]]>([
    [['conv'], ['convert', 'converters']],
    [['frobnicate', ''], []],
    [
      ['--color', ''],
      ['auto', 'always', 'never'],
    ],
    [['--color=a'], ['--color=auto', '--color=always']],
    [['--color', 'auto', 'hub'], ['hubs']],
    [['pull', '--dry'], ['--dry-run']],
    [['pull', '--dry-run', '--dry'], []],
    [['pull', '--include', 'x', '--inc'], ['--include']],
    [['pull', '--', '--inc'], []],
    [['ls', '--qu'], ['--quiet']],
    [
      ['convert', '--precision', 'int'],
      ['int8', 'int4'],
    ],
    [['convert', '--device=H'], ['--device=HETERO:']],
    [['convert', '-o', ''], []],
    [
      ['convert', '-oout', '--layout', ''],
      ['plain', 'ovms', 'model-download'],
    ],
    [['convert', '-yq', '--layout', 'o'], ['ovms']],
    [['convert', '--toolchain', 'open'], ['openvino']],
    [['convert', '--converter', 'nncf', '--set', 'rat'], ['ratio=']],
    [['convert', '--frobnicate=x'], []],
    [
      ['search', '--sort', ''],
      ['downloads', 'likes', 'updated'],
    ],
    [['search', 'x', '--hub', 'pipe'], ['pipeline-zoo']],
    [['export', '--to', ''], ['ollama']],
    [
      ['toolchain', ''],
      ['list', 'install', 'remove', 'download'],
    ],
    [['toolchain', 'install', 'optimum', 'optimum-5'], ['optimum-5.0']],
    [['config', 'se'], ['set']],
    [['config', 'get', 'convert.d'], ['convert.device']],
    [
      ['config', 'set', 'toolchains.interpreters.o'],
      expect.arrayContaining(['toolchains.interpreters.openvino']) as never,
    ],
    [
      ['config', 'set', 'durability', ''],
      ['lazy', 'flush', 'trust'],
    ],
    [['config', 'set', 'offline', 't'], ['true']],
    [['config', 'set', 'convert.device', 'N'], ['NPU']],
    [['config', 'path', ''], []],
    [['converters', 'nn'], ['nncf']],
    [['whoami', 'oll'], ['ollama']],
    [['login', 'oll'], []],
    [['pull', 'ulT'], []],
    [['pull', 'ult'], ['ultralytics:']],
    [['completion', 'p'], ['powershell']],
    [['push', 'hf:a/b', 'o'], ['oci:']],
    [[], [...COMMANDS.map(({ name }) => name), 'help']],
    [
      ['help', 'conv'],
      ['convert', 'converters'],
    ],
    [['help', 'convert', ''], []],
  ])('after %j', async (words, expected) => {
    expect(await values(...words)).toEqual(expected);
  });

  it.each<readonly [readonly string[], string | undefined]>([
    [['convert', '-o', ''], 'directories'],
    [['--cache-dir='], 'directories'],
    [['--config', ''], 'files'],
    [['sync', '--file', ''], 'files'],
    [['convert', '--calibration', ''], 'files'],
    [['pull', './'], 'files'],
    [['convert', '~/mod'], 'files'],
    [['show', 'C:\\mod'], 'files'],
    // A file that is not written as a path is read as a model of Hugging Face.
    [['pull', 'mod'], undefined],
    [['export', 'mod'], undefined],
    [['export', 'hf:org/name', 'mod'], 'files'],
    [['path', './'], undefined],
    [['config', 'set', 'jobs', ''], undefined],
    [['config', 'set', 'cacheDir', ''], 'files'],
    [['config', 'set', 'toolchains.interpreters.openvino', './'], 'files'],
  ])('after %j is a path of a kind', async (words, paths) => {
    expect((await complete(words, environment(await temporaryDirectory()))).paths).toBe(paths);
  });

  it('has a source for whatever takes one of a few', async () => {
    const free = new Set([
      ...[
        '--max-wait',
        '--revision',
        '--include',
        '--exclude',
        '--jobs',
        '--connections',
        '--limit-rate',
        '--quant',
        '--digest',
      ],
      ...['--task', '--name', '--library', '--license', '--limit', '--timeout', '--older-than', '--max-size'],
    ]);
    for (const entry of COMMANDS) {
      const { name } = entry;
      const command = new Command(name);
      (await entry.load()).command.configure(command);
      for (const { long, required, hidden } of command.options) {
        if (!required || hidden || long == null || free.has(long)) continue;
        const { candidates, paths } = await complete(
          [name, long, ''],
          environment(await temporaryDirectory()),
        );
        if (long !== '--mount-from')
          expect(candidates.length > 0 || paths !== undefined, `${name} ${long}`).toBe(true);
      }
    }
  });
});

describe('hubs of plugins', () => {
  it('are known by their settings, and no plugin is run', async () => {
    const home = await temporaryDirectory();
    await mkdir(`${home}/.config/modeldl`, { recursive: true });
    await writeFile(`${home}/loop.mjs`, 'for (;;);');
    const settings = {
      plugins: [`${home}/loop.mjs`],
      hubs: { shelf: { endpoint: 'https://x.example' }, hf: {} },
    };
    await writeFile(`${home}/.config/modeldl/config.json`, JSON.stringify(settings));
    const at = async (...words: readonly string[]): Promise<readonly string[]> =>
      (await complete(words, environment(home))).candidates.map(({ value }) => value);
    expect(await at('search', '--hub', 'sh')).toEqual(['shelf']);
    expect(await at('pull', 'sh')).toEqual(['shelf:']);
    expect((await at('login', '')).filter((name) => name === 'hf')).toHaveLength(1);
  });
});

describe('stored references', () => {
  it('are offered without a revision, and with one once it is begun', async () => {
    const home = await temporaryDirectory();
    const store = await openedStore(`${home}/cache`);
    const model = await putModel(store, { 'model.onnx': 'x' });
    await putConversion(store, model, { precision: 'int8' });
    await putConversion(store, model, { precision: 'int4', device: 'GPU', seed: 'a' });
    await putConversion(store, model, { precision: 'int4', device: 'GPU', seed: 'b' });
    const at = async (...words: readonly string[]): Promise<readonly string[]> =>
      (await complete(words, environment(home))).candidates.map(({ value }) => value);
    const all = await at('show', 'hf:org/name');
    expect(all).toContain('hf:org/name');
    expect(all).toContain('hf:org/name+int8-cpu');
    expect(all.filter((value) => /^hf:org\/name\+[0-9a-f]{8}$/.test(value))).toHaveLength(2);
    expect(await at('path', 'hf:org/name@')).toEqual(
      all.map((value) => value.replace('hf:org/name', `hf:org/name@${model.record.revision}`)),
    );
    expect(await at('remove', 'hf:org/name+int8-cpu', 'hf:org/name+int8')).toEqual([]);
    expect(await at('remove', 'hf:org/name', 'hf:org/name@')).not.toContain(model.record.reference);
    expect(await at('--cache-dir', `${home}/other`, 'path', '')).toEqual([]);
    expect(await at('--cache-dir=~/cache', 'path', 'hf:org/name+int8')).toEqual(['hf:org/name+int8-cpu']);
  });

  it('with control characters are left out', async () => {
    const home = await temporaryDirectory();
    const store = await openedStore(`${home}/cache`);
    await putModel(store, { 'model.onnx': 'x' }, { hub: 'hf', id: 'org/\u001b]0;x\u0007', revision: '1' });
    await putModel(store, { 'model.onnx': 'x' }, { hub: 'hf', id: 'org/line\nbreak', revision: '1' });
    await putModel(store, { 'model.onnx': 'x' }, { hub: 'hf', id: 'org/plain', revision: '1' });
    const { candidates } = await complete(['path', 'hf:'], environment(home));
    expect(candidates).toEqual([{ value: 'hf:org/plain' }]);
  });
});

describe('a line of bash', () => {
  const BREAKS = ' \t\n"\'@><=;|&(:';
  it.each<readonly [string, readonly string[], number, string]>([
    ['modeldl', [], 0, ''],
    ['modeldl ', [''], 0, ''],
    ['modeldl  path   hf', ['path', 'hf'], 0, ''],
    ['modeldl path hf:org/na', ['path', 'hf:org/na'], 3, ''],
    ['modeldl path hf:org/name@ab', ['path', 'hf:org/name@ab'], 11, ''],
    ['modeldl path "hf:org/na', ['path', 'hf:org/na'], 0, '"'],
    ["modeldl path 'hf:org/na", ['path', 'hf:org/na'], 0, "'"],
    ['modeldl path "hf":org/na', ['path', 'hf:org/na'], 3, ''],
    ['modeldl path "hf"', ['path', 'hf'], 2, ''],
    ['modeldl path file:a\\ b\\:c', ['path', 'file:a b:c'], 5, ''],
    ['modeldl path "a\\"b\\c', ['path', 'a"b\\c'], 0, '"'],
    ['modeldl path $(x) "" y', ['path', '$(x)', '', 'y'], 0, ''],
    ['modeldl --precision=in', ['--precision=in'], 12, ''],
    ['modeldl path a\\', ['path', 'a'], 0, ''],
  ])('%j', (line, words, kept, quote) => {
    expect(readBash([BREAKS, line])).toEqual({ words, kept, quote });
  });

  it.each<readonly [string, readonly string[], boolean]>([
    ['modeldl login hf --token-stdin < tok', ['login', 'hf', '--token-stdin', 'tok'], true],
    ['modeldl list >', ['list', ''], true],
    ['modeldl list 2>/dev/null --qu', ['list', '--qu'], false],
    ['modeldl list >> "a b" 2>&1 --qu', ['list', '--qu'], false],
    ['modeldl list &>log ', ['list', ''], false],
    ['modeldl list>o', ['list', 'o'], true],
    ['modeldl path "a>b', ['path', 'a>b'], false],
  ])('%j has no redirection among its words', (line, words, redirected) => {
    const read = readBash([BREAKS, line]);
    expect([read.words, read.redirected ?? false]).toEqual([words, redirected]);
  });

  it.each<readonly [string, '' | "'" | '"', string]>([
    ['hf:org/name@v1+int8', '', 'hf:org/name@v1+int8'],
    [
      'a b$(x)`y`;\'"!&|<>*?~{}#\\',
      '',
      'a\\ b\\$\\(x\\)\\`y\\`\\;\\\'\\"\\!\\&\\|\\<\\>\\*\\?\\~\\{\\}\\#\\\\',
    ],
    ["it's $(x)", "'", "it'\\''s $(x)"],
    ['a"$(x)`!\\', '"', 'a\\"\\$(x)\\`"\'!\'"\\\\'],
    ['größe', '', 'größe'],
  ])('%j is written within %j', (value, quote, written) => {
    expect(writeBash(value, { kept: 0, quote })).toBe(written);
  });
});

describe('a shell is answered', () => {
  async function answer(...request: readonly string[]): Promise<string> {
    const cli = environment(await temporaryDirectory());
    expect(await answerShell(request, cli)).toBe(0);
    return cli.written();
  }

  it('with what to do about paths, then values and their descriptions', async () => {
    expect(await answer('zsh', 'export', '--to', '')).toBe('none\nollama\t\n');
    expect(await answer('fish', '--cache-dir', '')).toBe('directories\n');
    expect(await answer('zsh', 'completio')).toBe('none\ncompletion\tcompletion for a shell\n');
  });

  it('in bash with what stands behind the last sign that breaks words', async () => {
    expect(await answer('bash', ' \t\n"\'@><=;|&(:', 'modeldl --color=al')).toBe('none\nalways\n');
    expect(await answer('bash', ' \t\n', 'modeldl --color=al')).toBe('none\n--color=always\n');
    expect(await answer('bash', ' \t\n<', 'modeldl login hf --token-stdin < h')).toBe('files\n');
  });

  it('in PowerShell by words behind a sign, so that an empty one is none less', async () => {
    expect(await answer('powershell', '=export', '=--to', '=')).toBe('none\nollama\t\n');
    expect(await answer('powershell', '=--color=al')).toBe('none\n--color=always\t\n');
    expect(scriptFor('powershell')).toContain('ForEach-Object { "=$_" }');
  });

  it('in PowerShell with names in which no quote ends the quotes around them', () => {
    const [, quotes = ''] = /\$value -replace "([^"]+)", '\$0\$0'/.exec(scriptFor('powershell')) ?? [];
    // What its tokenizer takes for a single quote, by `IsSingleQuote`.
    const name = "a'b\u2018c\u2019;calc;\u201ad\u201be";
    expect(name.replace(new RegExp(quotes, 'g'), '$&$&')).toBe(
      "a''b\u2018\u2018c\u2019\u2019;calc;\u201a\u201ad\u201b\u201be",
    );
  });

  it('with nothing behind a command that is not there', async () => {
    expect(await answer('tcsh', 'frobnicate', '')).toBe('none\n');
  });
});
