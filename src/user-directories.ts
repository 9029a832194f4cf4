/** Where the user's own files lie, by the platform's rules. */
import { isAbsolute, join } from 'node:path';
import { platform } from 'node:process';
import envPaths from 'env-paths';

/** Environment variables, as `process.env` has them. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Where the user's own configuration lies. */
export function userConfigDirectory(environment: Environment, home: string): string {
  return userDirectory(environment, home, 'config');
}

/** `suffix: ''` since env-paths would append `-nodejs`. */
export function userDirectory(environment: Environment, home: string, kind: 'config' | 'cache'): string {
  // env-paths reads the process; on Linux the rules are two lines, and these follow the environment that was given.
  if (platform !== 'linux') return envPaths('modeldl', { suffix: '' })[kind];
  const variable = environment[kind === 'config' ? 'XDG_CONFIG_HOME' : 'XDG_CACHE_HOME'];
  const base = variable !== undefined && isAbsolute(variable) ? variable : join(home, `.${kind}`);
  return join(base, 'modeldl');
}
