/** The way to hubs: proxies, certificates, clocks, and each hub's address with those of its mirrors. */
import { X509Certificate } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { rootCertificates } from 'node:tls';
import type { Config } from '../config/schema.js';
import { serverOf, settingsContext, type Context } from '../context.js';
import { abortError, ModeldlError } from '../errors.js';
import type { Hub } from '../hub.js';
import { askSource, type Answer } from '../hub-operations.js';
import { sourcesOf, type Source } from '../mirrors/sources.js';
import { redactSecrets, redactUrl } from '../redact.js';
import { inStore } from '../store/layout.js';
import { createAgents } from '../transfer/agents.js';
import { failure, inTime, type Check, type Finding, type Patient } from './check.js';

/** Certificates are made minutes before they are used; signed requests are refused from a quarter of an hour on. */
const CLOCK_WARNING_MS = 2 * 60_000;
const CLOCK_FAILED_MS = 15 * 60_000;

/** A company has fewer authorities, and systems have more. */
const SYSTEM_LIST = 50;

/**
 * @param only names of hubs to ask; undefined for all
 * @param named by the user: what does not answer of these is a failure
 */
export function networkChecks(
  { offline }: Patient,
  only: ReadonlySet<string> | undefined,
  named: ReadonlySet<string>,
): readonly Check[] {
  const topic = 'network';
  const checks: readonly Check[] = [
    { name: 'proxy', topic, lateFix: 'check `HTTP_PROXY` and `HTTPS_PROXY`', run: proxyFindings },
    { name: 'certificates', topic, run: certificateFindings },
    {
      name: 'hubs',
      topic,
      divides: true,
      run: (patient) => hubFindings(patient, only, named),
    },
  ];
  if (offline === undefined) return checks;
  const skipped: Check = {
    name: '',
    topic,
    run: () => Promise.resolve([{ name: '', status: 'skipped', message: `Nobody is asked: ${offline}` }]),
  };
  return [...checks.filter(({ name }) => name === 'certificates'), skipped];
}

async function proxyFindings({ context, loaded }: Patient): Promise<readonly Finding[]> {
  const { proxy = {} } = loaded.config;
  const schemes = (['https', 'http'] as const).filter((scheme) => (proxy[scheme] ?? '') !== '');
  if (schemes.length === 0)
    return [{ name: 'proxy', status: 'ok', message: 'No proxy: hubs are asked directly' }];
  return Promise.all(schemes.map((scheme) => proxyFinding(context, loaded, scheme, proxy)));
}

async function proxyFinding(
  { signal }: Context,
  { sources }: Patient['loaded'],
  scheme: 'http' | 'https',
  { no, ...proxy }: NonNullable<Config['proxy']>,
): Promise<Finding> {
  const name = `proxy.${scheme}`;
  const source = sources.get(`proxy.${scheme}`) ?? 'default';
  const text = proxy[scheme] ?? '';
  const agents = createAgents({ [scheme]: text }, []);
  try {
    // Throws for an address that is none; nothing is asked.
    const { proxy: host = '' } = await agents.for(new URL(`${scheme}://models.example/`));
    const shown = redactUrl(/:\/\//.test(text) ? text : `http://${text}`);
    const facts = { scheme, address: shown, source, no: no ?? null };
    const problem = await whyNoConnection(host, shown.startsWith('https:') ? 443 : 80, signal);
    const but = (no ?? '') === '' ? '' : `, not for ${no ?? ''}`;
    if (problem === undefined)
      return { name, status: 'ok', message: `${scheme} through ${host}${but} (${source})`, facts };
    const message = `The proxy for ${scheme} does not answer, ${host}: ${problem}`;
    return { name, status: 'failed', message, fix: `correct or unset it: ${source}`, facts };
  } finally {
    agents.close();
  }
}

/** @param host with or without a port */
function whyNoConnection(host: string, usual: number, signal: AbortSignal): Promise<string | undefined> {
  const { hostname, port } = new URL(`tcp://${host}`);
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: hostname.replace(/^\[|\]$/g, ''),
      port: port === '' ? usual : Number(port),
    });
    const end = (): void => {
      socket.destroy();
      reject(abortError(signal));
    };
    signal.addEventListener('abort', end, { once: true });
    const done = (problem?: string): void => {
      signal.removeEventListener('abort', end);
      socket.destroy();
      resolve(problem);
    };
    socket.once('connect', () => {
      done();
    });
    socket.once('error', (error) => {
      done(error.message);
    });
  });
}

