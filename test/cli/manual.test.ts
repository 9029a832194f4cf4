/** The manual pages say what `--help` says, and are read without a warning by the programs that show them. */
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { platform } from 'node:process';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import fc from 'fast-check';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FILES } from '../../src/cli/manual/facts.js';
import { manualPages } from '../../src/cli/manual/pages.js';
import { literal, paragraph, prose, section, term, title, verbatim } from '../../src/cli/manual/roff.js';
import { COMMANDS } from '../../src/cli/program.js';
import { USER_FILES } from '../../src/config/load.js';
import { userDirectory } from '../../src/user-directories.js';
import { createWorld, type World } from '../helpers/program.js';
import { hasProgram, requirePeer } from '../helpers/require.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const manifest = v.parse(
  v.pipe(v.string(), v.parseJson(), v.object({ version: v.string(), man: v.array(v.string()) })),
  await readFile(join(ROOT, 'package.json'), 'utf8'),
);

const withGroff = requirePeer('groff', hasProgram('groff'));
const withMandoc = requirePeer('mandoc', hasProgram('mandoc', [join(ROOT, 'dist/man/modeldl.1')]));
const withMan = requirePeer('man-db', hasProgram('man') && hasProgram('lexgrog', ['--help']));

let pages: ReadonlyMap<string, string>;
let directory: string;

beforeAll(async () => {
  pages = await manualPages(manifest.version);
  directory = await mkdtemp(join(tmpdir(), 'modeldl-manual-'));
  await mkdir(join(directory, 'man1'));
  for (const [name, text] of pages) await writeFile(join(directory, 'man1', name), text);
});

afterAll(() => rm(directory, { recursive: true, force: true }));

/** As groff sets it on a terminal that is this wide, without bold and italics. */
function groff(page: string, columns: number): string {
  return execFileSync('groff', ['-ww', '-man', '-Tutf8', '-P-cbou', `-rLL=${columns}n`, `-rcR=1`], {
    input: page,
    encoding: 'utf8',
    stdio: ['pipe', 'pipe', 'inherit'],
  });
}

function words(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}

describe('the manual pages', () => {
  it('are those that were built', async () => {
    const built = await readdir(join(ROOT, 'dist/man'));
    expect(built.sort()).toEqual([...pages.keys()].sort());
    for (const [name, text] of pages) expect(await readFile(join(ROOT, 'dist/man', name), 'utf8')).toBe(text);
  });

  it('are one of the program and one of each command, and npm installs all: `man` in package.json', () => {
    expect([...pages.keys()]).toEqual(['modeldl.1', ...COMMANDS.map(({ name }) => `modeldl-${name}.1`)]);
    expect(manifest.man).toEqual([...pages.keys()].map((name) => `dist/man/${name}`));
  });

  withGroff('are read by groff without a warning', async () => {
    for (const name of pages.keys()) {
      const { stderr } = await execa('groff', ['-ww', '-man', '-Tutf8', '-z', join(directory, 'man1', name)]);
      expect(stderr, name).toBe('');
    }
  });

  withMandoc(
    'are read by mandoc without a warning, save that for the date, which would tell builds apart',
    async () => {
      for (const name of pages.keys()) {
        const page = join(directory, 'man1', name);
        const { stdout, stderr } = await execa('mandoc', ['-T', 'lint', '-W', 'warning', page], {
          reject: false,
        });
        const told = `${stdout}\n${stderr}`.split('\n').filter((line) => line !== '');
        expect(told, name).toEqual([expect.stringMatching(/:1:\d+: WARNING: missing date, using "": TH$/)]);
      }
    },
  );

  withMan('are found by man, by apropos, and for `man modeldl pull`', async () => {
    const show = async (...names: readonly string[]): Promise<string> =>
      (
        await execa('man', ['-M', directory, '--warnings', ...names], {
          env: { MANPAGER: 'cat', MANWIDTH: '80' },
        })
      ).stdout;
    expect(await show('modeldl')).toContain('MODELDL(1)');
    expect(await show('modeldl', 'pull')).toMatch(/^MODELDL-PULL\(1\)/);
    const { stdout } = await execa(
      'lexgrog',
      [...pages.keys()].map((name) => join(directory, 'man1', name)),
    );
    expect(stdout.split('\n')).toHaveLength(pages.size);
    for (const { name, summary } of COMMANDS) expect(stdout).toContain(`"modeldl-${name} - ${summary}"`);
  });

  it.runIf(platform === 'linux')('name the files that the program reads and writes', () => {
    const named = FILES.map(([path]) => path);
    const home = homedir();
    const userFile = join(userDirectory({}, home, 'config'), USER_FILES[0]);
    expect(named).toContain(userDirectory({}, home, 'cache').replace(home, '~'));
    expect(named).toContain(userFile.replace(home, '~'));
  });
});

