/**
 * How models of Geti are written: `project/model`, names or ids, and which variant of a version. Each variant is a
 * download of its own, so it is part of the id: `project/model//openvino-int8`. Pure.
 */
import {
  cleanSubpath,
  decodePart,
  encodePart,
  formatSubpath,
  malformed,
  type ReferenceParts,
  type ReferenceSyntax,
} from '../../src/reference.js';

const HINT = 'write `geti:project/model`, with `@version` and `//openvino-int8`, by names or ids';

export const syntax = {
  hub: 'geti',
  schemes: ['geti'],
  parse(rest) {
    const text = `geti:${rest}`;
    const at = rest.indexOf('//');
    const head = at < 0 ? rest : rest.slice(0, at);
    const after = at < 0 ? undefined : cleanSubpath(rest.slice(at + 2), text);
    const version = head.lastIndexOf('@');
    const names = (version > 0 ? head.slice(0, version) : head).split('/');
    const revision = version > 0 ? decodePart(head.slice(version + 1)) : undefined;
    if (revision === '') throw malformed(text, 'the version after `@` is empty', HINT);
    const [project = '', model = ''] = names.map(decodePart);
    if (names.length !== 2 || project.trim() === '' || model.trim() === '')
      throw malformed(text, 'it is not `project/model`', HINT);
    const [variant, ...path] = after?.split('/') ?? [];
    return {
      id: writeId({ project, model, ...(variant === undefined ? {} : { variant }) }),
      ...(revision === undefined ? {} : { revision }),
      ...(path.length === 0 ? {} : { subpath: path.join('/') }),
    };
  },
  format(parts) {
    const { project, model, variant } = readId(parts.id);
    const name = `${encodeName(project)}/${encodeName(model)}`;
    const revision = parts.revision === undefined ? '' : `@${encodePart(parts.revision)}`;
    const path = [variant, parts.subpath].filter((part) => part !== undefined).join('/');
    return `geti:${name}${revision}${formatSubpath(path === '' ? undefined : path)}`;
  },
} as const satisfies ReferenceSyntax;

/** What an id names. */
export interface Named {
  readonly project: string;
  readonly model: string;
  readonly variant?: string;
}

/** Slashes in names are written `%2F`. */
export function writeId({ project, model, variant }: Named): string {
  const encode = (name: string): string =>
    name.replace(/[%/]/g, (character) => encodeURIComponent(character));
  return `${encode(project)}/${encode(model)}${variant === undefined ? '' : `//${variant}`}`;
}

export function readId(id: string): Named {
  const [head = '', variant] = id.split('//');
  const [project = '', model = ''] = head.split('/').map(decodePart);
  return { project, model, ...(variant === undefined ? {} : { variant }) };
}

/** The reference to write in a message. */
export function written(named: Named, revision?: string): string {
  const id = writeId(named);
  return syntax.format({ id, ...(revision === undefined ? {} : { revision }) } satisfies ReferenceParts);
}

function encodeName(name: string): string {
  return encodePart(name).replaceAll('/', '%2F');
}
