import { resolve } from 'node:path';
import { Argument } from 'commander';
import type { CommandDefinition } from '../command.js';

interface CiFlags {
  readonly file?: string;
  readonly prefix?: boolean;
}

export const command: CommandDefinition<CiFlags> = {
  // A job asks for the key before it restores the cache.
  onlyLooks: true,
  configure(command) {
    command
      .addArgument(
        new Argument('<action>', 'key: under which name to keep the cache of modeldl').choices(['key']),
      )
      .option('--file <file>', "startup list of the microservice, instead of the configuration's `models`")
      .option('--prefix', 'the part that keys of other locks have too: what to restore where there is no match')
      .addHelpText(
        'after',
        '\nThe key is of the lock, the platform, the layout of the cache and the toolchains of its conversions.\n' +
          '\nExamples:\n  modeldl ci key\n  modeldl ci key --prefix\n  modeldl ci key --json',
      );
  },
  async run(call) {
    const modeldl = await call.open();
    const { file, prefix } = call.flags;
    const made = await modeldl.cacheKey(file === undefined ? {} : { file: resolve(call.cli.cwd, file) });
    call.settle();
    call.output.result([prefix === true ? made.prefix : made.key], { ok: true, ...made });
    return undefined;
  },
};
