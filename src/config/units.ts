/** Sizes and durations as people type them. */
import { ModeldlError } from '../errors.js';

const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  k: 1024,
  m: 1024 ** 2,
  g: 1024 ** 3,
  t: 1024 ** 4,
};
const TIME_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
};

/** What {@link parseSize} and {@link parseDuration} take; without flags, so that a JSON schema can say it. */
export const SIZE = /^(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(?:[iI]?[bB])?$/;
export const DURATION = /^(\d+(?:\.\d+)?)\s*([mM]?[sS]|[mMhHdDwW])?$/;
/** What {@link parseRate} takes, but for fractions of a byte. */
export const RATE = /^(?=.*[1-9])(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(?:[iI]?[bB])?$/;

/** `20M`, `1.5GiB`, `512` → bytes; units are powers of 1,024. @throws ModeldlError USAGE naming `what` */
export function parseSize(text: string, what: string): number {
  const [, number, unit = ''] = SIZE.exec(text.trim()) ?? [];
  const factor = SIZE_UNITS[unit.toLowerCase()];
  if (number !== undefined && factor !== undefined) return Math.floor(Number(number) * factor);
  throw new ModeldlError('USAGE', `Expected a size for ${what}, got ${text}`, {
    hint: 'for example 20M or 50G',
  });
}

/** Bytes per second, at least one: zero is not no limit. @throws ModeldlError USAGE naming `what` */
export function parseRate(text: string, what: string): number {
  const bytes = parseSize(text, what);
  if (bytes >= 1) return bytes;
  throw new ModeldlError('USAGE', `Expected at least one byte per second for ${what}, got ${text}`, {
    hint: 'leave it out for no limit',
  });
}

/** `30d`, `5m`, `20` (seconds) → milliseconds. @throws ModeldlError USAGE naming `what` */
export function parseDuration(text: string, what: string): number {
  const [, number, unit = 's'] = DURATION.exec(text.trim()) ?? [];
  const factor = TIME_UNITS[unit.toLowerCase()];
  if (number !== undefined && factor !== undefined) return Number(number) * factor;
  throw new ModeldlError('USAGE', `Expected a duration for ${what}, got ${text}`, {
    hint: 'for example 30d or 10m',
  });
}
