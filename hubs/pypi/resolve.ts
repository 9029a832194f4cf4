/** From a project's page in a package index to the one wheel that is taken. */
import { createHash } from 'node:crypto';
import { arch, platform } from 'node:os';
import { ModeldlError } from '../../src/errors.js';
import type { Hub, HubContext } from '../../src/hub.js';
import type { Reference } from '../../src/reference.js';
import { askIndex, notAnIndex, type Question } from '../package-index.js';
import { ACCEPT, readPage, type IndexFile } from './page.js';
import { LOGIN_HINT, packageIndexes, type PackageIndex } from './pip.js';
import { chooseWheel, isUniversal } from './wheels.js';

/** @throws ModeldlError as {@link Hub.resolve} */
export async function resolve(reference: Reference, context: HubContext): ReturnType<Hub['resolve']> {
  const project = reference.id;
  const files = await projectFiles(project, context);
  const wheel = chooseWheel(project, reference.revision, files, { platform: platform(), arch: arch() });
  const { filename, url, query, digest, size, yanked } = wheel.file;
  if (yanked !== undefined) {
    context.warn(`${filename} was withdrawn by its author${yanked === '' ? '' : `: ${yanked}`}`);
  }
  const metadata = await wheelMetadata(wheel.file, context);
  const license = metadata === undefined ? undefined : licenseOf(metadata);
  return {
    hub: 'pypi',
    id: project,
    // One version has a wheel for each kind of machine, with other bytes: then its name says which this is.
    revision: isUniversal(wheel) ? wheel.version : `${wheel.version}/${filename}`,
    files: [
      {
        path: filename,
        url,
        ...(query === undefined ? {} : { query }),
        ...(size === undefined ? {} : { size }),
        ...(digest === undefined ? {} : { digest }),
        unpack: { format: 'zip' },
      },
    ],
    metadata: license === undefined ? {} : { license },
  };
}

/**
 * The files of a project in the first index that has it. Later ones are not asked then: a public index must not be able
 * to outbid a private project's name with a higher version.
 */
async function projectFiles(project: string, context: HubContext): Promise<readonly IndexFile[]> {
  let notFound: ModeldlError | undefined;
  for (const index of await packageIndexes(context, context.signal)) {
    const question = questionOf(index, project);
    const page = new URL(`${index.url.href.replace(/\/*$/, '')}/${project}/`);
    try {
      const document = await askIndex(page, question, context);
      const files = await readPage(document);
      if (files === undefined) throw notAnIndex(document, question, 'hubs.pypi.endpoint');
      return files;
    } catch (error) {
      if (!(error instanceof ModeldlError) || error.code !== 'NOT_FOUND') throw error;
      notFound ??= error;
    }
  }
  throw (
    notFound ??
    new ModeldlError('CONFIG', 'No package index is configured', { hint: 'set `hubs.pypi.endpoint`' })
  );
}

function questionOf(index: PackageIndex, project: string): Question {
  return {
    source: 'The Python package index',
    what: `Python package ${project}`,
    login: LOGIN_HINT,
    credentials: index.source,
    headers: { accept: ACCEPT, ...index.headers },
  };
}

/** The wheel's `METADATA` where the index offers it apart (PEP 658); not worth an error when it cannot be had. */
async function wheelMetadata(file: IndexFile, context: HubContext): Promise<string | undefined> {
  if (file.metadata === undefined) return undefined;
  const address = new URL(file.url);
  address.pathname += '.metadata';
  const question: Question = {
    source: 'The Python package index',
    what: `metadata of ${file.filename}`,
    login: '',
    credentials: '',
    headers: { accept: '*/*' },
  };
  const document = await askIndex(address, question, context).catch((error: unknown) => {
    if (context.signal.aborted || !(error instanceof ModeldlError)) throw error;
    return undefined;
  });
  const { sha256 } = file.metadata;
  if (document === undefined || sha256 === undefined) return document?.text;
  if (createHash('sha256').update(document.bytes).digest('hex') === sha256) return document.text;
  throw new ModeldlError('INTEGRITY', `The metadata of ${file.filename} does not match its digest`, {
    hint: 'the index, or a proxy between, gives out changed files',
    details: { url: address.href },
  });
}

/** `License-Expression`, else a `License` that is a mere identifier: the field may hold a whole licence text. */
function licenseOf(metadata: string): string | undefined {
  const [header = ''] = metadata.replaceAll('\r\n', '\n').split('\n\n', 1);
  const expression = /^License-Expression:[ \t]*(\S.*)$/im.exec(header)?.[1];
  const identifier = /^License:[ \t]*([A-Za-z0-9.+-]+)[ \t]*$/im.exec(header)?.[1];
  const license = (expression ?? identifier)?.trim().toLowerCase();
  return license === 'unknown' || license === 'none' ? undefined : license;
}
