/**
 * Sessions: one file per living command that says who it is, what blobs it wants, and, by a counter, that it lives.
 * Others decide by it whether a claim is still held.
 */
import { readdir, readFile, readlink, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { kill, pid } from 'node:process';
import * as v from 'valibot';
import { readJson, writeJson } from './json.js';
import { assertWritable, inStore, uniqueName, type Store } from './layout.js';

const sessionSchema = v.object({
  id: v.string(),
  host: v.string(),
  bootId: v.string(),
  /** Linux: identity of the pid namespace, since a pid means nothing in another container. */
  pidNamespace: v.string(),
  pid: v.number(),
  /** Clock ticks after boot at which the process started, so that a reused pid is not taken for it. */
  startTime: v.string(),
  counter: v.number(),
  wants: v.array(v.string()),
});

export type SessionFile = v.InferOutput<typeof sessionSchema>;

export interface Session {
  readonly id: string;
  /** Declares blobs that this command relies on, so that a prune in another process restores them. */
  want(sha256s: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

/** A living session moves its counter this often, milliseconds. */
const HEARTBEAT_MS = 5_000;

function sessionPath(store: Store, id: string): string {
  return inStore(store, 'sessions', `${id}.json`);
}

/** @throws ModeldlError DISK */
export async function openSession(store: Store, heartbeatMs = HEARTBEAT_MS): Promise<Session> {
  assertWritable(store);
  const id = uniqueName();
  const wants = new Set<string>();
  const identity = { id, host: hostname(), bootId: store.bootId, ...(await processIdentity(pid)) };
  let counter = 0;
  let writing = Promise.resolve();
  const write = (): Promise<void> => {
    writing = writing.then(async () => {
      counter += 1;
      await writeJson(store, sessionPath(store, id), { ...identity, counter, wants: [...wants] });
    });
    return writing;
  };
  await write();
  const timer = setInterval(() => {
    // A missed heartbeat is not an error: at worst another process takes over, which claims notice.
    write().catch(() => {
      writing = Promise.resolve();
    });
  }, heartbeatMs);
  timer.unref();
  return {
    id,
    want: async (sha256s) => {
      const before = wants.size;
      for (const sha256 of sha256s) wants.add(sha256);
      if (wants.size > before) await write();
    },
    close: async () => {
      clearInterval(timer);
      await writing.catch(() => undefined);
      await rm(sessionPath(store, id), { force: true });
    },
  };
}

async function processIdentity(
  process: number,
): Promise<{ pid: number; pidNamespace: string; startTime: string }> {
  return {
    pid: process,
    pidNamespace: await readlink('/proc/self/ns/pid').catch(() => hostname()),
    startTime: (await startTime(process)) ?? 'unknown',
  };
}

/** Start time of a process by /proc (field 22 of stat, after the command in parentheses), or undefined when gone. */
async function startTime(process: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${process}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

export async function readSession(store: Store, id: string): Promise<SessionFile | undefined> {
  return readJson(store, sessionPath(store, id), sessionSchema);
}

export async function listSessions(store: Store): Promise<readonly SessionFile[]> {
  const sessions: SessionFile[] = [];
  for (const name of await readdir(inStore(store, 'sessions'))) {
    const session = await readSession(store, name.replace(/\.json$/, ''));
    if (session !== undefined) sessions.push(session);
  }
  return sessions;
}

/**
 * Is the process of a session gone for certain? Undefined when it cannot be told from here (another boot's file on a
 * shared disk, another container): then only its counter tells.
 */
export async function isGone(store: Store, session: SessionFile): Promise<boolean | undefined> {
  const here = await processIdentity(pid);
  if (session.bootId !== store.bootId || session.pidNamespace !== here.pidNamespace) return undefined;
  if (session.startTime !== 'unknown') return (await startTime(session.pid)) !== session.startTime;
  return !processExists(session.pid);
}

function processExists(process: number): boolean {
  try {
    kill(process, 0);
    return true;
  } catch {
    return false;
  }
}

export async function removeSession(store: Store, id: string): Promise<void> {
  await rm(sessionPath(store, id), { force: true });
}