describe('what groff shows of the pages', () => {
  let world: World;
  beforeAll(async () => {
    world = await createWorld();
  });
  afterAll(() => world.remove());

  /** Arguments, options and examples as the built program prints them, without the marks of a help. */
  async function helpOf(...command: readonly string[]): Promise<readonly string[]> {
    const { stdout } = await world.run(...command, '--help');
    const [, rows = ''] = /\n\n((?:Arguments|Options):\n[^]*)/.exec(stdout) ?? [];
    const texts = rows
      .replace(/\nGlobal Options:\n[^]*?\n\n/, '\n\n')
      .replace(/\nCommands:\n[^]*?\n\n/, '\n\n')
      .split(/\n(?! {5})/)
      .filter((line) => line.trim() !== '' && !/^\w+:$/.test(line) && !line.includes('--help '));
    return texts.map((text) => words(text.replace('…', '...').replaceAll('`', '')));
  }

  const shownBy = (page: string): string => words(groff(page, 400));

  withGroff('has every argument, option and example of the program', async () => {
    const shown = shownBy(pages.get('modeldl.1') ?? '');
    const help = await helpOf();
    expect(help.length).toBeGreaterThan(15);
    for (const text of help) expect(shown).toContain(unmarked(text));
  });

  withGroff('has every argument, option and example of each command, in both pages', async () => {
    const whole = shownBy(pages.get('modeldl.1') ?? '');
    for (const { name } of COMMANDS) {
      const shown = shownBy(pages.get(`modeldl-${name}.1`) ?? '');
      const help = await helpOf(name);
      expect(help.length, name).toBeGreaterThan(0);
      for (const text of help) {
        expect(shown).toContain(unmarked(text));
        expect(whole).toContain(unmarked(text));
      }
    }
  });
});

/** A value stands in italics on a page, and between angle brackets in a help. */
function unmarked(row: string): string {
  return /^-/.test(row) ? row.replace(/^((?:-\w, )?--[\w-]+) <([^>]+)>/, '$1 $2') : row;
}

describe('roff', () => {
  it.each([
    ['a-b', 'a\\-b'],
    ['C:\\new', 'C:\\enew'],
    [`'a' "b" \`c\``, '\\(aqa\\(aq \\(dqb\\(dq \\(gac\\(ga'],
    ['~/x^2', '\\(ti/x\\(ha2'],
    ['https://…', 'https://...'],
    ['naïve → 😀', 'na\\[u00EF]ve \\[u2192] \\[u1F600]'],
  ])('%s as it is', (text, expected) => {
    expect(verbatim(text)).toBe(expected);
  });

  it('sets what is typed in bold, what stands for something else in italics', () => {
    expect(prose('see `modeldl pull -h`')).toBe('see \\fBmodeldl pull \\-h\\fR');
    expect(prose('a ` alone')).toBe('a \\(ga alone');
    expect(term('-o, --output <dir>')).toBe('\\fB\\-o\\fR, \\fB\\-\\-output\\fR \\fIdir\\fR');
  });

  it('takes no text for a request', () => {
    expect(paragraph('.so /etc/passwd')).toBe('.PP\n\\&.so /etc/passwd');
    expect(literal(["'br", '.br', ''])).toContain('\n\\(aqbr\n\\&.br\n\n');
  });

  withGroff('comes out of groff as the text that went in, whatever that is', () => {
    const line = fc.string({
      unit: fc.constantFrom(...Array.from('\\-.\'`"^~…é→|&%$#{}[]()<>*!?,;:@=+/ aN0')),
      maxLength: 40,
    });
    fc.assert(
      fc.property(fc.array(line, { minLength: 1, maxLength: 60 }), (lines) => {
        const page = `${[title('a', 'b'), section('X', paragraph('first'), literal(lines), paragraph('last'))].join('\n')}\n`;
        const shown = /first\n\n([^]*?)\n*\n {7}last\n/.exec(groff(page, 200))?.[1] ?? '';
        const expected = lines.map((text) => `           ${text.replaceAll('…', '...')}`.trimEnd());
        expect(shown.trimEnd()).toBe(expected.join('\n').replace(/^\n+/, '').trimEnd());
      }),
      { numRuns: 15 },
    );
  });
});
