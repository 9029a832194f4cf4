/** Where a hub's models may be had: its own endpoint, mirrors of that, and registries that hold models of other hubs. */
import { serverOf, settingsContext, type Context } from '../context.js';
import { ModeldlError } from '../errors.js';
import type { Hub } from '../hub.js';

export type Source =
  /** The hub itself; its address is undefined where it has none of its own, as web addresses have not. */
  | { readonly kind: 'origin'; readonly address: string | undefined }
  /** A server with the same paths below its address, which has no trailing slash. */
  | { readonly kind: 'mirror'; readonly address: string }
  | { readonly kind: 'registry'; readonly address: string; readonly hub: Hub; readonly prefix: string };

/**
 * The sources of a hub in the order in which they are asked. The hub itself is the last, unless its own address is in the
 * list.
 * @param id of the model that is asked for: one that names a server of its own is at no mirror of the hub's
 * @throws ModeldlError CONFIG
 */
export function sourcesOf(context: Context, hub: Hub, id?: string): readonly Source[] {
  const address = endpointOf(context, hub);
  const sources = allSources(context, hub, address);
  const own = id === undefined ? address : endpointOf(context, hub, id);
  if (own === address) return sources;
  return [...sources.filter(({ kind }) => kind === 'registry'), { kind: 'origin', address: own }];
}

function allSources(context: Context, hub: Hub, address: string | undefined): readonly Source[] {
  const origin: Source = { kind: 'origin', address };
  const configured = context.hubSettings(serverOf(hub))['mirrors'];
  const listed = Array.isArray(configured)
    ? configured.map((text) => readSource(context, hub, String(text), origin))
    : [];
  const distinct = [...new Map(listed.map((source) => [source.address, source])).values()];
  return distinct.includes(origin) ? distinct : [...distinct, origin];
}

/** Address of the hub, or of the server that an id names, without a trailing slash. */
export function endpointOf(context: Context, hub: Hub, id?: string): string | undefined {
  return hub.endpoint?.(settingsContext(context, hub), id)?.replace(/\/+$/, '');
}

function readSource(context: Context, hub: Hub, text: string, origin: Source): Source {
  const registry = readRegistry(context, text);
  if (registry !== undefined) return registry;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isAddress = url !== undefined && /^https?:$/.test(url.protocol);
  if (!isAddress || url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    throw malformed(hub, text);
  const address = `${url.origin}${url.pathname}`.replace(/\/+$/, '');
  if (address === origin.address) return origin;
  if (origin.address !== undefined) return { kind: 'mirror', address };
  throw new ModeldlError('CONFIG', `${hub.title} has no address that another could stand for: ${text}`, {
    hint: `in \`${keyOf(hub)}\` registries can be named, as \`oci:registry.example/models\``,
  });
}

/** `oci:host/prefix`; undefined for what is none. */
export function readRegistry(
  context: Context,
  text: string,
): Extract<Source, { kind: 'registry' }> | undefined {
  const [, scheme = '', rest = ''] = /^([a-z][a-z0-9+-]*):(?:\/\/)?(.*)$/.exec(text) ?? [];
  const hub = context.hubs.find(
    ({ holding, syntax }) => holding !== undefined && syntax.schemes.includes(scheme),
  );
  const prefix = hub?.holding?.readPrefix(rest);
  return hub === undefined || prefix === undefined
    ? undefined
    : { kind: 'registry', address: `${scheme}:${prefix}`, hub, prefix };
}

function malformed(hub: Hub, text: string): ModeldlError {
  // It may hold a login.
  const shown = /^[^?#]*/.exec(text.replace(/\/\/[^/]*@/, '//'))?.[0] ?? '';
  return new ModeldlError('CONFIG', `No mirror that ${hub.title} can have, in \`${keyOf(hub)}\`: ${shown}`, {
    hint: 'expected an https address without a login, or a registry such as `oci:registry.example/models`',
  });
}

export function keyOf(hub: Hub): string {
  return `hubs.${serverOf(hub)}.mirrors`;
}

/** How messages call a source. */
export function nameOf(hub: Hub, source: Source): string {
  switch (source.kind) {
    case 'origin':
      return source.address === undefined ? hub.title : `${hub.title} (${source.address})`;
    case 'mirror':
      return `the mirror ${source.address}`;
    case 'registry':
      return `the registry ${source.address}`;
  }
}

/** The same address at a mirror; undefined for what does not lie below the endpoint. */
export function mirrored(url: string, endpoint: string | undefined, mirror: string): string | undefined {
  if (endpoint === undefined || !url.startsWith(`${endpoint}/`)) return undefined;
  return `${mirror}${url.slice(endpoint.length)}`;
}
