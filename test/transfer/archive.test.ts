/** Archives of every format: what a good one gives, bounds, and what ends the reading of one. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { deflateRawSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ModeldlError } from '../../src/errors.js';
import type { Unpack } from '../../src/hub.js';
import { ARCHIVE_LIMITS, extractArchive, listArchive, RATIO_FREE_BYTES } from '../../src/transfer/archive.js';
import { hasProgram, requirePeer } from '../helpers/require.js';
import { readArchive, refusal, tar, zip, type TarMember } from './make-archive.js';

const FILES: readonly TarMember[] = [
  { name: 'config.json', content: '{}' },
  { name: 'weights/model.bin', content: Buffer.alloc(3_000_000, 'weights ') },
  { name: 'empty' },
];
const CONTENTS = Object.fromEntries(
  FILES.map(({ name, content }) => [String(name), Buffer.from(content ?? '').toString('latin1')]),
);
const GOOD = tar(FILES);
const RULES = { caseInsensitive: false, normalizing: false, windows: false };
const LIMITS = { ...ARCHIVE_LIMITS, rules: RULES };

/** A compressor of this machine, fed through a pipe. */
function compress(program: string, args: readonly string[], bytes: Buffer): Buffer {
  return execFileSync(program, args, { input: bytes, maxBuffer: 256 * 1024 * 1024 });
}
const xz = (bytes: Buffer): Buffer => compress('xz', ['-c', '-1'], bytes);
const zstd = (bytes: Buffer): Buffer => compress('zstd', ['-c', '-q'], bytes);
const withXz = requirePeer('xz', hasProgram('xz'));
const withZstd = requirePeer('zstd', hasProgram('zstd'));

describe('an archive of each format', () => {
  it('tar gives its files', async () => {
    expect(await readArchive(GOOD, 'tar')).toEqual(CONTENTS);
  });

  it('tar.gz gives its files', async () => {
    expect(await readArchive(gzipSync(GOOD), 'tar.gz')).toEqual(CONTENTS);
  });

  it('tar.gz of several gzip members gives its files', async () => {
    const parts = [GOOD.subarray(0, 700), GOOD.subarray(700)].map((part) => gzipSync(part));
    expect(await readArchive(Buffer.concat(parts), 'tar.gz')).toEqual(CONTENTS);
  });

  it('zip gives its files', async () => {
    const members = FILES.map(({ name, content }) => ({ name, content: content ?? '', method: 8 }));
    expect(await readArchive(zip(members), 'zip')).toEqual(CONTENTS);
  });

  withXz('tar.xz gives its files', async () => {
    expect(await readArchive(xz(GOOD), 'tar.xz')).toEqual(CONTENTS);
  });

  withXz('tar.xz with CRC32 checks and several blocks gives its files', async () => {
    const bytes = compress('xz', ['-c', '-1', '--check=crc32', '--block-size=500000'], GOOD);
    expect(await readArchive(bytes, 'tar.xz')).toEqual(CONTENTS);
  });

  withXz('tar.xz of several streams gives its files', async () => {
    const parts = [GOOD.subarray(0, 1_000_000), GOOD.subarray(1_000_000)].map(xz);
    expect(await readArchive(Buffer.concat(parts), 'tar.xz')).toEqual(CONTENTS);
  });

  withZstd('tar.zst gives its files', async () => {
    expect(await readArchive(zstd(GOOD), 'tar.zst')).toEqual(CONTENTS);
  });

  withZstd('tar.zst of several frames gives its files', async () => {
    const parts = [GOOD.subarray(0, 1_000_000), GOOD.subarray(1_000_000)].map(zstd);
    expect(await readArchive(Buffer.concat(parts), 'tar.zst')).toEqual(CONTENTS);
  });

  withZstd('tar.zst with a long window gives its files', async () => {
    const bytes = compress('zstd', ['-c', '-q', '--long=27', '-3'], GOOD);
    expect(await readArchive(bytes, 'tar.zst')).toEqual(CONTENTS);
  });
});

