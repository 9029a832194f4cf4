/** What making a bundle would do; nothing is fetched, converted or written. */
import type { LoadedConfig } from '../config/load.js';
import type { Context } from '../context.js';
import type { ModeldlError } from '../errors.js';
import { planModels } from '../pull.js';
import { PULL_CHOICE, withChoiceHint } from '../push.js';
import type { StartupHubs } from '../startup.js';
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
  const { results, errors } = await planModels(context, [...new Set(references)], {});
  const models = results.map(({ plan, conversion }): PlannedModel => {
    const { reference, files, downloadBytes, bytes } = plan;
    const stored = files.every((each) => each.stored);
    return conversion === undefined
      ? { model: { reference, kind: 'pulled', stored, downloadBytes, bytes } }
      : {
          model: { reference, kind: 'converted', stored, downloadBytes, bytes },
          toolchain: conversion.toolchain.name,
        };
  });
  return { results: models, errors: errors.map((error) => withChoiceHint(error, PULL_CHOICE)) };
}
