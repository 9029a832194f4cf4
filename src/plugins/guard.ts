/**
 * Hubs and converters of plugins as the rest of modeldl may take them: what they throw names the plugin, what they return
 * is looked at, and what never ends is ended. The built-in ones have tests for that instead.
 */
import { inspect } from 'node:util';
import type {
  CheckReport,
  ConversionPlan,
  ConversionReport,
  ConversionRequest,
  Converter,
  Refusal,
} from '../converter.js';
import { abortError, EXIT_CODES, ModeldlError, throwIfAborted, type ErrorCode } from '../errors.js';
import type { CredentialSpec, Hub, HubContext, HubSetting, PublishedConversions, Snapshot } from '../hub.js';
import type { ReferenceParts, ReferenceSyntax } from '../reference.js';
import {
  asAddress,
  asCheckReport,
  asPlanned,
  asReferenceParts,
  asReport,
  asSnapshot,
  asText,
  type Checked,
} from './shape.js';

export interface Guard {
  /** As a configuration file names it. */
  readonly plugin: string;
  /** Absolute path of that file. */
  readonly file: string;
  /** What the plugin is now: its version, or a digest. Part of what its converters make. */
  readonly identity: string;
  warn(message: string): void;
  /** How long a plugin may do nothing that can be seen before it is given up, milliseconds. */
  readonly silenceMs: number;
}

/** No address: credentials for it go nowhere. (RFC 2606) */
const NOWHERE = 'https://plugin.invalid';

export function guardHub(hub: Hub, guard: Guard): Hub {
  const told = oncePerMessage(guard);
  const endpoint = hub.endpoint?.bind(hub);
  const addressOf = hub.addressOf?.bind(hub);
  const allow = hub.allow?.bind(hub);
  const authorize = hub.authorize?.bind(hub);
  const answerChallenge = hub.answerChallenge?.bind(hub);
  const network = hub.network?.bind(hub);
  const checkAccess = hub.checkAccess?.bind(hub);
  const push = hub.push?.bind(hub);
  const mayMean = hub.mayMean?.bind(hub);
  const checkTarget = hub.checkTarget?.bind(hub);
  const search = hub.search?.bind(hub);
  // What programs of this machine keep, and what registries hold of other hubs, is for the built-in ones.
  const { prebuilt, program, key, holding, server, ...rest } = hub;
  return {
    ...rest,
    syntax: guardSyntax(hub.syntax, guard, told),
    ...(hub.settings === undefined ? {} : { settings: trusting(hub.settings) }),
    ...(hub.credentials === undefined ? {} : { credentials: guardCredentials(hub.credentials, guard, told) }),
    ...(endpoint === undefined
      ? {}
      : {
          // Asked of every hub whenever a reference is read.
          endpoint: (...given) =>
            orElse(guard, told, `telling the endpoint of \`${hub.name}\``, undefined, () =>
              checked(asAddress(endpoint(...given)), guard, 'an endpoint'),
            ),
        }),
    ...(addressOf === undefined
      ? {}
      : {
          addressOf: (...given) =>
            blaming(guard, `telling the address of \`${given[0]}\``, () =>
              checked(asAddress(addressOf(...given)), guard, 'an address of a file'),
            ),
        }),
    ...(allow === undefined
      ? {}
      : {
          allow: (...given) => {
            blaming(guard, 'judging an address', () => {
              allow(...given);
            });
          },
        }),
    ...(authorize === undefined
      ? {}
      : {
          authorize: (...given) => blamed(guard, 'authorizing a request', () => authorize(...given)),
        }),
    ...(answerChallenge === undefined
      ? {}
      : {
          answerChallenge: (...given) =>
            blamed(guard, 'answering a challenge', () => answerChallenge(...given)),
        }),
    ...(network === undefined
      ? {}
      : { network: (...given) => blamed(guard, 'telling certificates', () => network(...given)) }),
    resolve: async (reference, context) => {
      const doing = `resolving \`${reference.id}\``;
      const found = await watched(guard, doing, context, (seen) => hub.resolve(reference, seen));
      return checkedSnapshot(checked(asSnapshot(found), guard, 'a snapshot'), hub, guard);
    },
    ...(checkAccess === undefined
      ? {}
      : {
          checkAccess: (snapshot, context) =>
            watched(guard, `asking for access to \`${snapshot.id}\``, context, (seen) =>
              checkAccess(snapshot, seen),
            ),
        }),
    ...(push === undefined
      ? {}
      : {
          push: (model, target, context) =>
            blamed(guard, `writing \`${target.id}\``, () => push(model, target, context)),
        }),
    ...(mayMean === undefined
      ? {}
      : {
          mayMean: (...given) =>
            blamed(guard, `reading the revision \`${given[0]}\``, () => mayMean(...given)),
        }),
    ...(checkTarget === undefined
      ? {}
      : {
          checkTarget: (target) => {
            blaming(guard, `judging \`${target.id}\``, () => {
              checkTarget(target);
            });
          },
        }),
    ...(search === undefined
      ? {}
      : {
          async *search(query, context) {
            try {
              yield* search(query, context);
            } catch (error) {
              throw asKnown(error) ?? broken(guard, `failed while searching: ${said(error)}`, error);
            }
          },
        }),
    ...(prebuilt === undefined ? {} : { prebuilt: guardPrebuilt(prebuilt, guard, told) }),
  };
}

