import { describe, expect, it } from 'vitest';
import { listingDifferences, parseLock, printLock, requestKey, type LockedModel } from '../src/lock-file.js';

const HEX = 'a'.repeat(64);
const model = (reference: string, more: Partial<LockedModel> = {}): LockedModel => ({
  asked: { reference },
  reference: `${reference}@1`,
  hub: 'acme',
  id: reference,
  revision: '1',
  files: [
    { path: 'a', size: 1, digest: `sha256:${HEX}` },
    { path: 'b', leftOut: true },
  ],
  ...more,
});

describe('a lock', () => {
  it('reads back as it was written', () => {
    const models = [
      model('acme:one', {
        members: [{ path: 'x/y', bytes: 3, archive: 'a', digest: `sha256:${HEX}` }],
        edits: [{ path: 'x', pattern: '^a', replacement: ['b', 0] }],
        conversion: { converter: 'small', toolchain: 'none', key: HEX, platform: 'linux-x64' },
      }),
      model('acme:two', { conversion: { published: true } }),
    ];
    expect(parseLock('modeldl.lock', printLock(models)).models).toEqual(models);
  });

  it('is the same whatever the order, and a model that is asked for twice is one', () => {
    const [one, two] = [model('acme:one'), model('acme:two')];
    expect(printLock([two, one, two])).toBe(printLock([one, two]));
  });

  it('has one line for each file, so that people can compare it', () => {
    const lines = printLock([model('acme:one')]).split('\n');
    expect(lines).toContain(`        { "path": "a", "size": 1, "digest": "sha256:${HEX}" },`);
    expect(lines).toContain('        { "path": "b", "leftOut": true }');
  });

  it('is about the same request whatever the order of its keys', () => {
    const conversion = { precision: 'int8', device: 'CPU', prebuilt: 'tell' } as const;
    const turned = { prebuilt: 'tell', device: 'CPU', precision: 'int8' } as const;
    expect(requestKey({ reference: 'x', conversion })).toBe(
      requestKey({ conversion: turned, reference: 'x' }),
    );
    expect(requestKey({ reference: 'x', conversion })).not.toBe(requestKey({ reference: 'x' }));
  });

  it.each([
    ['sha256:abc', 'a digest'],
    [`md5:${'a'.repeat(32)}`, 'a digest'],
    [`sha256:${'A'.repeat(64)}`, 'a digest'],
  ])('refuses the digest %s', (digest, message) => {
    const text = printLock([model('acme:one', { files: [{ path: 'a', digest }] })]);
    expect(() => parseLock('modeldl.lock', text)).toThrow(message);
  });

  it.each(['../a', '/a', 'a//b', 'a\\b', 'C:a', '', 'a/../../b'])('refuses the path %j', (path) => {
    for (const change of [
      { files: [{ path }] },
      { members: [{ path, bytes: 1, archive: 'a' }] },
      { edits: [{ path, pattern: '', replacement: [] }] },
      { files: [{ path: 'a', unpack: { format: 'tar' as const, into: path } }] },
    ]) {
      expect(() => parseLock('modeldl.lock', printLock([model('acme:one', change)]))).toThrow();
    }
  });

  it.each<readonly [string, readonly LockedModel[], string]>([
    ['a model twice', [model('acme:one'), model('acme:one', { revision: '2' })], 'holds acme:one twice'],
    ['a model without files', [model('acme:one', { files: [] })], '`models.0.files` is wrong'],
    ['lines in a text', [model('acme:one\nerror: more')], 'expected a text in one line'],
  ])('refuses %s', (_what, models, message) => {
    expect(() => parseLock('modeldl.lock', JSON.stringify({ version: 1, models }))).toThrow(message);
  });

  it('names what a listing has otherwise', () => {
    const other = { algorithm: 'sha256', hex: 'b'.repeat(64) } as const;
    const files = [
      { path: 'a', size: 1, digest: other, url: '' },
      { path: 'c', url: '' },
    ];
    expect(listingDifferences(model('acme:one'), { files })).toEqual([
      `a is sha256:${other.hex} instead of sha256:${HEX}`,
      'b is gone',
      'c is new',
    ]);
    expect(
      listingDifferences(model('acme:one'), {
        files: [
          { path: 'a', size: 2, url: '' },
          { path: 'b', url: '' },
        ],
      }),
    ).toEqual(['a has 2 bytes instead of 1']);
  });
});
