/** pip's own configuration, asked of the pip that is installed: indexes, credentials in them, proxy, certificate file. */
import { readFile } from 'node:fs/promises';
import * as v from 'valibot';
import { ModeldlError, throwIfAborted } from '../../src/errors.js';
import type { HubNetwork, HubSettingsContext } from '../../src/hub.js';
import { parseJson } from '../../src/json.js';
import { basicAuthorization, sameServer } from '../package-index.js';

/**
 * Fills the options of `pip download` as that command does: pip's files, then `PIP_*`, with its built-in index where
 * neither says one. The modules are pip's inner ones, unchanged in name since pip 20; `pip config list` would not tell
 * the built-in index. The first line and `-E` keep modules in the working directory and on PYTHONPATH from being run; `-I`
 * would do so too, and hide a pip that was installed for the user. A Python without pip has the wheel that `venv` makes
 * environments with, beside `ensurepip` or where the distribution keeps it.
 */
const ASK_PIP = `
import sys
sys.path[:] = [place for place in sys.path if place]
import glob, importlib.util, json, os, sysconfig
if importlib.util.find_spec("pip") is None and (ensurepip := importlib.util.find_spec("ensurepip")):
    bundled = os.path.join(os.path.dirname(ensurepip.origin), "_bundled")
    for place in (bundled, sysconfig.get_config_var("WHEEL_PKG_DIR"), "/usr/share/python-wheels"):
        sys.path += sorted(glob.glob(os.path.join(place or bundled, "pip-*.whl")))[-1:]
from pip._internal.cli import cmdoptions
from pip._internal.cli.parser import ConfigOptionParser
parser = ConfigOptionParser(usage="", name="download", add_help_option=False, isolated=False)
for group in (cmdoptions.general_group, cmdoptions.index_group):
    parser.add_option_group(cmdoptions.make_option_group(group, parser))
options = parser.get_default_values()
print(json.dumps({
    "indexes": [] if options.no_index else [options.index_url, *options.extra_index_urls],
    "proxy": options.proxy or None,
    "cert": options.cert or None,
}))
`;

export const LOGIN_HINT = "put the account into pip's `index-url` (`pip config set global.index-url …`)";

/** Starting Python and pip takes under a second; a minute is for a cold disk. */
const PIP_TIMEOUT_MS = 60_000;
const PYTHONS = ['python3', 'python'];

const pipSchema = v.object({
  indexes: v.array(v.string()),
  proxy: v.nullable(v.string()),
  cert: v.nullable(v.string()),
});

export type PipOptions = v.InferOutput<typeof pipSchema>;

/** An index that may be asked: its address without user information, and the header that this stood for. */
export interface PackageIndex {
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** What names it: `pip's configuration`. */
  readonly source: string;
}

/** One asking per program run: the environment object is the run's. */
const askings = new WeakMap<HubSettingsContext['environment'], Promise<PipOptions>>();

/**
 * The indexes in the order they are asked: `hubs.pypi.endpoint` alone, else pip's index and its extra ones.
 * @throws ModeldlError CONFIG when nothing says which
 */
export async function packageIndexes(
  context: HubSettingsContext,
  signal?: AbortSignal,
): Promise<readonly PackageIndex[]> {
  const endpoint = context.settings['endpoint'];
  if (typeof endpoint === 'string') return [toIndex(endpoint, 'hubs.pypi.endpoint')];
  const { indexes } = await pipOptions(context, signal);
  if (indexes.length > 0) return indexes.map((text) => toIndex(text, "pip's configuration"));
  throw new ModeldlError('CONFIG', 'pip is configured to use no package index (`no-index`)', {
    hint: 'set `hubs.pypi.endpoint` to the index that may be asked',
    details: { key: 'hubs.pypi.endpoint' },
  });
}

/** The header for an address: that of the index on the same server. */
export async function pipAuthorization(
  url: URL,
  context: HubSettingsContext,
): Promise<Readonly<Record<string, string>> | undefined> {
  const indexes = await ifKnown(packageIndexes(context));
  return indexes?.find((index) => index.headers !== undefined && sameServer(index.url, url))?.headers;
}

/** pip's `cert` and `proxy`. */
export async function pipNetwork(context: HubSettingsContext): Promise<HubNetwork> {
  if (typeof context.settings['endpoint'] === 'string') return {};
  const { cert, proxy } = (await ifKnown(pipOptions(context))) ?? { cert: null, proxy: null };
  const ca =
    cert === null
      ? undefined
      : await readFile(cert, 'utf8').catch((error: unknown) => unreadable(cert, error));
  return {
    ...(ca === undefined ? {} : { ca: [ca] }),
    ...(proxy === null ? {} : { proxy: { http: proxy, https: proxy } }),
  };
}

/** Without a pip there is nothing to add to a request; only resolving a reference needs its word. */
async function ifKnown<Value>(asking: Promise<Value>): Promise<Value | undefined> {
  return asking.catch((error: unknown) => {
    if (error instanceof ModeldlError && error.code === 'CONFIG') return undefined;
    throw error;
  });
}

function unreadable(cert: string, cause: unknown): never {
  throw new ModeldlError('CONFIG', `Cannot read the certificates that pip is configured with: ${cert}`, {
    hint: "correct pip's `cert`, or unset `PIP_CERT`",
    cause,
    details: { file: cert },
  });
}

function pipOptions(context: HubSettingsContext, signal?: AbortSignal): Promise<PipOptions> {
  const known = askings.get(context.environment);
  if (known !== undefined) return known;
  const asking = askPip(context, signal);
  askings.set(context.environment, asking);
  asking.catch(() => askings.delete(context.environment));
  return asking;
}

async function askPip(context: HubSettingsContext, signal: AbortSignal | undefined): Promise<PipOptions> {
  const reasons: string[] = [];
  for (const python of PYTHONS) {
    const { execa } = await import('execa');
    const result = await execa(python, ['-E', '-c', ASK_PIP], {
      env: { ...context.environment },
      extendEnv: false,
      cwd: context.home,
      stdin: 'ignore',
      timeout: PIP_TIMEOUT_MS,
      reject: false,
      ...(signal === undefined ? {} : { cancelSignal: signal }),
    });
    throwIfAborted(signal);
    const answer = v.safeParse(pipSchema, parseJson(result.stdout));
    if (!result.failed && answer.success) return answer.output;
    reasons.push(`\`${python}\`: ${lastLine(result.stderr) ?? result.code ?? 'no usable answer'}`);
  }
  throw new ModeldlError('CONFIG', `pip cannot be asked for its package index: ${reasons.join('; ')}`, {
    hint: 'install pip, or set `hubs.pypi.endpoint` to the address of an index (it ends with `/simple`)',
    details: { key: 'hubs.pypi.endpoint' },
  });
}

function lastLine(text: string): string | undefined {
  return text.trim().split('\n').at(-1)?.trim() || undefined;
}

function toIndex(text: string, source: string): PackageIndex {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new ModeldlError('CONFIG', `${source} names a package index that is no web address`, {
      hint: 'set `hubs.pypi.endpoint` to the address of an index (it ends with `/simple`)',
      details: { key: 'hubs.pypi.endpoint' },
    });
  }
  if (url.username === '') return { url, source };
  const headers = { authorization: basicAuthorization(url) };
  url.username = '';
  url.password = '';
  return { url, headers, source };
}
