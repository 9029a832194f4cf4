/** Programs that are asked something: run to their end, with the variables of the run alone and nothing to read. */
import type { ToolchainContext } from '../src/converter.js';
import { throwIfAborted } from '../src/errors.js';

export interface Said {
  readonly failed: boolean;
  readonly stdout: string;
  readonly stderr: string;
  /** Of a program that could not be started, as Node.js has it. */
  readonly code?: string | undefined;
  /** How it failed. */
  readonly shortMessage?: string | undefined;
}

/** What a program said, also of one that failed or is not there. @throws ModeldlError INTERRUPTED */
export async function askProgram(
  { environment, signal }: Pick<ToolchainContext, 'environment' | 'signal'>,
  command: string,
  args: readonly string[],
): Promise<Said> {
  const { execa } = await import('execa');
  const asked = await execa(command, args, {
    env: { ...environment },
    extendEnv: false,
    reject: false,
    stdin: 'ignore',
    cancelSignal: signal,
  });
  throwIfAborted(signal);
  return asked;
}