describe('an archive is refused, naming it, when', () => {
  const small = tar([{ name: 'a.bin', content: createHash('sha512').update('random').digest() }]);
  const formats: readonly (readonly [Unpack['format'], typeof withXz, () => Buffer])[] = [
    ['tar', it, () => small],
    ['tar.gz', it, () => gzipSync(small)],
    ['zip', it, () => zip([{ name: 'a.bin', content: 'contents', method: 8 }])],
    ['tar.xz', withXz, () => xz(small)],
    ['tar.zst', withZstd, () => zstd(small)],
  ];
  for (const [format, test, make] of formats) {
    test(`a ${format} is empty`, async () => {
      await refusal(Buffer.alloc(0), format);
    });

    test(`a ${format} is garbage`, async () => {
      await refusal(Buffer.from('<html>not found</html>'.repeat(100)), format);
      await refusal(Buffer.alloc(5000, 0xff), format);
    });

    test(`a ${format} is cut off anywhere`, async () => {
      const bytes = make();
      // A tar that lost only a part of its two end blocks is whole.
      const whole = format === 'tar' ? bytes.length - 512 : bytes.length;
      for (let length = 0; length < bytes.length; length += format === 'tar' ? 64 : 1) {
        if (length !== whole) await refusal(bytes.subarray(0, length), format);
      }
      expect(Object.keys(await readArchive(bytes, format))).toEqual(['a.bin']);
    });

    test(`a ${format} has junk behind its end`, async () => {
      await refusal(Buffer.concat([make(), Buffer.from('junk '.repeat(200))]), format);
    });
  }

  it('a compressed tar is cut off before compression', async () => {
    await refusal(gzipSync(small.subarray(0, 1024)), 'tar.gz');
  });

  it('a tar is called a zip, or a zip a tar', async () => {
    await refusal(small, 'zip');
    await refusal(zip([{ name: 'a' }]), 'tar');
    await refusal(small, 'tar.gz');
  });

  it('names collide on this file system, and not when they do not', async () => {
    const rows: readonly (readonly [string, string, Partial<typeof RULES>])[] = [
      ['Model.bin', 'model.bin', { caseInsensitive: true }],
      ['dir/a', 'DIR/A', { caseInsensitive: true }],
      ['dir', 'DIR/a', { caseInsensitive: true }],
      ['caf\u00e9', 'cafe\u0301', { normalizing: true }],
      ['CAF\u00c9', 'cafe\u0301', { normalizing: true, caseInsensitive: true }],
      ['con.txt', 'x', { windows: true }],
    ];
    for (const [first, second, rules] of rows) {
      for (const format of ['tar', 'zip'] as const) {
        const members = [first, second].map((name) => ({ name, content: 'x' }));
        const bytes = format === 'tar' ? tar(members) : zip(members);
        expect(await readArchive(bytes, format)).toEqual({ [first]: 'x', [second]: 'x' });
        const error = await refusal(bytes, format, { limits: { rules: { ...RULES, ...rules } } });
        expect(error.message).toContain(rules.windows ? first : second === 'DIR/a' ? first : second);
      }
    }
  });

  it('it has too many members, directories included', async () => {
    const members = ['a', 'b', 'c'].map((name) => ({ name: `${name}/`, type: '5' }));
    expect(await readArchive(tar(members), 'tar', { limits: { maxMembers: 3 } })).toEqual({});
    for (const [bytes, format] of [
      [tar(members), 'tar'],
      [zip(members), 'zip'],
    ] as const) {
      expect((await refusal(bytes, format, { limits: { maxMembers: 2 } })).message).toContain(
        'more than 2 members',
      );
    }
  });

  it('its members declare more bytes together than allowed', async () => {
    const members = ['a', 'b'].map((name) => ({ name, content: 'x'.repeat(60) }));
    expect((await refusal(tar(members), 'tar', { limits: { maxBytes: 119 } })).message).toContain('"b"');
    expect((await refusal(zip(members), 'zip', { limits: { maxBytes: 119 } })).message).toContain('"b"');
    expect(Object.keys(await readArchive(tar(members), 'tar', { limits: { maxBytes: 120 } }))).toEqual([
      'a',
      'b',
    ]);
  });

  it('a member unpacks to more than the allowed multiple of the archive', async () => {
    const zeros = Buffer.alloc(RATIO_FREE_BYTES + 1);
    const bomb = { name: 'bomb', content: zeros, method: 8 };
    expect((await refusal(zip([bomb]), 'zip')).message).toContain('1000 times its size');
    expect((await refusal(gzipSync(tar([bomb])), 'tar.gz')).message).toContain('1000 times its size');
    const allowed = { name: 'zeros', content: zeros.subarray(1), method: 8 };
    expect(await readArchive(zip([allowed]), 'zip', { wanted: [] })).toEqual({});
  });

  it('a member hides how much it unpacks to', async () => {
    const raw = deflateRawSync(Buffer.alloc(10_000_000));
    const lie = { compressedSize: raw.length, uncompressedSize: 1000 };
    const error = await refusal(zip([{ name: 'bomb', method: 8, raw, local: lie, central: lie }]), 'zip');
    expect(error.message).toContain('"bomb": it is longer than declared');
  });

  it('a compressed tar unpacks to zeros without end', async () => {
    const zeros = gzipSync(Buffer.alloc(RATIO_FREE_BYTES + 4096));
    expect((await refusal(zeros, 'tar.gz')).message).toContain('1000 times its size');
  });
});

