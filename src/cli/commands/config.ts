import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { contentDigest, findProjectFile } from '../../config/load.js';
import { KNOWN_KEYS, leaves } from '../../config/schema.js';
import { trust } from '../../config/trust.js';
import { readUserConfig, setUserValue, writeExample } from '../../config/user-file.js';
import { ModeldlError } from '../../errors.js';
import { userConfigDirectory } from '../../index.js';
import { missingArgument, type Call, type CommandDefinition } from '../command.js';
import { formatTable } from '../format.js';

export const command: CommandDefinition<object> = {
  configure(command) {
    command
      .argument('<action>', 'list, get, set, path, init or trust')
      .argument('[key]', 'such as convert.precision')
      .argument('[value]', 'for set')
      .addHelpText(
        'after',
        '\nExamples:\n  modeldl config list\n  modeldl config set convert.precision fp16\n  modeldl config trust',
      );
  },
  async run(call) {
    const [action, key, value] = call.arguments;
    const directory = userConfigDirectory(call.cli.environment, call.cli.home);
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
        const path = await setUserValue(directory, key, value);
        call.output.note(`Set ${key} in ${path}`);
        call.output.result([], { ok: true, key, path });
        return undefined;
      }
      case 'path': {
        const project = (await findProjectFile(call.cli.cwd, call.cli.home)) ?? null;
        const { path: user } = await readUserConfig(directory);
        call.output.result([user, ...(project === null ? [] : [project])], { ok: true, user, project });
        return undefined;
      }
      case 'init': {
        const path = await writeExample(join(call.cli.cwd, 'modeldl.config.json'));
        call.output.result([path], { ok: true, path });
        return undefined;
      }
      case 'trust':
        return trustProject(call, directory);
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

async function list(call: Call<object>): Promise<undefined> {
  const { config } = await call.open();
  const values = leaves(config.config)
    .filter(([key, value]) => key !== '' && value !== undefined && !isEmptyObject(value))
    .map(([key, value]) => ({ key, value, source: config.sources.get(key) ?? 'default' }));
  const rows = values.map(({ key, value, source }) => [key, JSON.stringify(value), source]);
  call.output.result(rows.length === 0 ? [] : formatTable(['KEY', 'VALUE', 'FROM'], rows), {
    ok: true,
    values,
  });
  if (values.length === 0) call.output.note('Nothing is set: every key has its default');
  return undefined;
}

function isEmptyObject(value: unknown): boolean {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length === 0
  );
}

async function get(call: Call<object>, key: string): Promise<undefined> {
  const { config } = await call.open();
  const found = leaves(config.config).find(([name]) => name === key);
  if (found === undefined) {
    throw new ModeldlError('NOT_FOUND', `Not set: ${key}`, { hint: `keys: ${KNOWN_KEYS.join(', ')}` });
  }
  const [, value] = found;
  call.output.result([typeof value === 'string' ? value : JSON.stringify(value)], { ok: true, key, value });
  return undefined;
}

async function trustProject(call: Call<object>, directory: string): Promise<undefined> {
  const path = await findProjectFile(call.cli.cwd, call.cli.home);
  if (path === undefined) {
    throw new ModeldlError('NOT_FOUND', `No project file above ${call.cli.cwd}`, {
      hint: '`modeldl config init` makes one',
    });
  }
  await trust(directory, path, contentDigest(await readFile(path, 'utf8')));
  call.output.note(`Trusted until it changes: ${path}`);
  call.output.result([path], { ok: true, path });
  return undefined;
}
