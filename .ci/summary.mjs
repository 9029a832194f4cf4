import { appendFileSync } from 'node:fs';
import process from 'node:process';

/**
 * A reporter for vitest that adds one line of JSON to the file `CI_SUMMARY` names: how many tests passed and failed,
 * and all that makes a run fail, which the end of a log has to name. Hooks and errors outside any test do so without
 * a failed test.
 */
export default class Summary {
  onTestRunEnd(modules, unhandled) {
    const failures = unhandled.map((error) => `outside any test: ${text(error)}`);
    const count = { passed: 0, failed: 0 };
    for (const module of modules) {
      for (const error of module.errors()) failures.push(`${module.relativeModuleId}: ${text(error)}`);
      for (const suite of module.children.allSuites())
        for (const error of suite.errors())
          failures.push(`${module.relativeModuleId}: hook of ${suite.fullName}: ${text(error)}`);
      for (const test of module.children.allTests()) {
        const { state, errors = [] } = test.result();
        if (state in count) count[state] += 1;
        if (state === 'failed')
          failures.push(`${module.relativeModuleId}: ${test.fullName}: ${errors.map(text).join('\n')}`);
      }
    }
    appendFileSync(
      process.env.CI_SUMMARY,
      `${JSON.stringify({ node: process.versions.node, ...count, failures })}\n`,
    );
  }
}

const text = ({ name, message, stack, type }) =>
  [type, stack ?? `${name}: ${message}`].filter(Boolean).join(': ');
