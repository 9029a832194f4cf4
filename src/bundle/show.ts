/** What is in a bundle, by its index alone. */
import type { Context } from '../context.js';
import { modelPath } from '../store/record.js';
import { namesAmong, type NamedModel } from '../stored-names.js';
import { contentsOf, type BundledModel, type BundledToolchain } from './bundle-index.js';
import { readBundle, type OpenedBundle } from './read.js';
import type { BundledModelState, BundledToolchainState, ShownBundle } from './results.js';

/** Reads no further than the index. @throws ModeldlError as reading a bundle does */
export async function showBundle(context: Pick<Context, 'signal'>, file: string): Promise<ShownBundle> {
  const bundle = await readBundle(context, file, {
    begin: () => Promise.resolve(false),
    take: () => Promise.resolve(undefined),
  });
  return shownBundle(file, bundle);
}

export function shownBundle(file: string, { index, digest, fileBytes }: OpenedBundle): ShownBundle {
  return {
    file,
    digest,
    bytes: fileBytes,
    contentBytes: [...contentsOf(index).values()].reduce((sum, bytes) => sum + bytes, 0),
    models: describeModels(index.models),
    references: index.references.map(({ reference, revision }) => ({ reference, revision })),
    toolchains: index.toolchains.map(describeToolchain),
  };
}

/** Each by a name that no other of them has: parts of one revision are told apart as `modeldl list` does. */
export function describeModels(models: readonly BundledModel[]): readonly BundledModelState[] {
  const named = models.map((record): NamedModel => ({
    path: modelPath(record, 64),
    directory: '',
    record: { ...record, pulledAt: '' },
  }));
  const nameOf = namesAmong(named);
  return models.map((model, at) => {
    const name = named[at];
    return describeModel(model, name === undefined ? model.reference : nameOf(name));
  });
}

function describeModel(
  { hub, id, revision, license, conversion, files }: BundledModel,
  reference: string,
): BundledModelState {
  return {
    reference,
    kind: conversion === undefined ? 'pulled' : 'converted',
    hub,
    id,
    revision,
    precision: conversion?.precision ?? null,
    device: conversion?.device ?? null,
    license: license ?? null,
    ...measure(files),
  };
}

export function describeToolchain({
  name,
  python,
  platform,
  files,
}: BundledToolchain): BundledToolchainState {
  return { name, python, platform, ...measure(files) };
}

function measure(files: readonly { readonly bytes: number }[]): { files: number; bytes: number } {
  return { files: files.length, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0) };
}
