/** What `modeldl/testing` gives to those who make hubs: the tests that every hub here passes, and what they stand on. */
export {
  describeHubConformance,
  digestOf,
  type ConformanceOptions,
  type HubWorld,
  type ServerFault,
} from './hubs/conformance.js';
export { startServer, type Route, type TestServer } from './hubs/server.js';
export {
  createHubContext,
  refusalOf,
  type TestHubContext,
  type TestHubOptions,
} from './helpers/hub-context.js';
export type { Certificate } from './transfer/certificate.js';
