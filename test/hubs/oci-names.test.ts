/** Names of other hubs' models in a registry: valid, apart, and the same for ever, since machines look by them. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { holding } from '../../hubs/oci/holding.js';
import { repositoryName, tagName } from '../../hubs/oci/names.js';
import { syntax } from '../../hubs/oci/reference.js';

const REPOSITORY = /^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

describe('names', () => {
  it.each([
    ['org/model', 'org/model'],
    ['Qwen/Qwen3-0.6B', 'qwen/qwen3-0.6b--fb68f5a6d13f'],
    ['@scope/pkg', 'scope/pkg--5b9874c85552'],
    ['llama3.2:3b', 'llama3.2-3b--925b2caf9832'],
    ['https://host.example/a//b/model.onnx', 'https/host.example/a/b/model.onnx--6a0d5509e54e'],
    ['a..b/c_-d', 'a-b/c-d--c6abdb4ee322'],
    ['模型', 'c98e118e0a43'],
  ])('%s', (id, name) => {
    expect(repositoryName(id)).toBe(name);
  });

  it.each([
    ['6ee799e06638027ad3d3ebfc10cf0f65f177c250', '6ee799e06638027ad3d3ebfc10cf0f65f177c250'],
    ['v8.3.0', 'v8.3.0'],
    ['a'.repeat(64), `revision-${'a'.repeat(64)}`],
  ])('%s as a tag', (revision, tag) => {
    expect(tagName(revision)).toBe(tag);
  });

  it('are what registries take, whatever the id', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1, maxLength: 300 }), (text) => {
        expect(repositoryName(text)).toMatch(REPOSITORY);
        expect(repositoryName(text).length).toBeLessThanOrEqual(128);
        expect(tagName(text)).toMatch(TAG);
      }),
    );
  });

  it('are apart for ids that are', () => {
    const like = fc.stringMatching(/^[aA.\-_/:]{1,12}$/);
    fc.assert(
      fc.property(like, like, (one, other) => {
        fc.pre(one !== other);
        expect(repositoryName(one)).not.toBe(repositoryName(other));
        expect(tagName(one)).not.toBe(tagName(other));
      }),
    );
  });
});

describe('a place', () => {
  it.each([
    ['registry.example/models', 'registry.example/models'],
    ['Registry.example:5000/models/', 'registry.example:5000/models'],
    ['localhost:5000', 'localhost:5000'],
    ['docker.io/ali', 'docker.io/ali'],
  ])('%s is a prefix', (text, prefix) => {
    expect(holding.readPrefix(text)).toBe(prefix);
  });

  it.each([
    'models',
    'registry.example/models:tag',
    'registry.example/Models',
    `h.example/m@sha256:${'a'.repeat(64)}`,
    '',
  ])('%s is none', (text) => {
    expect(holding.readPrefix(text)).toBeUndefined();
  });

  it('reads back as it is written', () => {
    const place = holding.place('registry.example/models', { hub: 'hf', id: 'Org/Model', revision: 'v1' });
    const { hub: _hub, ...parts } = place;
    expect(syntax.parse(syntax.format(place).slice('oci:'.length))).toEqual(parts);
  });
});
