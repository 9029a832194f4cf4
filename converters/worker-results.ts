/** What workers report of a conversion and of a check. */
import * as v from 'valibot';

export const checked = v.object({
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

export const converted = v.object({
  versions: v.record(v.string(), v.string()),
  warnings: v.array(v.string()),
  /** Of a worker that has checked its result at once. */
  check: v.exactOptional(checked),
});
