/** Tokens: where they come from, and whether their hub takes them. */
import type { Context } from '../context.js';
import { ModeldlError } from '../errors.js';
import type { Hub } from '../hub.js';
import { whoami } from '../hub-operations.js';
import { failure, type Check, type Finding, type Patient } from './check.js';

/** @param only names of hubs; undefined for all */
export function credentialChecks(
  { context, offline }: Patient,
  only: ReadonlySet<string> | undefined,
): readonly Check[] {
  const hubs = context.hubs.filter((hub) => {
    const takes = hub.credentials !== undefined || hub.key !== undefined;
    // Those that another's server has share its token.
    return takes && (only === undefined ? hub.servedBy === undefined : only.has(hub.name));
  });
  return hubs.map((hub): Check => ({
    name: hub.name,
    topic: 'credentials',
    lateFix: `check the network: \`modeldl doctor ${hub.name}\``,
    run: async (patient) => [await credentialFinding(patient.context, hub, offline)],
  }));
}

async function credentialFinding(context: Context, hub: Hub, offline: string | undefined): Promise<Finding> {
  const { name, title, credentials } = hub;
  const credential = credentials === undefined ? undefined : await context.credential(hub);
  if (credential === undefined && hub.key === undefined) {
    const message = `${title}: no token, which private and gated models need`;
    return { name, status: 'skipped', message, fix: `\`modeldl login ${name}\``, facts: { source: null } };
  }
  const source = credential?.source ?? null;
  if (offline !== undefined && credential !== undefined)
    return {
      name,
      status: 'skipped',
      message: `${title}: not checked, by ${source ?? ''}: ${offline}`,
      facts: { source },
    };
  try {
    const who = await whoami(context, name);
    const scope = who.scope === undefined ? '' : `, scope ${who.scope}`;
    const facts = {
      source: who.source,
      user: who.name,
      scope: who.scope ?? null,
      organisations: who.organisations ?? [],
    };
    return { name, status: 'ok', message: `${title}: ${who.name}${scope}, by ${who.source}`, facts };
  } catch (error) {
    if (!(error instanceof ModeldlError)) throw error;
    // Whether it answers is what `network` tells.
    if (error.code === 'NETWORK' || error.code === 'CONFIG')
      return {
        name,
        status: 'skipped',
        message: `${title}: not checked, by ${source ?? 'its key'}: ${error.message}`,
        facts: { source },
      };
    // An own key is for those who have an account.
    if (credential === undefined)
      return { name, status: 'skipped', message: error.message, fix: error.hint, facts: { source } };
    return { name, ...failure(error), facts: { source, code: error.code } };
  }
}
