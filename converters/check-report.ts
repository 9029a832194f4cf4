/** What a worker's check reports, as it comes over the pipe. */
import * as v from 'valibot';

export const checkReport = v.object({
  passed: v.boolean(),
  compared: v.boolean(),
  reason: v.exactOptional(v.string()),
  outputs: v.array(
    v.object({
      name: v.string(),
      shape: v.array(v.number()),
      type: v.string(),
      finite: v.boolean(),
      maxDifference: v.exactOptional(v.number()),
      cosine: v.exactOptional(v.number()),
      magnitude: v.exactOptional(v.number()),
    }),
  ),
  warnings: v.array(v.string()),
});
