/**
 * What would fail a release later, or publish it wrongly, said before anything is tested. A problem a line, as an
 * annotation of GitHub Actions; exit 1 when there is any.
 */
import { readFileSync } from 'node:fs';
import process, { env } from 'node:process';

const { name, version, repository } = JSON.parse(readFileSync('package.json', 'utf8'));
const changelog = readFileSync('CHANGELOG.md', 'utf8');
const { GITHUB_REF_NAME: tag = '', GITHUB_REPOSITORY: slug = '', GITHUB_SERVER_URL: server = '' } = env;

const address = typeof repository === 'string' ? repository : repository?.url;
const expected = `git+${server}/${slug}.git`;
const problems = [];
if (tag !== `v${version}`)
  problems.push(`The tag is ${tag}, and the version of package.json ${version}: set one to the other`);
if (!changelog.split(/\r?\n/).includes(`## ${version}`))
  problems.push(`CHANGELOG.md has no section "## ${version}": give the section of this release that heading`);
if (address === undefined)
  problems.push(
    `package.json names no repository, and npm refuses a provenance without: run \`npm pkg set repository.type=git repository.url=${expected}\`, and commit`,
  );
else if (address.replace(/^git\+|\.git$/g, '') !== `${server}/${slug}`)
  problems.push(
    `package.json names the repository ${address}, and this is ${server}/${slug}, which npm compares in each letter: set repository.url to ${expected}`,
  );
const lines =
  problems.length > 0
    ? problems.map((problem) => `::error::${problem}`)
    : [`${name} ${version} can be released`];
process.stdout.write(`${lines.join('\n')}\n`);
if (problems.length > 0) process.exitCode = 1;