async function certificateFindings({ context, loaded }: Patient): Promise<readonly Finding[]> {
  const { environment } = context;
  const named: readonly (readonly [string, string | undefined])[] = [
    [`\`caFile\` of ${loaded.sources.get('caFile') ?? ''}`, loaded.config.caFile],
    ['`SSL_CERT_FILE`', environment['SSL_CERT_FILE']],
    ['`NODE_EXTRA_CA_CERTS`', environment['NODE_EXTRA_CA_CERTS']],
  ];
  const set = named.flatMap(([source, file]) =>
    file === undefined || file === '' ? [] : [{ source, file }],
  );
  const distinct = [...new Map(set.map((one) => [one.file, one])).values()];
  const name = 'certificates';
  if (distinct.length === 0)
    return [{ name, status: 'ok', message: `Those of Node.js, ${rootCertificates.length} authorities` }];
  return Promise.all(
    distinct.map(async ({ source, file }) => {
      const text = await readFile(file, 'utf8').catch((error: unknown) => error);
      if (typeof text === 'string') return { ...certificatesFinding(file, source, text, Date.now()), name };
      const why = text instanceof Error ? text.message : String(text);
      const message = `The certificate file cannot be read: ${why}`;
      return { name, status: 'failed', message, fix: `correct or unset ${source}`, facts: { file, source } };
    }),
  );
}

const PEM = /-----BEGIN (?:TRUSTED )?CERTIFICATE-----[\s\S]*?-----END (?:TRUSTED )?CERTIFICATE-----/g;

/**
 * What a file of certificates is good for. Pure.
 * @param now milliseconds since 1970
 */
export function certificatesFinding(
  file: string,
  source: string,
  text: string,
  now: number,
): Omit<Finding, 'name'> {
  const blocks = text.match(PEM) ?? [];
  const fix = `put the authority's present certificate into it as PEM, or unset ${source}`;
  const facts: Record<string, unknown> = { file, source, certificates: blocks.length };
  const readable: X509Certificate[] = [];
  for (const block of blocks) {
    try {
      readable.push(new X509Certificate(block));
    } catch {
      // Counted below.
    }
  }
  if (readable.length < blocks.length || blocks.length === 0) {
    const what =
      blocks.length === 0 ? 'holds no certificate in PEM form' : 'holds a certificate that cannot be read';
    return { status: 'failed', message: `${file} ${what} (${source})`, fix, facts };
  }
  const expired = readable.filter(({ validTo }) => Date.parse(validTo) < now);
  const future = readable.filter(({ validFrom }) => Date.parse(validFrom) > now);
  // A system's list of authorities holds old ones that no server needs.
  const [first] = readable.length >= SYSTEM_LIST ? [] : [...expired, ...future];
  facts['expired'] = expired.length;
  const count = `${blocks.length} ${blocks.length === 1 ? 'certificate' : 'certificates'}`;
  if (first === undefined)
    return { status: 'ok', message: `${count} in ${file}, beside those of Node.js (${source})`, facts };
  const ended = expired.includes(first);
  const when = new Date(ended ? first.validTo : first.validFrom).toISOString().slice(0, 10);
  const who = first.subject.split('\n').at(-1) ?? 'without a name';
  const message = ended
    ? `A certificate in ${file} has expired on ${when}: ${who}`
    : `A certificate in ${file} is not valid before ${when}: ${who}`;
  const all = expired.length + future.length === readable.length;
  return {
    status: all ? 'failed' : 'warning',
    message,
    fix: ended ? fix : 'look at the clock of this machine',
    facts,
  };
}

