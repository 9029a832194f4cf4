import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { claim, withClaim, type Claim, type ClaimOptions } from '../../src/store/claim.js';
import { inStore } from '../../src/store/layout.js';
import { openSession, type Session } from '../../src/store/session.js';
import { transpile, type Built } from '../helpers/built.js';
import { temporaryStore, type TestStore } from '../helpers/store.js';

let built: Built;
beforeAll(async () => {
  built = await transpile([
    'src/store',
    'src/directories.ts',
    'src/errors.ts',
    'src/json.ts',
    'src/paths.ts',
  ]);
});
afterAll(() => built.remove());

const NAME = 'bytes of sha256:abc';
const NEVER = Number.MAX_SAFE_INTEGER;

function options(more: Partial<ClaimOptions> = {}): ClaimOptions {
  return { maxWaitMs: 30_000, signal: new AbortController().signal, pollMs: 2, ...more };
}

async function sessionIn(store: TestStore): Promise<Session> {
  const session = await openSession(store);
  onTestFinished(() => session.close());
  return session;
}

/** A child process that holds the claim. */
async function holder(store: TestStore) {
  const script = fileURLToPath(new URL('fixtures/holder.mjs', import.meta.url));
  const child = spawn(process.execPath, [script, built.directory, store.cacheDir, NAME], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => String((await lines.next()).value);
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, 'exit');
  };
  onTestFinished(() => end('SIGKILL'));
  expect(await next()).toMatch(/^session /);
  return {
    child,
    end,
    ask: (line: string): Promise<string> => {
      child.stdin.write(`${line}\n`);
      return next();
    },
  };
}

/** A claim as another machine on the same shared disk leaves it: nothing but its counter tells of it. */
async function foreignClaim(store: TestStore): Promise<{ beat: (counter: number) => Promise<void> }> {
  const mine = await sessionIn(store);
  await (await claim(store, mine, NAME, options())).release();
  const held = await claim(store, mine, NAME, options());
  const [directory = ''] = await readdir(inStore(store, 'claims'));
  const [owner = ''] = await readdir(inStore(store, 'claims', directory));
  await held.release();
  const id = 'f0f0f0f0f0f0f0f0';
  await mkdir(inStore(store, 'claims', directory));
  await writeFile(inStore(store, 'claims', directory, owner.replace(mine.id, id)), '');
  const identity = { host: 'elsewhere', bootId: 'other', pidNamespace: 'none', pid: 1, startTime: '1' };
  await writeFile(inStore(store, 'sessions', `${id}.json`), JSON.stringify(identity));
  const beat = (counter: number): Promise<void> =>
    writeFile(inStore(store, 'sessions', `${id}.beat`), String(counter).padStart(12, '0'));
  await beat(1);
  return { beat };
}

