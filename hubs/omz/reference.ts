/** How models of Open Model Zoo are written as references: names, and pasted addresses of its repository. Pure. */
import {
  decodePart,
  formatStandard,
  malformed,
  parseStandard,
  type ReferenceParts,
  type ReferenceSyntax,
} from '../../src/reference.js';

/** Of its tools: `RE_MODEL_NAME`. */
const NAME = /^[0-9A-Za-z._-]+$/;
/** A release's tag or a commit; nothing else is put into an address. */
const REVISION = /^[0-9A-Za-z][0-9A-Za-z._-]*$/;
const REPOSITORY = '/openvinotoolkit/open_model_zoo/';
const PAGE = /^(?:tree|blob)\/([^/]+)\/models\/(?:intel|public)\/(?:([^/]+)\/)?([^/]+?)\/?$/;

export const syntax = {
  hub: 'omz',
  schemes: ['omz'],
  parse(rest) {
    const text = `omz:${rest}`;
    return checked(parseStandard(rest, text), text);
  },
  format: (parts) => formatStandard('omz', parts),
  fromWebAddress,
} as const satisfies ReferenceSyntax;

/** @throws ModeldlError USAGE for what could be no name and no revision */
export function checked(parts: ReferenceParts, text: string): ReferenceParts {
  const { id, revision } = parts;
  const folder = /^(?:intel|public)\/(?:[^/]+\/)?([^/]+)$/.exec(id)?.[1];
  if (folder !== undefined && isName(folder))
    throw malformed(text, 'names have no folder', `did you mean \`omz:${folder}\``);
  if (!isName(id)) {
    throw malformed(
      text,
      `\`${id}\` is no name of a model`,
      'write `omz:face-detection-retail-0004`, with `//FP16` for one precision',
    );
  }
  if (revision !== undefined && !REVISION.test(revision)) {
    throw malformed(
      text,
      `\`${revision}\` is no revision`,
      'a revision is a release such as `@2024.6.0`, or a commit',
    );
  }
  return parts;
}

function isName(text: string): boolean {
  return NAME.test(text) && !/^\.+$/.test(text);
}

/** A model's folder or a file in it, as GitHub's pages have them; a branch means the pinned release. */
function fromWebAddress(address: URL): ReferenceParts | undefined {
  const { host, pathname, search } = address;
  if (!/^(www\.)?github\.com$/.test(host) || search !== '' || !pathname.startsWith(REPOSITORY))
    return undefined;
  const folder = pathname.slice(REPOSITORY.length).replace(/\/[\w-]+\.(?:yml|md|py)$/, '');
  const [, revision = '', , id = ''] = PAGE.exec(folder) ?? [];
  if (!isName(id)) return undefined;
  const isPinned = /^(\d{4}\.\d[\d.]*|[0-9a-f]{40})$/.test(revision);
  return checked({ id: decodePart(id), ...(isPinned ? { revision } : {}) }, address.href);
}
