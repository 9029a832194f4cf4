/** Wheels that a bundle brought: used where no folder is named, when they are for this Python and this lock. */
import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ToolchainContext, ToolchainKit } from '../../src/converter.js';
import { isDirectory } from '../../src/directories.js';
import { diskError } from '../../src/errors.js';
import { lockDigest, type ToolchainDefinition } from './definition.js';
import { hasTorch } from './lock.js';
import { entriesOf, type Places } from './place.js';
import { findPython } from './python.js';
import { directorySize } from './size.js';
import { hasCpuWheel } from './sources.js';

function kitsDir({ toolchainsDir }: ToolchainContext): string {
  return join(toolchainsDir, '..', 'wheels');
}

/** @throws ModeldlError TOOLCHAIN without a Python for it */
export async function kitOf(
  definition: ToolchainDefinition,
  context: ToolchainContext,
): Promise<ToolchainKit> {
  const { version, platform } = await findPython(context, definition.name, definition.python);
  const lock = await lockDigest(definition);
  const python = version.split('.').slice(0, 2).join('.');
  const hash = createHash('sha256').update(`${lock} ${python} ${platform}`).digest('hex').slice(0, 12);
  return { lock, python, platform, directory: join(kitsDir(context), `${definition.name}-${hash}`) };
}

/** The context in which an environment is made: of imported wheels, where they have what is asked for. */
export async function withKit(
  definition: ToolchainDefinition,
  context: ToolchainContext,
  { packages, places }: Places,
): Promise<ToolchainContext> {
  if (context.settings.wheels !== undefined) return context;
  const { directory } = await kitOf(definition, context);
  if (!(await isDirectory(directory))) return context;
  const build = (await hasCpuWheel(directory, packages)) ? 'cpu' : 'locked';
  const serves = !hasTorch(packages) || places.some((place) => place.build === build);
  return serves ? { ...context, settings: { ...context.settings, wheels: directory } } : context;
}

/** @returns bytes freed */
export async function removeKits({ name }: ToolchainDefinition, context: ToolchainContext): Promise<number> {
  let freed = 0;
  for (const entry of await entriesOf(kitsDir(context))) {
    // Names of others may begin alike: `optimum-5.0`.
    if (!entry.startsWith(`${name}-`) || !/^[0-9a-f]{12}$/.test(entry.slice(name.length + 1))) continue;
    const directory = join(kitsDir(context), entry);
    freed += (await directorySize(directory)).freedBytes;
    await rm(directory, { recursive: true, force: true }).catch((error: unknown) => {
      throw diskError(error, directory);
    });
  }
  return freed;
}
