import { describe, expect, it } from 'vitest';
import { ModeldlError } from '../../src/errors.js';
import { parseServerConfig, withModel } from '../../src/layout/server-config.js';

const FILE = '/models/config.json';

function add(before: string | undefined, name: string): { text: string; renamed: unknown } {
  return withModel(before === undefined ? {} : parseServerConfig(before, FILE), { name, basePath: name });
}

describe('config.json', () => {
  it('of a first model is what Python writes with an indent of 4', () => {
    expect(add(undefined, 'org/name').text).toBe(`{
    "model_config_list": [
        {
            "config": {
                "name": "org/name",
                "base_path": "org/name"
            }
        }
    ]
}`);
  });

  it('gets one more entry, or another path for the one it has', () => {
    const first = add(undefined, 'a').text;
    const second = add(first, 'b').text;
    expect(JSON.parse(second)).toEqual({
      model_config_list: [
        { config: { name: 'a', base_path: 'a' } },
        { config: { name: 'b', base_path: 'b' } },
      ],
    });
    expect(add(second, 'b').text).toBe(second);
    const moved = second.replace('"base_path": "a"', '"base_path": "/elsewhere"');
    expect(add(moved, 'a').text).toBe(second);
  });

  it('keeps what others wrote, in its order', () => {
    const before = {
      monitoring: { metrics: { enable: true } },
      model_config_list: [
        'a word',
        {
          config: { name: 'a', base_path: 'x', batch_size: 'auto', shape: { in: '(1,3)' } },
          extra: [1.5, null],
        },
        { other: true },
      ],
      custom_loader_config_list: [],
    };
    const { text } = add(JSON.stringify(before), 'a');
    const expected = JSON.stringify(before, null, 4).replace('"base_path": "x"', '"base_path": "a"');
    expect(text).toBe(expected);
  });

  it('keeps keys that JavaScript has a use for', () => {
    const { text } = add(
      '{"__proto__": {"x": 1}, "model_config_list": [{"config": {"name": "a", "__proto__": 2}}]}',
      'b',
    );
    expect(text).toContain('"__proto__": {');
    expect(text).toContain('"__proto__": 2');
  });

  it('has no character but ASCII, as Python writes it', () => {
    expect(add(undefined, 'モデル').text).toContain(String.raw`"name": "\u30e2\u30c7\u30eb"`);
  });

  it('gives entries of the older list a place and a name in the newer one', () => {
    const before = {
      mediapipe_config_list: [{ name: 'old', base_path: 'old', graph_path: 'g' }, { name: 'kept' }],
      model_config_list: [{ config: { name: 'kept_model', base_path: 'k' } }],
    };
    const { text, renamed } = add(JSON.stringify(before), 'new');
    expect(JSON.parse(text)).toEqual({
      model_config_list: [
        { config: { name: 'kept_model', base_path: 'k' } },
        { config: { name: 'old_model', base_path: 'old', graph_path: 'g' } },
        { config: { name: 'new', base_path: 'new' } },
      ],
    });
    expect(renamed).toEqual([['old', 'old_model']]);
  });

  it.each([
    ['', 'it is not JSON'],
    ['{"model_config_list": [', 'it is not JSON'],
    ['[]', 'the whole'],
    ['null', 'the whole'],
    ['{"model_config_list": {}}', 'model_config_list'],
    ['{"mediapipe_config_list": [{}]}', 'mediapipe_config_list.0.name'],
  ])('that is %j is refused by its path', (text, why) => {
    let thrown: unknown;
    try {
      parseServerConfig(text, FILE);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(ModeldlError);
    const { code, message, hint } = thrown as ModeldlError;
    expect([code, hint]).toEqual(['CONFIG', 'correct it or move it away; nothing was changed']);
    expect(message).toContain(`${FILE}: ${why}`);
  });
});
