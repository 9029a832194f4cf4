/** zip: what a good one gives, and everything a hostile one may try. */
import { deflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { readArchive, refusal, unicodePathExtra, zip, zip64Extra, type ZipMember } from './make-archive.js';

const x: ZipMember = {
  name: 'a/x.bin',
  content: 'contents of x, compressed: xxxxxxxxxxxxxxxxxxxxxxxx',
  method: 8,
};
const y: ZipMember = { name: 'y.bin', content: 'contents of y' };
const BOTH = { 'a/x.bin': x.content, 'y.bin': y.content };
const ONES = 0xffffffff;

describe('a good zip', () => {
  const size = BigInt(String(y.content).length);
  const inZip64 = { compressedSize: ONES, uncompressedSize: ONES, extra: zip64Extra(size, size) };
  const follow64 = { ...inZip64, extra: zip64Extra(0n, 0n) };
  const rows: readonly (readonly [string, Buffer])[] = [
    ['stored and deflated members', zip([x, y])],
    ['directories', zip([{ name: 'a/', mode: 0o040755 }, x, y])],
    ['sizes behind the data', zip([x, y].map((member) => ({ ...member, dataDescriptor: true })))],
    ['comments', zip([x, { ...y, comment: 'of y' }], { comment: Buffer.from('of the archive') })],
    ['a program in front', zip([x, y], { prefix: Buffer.from('#!/bin/sh\nexit\n') })],
    ['bytes between members and directory', zip([x, y], { gap: Buffer.from('signing block') })],
    ['an end record of zip64', zip([x, y], { zip64: {} })],
    ['sizes of zip64 in both headers', zip([x, { ...y, ...both(inZip64) }])],
    ['sizes of zip64 in the local header alone, as Python writes', zip([x, { ...y, local: inZip64 }])],
    ['sizes of zip64 behind the data', zip([x, { ...y, dataDescriptor: true, local: follow64 }])],
    ['members made on MS-DOS', zip([x, { ...y, madeBy: 0, mode: 0 }])],
  ];
  it.each(rows)('with %s unpacks to its files', async (_what, bytes) => {
    expect(await readArchive(bytes, 'zip')).toEqual(BOTH);
  });

  it('with a Unicode path beside an old name unpacks under the Unicode path', async () => {
    const extra = unicodePathExtra('mod?le', 'modèle');
    const member: ZipMember = { name: 'mod?le', content: 'x', flags: 0, ...both({ extra }) };
    expect(await readArchive(zip([member]), 'zip')).toEqual({ modèle: 'x' });
  });

  it('unpacks only the wanted members', async () => {
    expect(await readArchive(zip([x, y]), 'zip', { wanted: ['y.bin'] })).toEqual({ 'y.bin': y.content });
  });

  it('without members has none', async () => {
    expect(await readArchive(zip([]), 'zip')).toEqual({});
  });
});

describe('a zip is refused, naming it and the member, for', () => {
  const content = Buffer.alloc(1000, 'e');
  const deflated = { name: 'evil', method: 8, raw: deflateRawSync(content) };
  const rows: readonly (readonly [string, readonly ZipMember[], string])[] = [
    ['a name that climbs out', [{ name: '../evil' }], '../evil'],
    ['a name that climbs out midway', [{ name: 'a/../../evil' }], 'a/../../evil'],
    ['an absolute name', [{ name: '/etc/evil' }], '/etc/evil'],
    ['a drive letter', [{ name: 'C:/evil' }], 'C:/evil'],
    ['a backslash', [{ name: 'a\\..\\evil' }], 'evil'],
    ['a NUL', [{ name: 'evil\0.bin' }], 'evil\\u0000.bin'],
    ['an escape sequence in a climbing name', [{ name: '../evil\x1b[2J' }], 'evil\\u001b[2J'],
    ['an empty name', [{ name: '' }], '""'],
    ['an empty segment', [{ name: 'evil//x' }], 'evil//x'],
    ['a directory that climbs out', [{ name: '../evil/' }], '../evil'],
    ['a directory with an empty segment', [{ name: 'evil//x/' }], 'evil//x'],
    ['a symlink made on Unix', [{ name: 'evil', content: '/etc', mode: 0o120777 }], 'evil'],
    ['a symlink made on macOS', [{ name: 'evil', content: '/etc', mode: 0o120777, madeBy: 19 }], 'evil'],
    ['a device', [{ name: 'evil', mode: 0o020666 }], 'evil'],
    ['a pipe', [{ name: 'evil', mode: 0o010666 }], 'evil'],
    ['contents under the mode of a directory', [{ name: 'evil', content: 'x', mode: 0o040755 }], 'evil'],
    ['a segment that is too long', [{ name: 'evil'.repeat(64) }], 'evilevil'],
    ['a path that is too long', [{ name: 'evil/'.repeat(500) + 'x' }], 'evil/evil'],
    ['the same name twice', [{ name: 'evil' }, { name: 'evil' }], 'evil'],
    ['a file that is also a directory', [{ name: 'evil' }, { name: 'evil/x' }], 'evil'],
    ['encryption', [{ name: 'evil', content: 'x', raw: Buffer.alloc(13), flags: 0x1 }], 'evil'],
    ['two sizes for stored bytes', [{ name: 'evil', content: 'x', ...both({ compressedSize: 2 }) }], 'evil'],
    [
      'encryption that only the local header tells',
      [{ name: 'evil', content: 'x', local: { flags: 0x1 } }],
      'evil',
    ],
    ['strong encryption', [x, { name: 'evil', content: 'x', flags: 0x41 }], 'encrypt'],
    ['a compression method that few know', [{ name: 'evil', content: 'x', method: 12 }], 'evil'],
    ['another name in the local header', [{ name: 'evil', local: { name: 'good' } }], 'evil'],
    ['another method in the local header', [{ ...x, name: 'evil', local: { method: 0 } }], 'evil'],
    [
      'another size in the local header',
      [{ name: 'evil', content: 'x', local: { uncompressedSize: 2 } }],
      'evil',
    ],
    [
      'another packed size in the local header',
      [{ ...x, name: 'evil', local: { compressedSize: 2 } }],
      'evil',
    ],
    ['another checksum in the local header', [{ name: 'evil', content: 'x', local: { crc32: 1 } }], 'evil'],
    [
      'a checksum of all ones in the local header',
      [{ name: 'evil', content: 'x', local: { crc32: ONES } }],
      'evil',
    ],
    [
      'all ones for a size in the local header without zip64',
      [{ name: 'evil', content: 'x', local: { uncompressedSize: ONES } }],
      'evil',
    ],
    [
      'another size in the zip64 field of the local header',
      [
        {
          name: 'evil',
          content: 'x',
          local: { compressedSize: ONES, uncompressedSize: ONES, extra: zip64Extra(2n, 1n) },
        },
      ],
      'evil',
    ],
    [
      'another Unicode path in the local header',
      [{ name: 'evil', content: 'x', local: { extra: unicodePathExtra('evil', 'good') } }],
      'evil',
    ],
    [
      'a Unicode path in the central directory alone',
      [{ name: 'good', content: 'x', central: { extra: unicodePathExtra('good', 'evil') } }],
      'evil',
    ],
    ['a wrong checksum', [{ name: 'evil', content: 'x', ...both({ crc32: 1 }) }], 'evil'],
    ['more bytes than declared', [{ ...deflated, ...both({ uncompressedSize: 10 }) }], 'evil'],
    ['fewer bytes than declared', [{ ...deflated, ...both({ uncompressedSize: 2000 }) }], 'evil'],
    ['a declared petabyte', [{ ...deflated, ...petabyte() }], 'evil'],
    ['garbage in place of deflated bytes', [{ ...deflated, raw: Buffer.alloc(50, 'e') }], 'evil'],
    ['a packed size beyond the file', [{ ...deflated, ...both({ compressedSize: 1e6 }) }], 'evil'],
    ['members that share bytes', [x, { ...x, name: 'a/x.bin', offset: 0 }], 'a/x.bin'],
    ['a local header far beyond the file', [{ name: 'evil', offset: 1e9 }], 'evil'],
    [
      'a local header beyond what a file can have',
      [{ name: 'evil', offset: ONES, central: { extra: zip64Extra(2n ** 62n) } }],
      'evil',
    ],
  ];
  it.each(rows)('%s', async (_what, members, named) => {
    expect((await refusal(zip(members), 'zip')).message).toContain(named);
  });
});

describe('a zip is refused, naming it, for', () => {
  const good = zip([x, y]);
  const rows: readonly (readonly [string, Buffer])[] = [
    ['no bytes at all', Buffer.alloc(0)],
    ['garbage', Buffer.from('garbage '.repeat(1000))],
    ['bytes behind its end', zip([x, y], { suffix: Buffer.from('junk') })],
    ['bytes in front that its offsets leave out', Buffer.concat([Buffer.from('junk'), good])],
    ['an end in its comment', zip([x, y], { comment: zip([{ name: 'other' }]) })],
    ['fewer entries than its directory holds', zip([x, y], { count: 1 })],
    ['more entries than its directory holds', zip([x, y], { count: 3 })],
    ['no entries where its directory holds some', zip([x, y], { count: 0 })],
    ['fewer entries of zip64 than its directory holds', zip([x, y], { zip64: { count: 1n } })],
    ['entries of zip64 without end', zip([x, y], { zip64: { count: 2n ** 62n } })],
    ['a directory beyond what a file can have', zip([x, y], { zip64: { directoryOffset: 2n ** 62n } })],
    [
      'an end record of zip64 beyond what a file can have',
      zip([x, y], { zip64: { recordOffset: 2n ** 62n } }),
    ],
    [
      'an extra field longer than all of them',
      zip([{ ...x, central: { extra: Buffer.from([9, 9, 9, 9]) } }]),
    ],
    [
      'a member that reaches into the directory',
      zip([{ ...x, dataDescriptor: true, central: { compressedSize: 90 } }]),
    ],
  ];
  it.each(rows)('%s', async (_what, bytes) => {
    await refusal(bytes, 'zip');
  });

  it('every cut', async () => {
    for (let length = 0; length < good.length; length += 1) await refusal(good.subarray(0, length), 'zip');
  });
});

function both(header: ZipMember['central']): Pick<ZipMember, 'local' | 'central'> {
  return { ...(header === undefined ? {} : { local: header, central: header }) };
}

function petabyte(): Pick<ZipMember, 'local' | 'central'> {
  const packed = deflateRawSync(Buffer.alloc(1000, 'e')).length;
  const extra = zip64Extra(2n ** 50n, BigInt(packed));
  return both({ compressedSize: ONES, uncompressedSize: ONES, extra });
}
