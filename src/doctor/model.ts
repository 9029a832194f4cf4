/** Whether a model could be pulled: does its hub have it, and give its files to whoever asks here? */
import { format, hubContext, hubNamed, type Context } from '../context.js';
import type { Reference } from '../reference.js';
import { resolveReference } from '../resolve.js';
import { formatSize, type Check, type Finding, type Patient } from './check.js';

export function modelCheck(context: Context, reference: Reference): Check {
  return {
    name: format(context, reference),
    topic: 'models',
    lateFix: 'check the network: `modeldl doctor network`; `--timeout` waits longer',
    run: async (patient) => [await modelFinding(patient, reference)],
  };
}

/** @throws ModeldlError as its hub refuses it */
async function modelFinding({ context, offline }: Patient, reference: Reference): Promise<Finding> {
  const hub = hubNamed(context, reference.hub);
  const text = format(context, reference);
  const name = text;
  if (offline !== undefined && hub.syntax.paths !== true)
    return { name, status: 'skipped', message: `${text}: not asked for, ${offline}` };
  // What an earlier pull stored says nothing of what the hub gives today.
  const asking = {
    ...context,
    freshness: offline === undefined ? ('refresh' as const) : ('offline' as const),
  };
  const { snapshot } = await resolveReference(asking, reference);
  const { gated } = snapshot.metadata;
  if (hub.checkAccess !== undefined) await hub.checkAccess(snapshot, await hubContext(asking, hub));
  const credential = hub.credentials === undefined ? undefined : await context.credential(hub);
  const bytes = snapshot.files.reduce((sum, { size = 0 }) => sum + size, 0);
  const count = snapshot.files.length;
  const facts = {
    reference: text,
    revision: snapshot.revision ?? null,
    files: snapshot.files.length,
    bytes,
    gated: gated ?? null,
    source: credential?.source ?? null,
  };
  const gate = gated === true ? `, gated, and open to ${credential?.source ?? 'everybody'}` : '';
  const message = `${text}: ${count === 1 ? '1 file' : `${count} files`}, ${formatSize(bytes)}${gate}`;
  return { name, status: 'ok', message, facts };
}
