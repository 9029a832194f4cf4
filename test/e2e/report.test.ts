/** `modeldl report`: the built program's page, and what a real browser makes of it. */
import { mkdir, readdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser } from 'puppeteer-core';
import * as v from 'valibot';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startHfHub } from '../helpers/hf-hub.js';
import { gguf } from '../helpers/gguf.js';
import {
  CHROMIUM,
  lookAt,
  openFile,
  overflowOf,
  setDetails,
  startBrowser,
  styleOf,
} from '../helpers/browser.js';
import { createWorld, type World } from '../helpers/program.js';
import {
  createConvertingWorld,
  modelOf,
  PYTHON,
  weightTypes,
  type ConvertingWorld,
} from '../helpers/real-toolchain.js';
import { requirePeer } from '../helpers/require.js';
import { safetensors } from '../helpers/safetensors.js';
import { COMMIT, openedStore, putConversion, putModel } from '../helpers/store.js';
import { onnxGraph } from '../helpers/tiny-graphs.js';

const DETECTOR = 'pypi:rapidocr-onnxruntime@1.4.4//rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx';

describe('modeldl report', () => {
  let world: World;

  beforeEach(async () => {
    world = await createWorld({ MODELDL_OFFLINE: '1' });
    await mkdir(join(world.directory, 'model'));
    const tensors: Record<string, { dtype: string; shape: readonly number[] }> = {};
    for (let layer = 0; layer < 3; layer += 1)
      tensors[`model.layers.${layer}.q_proj.weight`] = { dtype: 'BF16', shape: [64, 64] };
    tensors['lm_head.weight'] = { dtype: 'F32', shape: [64, 10] };
    await writeFile(join(world.directory, 'model/model.safetensors'), safetensors(tensors));
    await world.run('pull', './model');
  });

  afterEach(() => world.remove());

  const at = (name: string): string => join(world.directory, name);
  const textOf = async (name: string): Promise<string> =>
    (await readFile(at(name), 'utf8')).replace(/<style>[^]*<\/style>|<[^>]*>/g, ' ').replace(/\s+/g, ' ');

  it('writes a page of what is stored, prints its path, and is the same the next time', async () => {
    const { exitCode, stdout, stderr } = await world.run('report', './model', '-o', 'report.html');
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: at('report.html') });
    expect(stderr).toMatch(/^A report of 1 model, [\d.]+ KiB$/);
    const text = await textOf('report.html');
    expect(text).toMatch(/safetensors, 14,?928|safetensors, 12928 parameters/);
    expect(text).toContain('BF16 90.6 %');
    expect(text).toContain('model.layers.0');
    expect(text).toContain('lm_head.weight F32 64 × 10 2.5 KiB');
    await world.run('path', './model');
    const again = await world.run('report', './model');
    expect(`${again.stdout}\n`).toBe(await readFile(at('report.html'), 'utf8'));
    expect((await readdir(world.directory)).sort()).toEqual(['cache', 'model', 'report.html']);
  });

  it('tells of several models on one page, each once, and in a document', async () => {
    await writeFile(
      at('model.gguf'),
      gguf({ tensors: { 'blk.0.attn_q.weight': [32, 50], 'output.weight': [32, 2] } }),
    );
    await world.run('pull', './model.gguf');
    const { stdout } = await world.run(
      ...['report', './model', './model.gguf', './model', '-o', 'both.html', '--json'],
    );
    const { ok, path, bytes, models } = JSON.parse(stdout) as Record<string, unknown>;
    expect({ ok, path, bytes }).toEqual({
      ok: true,
      path: at('both.html'),
      bytes: (await stat(at('both.html'))).size,
    });
    expect(models).toEqual([
      expect.objectContaining({ kind: 'pulled', precision: null, seconds: null, check: null }),
      expect.objectContaining({ reference: expect.stringContaining('model.gguf') as string }),
    ]);
    const text = await textOf('both.html');
    expect(text).toContain('Side by side');
    expect(text).toMatch(/blk\.0 F32 1 6\.3 KiB/);
  });

  it('tells of conversions beside what they were made of, and of one alone with its original', async () => {
    const store = await openedStore(world.cacheDir);
    const origin = await putModel(store, { 'model.onnx': 'bytes' });
    const first = await putConversion(store, origin, { precision: 'int8' });
    await putConversion(store, origin, { precision: 'int4', device: 'GPU' });
    await putConversion(store, first, { precision: 'fp16' });
    const references = async (reference: string): Promise<readonly string[]> => {
      const { stdout } = await world.run('report', reference, '-o', 'x.html', '--overwrite', '--json');
      const { models } = JSON.parse(stdout) as { models: { reference: string }[] };
      return models.map((model) => model.reference.replace(`hf:org/name@${COMMIT}`, ''));
    };
    expect(await references('org/name')).toEqual(['', '+fp16-cpu', '+int4-gpu', '+int8-cpu'].sort());
    expect(await references('org/name+int4-gpu')).toEqual(['', '+int4-gpu']);
    expect(await references('org/name+fp16-cpu')).toEqual(['', '+int8-cpu', '+fp16-cpu']);
    expect(await textOf('x.html')).toContain('not measured: it was converted without its check');
  });

  it('says so where a page would be too long for all of them', async () => {
    const store = await openedStore(world.cacheDir);
    const origin = await putModel(store, { 'model.onnx': 'bytes' });
    for (let at = 0; at < 41; at += 1)
      await putConversion(store, origin, { precision: 'int8', seed: `seed ${at}` });
    const { exitCode, stderr } = await world.run('report', 'org/name', '-o', 'x.html');
    expect(exitCode).toBe(0);
    expect(stderr).toMatch(
      /^warning: The report is of the first 40 models and conversions: 2 more are left out$/m,
    );
    expect(await textOf('x.html')).toContain('2 more models not listed');
  });

  it('refuses places that it must not write to, before it reads anything', async () => {
    await writeFile(at('taken.html'), 'mine');
    const told = async (output: string): Promise<string> => {
      const { exitCode, stderr } = await world.run('report', './absent', '-o', output);
      expect(exitCode, output).toBe(2);
      return stderr;
    };
    expect(await told('taken.html')).toBe(
      `error: The report exists: ${at('taken.html')}\n  hint: choose another name, or pass \`--overwrite\``,
    );
    expect(await told('none/x.html')).toContain('No such directory for the report');
    expect(await told('model')).toContain('A directory has the name of the report');
    expect(await told('reports/')).toContain('this is the name of a directory');
    expect(await told('/dev/null')).toContain('A device or pipe has the name of the report');
    expect(await told(join(world.cacheDir, 'x.html'))).toContain('lies in the cache');
    await symlink(world.cacheDir, at('link'));
    expect(await told('link/x.html')).toContain('lies in the cache');
    if (process.platform === 'linux') {
      const { exitCode, stderr } = await world.run('report', './model', '-o', '/proc/report.html');
      expect(exitCode).toBe(7);
      expect(stderr).toContain('Cannot write /proc/report.html');
    }
    expect(await told('')).toContain('The path after `--output` is empty');
    expect(await readFile(at('taken.html'), 'utf8')).toBe('mine');
    expect((await world.run('report', './model', '-o', 'taken.html', '--overwrite')).exitCode).toBe(0);
    expect(await readFile(at('taken.html'), 'utf8')).toMatch(/^<!doctype html>/);
  });

  it('writes through no link, and replaces none', async () => {
    await writeFile(at('kept.html'), 'mine');
    for (const [link, target] of [
      ['link.html', 'kept.html'],
      ['nowhere.html', 'absent'],
      ['around.html', 'around.html'],
    ] as const) {
      await symlink(target, at(link));
      for (const overwrite of [[], ['--overwrite']]) {
        const { exitCode, stderr } = await world.run('report', './model', '-o', link, ...overwrite);
        expect(stderr).toContain(`error: A link has the name of the report: ${at(link)}\n  hint: `);
        expect(exitCode).toBe(2);
      }
      expect(await readlink(at(link))).toBe(target);
    }
    expect(await readFile(at('kept.html'), 'utf8')).toBe('mine');
  });

  it('tells of a file that is here and not stored, without network, as `show` does', async () => {
    await writeFile(at('here.gguf'), gguf({ tensors: { 'blk.0.attn_q.weight': [32, 50] } }));
    const { exitCode } = await world.run('report', '--offline', './here.gguf', '-o', 'here.html');
    expect(exitCode).toBe(0);
    expect(await textOf('here.html')).toMatch(/blk\.0 F32 1 6\.3 KiB/);
    expect(await world.run('report', '--offline', 'org/far')).toMatchObject({ exitCode: 3 });
  });

  it('says what is missing: a reference, a model, a place for the document', async () => {
    expect(await world.run('report')).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining('Missing a reference') as string,
    });
    const absent = await world.run('report', 'org/name', '-o', 'x.html');
    expect(absent).toMatchObject({ exitCode: 3, stdout: '' });
    expect(absent.stderr).toContain('fetch it with `modeldl pull hf:org/name`');
    const both = await world.run('report', './model', '--json');
    expect(both.exitCode).toBe(2);
    expect(JSON.parse(both.stdout)).toMatchObject({ ok: false, error: { code: 'USAGE' } });
    expect(await readdir(world.directory)).not.toContain('x.html');
  });

  it('of a model that is not stored tells what its hub and the beginnings of its files say', async () => {
    const weights = await readFile(at('model/model.safetensors'));
    const hub = await startHfHub({ repos: [{ id: 'org/far', files: { 'model.safetensors': weights } }] });
    try {
      const online = { HF_ENDPOINT: hub.endpoint, MODELDL_OFFLINE: '0' };
      const { exitCode } = await world.runWith(online, 'report', 'org/far', '-o', 'far.html');
      expect(exitCode).toBe(0);
      const text = await textOf('far.html');
      expect(text).toContain('no, its hub was asked');
      expect(text).toContain('model.layers.2');
      expect((await world.run('list', '--quiet')).stdout).not.toContain('org/far');
    } finally {
      await hub.close();
    }
  });

  it('has no token on a page, whatever a server answers: pages are handed on', async () => {
    const token = 'plain-word-of-a-token';
    const files = { 'model.safetensors': await readFile(at('model/model.safetensors')) };
    const hub = await startHfHub({ repos: [{ id: 'org/far', files }], tokens: [{ token, user: 'me' }] });
    const said = { 'x-error-message': `${token} may not` };
    hub.addFault({ kind: { status: 403, headers: said }, matches: /safetensors/ });
    try {
      const online = { HF_ENDPOINT: hub.endpoint, HF_TOKEN: token, MODELDL_OFFLINE: '0' };
      const { exitCode } = await world.runWith(online, 'report', 'org/far', '-o', 'far.html');
      expect(exitCode).toBe(0);
      expect(await textOf('far.html')).toContain('refuses access to model.safetensors: *** may not');
      const { stdout } = await world.runWith(online, 'show', 'org/far', '--json');
      expect(stdout).not.toContain(token);
    } finally {
      await hub.close();
    }
  });
});

