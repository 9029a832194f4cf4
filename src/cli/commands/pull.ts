import { resolve } from 'node:path';
import type { PullOptions } from '../../index.js';
import type { Outcome, PullPlan } from '../../results.js';
import { collect, missingArgument, type Call, type CommandDefinition } from '../command.js';
import { formatBytes, formatCount } from '../format.js';
import { tellCommand } from '../prompts.js';
import { reportErrors } from '../report.js';
import { summarized, SUMMARY_OPTION, type SummaryFlags } from '../summary.js';

export interface PullFlags extends SummaryFlags {
  readonly revision?: string;
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly allFiles?: boolean;
  readonly output?: string;
  readonly link?: boolean;
  readonly overwrite?: boolean;
  /** Set for agents, by no option. */
  readonly confined?: boolean;
  readonly force?: boolean;
  readonly unpack?: boolean;
  readonly dryRun?: boolean;
  readonly quant?: string;
  readonly daemon?: boolean;
}

export const command: CommandDefinition<PullFlags> = {
  configure(command) {
    command
      .argument(
        '[reference...]',
        'models: hf:org/name@revision, ollama:name:tag, openvino:name, omz:name//FP16, ultralytics:name@tag, geti:project/model, oci:host/name:tag, https://…, npm:pkg//file, pypi:name//file, ./path; `modeldl hubs` lists all hubs',
      )
      .option('--revision <revision>', 'branch, tag, commit or version')
      .option('--include <glob>', 'only files that match; repeatable', collect)
      .option('--exclude <glob>', 'not the files that match; repeatable', collect)
      .option('--all-files', 'weaker copies of the same weights too')
      .option('-o, --output <dir>', 'an independent copy in this directory')
      .option('--link', 'read-only hard links at --output instead of a copy')
      .option('--overwrite', 'write into a directory that holds other files')
      .option('--jobs <n>', 'large files at once')
      .option('--connections <n>', 'at most so many for one large file, 1 to 16')
      .option('--limit-rate <rate>', 'bytes per second, such as 20M')
      .option('--force', 'fetch again what is stored or in other caches here')
      .option('--unpack', 'unpack an archive')
      .option(...SUMMARY_OPTION)
      .option('--dry-run', 'show the plan only')
      .option('--quant <name>', 'which of several GGUF quantizations')
      .option('--daemon', 'have the Ollama that runs (OLLAMA_HOST) fetch it, and take it from its store')
      .addHelpText(
        'after',
        '\nExamples:\n  modeldl pull hf:org/name --include "*.json"\n  modeldl pull https://host/model.onnx -o ./models\n  modeldl pull npm:@mediapipe/face_detection',
      );
  },
  async run(call) {
    const references = await wantedReferences(call);
    const modeldl = await call.open();
    const options = pullOptions(call.flags, call.cli.cwd);
    if (call.flags.dryRun === true) {
      const { results, errors } = await withQuantization(call, references, options, (given) =>
        modeldl.planPull(references, given),
      );
      if (errors.length > 0) return reportErrors(call.output, errors, results, call.flags.verbose);
      const lines = call.output.quiet
        ? results.map(({ reference }) => reference)
        : results.flatMap(planLines);
      call.output.result(lines, { ok: true, models: results });
      return undefined;
    }
    const { results, errors } = await summarized(
      call,
      'pull',
      () => withQuantization(call, references, options, (given) => modeldl.pull(references, given)),
      ({ results: models, errors, seconds = [] }) => ({ models, errors, seconds }),
    );
    for (const { leftOut, reference } of results) {
      if (leftOut.length === 0) continue;
      const bytes = leftOut.reduce((sum, file) => sum + (file.bytes ?? 0), 0);
      call.output.note(
        `Left out ${formatCount(leftOut.length, 'weaker copy', 'weaker copies')} (${formatBytes(bytes)}) of ${reference}: --all-files takes them`,
      );
    }
    const paths = results.map(({ output, path }) => output ?? path);
    if (errors.length === 0) {
      call.output.result(paths, { ok: true, models: results });
      return undefined;
    }
    if (!call.output.json) call.output.result(paths, {});
    return reportErrors(call.output, errors, results, call.flags.verbose);
  },
};

async function wantedReferences(call: Call<PullFlags>): Promise<readonly string[]> {
  if (call.arguments.length > 0) return call.arguments;
  if (!call.interactive) throw missingArgument('a reference', 'modeldl pull hf:org/name');
  const { askModelToPull } = await import('../interactive/pull.js');
  const reference = await askModelToPull(call, pullOptions(call.flags, call.cli.cwd));
  tellCommand(call, [reference]);
  return [reference];
}

/** A model with several GGUF quantizations fails by naming them: a person is asked which, and it is tried again. */
async function withQuantization<Result>(
  call: Call<PullFlags>,
  references: readonly string[],
  options: PullOptions,
  work: (options: PullOptions) => Promise<Outcome<Result>>,
): Promise<Outcome<Result>> {
  const outcome = await work(options);
  call.settle();
  if (!call.interactive || outcome.errors.length === 0 || references.length > 1) return outcome;
  const { askQuantization, quantizationsOf } = await import('../interactive/quantization.js');
  const sizes = quantizationsOf(outcome.errors[0]);
  if (sizes === undefined) return outcome;
  const quant = await askQuantization(call.cli, sizes);
  tellCommand(call, [...(call.arguments.length === 0 ? references : []), '--quant', quant]);
  const again = await work({ ...options, quant });
  call.settle();
  return again;
}

export function pullOptions(flags: PullFlags, cwd: string): PullOptions {
  const { revision, include, exclude, allFiles, output, link, overwrite, force, unpack, quant, daemon } =
    flags;
  const { confined } = flags;
  return {
    ...(revision === undefined ? {} : { revision }),
    ...(include === undefined ? {} : { include }),
    ...(exclude === undefined ? {} : { exclude }),
    ...(allFiles === undefined ? {} : { allFiles }),
    ...(output === undefined ? {} : { output: resolve(cwd, output) }),
    ...(link === undefined ? {} : { link }),
    ...(overwrite === undefined ? {} : { overwrite }),
    ...(confined !== true || output === undefined ? {} : { confined: resolve(cwd, output) }),
    ...(force === undefined ? {} : { force }),
    ...(unpack === undefined ? {} : { unpack }),
    ...(quant === undefined ? {} : { quant }),
    ...(daemon === undefined ? {} : { daemon }),
  };
}

function adoptText({ adoptBytes }: PullPlan): string {
  return adoptBytes === 0 ? '' : `${formatBytes(adoptBytes)} on this machine, `;
}

function planLines(plan: PullPlan): readonly string[] {
  return [
    `${plan.reference}: ${formatBytes(plan.downloadBytes)} to fetch, ${adoptText(plan)}${formatBytes(plan.bytes)} in ${formatCount(plan.files.length, 'file')}`,
    ...plan.files.map(
      ({ path, bytes, stored, elsewhere }) =>
        `  ${stored ? 'stored' : elsewhere ? 'adopt ' : 'fetch '}  ${path}  ${bytes === null ? 'unknown size' : formatBytes(bytes)}`,
    ),
    ...plan.leftOut.map(
      ({ path, bytes }) => `  left out  ${path}${bytes === undefined ? '' : `  ${formatBytes(bytes)}`}`,
    ),
  ];
}
