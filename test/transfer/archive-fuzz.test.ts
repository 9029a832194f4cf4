/** Broken archives at random: either the original bytes come out, or the archive is refused. */
import { execFileSync } from 'node:child_process';
import * as zlib from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ModeldlError } from '../../src/errors.js';
import type { Unpack } from '../../src/hub.js';
import { hasProgram, requirePeer } from '../helpers/require.js';
import { pax, readArchive, tar, zip, zip64Extra, type Contents } from './make-archive.js';

const CONTENT = 'weights, compressed well: wwwwwwwwwwwwwwwwwwwwwwww';
const EXTRA = zip64Extra(BigInt(CONTENT.length), BigInt(CONTENT.length));
const IN_ZIP64 = { compressedSize: 0xffffffff, uncompressedSize: 0xffffffff, extra: EXTRA };
const FILES = { 'a/config.json': '{"model_type": "tiny"}', 'weights.bin': CONTENT };

const TAR = tar([
  { name: 'a/', type: '5' },
  pax({ path: 'a/config.json' }),
  { name: 'short', content: FILES['a/config.json'] },
  { name: 'weights.bin', content: CONTENT },
]);

const ARCHIVES: readonly (readonly [string, Unpack['format'], Buffer])[] = [
  [
    'zip',
    'zip',
    zip([
      { name: 'a/config.json', content: FILES['a/config.json'] },
      { name: 'weights.bin', content: CONTENT, method: 8 },
    ]),
  ],
  [
    'zip with zip64 and sizes behind the data',
    'zip',
    zip(
      [
        { name: 'a/config.json', content: FILES['a/config.json'], dataDescriptor: true },
        { name: 'weights.bin', content: CONTENT, local: IN_ZIP64, central: IN_ZIP64 },
      ],
      { zip64: {} },
    ),
  ],
  ['tar.gz', 'tar.gz', zlib.gzipSync(TAR)],
];

/** Formats that a program of this machine makes, and how. */
const PROGRAMS = [
  ['xz', 'tar.xz', ['-c']],
  ['zstd', 'tar.zst', ['-c', '-q']],
] as const;

/** What is done to the bytes, small enough to shrink to one byte. */
type Damage = (bytes: Buffer) => Buffer;
const position = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const flips: fc.Arbitrary<Damage> = fc
  .array(fc.tuple(position, fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 4 })
  .map((changes) => (bytes) => {
    const damaged = Buffer.from(bytes);
    for (const [where, mask] of changes) {
      const at = Math.floor(where * bytes.length);
      damaged.writeUInt8(damaged.readUInt8(at) ^ mask, at);
    }
    return damaged;
  });
const cut: fc.Arbitrary<Damage> = position.map(
  (to) => (bytes) => bytes.subarray(0, Math.floor(to * bytes.length)),
);
const hole: fc.Arbitrary<Damage> = fc
  .tuple(position, fc.integer({ min: 1, max: 64 }))
  .map(([where, length]) => (bytes) => {
    const at = Math.floor(where * bytes.length);
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
  });
const ones: fc.Arbitrary<Damage> = fc
  .tuple(position, fc.constantFrom(2, 4, 8))
  .map(([where, length]) => (bytes) => {
    const at = Math.floor(where * bytes.length);
    return Buffer.from(bytes).fill(0xff, at, Math.min(at + length, bytes.length));
  });

/** Undefined when it was refused as it should be. */
async function contentsOrRefusal(bytes: Buffer, format: Unpack['format']): Promise<Contents | undefined> {
  try {
    return await readArchive(bytes, format);
  } catch (error) {
    if (error instanceof ModeldlError && error.code === 'INTEGRITY') return undefined;
    throw error;
  }
}

/** The decoder that stands in for that of Node.js before 22.15 looks at no checksum: there it only must not crash. */
const CHECKS_ZSTD = 'createZstdDecompress' in zlib;

async function expectWholeOrRefused(bytes: Buffer, format: Unpack['format']): Promise<void> {
  const contents = await contentsOrRefusal(bytes, format);
  if (contents !== undefined && (format !== 'tar.zst' || CHECKS_ZSTD)) expect(contents).toEqual(FILES);
}

async function damageAtRandom(good: Buffer, format: Unpack['format']): Promise<void> {
  expect(await readArchive(good, format)).toEqual(FILES);
  await fc.assert(
    fc.asyncProperty(fc.oneof(flips, cut, hole, ones), (damage) =>
      expectWholeOrRefused(damage(good), format),
    ),
    { numRuns: 300 },
  );
}

async function changeEachByte(good: Buffer, format: Unpack['format']): Promise<void> {
  for (let at = 0; at < good.length; at += 1) {
    const damaged = Buffer.from(good);
    damaged.writeUInt8(damaged.readUInt8(at) ^ (1 << (at & 7)), at);
    await expectWholeOrRefused(damaged, format);
  }
}

describe('a damaged', () => {
  it.each(ARCHIVES)('%s gives its original bytes or is refused', (_what, format, good) =>
    damageAtRandom(good, format),
  );

  it.each(ARCHIVES)(
    '%s with one bit of any byte changed gives its original bytes or is refused',
    (_what, format, good) => changeEachByte(good, format),
  );

  for (const [program, format, args] of PROGRAMS) {
    const withProgram = requirePeer(program, hasProgram(program));
    const compressed = (): Buffer => execFileSync(program, args, { input: TAR });
    withProgram(`${format} gives its original bytes or is refused`, () =>
      damageAtRandom(compressed(), format),
    );
    withProgram(`${format} with one bit of any byte changed gives its original bytes or is refused`, () =>
      changeEachByte(compressed(), format),
    );
  }
});

describe('random bytes', () => {
  it.each(['tar', 'tar.gz', 'zip', 'tar.xz', 'tar.zst'] as const)('are refused as a %s', async (format) => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 2000 }), async (bytes) => {
        expect(await contentsOrRefusal(Buffer.from(bytes), format)).toBeUndefined();
      }),
      { numRuns: 100 },
    );
  });
});
