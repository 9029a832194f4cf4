/** Python modules that lie where a stranger's may, such as in a cloned repository, and tell when they are run. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryDirectory } from './store.js';

/** Modules that the programs under test import themselves, and those that Python looks for at every start. */
const NAMES = ['ensurepip', 'json', 'pip', 'runpy', 'sitecustomize', 'sysconfig', 'threading', 'venv'];

export interface Planted {
  readonly directory: string;
  /** Names of those that ran. */
  readonly ran: () => Promise<readonly string[]>;
}

/** Plants them in a directory, a temporary one by default. */
export async function plantModules(given?: string): Promise<Planted> {
  const directory = given ?? (await temporaryDirectory());
  const told = join(directory, 'ran');
  await mkdir(directory, { recursive: true });
  await writeFile(told, '');
  for (const name of NAMES) {
    const lines = [`with open(${JSON.stringify(told)}, "a") as told:`, `    told.write("${name}\\n")`, ''];
    await writeFile(join(directory, `${name}.py`), lines.join('\n'));
  }
  return { directory, ran: async () => (await readFile(told, 'utf8')).split('\n').filter(Boolean) };
}