/** What a setting of an unknown hub does, only its plugin knows: without its word a project may not change it unasked. */
function trusting(settings: Readonly<Record<string, HubSetting>>): Readonly<Record<string, HubSetting>> {
  return Object.fromEntries(
    Object.entries(settings).map(([key, setting]) => [key, { ...setting, trust: setting.trust ?? true }]),
  );
}

function guardSyntax(syntax: ReferenceSyntax, guard: Guard, told: Told): ReferenceSyntax {
  const parse = syntax.parse?.bind(syntax);
  const format = syntax.format?.bind(syntax);
  const fromWebAddress = syntax.fromWebAddress?.bind(syntax);
  const asParts = (parts: unknown): ReferenceParts =>
    checked(asReferenceParts(parts), guard, 'what it read of a reference');
  return {
    ...syntax,
    ...(parse === undefined
      ? {}
      : {
          parse: (...given) => blaming(guard, `reading \`${given[0]}\``, () => asParts(parse(...given))),
        }),
    ...(format === undefined
      ? {}
      : {
          format: (...given) =>
            blaming(guard, `writing \`${given[0].id}\``, () =>
              checked(asText(format(...given)), guard, 'a reference'),
            ),
        }),
    ...(fromWebAddress === undefined
      ? {}
      : {
          // Asked about addresses that are others' business.
          fromWebAddress: (...given) =>
            orElse(guard, told, 'reading a web address', undefined, () => {
              const parts = fromWebAddress(...given);
              return parts === undefined ? undefined : asParts(parts);
            }),
        }),
  };
}

function guardCredentials(spec: CredentialSpec, guard: Guard, told: Told): CredentialSpec {
  const files = spec.files?.bind(spec);
  const headers = spec.headers?.bind(spec);
  return {
    ...spec,
    endpoint: (...given) =>
      orElse(
        guard,
        told,
        'telling where its token belongs',
        NOWHERE,
        () => checked(asAddress(spec.endpoint(...given)), guard, 'an endpoint') ?? NOWHERE,
      ),
    ...(files === undefined
      ? {}
      : {
          files: (...given) => orElse(guard, told, 'telling where tokens lie', [], () => files(...given)),
        }),
    ...(headers === undefined
      ? {}
      : { headers: (...given) => blaming(guard, 'writing headers', () => headers(...given)) }),
    whoami: (context) => watched(guard, 'asking who a token is of', context, (seen) => spec.whoami(seen)),
  };
}

/** Asked before conversions of whatever hub's models: what fails here is as if nothing were published. */
function guardPrebuilt(prebuilt: PublishedConversions, guard: Guard, told: Told): PublishedConversions {
  return {
    ids: (...given) => orElse(guard, told, 'naming conversions', [], () => prebuilt.ids(...given)),
    exists: (id, context) =>
      watched(guard, `looking for \`${id}\``, context, (seen) => prebuilt.exists(id, seen)),
  };
}

function checkedSnapshot(snapshot: Snapshot, hub: Hub, guard: Guard): Snapshot {
  if (snapshot.hub !== hub.name) {
    throw broken(guard, `returned a snapshot of \`${snapshot.hub}\` in place of \`${hub.name}\``);
  }
  // What a server says must not make a file of this machine part of a model.
  const local = snapshot.files.find(({ url }) => url.startsWith('file:'));
  if (local !== undefined && hub.endpoint !== undefined) {
    throw broken(guard, `has an endpoint, and gave a file of this machine for \`${local.path}\``);
  }
  return snapshot;
}

