/** Trusting a project's file, with the plugins that it names: what is run of them is what was there then. */
import { contentDigest, findProjectFile, pluginsNamedIn } from '../config/load.js';
import { trust } from '../config/trust.js';
import { ModeldlError } from '../errors.js';
import type { TrustedProject } from '../results.js';
import { findPlugin, pluginDigest } from './find.js';

/** @throws ModeldlError NOT_FOUND without a project file, CONFIG when it is broken, DISK */
export async function trustProject(
  configDir: string,
  { cwd, home }: { readonly cwd: string; readonly home: string },
): Promise<TrustedProject> {
  const path = await findProjectFile(cwd, home);
  if (path === undefined) {
    throw new ModeldlError('NOT_FOUND', `No project file above ${cwd}`, {
      hint: '`modeldl config init` makes one',
    });
  }
  const { content, specifiers } = await pluginsNamedIn(path);
  const plugins: string[] = [];
  const missing: string[] = [];
  for (const specifier of specifiers) {
    try {
      const found = await findPlugin(specifier, path);
      await trust(configDir, found.path, await pluginDigest(found));
      plugins.push(found.path);
    } catch (error) {
      if (!(error instanceof ModeldlError) || error.code === 'DISK') throw error;
      missing.push(error.message);
    }
  }
  // Last: a file that is trusted has had its plugins looked at.
  await trust(configDir, path, contentDigest(content));
  return { path, plugins, missing };
}
