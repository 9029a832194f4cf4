/**
 * What can be found at a registry of Ollama: a name that is exactly right, and the tags of one where the registry lists
 * them. Ollama's own does not, and has no search; that is a page for people.
 */
import * as v from 'valibot';
import { ModeldlError } from '../../src/errors.js';
import type { HubContext, SearchHit, SearchQuery } from '../../src/hub.js';
import { parseJson } from '../../src/json.js';
import { endpointOf, modelPage, PUBLIC_ENDPOINT, registryOf, repositoryAddress } from './endpoint.js';
import { DEFAULT_TAG, idOf, readName, type Name } from './reference.js';
import { openRegistry, type FoundManifest } from './registry.js';

const tagsSchema = v.object({ tags: v.nullish(v.array(v.string())) });

/** One request, and one more at other registries than Ollama's. @throws ModeldlError as {@link Hub.search} */
export async function* search({ text }: SearchQuery, context: HubContext): AsyncIterable<SearchHit> {
  const name = asked(text);
  const tags = name.tag === undefined ? await listedTags(name, context) : [];
  for (const tag of tags) yield { reference: { id: idOf(name), revision: tag } };
  if (tags.length > 0) return;
  const found = await present(name, context);
  if (found === undefined) return;
  const { tag = DEFAULT_TAG, ...model } = name;
  // An own registry has no such page.
  const page = endpointOf(context) === PUBLIC_ENDPOINT ? modelPage(name) : undefined;
  yield {
    reference: { id: idOf(model), revision: tag },
    bytes: found.manifest.layers.reduce((sum, { size }) => sum + size, 0),
    ...(page === undefined ? {} : { page }),
  };
}

/** A host among words to look for is not asked: nobody said that it should. */
function asked(text: string): Name {
  const name = nameIn(text);
  if (name !== undefined && name.host === undefined) return name;
  const page = `https://ollama.com/search?q=${encodeURIComponent(text)}`;
  throw new ModeldlError('USAGE', `Ollama's registry has no search, and \`${text}\` is no name in it`, {
    hint:
      name === undefined
        ? `give the exact name, such as \`llama3.2\` or \`llama3.2:3b\`; ${page} knows the names`
        : `\`modeldl show ollama:${text}\` looks at a model of another registry`,
    details: { url: page },
  });
}

function nameIn(text: string): Name | undefined {
  try {
    return readName(text, `ollama:${text}`);
  } catch {
    return undefined;
  }
}

/** None where the registry lists none, as Ollama's. */
async function listedTags(name: Name, context: HubContext): Promise<readonly string[]> {
  if (endpointOf(context) === PUBLIC_ENDPOINT) return [];
  const address = `${repositoryAddress(registryOf(name, context), name)}/tags/list`;
  const response = await context.fetch(address, { signal: context.signal });
  const list = v.safeParse(tagsSchema, parseJson(await response.text()));
  return response.ok && list.success ? (list.output.tags ?? []) : [];
}

async function present(name: Name, context: HubContext): Promise<FoundManifest | undefined> {
  try {
    return await openRegistry(name, context).tagged();
  } catch (error) {
    if (error instanceof ModeldlError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}
