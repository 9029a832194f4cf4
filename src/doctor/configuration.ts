/** Files, plugins and variables that decide what modeldl does here. */
import { isTrue } from '../config/environment.js';
import { redactUrl } from '../redact.js';
import { failure, type Check, type Finding, type Patient } from './check.js';

export function configurationChecks(): readonly Check[] {
  return [
    { name: 'files', topic: 'configuration', run: (patient) => Promise.resolve(fileFindings(patient)) },
    { name: 'plugins', topic: 'configuration', run: (patient) => Promise.resolve(pluginFindings(patient)) },
    {
      name: 'environment',
      topic: 'configuration',
      run: (patient) => Promise.resolve(environmentFindings(patient)),
    },
  ];
}

function fileFindings({ loaded, problems, told }: Patient): readonly Finding[] {
  const name = 'files';
  const facts = { files: loaded.files.map(({ path, kind }) => ({ path, kind })) };
  const broken = problems.map((problem): Finding => {
    const variable = problem.details['variable'];
    return { name: typeof variable === 'string' ? `environment.${variable}` : name, ...failure(problem) };
  });
  const remarks = told.map((message): Finding => ({ name, status: 'warning', message }));
  if (broken.some((finding) => finding.name === name)) return [...broken, ...remarks];
  const paths = loaded.files.map(({ path }) => path);
  const message =
    paths.length === 0 ? 'No configuration file: defaults and variables count' : paths.join(', ');
  return [...broken, { name, status: 'ok', message, facts }, ...remarks];
}

function pluginFindings({ states }: Patient): readonly Finding[] {
  return states.map(({ name: plugin, state, error, configuredIn, from, kind }) => {
    const name = `plugins.${plugin}`;
    const facts = { from, kind, configuredIn, state };
    if (state === 'loaded')
      return { name, status: 'ok', message: `${kind ?? 'plugin'} ${plugin} of ${from}`, facts };
    if (state === 'untrusted') {
      const message = `The plugin ${plugin} is not run before it is trusted: ${configuredIn ?? 'the project file'} names it`;
      return { name, status: 'warning', message, fix: 'read it, then run `modeldl config trust`', facts };
    }
    const message = error?.message ?? `The plugin ${plugin} was not loaded`;
    return { name, status: 'failed', message, fix: error?.hint ?? undefined, facts };
  });
}

/** Variables that say different things about one matter. */
function environmentFindings({ context, loaded, offline }: Patient): readonly Finding[] {
  const { environment, hubs } = context;
  const name = 'environment';
  const of = (variable: string): string | undefined => {
    const value = environment[variable]?.trim();
    return value === '' ? undefined : value;
  };
  const findings: Finding[] = [];
  const warn = (message: string, fix: string): void => {
    // Hubs of one server name the same variables.
    if (findings.every((finding) => finding.message !== message))
      findings.push({ name: `environment.${variableIn(message)}`, status: 'warning', message, fix });
  };
  for (const lower of ['http_proxy', 'https_proxy', 'all_proxy', 'no_proxy']) {
    const upper = lower.toUpperCase();
    const [one, other] = [environment[lower]?.trim(), of(upper)];
    if (one !== undefined && other !== undefined && one !== other)
      warn(
        `\`${lower}\` and \`${upper}\` differ, and \`${lower}\` counts`,
        `unset one of them: \`unset ${lower}\``,
      );
  }
  // Names alone: some of the values are secret.
  for (const hub of hubs) {
    const settings = Object.values(hub.settings ?? {}).map((setting) => setting.environment ?? []);
    for (const names of [hub.credentials?.environment ?? [], ...settings]) {
      const set = names.filter((variable) => of(variable) !== undefined);
      const [first] = set;
      if (first === undefined || new Set(set.map(of)).size < 2) continue;
      const listed = set.map((variable) => `\`${variable}\``).join(' and ');
      warn(`${listed} differ, and \`${first}\` counts`, `\`unset ${set.slice(1).join(' ')}\``);
    }
  }
  const { http, https, no } = loaded.config.proxy ?? {};
  if (no?.split(/[\s,]+/).includes('*') === true && ((http ?? '') !== '' || (https ?? '') !== ''))
    warn('`NO_PROXY` is `*`, so that no proxy is used although one is set', 'name hosts in `NO_PROXY`');
  if ((http ?? '') !== '' && https === undefined)
    warn('A proxy is set for http alone, and hubs are asked by https: directly', 'set `HTTPS_PROXY` too');
  const [own, others] = [of('MODELDL_OFFLINE'), of('HF_HUB_OFFLINE')];
  if (own !== undefined && others !== undefined && isTrue(own) !== isTrue(others))
    warn(
      '`MODELDL_OFFLINE` and `HF_HUB_OFFLINE` differ, and `MODELDL_OFFLINE` counts',
      '`unset HF_HUB_OFFLINE`',
    );
  else if (offline?.includes('HF_HUB_OFFLINE') === true)
    warn(
      '`HF_HUB_OFFLINE` is set: modeldl asks no hub at all',
      '`unset HF_HUB_OFFLINE`, or set `MODELDL_OFFLINE=0`',
    );
  if (of('NODE_TLS_REJECT_UNAUTHORIZED') === '0')
    warn(
      '`NODE_TLS_REJECT_UNAUTHORIZED=0` is ignored: certificates are verified always',
      'name the certificate in `caFile` or `SSL_CERT_FILE`, and unset it',
    );
  for (const variable of ['XDG_CACHE_HOME', 'XDG_CONFIG_HOME'])
    if (of(variable)?.startsWith('/') === false)
      warn(
        `\`${variable}\` is not absolute, and does not count: ${redactUrl(of(variable) ?? '')}`,
        `set it to an absolute path, or unset it`,
      );
  const home = environment['HOME'];
  if (home === undefined || !/^(\/|[A-Za-z]:)/.test(home))
    warn(
      `\`HOME\` is not set to an absolute path: ${context.home} is taken`,
      'set `HOME`, or `MODELDL_CACHE_DIR` and `XDG_CONFIG_HOME`',
    );
  if (findings.length > 0) return findings;
  return [{ name, status: 'ok', message: 'No variables that contradict each other' }];
}

/** The first that a message names. */
function variableIn(message: string): string {
  return /`(\w+)/.exec(message)?.[1] ?? 'proxy';
}