describe('many processes (promise 5)', () => {
  it('eight processes claim the same: one owner at a time, everyone gets a turn', async () => {
    const store = await temporaryStore();
    const script = fileURLToPath(new URL('fixtures/claimer.mjs', import.meta.url));
    const args = [script, built.directory, store.cacheDir, NAME, join(store.cacheDir, 'probe'), '15'];
    const children = Array.from({ length: 8 }, () =>
      spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'pipe'] }),
    );
    onTestFinished(() => {
      for (const child of children) child.kill('SIGKILL');
    });
    const ends = await Promise.all(
      children.map(async (child) => {
        let errors = '';
        child.stderr.on('data', (chunk) => (errors += String(chunk)));
        const [code] = (await once(child, 'close')) as [number | null];
        return { code, errors };
      }),
    );
    expect(ends).toEqual(ends.map(() => ({ code: 0, errors: '' })));
    expect(await readdir(inStore(store, 'claims'))).toEqual([]);
    expect(await readdir(inStore(store, 'sessions'))).toEqual([]);
    expect(await readdir(inStore(store, 'tmp'))).toEqual([]);
  });

  it('a killed owner is replaced at once', async () => {
    const store = await temporaryStore();
    const { end } = await holder(store);
    await end('SIGKILL');
    const held = await claim(
      store,
      await sessionIn(store),
      NAME,
      options({ deadAfterMs: NEVER, maxWaitMs: 0 }),
    );
    await held.assertHeld();
  });

  it('a living owner is waited for, and named when the wait is over', async () => {
    const store = await temporaryStore();
    const { child } = await holder(store);
    const waits: string[] = [];
    const waiting = options({ deadAfterMs: 2000, maxWaitMs: 3000, onWait: (who) => waits.push(who) });
    await expect(claim(store, await sessionIn(store), NAME, waiting)).rejects.toMatchObject({
      code: 'BUSY',
      message: expect.stringContaining(`process ${child.pid ?? 0} on ${hostname()}`) as string,
    });
    expect(waits).toEqual([`process ${child.pid ?? 0} on ${hostname()}`]);
  });

  it('an owner that lets go is followed', async () => {
    const store = await temporaryStore();
    const { child } = await holder(store);
    const session = await sessionIn(store);
    const taken = claim(store, session, NAME, options({ onWait: () => child.stdin.write('release\n') }));
    await (await taken).assertHeld();
  });

  it('waiting ends with an interruption', async () => {
    const store = await temporaryStore();
    await holder(store);
    const controller = new AbortController();
    const waiting = options({
      signal: controller.signal,
      onWait: () => {
        controller.abort();
      },
    });
    await expect(claim(store, await sessionIn(store), NAME, waiting)).rejects.toMatchObject({
      code: 'INTERRUPTED',
    });
  });

  it('a pid that now belongs to another process does not keep a claim alive', async () => {
    const store = await temporaryStore();
    const dead = await openSession(store);
    const held = await claim(store, dead, NAME, options());
    const path = inStore(store, 'sessions', `${dead.id}.json`);
    const identity = JSON.parse(await readFile(path, 'utf8')) as { startTime: string };
    if (identity.startTime === 'unknown') return;
    await writeFile(path, JSON.stringify({ ...identity, startTime: `${identity.startTime}0` }));
    await claim(store, await sessionIn(store), NAME, options({ deadAfterMs: NEVER, maxWaitMs: 0 }));
    await expect(held.assertHeld()).rejects.toMatchObject({ code: 'BUSY' });
    await dead.close();
  });

  it('an owner elsewhere whose counter stands still is replaced', async () => {
    const store = await temporaryStore();
    await foreignClaim(store);
    const held = await claim(store, await sessionIn(store), NAME, options({ deadAfterMs: 50 }));
    await held.assertHeld();
  });

  it('a watcher that stood still itself does not take its absence for the death of the owner', async () => {
    const store = await temporaryStore();
    await foreignClaim(store);
    const session = await sessionIn(store);
    // Between two looks of the watcher ten minutes go by, again and again, as for a machine that sleeps.
    vi.useFakeTimers({ toFake: ['performance'] });
    const sleeping = setInterval(() => vi.advanceTimersByTime(600_000), 5);
    onTestFinished(() => {
      clearInterval(sleeping);
      vi.useRealTimers();
    });
    const waiting = options({ deadAfterMs: 60_000, maxWaitMs: 6_000_000 });
    await expect(claim(store, session, NAME, waiting)).rejects.toMatchObject({ code: 'BUSY' });
  });

  it('an owner elsewhere whose counter moves is not', async () => {
    const store = await temporaryStore();
    const { beat } = await foreignClaim(store);
    const waiting = options({ deadAfterMs: 2000, maxWaitMs: 3000 });
    const controller = new AbortController();
    const beating = (async () => {
      for (let counter = 2; !controller.signal.aborted; counter += 1) await beat(counter);
    })();
    await expect(claim(store, await sessionIn(store), NAME, waiting)).rejects.toMatchObject({ code: 'BUSY' });
    controller.abort();
    await beating;
  });

  it('a damaged session file of a living owner does not cost it the claim', async () => {
    const store = await temporaryStore();
    const owner = await openSession(store, 20);
    onTestFinished(() => owner.close());
    const held = await claim(store, owner, NAME, options());
    await writeFile(inStore(store, 'sessions', `${owner.id}.json`), '\0\0\0');
    const waiting = options({ deadAfterMs: 2000, maxWaitMs: 3000 });
    await expect(claim(store, await sessionIn(store), NAME, waiting)).rejects.toMatchObject({ code: 'BUSY' });
    await held.assertHeld();
  });

  it('of several watchers of a dead owner one at a time takes over', async () => {
    const store = await temporaryStore();
    for (let round = 0; round < 10; round += 1) {
      const dead = await openSession(store);
      await claim(store, dead, NAME, options());
      await dead.close();
      const sessions = await Promise.all(Array.from({ length: 8 }, () => openSession(store)));
      const probe = join(store.cacheDir, 'probe');
      await Promise.all(
        sessions.map((session) =>
          withClaim(store, session, NAME, options(), async (held: Claim) => {
            await (await open(probe, 'wx')).close();
            await held.assertHeld();
            await rm(probe);
          }),
        ),
      );
      await Promise.all(sessions.map((session) => session.close()));
    }
  });

  it('an owner that was killed while letting go blocks nobody', async () => {
    const store = await temporaryStore();
    const session = await sessionIn(store);
    await claim(store, session, NAME, options());
    const [directory = ''] = await readdir(inStore(store, 'claims'));
    const [owner = ''] = await readdir(inStore(store, 'claims', directory));
    const path = inStore(store, 'claims', directory);
    await rm(join(path, owner));
    await (await claim(store, session, NAME, options({ maxWaitMs: 0 }))).assertHeld();
    const [next = ''] = await readdir(path);
    await rm(join(path, next));
    await writeFile(join(path, `${next}.released`), '');
    await (await claim(store, session, NAME, options({ maxWaitMs: 0 }))).assertHeld();
  });
});

describe('resume without trust in locks (promise 4)', () => {
  it('a stopped owner is replaced, and notices when it goes on', async () => {
    const store = await temporaryStore();
    const { child, ask } = await holder(store);
    expect(await ask('?')).toBe('held');
    child.kill('SIGSTOP');
    const session = await sessionIn(store);
    const held = await claim(store, session, NAME, options({ deadAfterMs: 300 }));
    child.kill('SIGCONT');
    expect(await ask('?')).toBe('BUSY');
    // What it lets go of is no longer its own.
    child.stdin.end('release\n');
    await once(child, 'exit');
    await held.assertHeld();
  });

  it('letting go after a take-over leaves the new owner alone', async () => {
    const store = await temporaryStore();
    const dead = await openSession(store);
    const lost = await claim(store, dead, NAME, options());
    await dead.close();
    const held = await claim(store, await sessionIn(store), NAME, options({ maxWaitMs: 0 }));
    await lost.release();
    await held.assertHeld();
    await expect(lost.assertHeld()).rejects.toMatchObject({ code: 'BUSY' });
  });
});
