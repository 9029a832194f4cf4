/** `modeldl config init`: a first project file. On a terminal it asks, and sets what a project may not in the user's file. */
import { stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { findProjectFile } from '../config/load.js';
import { DEFAULTS, knownKeys, type Config } from '../config/schema.js';
import { setUserValue, userConfigPath, writeExample } from '../config/user-file.js';
import { PRECISIONS } from '../converter.js';
import { ModeldlError } from '../errors.js';
import type { Modeldl } from '../index.js';
import { atHome, type Call } from './command.js';
import { formatCommand } from './format.js';
import { askChoice, askSome, askText, tellCommand } from './prompts.js';

export interface InitFlags {
  readonly precision?: string;
  readonly device?: string;
}

interface Answers {
  readonly convert: NonNullable<Config['convert']>;
  /** Options that say the same, as far as they were not typed. */
  readonly options: readonly string[];
  /** Keys and values for the user's own file. */
  readonly settings: readonly (readonly [key: string, value: string])[];
  /** Hubs that no token was found for. */
  readonly logins: readonly string[];
}

/**
 * Writes nothing before every question is answered.
 * @param directory of the user's configuration
 * @throws ModeldlError USAGE when there is a project file, INTERRUPTED
 */
export async function initialise(call: Call<InitFlags>, directory: string): Promise<undefined> {
  const { cli, flags, output } = call;
  await refuseSecond(cli.cwd, cli.home);
  const { precisionNamed, deviceNamed } = await import('../plan.js');
  const given = {
    ...(flags.precision === undefined ? {} : { precision: precisionNamed(flags.precision) }),
    ...(flags.device === undefined ? {} : { device: deviceNamed(flags.device) }),
  };
  const modeldl = call.interactive ? await call.open() : undefined;
  call.settle();
  const answers = modeldl === undefined ? undefined : await ask(call, modeldl, directory, given);
  const path = await writeExample(join(cli.cwd, 'modeldl.config.json'), answers?.convert ?? given);
  if (answers !== undefined && modeldl !== undefined) {
    const { options, settings, logins } = answers;
    for (const [key, value] of settings) {
      const file = await setUserValue(directory, key, value, modeldl.config.userSchema);
      output.note(`Set ${key} in ${file}`);
    }
    const set = settings.map(
      ([key, value]) => ` && ${formatCommand(['modeldl', 'config', 'set', key, value])}`,
    );
    tellCommand(call, [...options, '--no-input'], set.join(''));
    for (const hub of logins) output.note(`Where it wants a token: modeldl login ${hub}`);
  }
  output.result([path], { ok: true, path });
  return undefined;
}

/** One of another name would not be read beside it any more. @throws ModeldlError USAGE */
async function refuseSecond(cwd: string, home: string): Promise<void> {
  const there = await findProjectFile(cwd, home);
  if (there === undefined || dirname(there) !== cwd) return;
  throw new ModeldlError('USAGE', `This directory has a project file already: ${there}`, {
    hint: 'edit it, or remove it first',
  });
}

async function ask(
  call: Call<InitFlags>,
  modeldl: Modeldl,
  directory: string,
  given: NonNullable<Config['convert']>,
): Promise<Answers> {
  const { cli } = call;
  const { convert: defaults } = DEFAULTS;
  const precisions = PRECISIONS.map((value) => ({ value, name: value }));
  const devices = (['CPU', 'GPU', 'NPU', 'AUTO'] as const).map((value) => ({ value, name: value }));
  const precision =
    given.precision ?? (await askChoice(cli, 'Precision of conversions', precisions, defaults.precision));
  const device = given.device ?? (await askChoice(cli, 'Device they are for', devices, defaults.device));
  const options = [
    ...(given.precision === undefined ? ['--precision', precision] : []),
    ...(given.device === undefined ? ['--device', device] : []),
  ];
  const user = await userConfigPath(directory);
  if (!user.endsWith('.json')) {
    call.output.note(`The cache and hubs are as your own file has them, which is YAML: ${user}`);
    return { convert: { precision, device }, options, settings: [], logins: [] };
  }
  const cache = await askCache(call, modeldl);
  const { settings, logins } = await askHubs(call, modeldl);
  return {
    convert: { precision, device },
    options,
    settings: [...(cache === undefined ? [] : [['cacheDir', cache] as const]), ...settings],
    logins,
  };
}

/** Another cache than there is, if one is wanted. What an option or a variable says is not asked: it would win. */
async function askCache(
  { cli, flags }: Call<InitFlags>,
  { config, cacheDir }: Modeldl,
): Promise<string | undefined> {
  const source = config.sources.get('cacheDir') ?? 'default';
  if (flags.cacheDir !== undefined || source.startsWith('environment variable')) return undefined;
  const absolute = (text: string): string => resolve(cli.cwd, atHome(text, cli.home));
  const validate = async (text: string): Promise<true | string> => {
    const found = await stat(absolute(text)).catch(() => undefined);
    return found === undefined || found.isDirectory() || 'Not a directory';
  };
  const answer = absolute(await askText(cli, 'Cache directory', validate, cacheDir));
  return answer === cacheDir ? undefined : answer;
}

/** What every hub takes as its address; a login in it would be a token in a file. */
function isAddress(text: string): true | string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isPlain = url?.protocol === 'https:' && url.username + url.password + url.search + url.hash === '';
  return isPlain || 'An address such as https://models.example.com, without a login';
}

/** Most hubs need nothing: those that take a token are asked about, and where one is that has no address yet. */
async function askHubs(
  { cli }: Call<InitFlags>,
  modeldl: Modeldl,
): Promise<Pick<Answers, 'settings' | 'logins'>> {
  const hubs = (await modeldl.hubs({ check: false })).filter(({ takesCredentials }) => takesCredentials);
  const choices = hubs.map(({ name, title, credentials }) => ({
    value: name,
    name: credentials === null ? title : `${title}, with a token (${credentials})`,
  }));
  const chosen = await askSome(cli, 'Hubs in use that may want a token (none is fine)', choices);
  const settings: (readonly [string, string])[] = [];
  const logins: string[] = [];
  for (const { name, title, endpoint, credentials } of hubs) {
    if (!chosen.includes(name)) continue;
    const key = `hubs.${name}.endpoint`;
    if (endpoint === null && knownKeys(modeldl.config.userSchema).includes(key)) {
      settings.push([key, await askText(cli, `Address of ${title}`, isAddress)]);
    }
    if (credentials === null) logins.push(name);
  }
  return { settings, logins };
}
