/** What questions are made of: modeldl as the command will open it, but silent while a question stands there. */
import type { Modeldl } from '../../index.js';
import { apiOptions, type Call } from '../command.js';
import { createProgress, type Progress } from '../progress.js';

export interface Looking {
  readonly modeldl: Modeldl;
  /** Work that people wait for, with its progress drawn. */
  readonly shown: <Result>(work: (modeldl: Modeldl) => Promise<Result>) => Promise<Result>;
}

/** Opens modeldl for questions; it makes no cache where none is. */
export async function looking<Result>(
  call: Pick<Call<object>, 'flags' | 'cli' | 'output'>,
  work: (looking: Looking) => Promise<Result>,
): Promise<Result> {
  const { flags, cli, output } = call;
  let progress: Progress | undefined;
  const modeldl = await cli.createModeldl({
    ...apiOptions(flags, cli),
    createCache: false,
    emit: (event) => progress?.emit(event),
    onSecret: (secret) => {
      output.secrets.add(secret);
    },
  });
  try {
    return await work({
      modeldl,
      shown: async (visibly) => {
        progress = await createProgress(flags.progress, output);
        try {
          return await visibly(modeldl);
        } finally {
          progress.stop();
          progress = undefined;
        }
      },
    });
  } finally {
    await modeldl.close();
  }
}
