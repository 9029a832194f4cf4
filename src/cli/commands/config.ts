import { resolve } from 'node:path';
import { findProjectFile } from '../../config/load.js';
import { isPath, knownKeys, leaves, nearestKey, type ConfigSchema } from '../../config/schema.js';
import { setUserValue, userConfigPath } from '../../config/user-file.js';
import { ModeldlError } from '../../errors.js';
import { configurationSchema, trustProject, userConfigDirectory } from '../../index.js';
import { redactDocument, secretsIn } from '../../redact.js';
import { atHome, missingArgument, type Call, type CommandDefinition } from '../command.js';
import type { InitFlags } from '../config-init.js';
import { formatTable } from '../format.js';

export const command: CommandDefinition<InitFlags> = {
  onlyLooks: true,
  configure(command) {
    command
      .argument('<action>', 'list, get, set, path, init or trust')
      .argument('[key]', 'such as convert.precision')
      .argument('[value]', 'for set')
      .option('--precision <name>', 'of conversions, for init (default: int8)')
      .option('--device <name>', 'of conversions, for init (default: CPU)')
      .addHelpText(
        'after',
        "\n`init` writes the project's file, asking on a terminal; `set` changes your own.\n\nExamples:\n  modeldl config init --precision fp16 --device GPU\n  modeldl config list\n  modeldl config get cacheDir\n  modeldl config set convert.precision fp16\n  modeldl config set cache.readFrom '[\"/shared/models\"]'\n  modeldl config path\n  modeldl config trust",
      );
  },
  async run(call) {
    const [action, key, value] = call.arguments;
    const directory = userConfigDirectory(call.cli.environment, call.cli.home);
    if (action !== 'init') refuseInitFlags(call.flags);
    refuseSurplus(call.arguments);
    switch (action) {
      case 'list':
        return list(call);
      case 'get':
        if (key === undefined) throw missingArgument('a key', 'modeldl config get convert.precision');
        return get(call, key);
      case 'set': {
        if (key === undefined || value === undefined) {
          throw missingArgument('a key and a value', 'modeldl config set convert.precision fp16');
        }
        // A path in a file starts from the file, and one that is typed from where that is done.
        const { cwd, home } = call.cli;
        const typed = isPath(key, value) ? resolve(cwd, atHome(value, home)) : value;
        const path = await setUserValue(directory, key, typed, await userSchema(call, key));
        call.output.note(`Set ${key} in ${path}`);
        call.output.result([], { ok: true, key, path });
        return undefined;
      }
      case 'path': {
        const project = (await findProjectFile(call.cli.cwd, call.cli.home)) ?? null;
        const user = await userConfigPath(directory);
        call.output.result([user, ...(project === null ? [] : [project])], { ok: true, user, project });
        return undefined;
      }
      case 'init':
        return (await import('../config-init.js')).initialise(call, directory);
      case 'trust':
        return trustFound(call);
      default:
        throw new ModeldlError(
          'USAGE',
          `Expected list, get, set, path, init or trust, got ${action ?? 'nothing'}`,
          {
            hint: 'see `modeldl config --help`',
          },
        );
    }
  },
};

/** `init ./project` would write here, and not there. @throws ModeldlError USAGE */
function refuseSurplus([action = '', ...words]: readonly string[]): void {
  const most = { list: 0, path: 0, init: 0, trust: 0, get: 1 }[action];
  const surplus = most === undefined ? undefined : words[most];
  if (surplus === undefined) return;
  throw new ModeldlError('USAGE', `Too many arguments for \`modeldl config ${action}\`: ${surplus}`, {
    hint: 'see `modeldl config --help`',
  });
}

/** @throws ModeldlError USAGE */
function refuseInitFlags({ precision, device }: InitFlags): void {
  if (precision === undefined && device === undefined) return;
  throw new ModeldlError('USAGE', '`--precision` and `--device` are for `modeldl config init`', {
    hint: 'for example `modeldl config set convert.precision fp16`',
  });
}

/**
 * With the settings of hubs that the user's plugins add. What cannot be opened may be what is to be mended.
 * @throws ModeldlError USAGE for a key that only this project knows
 */
async function userSchema(call: Call<object>, key: string): Promise<ConfigSchema> {
  try {
    const { schema, userSchema } = (await call.open()).config;
    if (!knownKeys(schema).includes(key) || knownKeys(userSchema).includes(key)) return userSchema;
  } catch (error) {
    if (!(error instanceof ModeldlError) || error.code !== 'CONFIG') throw error;
    return configurationSchema(undefined, { open: true });
  }
  throw new ModeldlError('USAGE', `\`${key}\` is of a plugin that only this project names`, {
    hint: "set it in the project's file, or name the plugin in your own too: `modeldl config set plugins …`",
  });
}

interface Setting {
  readonly key: string;
  readonly value: unknown;
  /** `default`, a file's path, an environment variable or an option. */
  readonly source: string;
}

async function list(call: Call<object>): Promise<undefined> {
  const values = await settings(call);
  const rows = values.map(({ key, value, source }) => [key, JSON.stringify(value), source]);
  const lines = call.output.quiet
    ? values.map(({ key }) => key)
    : formatTable(['KEY', 'VALUE', 'FROM'], rows);
  call.output.result(lines, { ok: true, values });
  return undefined;
}

/** Every key that has a value, options of this very call included. */
async function settings(call: Call<object>): Promise<readonly Setting[]> {
  const { config, cacheDir } = await call.open();
  const { flags } = call;
  const options: readonly (readonly [string, unknown, string])[] = [
    ['cacheDir', flags.cacheDir === undefined ? undefined : cacheDir, '--cache-dir'],
    ['offline', flags.offline, '--offline'],
    ['maxWait', flags.maxWait, '--max-wait'],
  ];
  const given = options.filter(([, value]) => value !== undefined);
  const values = leaves(config.config).filter(([key]) => key !== '$schema');
  return values.map(([key, value]) => {
    const [, wins, option] = given.find(([name]) => name === key) ?? [];
    if (option !== undefined) return { key, value: wins, source: `option ${option}` };
    // Addresses, of a proxy for one, may hold a password.
    const secrets = typeof value === 'string' ? secretsIn(value) : [];
    return { key, value: redactDocument(value, secrets), source: config.sources.get(key) ?? 'default' };
  });
}

async function get(call: Call<object>, key: string): Promise<undefined> {
  const found = (await settings(call)).find((setting) => setting.key === key);
  if (found === undefined) {
    const { schema } = (await call.open()).config;
    if (knownKeys(schema).includes(key.replace(/^(toolchains\.interpreters)\..+$/, '$1.<name>'))) {
      const hint = `set it with \`modeldl config set ${key} <value>\``;
      throw new ModeldlError('NOT_FOUND', `Not set: ${key}`, { hint });
    }
    throw new ModeldlError('USAGE', `Unknown key: ${key}`, {
      hint: `did you mean \`${nearestKey(key, schema)}\`; README.md lists all keys`,
    });
  }
  const { value } = found;
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  call.output.result([text], { ok: true, ...found });
  return undefined;
}

async function trustFound(call: Call<object>): Promise<undefined> {
  const { path, plugins, missing } = await trustProject(call.cli);
  for (const one of [path, ...plugins]) call.output.note(`Trusted until it changes: ${one}`);
  for (const why of missing) call.output.warn(`Not trusted, run this again once it is there: ${why}`);
  call.output.result([path], { ok: true, path, plugins, missing });
  return undefined;
}
