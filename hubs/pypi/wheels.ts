/** Which wheel of a project is taken. Only files are read from it, so its Python version decides nothing. Pure. */
import { explain, filter, rcompare, satisfies, valid, validRange } from '@renovatebot/pep440';
import { ModeldlError } from '../../src/errors.js';
import { nearestVersions } from '../versions.js';
import { normalizeProject } from './project.js';

/** A wheel's file name, taken apart (PEP 427). */
export interface Wheel<File> {
  readonly file: File;
  readonly version: string;
  readonly build: string;
  readonly python: string;
  readonly abi: string;
  /** `any`, or one or more of a platform, such as `manylinux2014_x86_64`. */
  readonly platforms: readonly string[];
}

/** What of a file decides here. */
export interface Candidate {
  readonly filename: string;
  readonly yanked?: string;
}

export interface Machine {
  /** As `os.platform()` and `os.arch()` name them. */
  readonly platform: string;
  readonly arch: string;
}

const WHEEL = /^([A-Za-z0-9._]+)-([A-Za-z0-9._!+]+)(?:-(\d[A-Za-z0-9._]*))?-([\w.]+)-([\w.]+)-([\w.]+)\.whl$/;

/** The wheels among a project's files; other projects' and malformed names are passed over. */
export function wheelsOf<File extends Candidate>(
  project: string,
  files: readonly File[],
): readonly Wheel<File>[] {
  return files.flatMap((file) => {
    const [, name, version, build = '', python = '', abi = '', platforms = ''] =
      WHEEL.exec(file.filename) ?? [];
    if (name === undefined || normalizeProject(name) !== project || version === undefined || !valid(version))
      return [];
    return [{ file, version, build, python, abi, platforms: platforms.split('.') }];
  });
}

/** A revision as written: a version, a range, or a version and the wheel of it. */
export function splitRevision(revision: string | undefined): { version?: string; filename?: string } {
  if (revision === undefined) return {};
  const at = revision.indexOf('/');
  return at < 0
    ? { version: revision }
    : { version: revision.slice(0, at), filename: revision.slice(at + 1) };
}

/**
 * The wheel that a revision means, newest version first.
 * @throws ModeldlError NOT_FOUND for a version that is not there, UNSUPPORTED when it has no wheel for this machine
 */
export function chooseWheel<File extends Candidate>(
  project: string,
  revision: string | undefined,
  files: readonly File[],
  machine: Machine,
): Wheel<File> {
  const wheels = wheelsOf(project, files);
  const { version: asked, filename } = splitRevision(revision);
  const named = filename === undefined ? wheels : wheels.filter((wheel) => wheel.file.filename === filename);
  const versions = versionsFor(asked, named);
  for (const version of versions) {
    const best = bestOf(
      named.filter((wheel) => wheel.version === version && isCandidate(wheel, asked)),
      filename === undefined ? machine : undefined,
    );
    if (best !== undefined) return best;
  }
  throw versions.length > 0
    ? otherMachines(project, versions[0] ?? '', wheels, machine)
    : missing(project, revision, wheels, files);
}

/** Is a revision, a version or a wheel of it, among those that are named: by a version, a range, or a wheel? */
export function mayMean(named: string, revision: string): boolean {
  const [asked, found] = [splitRevision(named), splitRevision(revision)];
  if (asked.filename !== undefined && asked.filename !== found.filename) return false;
  const { version = '' } = found;
  return exact(asked.version) === undefined
    ? satisfies(version, asked.version ?? '', { prereleases: true })
    : sameVersion(version, asked.version ?? '');
}

/** Is this text one version rather than a range? */
function exact(asked: string | undefined): string | undefined {
  return asked !== undefined && valid(asked) !== null ? asked : undefined;
}

/** A withdrawn file counts only when its very version was asked for: PEP 592. */
function isCandidate(wheel: Wheel<Candidate>, asked: string | undefined): boolean {
  return wheel.file.yanked === undefined || exact(asked) !== undefined;
}

/** Versions that are meant, newest first; pre-releases only where nothing else is, as pip does. */
function versionsFor(asked: string | undefined, wheels: readonly Wheel<Candidate>[]): readonly string[] {
  const versions = [
    ...new Set(wheels.filter((wheel) => isCandidate(wheel, asked)).map((wheel) => wheel.version)),
  ].sort(rcompare);
  const version = exact(asked);
  if (version !== undefined) return versions.filter((candidate) => sameVersion(candidate, version));
  const range = asked ?? '';
  const meant =
    range === ''
      ? versions
      : versions.filter((candidate) => satisfies(candidate, range, { prereleases: true }));
  const final = meant.filter((candidate) => explain(candidate)?.is_prerelease === false);
  return final.length > 0 ? final : meant;
}

/** `1.0` is `1.0.0`; a local part counts only when it was written: PEP 440. */
function sameVersion(candidate: string, asked: string): boolean {
  return filter([candidate], `==${asked}`, { prereleases: true }).length > 0;
}

