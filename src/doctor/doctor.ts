/** Looking for what keeps modeldl from working here. Every check is its own: none waits for another, or hides it. */
import { closest, distance } from 'fastest-levenshtein';
import { parse, type Context } from '../context.js';
import { ModeldlError } from '../errors.js';
import type { Reference } from '../reference.js';
import {
  DOCTOR_TOPICS,
  type DoctorCheck,
  type DoctorReport,
  type DoctorStatus,
  type DoctorTopic,
} from '../results.js';
import { cacheChecks } from './cache.js';
import { carryOut, type Check, type Patient } from './check.js';
import { configurationChecks } from './configuration.js';
import { credentialChecks } from './credentials.js';
import { machineChecks } from './machine.js';
import { modelCheck } from './model.js';
import { networkChecks } from './network.js';
import { programChecks, toolchainChecks } from './programs.js';

export interface DoctorOptions {
  /** Milliseconds that each check may take; default 5000. */
  readonly limitMs?: number;
}

/** A hub that answers at all does so in less, and nobody watches a doctor for long. */
const LIMIT_MS = 5000;

/** What was asked for: everything when nothing was. */
interface Asked {
  readonly topics: ReadonlySet<DoctorTopic>;
  readonly hubs: ReadonlySet<string>;
  readonly models: readonly Reference[];
}

/** @throws ModeldlError USAGE for a word that is nothing to look at, INTERRUPTED */
export async function examine(
  opened: Omit<Patient, 'limitMs'>,
  words: readonly string[],
  { limitMs = LIMIT_MS }: DoctorOptions,
): Promise<DoctorReport> {
  const patient = { ...opened, limitMs };
  const asked = readWords(patient.context, words);
  const checks = checksFor(patient, asked);
  const found = named((await Promise.all(checks.map((check) => carryOut(check, patient)))).flat());
  // A check of several topics' worth is asked once, and shown as far as it was asked for.
  const shown = found.filter(({ name, topic }) => words.length === 0 || isAsked(asked, name, topic));
  const order = (topic: DoctorTopic): number => DOCTOR_TOPICS.indexOf(topic);
  const sorted = [...shown].sort((a, b) => order(a.topic) - order(b.topic));
  return { checks: sorted, counts: countsOf(sorted) };
}

/** Each by a name of its own: of several alike, the later ones are numbered. */
function named(checks: readonly DoctorCheck[]): readonly DoctorCheck[] {
  const seen = new Map<string, number>();
  return checks.map((check) => {
    const count = (seen.get(check.name) ?? 0) + 1;
    seen.set(check.name, count);
    return count === 1 ? check : { ...check, name: `${check.name}.${count}` };
  });
}

function checksFor(patient: Patient, asked: Asked): readonly Check[] {
  const { hubs, topics, models } = asked;
  const all = topics.size + hubs.size + models.length === 0;
  const wants = (topic: DoctorTopic): boolean => all || topics.has(topic);
  const only = all || topics.has('network') ? undefined : hubs;
  const onlyCredentials = all || topics.has('credentials') ? undefined : hubs;
  return [
    ...(wants('programs') ? programChecks(patient) : []),
    ...(wants('machine') ? machineChecks() : []),
    ...(wants('configuration') ? configurationChecks() : []),
    ...(wants('cache') ? cacheChecks() : []),
    ...(wants('toolchains') ? toolchainChecks(patient) : []),
    ...(wants('network') || hubs.size > 0 ? networkChecks(patient, only, hubs) : []),
    ...(wants('credentials') || hubs.size > 0 ? credentialChecks(patient, onlyCredentials) : []),
    ...models.map((reference) => modelCheck(patient.context, reference)),
  ];
}

function isAsked({ topics, hubs, models }: Asked, name: string, topic: DoctorTopic): boolean {
  if (topics.has(topic)) return true;
  if (topic === 'models') return models.length > 0;
  return [...hubs].some((hub) => name === `${topic}.${hub}` || name.startsWith(`${topic}.${hub}.`));
}

/** Topics and hubs by their names; all else is a reference. @throws ModeldlError USAGE */
function readWords(context: Context, words: readonly string[]): Asked {
  const topics = new Set<DoctorTopic>();
  const hubs = new Set<string>();
  const models: Reference[] = [];
  for (const word of words) {
    const topic = DOCTOR_TOPICS.find((candidate) => candidate === word && candidate !== 'models');
    if (topic !== undefined) topics.add(topic);
    else if (context.hubs.some(({ name }) => name === word)) hubs.add(word);
    else if (/^[\w-]*$/.test(word)) throw unknownWord(context, word);
    else models.push(parse(context, word));
  }
  return { topics, hubs, models };
}

function unknownWord(context: Context, word: string): ModeldlError {
  const topics = DOCTOR_TOPICS.filter((topic) => topic !== 'models');
  const known = [...topics, ...context.hubs.map(({ name }) => name)];
  const nearest = closest(word, known);
  const meant = distance(word, nearest) <= 2 ? `did you mean \`${nearest}\`; ` : '';
  return new ModeldlError('USAGE', `Nothing to look at: ${word}`, {
    hint: `${meant}expected one of ${topics.join(', ')}, a hub such as \`hf\`, or a reference such as \`hf:${word === '' ? 'org/name' : word}\``,
  });
}

function countsOf(checks: readonly DoctorCheck[]): Readonly<Record<DoctorStatus, number>> {
  const counts = { ok: 0, warning: 0, failed: 0, skipped: 0 };
  for (const { status } of checks) counts[status] += 1;
  return counts;
}
