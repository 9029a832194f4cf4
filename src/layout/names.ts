/** Names of served models, and the directories that follow from them. Pure. */
import { ModeldlError } from '../errors.js';
import { pathProblem, shownName } from '../paths.js';

/** A repository may be copied to any system. */
const EVERYWHERE = { caseInsensitive: true, normalizing: true, windows: true };

/**
 * The name that `export_model.py` takes: the model's id at its hub. What is no id (an address, a local path) or a part
 * of a model is named by its last segment.
 */
export function defaultName({
  id,
  subpath,
}: {
  readonly id: string;
  readonly subpath?: string | undefined;
}): string {
  if (subpath === undefined && pathProblem(id, EVERYWHERE) === undefined) return id;
  const last = (subpath ?? id.replace(/[?#].*$/, '')).split(/[/\\]/).filter(Boolean).at(-1) ?? '';
  return last.replace(/\.(onnx|tflite|pb|pdmodel|xml|pt|zip|tar|tgz|tar\.\w+)$/i, '');
}

/** @throws ModeldlError USAGE for a name that is no directory below the repository, or one that the server reads otherwise */
export function checkName(name: string): void {
  const why = pathProblem(name, EVERYWHERE) ?? reserved(name.split('/'));
  if (why === undefined) return;
  throw new ModeldlError('USAGE', `Refused the model name ${shownName(name)}: ${why}`, {
    hint: 'choose another with `--name`, such as `--name org/model`',
  });
}

function reserved(segments: readonly string[]): string | undefined {
  const [first = ''] = segments;
  if (/^config(_all)?\.json$/i.test(first)) return "the server's configuration has that name";
  if (segments.some((segment) => segment.startsWith('.'))) return 'a segment starts with a dot';
  // `name/2` would be version 2 of the model `name`.
  if (segments.slice(1).some((segment) => /^\d+$/.test(segment))) {
    return 'a number below a model is a version of it';
  }
  return undefined;
}
