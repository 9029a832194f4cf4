/**
 * Sessions: who the living commands are, what blobs they want, and, by a counter, that they live. Others decide by it
 * whether a claim is still held and what a prune may take.
 *
 * Three files each: `<id>.json` says who it is and is written once, `<id>.beat` holds the counter, `<id>.wants` one
 * sha256 or name of an environment a line, appended.
 */
import { appendFile, open, readdir, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { kill, pid } from 'node:process';
import * as v from 'valibot';
import { diskError, systemErrorCode } from '../errors.js';
import { parseJson } from '../json.js';
import { readText, writeJson } from './json.js';
import { assertWritable, inStore, uniqueName, type Store } from './layout.js';

const identitySchema = v.object({
  host: v.string(),
  bootId: v.string(),
  /** Linux: identity of the pid namespace, since a pid means nothing in another container. */
  pidNamespace: v.string(),
  pid: v.pipe(v.number(), v.integer(), v.minValue(1)),
  /** Clock ticks after boot at which the process started, so that a reused pid is not taken for it. */
  startTime: v.string(),
});

type SessionIdentity = v.InferOutput<typeof identitySchema>;

/** A session as other processes see it. */
export interface SessionState {
  readonly id: string;
  /** Undefined when its file is damaged or not written yet: then only the counter tells. */
  readonly identity: SessionIdentity | undefined;
  /** Text that changes while the session lives. */
  readonly counter: string;
}

export interface Session {
  readonly id: string;
  /**
   * Declares what this command relies on until it ends, so that no other process takes it away: blobs by their sha256,
   * environments by the name of their directory.
   */
  want(names: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

/** A living session moves its counter this often, milliseconds: four times before others take it for dead. */
const HEARTBEAT_MS = 5_000;
/** The counter is overwritten in place, so its width is fixed. */
const COUNTER_DIGITS = 12;

function sessionPath(store: Store, id: string, kind: 'json' | 'beat' | 'wants'): string {
  return inStore(store, 'sessions', `${id}.${kind}`);
}

/** @throws ModeldlError DISK */
export async function openSession(store: Store, heartbeatMs = HEARTBEAT_MS): Promise<Session> {
  assertWritable(store);
  const id = uniqueName();
  const identity = await ownIdentity(store);
  const wants = new Set<string>();
  let counter = 0;
  let closed = false;
  let writing: Promise<unknown> = Promise.resolve();

  const announce = async (): Promise<void> => {
    await writeJson(store, sessionPath(store, id, 'json'), identity, false);
    try {
      await writeFile(sessionPath(store, id, 'beat'), digits(counter));
      await writeFile(sessionPath(store, id, 'wants'), lines(wants));
    } catch (error) {
      throw diskError(error, sessionPath(store, id, 'beat'));
    }
  };
  const beat = async (): Promise<void> => {
    if (closed) return;
    counter += 1;
    try {
      const file = await open(sessionPath(store, id, 'beat'), 'r+');
      try {
        await file.write(digits(counter), 0);
      } finally {
        await file.close();
      }
    } catch (error) {
      // A prune took this session for dead, as after a long suspension.
      if (systemErrorCode(error) === 'ENOENT') await announce();
    }
  };

  await announce();
  // A missed heartbeat is not an error: at worst another process takes over, which claims notice.
  const timer = setInterval(() => {
    writing = writing.then(beat).catch(() => undefined);
  }, heartbeatMs);
  timer.unref();
  return {
    id,
    want: async (names) => {
      const fresh = names.filter((name) => !wants.has(name));
      if (fresh.length === 0) return;
      for (const name of fresh) wants.add(name);
      const path = sessionPath(store, id, 'wants');
      await appendFile(path, lines(fresh)).catch((error: unknown) => {
        throw diskError(error, path);
      });
    },
    close: async () => {
      closed = true;
      clearInterval(timer);
      await writing;
      // On a disk that failed nothing can be removed; why, the command itself has said.
      await removeSession(store, id).catch(() => undefined);
    },
  };
}

function digits(counter: number): string {
  return String(counter).padStart(COUNTER_DIGITS, '0');
}

function lines(names: Iterable<string>): string {
  return [...names].map((name) => `${name}\n`).join('');
}

export async function removeSession(store: Store, id: string): Promise<void> {
  for (const kind of ['wants', 'beat', 'json'] as const)
    await rm(sessionPath(store, id, kind), { force: true, recursive: true });
}

/** What a file says; where it cannot be read, when it was written. */
async function textOrTime(path: string): Promise<string | undefined> {
  return readText(path).catch(async () => (await stat(path).catch(() => undefined))?.mtimeMs.toString());
}

/** Undefined when there is no such session: it ended. */
export async function readSession(store: Store, id: string): Promise<SessionState | undefined> {
  const text = await textOrTime(sessionPath(store, id, 'json'));
  const counter = await textOrTime(sessionPath(store, id, 'beat'));
  if (text === undefined && counter === undefined) return undefined;
  const parsed = v.safeParse(identitySchema, parseJson(text ?? ''));
  return { id, identity: parsed.success ? parsed.output : undefined, counter: counter ?? '' };
}

export async function readWants(store: Store, id: string): Promise<readonly string[]> {
  return ((await readText(sessionPath(store, id, 'wants'))) ?? '').split('\n').filter((line) => line !== '');
}

/** Another session, not known to have ended, that wants this. */
export async function otherWanting(
  store: Store,
  own: Session,
  name: string,
): Promise<SessionState | undefined> {
  for (const session of await listSessions(store)) {
    if (session.id === own.id || (await isGone(store, session)) === true) continue;
    if ((await readWants(store, session.id)).includes(name)) return session;
  }
  return undefined;
}

/** When a session began and when its counter last moved, by the file system's clock in milliseconds. */
export async function sessionTimes(store: Store, id: string): Promise<{ startedMs: number; beatMs: number }> {
  const times: number[] = [];
  for (const kind of ['json', 'beat'] as const) {
    const found = await stat(sessionPath(store, id, kind)).catch(() => undefined);
    if (found !== undefined) times.push(found.mtimeMs);
  }
  return { startedMs: Math.min(...times), beatMs: Math.max(...times) };
}

export async function listSessions(store: Store): Promise<readonly SessionState[]> {
  const directory = inStore(store, 'sessions');
  const names = await readdir(directory).catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw diskError(error, directory);
  });
  const sessions: SessionState[] = [];
  for (const id of new Set(names.map((name) => name.slice(0, name.indexOf('.'))))) {
    const session = await readSession(store, id);
    if (session !== undefined) sessions.push(session);
  }
  return sessions;
}

async function ownIdentity(store: Store): Promise<SessionIdentity> {
  return {
    host: hostname(),
    bootId: store.bootId,
    pidNamespace: await pidNamespace(),
    pid,
    startTime: (await startTime(pid)) ?? 'unknown',
  };
}

function pidNamespace(): Promise<string> {
  return readlink('/proc/self/ns/pid').catch(() => 'none');
}

/** Start time of a process by /proc (field 22 of stat, after the command in parentheses); `zombie` for a dead one. */
async function startTime(process: number): Promise<string | undefined> {
  const text = await readText(`/proc/${process}/stat`).catch(() => undefined);
  if (text === undefined) return undefined;
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? 'zombie' : fields[19];
}

/** A machine that is up for longer than this would have seen the counter of a living session move, milliseconds. */
const SETTLED_UPTIME_MS = 20_000;

/**
 * Did this session's machine start again since? It has the name of this one, or lost what it said of itself, and its
 * counter stands still since before this one started: after a power cut nobody need wait to see that.
 */
async function isOfEarlierBoot(store: Store, { id, identity }: SessionState): Promise<boolean> {
  if (identity !== undefined && (identity.host !== hostname() || identity.bootId === store.bootId))
    return false;
  if (Date.now() - store.bootedAt < SETTLED_UPTIME_MS) return false;
  return (await sessionTimes(store, id)).beatMs < store.bootedAt;
}

/**
 * Is the process of a session gone for certain? Undefined when it cannot be told from here (another boot's or host's
 * file on a shared disk, another container): then only its counter tells.
 */
export async function isGone(store: Store, session: SessionState): Promise<boolean | undefined> {
  const { identity } = session;
  if (await isOfEarlierBoot(store, session)) return true;
  if (
    identity === undefined ||
    identity.bootId !== store.bootId ||
    identity.host !== hostname() ||
    identity.pidNamespace !== (await pidNamespace())
  ) {
    return undefined;
  }
  const started = await startTime(identity.pid);
  if (started !== undefined && identity.startTime !== 'unknown') return started !== identity.startTime;
  // No /proc here, or one that hides the processes of other users.
  return !processExists(identity.pid);
}

function processExists(process: number): boolean {
  try {
    kill(process, 0);
    return true;
  } catch (error) {
    return systemErrorCode(error) !== 'ESRCH';
  }
}
