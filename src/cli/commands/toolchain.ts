import { ModeldlError } from '../../errors.js';
import type { ToolchainState } from '../../results.js';
import { missingArgument, type CommandDefinition } from '../command.js';
import { formatBytes, formatTable } from '../format.js';

export const command: CommandDefinition<object> = {
  configure(command) {
    command
      .argument('<action>', 'list, install or remove')
      .argument('[name]', 'a toolchain, such as openvino')
      .addHelpText('after', '\nExamples:\n  modeldl toolchain list\n  modeldl toolchain install openvino');
  },
  async run(call) {
    const [action, name] = call.arguments;
    const modeldl = await call.open();
    if (action === 'list') {
      const toolchains = await modeldl.toolchains();
      call.settle();
      const lines = call.output.quiet ? toolchains.map((state) => state.name) : table(toolchains);
      call.output.result(lines, { ok: true, toolchains });
      return undefined;
    }
    if (action !== 'install' && action !== 'remove') {
      throw new ModeldlError('USAGE', `Expected list, install or remove, got ${action ?? 'nothing'}`, {
        hint: 'see `modeldl toolchain --help`',
      });
    }
    if (name === undefined) throw missingArgument('a toolchain', `modeldl toolchain ${action} openvino`);
    if (action === 'install') {
      const state = await modeldl.installToolchain(name);
      call.settle();
      call.output.result([state.directory ?? name], { ok: true, ...state });
    } else {
      const { bytes } = await modeldl.removeToolchain(name);
      call.settle();
      call.output.note(`Freed ${formatBytes(bytes)}`);
      call.output.result([name], { ok: true, name, bytes });
    }
    return undefined;
  },
};

function table(toolchains: readonly ToolchainState[]): readonly string[] {
  const rows = toolchains.map(({ name, title, state, bytes, reason }) => [
    name,
    reason === null ? state : `${state}: ${reason}`,
    bytes === null ? '-' : formatBytes(bytes),
    title,
  ]);
  return formatTable(['TOOLCHAIN', 'STATE', 'SIZE', 'CONTENTS'], rows, [2]);
}
