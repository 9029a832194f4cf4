import { resolve } from 'node:path';
import { PRECISIONS } from '../../converter.js';
import { ModeldlError } from '../../errors.js';
import type { ConvertOptions } from '../../index.js';
import { LAYOUTS } from '../../layout/layout.js';
import type { ConvertPlan } from '../../results.js';
import { collect, missingArgument, type CommandDefinition } from '../command.js';
import { formatBytes } from '../format.js';
import { tellCommand } from '../prompts.js';
import { summarized, SUMMARY_OPTION } from '../summary.js';
import { pullOptions, type PullFlags } from './pull.js';

interface ConvertFlags extends PullFlags {
  readonly precision?: string;
  readonly device?: string;
  readonly task?: string;
  readonly converter?: string;
  readonly calibration?: string;
  readonly toolchain?: string;
  readonly set?: readonly string[];
  readonly trustRemoteCode?: boolean;
  readonly trustPickle?: boolean;
  readonly check: boolean;
  readonly layout?: string;
  readonly ovmsVersion?: string;
  readonly name?: string;
  readonly prebuilt?: boolean;
}

export const command: CommandDefinition<ConvertFlags> = {
  configure(command) {
    command
      .argument('[reference]', 'the model; it is pulled when it is not stored')
      .option('--precision <name>', `${PRECISIONS.join(', ')} (default: int8)`)
      .option('--device <name>', 'CPU, GPU, NPU, AUTO or HETERO:GPU,CPU (default: CPU)')
      .option('--task <name>', 'what the model does, when it cannot be told from its files')
      .option('--converter <name>', 'instead of the first that takes the model')
      .option('--revision <revision>', 'branch, tag, commit or version')
      .option('--include <glob>', 'only files that match; repeatable', collect)
      .option('-o, --output <dir>', 'an independent copy in this directory')
      .option('--link', 'read-only hard links at --output instead of a copy')
      .option('--overwrite', 'write into a directory that holds other files')
      .option('--layout <layout>', `${LAYOUTS.join(', ')} (default: plain)`)
      .option('--ovms-version <version>', 'of the model server (default: the newest)')
      .option('--name <name>', "what the model server calls the model (default: the model's id)")
      .option('--prebuilt', 'take the conversion that is published at the hub')
      .option('--no-prebuilt', 'do not look for one')
      .option('--calibration <data>', 'data for quantization that needs some')
      .option('--set <key=value>', 'converter setting, such as group-size=64; repeatable', collect)
      .option('--toolchain <name>', 'instead of the one that fits the model')
      .option('--trust-remote-code', 'run code that comes with the model')
      .option('--trust-pickle', 'load a pickle that no safe loader takes')
      .option('--jobs <n>', 'large files at once')
      .option('--connections <n>', 'at most so many for one large file, 1 to 16')
      .option('--limit-rate <rate>', 'bytes per second, such as 20M')
      .option('--unpack', 'unpack an archive')
      .option('--quant <name>', 'which of several GGUF quantizations')
      .option('--no-check', 'do not load and run the result')
      .option('--no-install', 'a missing toolchain is an error')
      .option(...SUMMARY_OPTION)
      .option('--dry-run', 'show the plan only')
      .option('--force', 'convert again what is stored')
      .addHelpText(
        'after',
        '\nExamples:\n  modeldl convert ./model.onnx --precision fp16\n  modeldl convert pypi:magika --precision int8 --dry-run\n  modeldl convert hf:org/name --precision int4 --layout ovms -o ./models --set cache_size=4',
      );
  },
  async run(call) {
    let [reference] = call.arguments;
    let flags = call.flags;
    if (reference === undefined) {
      if (!call.interactive)
        throw missingArgument('a reference', 'modeldl convert ./model.onnx --precision int8');
      const { askConversion } = await import('../interactive/convert.js');
      const { reference: named, ...answers } = await askConversion(call, convertOptions(flags, call.cli.cwd));
      reference = named;
      const words = Object.entries(answers).flatMap(([name, value]) => [`--${name}`, value]);
      tellCommand(call, [reference, ...words]);
      flags = { ...flags, ...answers };
    }
    const modeldl = await call.open();
    const options = convertOptions(flags, call.cli.cwd);
    if (flags.dryRun === true) {
      const plan = await modeldl.planConvert(reference, options);
      call.settle();
      call.output.result(planLines(plan), { ok: true, models: [plan] });
      return undefined;
    }
    const model = await summarized(
      call,
      'convert',
      () => modeldl.convert(reference, options),
      (converted, seconds) => ({ models: [converted], seconds: [seconds], errors: [] }),
    );
    call.settle();
    call.output.result([model.output ?? model.path], { ok: true, models: [model] });
    return undefined;
  },
};

