/**
 * Claims: who works on something, so that eight processes fetch each byte once. They save work; correctness never
 * depends on them, since what a claim's owner writes is its own until it is published.
 *
 * A claim is a directory that holds one empty file named after its owner (`<session>.<nonce>`). It is made by
 * renaming a staged directory into place, and taken over by renaming the owner's file: both succeed for one process
 * only, on every file system that renames atomically, whatever its locks promise.
 */
import { createHash } from 'node:crypto';
import { lstat, mkdir, readdir, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { discard } from '../directories.js';
import { abortError, diskError, ModeldlError, systemErrorCode, throwIfAborted } from '../errors.js';
import { inStore, uniqueName, type Store } from './layout.js';
import { isGone, otherWanting, readSession, type Session, type SessionState } from './session.js';

export interface Claim {
  /** @throws ModeldlError BUSY when another process took over, as after a long suspension */
  assertHeld(): Promise<void>;
  release(): Promise<void>;
}

export interface ClaimOptions {
  /** Bound on waiting, milliseconds. */
  readonly maxWaitMs: number;
  readonly signal: AbortSignal;
  /** Told once when waiting begins. */
  readonly onWait?: (holder: string) => void;
  /** An owner that cannot be looked up is dead when its counter has not moved for this long, milliseconds. */
  readonly deadAfterMs?: number;
  /** Milliseconds between looks. */
  readonly pollMs?: number;
}

const DEAD_AFTER_MS = 20_000;
const POLL_MS = 100;

/** @throws ModeldlError BUSY past `maxWaitMs`, INTERRUPTED, DISK */
export async function claim(
  store: Store,
  session: Session,
  name: string,
  options: ClaimOptions,
): Promise<Claim> {
  const directory = inStore(store, 'claims', createHash('sha256').update(name).digest('hex').slice(0, 40));
  const token = `${session.id}.${uniqueName()}`;
  const started = performance.now();
  const watch: Watch = { unmovedMs: 0, lookedAt: started };
  let told = false;
  for (;;) {
    throwIfAborted(options.signal);
    if (await tryCreate(store, directory, token)) break;
    const owner = await ownerOf(directory);
    // A network file system may carry out a rename and lose its answer.
    if (owner === token) break;
    if (owner !== undefined) {
      if (await isDead(store, owner, watch, options)) {
        if (await takeOver(directory, owner, token)) break;
        continue;
      }
      const holder = await describeHolder(store, owner);
      if (!told) options.onWait?.(holder);
      told = true;
      if (performance.now() - started >= options.maxWaitMs) throw busy(name, holder, options.maxWaitMs);
    }
    try {
      await delay(options.pollMs ?? POLL_MS, undefined, { signal: options.signal });
    } catch {
      throw abortError(options.signal);
    }
  }
  return {
    assertHeld: async () => {
      try {
        await lstat(join(directory, token));
      } catch (error) {
        throw new ModeldlError('BUSY', `Another process took over: ${name}`, {
          hint: 'this process was suspended for too long; run the command again',
          cause: error,
        });
      }
    },
    release: () => release(directory, token),
  };
}

/** Runs `work` under a claim. */
export async function withClaim<Result>(
  store: Store,
  session: Session,
  name: string,
  options: ClaimOptions,
  work: (held: Claim) => Promise<Result>,
): Promise<Result> {
  const held = await claim(store, session, name, options);
  try {
    return await work(held);
  } finally {
    await held.release();
  }
}

/**
 * Runs `work` under a claim while no other session wants `wanted`, for taking away what others may be using. While one
 * does, the claim is let go between looks, so that others may begin to use it as well.
 * @throws ModeldlError BUSY past `maxWaitMs`, INTERRUPTED, DISK
 */
export async function withClaimUnwanted<Result>(
  store: Store,
  session: Session,
  name: string,
  wanted: string,
  options: ClaimOptions,
  work: () => Promise<Result>,
): Promise<Result> {
  const started = performance.now();
  let told = false;
  const onWait = (holder: string): void => {
    if (!told) options.onWait?.(holder);
    told = true;
  };
  for (;;) {
    const maxWaitMs = Math.max(0, options.maxWaitMs - (performance.now() - started));
    const outcome = await withClaim(store, session, name, { ...options, maxWaitMs, onWait }, async () => {
      const user = await otherWanting(store, session, wanted);
      return user === undefined ? { result: await work() } : { user };
    });
    if ('result' in outcome) return outcome.result;
    const holder = describe(outcome.user);
    onWait(holder);
    if (performance.now() - started >= options.maxWaitMs) throw busy(name, holder, options.maxWaitMs);
    try {
      await delay(options.pollMs ?? POLL_MS, undefined, { signal: options.signal });
    } catch {
      throw abortError(options.signal);
    }
  }
}

async function tryCreate(store: Store, directory: string, token: string): Promise<boolean> {
  const staged = inStore(store, 'tmp', uniqueName());
  try {
    await mkdir(staged);
    await writeFile(join(staged, token), '');
    await rename(staged, directory);
    return true;
  } catch (error) {
    await discard(staged);
    const code = systemErrorCode(error);
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return false;
    if (code === 'EPERM' || code === 'EACCES') {
      // Windows answers so for a directory that is there; an empty one is left of a claim that was let go.
      if ((await ownerOf(directory)) !== undefined) return false;
      if (
        await rmdir(directory).then(
          () => true,
          () => false,
        )
      )
        return false;
    }
    if (code === 'ENOENT' && (await ownerOf(directory)) === token) return true;
    throw diskError(error, directory);
  }
}

/** The file that names the owner; undefined while the claim is being let go. */
async function ownerOf(directory: string): Promise<string | undefined> {
  try {
    return (await readdir(directory))[0];
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw diskError(error, directory);
  }
}

async function takeOver(directory: string, owner: string, token: string): Promise<boolean> {
  try {
    await rename(join(directory, owner), join(directory, token));
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw diskError(error, directory);
  }
}

const RELEASED = '.released';

/** Lets go only of what is still ours: after a take-over the rename finds nothing. */
async function release(directory: string, token: string): Promise<void> {
  const released = join(directory, `${token}${RELEASED}`);
  try {
    await rename(join(directory, token), released);
    await rm(released);
    await rmdir(directory);
  } catch {
    // Taken over, or taken anew between two of these steps: nothing of ours is left.
  }
}

/**
 * Lets go of what sessions that ended still hold: a command killed after its work was done left a claim that nobody
 * waits for. An owner that lives is not disturbed, and one that takes over meanwhile keeps it.
 * @throws ModeldlError DISK
 */
export async function releaseAbandoned(store: Store): Promise<void> {
  const claims = inStore(store, 'claims');
  for (const entry of await readdir(claims, { withFileTypes: true })) {
    // What modeldl did not make is for others to judge.
    if (!entry.isDirectory()) continue;
    const directory = join(claims, entry.name);
    const owner = await ownerOf(directory);
    if (owner === undefined) await rmdir(directory).catch(() => undefined);
    else if ((await readSession(store, sessionOf(owner))) === undefined) await release(directory, owner);
  }
}

/** What a waiting process has seen of the owner, on its own monotonic clock. */
interface Watch {
  owner?: string;
  counter?: string;
  unmovedMs: number;
  lookedAt: number;
}

/**
 * Same machine and the process gone: dead at once. Otherwise, and for a process that is there but stopped, dead when
 * its counter has not moved for long enough.
 */
async function isDead(store: Store, owner: string, watch: Watch, options: ClaimOptions): Promise<boolean> {
  if (owner.endsWith(RELEASED)) return true;
  const session = await readSession(store, sessionOf(owner));
  // Sessions outlive their claims, so an owner without one has ended.
  if (session === undefined || (await isGone(store, session)) === true) return true;
  const now = performance.now();
  if (watch.owner === owner && watch.counter === session.counter) {
    // A watcher that was itself suspended has not been watching: its absence counts as two looks at most.
    watch.unmovedMs += Math.min(now - watch.lookedAt, 2 * (options.pollMs ?? POLL_MS));
  } else {
    watch.owner = owner;
    watch.counter = session.counter;
    watch.unmovedMs = 0;
  }
  watch.lookedAt = now;
  return watch.unmovedMs >= (options.deadAfterMs ?? DEAD_AFTER_MS);
}

function sessionOf(owner: string): string {
  return owner.split('.')[0] ?? '';
}

async function describeHolder(store: Store, owner: string): Promise<string> {
  return describe(await readSession(store, sessionOf(owner)));
}

function describe(session: SessionState | undefined): string {
  const identity = session?.identity;
  return identity === undefined ? 'an unknown process' : `process ${identity.pid} on ${identity.host}`;
}

function busy(name: string, holder: string, maxWaitMs: number): ModeldlError {
  return new ModeldlError(
    'BUSY',
    `Held by ${holder} for longer than ${Math.round(maxWaitMs / 1000)} s: ${name}`,
    {
      hint: 'wait for it to end, or allow more with `--max-wait`',
    },
  );
}
