/** What is written on the examples for containers, without running them: `test/e2e/containers.test.ts` does that. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { beforeAll, describe, expect, it } from 'vitest';
import { hubs } from '../hubs/index.js';
import { startupHubs } from '../hubs/startup.js';
import { COMMANDS } from '../src/cli/program.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const text = (...path: readonly string[]): Promise<string> => readFile(join(ROOT, ...path), 'utf8');

/** Lines that run something, without comments; what goes on in a next line is one with it. */
function instructions(dockerfile: string): readonly string[] {
  const lines = dockerfile.split('\n').filter((line) => !line.startsWith('#'));
  return lines
    .join('\n')
    .replaceAll('\\\n', '')
    .split('\n')
    .map((line) => line.replace(/ +/g, ' ').trim());
}

describe('the README', () => {
  it('has the lines of the examples', async () => {
    const [, section = ''] = (await text('README.md')).split('\n## Containers\n');
    const [, lines = ''] = /```dockerfile\n([^`]+)```/.exec(section.split('\n## ')[0] ?? '') ?? [];
    const said = instructions(lines).filter((line) => line !== '');
    const done = instructions(await text('examples', 'docker', 'Dockerfile'));
    expect(said.length).toBeGreaterThan(2);
    expect(done.filter((line) => said.includes(line))).toEqual(said);
  });

  it('builds and starts by files that are there', async () => {
    const documents = await Promise.all([text('README.md'), text('examples', 'README.md')]);
    const commands = await Promise.all(
      ['modeldl.Dockerfile', 'converting.Dockerfile', 'Dockerfile'].map((name) =>
        text('examples', 'docker', name),
      ),
    );
    const named = [...documents, ...commands].flatMap((document) =>
      [...document.matchAll(/docker build .*?(examples\/[\w./-]+)/g)].map(([, path = '']) => path),
    );
    expect(named.length).toBeGreaterThan(3);
    for (const path of named) await stat(join(ROOT, path));
  });
});

describe("the microservice's calls", () => {
  let table: string;
  const rows: [call: string, here: string][] = [];

  beforeAll(async () => {
    [, table = ''] = (await text('examples', 'README.md')).split(
      "\n## What the microservice's calls become\n",
    );
    for (const line of table.split('\n')) {
      const [, call = '', here = ''] = line.split('|').map((cell) => cell.trim());
      if (line.startsWith('|') && !call.startsWith('-')) rows.push([call, here]);
    }
  });

  it('have a command each, whose options it has', async () => {
    const lines = rows.flatMap(([, here]) =>
      [...here.matchAll(/`modeldl ([^`]+)`/g)].map(([, line = '']) => line.split(' ')),
    );
    expect(lines.length).toBeGreaterThan(15);
    const globals = ['--json', '--version', '--progress'];
    for (const words of lines) {
      const entry = COMMANDS.find(({ name }) => name === words[0]);
      const command = new Command();
      if (entry === undefined) expect(words).toEqual(['--version']);
      else (await entry.load()).command.configure(command);
      const known = command.options.flatMap(({ long, short }) => [long, short]);
      const options = words.filter((word) => word.startsWith('-') && !globals.includes(word));
      expect(
        options.filter((option) => !known.includes(option)),
        words.join(' '),
      ).toEqual([]);
    }
  });

  it('are all there: endpoints, hubs and fields of its models', () => {
    const calls = rows.map(([call]) => call).join('\n');
    const endpoints = [
      '/health',
      '/plugins',
      '/models/download',
      '/jobs',
      '/jobs/{id}',
      '/models/jobs',
      '/models/results',
      '/models/upload',
    ];
    const body = [
      'name',
      'hub',
      'type',
      'is_ovms',
      'revision',
      'download_path',
      'parallel_downloads',
      'override_credentials',
    ];
    const config = [
      'precision',
      'device',
      'cache_size',
      'quantize',
      'model_group_id',
      'export_type',
      'optimized_model_id',
      'model_only',
      'url',
      'openvino_config',
      ...['project_id', 'model_id', 'model_format'],
    ];
    const besides = [
      ...['author', 'search', 'tags', 'limit', 'offset'],
      ...['id', 'status', 'operation_type', 'output_dir', 'result'],
      ...['--config-json', '--ovms-release-tag', '--plugins'],
      ...[
        'GETI_SERVER_SSL_VERIFY',
        'EXTERNAL_SOURCES_URL_ALLOWLIST',
        'MODEL_PATH',
        'HUGGINGFACEHUB_API_TOKEN',
      ],
    ];
    const openvino = [
      ...[
        'ov_cache_dir',
        'overwrite_models',
        'extra_quantization_params',
        'pipeline_type',
        'kv_cache_precision',
      ],
      ...[
        'enable_prefix_caching',
        'dynamic_split_fuse',
        'max_num_batched_tokens',
        'max_num_seqs',
        'draft_source_model',
      ],
      ...[
        'max_prompt_len',
        'prompt_lookup_decoding',
        'normalize',
        'pooling',
        'truncate',
        'num_streams',
        'max_doc_length',
      ],
    ];
    const missing = [...endpoints, ...body, ...config, ...openvino, ...besides].filter(
      (word) => !new RegExp(`[` + '`' + `. /]${word.replace(/[{}/]/g, '\\$&')}(?!\\w)`).test(calls),
    );
    expect(missing).toEqual([]);
    expect(Object.keys(startupHubs).filter((hub) => !calls.includes(`hub: ${hub}`))).toEqual([]);
  });

  it('lead to references of hubs that there are', () => {
    const schemes = rows.flatMap(([, here]) =>
      [...here.matchAll(/[`\s]([a-z-]+):(?=[a-z3/])/g)].map(([, scheme = '']) => scheme),
    );
    const known = hubs.flatMap(({ syntax }) => [...syntax.schemes]);
    expect(schemes.length).toBeGreaterThan(10);
    expect([...new Set(schemes)].filter((scheme) => !known.includes(scheme))).toEqual([]);
  });
});

describe('the folder', () => {
  it('holds nothing that its README does not tell of', async () => {
    const readme = await text('examples', 'README.md');
    for (const name of await readdir(join(ROOT, 'examples'))) {
      if (name !== 'README.md') expect(readme).toContain(`(${name}`);
    }
  });
});
