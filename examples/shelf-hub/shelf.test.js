// @ts-check
import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { createHubContext, describeHubConformance, refusalOf, startServer } from 'modeldl/testing';
import { hubs } from './index.js';

const TOKEN = 'open-sesame';
/** @type {Readonly<Record<string, string>>} */
const FILES = { 'config.json': '{}', 'weights/model.onnx': 'not really' };

/** @param {string} text */
const sha256 = (text) => createHash('sha256').update(text).digest('hex');
const SUMS = Object.entries(FILES)
  .map(([path, text]) => `${sha256(text)}  ./${path}\n`)
  .join('');

const [shelf] = hubs;
if (shelf === undefined) throw new Error('Expected a hub');

function serve() {
  return startServer((request, path) => {
    if (request.headers.authorization !== `Bearer ${TOKEN}`) return { status: 401 };
    if (path === '/models/bert/SHA256SUMS') return { body: SUMS };
    const body = FILES[path.replace('/models/bert/', '')];
    return body === undefined ? undefined : { body };
  });
}

describeHubConformance('shelf', async () => {
  const server = await serve();
  return {
    hub: shelf,
    options: {
      settings: { endpoint: `${server.origin}/models/` },
      credential: { token: TOKEN, source: 'SHELF_TOKEN' },
    },
    model: { text: 'shelf:bert', paths: Object.keys(FILES) },
    unknown: 'shelf:missing',
    references: ['shelf:team/bert', `shelf:bert@${sha256(SUMS)}//weights`],
    secrets: [TOKEN],
    setFault: server.setFault,
    reached: server.reached,
    close: server.close,
  };
});

it('names where the token came from that the shelf refuses', async () => {
  const server = await serve();
  const context = createHubContext(shelf, {
    settings: { endpoint: `${server.origin}/models` },
    credential: { token: 'wrong', source: 'SHELF_TOKEN' },
  });
  const error = await refusalOf(shelf.resolve({ hub: 'shelf', id: 'bert' }, context), 'AUTH');
  expect(error.message).toContain('SHELF_TOKEN');
  expect(error.message).not.toContain('wrong');
  context.close();
  await server.close();
});
