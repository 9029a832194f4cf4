/** The cache: whether it can be written, what its file system does, what is in it. Nothing that is tried stays. */
import { access, constants, readdir, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { geteuid, platform } from 'node:process';
import type { Context } from '../context.js';
import { isReadOnly } from '../directories.js';
import { diskError, ModeldlError, systemErrorCode } from '../errors.js';
import { shellWord } from '../shell-word.js';
import { checkSpace, existingAncestor, freeBytes } from '../store/space.js';
import { BLOB_AGE_MS, planSweep } from '../store/sweep.js';
import { formatSize, type Check, type Finding, type Patient } from './check.js';
import {
  isNetwork,
  isProbe,
  linksIn,
  mountHere,
  namesIn,
  probeStore,
  runsPrograms,
  unwritableIn,
  whyNoClaims,
  withProbe,
} from './disk.js';

const OTHER_PLACE = 'choose another place with `--cache-dir` or `MODELDL_CACHE_DIR`';
const LATE = `its disk hangs: ${OTHER_PLACE}`;
/** Less holds no model worth converting. */
const LITTLE_BYTES = 1024 ** 3;
const MAY_OTHERS_WRITE = 0o002;
const STICKY = 0o1000;

export function cacheChecks(): readonly Check[] {
  const check = (name: string, run: Check['run']): Check => ({ name, topic: 'cache', lateFix: LATE, run });
  return [
    check('place', async (patient) => [await placeFinding(patient)]),
    check('space', async ({ context }) => [await spaceFinding(context)]),
    check('file-system', async ({ context }) => [await fileSystemFinding(context)]),
    check('links', (patient) => tried(patient, 'links', linksFinding)),
    check('claims', (patient) => tried(patient, 'claims', claimsFinding)),
    check('names', (patient) => tried(patient, 'names', namesFinding)),
    check('programs', (patient) => tried(patient, 'programs', programsFinding)),
    check('format', async ({ context }) => [await formatFinding(context)]),
    {
      ...check('leftovers', async ({ context }) => [await leftoversFinding(context)]),
      lateFix: '`modeldl prune`',
    },
  ];
}

/** Where it is, and who may write there. */
async function placeFinding({ context, cacheSource }: Patient): Promise<Finding> {
  const { cacheDir, root } = context.store;
  const name = 'place';
  const found = await stat(root).catch((error: unknown) => error);
  const facts = { directory: cacheDir, source: cacheSource, exists: 'isDirectory' in (found as object) };
  const finding = (status: Finding['status'], message: string, fix?: string): Finding => ({
    ...{ name, status, message, facts },
    ...(fix === undefined ? {} : { fix }),
  });
  if (found instanceof Error) return absentFinding(context, found, finding);
  if (await isReadOnly(root)) {
    const message = `${cacheDir} is read-only: what is stored can be used, and nothing pulled or converted`;
    return finding('warning', message, OTHER_PLACE);
  }
  const unwritable = await unwritableIn(root, isWritable);
  if (unwritable !== undefined) {
    const { told, fix } = await whyNotWritable(unwritable, cacheDir);
    return finding('failed', told, fix);
  }
  const { mode } = await stat(root);
  if (platform !== 'win32' && (mode & MAY_OTHERS_WRITE) !== 0 && (mode & STICKY) === 0) {
    const message = `Everybody on this machine may change models in ${cacheDir}`;
    return finding('warning', message, `\`chmod -R o-w ${shellWord(cacheDir)}\``);
  }
  return finding('ok', `${cacheDir} (${cacheSource})`);
}

async function absentFinding(
  { store }: Context,
  error: Error,
  finding: (status: Finding['status'], message: string, fix?: string) => Finding,
): Promise<Finding> {
  const { cacheDir } = store;
  const code = systemErrorCode(error);
  if (code === 'ENOTDIR')
    return finding('failed', `The cache path is not a directory: ${cacheDir}`, OTHER_PLACE);
  if (code !== 'ENOENT')
    return finding('failed', `${cacheDir} cannot be looked at: ${error.message}`, OTHER_PLACE);
  const above = await existingAncestor(cacheDir);
  // By trying: `/proc` and the like seem writable, and take no directory.
  const why = await withProbe(above, () => Promise.resolve(undefined)).catch((thrown: unknown) =>
    diskError(thrown, above),
  );
  const isThere = above === cacheDir;
  if (why !== undefined && isThere && !(await isWritable(above)) && !(await isReadOnly(above))) {
    const { told, fix } = await whyNotWritable(above, cacheDir);
    return finding('failed', told, fix);
  }
  if (why !== undefined) {
    const told = why instanceof ModeldlError ? why.message : `${above} takes no directory`;
    const what = isThere
      ? `Nothing can be made in ${cacheDir}`
      : `${cacheDir} is not there and cannot be made`;
    return finding('failed', `${what}: ${told}`, OTHER_PLACE);
  }
  return finding(
    'ok',
    isThere ? `${cacheDir}: nothing is stored yet` : `${cacheDir} is not there yet: it is made on first use`,
  );
}

/** Access of an ordinary user; root may write anywhere that is no read-only mount. */
function isWritable(path: string): Promise<boolean> {
  return access(path, constants.R_OK | constants.W_OK | constants.X_OK).then(
    () => true,
    // Others may remove it at this moment.
    (error: unknown) => systemErrorCode(error) === 'ENOENT',
  );
}

/** The directory is another user's, or its mode forbids it; blobs stay read-only either way. */
async function whyNotWritable(
  path: string,
  cacheDir: string,
): Promise<{ readonly told: string; readonly fix: string }> {
  const { uid } = await stat(path);
  const self = geteuid?.();
  const told = `${path} may not be written to`;
  const place = shellWord(cacheDir);
  if (self === undefined || uid === self)
    return { told, fix: `\`find ${place} -type d -exec chmod u+rwx {} +\`, or ${OTHER_PLACE}` };
  return {
    told: `${told}: it belongs to user ${uid}, and this is ${self}`,
    fix: `\`sudo chown -R ${self} ${place}\`, or ${OTHER_PLACE}`,
  };
}

async function spaceFinding({ store }: Context): Promise<Finding> {
  const name = 'space';
  const directory = await existingAncestor(store.root);
  const free = await freeBytes(directory);
  const { files, ffree } = await statfs(directory);
  const facts = {
    directory,
    freeBytes: Number.isFinite(free) ? free : null,
    freeFiles: files === 0 ? null : ffree,
  };
  const fix = 'free space with `modeldl prune`, or choose another place with `--cache-dir`';
  // Throws where nothing could be pulled.
  await checkSpace([{ directory, bytes: 1, what: 'the cache' }]);
  if (files > 0 && ffree === 0)
    return {
      name,
      status: 'failed',
      message: `No file can be made any more in ${directory}: it has no inodes left`,
      fix,
      facts,
    };
  if (!Number.isFinite(free))
    return {
      name,
      status: 'skipped',
      message: `The file system of ${directory} does not tell what is free`,
      facts,
    };
  const message = `${formatSize(free)} free in ${directory}`;
  return free < LITTLE_BYTES
    ? { name, status: 'warning', message: `Only ${message}`, fix, facts }
    : { name, status: 'ok', message, facts };
}

async function fileSystemFinding({ store }: Context): Promise<Finding> {
  const name = 'file-system';
  if (platform !== 'linux')
    return { name, status: 'skipped', message: 'Only Linux tells of what kind a file system is' };
  const directory = await existingAncestor(store.root);
  const mount = await mountHere(directory);
  if (mount === undefined) return { name, status: 'skipped', message: `No mount is known for ${directory}` };
  const { type, options } = mount;
  const facts = { type, mountedAt: mount.directory, options, network: isNetwork(mount) };
  if (isNetwork(mount)) {
    const message = `${type} at ${mount.directory}, a network file system: pulls are as slow as it is, and processes of several machines wait for each other up to 20 s when one dies`;
    return {
      name,
      status: 'warning',
      message,
      fix: 'put the cache on a local disk, and name this one in `cache.readFrom`',
      facts,
    };
  }
  return { name, status: 'ok', message: `${type} at ${mount.directory}`, facts };
}

/** Runs `look` in a directory on the cache's file system; what cannot be written is another check's matter. */
async function tried(
  { context }: Patient,
  name: string,
  look: (probe: string, context: Context) => Promise<Omit<Finding, 'name'>>,
): Promise<readonly Finding[]> {
  const staging = join(context.store.root, 'tmp');
  const directory = await existingAncestor(staging);
  try {
    return [{ name, ...(await withProbe(directory, (probe) => look(probe, context))) }];
  } catch (error) {
    const code = systemErrorCode(error) ?? systemErrorCode(error instanceof Error ? error.cause : undefined);
    if (code === undefined || !['EACCES', 'EPERM', 'EROFS', 'ENOSPC', 'EDQUOT', 'ENOENT'].includes(code))
      throw error;
    return [{ name, status: 'skipped', message: `Nothing can be written in ${directory} (${code})` }];
  }
}

async function linksFinding(probe: string, { store }: Context): Promise<Omit<Finding, 'name'>> {
  const links = await linksIn(await probeStore(store, probe));
  const { reflink, hardlink, symlink } = links;
  const other = symlink ? '' : '; symbolic links cannot be made';
  if (reflink) return { status: 'ok', message: `Files share blocks (reflinks)${other}`, facts: { ...links } };
  if (hardlink)
    return { status: 'ok', message: `Files share bytes by hard links${other}`, facts: { ...links } };
  return {
    status: 'warning',
    message: 'Neither reflinks nor hard links can be made: every model takes its space twice',
    fix: 'put the cache on a file system with links, such as ext4, xfs or btrfs',
    facts: { ...links },
  };
}

async function claimsFinding(probe: string, { store, signal }: Context): Promise<Omit<Finding, 'name'>> {
  const why = await whyNoClaims(await probeStore(store, probe), signal);
  if (why === undefined) return { status: 'ok', message: 'Processes that want the same wait for each other' };
  return {
    status: 'failed',
    message: `Claims do not hold here: ${why}`,
    fix: 'put the cache on another file system, or run one modeldl at a time',
  };
}

async function namesFinding(probe: string): Promise<Omit<Finding, 'name'>> {
  const names = await namesIn(probe);
  const { caseSensitive, longest } = names;
  const facts = { ...names };
  if (longest < 255)
    return {
      status: 'warning',
      message: `Names end at ${longest} bytes: models with longer ones cannot be stored`,
      fix: 'put the cache on a file system without encrypted names',
      facts,
    };
  return {
    status: 'ok',
    message: caseSensitive
      ? 'Case tells files apart, and names may have 255 bytes'
      : 'Case does not tell files apart: a model with files that differ in it alone is refused',
    facts,
  };
}

async function programsFinding(probe: string): Promise<Omit<Finding, 'name'>> {
  const runs = await runsPrograms(probe);
  if (runs)
    return {
      status: 'ok',
      message: 'Programs run in it, as environments of converters have to',
      facts: { runs },
    };
  return {
    status: 'warning',
    message: 'No program runs in it (`noexec`): environments of converters cannot be made there',
    fix: 'mount it without `noexec`, or name a Python in `toolchains.interpreters`',
    facts: { runs },
  };
}

/** Whether a later modeldl has written there; a sweep looks at every record. */
async function formatFinding({ store }: Context): Promise<Finding> {
  const name = 'format';
  const entries = await readdir(store.cacheDir).catch(() => []);
  const layouts = entries.filter((entry) => /^v\d+$/.test(entry));
  const newer = layouts.filter((entry) => Number(entry.slice(1)) > 1);
  const facts = { layouts };
  if (newer.length > 0)
    return {
      name,
      status: 'warning',
      message: `A later modeldl keeps models here too (${newer.join(', ')}), which this one does not see`,
      fix: 'update modeldl',
      facts,
    };
  return {
    name,
    status: 'ok',
    message: layouts.length === 0 ? 'Nothing is stored yet' : 'Layout v1, which this modeldl writes',
    facts,
  };
}

/** @throws ModeldlError DISK beside records of a later version */
async function leftoversFinding({ store }: Context): Promise<Finding> {
  const name = 'leftovers';
  if (await isAbsent(store.root)) return { name, status: 'ok', message: 'Nothing is stored yet' };
  const plan = await planSweep(store, { minimumAgeMs: BLOB_AGE_MS, partials: true });
  // Other checks try things at this moment.
  const leftovers = plan.leftovers.filter(({ path }) => !isProbe(path));
  const sum = (items: readonly { readonly bytes: number }[]): number =>
    items.reduce((total, { bytes }) => total + bytes, 0);
  const unused = sum(plan.blobs) + sum(leftovers);
  const unfinished = sum(plan.partials);
  const facts = {
    unusedBytes: unused,
    unfinishedBytes: unfinished,
    leftovers: leftovers.length,
    unfinished: plan.partials.length,
  };
  if (plan.blobs.length + leftovers.length + plan.partials.length === 0)
    return { name, status: 'ok', message: 'Nothing is left over', facts };
  // They hinder nothing, and a pull may go on with them.
  const message = `${formatSize(unused)} unused, ${formatSize(unfinished)} of unfinished downloads`;
  return { name, status: 'ok', message, fix: '`modeldl prune --partials` frees it', facts };
}

function isAbsent(path: string): Promise<boolean> {
  return stat(path).then(
    () => false,
    (error: unknown) => ['ENOENT', 'ENOTDIR'].includes(systemErrorCode(error) ?? ''),
  );
}
