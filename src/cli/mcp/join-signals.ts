export interface JointSignal {
  readonly signal: AbortSignal;
  /** Leaves nothing at the signals that it is made of. */
  readonly release: () => void;
}

/**
 * One signal of several. That of `AbortSignal.any` is kept for good while something listens to it, and a server has calls
 * without end.
 */
export function joinSignals(signals: readonly AbortSignal[]): JointSignal {
  const joint = new AbortController();
  const links = signals.map((source) => {
    const onAbort = (): void => {
      joint.abort(source.reason);
    };
    if (source.aborted) onAbort();
    source.addEventListener('abort', onAbort, { once: true });
    return { source, onAbort };
  });
  return {
    signal: joint.signal,
    release: () => {
      for (const { source, onAbort } of links) source.removeEventListener('abort', onAbort);
    },
  };
}
