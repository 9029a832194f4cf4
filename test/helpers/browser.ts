/** Pages in a real browser, headless: what they ask for, complain of and look like. */
import { userInfo } from 'node:os';
import { pathToFileURL } from 'node:url';
import puppeteer, { type Browser, type Page } from 'puppeteer-core';
import * as v from 'valibot';
import { hasProgram } from './require.js';

export const CHROMIUM = hasProgram('chromium');

export async function startBrowser(): Promise<Browser> {
  // Its sandbox is not for root, as whom tests run in containers.
  const args = userInfo().uid === 0 ? ['--no-sandbox'] : [];
  return puppeteer.launch({ executablePath: '/usr/bin/chromium', args });
}

export interface OpenedPage {
  readonly page: Page;
  /** Addresses that the page asked for beside its own. */
  readonly requests: readonly string[];
  /** What its console says, what its scripts throw and what its policy refused. */
  readonly complaints: readonly string[];
}

/** @param width of the window, in pixels of CSS */
export async function openFile(browser: Browser, file: string, width = 1100): Promise<OpenedPage> {
  const page = await browser.newPage();
  const own = pathToFileURL(file).href;
  const requests: string[] = [];
  const complaints: string[] = [];
  page.on('request', (request) => {
    if (request.url() !== own) requests.push(request.url());
  });
  page.on('console', (message) => complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('dialog', (dialog) => {
    complaints.push(`dialog ${dialog.message()}`);
    void dialog.dismiss();
  });
  await page.setViewport({ width, height: 800 });
  await page.goto(own);
  return { page, requests, complaints };
}

/** Evaluates an expression there. It is a text, since the types of a browser's objects are not those of Node.js. */
export async function lookAt<Schema extends v.GenericSchema>(
  page: Page,
  schema: Schema,
  expression: string,
): Promise<v.InferOutput<Schema>> {
  return v.parse(schema, await page.evaluate(expression));
}

/** Opens or closes all `<details>`. */
export async function setDetails(page: Page, open: boolean): Promise<void> {
  await page.evaluate(`for (const each of document.querySelectorAll('details')) each.open = ${open}`);
}

/** Pixels by which a page is wider than its window. */
export async function overflowOf(page: Page): Promise<number> {
  const { scrollWidth, clientWidth } = await lookAt(
    page,
    v.object({ scrollWidth: v.number(), clientWidth: v.number() }),
    '(({ scrollWidth, clientWidth }) => ({ scrollWidth, clientWidth }))(document.documentElement)',
  );
  return scrollWidth - clientWidth;
}

/** A property of the body's style as the browser computes it. */
export async function styleOf(page: Page, property: 'maxWidth' | 'backgroundColor'): Promise<string> {
  return lookAt(page, v.string(), `getComputedStyle(document.body).${property}`);
}
