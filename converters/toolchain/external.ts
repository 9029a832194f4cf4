/** An interpreter of the user's own, used as it is: what is in it is read once and remembered until that changes. */
import { createHash } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import type { ToolchainContext } from '../../src/converter.js';
import { ModeldlError } from '../../src/errors.js';
import { parseJson } from '../../src/json.js';
import { askProgram } from '../program.js';

const contents = v.object({
  /** Absolute directory that installing and removing packages changes. */
  sitePackages: v.string(),
  versions: v.record(v.string(), v.string()),
});
const remembered = v.object({ ...contents.entries, mtimeMs: v.number() });

const PROBE = `
import importlib.metadata, json, sys, sysconfig
versions = {}
for name in sys.argv[1:]:
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps({"sitePackages": sysconfig.get_path("purelib"), "versions": versions}))
`;

/**
 * Versions of those of the packages that are installed for the interpreter.
 * @throws ModeldlError TOOLCHAIN when it does not run
 */
export async function externalVersions(
  context: ToolchainContext,
  toolchain: string,
  interpreter: string,
  packages: readonly string[],
): Promise<Readonly<Record<string, string>>> {
  const hash = createHash('sha256').update(interpreter).digest('hex').slice(0, 12);
  const file = join(context.toolchainsDir, `${toolchain}-external-${hash}.json`);
  const known = v.safeParse(remembered, await readJson(file));
  if (known.success && (await changedAt(known.output.sitePackages)) === known.output.mtimeMs) {
    return known.output.versions;
  }
  const { sitePackages, versions } = await probe(context, toolchain, interpreter, packages);
  const mtimeMs = await changedAt(sitePackages);
  // A cache that may not be written to is asked again each time.
  await writeFile(file, JSON.stringify({ sitePackages, versions, mtimeMs })).catch(() => undefined);
  return versions;
}

/**
 * Versions of those of the packages that an environment has, asked of its interpreter.
 * @throws ModeldlError TOOLCHAIN when that does not run
 */
export async function versionsIn(
  context: ToolchainContext,
  toolchain: string,
  python: string,
  packages: readonly string[],
): Promise<Readonly<Record<string, string>>> {
  return (await probe(context, toolchain, python, packages)).versions;
}

async function probe(
  context: ToolchainContext,
  toolchain: string,
  interpreter: string,
  packages: readonly string[],
): Promise<v.InferOutput<typeof contents>> {
  // Isolated, as workers run: what only PYTHONPATH or the user's site directory holds is not there for them.
  const probed = await askProgram(context, interpreter, ['-I', '-c', PROBE, ...packages]);
  const parsed = probed.failed ? undefined : v.safeParse(contents, parseJson(probed.stdout));
  if (parsed?.success === true) return parsed.output;
  const said = probed.failed
    ? probed.stderr.trim().split('\n').at(-1) || notStarted(probed.code)
    : 'it is no Python';
  throw new ModeldlError(
    'TOOLCHAIN',
    `Cannot use ${interpreter} for the toolchain \`${toolchain}\`: ${said}`,
    { hint: `correct or unset \`toolchains.interpreters.${toolchain}\``, details: { file: interpreter } },
  );
}

function notStarted(code: string | undefined): string {
  if (code === 'ENOENT') return 'there is no such program';
  return code === 'EACCES' ? 'it may not be run' : 'it ended without a word';
}

async function readJson(file: string): Promise<unknown> {
  return parseJson(await readFile(file, 'utf8').catch(() => ''));
}

async function changedAt(directory: string): Promise<number | undefined> {
  return stat(directory).then(
    ({ mtimeMs }) => mtimeMs,
    () => undefined,
  );
}
