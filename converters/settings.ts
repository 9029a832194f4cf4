/** Reading `--set` values: from text to checked values. Pure. */
import { closest } from 'fastest-levenshtein';
import { ModeldlError } from '../src/errors.js';

export type Settings = Readonly<Record<string, string>>;

/** @throws ModeldlError USAGE naming the nearest setting */
export function refuseUnknownSettings(converter: string, known: Settings, given: Settings): void {
  const names = Object.keys(known);
  for (const key of Object.keys(given)) {
    if (names.includes(key)) continue;
    throw new ModeldlError('USAGE', `\`${converter}\` has no setting ${key}`, {
      hint:
        names.length === 0
          ? 'it takes none'
          : `the nearest is \`--set ${closest(key, names)}=…\`; \`modeldl converters ${converter}\` says what they mean`,
    });
  }
}

/** A value that is not what the setting takes. */
export function wrongSetting(key: string, value: string, expected: string): ModeldlError {
  return new ModeldlError('USAGE', `Expected ${expected} for --set ${key}, got ${value}`);
}

/** @throws ModeldlError USAGE */
export function flagSetting(settings: Settings, key: string): boolean | undefined {
  const value = settings[key];
  if (value === undefined) return undefined;
  if (value === 'true' || value === 'false') return value === 'true';
  throw wrongSetting(key, value, 'true or false');
}

/** @throws ModeldlError USAGE */
export function numberSetting(
  settings: Settings,
  key: string,
  accepts: (value: number) => boolean,
  expected: string,
): number | undefined {
  const text = settings[key];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && accepts(value)) return value;
  throw wrongSetting(key, text, expected);
}

/** @throws ModeldlError USAGE */
export function choiceSetting(
  settings: Settings,
  key: string,
  choices: readonly string[],
): string | undefined {
  const value = settings[key];
  if (value === undefined || choices.includes(value)) return value;
  throw wrongSetting(key, value, choices.join(', '));
}
