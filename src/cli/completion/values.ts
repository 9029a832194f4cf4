/** Which values an option or argument takes. */
import type { Argument, Option } from 'commander';
import { PRECISIONS } from '../../converter.js';
import type { CompletionOptions, KnownNames, NamedValue } from '../../completion.js';
import { atHome, type CliEnvironment } from '../command.js';
import type { Answer, Candidate } from './answer.js';
import { SHELLS } from './scripts.js';

/** What is being completed. */
export interface Asked {
  readonly verb: string | undefined;
  readonly arguments: readonly string[];
  readonly current: string;
  readonly cli: CliEnvironment;
  /** Values of options on the line. */
  readonly values: ReadonlyMap<string, string>;
}

const NONE: Answer = { candidates: [] };

type Source = (asked: Asked) => Promise<Answer> | Answer;

const DEVICES = ['CPU', 'GPU', 'NPU', 'AUTO', 'HETERO:'] as const;

const files: Source = () => ({ ...NONE, paths: 'files' });
const directories: Source = () => ({ ...NONE, paths: 'directories' });

function choices(values: readonly string[]): Answer {
  return { candidates: values.map((value) => ({ value })) };
}

function named(values: readonly NamedValue[], end = ''): readonly Candidate[] {
  return values.map(({ name, title }) => ({ value: `${name}${end}`, title }));
}

/** Loaded where they are asked for: they cost more than all else here. */
async function known(asked: Asked): Promise<KnownNames> {
  return (await import('../../completion.js')).knownNames(placesOf(asked));
}

function placesOf({ cli, values }: Asked): CompletionOptions {
  const cacheDir = values.get('--cache-dir');
  const configFile = values.get('--config');
  return {
    cwd: cli.cwd,
    home: cli.home,
    environment: cli.environment,
    ...(cacheDir === undefined ? {} : { cacheDir: atHome(cacheDir, cli.home) }),
    ...(configFile === undefined ? {} : { configFile: atHome(configFile, cli.home) }),
  };
}

const toolchains: Source = async (asked) => ({ candidates: named((await known(asked)).toolchains) });
const converters: Source = async (asked) => ({ candidates: named((await known(asked)).converters) });

/** Keys of the converter that is named, else of all. */
const settings: Source = async (asked) => {
  const all = (await known(asked)).converters;
  const chosen = all.filter(({ name }) => name === asked.values.get('--converter'));
  const keys = new Map<string, Candidate>();
  for (const { settings: own } of chosen.length > 0 ? chosen : all)
    for (const candidate of named(own, '='))
      if (!keys.has(candidate.value)) keys.set(candidate.value, candidate);
  return { candidates: [...keys.values()] };
};

/** Models by their names alone until one with its revision is begun. */
const stored: Source = async (asked) => {
  const { current, arguments: given } = asked;
  const { storedNames } = await import('../../completion.js');
  const models = await storedNames(placesOf(asked));
  // What is named already, in either form, is not offered once more.
  const left = models.filter(
    ({ floating, reference }) => !given.includes(floating) && !given.includes(reference),
  );
  const fitting = (names: readonly string[]): readonly string[] =>
    [...new Set(names)].filter((name) => name.startsWith(current));
  const floating = fitting(left.map((model) => model.floating));
  const names = floating.length > 0 ? floating : fitting(left.map((model) => model.reference));
  return { candidates: names.map((value) => ({ value })) };
};

/** What is stored, what hubs call theirs, and paths, once what is typed can only be one: `name` is never a file. */
const models: Source = async (asked) => {
  const { candidates } = await stored(asked);
  const begun = asked.current.includes(':');
  const schemes = begun ? [] : named((await known(asked)).schemes, ':');
  const isPath = /^([./~\\]|[a-z]:)/i.test(asked.current);
  return { candidates: [...candidates, ...schemes], ...(isPath ? { paths: 'files' as const } : {}) };
};

/** Models, and behind the first the target, which is any path. */
const modelsAndTarget: Source = async (asked) => ({
  ...(await models(asked)),
  ...(asked.arguments.length > 0 ? { paths: 'files' as const } : {}),
});

