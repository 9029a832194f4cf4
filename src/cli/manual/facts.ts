/** What a manual page says beyond `--help`. README.md has the same tables. */
import { EXIT_CODES, type ErrorCode } from '../../errors.js';

type ExitCode = (typeof EXIT_CODES)[ErrorCode];

const MEANINGS: Readonly<Record<ExitCode | 0, string>> = {
  0: 'done',
  1: 'a bug, of modeldl or a plugin; `doctor`: a check failed',
  2: 'bad arguments or configuration',
  3: 'no such model, revision or file, or not stored',
  4: 'token missing, wrong or without access',
  5: 'unreachable; offline and not stored',
  6: 'bytes do not match their digest; a hostile archive or name',
  7: 'space, permission, read-only',
  8: 'the conversion failed',
  9: 'cannot be converted, or the toolchain may not be installed',
  10: 'another process holds what is needed past `--max-wait`',
  11: 'several references or hubs, some failed',
  130: 'Ctrl-C',
  143: 'SIGTERM',
};

export interface ExitStatus {
  readonly code: number;
  readonly names: readonly string[];
  readonly meaning: string;
}

export const EXIT_STATUSES: readonly ExitStatus[] = Object.entries(MEANINGS).map(([code, meaning]) => ({
  code: Number(code),
  names: Object.entries(EXIT_CODES).flatMap(([name, value]) => (value === Number(code) ? [name] : [])),
  meaning,
}));

export const VARIABLES: readonly (readonly [names: readonly string[], what: string])[] = [
  [['MODELDL_CACHE_DIR'], '`cacheDir`'],
  [['MODELDL_CONFIG'], "a file instead of the project's, as `--config`"],
  [['MODELDL_OFFLINE', 'HF_HUB_OFFLINE'], '`offline`: `1` or `0`'],
  [['MODELDL_CACHE_READ_FROM'], '`cache.readFrom`, separated as `PATH` is'],
  [['MODELDL_ADOPT'], '`adopt`'],
  [['HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE', 'HF_HOME'], "where the cache of Hugging Face's own client is"],
  [['OLLAMA_MODELS'], 'where the Ollama store is'],
  [['OLLAMA_HOST'], 'which Ollama `pull --daemon` asks'],
  [['HF_ENDPOINT'], '`hubs.hf.endpoint`'],
  [['HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN'], 'token of Hugging Face'],
  [['GETI_HOST', 'GETI_WORKSPACE_ID'], '`hubs.geti.endpoint`, `hubs.geti.workspace`'],
  [['GETI_TOKEN'], 'personal access token of Geti 2.x'],
  [['GH_TOKEN', 'GITHUB_TOKEN'], 'token of GitHub, for the hub `ultralytics`'],
  [['HF_TOKEN_PATH', 'HF_HOME'], 'where `hf auth login` keeps its token'],
  [['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'NO_PROXY'], 'proxies; lower case too, and that wins'],
  [['SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS'], 'extra certificates, beside `caFile`'],
  [['XDG_CACHE_HOME', 'XDG_CONFIG_HOME'], "where the cache and the user's file are on Linux"],
  [['SOURCE_DATE_EPOCH'], 'the time of all that `export` writes, in seconds since 1970'],
  [['NO_COLOR', 'CI'], 'no colours; nothing is asked'],
  [['TERM'], '`dumb`: no colours, no bars, nothing is asked'],
  [['GITHUB_ACTIONS'], '`true`: errors are annotations'],
];

/** On Linux; `modeldl config path` and `modeldl config get cacheDir` tell them everywhere. */
export const FILES: readonly (readonly [path: string, what: string])[] = [
  [
    '~/.cache/modeldl',
    'models, conversions and environments of converters; `modeldl config get cacheDir` tells where',
  ],
  [
    '~/.config/modeldl/config.json',
    "the user's configuration, or `config.yaml`; `modeldl config path` tells where, `modeldl config set` changes it",
  ],
  ['~/.config/modeldl/credentials.json', 'tokens that `modeldl login` keeps, mode 0600'],
  [
    'modeldl.config.json',
    "the project's configuration, also `modeldl.config.yaml`, `.modeldlrc` or `package.json#modeldl`: the nearest, upwards to the repository's root",
  ],
  ['modeldl.lock', 'beside it: what its models are, as `modeldl lock` writes and `modeldl sync` reads it'],
];
