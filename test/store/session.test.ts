import { readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { describe, expect, it, onTestFinished } from 'vitest';
import { inStore } from '../../src/store/layout.js';
import { isGone, listSessions, openSession, readSession, readWants } from '../../src/store/session.js';
import { sha256Of, temporaryStore, type TestStore } from '../helpers/store.js';

/** Waits for what a timer of the session does. */
async function until(what: () => Promise<boolean>): Promise<void> {
  while (!(await what()));
}

async function counter(store: TestStore, id: string): Promise<string | undefined> {
  return (await readSession(store, id))?.counter;
}

describe('sessions', () => {
  it('tell who they are, move their counter and leave nothing behind', async () => {
    const store = await temporaryStore();
    const session = await openSession(store, 1);
    const [seen] = await listSessions(store);
    expect(seen).toMatchObject({ id: session.id, identity: { pid: process.pid, bootId: store.bootId } });
    expect(seen && (await isGone(store, seen))).toBe(false);
    const first = await counter(store, session.id);
    await until(async () => (await counter(store, session.id)) !== first);
    await session.close();
    expect(await readdir(inStore(store, 'sessions'))).toEqual([]);
    expect(await readSession(store, session.id)).toBeUndefined();
  });

  it('come back, with what they want, when a prune took them for dead', async () => {
    const store = await temporaryStore();
    const session = await openSession(store, 1);
    onTestFinished(() => session.close());
    await session.want([sha256Of('a')]);
    for (const name of await readdir(inStore(store, 'sessions'))) await rm(inStore(store, 'sessions', name));
    await until(async () => (await readWants(store, session.id)).length > 0);
    expect(await readWants(store, session.id)).toEqual([sha256Of('a')]);
    expect((await readSession(store, session.id))?.identity?.pid).toBe(process.pid);
  });

  it('note each wanted blob once', async () => {
    const store = await temporaryStore();
    const session = await openSession(store);
    onTestFinished(() => session.close());
    await session.want([sha256Of('a'), sha256Of('b')]);
    const { size } = await stat(inStore(store, 'sessions', `${session.id}.wants`));
    await session.want([sha256Of('b')]);
    expect((await stat(inStore(store, 'sessions', `${session.id}.wants`))).size).toBe(size);
  });

  it.skipIf(process.platform !== 'linux')('are told by what can be read of them', async () => {
    const store = await temporaryStore();
    const session = await openSession(store);
    onTestFinished(() => session.close());
    const unreadable = async (kind: string): Promise<void> => {
      const path = inStore(store, 'sessions', `${session.id}.${kind}`);
      await rm(path);
      await symlink('/proc/self/mem', path);
    };
    await unreadable('beat');
    const [seen] = await listSessions(store);
    expect(seen && (await isGone(store, seen))).toBe(false);
    await unreadable('json');
    expect(await readSession(store, session.id)).toMatchObject({ id: session.id, identity: undefined });
  });

  it('of another host or boot cannot be told dead from here', async () => {
    const store = await temporaryStore();
    const session = await openSession(store);
    onTestFinished(() => session.close());
    const path = inStore(store, 'sessions', `${session.id}.json`);
    const identity = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
    for (const change of [{ host: 'elsewhere' }, { bootId: 'other' }, { pidNamespace: 'pid:[1]' }]) {
      await writeFile(path, JSON.stringify({ ...identity, pid: 4_000_000, ...change }));
      const seen = await readSession(store, session.id);
      expect(seen && (await isGone(store, seen))).toBeUndefined();
    }
    await writeFile(path, JSON.stringify({ ...identity, pid: 4_000_000 }));
    const seen = await readSession(store, session.id);
    expect(seen && (await isGone(store, seen))).toBe(true);
  });

  it('of an earlier boot of this machine are gone when they stood still since before this one', async () => {
    const store = await temporaryStore();
    const session = await openSession(store);
    onTestFinished(() => session.close());
    const path = inStore(store, 'sessions', `${session.id}.json`);
    const now = Date.now();
    const next = { ...store, bootId: 'next' };
    const settled = { ...next, bootedAt: now - 60_000 };
    const gone = async (boot: TestStore): Promise<boolean | undefined> => {
      const seen = await readSession(store, session.id);
      return seen && isGone(boot, seen);
    };
    // It moved since: another machine of this name.
    expect(await gone(settled)).toBeUndefined();
    const before = now / 1000 - 61;
    await utimes(inStore(store, 'sessions', `${session.id}.beat`), before, before);
    await utimes(path, before, before);
    expect(await gone(settled)).toBe(true);
    expect(await gone({ ...next, bootedAt: now - 5_000 })).toBeUndefined();
    const text = await readFile(path, 'utf8');
    await writeFile(path, text.replace(hostname(), 'elsewhere'));
    await utimes(path, before, before);
    expect(await gone(settled)).toBeUndefined();
    // What a power cut leaves of a file that nobody flushed.
    await writeFile(path, Buffer.alloc(text.length));
    await utimes(path, before, before);
    expect(await gone(settled)).toBe(true);
  });
});
