/** Search by the hub's list of models: one request for up to 500 of them, with all that is shown of each. */
import { ModeldlError } from '../../src/errors.js';
import type { HubContext, SearchHit, SearchOrder, SearchQuery } from '../../src/hub.js';
import { hubEndpoint } from '../hf.js';
import { openApi, type ListedModel } from './api.js';
import { pageOf } from './refusal.js';

const ORDERS = { downloads: 'downloads', likes: 'likes', updated: 'lastModified' } as const satisfies Record<
  SearchOrder,
  string
>;

const LATEST = Date.UTC(9999, 11, 31);

/** Bits of the types that weights are stored in. (safetensors, `Dtype`) */
const BITS: Readonly<Record<string, number>> = {
  ...{ BOOL: 8, F4: 4, F6_E2M3: 6, F6_E3M2: 6, F8_E4M3: 8, F8_E5M2: 8, F8_E8M0: 8, U8: 8, I8: 8 },
  ...{ F16: 16, BF16: 16, I16: 16, U16: 16, F32: 32, I32: 32, U32: 32 },
  ...{ F64: 64, I64: 64, U64: 64, C64: 64 },
};

/** @throws ModeldlError as {@link Hub.search} */
export async function* search(query: SearchQuery, context: HubContext): AsyncIterable<SearchHit> {
  const endpoint = hubEndpoint(context);
  for await (const model of listed(query, context)) {
    yield { reference: { id: model.name }, ...describe(model, endpoint) };
  }
}

/** @param owner whose models only */
export async function* listed(
  { text, task, library, license, order = 'downloads', limit }: SearchQuery,
  context: HubContext,
  owner?: string,
): AsyncIterable<ListedModel> {
  const endpoint = hubEndpoint(context);
  try {
    yield* openApi(context, { endpoint }).models({
      text,
      limit,
      sort: ORDERS[order],
      tags: [
        ...(library === undefined ? [] : [library]),
        ...(license === undefined ? [] : [`license:${license}`]),
      ],
      ...(task === undefined ? {} : { task }),
      ...(owner === undefined ? {} : { owner }),
    });
  } catch (error) {
    throw withoutList(error, endpoint);
  }
}

/** What the hub tells of a model but its name. */
export function describe(model: ListedModel, endpoint: string): Omit<SearchHit, 'reference'> {
  const { name, task, library_name: library, tags, gated, safetensors } = model;
  const license = tags?.find((tag) => tag.startsWith('license:'))?.slice('license:'.length);
  const weights = Object.entries(safetensors?.parameters ?? {});
  const bytes = bytesOf(weights);
  return {
    ...(task == null ? {} : { task }),
    ...(library == null ? {} : { library }),
    ...(license === undefined ? {} : { license }),
    ...(weights.length === 0 ? {} : { precisions: weights.map(([type]) => precisionOf(type)) }),
    ...(safetensors?.total == null ? {} : { parameters: safetensors.total }),
    ...(bytes === undefined ? {} : { bytes }),
    ...(model.downloads == null ? {} : { downloads: model.downloads }),
    ...(model.likes == null ? {} : { likes: model.likes }),
    // A year of more than four digits is nobody's.
    ...(model.updatedAt == null || model.updatedAt.getTime() > LATEST
      ? {}
      : { updatedAt: model.updatedAt.toISOString() }),
    ...(gated == null ? {} : { gated: gated !== false }),
    ...(model.private == null ? {} : { private: model.private }),
    page: pageOf({ endpoint, id: name }),
  };
}

/** Undefined for a type that is not known: part of a size is none. */
function bytesOf(weights: readonly (readonly [type: string, count: number])[]): number | undefined {
  const bits = weights.map(([type, count]) => (BITS[type] ?? NaN) * count);
  const sum = bits.reduce((all, one) => all + one, 0);
  return weights.length === 0 || Number.isNaN(sum) ? undefined : Math.ceil(sum / 8);
}

/** `F16` → `fp16`; others are written as they are. */
function precisionOf(type: string): string {
  return type
    .toLowerCase()
    .replace(/^f(?=\d+$)/, 'fp')
    .replace(/^i(?=\d+$)/, 'int');
}

/** Mirrors may have models and no list of them, or one for those who are logged in. */
function withoutList(error: unknown, endpoint: string): unknown {
  if (!(error instanceof ModeldlError)) return error;
  const url = `${endpoint}/api/models`;
  const more = { cause: error, details: { ...error.details, url } };
  if (error.code === 'NOT_FOUND') {
    return new ModeldlError('UNSUPPORTED', `There is no list of models to search: ${url}`, {
      hint: 'a mirror may have none: check the endpoint (`HF_ENDPOINT`, `hubs.hf.endpoint`)',
      ...more,
    });
  }
  if (error.code === 'AUTH' && error.details['tokenSource'] === undefined) {
    return new ModeldlError('AUTH', `Searching needs a login: ${url}`, {
      hint: 'run `modeldl login hf`',
      ...more,
    });
  }
  return error;
}