export function guardConverter(converter: Converter, guard: Guard): Converter {
  const failed = (doing: string, error: unknown): ModeldlError => {
    const known = asKnown(error);
    if (known !== undefined) return known;
    return new ModeldlError('CONVERSION', `${blame(guard)} failed while ${doing}: ${said(error)}`, {
      hint: hintFor(guard),
      cause: error,
    });
  };
  const converting = async <Result>(
    doing: string,
    signal: AbortSignal,
    work: () => Promise<Result>,
  ): Promise<Result> => {
    try {
      return await untilAborted(signal, work);
    } catch (error) {
      if (signal.aborted) throw abortError(signal);
      throw failed(doing, error);
    }
  };
  return {
    ...converter,
    plan: async (model, request): Promise<ConversionPlan | Refusal> => {
      // Every converter is asked about every model: one that fails leaves it to the others.
      const refuse = (why: string): Refusal => ({
        refused: `${blame(guard)} failed while planning \`${converter.name}\`: ${why}`,
        hint: hintFor(guard),
        handlesModel: false,
      });
      try {
        const asked = await silenceEnds(guard, `planning \`${converter.name}\``, undefined, (activity) => {
          const text = (path: string): Promise<string | undefined> => activity(() => model.text(path));
          return converter.plan({ ...model, text }, request);
        });
        const planned = checked(asPlanned(asked), guard, 'a plan');
        return 'refused' in planned ? planned : checkedPlan(planned, request, converter, guard);
      } catch (error) {
        const known = asKnown(error);
        if (known !== undefined && !isFault(known)) throw known;
        const refusal = refuse(known?.message ?? said(error));
        guard.warn(refusal.refused);
        return refusal;
      }
    },
    run: async (model, plan, outDir, context): Promise<ConversionReport> => {
      const report = await converting(`converting ${model.reference}`, context.signal, () =>
        converter.run(model, plan, outDir, context),
      );
      return checked(asReport(report), guard, 'a report');
    },
    check: async (model, plan, outDir, context): Promise<CheckReport> => {
      const report = await converting(`checking ${model.reference}`, context.signal, () =>
        converter.check(model, plan, outDir, context),
      );
      return checked(asCheckReport(report), guard, 'a report of a check');
    },
  };
}

function checkedPlan(
  plan: ConversionPlan,
  request: ConversionRequest,
  converter: Converter,
  guard: Guard,
): ConversionPlan {
  const { name, toolchains, settings } = converter;
  if (plan.converter !== name) throw broken(guard, `planned for \`${plan.converter}\`, not for \`${name}\``);
  if (!toolchains.includes(plan.toolchain))
    throw broken(guard, `planned for the toolchain \`${plan.toolchain}\`, which \`${name}\` does not name`);
  const unknown = Object.keys(request.settings).find((key) => !Object.hasOwn(settings, key));
  if (unknown !== undefined) {
    throw new ModeldlError('USAGE', `\`${name}\` has no setting ${unknown}`, {
      hint: `\`modeldl converters ${name}\` lists what it takes`,
    });
  }
  // Another version, or another value that the plan does not repeat, may make another thing of the same model.
  return { ...plan, settings: { ...request.settings, ...plan.settings, plugin: guard.identity } };
}

/** Set on errors that are the plugin's doing, so that they are told from those of a model or a server. */
const FAULT = 'plugin';

function isFault(error: ModeldlError): boolean {
  return error.details[FAULT] !== undefined;
}

/** An error that is nobody's but the plugin's. */
function broken(guard: Guard, what: string, cause?: unknown): ModeldlError {
  return new ModeldlError('INTERNAL', `${blame(guard)} ${what}`, {
    hint: hintFor(guard),
    cause,
    details: { [FAULT]: guard.plugin },
  });
}

function blame({ plugin }: Guard): string {
  return `The plugin ${plugin}`;
}

function hintFor({ plugin, file }: Guard): string {
  return `this is a bug in that plugin: tell those who make it, with the output of \`--verbose\`; to go on without it, take ${plugin} out of \`plugins\` in ${file}`;
}

function checked<Value>(result: Checked<Value>, guard: Guard, what: string): Value {
  if ('value' in result) return result.value;
  throw broken(guard, `returned ${what} that is malformed: ${result.wrong}`);
}

export function said(error: unknown): string {
  if (error instanceof Error) return `${error.name}: ${error.message}`;
  // Not everything that can be thrown can be made a text otherwise.
  return typeof error === 'string' ? error : inspect(error, { depth: 0 });
}

