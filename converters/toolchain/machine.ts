/** Programs of the machine that environments are made with, and whether they serve. */
import type { MachineProgram, ToolchainContext } from '../../src/converter.js';
import { ModeldlError } from '../../src/errors.js';
import { askProgram } from '../program.js';
import { installFailure } from './failure.js';
import { findPython } from './python.js';

/** What `python -m venv` imports, and Debian has in a package of its own. */
const VENV = 'import sys; print(sys.executable); import ensurepip, venv';

export async function machinePrograms(context: ToolchainContext): Promise<readonly MachineProgram[]> {
  const [python, uv] = await Promise.all([pythonAndVenv(context), findUv(context)]);
  return [...python, uv];
}

async function pythonAndVenv(context: ToolchainContext): Promise<readonly MachineProgram[]> {
  const title = 'Python';
  let found: Awaited<ReturnType<typeof findPython>>;
  try {
    found = await findPython(context, 'openvino');
  } catch (error) {
    if (!(error instanceof ModeldlError) || error.code !== 'TOOLCHAIN') throw error;
    const { message, hint = 'install one' } = error;
    return [{ name: 'python', title, problem: message, fix: hint }];
  }
  const { command, version } = found;
  const { failed, stdout, stderr } = await askProgram(context, command, ['-I', '-c', VENV]);
  const path = stdout.split('\n')[0]?.trim() ?? '';
  const python = { name: 'python', title, version, path: path === '' ? command : path };
  const venv = { name: 'venv', title: 'venv and ensurepip' };
  if (!failed) return [python, { ...venv, version }];
  const { cause = 'they cannot be imported', hint } = installFailure(stderr.split('\n'), 'index');
  return [python, { ...venv, problem: `${python.path} cannot make environments: ${cause}`, fix: hint }];
}

/** Not used by modeldl: environments are made with venv and pip, which every Python has. */
async function findUv(context: ToolchainContext): Promise<MachineProgram> {
  const { failed, stdout } = await askProgram(context, 'uv', ['--version']);
  const version = /^uv (\S+)/.exec(stdout)?.[1];
  const uv = { name: 'uv', title: 'uv', optional: true } as const;
  if (!failed && version !== undefined) return { ...uv, version };
  return { ...uv, problem: 'not found, and not needed: environments are made with venv and pip' };
}