const OPTIONS: Readonly<Record<string, Source>> = {
  '--precision': () => choices(PRECISIONS),
  '--device': () => choices(DEVICES),
  '--layout': async ({ verb }) => {
    const { LAYOUTS } = await import('../../layout/layout.js');
    return choices(verb === 'export' ? [...LAYOUTS, 'hf-cache', 'ollama'] : LAYOUTS);
  },
  '--ovms-version': async () => choices((await import('../../layout/versions.js')).OVMS_VERSIONS),
  '--sort': async () => choices((await import('../../search.js')).SEARCH_ORDERS),
  '--hub': async (asked) => ({
    candidates: named((await known(asked)).hubs.filter(({ searches }) => searches)),
  }),
  '--converter': converters,
  '--toolchain': toolchains,
  '--set': settings,
  '--to': () => choices(['ollama']),
  '--calibration': files,
  '--mount-from': stored,
};

/** By the name of the value in the help: `--config <file>`. */
const PLACES: Readonly<Record<string, Source>> = { file: files, dir: directories, path: files };

/** Values of an option. One that is not known here has those of its declaration, or none. */
export function valuesOfOption(option: Option, asked: Asked): Promise<Answer> | Answer {
  if (option.argChoices !== undefined) return choices(option.argChoices);
  const place = /[<[]([a-z]+)/.exec(option.flags)?.[1] ?? '';
  const source = OPTIONS[option.long ?? ''] ?? PLACES[place];
  return source?.(asked) ?? NONE;
}

const TOOLCHAIN_ACTIONS = ['list', 'install', 'remove', 'download'] as const;
const BUNDLE_ACTIONS = ['create', 'import', 'show'] as const;
const CONFIG_ACTIONS = ['list', 'get', 'set', 'path', 'init', 'trust'] as const;

const toolchainWords: Source = (asked) =>
  asked.arguments.length === 0 ? choices(TOOLCHAIN_ACTIONS) : toolchains(asked);

const bundleWords: Source = (asked) => {
  const [action] = asked.arguments;
  if (action === undefined) return choices(BUNDLE_ACTIONS);
  return action === 'create' ? models(asked) : files(asked);
};

/** Topics, hubs and what is stored. */
const doctorWords: Source = async (asked) => {
  const { DOCTOR_TOPICS } = await import('../../results.js');
  const topics = choices(DOCTOR_TOPICS.filter((topic) => topic !== 'models')).candidates;
  const hubs = named((await known(asked)).hubs);
  return { candidates: [...topics, ...hubs, ...(await stored(asked)).candidates] };
};

const configWords: Source = async (asked) => {
  const [action, key] = asked.arguments;
  if (action === undefined) return choices(CONFIG_ACTIONS);
  if (action !== 'get' && action !== 'set') return NONE;
  const { keys } = await known(asked);
  if (key === undefined) return { candidates: named(keys) };
  if (action === 'get') return NONE;
  if (key === 'convert.device') return choices(DEVICES);
  const { isPath } = await import('../../config/schema.js');
  if (isPath(key, './')) return files(asked);
  return choices(keys.find(({ name }) => name === key)?.values ?? []);
};

const tokenHubs: Source = async (asked) => ({
  candidates: named((await known(asked)).hubs.filter(({ takesToken }) => takesToken)),
});
const accountHubs: Source = async (asked) => ({
  candidates: named((await known(asked)).hubs.filter(({ hasAccount }) => hasAccount)),
});

const registries: Source = (asked) =>
  asked.arguments.length === 0 ? models(asked) : { candidates: [{ value: 'oci:', title: 'a registry' }] };

/** What the arguments of a command are. */
const ARGUMENTS: Readonly<Record<string, Source>> = {
  push: registries,
  export: modelsAndTarget,
  path: stored,
  remove: stored,
  verify: stored,
  login: tokenHubs,
  logout: tokenHubs,
  whoami: accountHubs,
  converters,
  toolchain: toolchainWords,
  bundle: bundleWords,
  doctor: doctorWords,
  config: configWords,
  completion: () => choices(SHELLS),
};

/** By the name of the argument in the help, for commands that are not listed. */
const NAMED: Readonly<Record<string, Source>> = { reference: models, ref: models, hub: tokenHubs, ...PLACES };

export function valuesOfArgument(argument: Argument, asked: Asked): Promise<Answer> | Answer {
  if (argument.argChoices !== undefined) return choices(argument.argChoices);
  const source = ARGUMENTS[asked.verb ?? ''] ?? NAMED[argument.name()];
  return source?.(asked) ?? NONE;
}
