/** Where models of other hubs lie in a registry: `<prefix>/<hub>/<id>:<revision>`, in names that registries take. Pure. */
import { createHash } from 'node:crypto';

/** Registries take 255 characters of a name, its prefix included. */
const LONGEST_NAME = 128;
const LONGEST_CUT = 100;
const TAG = /^\w[\w.-]{0,127}$/;
/** Would be read as a digest wherever it is written after a name. */
const DIGEST = /^[0-9a-f]{64}$/;
/** distribution-spec, "Pulling manifests": what may stand between letters and digits. */
const SEPARATOR = /^(\.|_|__|-+)$/;

/**
 * An id that is a valid name is that name. Any other gets the nearest one with two dashes and 12 hex digits of the id's
 * sha256, so that ids that differ only in letters' case or in signs lie apart.
 */
export function repositoryName(id: string): string {
  const name = id
    .toLowerCase()
    .split('/')
    .map(component)
    .filter((part) => part !== '')
    .join('/');
  return name === id && id.length <= LONGEST_NAME ? id : distinct(name.slice(0, LONGEST_CUT), id);
}

function component(text: string): string {
  return text
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/[._-]+/g, (run) => (SEPARATOR.test(run) ? run : '-'))
    .replace(/^[._-]+|[._-]+$/g, '');
}

/** The same for a revision; one that looks like a digest is told by a word before it. */
export function tagName(revision: string): string {
  if (DIGEST.test(revision)) return `revision-${revision}`;
  if (TAG.test(revision)) return revision;
  return distinct(
    revision
      .replace(/[^\w.-]+/g, '-')
      .replace(/^[.-]+/, '')
      .slice(0, LONGEST_CUT),
    revision,
  );
}

function distinct(name: string, text: string): string {
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 12);
  const start = name.replace(/[^A-Za-z0-9]+$/, '');
  return start === '' ? hash : `${start}--${hash}`;
}
