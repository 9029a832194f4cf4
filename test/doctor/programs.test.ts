/** What is asked of programs, against stand-ins that answer as they do. */
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openvinoNodeDevices } from '../../converters/openvino-node.js';
import { createToolchain } from '../../converters/toolchain/environment.js';
import { machinePrograms } from '../../converters/toolchain/machine.js';
import { quickPython, toolchainContext, writeScript } from '../helpers/interpreter.js';
import { standInNode } from '../helpers/stand-in-node.js';
import { temporaryDirectory, temporaryStore } from '../helpers/store.js';

const context = {
  environment: { PATH: process.env['PATH'] },
  signal: new AbortController().signal,
};

describe('devices of openvino-node', () => {
  /** The stand-in with this for its `addon.js`, by its main file. */
  async function packageOf(addon: string): Promise<{ version: string; entry: string }> {
    const root = join(dirname(await standInNode()), 'node_modules', 'openvino-node');
    await writeFile(join(root, 'dist', 'addon.js'), addon);
    return { version: '2026.4.0', entry: join(root, 'dist', 'index.js') };
  }

  it('are told with their names for people, whatever the native part prints', async () => {
    const runtime = await packageOf(
      `class Core {
        getAvailableDevices() { console.log('plugin loaded'); return ['CPU', 'GPU.0']; }
        getProperty(device, name) {
          if (name !== 'FULL_DEVICE_NAME') throw new Error('Unsupported property ' + name);
          if (device !== 'CPU') throw new Error('no driver');
          return 'A processor';
        }
      }
      exports.default = { Core };`,
    );
    expect(await openvinoNodeDevices(context, runtime)).toEqual([
      { name: 'CPU', title: 'A processor' },
      { name: 'GPU.0', title: '' },
    ]);
  });

  it.each([
    [
      'that cannot be loaded',
      'throw new Error("libopenvino.so.2026: cannot open shared object file")',
      'cannot open shared object file',
    ],
    ['that crashes', "process.kill(process.pid, 'SIGSEGV')", 'SIGSEGV'],
  ])('of a package %s', async (_what, addon, message) => {
    await expect(openvinoNodeDevices(context, await packageOf(addon))).rejects.toMatchObject({
      code: 'TOOLCHAIN',
      message: expect.stringContaining(message) as string,
      hint: expect.stringContaining('npm rebuild openvino-node') as string,
    });
  });

  it('of none', async () => {
    expect(await openvinoNodeDevices(context, undefined)).toEqual([]);
  });
});

describe('an environment that is there', () => {
  // Real ones that hold a package without any code, as pip would have left it.
  const wheel = async (directory: string, version: string): Promise<void> => {
    await writeScript(
      join(directory, 'bin', 'lay'),
      `site=$(${directory}/bin/python -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))')`,
      `rm -rf "$site"/openvino-*.dist-info; mkdir "$site/openvino-${version}.dist-info"`,
      `printf 'Metadata-Version: 2.1\\nName: openvino\\nVersion: ${version}\\n' > "$site/openvino-${version}.dist-info/METADATA"`,
    );
    const { execa } = await import('execa');
    await execa(join(directory, 'bin', 'lay'));
  };

  it('is asked for what was locked, and says what is wrong', async () => {
    const lock = join(await temporaryDirectory(), 'lock.txt');
    const locked = [
      ["2026.3.0 ; python_full_version < '3.8'", '00'],
      ["2026.4.1 ; python_full_version >= '3.8'", '01'],
    ];
    const lines = locked.map(([version, hash]) => `openvino==${version} \\\n    --hash=sha256:${hash}\n`);
    await writeFile(lock, lines.join(''));
    const toolchain = createToolchain({
      ...{ name: 'openvino', title: 'openvino', downloadBytes: 1, installedBytes: 1 },
      ...{ shown: ['openvino'], lock },
    });
    const store = await temporaryStore();
    const bin = await quickPython();
    const asked = toolchainContext(store, { environment: { PATH: `${bin}:${process.env['PATH'] ?? ''}` } });
    await toolchain.examine?.(asked);

    // Made by hand: this machine may have no index to install from.
    const { placesFor, writeMark } = await import('../../converters/toolchain/place.js');
    const definition = { ...toolchain, installedBytes: 1, shown: ['openvino'] as [string], lock };
    const places = await placesFor(definition, asked);
    const [{ directory }] = places.places;
    const { execa } = await import('execa');
    await execa(places.command, ['-m', 'venv', '--without-pip', directory], { env: asked.environment });
    await writeMark(definition, places, places.places[0]);

    await wheel(directory, '2026.4.1');
    await expect(toolchain.examine?.(asked)).resolves.toBeUndefined();
    expect(await toolchain.status(asked)).toMatchObject({ versions: { openvino: '2026.4.1' } });
    await wheel(directory, '2025.1.0');
    await expect(toolchain.examine?.(asked)).rejects.toMatchObject({
      code: 'TOOLCHAIN',
      message:
        'The toolchain `openvino` is not as it was made: expected openvino 2026.3.0 or 2026.4.1, got 2025.1.0',
    });
    await writeScript(join(directory, 'pyvenv.cfg'), 'no configuration');
    await execa('rm', [join(directory, 'bin', 'python')]);
    await writeScript(join(directory, 'bin', 'python'), 'echo "libpython3.11.so: not found" >&2; exit 127');
    await expect(toolchain.examine?.(asked)).rejects.toMatchObject({
      message: expect.stringContaining('libpython3.11.so: not found') as string,
    });
  });
});

describe('programs of this machine', () => {
  it('are those that are there', async () => {
    const store = await temporaryStore();
    const asked = toolchainContext(store, { environment: { PATH: process.env['PATH'] ?? '' } });
    const found = await machinePrograms(asked);
    expect(found.map(({ name }) => name)).toEqual(['python', 'venv', 'uv']);
    expect(found[0]).toMatchObject({ version: expect.stringMatching(/^3\.\d+/) as string });
    expect(found[1]?.problem).toBeUndefined();
  });
});
