/** Reading a configuration that may be broken: what is wrong in it is put aside, and the rest counts. */
import { ModeldlError } from '../errors.js';

/** What is put aside. */
export interface Aside {
  /** Absolute paths of configuration files. */
  readonly files: ReadonlySet<string>;
  /** Names of environment variables. */
  readonly variables: ReadonlySet<string>;
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
  for (;;) {
    try {
      return { result: await read({ files, variables }), problems };
    } catch (error) {
      if (!(error instanceof ModeldlError) || error.code !== 'CONFIG') throw error;
      const { file, variable } = error.details;
      const isNew = problems.every(({ message }) => message !== error.message);
      if (file !== undefined && isNew) files.add(file);
      else if (typeof variable === 'string' && isNew) variables.add(variable);
      else throw error;
      problems.push(error);
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
