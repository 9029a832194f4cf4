import { getEventListeners } from 'node:events';
import { expect, it } from 'vitest';
import { ModeldlError } from '../src/errors.js';
import { within } from '../src/within.js';

it('leaves nothing that listens to the signal of work that ended', async () => {
  const late = (): ModeldlError => new ModeldlError('NETWORK', 'Late');
  const given = await within(new AbortController().signal, 60_000, late, (signal) => Promise.resolve(signal));
  expect(getEventListeners(given, 'abort')).toEqual([]);
});
