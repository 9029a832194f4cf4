/**
 * What the Model Download microservice's startup list calls hubs, and how it means what it says of a model there. A hub
 * that is not named here is meant by its own name. Pure.
 */
import * as v from 'valibot';
import { formatStandard } from '../src/reference.js';
import { readId, written } from './geti/reference.js';
import type {
  StartupEntry,
  StartupHub,
  StartupHubs,
  StartupReading,
  StartupRefusal,
} from '../src/startup.js';

/** The microservice keeps a model in one directory, whatever its name has of slashes. */
function flat(name: string): string {
  return name.replaceAll('/', '_');
}

function named(entry: StartupEntry, read: (name: string) => StartupReading | StartupRefusal) {
  return entry.name === undefined
    ? { refused: 'it names no model', hint: 'add `name`, the model’s name at its hub' }
    : read(entry.name);
}

function reference(scheme: string, id: string, revision: string | undefined, subpath?: string): string {
  return formatStandard(scheme, {
    id,
    ...(revision === undefined ? {} : { revision }),
    ...(subpath === undefined ? {} : { subpath }),
  });
}

const huggingface: StartupHub = (entry) =>
  named(entry, (name) => ({
    references: [reference('hf', name, entry.revision)],
    directory: () => `huggingface/${flat(name)}`,
  }));

/** A converter there: of a model of Hugging Face, or one that the organisation OpenVINO has converted. */
const openvino: StartupHub = (entry) =>
  named(entry, (name) => ({
    references: [reference(name.includes('/') ? 'hf' : 'openvino', name, entry.revision)],
    directory: () => `huggingface/${flat(name)}`,
    converts: {},
    notes: entry.converts
      ? []
      : ['`hub: openvino` asks for a conversion, which the microservice makes only with `is_ovms: true`'],
  }));

/** The revision is the tag. */
const ollama: StartupHub = (entry) =>
  named(entry, (name) => {
    const { revision } = entry;
    const tagged = name.lastIndexOf(':') > name.lastIndexOf('/');
    if (tagged && revision !== undefined) {
      return {
        refused: `it names a tag twice: ${name} and ${revision}`,
        hint: 'leave out `revision`, or the part of `name` after `:`',
      };
    }
    const tag =
      revision === undefined ? '' : revision.startsWith('sha256:') ? `@${revision}` : `:${revision}`;
    return {
      references: [`ollama:${name}${tag}`],
      directory: () =>
        `ollama/${flat(name)}${revision === undefined ? '' : `/${revision.replace(':', '-')}`}`,
    };
  });

/** Weights there are always converted, in each precision that the script has. */
const ultralytics: StartupHub = (entry) =>
  named(entry, (list) => {
    const names = list.split(',').map((name) => name.trim());
    const all = names.find((name) => /^(all|yolo_all)$/.test(name));
    if (all !== undefined) {
      return {
        refused: `\`${all}\` names no model`,
        hint: 'list the models that are wanted, separated by commas',
      };
    }
    if (names.includes('')) return { refused: `a name is empty: ${list}`, hint: 'remove a comma' };
    return {
      references: names.map((name) => reference('ultralytics', name, entry.revision)),
      directory: (text) => `ultralytics/public/${/^ultralytics:([^@/]+)/.exec(text)?.[1] ?? 'model'}`,
      converts: { precision: 'fp16' },
      notes:
        entry.precision === undefined
          ? ['the microservice makes FP16 and FP32 of it, modeldl makes fp16: `precision` names another']
          : [],
    };
  });

const PUBLISHED: Readonly<Record<string, string>> = { fp16: 'FP16', fp32: 'FP32', int8: 'FP16-INT8' };

/** A precision chooses among the published ones. */
const omz: StartupHub = (entry) =>
  named(entry, (name) => {
    const { precision } = entry;
    const published =
      precision === undefined || entry.converts ? undefined : PUBLISHED[precision.toLowerCase()];
    return {
      references: [reference('omz', name, entry.revision, published)],
      directory: () => `omz/${name}${published === undefined ? '' : `/${published}`}`,
      ...(published === undefined ? {} : { used: ['precision'] }),
    };
  });

const pipelineZoo: StartupHub = (entry) =>
  named(entry, (name) =>
    name === 'all'
      ? { refused: '`all` names no model', hint: 'list the models that are wanted, one entry each' }
      : {
          references: [reference('pipeline-zoo', name, entry.revision)],
          directory: () => `pipeline-zoo-models/${name}`,
        },
  );

const hls: StartupHub = ({ type, revision }) =>
  type === undefined
    ? { refused: 'it does not say which models', hint: 'add `type`: 3d-pose, rppg or ai-ecg' }
    : { references: [reference('hls', type, revision)], directory: () => type };

const lowerCase = v.pipe(v.string(), v.toLowerCase());
const getiConfig = v.object({
  export_type: v.nullish(v.pipe(lowerCase, v.picklist(['base', 'optimized']))),
  model_format: v.nullish(lowerCase),
  precision: v.nullish(lowerCase),
});

/**
 * What is trained there is one variant, of which `config` tells format and precision; OpenVINO FP16 is what both take
 * where it tells none. The microservice looks for a model by its name in every project.
 */
const geti: StartupHub = (entry) =>
  named(entry, (name) => {
    const { revision, config, converts } = entry;
    const [head = '', own] = name.split('//');
    const [project = '', model = '', ...more] = head.split('/').map((part) => part.trim());
    if (project === '' || model === '' || more.length > 0) {
      return {
        refused: `its name is not \`project/model\`: ${name}`,
        hint: 'write `name: PROJECT/MODEL`, since several projects may have a model of one name; `modeldl search --hub geti MODEL` finds it',
      };
    }
    const read = v.safeParse(getiConfig, config);
    if (!read.success) {
      return {
        refused: 'its `config` names no one variant',
        hint: 'write `reference: geti:project/model//openvino-int8` in place of `hub` and `name`',
      };
    }
    const { export_type: kind, model_format: format } = read.output;
    // Of what is converted it is the precision of the result.
    const precision = converts || entry.precision !== undefined ? undefined : read.output.precision;
    const isAny = format == null && precision == null;
    const variant =
      own ??
      (kind === 'base' ? 'base' : isAny ? undefined : `${format ?? 'openvino'}-${precision ?? 'fp16'}`);
    const id = readId(`${project}/${model}`);
    return {
      references: [written({ ...id, ...(variant === undefined ? {} : { variant }) }, revision)],
      directory: () =>
        `geti/${flat(id.model).toLowerCase()}/${kind === 'base' ? kind : (precision ?? 'fp16')}`,
      used: ['export_type', 'model_format', ...(precision == null ? [] : ['precision'])],
    };
  });

/** An archive at an address, in which `{name}` stands for the model's. */
const remoteUrl: StartupHub = (entry) =>
  named(entry, (name) => {
    const { url } = entry.config;
    if (typeof url !== 'string') return { refused: 'it names no address', hint: 'add `config.url`' };
    const address = url.replaceAll('{name}', name);
    if (!/^https?:\/\//i.test(address)) {
      return { refused: `\`config.url\` is no web address: ${address}`, hint: 'write `https://…`' };
    }
    return { references: [address], directory: () => `remote-url/${name}`, unpack: true, used: ['url'] };
  });

export const startupHubs: StartupHubs = {
  huggingface,
  openvino,
  ollama,
  ultralytics,
  omz,
  'pipeline-zoo-models': pipelineZoo,
  hls,
  geti,
  'remote-url': remoteUrl,
};
