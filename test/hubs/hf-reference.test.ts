import { describe, expect, it } from 'vitest';
import { hf } from '../../hubs/hf.js';
import { ModeldlError } from '../../src/errors.js';
import { formatReference, parseReference, type Reference } from '../../src/reference.js';

const MIRROR = 'https://mirror.example/api/hf';

function parse(text: string): Reference {
  return parseReference(text, [hf.syntax], { cwd: '/work', home: '/home/user', endpoints: { hf: MIRROR } });
}

function problem(text: string): ModeldlError {
  try {
    expect.fail(`Expected an error, got ${JSON.stringify(parse(text))}`);
  } catch (error) {
    if (error instanceof ModeldlError) return error;
    throw error;
  }
}

describe('Hugging Face references', () => {
  it.each<[string, string]>([
    ['gpt2', 'hf:gpt2'],
    ['Qwen/Qwen3-0.6B', 'hf:Qwen/Qwen3-0.6B'],
    ['Qwen/Qwen3-0.6B@main//onnx', 'hf:Qwen/Qwen3-0.6B@main//onnx'],
    ['hf:_org/name_1.5@v1.0', 'hf:_org/name_1.5@v1.0'],
    ['hf:org/name@refs/pr/1', 'hf:org/name@refs/pr/1'],
    ['hf:org/name@refs%2Fpr%2F1//a/b.txt', 'hf:org/name@refs/pr/1//a/b.txt'],
    ['hf:org/name//100%25%20%23.txt', 'hf:org/name//100%25%20%23.txt'],
    ['hf://org/name', 'hf:org/name'],
    ['hf://org/name/onnx/model.onnx', 'hf:org/name//onnx/model.onnx'],
    ['hf://org/name@v1/config.json', 'hf:org/name@v1//config.json'],
    ['hf://org/name@refs/pr/12/config.json', 'hf:org/name@refs/pr/12//config.json'],
    ['hf://org/name@v1//config.json', 'hf:org/name@v1//config.json'],
    ['hf://gpt2', 'hf:gpt2'],
    ['https://huggingface.co/org/name', 'hf:org/name'],
    ['https://huggingface.co/org/name/', 'hf:org/name'],
    ['http://hf.co/org/name', 'hf:org/name'],
    ['https://www.huggingface.co/gpt2', 'hf:gpt2'],
    ['https://huggingface.co/gpt2/tree/main', 'hf:gpt2@main'],
    ['https://huggingface.co/org/name/tree/main', 'hf:org/name@main'],
    ['https://huggingface.co/org/name/tree/v1.0/onnx/int8', 'hf:org/name@v1.0//onnx/int8'],
    ['https://huggingface.co/org/name/tree/refs%2Fpr%2F7/onnx', 'hf:org/name@refs/pr/7//onnx'],
    ['https://huggingface.co/org/name/tree/refs/pr/7/onnx', 'hf:org/name@refs/pr/7//onnx'],
    ['https://huggingface.co/org/name/blob/main/config.json', 'hf:org/name@main//config.json'],
    [
      'https://huggingface.co/org/name/resolve/main/a%20b%23.txt?download=true',
      'hf:org/name@main//a%20b%23.txt',
    ],
    ['https://huggingface.co/org/name/raw/main/README.md#usage', 'hf:org/name@main//README.md'],
    [`${MIRROR}/org/name/tree/dev`, 'hf:org/name@dev'],
  ])('reads %s as %s', (text, canonical) => {
    const { openRevision, ...reference } = parse(text);
    expect(formatReference(reference, [hf.syntax])).toBe(canonical);
    expect(parse(canonical)).toEqual(reference);
  });

  it.each<[string, RegExp]>([
    ['hf:datasets/squad', /a dataset/],
    ['hf:datasets/org/name', /a dataset/],
    ['hf:spaces/org/name', /a space/],
    ['hf://datasets/org/name/data.csv', /a dataset/],
    ['https://huggingface.co/datasets/org/name', /a dataset/],
    ['https://huggingface.co/spaces/org/name', /a space/],
    [`${MIRROR}/datasets/org/name`, /a dataset/],
    ['https://huggingface.co/docs/hub/models', /documentation/],
    ['https://huggingface.co/api/models/org/name', /API/],
    ['https://huggingface.co', /names no model/],
    ['https://huggingface.co/org/name/discussions/3', /no page of a model/],
    ['https://huggingface.co/org/name/tree', /no page of a model/],
    ['https://user:secret@huggingface.co/org/name', /user name or password/],
    ['hf:', /empty/],
    ['hf:org/', /no name/],
    ['hf:/org', /no name/],
    ['hf:org/na--me', /no name/],
    ['hf:org/na..me', /no name/],
    ['hf:org/.name', /no name/],
    ['hf:org/name-', /no name/],
    ['hf:org/name.git', /no name/],
    ['hf:org/na me', /no name/],
    ['hf:org/n%C3%A4me', /no name/],
    [`hf:org/${'a'.repeat(97)}`, /no name/],
    ['hf:org/name@', /revision/],
    ['hf:org/name@..', /revision/],
    ['hf:org/name@a%00b', /revision/],
    ['hf:org/name@a b', /revision/],
    ['hf:org/name//../x', /`\.\.`/],
    ['hf://org/name@/x', /revision/],
  ])('refuses %s', (text, why) => {
    const error = problem(text);
    expect(error.code).toBe('USAGE');
    expect(error.message).toMatch(why);
    expect(error.message).not.toContain('secret');
  });

  it('says what longer and tagged names were meant to be', () => {
    expect(problem('hf:org/name/onnx/model.onnx').hint).toContain('`hf:org/name//onnx/model.onnx`');
    expect(problem('hf:org/name:Q4_K_M').hint).toContain('--quant Q4_K_M');
  });

  it('leaves addresses of other hosts, and of other paths of the endpoint, to other hubs', () => {
    const endpoint = new URL(MIRROR);
    for (const text of [
      'https://example.org/org/name',
      `${endpoint.origin}/org/name`,
      `${MIRROR}x/org/name`,
    ]) {
      expect(hf.syntax.fromWebAddress(new URL(text), MIRROR), text).toBeUndefined();
    }
    expect(hf.syntax.fromWebAddress(new URL(`${MIRROR}/org/name`))).toBeUndefined();
  });
});
