import { describe, expect, it } from 'vitest';
import { bounded, boundedLines } from '../../../src/cli/mcp/bound.js';

const files = Array.from({ length: 250 }, (_item, at) => ({ path: `${at}.bin`, bytes: at }));

describe('an answer', () => {
  it('that is small stays as it is', () => {
    const document = { ok: true, models: [{ files: files.slice(0, 100), license: null }] };
    expect(bounded(document)).toEqual({ document, cut: [] });
  });

  it('has a page of a long list, and says what is left', () => {
    const document = { ok: true, models: [{ files, leftOut: files.slice(0, 2) }] };
    const first = bounded(document);
    const cut = [{ at: 'models[0].files', from: 0, shown: 100, total: 250 }];
    expect(first.cut).toEqual(cut);
    expect(first.document).toEqual({
      ok: true,
      models: [{ files: files.slice(0, 100), leftOut: files.slice(0, 2) }],
      cut,
    });
    const last = bounded(document, 200);
    expect(last.document['models']).toEqual([{ files: files.slice(200), leftOut: files.slice(0, 2) }]);
    expect(last.cut).toEqual([{ at: 'models[0].files', from: 200, shown: 50, total: 250 }]);
    expect(bounded(document, 400).document['models']).toEqual([{ files: [], leftOut: files.slice(0, 2) }]);
  });

  it('is cut further where its entries are large, and so are texts', () => {
    const long = Array.from({ length: 100 }, () => ({ path: 'x'.repeat(1900), note: '🙂'.repeat(2000) }));
    const { document, cut } = bounded({ ok: true, models: long });
    expect(JSON.stringify(document).length).toBeLessThan(210_000);
    expect(cut[0]).toEqual({ at: 'models', from: 0, shown: 50, total: 100 });
    const [model] = document['models'] as readonly { readonly note: string }[];
    expect(model?.note).toBe('🙂'.repeat(1000));
  });

  it('has lines that are read', () => {
    const lines = boundedLines([...Array.from({ length: 200 }, () => 'x'), 'y']);
    expect(lines).toHaveLength(151);
    expect(lines.at(-1)).toBe('and 51 more lines');
    expect(boundedLines(['x'.repeat(500)])[0]).toHaveLength(401);
  });
});