function convertOptions(flags: ConvertFlags, cwd: string): ConvertOptions {
  const { precision, device, task, converter, calibration, toolchain, trustRemoteCode, trustPickle } = flags;
  return {
    ...pullOptions(flags, cwd),
    ...(precision === undefined ? {} : { precision }),
    ...(device === undefined ? {} : { device }),
    ...(task === undefined ? {} : { task }),
    ...(converter === undefined ? {} : { converter }),
    ...(calibration === undefined ? {} : { calibration: resolve(cwd, calibration) }),
    ...(toolchain === undefined ? {} : { toolchain }),
    ...(trustRemoteCode === undefined ? {} : { trustRemoteCode }),
    ...(trustPickle === undefined ? {} : { trustPickle }),
    ...(flags.layout === undefined ? {} : { layout: flags.layout }),
    ...(flags.ovmsVersion === undefined ? {} : { ovmsVersion: flags.ovmsVersion }),
    ...(flags.name === undefined ? {} : { name: flags.name }),
    ...(flags.prebuilt === undefined ? {} : { prebuilt: flags.prebuilt ? 'take' : 'never' }),
    settings: parseSettings(flags.set ?? []),
    ...(flags.check ? {} : { check: false }),
  };
}

/** `key=value`; a bare `key` means `true`, as in `--set sym`. */
export function parseSettings(pairs: readonly string[]): Readonly<Record<string, string>> {
  const settings = new Map<string, string>();
  for (const pair of pairs) {
    const at = pair.indexOf('=');
    const key = at < 0 ? pair : pair.slice(0, at);
    if (key === '') throw new ModeldlError('USAGE', `Expected KEY=VALUE for --set, got ${pair}`);
    if (settings.has(key)) throw new ModeldlError('USAGE', `--set ${key} is given twice`);
    settings.set(key, at < 0 ? 'true' : pair.slice(at + 1));
  }
  return Object.fromEntries(settings);
}

function planLines(plan: ConvertPlan): readonly string[] {
  return [
    `${plan.reference}${plan.stored ? ' (stored)' : ''}`,
    ...toolchainLines(plan),
    ...(plan.downloadBytes > 0 ? [`  fetch      ${formatBytes(plan.downloadBytes)}`] : []),
    ...plan.steps.map((step) => `  step       ${step}`),
    ...plan.adjustments.map((adjustment) => `  adjusted   ${adjustment}`),
    `  estimate   ${formatBytes(plan.estimate.diskBytes)} of disk, ${formatBytes(plan.estimate.memoryBytes)} of memory`,
    ...(plan.prebuilt?.taken === false
      ? [`  published  ${plan.prebuilt.reference}, which \`--prebuilt\` takes`]
      : []),
    ...layoutLines(plan),
  ];
}

function toolchainLines({ converter, toolchain }: ConvertPlan): readonly string[] {
  if (converter === null || toolchain === null) return [];
  const { name, state, downloadBytes, installedBytes } = toolchain;
  const install =
    installedBytes === 0
      ? ''
      : `, at most ${formatBytes(downloadBytes)} to fetch and ${formatBytes(installedBytes)} on disk`;
  return [`  converter  ${converter}, toolchain ${name} (${state}${install})`];
}

function layoutLines({ layout }: ConvertPlan): readonly string[] {
  if (layout === null) return [];
  const { name, task, ovmsVersion, files, graph, config } = layout;
  return [
    `  serve      ${name} as ${task}, OVMS ${ovmsVersion}`,
    `  write      ${files}`,
    ...[graph, config].flatMap((path) => (path === null ? [] : [`  write      ${path}`])),
  ];
}