/** `none-any` first, then this machine's; `undefined` takes any machine's. */
function bestOf<File>(wheels: readonly Wheel<File>[], machine: Machine | undefined): Wheel<File> | undefined {
  return wheels
    .map((wheel) => ({ wheel, rank: machine === undefined ? 0 : platformRank(wheel, machine) }))
    .filter(({ rank }) => rank !== undefined)
    .sort(
      (a, b) =>
        (a.rank ?? 0) - (b.rank ?? 0) ||
        preference(b.wheel) - preference(a.wheel) ||
        byName(a.wheel, b.wheel),
    )
    .at(0)?.wheel;
}

/** Lower is better; undefined is another machine's. */
export function platformRank(wheel: Wheel<unknown>, machine: Machine): number | undefined {
  if (isUniversal(wheel)) return 0;
  const patterns = PLATFORMS[machine.platform] ?? [];
  const rank = patterns.findIndex((pattern) => {
    const name = new RegExp(
      `^(?:${pattern(ARCHITECTURES[machine.platform]?.[machine.arch] ?? machine.arch)})$`,
    );
    return wheel.platforms.some((platform) => name.test(platform));
  });
  return rank < 0 ? undefined : rank + 1;
}

export function isUniversal(wheel: Wheel<unknown>): boolean {
  return wheel.abi === 'none' && wheel.platforms.includes('any');
}

/** Names of platforms by what Node calls them, best first. Files only: musl and glibc, old and new are alike. */
const PLATFORMS: Readonly<Record<string, readonly ((arch: string) => string)[]>> = {
  linux: [
    (arch) => `manylinux\\w*_${arch}`,
    (arch) => `linux_${arch}`,
    (arch) => `musllinux\\w*_${arch}`,
    () => 'any',
  ],
  darwin: [(arch) => `macosx_\\w*_${arch}`, () => 'macosx_\\w*_(universal2?|intel)', () => 'any'],
  win32: [(arch) => (arch === '32' ? 'win32' : `win_${arch}`), () => 'any'],
};

const ARCHITECTURES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  linux: { x64: 'x86_64', arm64: 'aarch64', arm: 'armv7l', ia32: 'i686', ppc64: 'ppc64le' },
  darwin: { x64: 'x86_64' },
  win32: { x64: 'amd64', ia32: '32' },
};

/** The stable interface, then the newest CPython, then the highest build: any would do, but always the same one. */
function preference(wheel: Wheel<unknown>): number {
  const python = Math.max(
    0,
    ...[...wheel.python.matchAll(/(?:cp|py)(\d+)/g)].map(([, digits = '0']) => pythonNumber(digits)),
  );
  return (wheel.abi === 'abi3' ? 1e9 : 0) + python * 1e4 + Number.parseInt(wheel.build || '0', 10);
}

/** `cp312` is 3.12, `py3` is 3.0. */
function pythonNumber(digits: string): number {
  return Number(digits.slice(0, 1)) * 1000 + Number(digits.slice(1));
}

function byName(a: Wheel<unknown>, b: Wheel<unknown>): number {
  const key = (wheel: Wheel<unknown>): string => `${wheel.python}-${wheel.abi}-${wheel.platforms.join('.')}`;
  return key(a) < key(b) ? -1 : 1;
}

function otherMachines(
  project: string,
  version: string,
  wheels: readonly Wheel<Candidate>[],
  machine: Machine,
): ModeldlError {
  const others = wheels.filter((wheel) => wheel.version === version).map((wheel) => wheel.file.filename);
  return new ModeldlError(
    'UNSUPPORTED',
    `${project} ${version} has no wheel for ${machine.platform} ${machine.arch}`,
    {
      hint: `only files are read, so another machine's wheel will do: \`pypi:${project}@${version}/${others[0] ?? ''}\``,
      details: { wheels: others },
    },
  );
}

function missing(
  project: string,
  revision: string | undefined,
  wheels: readonly Wheel<Candidate>[],
  files: readonly Candidate[],
): ModeldlError {
  const { version: asked, filename } = splitRevision(revision);
  if (asked !== undefined && exact(asked) === undefined && !validRange(asked)) {
    return new ModeldlError('USAGE', `Not a version or a range of versions: ${asked}`, {
      hint: `write \`pypi:${project}@1.2\` or \`pypi:${project}@>=1,<2\` (PEP 440)`,
    });
  }
  const version = exact(asked);
  const asWheels = wheels.filter((wheel) => version === undefined || sameVersion(wheel.version, version));
  const sources = files.filter(
    ({ filename: name }) =>
      !name.endsWith('.whl') && (version === undefined || name.includes(`-${version}.`)),
  );
  const versions = [...new Set(wheels.map((wheel) => wheel.version))];
  if (sources.length > 0 && asWheels.length === 0) {
    return new ModeldlError(
      'UNSUPPORTED',
      `${project}${version === undefined ? '' : ` ${version}`} has no wheel, only a source distribution`,
      {
        hint: 'a source distribution runs code when it is unpacked by pip, so it is not taken; name a version that has a wheel',
        details: {
          files: sources.map((file) => file.filename),
          versions: nearestVersions(asked ?? '', versions),
        },
      },
    );
  }
  const near = nearestVersions(asked ?? '', versions);
  return new ModeldlError(
    'NOT_FOUND',
    `${project} has no ${filename ?? `version ${asked ?? ''}`.trimEnd()}`,
    {
      hint: near.length === 0 ? 'its index lists no files of it' : `versions: ${near.join(', ')}`,
      details: { versions: near },
    },
  );
}