interface Asked {
  readonly hub: Hub;
  readonly source: Source;
  readonly ms: number;
  readonly answer?: Answer & { readonly at: number };
  readonly error?: ModeldlError;
}

async function hubFindings(
  patient: Patient,
  only: ReadonlySet<string> | undefined,
  named: ReadonlySet<string>,
): Promise<readonly Finding[]> {
  const { context } = patient;
  const wanted = context.hubs.filter(
    // Those that another's server has would be asked twice.
    (hub) => (only === undefined ? hub.servedBy === undefined : only.has(hub.name)),
  );
  const broken: Finding[] = [];
  const all = await Promise.all(
    wanted.flatMap((hub) => {
      try {
        return sourcesOf(context, hub).map((source) => askOne(patient, hub, source));
      } catch (error) {
        broken.push({ name: hub.name, ...failure(error) });
        return [];
      }
    }),
  );
  const asked = all.filter((one) => one !== undefined);
  const stored = new Set(await readdir(inStore(context.store, 'records')).catch(() => []));
  const nobody = asked.length > 0 && asked.every(({ answer }) => answer === undefined);
  const findings = asked.map((one) => {
    const others = asked.filter(({ hub, source }) => hub === one.hub && source !== one.source);
    const replaced = others.some(({ answer }) => isWell(answer));
    return hubFinding(one, replaced, nobody || named.has(one.hub.name) || isUsed(patient, one.hub, stored));
  });
  const silent = wanted.filter(
    (hub) =>
      named.has(hub.name) &&
      [...broken, ...asked.map((one) => one.hub)].every(({ name }) => name !== hub.name),
  );
  return [
    ...broken,
    ...(await Promise.all(findings)),
    ...silent.map(addresslessFinding),
    ...clockFinding(asked),
  ];
}

/** Whose name was typed is told of. */
function addresslessFinding({ name, title, settings = {} }: Hub): Finding {
  const [variable] = settings['endpoint']?.environment ?? [];
  if (variable !== undefined)
    return {
      name,
      status: 'skipped',
      message: `${title}: no server is set`,
      fix: `set \`${variable}\` or \`hubs.${name}.endpoint\``,
    };
  return {
    name,
    status: 'skipped',
    message: `${title}: has no server of its own; what a reference names is asked for by \`modeldl doctor <reference>\``,
  };
}

/** Did somebody set this hub up here, or pull from it? */
async function isUsed({ loaded, context }: Patient, hub: Hub, stored: ReadonlySet<string>): Promise<boolean> {
  const server = serverOf(hub);
  const isSet = [...loaded.sources.keys()].some((key) => key.startsWith(`hubs.${server}.`));
  if (isSet || stored.has(hub.name)) return true;
  return hub.credentials !== undefined && (await context.credential(hub)) !== undefined;
}

/** Undefined of a hub without a server of its own, as web addresses are. */
async function askOne({ context, limitMs }: Patient, hub: Hub, given: Source): Promise<Asked | undefined> {
  let source = given;
  let started = performance.now();
  let answer: Asked['answer'];
  let error: ModeldlError | undefined;
  const fix = 'check the network and the proxy settings; `--timeout` waits longer';
  try {
    // It may start the program whose configuration it is, which takes its time.
    source = await inTime(context, 2 * limitMs, (limited) => addressed(limited, hub, given), fix);
    if (source.address === undefined) return undefined;
    started = performance.now();
    const ask = async (limited: Context): Promise<Asked['answer']> => ({
      ...(await askSource(limited, hub, source)),
      at: Date.now(),
    });
    answer = await inTime(context, limitMs, ask, fix);
  } catch (thrown) {
    if (!(thrown instanceof ModeldlError) || context.signal.aborted) throw thrown;
    error = thrown;
  }
  const ms = Math.round(performance.now() - started);
  return {
    ...{ hub, source, ms },
    ...(answer === undefined ? {} : { answer }),
    ...(error === undefined ? {} : { error }),
  };
}

