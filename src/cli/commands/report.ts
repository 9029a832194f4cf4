import { ModeldlError } from '../../errors.js';
import { missingArgument, type Call, type CommandDefinition } from '../command.js';
import { formatBytes, formatCount } from '../format.js';

interface ReportFlags {
  readonly output?: string;
  readonly overwrite?: boolean;
}

const EXAMPLE = 'modeldl report hf:org/name -o report.html';

export const command: CommandDefinition<ReportFlags> = {
  onlyLooks: true,
  configure(command) {
    command
      .usage('[options] <reference...>')
      .argument('[reference...]', 'models, each with its stored conversions; or conversions')
      .option('-o, --output <file>', 'the page (default: stdout)')
      .option('--overwrite', 'replace a file that is there')
      .addHelpText(
        'after',
        '\nOne page of HTML that needs nothing else: sizes, element types by layer, inputs and outputs, how each conversion was\n' +
          "made, how long that took, and how far its outputs are from the original's, as it was measured then.\n" +
          `\nExamples:\n  ${EXAMPLE}\n` +
          '  modeldl report hf:org/name+int8-cpu -o int8.html   # a conversion beside its original\n' +
          '  modeldl report ./one.onnx ./other.onnx > both.html',
      );
  },
  async run(call) {
    const { arguments: references, flags, output } = call;
    if (references.length === 0) throw missingArgument('a reference', EXAMPLE);
    const file = flags.output === '-' ? undefined : flags.output;
    if (file === undefined) refuseStdout(call);
    const modeldl = await call.open();
    const { html, ...document } = await modeldl.report(references, {
      ...(file === undefined ? {} : { output: file }),
      ...(flags.overwrite === undefined ? {} : { overwrite: flags.overwrite }),
    });
    call.settle();
    const { path, bytes, models } = document;
    if (path !== null)
      output.note(`A report of ${formatCount(models.length, 'model')}, ${formatBytes(bytes)}`);
    output.result([path ?? html.trimEnd()], { ok: true, ...document });
    return undefined;
  },
};

/** @throws ModeldlError USAGE where stdout is for something else */
function refuseStdout({ output, cli: { stdout } }: Call<ReportFlags>): void {
  if (output.json) {
    throw new ModeldlError('USAGE', 'stdout cannot have both a report and the document of `--json`', {
      hint: `name a file with \`--output\`, as in \`${EXAMPLE}\``,
    });
  }
  if (stdout.isTTY === true) {
    throw new ModeldlError('USAGE', 'A report is not written to a terminal', {
      hint: `name a file with \`--output\`, as in \`${EXAMPLE}\`, or redirect stdout`,
    });
  }
}
