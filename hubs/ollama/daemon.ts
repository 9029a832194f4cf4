import type { LocalPull, LocalPullContext } from '../../src/hub.js';
import type { Reference } from '../../src/reference.js';
export function pullByDaemon(_r: Reference, _c: LocalPullContext): Promise<LocalPull> {
  return Promise.reject(new Error('not yet'));
}
