/** The addresses of files on the local Hugging Face hub. */
import { commitAt, divide, open, refuse, type Answer, type AskedHub, type HubState } from './hf-access.js';
import type { Commit, StoredFile } from './hf-repo.js';

/** `/{id}/resolve/{revision}/{path}`: small files directly (or by the hub's own cache), LFS files at the CDN. */
export function resolveAnswer(state: HubState, asked: AskedHub): Answer {
  const parts = divide(asked.path, ['resolve']);
  if (parts?.word !== 'resolve' || parts.rest.length < 2) {
    return { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>The AI community</html>' };
  }
  const found = fileAt(state, asked, parts.id, parts.rest);
  if ('status' in found) return found;
  const { file, commit } = found;
  const linked = {
    'x-repo-commit': commit.id,
    'x-linked-size': String(file.bytes.length),
    'x-linked-etag': `"${file.lfs ? file.sha256 : file.oid}"`,
    'content-type': 'text/plain; charset=utf-8',
  };
  if (file.lfs) {
    const location = state.sign(`/${file.sha256}`);
    return { status: 302, headers: { ...linked, location }, body: `Found. Redirecting to ${location}` };
  }
  if (state.options.smallFiles === 'redirected') {
    const prefix = new URL(state.origin).pathname.replace(/\/$/, '');
    const path = file.path.split('/').map(encodeURIComponent).join('/');
    const location = `${prefix}/api/resolve-cache/models/${parts.id}/${commit.id}/${path}?etag=${encodeURIComponent(`"${file.oid}"`)}`;
    return {
      status: 307,
      headers: { ...linked, location },
      body: `Temporary Redirect. Redirecting to ${location}`,
    };
  }
  return bytesOf(file, commit);
}

export function cachedFile(state: HubState, asked: AskedHub): Answer {
  const segments = asked.path.split('/').slice(4);
  const at = segments.findIndex((segment) => /^[0-9a-f]{40}$/.test(segment));
  const found = fileAt(state, asked, segments.slice(0, at).join('/'), segments.slice(at));
  return 'status' in found ? found : bytesOf(found.file, found.commit);
}

function fileAt(
  state: HubState,
  asked: AskedHub,
  id: string,
  [revision = '', ...path]: readonly string[],
): { readonly file: StoredFile; readonly commit: Commit } | Answer {
  const opened = open(state, asked, id, true);
  if ('refused' in opened) return opened.refused;
  const commit = commitAt(opened.repository, decodeURIComponent(revision));
  if ('status' in commit) return commit;
  const file = commit.files.get(path.map(decodeURIComponent).join('/'));
  if (file !== undefined) return { file, commit };
  return refuse(404, 'Entry not found', 'EntryNotFound', { 'x-repo-commit': commit.id });
}

function bytesOf(file: StoredFile, commit: Commit): Answer {
  return {
    status: 200,
    headers: {
      'content-type': 'text/plain; charset=utf-8',
      'x-repo-commit': commit.id,
      etag: `"${file.oid}"`,
      'accept-ranges': 'bytes',
    },
    body: file.bytes,
    ranges: true,
  };
}
