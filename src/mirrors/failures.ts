/** Which failures of a source are its own, so that the next one is asked, and what a user is told of them. */
import type { Context } from '../context.js';
import { ModeldlError, type ErrorCode } from '../errors.js';
import type { Hub } from '../hub.js';
import { endpointOf, nameOf, type Source } from './sources.js';

/** What is wrong here, or with what was asked, is so at every source. */
const NOT_ITS_OWN = new Set<ErrorCode>([
  'INTERNAL',
  'CONFIG',
  'DISK',
  'BUSY',
  'INTERRUPTED',
  'TERMINATED',
  'PARTIAL',
]);

/** Throws what no other source could do better; returns the failure that it is of this one. */
export function failureOf(error: unknown, signal: AbortSignal): ModeldlError {
  if (signal.aborted || !(error instanceof ModeldlError) || NOT_ITS_OWN.has(error.code)) throw error;
  return error;
}

/** What a connection says that was there and broke: the next one may be well. */
const BROKEN: readonly unknown[] = ['ECONNRESET', 'EPIPE'];

/** A server that cannot be reached is not asked again in this run. */
export function noteUnreachable(context: Context, { address }: Source, error: ModeldlError): void {
  const code = error.details['systemCode'];
  const isUnreached = error.code === 'NETWORK' && typeof code === 'string' && !BROKEN.includes(code);
  if (isUnreached && address !== undefined) context.unreachable.add(address);
}

export function isUnreachable(context: Context, { address }: Source): boolean {
  return address !== undefined && context.unreachable.has(address);
}

export function warnLeft(
  context: Context,
  hub: Hub,
  source: Source,
  what: string,
  error: ModeldlError,
): void {
  const name = nameOf(hub, source);
  // The hub's own code says which address it asked; it was the mirror's.
  const endpoint = source.kind === 'mirror' ? endpointOf(context, hub) : undefined;
  const said =
    endpoint === undefined || source.address === undefined
      ? error.message
      : renamed(error.message, endpoint, source.address);
  context.emit({ type: 'warning', message: `Left ${name} for ${what}: ${said}` });
}

/** Messages name addresses, or hosts alone. */
function renamed(message: string, endpoint: string, mirror: string): string {
  const { host } = new URL(endpoint);
  return message
    .replaceAll(endpoint, mirror)
    .split(' ')
    .map((word) => (word.replace(/[,:;]+$/, '') === host ? word.replace(host, new URL(mirror).host) : word))
    .join(' ');
}
