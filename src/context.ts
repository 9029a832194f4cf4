/** What every operation is given: built once per program run by `src/index.ts`, handed down, never global. */
import { existsSync } from 'node:fs';
import { access } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { LimitFunction } from 'p-limit';
import type { BlobSource } from './adopt.js';
import type { Converter, Toolchain, ToolchainSettings } from './converter.js';
import { ModeldlError, type ErrorCode } from './errors.js';
import type { Emit } from './events.js';
import type { Credential, Hub, HubContext, HubSettingsContext, Snapshot } from './hub.js';
import {
  formatReference,
  hasScheme,
  looksLikePath,
  parseReference,
  type Reference,
  type ReferenceSyntax,
} from './reference.js';
import type { ClaimOptions } from './store/claim.js';
import type { Session } from './store/session.js';
import type { Store } from './store/layout.js';
import type { ConnectionBudget } from './transfer/helpers.js';
import type { HttpClient } from './transfer/http.js';

export interface Context {
  readonly cwd: string;
  readonly home: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  readonly emit: Emit;
  readonly hubs: readonly Hub[];
  readonly converters: readonly Converter[];
  readonly toolchains: readonly Toolchain[];
  readonly syntaxes: readonly ReferenceSyntax[];
  readonly store: Store;
  /** Caches that are only read, nearest first. */
  readonly lower: readonly Store[];
  /** Where bytes may be found on this machine before they are fetched, best first. */
  readonly elsewhere: readonly BlobSource[];
  /** Listings come from a lock: none of them is kept as what its hub says. */
  readonly locked?: true;
  /**
   * Throws for what a registry says that a model is, where that is not enough: a lock knows better, or is to tell what
   * the hub says.
   */
  readonly refuseBelieved?: (listing: Snapshot) => void;
  /** The HTTP client with a hub's own rules and credentials. */
  httpFor(hub: Hub): Promise<HttpClient>;
  /** What requests carried, and no text that is handed on may hold: servers repeat it in what they answer. */
  readonly secrets: ReadonlySet<string>;
  /** Addresses of sources that did not answer in this run: others are asked in their place. */
  readonly unreachable: Set<string>;
  readonly freshness: Freshness;
  /** Bound on waiting for other processes, milliseconds. */
  readonly maxWaitMs: number;
  readonly spaceCheck: boolean;
  /** Large files at once. */
  readonly jobs: number;
  /** Bounds that over all models that are pulled at the same time. */
  transfers<Result>(work: () => Promise<Result>): Promise<Result>;
  /** Revisions that this process brings in, each for one model at a time: the next waits as long as that takes. */
  readonly turns: Map<string, LimitFunction>;
  readonly connections: ConnectionBudget;
  readonly toolchainSettings: ToolchainSettings;
  hubSettings(hub: string): Readonly<Record<string, unknown>>;
  credential(hub: Hub): Promise<Credential | undefined>;
  /** The session of this process in the store, opened on first use. @throws ModeldlError DISK for a read-only cache */
  session(): Promise<Session>;
}

/** `offline` opens no socket; `stored` asks only for what is not stored; `refresh` accepts no stale answer. */
export type Freshness = 'offline' | 'stored' | 'online' | 'refresh';

/** Parses what a user typed, in the context's directory. */
export function parse(context: Context, text: string, unpack = false): Reference {
  const endpoints: Record<string, string | undefined> = {};
  for (const hub of context.hubs) {
    try {
      endpoints[hub.name] = hub.endpoint?.(settingsContext(context, hub));
    } catch (error) {
      // Pasted addresses of that hub are none then; who asks for its models is told, and nobody else.
      if (!(error instanceof ModeldlError) || error.code !== 'CONFIG') throw error;
    }
  }
  const { cwd, home } = context;
  return parseReference(text, context.syntaxes, { cwd, home, unpack, endpoints, exists: existsSync });
}

/** Codes of errors that a file's name, read as a model's, leads to. */
const NOT_A_MODEL = new Set<ErrorCode>(['USAGE', 'NOT_FOUND', 'AUTH', 'NETWORK']);

/** An error about what a user typed; when that names a file here, the hint says how a file is written. */
export async function withFileHint(context: Context, text: string, error: unknown): Promise<unknown> {
  if (!(error instanceof ModeldlError) || !NOT_A_MODEL.has(error.code)) return error;
  if (looksLikePath(text) || hasScheme(text) || text === '') return error;
  const exists = await access(resolve(context.cwd, text)).then(
    () => true,
    () => false,
  );
  if (!exists) return error;
  const { code, message, hint, cause, details } = error;
  const otherwise = hint === undefined ? '' : `; otherwise ${hint}`;
  return new ModeldlError(code, message, {
    hint: `a file is written \`./${text}\`${otherwise}`,
    cause,
    details,
  });
}

/** How long others are waited for, and that it is told. @param what is waited for */
export function waitingFor(
  { maxWaitMs, signal, emit }: Pick<Context, 'maxWaitMs' | 'signal' | 'emit'>,
  what: string,
): ClaimOptions {
  return {
    maxWaitMs,
    signal,
    onWait: (holder) => {
      emit({ type: 'waiting', what, holder });
    },
  };
}

export function format(context: Context, reference: Reference): string {
  return formatReference(reference, context.syntaxes);
}

/** @throws ModeldlError USAGE */
export function hubNamed(context: Context, name: string): Hub {
  const hub = context.hubs.find((candidate) => candidate.name === name);
  if (hub !== undefined) return hub;
  throw new ModeldlError('USAGE', `Unknown hub: ${name}`, {
    hint: `known hubs: ${context.hubs.map((candidate) => candidate.name).join(', ')}`,
  });
}

/** Name of the hub that settings and tokens are kept for. */
export function serverOf({ name, servedBy = name }: Pick<Hub, 'name' | 'servedBy'>): string {
  return servedBy;
}

/** What a hub may know before any request. */
export function settingsContext(context: Context, hub: Hub): HubSettingsContext {
  const { environment, home } = context;
  return { settings: context.hubSettings(serverOf(hub)), environment, home };
}

/** What a hub may use while it resolves a reference; `stored` is what the store can tell it about that. */
export async function hubContext(
  context: Context,
  hub: Hub,
  stored: Pick<HubContext, 'known'> = {},
): Promise<HubContext> {
  const settings = settingsContext(context, hub);
  const http = await context.httpFor(hub);
  return {
    ...settings,
    fetch: http.fetch,
    signal: context.signal,
    credential: async (url) => {
      const spec = hub.credentials;
      if (spec === undefined || new URL(url).origin !== new URL(spec.endpoint(settings)).origin)
        return undefined;
      return context.credential(hub);
    },
    ...stored,
    warn: (message) => {
      context.emit({ type: 'warning', message });
    },
  };
}
