/** Names of Python projects. */

/** PEP 503: one spelling for all that mean the same project. */
export function normalizeProject(name: string): string {
  return name.toLowerCase().replace(/[-_.]+/g, '-');
}
