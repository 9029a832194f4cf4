/**
 * `modeldl ci key`: under which name a CI system keeps the cache. It changes with what would be brought in or made
 * otherwise, and with nothing else: no path, no time, nothing of the machine but its platform.
 */
import { createHash } from 'node:crypto';
import type { LoadedConfig } from '../config/load.js';
import type { Context } from '../context.js';
import { ModeldlError } from '../errors.js';
import { platformName, printLock, readLock, type Lock } from '../lock-file.js';
import type { CacheKey } from '../results.js';
import { layoutVersion } from '../store/layout.js';
import { readWanted, type ListOptions } from '../sync-list.js';
import type { StartupHubs } from '../startup.js';
import { toolchainContext } from '../toolchains.js';

export type CacheKeyOptions = Pick<ListOptions, 'file'>;

/** @throws ModeldlError CONFIG for the list or the lock, or where there is none, TOOLCHAIN for an interpreter that does not run */
export async function cacheKey(
  context: Context,
  loaded: LoadedConfig,
  startup: StartupHubs,
  options: CacheKeyOptions,
): Promise<CacheKey> {
  const list = await readWanted(context, loaded, startup, options);
  const lock = await readLock(list.lockFile, list.lockOf);
  if (lock === undefined) {
    throw new ModeldlError('CONFIG', `There is no lock to make a key of: ${list.lockFile}`, {
      hint: 'run `modeldl lock`, and keep what it writes in version control',
      details: { file: list.lockFile },
    });
  }
  const digests: Record<string, string> = {};
  for (const name of toolchainsOf(lock)) {
    const toolchain = context.toolchains.find((known) => known.name === name);
    if (toolchain === undefined) {
      throw new ModeldlError(
        'CONFIG',
        `The lock names a toolchain that this modeldl has not, ${name}: ${list.lockFile}`,
        {
          hint: 'update modeldl, or run `modeldl lock` to write it anew',
          details: { file: list.lockFile },
        },
      );
    }
    digests[name] = await toolchain.digest(toolchainContext(context));
  }
  return {
    ...keyOf(lock, digests, platformName()),
    file: list.file,
    lock: list.lockFile,
    toolchains: digests,
  };
}

/** Of the conversions in a lock, sorted. A published conversion needs none. */
function toolchainsOf(lock: Lock): readonly string[] {
  const names = lock.models.flatMap(({ conversion }) =>
    conversion === undefined || 'published' in conversion ? [] : [conversion.toolchain],
  );
  return [...new Set(names)].sort();
}

/** The lock as it would be written, so that line ends of a checkout do not matter. */
export function keyOf(
  lock: Lock,
  toolchains: Readonly<Record<string, string>>,
  platform: string,
): Pick<CacheKey, 'key' | 'prefix' | 'platform' | 'layout'> {
  const hash = createHash('sha256')
    .update(JSON.stringify([printLock(lock.models), Object.entries(toolchains).sort()]))
    .digest('hex');
  const prefix = `modeldl-${layoutVersion}-${platform}-`;
  return { key: `${prefix}${hash.slice(0, 32)}`, prefix, platform, layout: layoutVersion };
}