/** With the address that another tool's configuration has. */
async function addressed(context: Context, hub: Hub, source: Source): Promise<Source> {
  if (source.kind !== 'origin' || hub.server === undefined) return source;
  const address = new URL(await hub.server(settingsContext(context, hub)));
  address.username = '';
  address.password = '';
  return { kind: 'origin', address: address.href };
}

function isWell(answer: Answer | undefined): boolean {
  return answer !== undefined && answer.status < 500;
}

async function hubFinding(
  { hub, source, ms, answer, error }: Asked,
  replaced: boolean,
  used: boolean | Promise<boolean>,
): Promise<Finding> {
  const address = redactSecrets(source.address ?? '');
  const name = source.kind === 'origin' ? hub.name : `${hub.name}.mirror`;
  const facts = { hub: hub.name, kind: source.kind, address, status: answer?.status ?? null, ms };
  const where = source.kind === 'origin' ? `${hub.title}, ${address}` : `Mirror of ${hub.title}, ${address}`;
  if (answer !== undefined && isWell(answer))
    return { name, status: 'ok', message: `${where}: answers ${answer.status} in ${ms} ms`, facts, ms };
  if (error?.code === 'CONFIG')
    return {
      name,
      status: 'skipped',
      message: `${where}: not asked, ${error.message}`,
      fix: error.hint,
      facts,
      ms,
    };
  const problem = error?.message ?? `${where}: answers ${answer?.status ?? 0}`;
  const isRelevant = await used;
  const status = isRelevant && !replaced ? 'failed' : 'warning';
  const instead = replaced ? '; other sources are asked in its place' : '';
  const about = problem.includes(hub.title) ? problem : `${hub.title}: ${problem}`;
  return { name, status, message: `${about}${instead}`, fix: fixFor(error) ?? 'try again later', facts, ms };
}

/** Certificates that seem too old or too new are often a matter of the clock. */
function fixFor(error: ModeldlError | undefined): string | undefined {
  const code = error?.details['systemCode'];
  return code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID'
    ? `look at the clock of this machine: \`date -u\`; otherwise ${error?.hint ?? ''}`
    : error?.hint;
}

/** A server's clock may be wrong as well: the one that is nearest counts. */
function clockFinding(asked: readonly Asked[]): readonly Finding[] {
  const name = 'clock';
  const differences = asked.flatMap(({ source, answer }) => {
    const theirs = Date.parse(answer?.date ?? '');
    if (answer === undefined || Number.isNaN(theirs)) return [];
    return [{ ms: answer.at - theirs, address: source.address ?? '' }];
  });
  differences.sort((a, b) => Math.abs(a.ms) - Math.abs(b.ms));
  const [nearest] = differences;
  if (nearest === undefined) return [{ name, status: 'skipped', message: 'No server told its time' }];
  const { ms, address } = nearest;
  const off = Math.abs(ms);
  const facts = { differenceSeconds: Math.round(ms / 1000), server: redactSecrets(address) };
  if (off < CLOCK_WARNING_MS)
    return [{ name, status: 'ok', message: 'The clock agrees with those of servers', facts }];
  const way = ms > 0 ? 'ahead of' : 'behind';
  return [
    {
      name,
      status: off < CLOCK_FAILED_MS ? 'warning' : 'failed',
      message: `The clock is ${inWords(off)} ${way} that of ${redactSecrets(address)}: certificates and signatures may be refused`,
      fix: 'set it: `sudo timedatectl set-ntp true`, or in a container that of its host',
      facts,
    },
  ];
}

function inWords(ms: number): string {
  const minutes = Math.round(ms / 60_000);
  if (minutes < 120) return `${minutes} minutes`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} hours` : `${Math.round(hours / 24)} days`;
}
