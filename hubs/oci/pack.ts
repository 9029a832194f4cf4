/** A stored model as a ModelPack artifact: its configuration and manifest. Pure. (CNCF model-spec, "spec.md", "config.md") */
import { createHash } from 'node:crypto';
import type { FileToPush, ModelToPush } from '../../src/hub.js';
import { FILEPATH, MODELPACK } from './manifest.js';

/** Annotations of what modeldl writes: the pinned reference, its hub's listing, and what the hub promises of a file. */
export const ORIGIN = 'vnd.modeldl.origin';
export const LISTING = 'vnd.modeldl.listing';
export const UPSTREAM = 'vnd.modeldl.upstream';

const CONFIG_TYPE = 'application/vnd.cncf.model.config.v1+json';

export interface Packed {
  readonly config: string;
  readonly manifest: string;
}

/** Nothing in it tells when or where it was made: one model has one digest, whoever pushes it. */
export function pack(model: ModelToPush): Packed {
  const { id, revision, origin, metadata, conversion, held = [], listing } = model;
  const { license, page, task, library } = metadata;
  const name = id.split(/[/#]/).findLast((part) => part !== '') ?? id;
  const files = [...model.files, ...held].sort((a, b) => (a.path < b.path ? -1 : 1));
  const config = JSON.stringify({
    descriptor: {
      ...(origin === undefined ? {} : { name, revision }),
      ...(page === undefined ? {} : { sourceURL: page }),
      ...(license === undefined ? {} : { licenses: [license] }),
    },
    config: {
      ...formatOf(files),
      ...(conversion === undefined ? {} : { precision: conversion.precision }),
    },
    modelfs: { type: 'layers', diffIds: files.map(({ sha256 }) => `sha256:${sha256}`) },
  });
  const annotations = {
    ...(license === undefined ? {} : { 'org.opencontainers.image.licenses': license }),
    ...(page === undefined ? {} : { 'org.opencontainers.image.url': page }),
    ...(origin === undefined
      ? {}
      : {
          'org.opencontainers.image.title': name,
          'org.opencontainers.image.revision': revision,
          [ORIGIN]: origin,
        }),
    ...(conversion === undefined
      ? {}
      : {
          'vnd.modeldl.converter': conversion.converter,
          'vnd.modeldl.precision': conversion.precision,
          'vnd.modeldl.device': conversion.device,
        }),
    ...(task === undefined ? {} : { 'vnd.modeldl.task': task }),
    ...(library === undefined ? {} : { 'vnd.modeldl.library': library }),
    'vnd.modeldl.sha256': listingDigest(files),
    ...(listing === undefined ? {} : { [LISTING]: listing }),
  };
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    artifactType: MODELPACK,
    config: {
      mediaType: CONFIG_TYPE,
      digest: `sha256:${sha256Of(config)}`,
      size: Buffer.byteLength(config),
    },
    layers: files.map(layerOf),
    annotations,
  });
  return { config, manifest };
}

export function sha256Of(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** Raw, so that a layer is the file: its digest is known wherever the file is. */
function layerOf({ path, bytes, sha256, upstream }: FileToPush): unknown {
  return {
    mediaType: `application/vnd.cncf.model.${kindOf(path)}.v1.raw`,
    digest: `sha256:${sha256}`,
    size: bytes,
    annotations: {
      [FILEPATH]: path,
      // What ORAS and other general clients name files by.
      'org.opencontainers.image.title': path,
      ...(upstream === undefined || upstream.algorithm === 'sha256'
        ? {}
        : { [UPSTREAM]: `${upstream.algorithm}:${upstream.hex}` }),
    },
  };
}

const WEIGHTS =
  /\.(safetensors|gguf|ggml|bin|onnx|onnx_data|pt|pth|ckpt|pdiparams|tflite|pb|h5|keras|msgpack|npz|ot|mlmodel|engine)$/i;
const DOCUMENTS = /(\.(md|pdf|png|jpe?g|gif|svg|html)|(^|\/)(licen[sc]e|notice|readme|use_policy)[^/]*)$/i;
const CODE = /\.(py|ipynb|sh|js|ts|cpp|h)$/i;

function kindOf(path: string): string {
  if (WEIGHTS.test(path)) return 'weight';
  if (DOCUMENTS.test(path)) return 'doc';
  return CODE.test(path) ? 'code' : 'weight.config';
}

function formatOf(files: readonly FileToPush[]): { readonly format?: string } {
  const has = (ending: RegExp): boolean => files.some(({ path }) => ending.test(path));
  if (has(/\.xml$/) && has(/\.bin$/)) return { format: 'openvino' };
  for (const format of ['safetensors', 'gguf', 'onnx', 'tflite']) {
    if (has(new RegExp(`\\.${format}$`, 'i'))) return { format };
  }
  return {};
}

/** One digest of all files and their names, as the store makes it of content without a revision. */
function listingDigest(files: readonly FileToPush[]): string {
  return sha256Of(files.map(({ path, sha256 }) => `${path}\0${sha256}\n`).join(''));
}
