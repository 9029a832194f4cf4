/**
 * The real Python client against the local hub: what the hub helper answers is what a real client accepts, and modeldl
 * gets the same files, bytes and selections from it.
 */
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { hf } from '../../hubs/hf.js';
import { ModeldlError } from '../../src/errors.js';
import type { Snapshot } from '../../src/hub.js';
import { parseReference } from '../../src/reference.js';
import { select } from '../../src/select.js';
import { startHfHub, type HfHub, type HfRepo } from '../helpers/hf-hub.js';
import { createHubContext } from '../helpers/hub-context.js';
import { pythonClient, pythonHome, type PythonClient } from '../helpers/python-client.js';
import { requirePeer } from '../helpers/require.js';

const client = await pythonClient();
const withPython = requirePeer('python3 with huggingface_hub', client !== undefined);

const ALICE = { token: 'hf_tokenOfAliceAaaaaaaaaaaaaaa', user: 'alice', role: 'read' } as const;
const BOB = { token: 'hf_tokenOfBobBbbbbbbbbbbbbbbbb', user: 'bob' } as const;

const files = {
  '.gitattributes': '*.safetensors filter=lfs\n',
  'README.md': '# Model\n',
  'config.json': '{"model_type":"bert"}\n',
  'empty.txt': '',
  'model.safetensors': Buffer.alloc(300_000, 7),
  'pytorch_model.bin': Buffer.alloc(300_000, 8),
  'onnx/model.onnx': Buffer.alloc(5000, 1),
  'onnx/model_q4.onnx': Buffer.alloc(4000, 2),
  'onnx/deep/notes.txt': 'notes\n',
  'a b.txt': 'space',
  'c#d.txt': 'hash',
  '100%.txt': 'percent',
  '100%25.txt': 'encoded percent',
  'what?.txt': 'question',
  '[x].txt': 'brackets',
  '!important.txt': 'bang',
  'größe/日本 語.bin': 'unicode',
};
const repos: readonly HfRepo[] = [
  {
    id: 'org/model',
    files,
    formerIds: ['org/old'],
    tags: { 'v1.0': { 'config.json': '{"v":1}' } },
    branches: { dev: { 'config.json': '{"dev":1}' } },
    pullRequests: { 1: { 'config.json': '{"pr":1}' } },
    license: 'mit',
    task: 'feature-extraction',
  },
  { id: 'org/private', files: { 'config.json': '{}' }, privateTo: ['alice'] },
  { id: 'org/gated', files: { 'config.json': '{}' }, gated: { kind: 'auto', granted: ['alice'] } },
];

