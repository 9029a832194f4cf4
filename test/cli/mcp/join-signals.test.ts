import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { joinSignals } from '../../../src/cli/mcp/join-signals.js';

describe('a signal of several', () => {
  it('is aborted by each, for its reason', () => {
    const [one, other] = [new AbortController(), new AbortController()];
    const { signal } = joinSignals([one.signal, other.signal]);
    expect(signal.aborted).toBe(false);
    other.abort('enough');
    one.abort('too late');
    expect(signal.reason).toBe('enough');
    expect(joinSignals([new AbortController().signal, one.signal]).signal.reason).toBe('too late');
  });

  it('leaves nothing at what lives longer', () => {
    const { signal } = new AbortController();
    const joint = joinSignals([signal]);
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    joint.release();
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });
});
