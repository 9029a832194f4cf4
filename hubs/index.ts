/** The table of built-in hubs. Adding one is one new file and one line here. */
import type { Hub } from '../src/hub.js';

export const hubs: readonly Hub[] = [];
