/**
 * Tells what openvino-node can run models on, as a line of JSON, by its published types (2026.4). Its main file is the
 * argument.
 */
import { createRequire } from 'node:module';
import { argv, stdout } from 'node:process';

const { addon } = createRequire(import.meta.url)(argv[2]);
const core = new addon.Core();

function titleOf(device) {
  try {
    return String(core.getProperty(device, 'FULL_DEVICE_NAME'));
  } catch {
    return '';
  }
}

const devices = core.getAvailableDevices().map((name) => ({ name, title: titleOf(name) }));
stdout.write(`\n${JSON.stringify(devices)}`);
