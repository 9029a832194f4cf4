/**
 * A local Open Model Zoo: the files of its repository by commit, as raw.githubusercontent.com answers them, and the
 * storage that descriptions name. Descriptions are written as the repository has them.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { RELEASE, RELEASES } from '../../hubs/omz/names.js';
import type { ServerFault } from '../hubs/conformance.js';
import { startServer, type Route, type TestServer } from '../hubs/server.js';
import type { Certificate } from '../transfer/certificate.js';
import { ranged } from './http-server.js';

export const NEWEST = RELEASES[RELEASE] ?? '';

export interface ZooModel {
  /** Contents by name. */
  readonly files: Readonly<Record<string, Uint8Array>>;
  readonly framework?: string;
  readonly task?: string;
  readonly license?: string;
  /** `input_info`, `model_optimizer_args` and `model_info`, as YAML; default an input of IR. */
  readonly recipe?: string;
  /** `postprocessing`, as YAML with an indent of two. */
  readonly steps?: string;
  /** Described before 2022: by SHA-256. */
  readonly old?: boolean;
}

export interface ZooOptions {
  /** By place: `intel/face-detection-retail-0004`. */
  readonly models: Readonly<Record<string, ZooModel>>;
  /** Stages by place. */
  readonly composites?: Readonly<Record<string, readonly string[]>>;
  /** Other files of the repository below `models`, which win: descriptions that are broken. */
  readonly texts?: Readonly<Record<string, string>>;
  /** Default the newest release's. */
  readonly commits?: readonly string[];
  /** Of DL Streamer's repository, by address below `/samples/`: `<commit>/samples/…`. */
  readonly samples?: Readonly<Record<string, Uint8Array>>;
  /** Default plain http. */
  readonly certificate?: Certificate;
}

export interface Zoo {
  /** What `hubs.omz.endpoint` is set to. */
  readonly endpoint: string;
  /** What `hubs.omz.samples` is set to. */
  readonly samples: string;
  /** Paths below the endpoint that were asked for. */
  asked(): readonly string[];
  /** Paths below the samples' address that were asked for. */
  sampled(): readonly string[];
  /** Paths below the storage that were asked for. */
  fetched(): readonly string[];
  /** What the storage, or the samples' address, has in place of a file. */
  swap(path: string, bytes: Uint8Array): void;
  /** What is answered for every description. */
  refuse(route: Route): void;
  readonly server: TestServer;
  readonly setFault: (fault: ServerFault) => void;
  readonly close: () => Promise<void>;
}

export async function startZoo(options: ZooOptions): Promise<Zoo> {
  const { models, composites = {}, texts = {}, commits = [NEWEST], samples = {} } = options;
  const swapped = new Map<string, Uint8Array>();
  let refusal: Route | undefined;
  const server = await startServer((request, path) => {
    if (path.startsWith('/storage/'))
      return stored(request, decodeURIComponent(path).slice('/storage/'.length));
    if (path.startsWith('/samples/')) return sampled(path.slice('/samples/'.length));
    const commit = commits.find((known) => path.startsWith(`/raw/${known}/models/`));
    if (refusal !== undefined) return refusal;
    const text = commit === undefined ? undefined : described(path.slice(`/raw/${commit}/models/`.length));
    return text === undefined
      ? { status: 404, headers: { 'content-type': 'text/plain; charset=utf-8' }, body: '404: Not Found' }
      : {
          headers: { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'max-age=300' },
          body: text,
        };
  }, options.certificate);

  function described(path: string): string | undefined {
    const place = path.slice(0, path.lastIndexOf('/'));
    const model = models[place];
    const stages = composites[place];
    if (texts[path] !== undefined) return texts[path];
    if (path === `${place}/model.yml` && model !== undefined) return modelYml(place, model, server.origin);
    if (path === `${place}/composite-model.yml` && stages !== undefined) return compositeYml(stages);
    return undefined;
  }

  function sampled(path: string): Route | undefined {
    const bytes = swapped.get(path) ?? samples[path];
    return bytes === undefined ? undefined : { headers: { 'content-type': 'text/plain' }, body: bytes };
  }

  function stored(request: IncomingMessage, path: string): Route | undefined {
    const place = Object.keys(models).find((known) => path.startsWith(`${known}/`)) ?? '';
    const bytes = swapped.get(path) ?? models[place]?.files[path.slice(place.length + 1)];
    if (bytes === undefined) return undefined;
    const headers = {
      'content-type': 'application/octet-stream',
      'accept-ranges': 'bytes',
      etag: `"${createHash('md5').update(bytes).digest('hex')}"`,
    };
    const answer = ranged({ status: 200, headers, body: Buffer.from(bytes), ranges: true }, request);
    return { status: answer.status, headers: answer.headers, body: answer.body };
  }

  const below = (start: string) => (): readonly string[] =>
    server.requests.filter(({ url }) => url.startsWith(start)).map(({ url }) => url.slice(start.length));
  return {
    endpoint: `${server.origin}/raw`,
    samples: `${server.origin}/samples`,
    asked: below('/raw/'),
    sampled: below('/samples/'),
    fetched: below('/storage/'),
    swap: (path, bytes) => swapped.set(path, bytes),
    refuse(route) {
      refusal = route;
    },
    server,
    setFault: server.setFault,
    close: server.close,
  };
}

const LICENSE_HEADER = `# Copyright (c) 2023-2024 Intel Corporation
#
# Licensed under the Apache License, Version 2.0 (the "License");
`;
const INPUT = `input_info:
  - name: data
    shape: [1, 3, 300, 300]
    layout: NCHW
`;
const OWN_LICENSE = 'https://raw.githubusercontent.com/openvinotoolkit/open_model_zoo/master/LICENSE';

export function modelYml(place: string, model: ZooModel, origin: string): string {
  const { files, framework = 'dldt', task = 'detection', license = OWN_LICENSE, steps, old = false } = model;
  const { recipe = INPUT } = model;
  const listed = Object.entries(files).map(([name, bytes]) => {
    const [key, algorithm] = old ? ['sha256', 'sha256'] : ['checksum', 'sha384'];
    return `  - name: ${name}
    size: ${bytes.length}
    ${key}: ${createHash(algorithm).update(bytes).digest('hex')}
    source: ${origin}/storage/${place}/${name}
`;
  });
  return `${LICENSE_HEADER}
description: >-
  Face Detection (SqNet1.0modif+single scale) without BatchNormalization trained with
  negatives <https://example.com/paper#1>: all of them.
task_type: ${task}
files:
${listed.join('')}${steps === undefined ? '' : `postprocessing:\n${steps}`}${recipe}framework: ${framework}
license: ${license}
`;
}

function compositeYml(stages: readonly string[]): string {
  return `${LICENSE_HEADER}
description: >-
  General-purpose action recognition model for Kinetics-400 dataset.
task_type: action_recognition
framework: dldt
stages_order:
${stages.map((stage) => `  - ${stage}\n`).join('')}license: ${OWN_LICENSE}
`;
}
