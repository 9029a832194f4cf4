/** Search among the models of the organisation OpenVINO; precisions are read from their names. */
import type { HubContext, SearchHit, SearchQuery } from '../../src/hub.js';
import { hubEndpoint } from '../hf.js';
import { describe, listed } from '../hf/search.js';
import { ORGANISATION, readName, shortId } from './names.js';

/** Names that are looked at for a precision, which the hub cannot filter by: the organisation has some hundred. */
const MAX_NAMES = 1000;

/** @throws ModeldlError as {@link Hub.search} */
export async function* search(query: SearchQuery, context: HubContext): AsyncIterable<SearchHit> {
  const { precision } = query;
  const endpoint = hubEndpoint(context);
  const limit = precision === undefined ? query.limit : MAX_NAMES;
  for await (const model of listed({ ...query, limit }, context, ORGANISATION)) {
    const id = shortId(model.name);
    // `int4-cw` is int4, compressed by channel.
    const own = id === undefined ? undefined : readName(id)?.kind.replace(/-cw$/, '');
    if (id === undefined || (precision !== undefined && own !== precision)) continue;
    yield {
      reference: { id },
      ...describe(model, endpoint),
      ...(own === undefined ? {} : { precisions: [own] }),
    };
  }
}
