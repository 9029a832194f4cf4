/** Which generation of Geti a server is, and its platform. */
import { ModeldlError } from '../../src/errors.js';
import type { HubContext } from '../../src/hub.js';
import { openApi } from './api.js';
import { textSetting, type Platform } from './platform.js';
import { openV2, ORGANIZATIONS_PATH, organizationsSchema } from './v2.js';
import { openV3, PROJECTS_PATH, projectsSchema } from './v3.js';

/**
 * What each generation has to be asked first tells it: a 3.x server gives its web page for addresses of 2.x, and the
 * other way round. `hubs.geti.api` saves a 3.x server the first question.
 * @throws ModeldlError AUTH, NETWORK, CONFIG
 */
export async function openPlatform(context: HubContext): Promise<Platform> {
  const api = openApi(context);
  const generation = textSetting(context, 'api');
  if (generation !== undefined && generation !== '2' && generation !== '3') {
    throw new ModeldlError(
      'CONFIG',
      `Expected \`2\` or \`3\` in \`hubs.geti.api\`, got ${JSON.stringify(generation)}`,
      {
        hint: 'leave it out to have the server asked',
        details: { key: 'hubs.geti.api' },
      },
    );
  }
  if (generation === '2') return openV2(api, await api.get(organizationsSchema, ORGANIZATIONS_PATH), context);
  if (generation === '3') return openV3(api, await api.get(projectsSchema, PROJECTS_PATH));
  const organizations = await api.find(organizationsSchema, ORGANIZATIONS_PATH);
  if (organizations !== undefined) return openV2(api, organizations, context);
  const projects = await api.find(projectsSchema, PROJECTS_PATH);
  if (projects !== undefined) return openV3(api, projects);
  throw await api.nothingFound(ORGANIZATIONS_PATH);
}
