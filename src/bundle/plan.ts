/** What making a bundle would do; nothing is fetched, converted or written. */
import type { LoadedConfig } from '../config/load.js';
import { parse, withFileHint, type Context } from '../context.js';
import { ModeldlError } from '../errors.js';
import { planPull } from '../pull.js';
import { redactReference } from '../redact.js';
import { forEach } from '../several.js';
import type { StartupHubs } from '../startup.js';
import { findStored } from '../stored.js';
import { planSync } from '../sync.js';
import { toolchainNamed } from '../toolchains.js';
import { requireOptions, toolchainsFor, type CreateBundleOptions } from './create.js';
import type { BundlePlan } from './results.js';

interface PlannedModel {
  readonly model: BundlePlan['models'][number];
  readonly toolchain?: string;
}

/** A bundle that would be made, or why it would not. @throws ModeldlError as making it does before anything is fetched */
export async function planBundle(
  context: Context,
  loaded: LoadedConfig,
  startup: StartupHubs,
  options: CreateBundleOptions,
): Promise<{ readonly plan: BundlePlan } | { readonly errors: readonly ModeldlError[] }> {
  await requireOptions(context, options);
  const { references = [], output } = options;
  const { results, errors, file, lock } =
    references.length > 0
      ? { ...(await planNamed(context, references)), file: null, lock: null }
      : await planList(context, loaded, startup, options);
  if (errors.length > 0) return { errors };
  const names = toolchainsFor(
    context,
    options,
    results.flatMap(({ toolchain }) => toolchain ?? []),
  );
  const toolchains = names.map((name) => ({
    name,
    downloadBytes: toolchainNamed(context, name).downloadBytes,
  }));
  return { plan: { file: output, list: file, lock, models: results.map(({ model }) => model), toolchains } };
}

async function planList(
  context: Context,
  loaded: LoadedConfig,
  startup: StartupHubs,
  { file }: CreateBundleOptions,
): Promise<{
  readonly results: readonly PlannedModel[];
  readonly errors: readonly ModeldlError[];
  readonly file: string;
  readonly lock: string | null;
}> {
  const planned = await planSync(context, loaded, startup, {
    locked: true,
    ...(context.freshness === 'offline' ? { frozen: true } : {}),
    ...(file === undefined ? {} : { file }),
  });
  const results = planned.results.map((one): PlannedModel => {
    const { reference, kind, downloadBytes } = one;
    if ('files' in one) {
      const stored = one.files.every((each) => each.stored);
      return { model: { reference, kind, stored, downloadBytes, bytes: one.bytes } };
    }
    const model = { reference, kind, stored: one.stored, downloadBytes, bytes: null };
    return one.toolchain === null ? { model } : { model, toolchain: one.toolchain.name };
  });
  return { ...planned, results };
}

async function planNamed(
  context: Context,
  references: readonly string[],
): Promise<{ readonly results: readonly PlannedModel[]; readonly errors: readonly ModeldlError[] }> {
  return forEach(
    context,
    [...new Set(references)],
    1,
    async (text): Promise<PlannedModel> => {
      const reference = parse(context, text);
      if (reference.conversion === undefined) {
        const { results, errors } = await planPull(context, [text], {});
        const [plan] = results;
        if (plan === undefined) throw errors[0] ?? new Error(`No plan for ${redactReference(text)}`);
        const { files, downloadBytes, bytes } = plan;
        const stored = files.every((each) => each.stored);
        return { model: { reference: plan.reference, kind: 'pulled', stored, downloadBytes, bytes } };
      }
      const { record } = await findStored(context, reference, {});
      const { conversion, files } = record;
      const bytes = files.reduce((sum, each) => sum + each.bytes, 0);
      const facts = { reference: record.reference, stored: true, downloadBytes: 0, bytes };
      return conversion === undefined
        ? { model: { ...facts, kind: 'pulled' } }
        : { model: { ...facts, kind: 'converted' }, toolchain: conversion.toolchain.name };
    },
    async (text, thrown) => {
      const error = await withFileHint(context, text, thrown);
      return error instanceof ModeldlError ? error.with({ reference: redactReference(text) }) : error;
    },
  );
}
