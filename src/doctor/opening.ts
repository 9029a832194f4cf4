/** Reading a configuration that may be broken: what is wrong in it is put aside, and the rest counts. */
import { ModeldlError } from '../errors.js';

/** What is put aside. */
export interface Aside {
  /** Absolute paths of configuration files. */
  readonly files: ReadonlySet<string>;
  /** Names of environment variables. */
  readonly variables: ReadonlySet<string>;
  /** What is not trusted is ignored as far as it can be without the rest of its file. */
  readonly untrusted: 'refuse' | 'ignore';
}

/**
 * Tries until nothing is wrong any more.
 * @param read gets what to do without
 * @throws ModeldlError that names nothing which could be put aside
 */
export async function withoutBroken<Result>(
  read: (aside: Aside) => Promise<Result>,
): Promise<{ readonly result: Result; readonly problems: readonly ModeldlError[] }> {
  const files = new Set<string>();
  const variables = new Set<string>();
  const problems: ModeldlError[] = [];
  let untrusted: Aside['untrusted'] = 'refuse';
  for (;;) {
    try {
      return { result: await read({ files, variables, untrusted }), problems };
    } catch (error) {
      if (!(error instanceof ModeldlError) || error.code !== 'CONFIG') throw error;
      if (problems.every(({ message }) => message !== error.message)) problems.push(error);
      const { file, variable } = error.details;
      if (untrusted === 'refuse') untrusted = 'ignore';
      else if (file !== undefined && !files.has(file)) files.add(file);
      else if (typeof variable === 'string' && !variables.has(variable)) variables.add(variable);
      else throw error;
    }
  }
}

/** The environment without some of its variables. */
export function without(
  environment: Readonly<Record<string, string | undefined>>,
  names: ReadonlySet<string>,
): Readonly<Record<string, string | undefined>> {
  if (names.size === 0) return environment;
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !names.has(name)));
}
