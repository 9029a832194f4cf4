import { setImmediate } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { atMost } from '../src/at-most.js';

it('keeps the order of the items, and never runs more than it may', async () => {
  let running = 0;
  let most = 0;
  const results = await atMost(3, [5, 1, 4, 1, 3, 2, 1], async (turns) => {
    running += 1;
    most = Math.max(most, running);
    for (let turn = 0; turn < turns; turn += 1) await setImmediate();
    running -= 1;
    return turns * 10;
  });
  expect(results).toEqual([50, 10, 40, 10, 30, 20, 10]);
  expect(most).toBe(3);
});

it('begins nothing after a failure, and throws the first one when all has ended', async () => {
  const begun: number[] = [];
  const ended: number[] = [];
  const work = atMost(2, [0, 1, 2, 3], async (item) => {
    begun.push(item);
    if (item === 0) throw new Error('first');
    await setImmediate();
    ended.push(item);
    throw new Error('second');
  });
  await expect(work).rejects.toThrow('first');
  expect({ begun, ended }).toEqual({ begun: [0, 1], ended: [1] });
});

it('has nothing to do for no items', async () => {
  expect(await atMost(2, [], () => Promise.reject(new Error('Expected no call')))).toEqual([]);
});
