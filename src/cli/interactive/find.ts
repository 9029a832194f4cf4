/** Models for a question, found while their name is typed: stored ones, those at hubs, and what is typed itself. */
import { setTimeout as pause } from 'node:timers/promises';
import { ModeldlError } from '../../errors.js';
import type { Modeldl } from '../../index.js';
import type { FoundModel, ListedModel } from '../../results.js';
import { formatBytes } from '../format.js';
import { oneLine } from './fit.js';

const PAUSE_MS = 250;
/** A hub that is slower is left out, milliseconds: whoever types does not wait. */
const PATIENCE_MS = 3_000;
/** A hub that did not answer is left alone so long, milliseconds. */
const DOWN_MS = 60_000;
/** Shorter words are in the names of too many. */
const SHORTEST = 2;
/** Of each hub. */
const HITS = 8;
/** More are not looked through: another letter finds the one that is meant. */
const MOST_STORED = 30;

export interface Candidate {
  readonly reference: string;
  readonly from: 'stored' | 'hub' | 'typed';
  /** Size, licence and what else helps to choose. */
  readonly facts: string;
}

export interface Found {
  readonly candidates: readonly Candidate[];
  /** Why there may be more: hubs that did not answer, models that are not shown. */
  readonly remarks: readonly string[];
}

export interface FinderOptions {
  /** Ask hubs too. */
  readonly hubs: boolean;
  /** How long nothing more is typed before hubs are asked, milliseconds; default 250. */
  readonly pauseMs?: number;
  readonly now: () => number;
}

export type Finder = (term: string, signal: AbortSignal) => Promise<Found>;

/** A path, an address, or a reference that names its hub: nothing that has to be searched. */
export function isClear(term: string): boolean {
  return /^[.~/\\]|^[a-z][a-z0-9+.-]*:/i.test(term);
}

/** Finds what a term may mean. Hubs are asked once nothing is typed for a moment; the signal ends their requests. */
export function createFinder(
  modeldl: Modeldl,
  stored: readonly ListedModel[],
  { hubs, pauseMs = PAUSE_MS, now }: FinderOptions,
): Finder {
  const down = new Map<string, { readonly until: number; readonly message: string }>();
  /** Hubs that can be searched, once it is known. */
  let searched: readonly string[] | undefined;

  const atHubs = async (term: string, signal: AbortSignal): Promise<readonly FoundModel[]> => {
    for (const [hub, { until }] of down) if (until <= now()) down.delete(hub);
    const asked = searched?.filter((hub) => !down.has(hub));
    if (asked?.length === 0) return [];
    await pause(pauseMs, undefined, { signal });
    const options = { limit: HITS, timeoutMs: PATIENCE_MS, signal };
    try {
      const {
        models,
        hubs: answered,
        errors,
      } = await modeldl.search(term, asked === undefined ? options : { ...options, hubs: asked });
      const failed = errors.flatMap(({ code, message, details: { hub } }) =>
        // What a hub has no answer to is no failure.
        code === 'USAGE' || typeof hub !== 'string' ? [] : [{ hub, message }],
      );
      searched ??= [...answered.map(({ hub }) => hub), ...failed.map(({ hub }) => hub)];
      for (const { hub, message } of failed) down.set(hub, { until: now() + DOWN_MS, message });
      return models;
    } catch (error) {
      // No hub can be asked.
      if (!(error instanceof ModeldlError) || error.code !== 'USAGE') throw error;
      return [];
    }
  };

  return async (term, signal) => {
    const mine = stored.filter(({ reference }) => isAbout(reference, term));
    const asks = hubs && term.length >= SHORTEST && !isClear(term);
    const hits = asks ? await atHubs(term, signal) : [];
    const known = mine.slice(0, MOST_STORED).map(storedCandidate);
    const there = hits.map(hubCandidate);
    const same = [...known, ...there].some(({ reference }) => reference === term);
    const typed: readonly Candidate[] =
      term === '' || same ? [] : [{ reference: term, from: 'typed', facts: 'as typed' }];
    const rest = mine.length - known.length;
    return {
      candidates: isClear(term) ? [...typed, ...known] : [...known, ...there, ...typed],
      remarks: [
        ...(rest > 0 ? [`${rest} more are stored: type a part of the name`] : []),
        ...(asks
          ? [...down].map(([hub, { message }]) =>
              oneLine(message.startsWith(hub) ? message : `${hub}: ${message}`),
            )
          : []),
      ],
    };
  };
}

/** Every word of the term is in the reference. */
export function isAbout(reference: string, term: string): boolean {
  const text = reference.toLowerCase();
  return term
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

function storedCandidate({ reference, bytes }: ListedModel): Candidate {
  return { reference, from: 'stored', facts: `stored, ${formatBytes(bytes)}` };
}

function hubCandidate(model: FoundModel): Candidate {
  const { reference, bytes, scale, license, task, gated } = model;
  const facts = [
    bytes === null ? (scale === null ? 'size unknown' : `size ${scale}`) : formatBytes(bytes),
    license ?? 'licence unknown',
    task,
    model.private === true ? 'private' : gated === true ? 'gated' : null,
  ];
  return { reference, from: 'hub', facts: facts.filter((fact) => fact !== null).join(', ') };
}