/**
 * A ModeldlError, or undefined: also one of another copy of modeldl, which the plugin may have got by its own installation
 * and whose class is another.
 */
function asKnown(error: unknown): ModeldlError | undefined {
  if (error instanceof ModeldlError) return error;
  if (!(error instanceof Error) || error.name !== 'ModeldlError' || !('code' in error)) return undefined;
  const { code, message, cause } = error;
  if (typeof code !== 'string' || !isErrorCode(code)) return undefined;
  const hint = 'hint' in error && typeof error.hint === 'string' ? error.hint : undefined;
  const details = 'details' in error && typeof error.details === 'object' ? error.details : null;
  return new ModeldlError(code, message, { hint, cause, details: { ...details } });
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(EXIT_CODES, code);
}

/** Runs what a plugin does at once; whatever else it throws than a ModeldlError is its fault. */
function blaming<Result>(guard: Guard, doing: string, work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    throw asKnown(error) ?? broken(guard, `failed while ${doing}: ${said(error)}`, error);
  }
}

async function blamed<Result>(guard: Guard, doing: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    throw asKnown(error) ?? broken(guard, `failed while ${doing}: ${said(error)}`, error);
  }
}

/** Says what failed, once for each way to fail: some things are asked for every reference and every request. */
type Told = (message: string) => void;

function oncePerMessage(guard: Guard): Told {
  const told = new Set<string>();
  return (message) => {
    if (told.has(message)) return;
    told.add(message);
    guard.warn(message);
  };
}

/** For what others depend on: a fault is told, and something harmless stands for the answer. */
function orElse<Result>(
  guard: Guard,
  told: Told,
  doing: string,
  otherwise: Result,
  work: () => Result,
): Result {
  try {
    return blaming(guard, doing, work);
  } catch (error) {
    if (!(error instanceof ModeldlError) || !isFault(error)) throw error;
    told(error.message);
    return otherwise;
  }
}

/** Runs what may ask a server: it ends when it is aborted, and when it waits for nothing that can be seen. */
async function watched<Result>(
  guard: Guard,
  doing: string,
  context: HubContext,
  work: (seen: HubContext) => Promise<Result>,
): Promise<Result> {
  const { signal } = context;
  try {
    return await silenceEnds(guard, doing, signal, (activity) =>
      work({ ...context, fetch: (input, init) => activity(() => context.fetch(input, init)) }),
    );
  } catch (error) {
    // Also where it was told by an error of its own making.
    if (signal.aborted) throw abortError(signal);
    throw asKnown(error) ?? broken(guard, `failed while ${doing}: ${said(error)}`, error);
  }
}

type Activity = <Result>(work: () => Promise<Result>) => Promise<Result>;

/** @throws ModeldlError NETWORK when `work` neither ends nor begins or ends an activity for as long as a plugin may be silent */
async function silenceEnds<Result>(
  guard: Guard,
  doing: string,
  signal: AbortSignal | undefined,
  work: (activity: Activity) => Promise<Result>,
): Promise<Result> {
  let giveUp: (error: ModeldlError) => void = () => undefined;
  const silent = new Promise<never>((_resolve, reject) => (giveUp = reject));
  let running = 0;
  let timer: NodeJS.Timeout | undefined;
  const rest = (): void => {
    clearTimeout(timer);
    if (running > 0) return;
    // It also keeps the process, which nothing else may do, until this is told.
    timer = setTimeout(() => {
      const seconds = Math.round(guard.silenceMs / 1000);
      giveUp(
        new ModeldlError('NETWORK', `${blame(guard)} hangs: it did nothing for ${seconds} s while ${doing}`, {
          hint: hintFor(guard),
          details: { [FAULT]: guard.plugin },
        }),
      );
    }, guard.silenceMs);
  };
  const activity: Activity = async (inner) => {
    running += 1;
    rest();
    try {
      return await inner();
    } finally {
      running -= 1;
      rest();
    }
  };
  rest();
  try {
    return await untilAborted(signal, () => Promise.race([work(activity), silent]));
  } finally {
    running = Infinity;
    clearTimeout(timer);
  }
}

/** A plugin that does not listen to the signal is left behind. */
export async function untilAborted<Result>(
  signal: AbortSignal | undefined,
  work: () => Promise<Result>,
): Promise<Result> {
  throwIfAborted(signal);
  if (signal === undefined) return work();
  let onAbort = (): void => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => {
      reject(abortError(signal));
    };
  });
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work(), aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