describe('the page in a browser', () => {
  const test = requirePeer('chromium', CHROMIUM);
  const convertingTest = requirePeer('chromium and python3 with pip', CHROMIUM && PYTHON);
  let browser: Browser;

  beforeAll(async () => {
    if (CHROMIUM) browser = await startBrowser();
  });
  afterAll(async () => {
    if (CHROMIUM) await browser.close();
  });

  describe('of a real model and its conversions', () => {
    let real: ConvertingWorld;
    beforeAll(async () => {
      real = await createConvertingWorld();
    }, 600_000);
    afterAll(() => real.remove());

    convertingTest(
      'shows what was measured, asks nobody, and fits a telephone and paper',
      async () => {
        const { world, copyOf, convert } = real;
        const detector = await copyOf(DETECTOR, 'detector.onnx');
        await convert(detector, '--precision', 'fp16');
        const int8 = modelOf(await world.run('convert', detector, '--precision', 'int8', '--json'));
        await convert(detector, '--precision', 'fp32', '--no-check');
        const file = join(world.directory, 'report.html');
        const made = await world.run('report', detector, '-o', file, '--json');
        expect(made.exitCode).toBe(0);
        const { models } = JSON.parse(made.stdout) as { models: { reference: string; bytes: number }[] };
        const { page, requests, complaints } = await openFile(browser, file);

        const cells = await lookAt(
          page,
          v.array(v.array(v.string())),
          `[...document.querySelectorAll('main > section:first-child tbody tr')]
            .map((row) => [...row.cells].map((cell) => cell.innerText))`,
        );
        const rows = cells.map((row) => row.map((text) => text.replace(/\s+/g, ' ').trim()));
        expect(rows).toHaveLength(models.length);
        const row = (name: string): readonly string[] => rows.find(([first]) => first === name) ?? [];
        const share = (await weightTypes(int8.path))['u8'] ?? 0;
        expect(row('int8 for CPU')[2]).toContain(`u8 ${(100 * share).toFixed(1)} %`);
        const cosine = int8.check?.outputs[0]?.cosine ?? 0;
        expect(Number(/^cosine ([\d.]+),/.exec(row('int8 for CPU')[3] ?? '')?.[1])).toBeCloseTo(cosine, 3);
        expect(row('fp32 for CPU')[3]).toBe('not measured');
        expect(row('fp16 for CPU')[4]).toMatch(/^[\d.]+ s$|^\d+m \d+s$/);

        // Bars are as long as they say.
        const widths = await lookAt(
          page,
          v.array(v.number()),
          `[...document.querySelectorAll('main > section:first-child .size')]
            .map((bar) => bar.getBoundingClientRect().width / bar.parentElement.getBoundingClientRect().width)`,
        );
        const most = Math.max(...models.map(({ bytes }) => bytes));
        expect(widths.map((width) => Math.round(100 * width))).toEqual(
          models.map(({ bytes }) => Math.round((100 * bytes) / most)),
        );
        // The policy lets the style in: text has not the browser's own colours and fonts.
        expect(await styleOf(page, 'maxWidth')).toBe('1088px');
        await page.click('details summary');
        expect(await page.$$('details[open]')).toHaveLength(1);

        for (const width of [360, 1100]) {
          await page.setViewport({ width, height: 800 });
          await setDetails(page, true);
          expect(await overflowOf(page)).toBeLessThanOrEqual(0);
        }
        const back = (): Promise<string> => styleOf(page, 'backgroundColor');
        const light = await back();
        await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
        expect(await back()).not.toBe(light);
        await page.emulateMediaType('print');
        await setDetails(page, false);
        const heights = await lookAt(
          page,
          v.array(v.number()),
          `[...document.querySelectorAll('details table')].map((each) => each.getBoundingClientRect().height)`,
        );
        expect(heights.length).toBeGreaterThan(models.length);
        expect(Math.min(...heights)).toBeGreaterThan(0);
        expect(requests).toEqual([]);
        expect(complaints).toEqual([]);
        await page.close();
      },
      600_000,
    );
  });

  test('of hostile names has no markup of theirs, runs nothing and is no wider than a telephone', async () => {
    const world = await createWorld({ MODELDL_OFFLINE: '1' });
    try {
      // What a file system takes as a name, and what stands in headers.
      const names = ['<img src=x onerror=alert(1)>', '\u202e"><script>alert(2)<', 'W'.repeat(200)];
      const tensors = Object.fromEntries(
        [...names, '</style><svg onload=alert(3)>', ']]>\0\x1b[31m', 'W'.repeat(1_000_000)].map((name) => [
          name,
          { dtype: 'F32', shape: [4] },
        ]),
      );
      const model = join(world.directory, `m${names.slice(0, 2).join('')}`.replaceAll('/', '_'));
      await mkdir(model);
      await writeFile(join(model, 'model.safetensors'), safetensors(tensors));
      await writeFile(
        join(model, 'config.json'),
        JSON.stringify({ architectures: ['<script>alert(4)</script>'] }),
      );
      for (const name of names) await writeFile(join(model, `${name}.bin`), 'x');
      await writeFile(join(model, `${names[2] ?? ''}.onnx`), onnxGraph().model);
      await world.run('pull', model);
      const file = join(world.directory, 'report.html');
      const run = await world.run('report', model, '-o', file);
      expect(run.stderr).not.toContain('error:');
      const { page, requests, complaints } = await openFile(browser, file, 360);
      await setDetails(page, true);
      const elements = await lookAt(
        page,
        v.array(v.array(v.string())),
        `[...document.querySelectorAll('*')]
          .map(({ localName, attributes }) => [localName, ...[...attributes].map(({ name }) => name)])`,
      );
      expect(elements.flat().filter((name) => /^on|^src$|^(script|img|iframe|b)$/.test(name))).toEqual([]);
      const text = await lookAt(page, v.string(), `document.querySelector('main').innerText`);
      expect(text).toContain('<img src=x onerror=alert(1)>');
      expect(text).toContain('\\u202e"><script>alert(2)<');
      expect(text).toContain('<script>alert(4)</script>');
      expect(text).toContain(']]>\\x00\\x1b[31m');
      expect(await overflowOf(page)).toBeLessThanOrEqual(0);
      expect((await stat(file)).size).toBeLessThan(200_000);
      expect(requests).toEqual([]);
      expect(complaints).toEqual([]);
      await page.close();
    } finally {
      await world.remove();
    }
  });
});
