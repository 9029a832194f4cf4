/** tar: what a good one gives, and everything a hostile one may try. */
import { describe, expect, it } from 'vitest';
import { END_OF_TAR, gnuLongName, pax, readArchive, refusal, tar, type TarMember } from './make-archive.js';

const LONG = `${'directory/'.repeat(15)}weights.bin`;

describe('a good tar', () => {
  const rows: readonly (readonly [string, readonly TarMember[], Readonly<Record<string, string>>])[] = [
    [
      'files and directories',
      [
        { name: 'a/', type: '5' },
        { name: 'a/b.bin', content: 'b' },
      ],
      { 'a/b.bin': 'b' },
    ],
    [
      'a leading `./`',
      [
        { name: './', type: '5' },
        { name: './a', content: 'x' },
      ],
      { a: 'x' },
    ],
    ['an empty file', [{ name: 'empty' }, { name: 'b', content: 'b' }], { empty: '', b: 'b' }],
    ['a contiguous file', [{ name: 'a', type: '7', content: 'x' }], { a: 'x' }],
    ['contents of exactly one block', [{ name: 'a', content: 'x'.repeat(512) }], { a: 'x'.repeat(512) }],
    ['a PAX long name', [pax({ path: LONG }), { name: 'short', content: 'x' }], { [LONG]: 'x' }],
    ['a GNU long name', [gnuLongName(LONG), { name: 'short', content: 'x', magic: 'gnu' }], { [LONG]: 'x' }],
    ['a PAX size', [pax({ size: '3' }), { name: 'a', content: 'xyz', size: 0 }], { a: 'xyz' }],
    ['a global PAX header', [pax({ comment: 'commit' }, 'g'), { name: 'a', content: 'x' }], { a: 'x' }],
    ['the format of Unix V7', [{ name: 'a', content: 'x', magic: 'none' }], { a: 'x' }],
    ['names of other scripts', [{ name: 'モデル/é.bin', content: 'x' }], { 'モデル/é.bin': 'x' }],
  ];
  it.each(rows)('with %s unpacks to its files', async (_what, members, contents) => {
    const bytes = tar(members);
    const read = await readArchive(bytes, 'tar');
    expect(read).toEqual(contents);
  });

  it('unpacks only the wanted members', async () => {
    const bytes = tar([
      { name: 'a', content: '1' },
      { name: 'b', content: '2' },
      { name: 'c', content: '3' },
    ]);
    expect(await readArchive(bytes, 'tar', { wanted: ['b'] })).toEqual({ b: '2' });
  });

  it('without members has none', async () => {
    expect(await readArchive(END_OF_TAR, 'tar')).toEqual({});
  });
});

describe('a tar is refused, naming it and the member, for', () => {
  const rows: readonly (readonly [string, readonly TarMember[], string])[] = [
    ['a name that climbs out', [{ name: '../evil', content: 'x' }], '../evil'],
    ['a name that climbs out midway', [{ name: 'a/../../evil', content: 'x' }], 'a/../../evil'],
    ['an absolute name', [{ name: '/etc/evil', content: 'x' }], '/etc/evil'],
    ['an absolute name behind `./`', [{ name: './/etc/evil', content: 'x' }], '/etc/evil'],
    ['a drive letter', [{ name: 'C:/evil', content: 'x' }], 'C:/evil'],
    ['a backslash', [{ name: 'a\\..\\evil', content: 'x' }], 'evil'],
    ['a NUL in a PAX name', [pax({ path: 'evil\0.bin' }), { name: 'a', content: 'x' }], 'evil\\u0000.bin'],
    ['an escape sequence', [{ name: 'evil\x1b[2J', content: 'x' }], 'evil\\u001b[2J'],
    ['an empty name', [{ name: '', content: 'x' }], '""'],
    ['a symlink', [{ name: 'evil', type: '2', linkname: '/etc' }], 'evil'],
    ['a hard link', [{ name: 'evil', type: '1', linkname: '/etc/passwd' }], 'evil'],
    ['a character device', [{ name: 'evil', type: '3' }], 'evil'],
    ['a block device', [{ name: 'evil', type: '4' }], 'evil'],
    ['a pipe', [{ name: 'evil', type: '6' }], 'evil'],
    ['a directory that climbs out', [{ name: '../evil/', type: '5' }], '../evil'],
    ['an absolute directory', [{ name: '/evil/', type: '5' }], '/evil'],
    ['a file with the name of a directory', [pax({ path: 'evil/' }), { name: 'a', content: 'x' }], 'evil/'],
    ['a segment that is too long', [pax({ path: 'evil'.repeat(64) }), { name: 'a' }], 'evilevil'],
    ['a path that is too long', [pax({ path: 'evil/'.repeat(500) }), { name: 'a' }], 'evil/evil'],
    [
      'the same name twice',
      [
        { name: 'evil', content: '1' },
        { name: 'evil', content: '2' },
      ],
      'evil',
    ],
    ['the same name in two spellings', [{ name: './evil' }, { name: 'evil' }], 'evil'],
    ['a file that is also a directory', [{ name: 'evil' }, { name: 'evil/x' }], 'evil'],
    ['a sparse file of GNU', [{ name: 'evil', type: 'S', content: 'x', magic: 'gnu' }], 'evil'],
    [
      'a sparse file of PAX',
      [pax({ 'GNU.sparse.major': '1', 'GNU.sparse.name': 'x' }), { name: 'evil' }],
      'evil',
    ],
    ['a sparse file of PAX 0.1', [pax({ 'GNU.sparse.map': '0,1' }), { name: 'evil', content: 'x' }], 'evil'],
    ['a volume of several', [{ name: 'evil', type: 'M', content: 'x', magic: 'gnu' }], 'evil'],
    ['a declared petabyte', [{ name: 'evil', size: 1024 ** 5, content: 'x' }], 'evil'],
  ];
  it.each(rows)('%s', async (_what, members, named) => {
    expect((await refusal(tar(members), 'tar')).message).toContain(named);
  });
});
