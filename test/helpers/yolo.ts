/** YOLO models and data sets that `make_yolo.py` makes, and what Ultralytics' own command line makes of them. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import * as v from 'valibot';

const MAKE = fileURLToPath(new URL('make_yolo.py', import.meta.url));

/** What `make_yolo.py` trains and draws, pixels. */
export const IMAGE = 96;

/** A model of each family, by its task. */
export const FAMILIES = {
  detect: 'yolo11n',
  segment: 'yolo11n-seg',
  pose: 'yolo11n-pose',
  obb: 'yolo11n-obb',
  classify: 'yolo11n-cls',
} as const;
export type Family = keyof typeof FAMILIES;

/** Variables that keep Ultralytics off the network and in a directory. */
function quiet(directory: string): Record<string, string> {
  return {
    PATH: process.env['PATH'] ?? '',
    HOME: directory,
    YOLO_CONFIG_DIR: directory,
    YOLO_OFFLINE: 'true',
    YOLO_AUTOINSTALL: 'false',
  };
}

/**
 * Makes models into a directory, and below `data` a data set for each task.
 * @returns largest difference between the outputs for two inputs, by name of the model
 */
export async function makeModels(
  python: string,
  directory: string,
  names: readonly string[],
): Promise<Readonly<Record<string, number>>> {
  const { stdout } = await execa(python, ['-B', MAKE, directory, ...names], {
    cwd: directory,
    env: quiet(directory),
    extendEnv: false,
  });
  return v.parse(v.record(v.string(), v.number()), JSON.parse(stdout.split('\n').at(-1) ?? ''));
}

export function calibrationOf(directory: string, task: Family): string {
  return task === 'classify' ? join(directory, 'data', task) : join(directory, 'data', task, 'data.yaml');
}

const PEER = `
import json, os, shutil, sys
from ultralytics import YOLO
for wanted in json.loads(sys.argv[1]):
    os.makedirs(wanted["directory"], exist_ok=True)
    copy = shutil.copy(wanted["name"] + ".pt", wanted["directory"])
    YOLO(copy).export(format="openvino", **wanted["settings"])
`;

export interface PeerExport {
  /** Of the model. */
  readonly name: string;
  /** Where the model is copied to, since its export lies beside it: relative. */
  readonly directory: string;
  readonly settings: Readonly<Record<string, unknown>>;
}

/** Exports as people do, by Ultralytics itself. */
export async function exportByPeer(
  python: string,
  directory: string,
  exports: readonly PeerExport[],
): Promise<void> {
  await execa(python, ['-B', '-c', PEER, JSON.stringify(exports)], {
    cwd: directory,
    env: quiet(directory),
    extendEnv: false,
  });
}

/** Files of a directory by name, without what differs from run to run: the date, where data lie, counters in names. */
export async function exportedTree(directory: string): Promise<Readonly<Record<string, string>>> {
  const found: Record<string, string> = {};
  for (const name of await readdir(directory)) {
    const content = await readFile(join(directory, name));
    found[name] = /\.(yaml|xml)$/.test(name) ? withoutPlace(content.toString()) : content.toString('hex');
  }
  return found;
}

function withoutPlace(text: string): string {
  return text
    .replace(/^date: .*$/m, 'date')
    .replace(/^( *data: ).*?([^/\s]+)$/m, '$1$2')
    .replace(/ name="(Model|[A-Z]\w*?_)\d+(_compressed)?"/g, ' name="$1$2"');
}

const RUN = `
import json, sys, numpy, openvino
size = int(sys.argv[1])
image = numpy.random.default_rng(1).random((1, 3, size, size), dtype=numpy.float32)
core = openvino.Core()
found = []
for pair in json.loads(sys.argv[2]):
    kinds, outputs = [], []
    for path in pair:
        model = core.read_model(path)
        kinds.append(sorted({node.get_type_name() for node in model.get_ops()} & {"FakeQuantize"}))
        results = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([image])
        outputs.append([results[index].astype("float64").ravel() for index in range(len(model.outputs))])
    cosines = [float(a @ b / (numpy.linalg.norm(a) * numpy.linalg.norm(b))) for a, b in zip(*outputs)]
    found.append({"kinds": kinds, "cosines": cosines})
print(json.dumps(found))
`;

/** Of each pair of IRs: their quantizing layers, and the cosine of each output between them, for one random image. */
export async function compareModels(
  python: string,
  pairs: readonly (readonly string[])[],
): Promise<
  readonly { readonly kinds: readonly (readonly string[])[]; readonly cosines: readonly number[] }[]
> {
  const { stdout } = await execa(python, ['-I', '-B', '-c', RUN, String(IMAGE), JSON.stringify(pairs)]);
  const result = v.array(v.object({ kinds: v.array(v.array(v.string())), cosines: v.array(v.number()) }));
  return v.parse(result, JSON.parse(stdout));
}
