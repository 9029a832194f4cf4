/** What is found while people type, by what is stored and what hubs answer. */
import { describe, expect, it } from 'vitest';
import { createFinder, isClear } from '../../../src/cli/interactive/find.js';
import { ModeldlError, type Modeldl } from '../../../src/index.js';
import type { FoundModel, ListedModel, SearchResult } from '../../../src/results.js';

const UNKNOWN = {
  ...{ task: null, library: null, license: null, precisions: [], scale: null, parameters: null, bytes: null },
  ...{ downloads: null, likes: null, updatedAt: null, gated: null, private: null, page: null },
};

function hit(reference: string, facts: Partial<FoundModel> = {}): FoundModel {
  const [hub = '', id = ''] = reference.split(':');
  return { ...UNKNOWN, reference, hub, id, ...facts };
}

function storedModel(reference: string): ListedModel {
  return {
    ...{ reference, kind: 'pulled', precision: null, device: null, path: '/x', cache: '/c' },
    ...{ bytes: 2048, pulledAt: '2026-01-02T00:00:00Z', lastUsedAt: null },
  };
}

/** A modeldl whose search answers with what it is given, and notes what it is asked. */
function searching(answer: (hubs: readonly string[] | undefined) => Partial<SearchResult> | Promise<never>) {
  const asked: { readonly words: string; readonly hubs: readonly string[] | undefined }[] = [];
  const search: Modeldl['search'] = async (words, options = {}) => {
    asked.push({ words, hubs: options.hubs });
    const none = { models: [], hubs: [], leftOut: [], errors: [] };
    return { ...none, ...(await answer(options.hubs)) };
  };
  return { modeldl: { search } as unknown as Modeldl, asked };
}

const live = new AbortController().signal;
const answered = (hub: string) => ({ hub, models: 1, more: false, note: null });
const unreachable = (hub: string): ModeldlError =>
  new ModeldlError('NETWORK', 'Cannot reach\n\u001b[2Jit', { details: { hub } });

describe('isClear', () => {
  it.each([
    ['./model.onnx', true],
    ['/abs', true],
    ['~/x', true],
    ['C:\\x', true],
    ['hf:org/name', true],
    ['https://host/x', true],
    ['org/name', false],
    ['qwen3', false],
    ['模型', false],
  ])('of %s is %s', (term, clear) => {
    expect(isClear(term)).toBe(clear);
  });
});

describe('what is found', () => {
  it('are stored models, those at hubs, and last what is typed', async () => {
    const { modeldl, asked } = searching(() => ({
      hubs: [answered('hf')],
      models: [
        hit('hf:org/tiny', { bytes: 2048, license: 'mit', gated: true }),
        hit('ultralytics:tiny', { scale: 'n' }),
      ],
    }));
    const stored = [storedModel('hf:me/tiny@1'), storedModel('hf:me/other@1')];
    const find = createFinder(modeldl, stored, { hubs: true, pauseMs: 0, now: () => 0 });
    const { candidates, remarks } = await find('TINY', live);
    expect(candidates).toEqual([
      { reference: 'hf:me/tiny@1', from: 'stored', facts: 'stored, 2.0 KiB' },
      { reference: 'hf:org/tiny', from: 'hub', facts: '2.0 KiB, mit, gated' },
      { reference: 'ultralytics:tiny', from: 'hub', facts: 'size n, licence unknown' },
      { reference: 'TINY', from: 'typed', facts: 'as typed' },
    ]);
    expect({ remarks, asked }).toEqual({ remarks: [], asked: [{ words: 'TINY', hubs: undefined }] });
  });

  it.each(['./tiny.onnx', 'hf:org/tiny', 'https://huggingface.co/org/tiny', 'x', ''])(
    'for %j needs no hub',
    async (term) => {
      const { modeldl, asked } = searching(() => ({}));
      const find = createFinder(modeldl, [], { hubs: true, pauseMs: 0, now: () => 0 });
      const { candidates } = await find(term, live);
      expect(candidates.map(({ reference }) => reference)).toEqual(term === '' ? [] : [term]);
      expect(asked).toEqual([]);
    },
  );

  it('leaves a hub alone for a minute that did not answer, and says so in one harmless line', async () => {
    let now = 0;
    let isDown = true;
    const { modeldl, asked } = searching(() => ({
      hubs: [answered('omz'), ...(isDown ? [] : [answered('hf')])],
      errors: isDown ? [unreachable('hf')] : [],
    }));
    const find = createFinder(modeldl, [], { hubs: true, pauseMs: 0, now: () => now });
    expect((await find('one', live)).remarks).toEqual(['hf: Cannot reach \\x1b[2Jit']);
    isDown = false;
    expect((await find('two', live)).remarks).toHaveLength(1);
    now = 60_000;
    expect((await find('three', live)).remarks).toEqual([]);
    expect(asked.map(({ hubs }) => hubs)).toEqual([undefined, ['omz'], ['omz', 'hf']]);
  });

  it('is what is stored and typed where no hub can be asked', async () => {
    const refuse = (): Promise<never> => Promise.reject(new ModeldlError('USAGE', 'No hub can answer that'));
    const find = createFinder(searching(refuse).modeldl, [storedModel('hf:org/tiny@1')], {
      ...{ hubs: true, pauseMs: 0, now: () => 0 },
    });
    const { candidates } = await find('tiny', live);
    expect(candidates.map(({ from }) => from)).toEqual(['stored', 'typed']);
  });

  it('asks nobody while more is typed', async () => {
    const { modeldl, asked } = searching(() => ({}));
    const find = createFinder(modeldl, [], { hubs: true, now: () => 0 });
    const more = new AbortController();
    const found = find('ti', more.signal);
    more.abort();
    await expect(found).rejects.toThrow('aborted');
    expect(asked).toEqual([]);
  });

  it('shows some of a thousand, and how many more there are', async () => {
    const stored = Array.from({ length: 1000 }, (_, index) => storedModel(`hf:org/m${index}@1`));
    const find = createFinder(searching(() => ({})).modeldl, stored, { hubs: false, now: () => 0 });
    const { candidates, remarks } = await find('', live);
    expect(candidates).toHaveLength(30);
    expect(remarks).toEqual(['970 more are stored: type a part of the name']);
    expect((await find('m999 org', live)).candidates[0]?.reference).toBe('hf:org/m999@1');
  });
});