describe('the Python client and modeldl at the local Hugging Face hub', () => {
  let hub: HfHub;
  let home: string;

  beforeAll(async () => {
    hub = await startHfHub({ repos, tokens: [ALICE, BOB], pageSize: 5, smallFiles: 'redirected' });
    home = await pythonHome();
  });
  afterAll(async () => {
    await hub.close();
    await rm(home, { recursive: true, force: true });
  });

  function python(): PythonClient {
    if (client === undefined) throw new Error('Expected the Python client');
    return client;
  }

  async function script(body: string, token?: string): Promise<unknown> {
    const text = `import json, os\nfrom huggingface_hub import *\n${body}`;
    return python().script(text, { endpoint: hub.endpoint, home, ...(token === undefined ? {} : { token }) });
  }

  async function ours(text: string): Promise<Snapshot> {
    const context = createHubContext(hf, { settings: { endpoint: hub.endpoint } });
    try {
      return await hf.resolve(parseReference(text, [hf.syntax], { cwd: '/', home: '/' }), context);
    } finally {
      context.close();
    }
  }

  async function bytesOf(snapshot: Snapshot): Promise<Record<string, string>> {
    const context = createHubContext(hf, { settings: { endpoint: hub.endpoint } });
    try {
      const entries: [string, string][] = [];
      for (const { path, url } of snapshot.files) {
        const response = await context.fetch(url);
        entries.push([path, Buffer.from(await response.arrayBuffer()).toString('base64')]);
      }
      return Object.fromEntries(entries);
    } finally {
      context.close();
    }
  }

  withPython('get the same files with the same bytes', async () => {
    const folder = join(home, 'download');
    await python().hf(['download', 'org/model', '--local-dir', folder], { endpoint: hub.endpoint, home });
    const found = await readdir(folder, { recursive: true, withFileTypes: true });
    const theirs: Record<string, string> = {};
    for (const entry of found) {
      const path = join(entry.parentPath, entry.name).slice(folder.length + 1);
      if (!entry.isFile() || path.startsWith('.cache/')) continue;
      theirs[path] = (await readFile(join(folder, path))).toString('base64');
    }
    expect(Object.keys(theirs)).toHaveLength(Object.keys(files).length);
    expect(await bytesOf(await ours('org/model'))).toEqual(theirs);
  });

  withPython('verify against what the hub promises, by the client itself', async () => {
    const folder = join(home, 'download');
    const output = await python().hf(['cache', 'verify', 'org/model', '--local-dir', folder], {
      endpoint: hub.endpoint,
      home,
    });
    expect(output).toMatch(/17/);
  });

  withPython('choose the same files by include and exclude', async () => {
    const cases: readonly { readonly include: readonly string[]; readonly exclude: readonly string[] }[] = [
      { include: ['*.json'], exclude: [] },
      { include: ['*.onnx'], exclude: ['*q4*'] },
      { include: ['onnx/'], exclude: [] },
      { include: ['onnx/*'], exclude: ['onnx/deep/'] },
      { include: ['onnx'], exclude: [] },
      { include: ['!important.txt'], exclude: [] },
      { include: ['[x].txt'], exclude: [] },
      { include: ['[[]x].txt'], exclude: [] },
      { include: ['[!a-z]*'], exclude: [] },
      { include: ['?.txt', '*b.txt'], exclude: [] },
      { include: ['100%*'], exclude: [] },
      { include: ['*/日本*'], exclude: [] },
      { include: ['CONFIG.JSON'], exclude: [] },
      { include: ['**/*.txt'], exclude: [] },
      { include: ['{config,empty}*'], exclude: [] },
      { include: [], exclude: ['*.bin', '*.txt'] },
      { include: [], exclude: ['*'] },
      { include: ['*'], exclude: [] },
    ];
    const theirs = v.parse(
      v.array(v.array(v.string())),
      await script(`
from huggingface_hub.utils import filter_repo_objects
paths = [f.path for f in HfApi().list_repo_tree("org/model", recursive=True) if hasattr(f, "blob_id")]
cases = json.loads(${JSON.stringify(JSON.stringify(cases))})
print(json.dumps([sorted(filter_repo_objects(paths, allow_patterns=c["include"] or None, ignore_patterns=c["exclude"] or None)) for c in cases]))
`),
    );
    const listing = (await ours('org/model')).files;
    const chosen = cases.map(({ include, exclude }) => {
      try {
        return select(listing, { include, exclude, allFiles: true })
          .chosen.map(({ path }) => path)
          .sort();
      } catch (error) {
        // Nothing at all is an answer to Python and an error to us.
        if (error instanceof ModeldlError && error.code === 'NOT_FOUND') return [];
        throw error;
      }
    });
    expect(cases.map((asked, at) => ({ asked, chosen: chosen[at] }))).toEqual(
      cases.map((asked, at) => ({ asked, chosen: theirs[at] })),
    );
    expect(theirs.filter((paths) => paths.length > 0).length).toBeGreaterThan(10);
  });

  withPython('mean the same commits', async () => {
    const revisions = ['main', 'dev', 'v1.0', 'refs/pr/1'];
    const theirs = await script(
      `print(json.dumps([HfApi().model_info("org/model", revision=r).sha for r in ${JSON.stringify(revisions)}]))`,
    );
    const mine: (string | undefined)[] = [];
    for (const revision of revisions) mine.push((await ours(`org/model@${revision}`)).revision);
    expect(mine).toEqual(theirs);
    expect(new Set(mine).size).toBe(revisions.length);
  });

  withPython('follow a renamed model', async () => {
    const theirs = await script(`print(json.dumps(open(hf_hub_download("org/old", "config.json")).read()))`);
    expect(theirs).toBe(files['config.json']);
    expect((await ours('org/old')).id).toBe('org/model');
  });

  withPython('are refused for the same reasons', async () => {
    const theirs = await script(
      `
from huggingface_hub import errors
def why(call):
    try:
        return repr(call())
    except Exception as error:
        return type(error).__name__
api = HfApi()
def get(id, **more):
    return lambda: hf_hub_download(id, more.pop("filename", "config.json"), **more)
print(json.dumps({
    "missing anonymous": why(lambda: HfApi(token=False).model_info("org/missing")),
    "missing": why(lambda: api.model_info("org/missing")),
    "private of others": why(lambda: api.model_info("org/private")),
    "gated info": why(lambda: api.model_info("org/gated").gated),
    "gated file": why(get("org/gated")),
    "gated file anonymous": why(get("org/gated", token=False)),
    "gated check": why(lambda: api.auth_check("org/gated")),
    "revision": why(lambda: api.model_info("org/model", revision="nope")),
    "entry": why(get("org/model", filename="nope.txt")),
    "wrong token": why(lambda: HfApi(token="hf_wrong").model_info("org/model")),
}))
`,
      BOB.token,
    );
    expect(theirs).toEqual({
      'missing anonymous': 'RepositoryNotFoundError',
      missing: 'RepositoryNotFoundError',
      'private of others': 'RepositoryNotFoundError',
      'gated info': "'auto'",
      'gated file': 'GatedRepoError',
      'gated file anonymous': 'GatedRepoError',
      'gated check': 'GatedRepoError',
      revision: 'RevisionNotFoundError',
      entry: 'RemoteEntryNotFoundError',
      'wrong token': 'HfHubHTTPError',
    });
  });

  withPython('know whose token it is, and list and search alike', async () => {
    const theirs = await script(
      `
api = HfApi()
refs = api.list_repo_refs("org/model", include_pull_requests=True)
print(json.dumps({
    "user": api.whoami()["name"],
    "refs": sorted(r.name for r in refs.branches + refs.tags + refs.pull_requests),
    "found": [m.id for m in api.list_models(search="mod", pipeline_tag="feature-extraction")],
    "seen": sorted(m.id for m in api.list_models(author="org")),
    "paths": [p.path for p in api.get_paths_info("org/model", ["config.json", "nope", "c#d.txt"])],
}))
`,
      ALICE.token,
    );
    expect(theirs).toEqual({
      user: 'alice',
      refs: ['1', 'dev', 'main', 'v1.0'],
      found: ['org/model'],
      seen: ['org/gated', 'org/model', 'org/private'],
      paths: ['config.json', 'c#d.txt'],
    });
  });
});