describe('the folder of a package', () => {
  const inPackage = (name: string): TarMember[] => [
    { name: 'package/a', content: 'x' },
    { name, content: 'y' },
  ];

  it('is dropped from every name', async () => {
    const members = inPackage('package/dist/b');
    expect(await readArchive(tar(members), 'tar', { strip: 1 })).toEqual({ a: 'x', 'dist/b': 'y' });
    expect(await readArchive(tar(inPackage('other/b')), 'tar', { strip: 1 })).toEqual({ a: 'x', b: 'y' });
    expect(await readArchive(tar(inPackage('./package/b')), 'tar', { strip: 1 })).toEqual({ a: 'x', b: 'y' });
  });

  it('is put before every name, once that was checked', async () => {
    const members = inPackage('package/dist/b');
    expect(await readArchive(tar(members), 'tar', { strip: 1, into: 'lib/x' })).toEqual({
      'lib/x/a': 'x',
      'lib/x/dist/b': 'y',
    });
    const climbing = tar(inPackage('../b'));
    expect((await refusal(climbing, 'tar', { into: 'lib' })).message).toContain('..');
  });

  it.each([
    ['a file above it', 'b', 'outside'],
    ['a name that climbs into it', '../package/b', '..'],
    ['an absolute name', '/package/b', 'absolute'],
    ['a drive letter', 'C:/b', 'drive'],
    ['a backslash in what is dropped', 'a\\b/b', 'backslash'],
    ['an empty segment behind it', 'package//b', 'empty'],
    ['two folders that hold the same file', 'other/a', 'collides'],
  ])('does not hide %s', async (_what, name, why) => {
    expect((await refusal(tar(inPackage(name)), 'tar', { strip: 1 })).message).toContain(why);
  });
});

describe('the reading of an archive', () => {
  let directory = '';
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'modeldl-archive-'));
  });
  afterAll(async () => {
    await rm(directory, { recursive: true });
  });

  const big = [
    { name: 'one', content: Buffer.alloc(5_000_000, 'random ') },
    { name: 'two', content: Buffer.alloc(5_000_000, 'bytes ') },
  ];
  const kinds: readonly (readonly [Unpack['format'], typeof withXz, () => Buffer])[] = [
    ['tar', it, () => tar(big)],
    ['tar.gz', it, () => gzipSync(tar(big))],
    ['zip', it, () => zip(big.map((member) => ({ ...member, method: 8 })))],
    ['tar.xz', withXz, () => xz(tar(big))],
    ['tar.zst', withZstd, () => zstd(tar(big))],
  ];
  const WANTED = new Set(['one', 'two']);

  async function onDisk(format: Unpack['format'], bytes: Buffer) {
    const file = join(directory, `archive.${format}`);
    await writeFile(file, bytes);
    return { file, label: 'models/good', bytes: bytes.length, unpack: { format } };
  }

  async function failure(running: Promise<unknown>): Promise<unknown> {
    return running.then(
      () => new Error('Expected a failure, got none'),
      (error: unknown) => error,
    );
  }

  for (const [format, test, make] of kinds) {
    test(`of a ${format} stops when interrupted, midway in a member and before it starts`, async () => {
      const archive = await onDisk(format, make());
      const stop = new AbortController();
      const why = new ModeldlError('INTERRUPTED', 'Ctrl-C');
      const extracting = extractArchive(archive, WANTED, LIMITS, stop.signal, async (_member, body) => {
        await once(body, 'data');
        stop.abort(why);
        await body.toArray();
      });
      expect(await failure(extracting)).toBe(why);
      expect(await failure(listArchive(archive, LIMITS, stop.signal))).toBe(why);
    });

    test(`of a ${format} ends with the failure of what takes the bytes, not with a broken archive`, async () => {
      const archive = await onDisk(format, make());
      const full = new ModeldlError('DISK', 'Cannot write /cache: no space left on the device');
      const sinks: readonly ((body: Readable) => Promise<void>)[] = [
        () => Promise.reject(full),
        async (body) => {
          await once(body, 'data');
          body.destroy();
          await once(body, 'close');
          throw full;
        },
        async (body) => {
          await body.toArray();
          throw full;
        },
      ];
      const { signal } = new AbortController();
      for (const sink of sinks) {
        const extracting = extractArchive(archive, WANTED, LIMITS, signal, (_member, body) => sink(body));
        expect(await failure(extracting)).toBe(full);
      }
      expect(await listArchive(archive, LIMITS, signal)).toHaveLength(2);
    });
  }

  it('says which wanted member is not there', async () => {
    const archive = await onDisk('tar', tar(big));
    const { signal } = new AbortController();
    const extracting = extractArchive(
      archive,
      new Set(['one', 'three']),
      LIMITS,
      signal,
      async (_member, body) => {
        await body.toArray();
      },
    );
    expect(String(await failure(extracting))).toContain('it holds no "three"');
  });

  it.runIf(process.platform === 'linux')('leaves no file open, whatever ended it', async () => {
    const archives = [await onDisk('zip', zip(big)), await onDisk('tar.gz', gzipSync(tar(big)))];
    const { signal } = new AbortController();
    for (const archive of archives) {
      const stopped = new Error('enough');
      const extracting = extractArchive(archive, WANTED, LIMITS, signal, () => Promise.reject(stopped));
      expect(await failure(extracting)).toBe(stopped);
      await failure(listArchive(archive, { ...LIMITS, maxMembers: 1 }, signal));
    }
    await vi.waitFor(async () => {
      const open = await Promise.all(
        (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
      );
      expect(open.filter((path) => path.startsWith(directory))).toEqual([]);
    });
  });
});
