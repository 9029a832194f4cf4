/**
 * The interface of a converter, which makes one model out of another, and of the toolchain (a pinned, isolated Python
 * environment) that it runs in. Like hubs, both are plain values.
 */
import * as v from 'valibot';
import type { Emit } from './events.js';

export const PRECISIONS = ['fp32', 'fp16', 'int8', 'int4', 'nf4', 'mxfp4', 'cb4'] as const;
export type Precision = (typeof PRECISIONS)[number];

const infoValue = v.union([v.string(), v.number()]);

/** How those who publish a model convert it to OpenVINO IR, as a hub tells it and records keep it. */
export const conversionRecipe = v.union([
  v.object({
    /** Path of the file or folder that is converted. */
    input: v.string(),
    /** Tensors that the result begins at, in order. */
    begins: v.pipe(v.array(v.string()), v.readonly()),
    /** As `--set` has them; what a user sets wins. */
    settings: v.pipe(v.record(v.string(), v.string()), v.readonly()),
    /** Of the files that are made, without their endings. */
    name: v.string(),
    /** What the IR tells below `model_info`. */
    modelInfo: v.exactOptional(
      v.pipe(
        v.record(v.string(), v.union([infoValue, v.pipe(v.array(infoValue), v.readonly())])),
        v.readonly(),
      ),
    ),
  }),
  /** One that modeldl cannot follow, and why: the model as a whole is not converted. */
  v.object({ refused: v.string(), hint: v.string() }),
]);
export type ConversionRecipe = Readonly<v.InferOutput<typeof conversionRecipe>>;

/** A model as a converter plans for it: what it holds is known, and none of it may be here yet. */
export interface PlannedModel {
  readonly reference: string;
  readonly hub: string;
  readonly id: string;
  /** What tools would call it: the id where that is a name, else the last part of its path. One or two plain parts. */
  readonly name: string;
  readonly files: readonly {
    readonly path: string;
    /** 0 when the hub does not tell. */
    readonly bytes: number;
  }[];
  readonly metadata: {
    readonly task?: string;
    readonly library?: string;
    readonly license?: string;
    readonly recipe?: ConversionRecipe;
  };
  /**
   * A small file's text, such as `config.json`; undefined when the model has none of that name, or one above 4 MiB. It is
   * fetched before all others where the model is not here. @throws ModeldlError as fetching does
   */
  text(path: string): Promise<string | undefined>;
}

/** A model as a converter works on it: a directory of files that must not be changed. It may hold no more than is read. */
export interface LocalModel extends PlannedModel {
  /** Absolute directory that holds the files. */
  readonly root: string;
  readonly files: readonly LocalFile[];
}

export interface LocalFile {
  readonly path: string;
  /** Bytes. */
  readonly bytes: number;
  readonly sha256: string;
}

export interface ConversionRequest {
  readonly precision: Precision;
  /** Upper case: `CPU`, `GPU`, `NPU`, `AUTO`, `HETERO:GPU,CPU`. */
  readonly device: string;
  readonly task?: string;
  /** `--set` values, validated by the converter against its own list. */
  readonly settings: Readonly<Record<string, string>>;
  /** Absolute path of calibration data. */
  readonly calibration?: string;
  /** How the result will be laid out, where that decides what is made: `ovms` follows its scripts. */
  readonly layout?: 'ovms' | 'model-download';
  /** Name of the toolchain, when not the one that fits the model. */
  readonly toolchain?: string;
  /** Nothing may be fetched: what needs a data set of others is refused. */
  readonly offline: boolean;
  readonly trustRemoteCode: boolean;
  readonly trustPickle: boolean;
}

/** Why a converter does not take a model or a request. */
export interface Refusal {
  readonly refused: string;
  readonly hint?: string;
  /** True when the converter handles such models but not this request: its reason beats others'. */
  readonly handlesModel: boolean;
}

export interface ConversionPlan {
  readonly converter: string;
  /** Name of the toolchain it needs: one of its converter's. */
  readonly toolchain: string;
  /** Something else does the work, and the toolchain only what that cannot: nothing is refused for lack of it. */
  readonly toolchainOptional?: boolean;
  /** Files of the model that the conversion reads: they, and nothing else, belong to the cache key. */
  readonly reads: readonly string[];
  readonly precision: Precision;
  readonly device: string;
  readonly task?: string;
  /** Everything that decides the result beside the files: resolved settings, digest of the worker. JSON values. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Absolute path of the calibration data it reads; their digest is in `settings`. */
  readonly calibration?: string;
  /** For people: what will be done, in order. */
  readonly steps: readonly string[];
  /** What was changed from what was asked for, and why. */
  readonly adjustments: readonly string[];
  readonly estimate: {
    /** In the cache, while it is made. */
    readonly diskBytes: number;
    /** Of the result. */
    readonly resultBytes: number;
    readonly memoryBytes: number;
  };
  /** Conversion runs code from the model or loads a pickle: recorded. */
  readonly consent?: readonly string[];
}

export interface Converter {
  readonly name: string;
  /** For people: what it takes and makes. */
  readonly accepts: string;
  readonly makes: string;
  /** Names of the toolchains it may run in, the one that new models need first. */
  readonly toolchains: readonly [string, ...string[]];
  /** Settings of `--set`, by key, with their description. */
  readonly settings: Readonly<Record<string, string>>;
  /**
   * What it would do, or why it can't, by names, sizes and small files.
   * @throws ModeldlError USAGE for an unknown or malformed setting
   */
  plan(model: PlannedModel, request: ConversionRequest): Promise<ConversionPlan | Refusal>;
  /**
   * Writes the result into `outDir` (empty, exclusively its own).
   * @throws ModeldlError CONVERSION (log path and cause line), UNSUPPORTED (naming the operation), TOOLCHAIN
   */
  run(
    model: LocalModel,
    plan: ConversionPlan,
    outDir: string,
    context: ConverterContext,
  ): Promise<ConversionReport>;
  /** Loads the result and runs it once, comparing it with the original where that is possible. */
  check(
    model: LocalModel,
    plan: ConversionPlan,
    outDir: string,
    context: ConverterContext,
  ): Promise<CheckReport>;
}

export interface ConverterContext extends ToolchainContext {
  /** Absolute path of the log that everything the tools print goes to. */
  readonly logFile: string;
  /** A private directory on the same file system as the output; removed afterwards. */
  readonly workDir: string;
  /** The result will be checked: a converter that has all at hand may do so at once. */
  readonly wantsCheck: boolean;
  /**
   * Absolute path of the interpreter of the toolchain that the plan names, which is made when it is missing: what
   * converters of plugins run Python by. @throws ModeldlError TOOLCHAIN, DISK, NETWORK, INTEGRITY
   */
  interpreter(): Promise<string>;
}

export interface ConversionReport {
  /** Versions of what did the work, by package name. */
  readonly versions: Readonly<Record<string, string>>;
  readonly warnings: readonly string[];
  /** Where the converter checked its result at once. */
  readonly check?: CheckReport;
}

export interface CheckedOutput {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: string;
  readonly finite: boolean;
  /** Largest absolute difference to the original's output, in the output's own unit. */
  readonly maxDifference?: number;
  /** Cosine similarity to the original's output, -1 to 1. */
  readonly cosine?: number;
  /** Largest absolute value of the original's output. */
  readonly magnitude?: number;
}

export interface CheckReport {
  readonly passed: boolean;
  /** Whether outputs were compared with the original's, or the model only ran. */
  readonly compared: boolean;
  /** Why not compared, or what failed. */
  readonly reason?: string;
  readonly outputs: readonly CheckedOutput[];
  /** What falls short of what is expected of the precision, without being wrong. */
  readonly warnings: readonly string[];
}

/** As a worker reports it and a record keeps it. */
export const checkReport: v.GenericSchema<unknown, CheckReport> = v.object({
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
  warnings: v.optional(v.array(v.string()), []),
});

/** Where toolchains live and how they may be made. */
export interface ToolchainContext {
  /** Absolute directory that holds all environments. */
  readonly toolchainsDir: string;
  readonly signal: AbortSignal;
  readonly emit: Emit;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** `toolchains.*` of the configuration. */
  readonly settings: ToolchainSettings;
  /** Runs `work` while no other process works on the same name. @throws ModeldlError BUSY */
  exclusively<T>(name: string, work: () => Promise<T>): Promise<T>;
  /**
   * Declares that this process runs programs of an environment (its directory's name) until it ends. Called in
   * `exclusively`, so that no removal is under way.
   */
  use(environment: string): Promise<void>;
  /** Runs `work` like `exclusively`, once no other process uses the environment. @throws ModeldlError BUSY */
  whenUnused<T>(name: string, environment: string, work: () => Promise<T>): Promise<T>;
  /** Compares what will be written with what is free, unless that is waived. @throws ModeldlError DISK */
  requireRoom(needs: readonly RoomNeed[]): Promise<void>;
}

/** Bytes that will be written to a directory, which need not exist yet. */
export interface RoomNeed {
  readonly directory: string;
  readonly bytes: number;
  /** For messages: `the conversion`. */
  readonly what: string;
}

export interface ToolchainSettings {
  /** `never`: a missing toolchain is an error instead of an installation. */
  readonly install: 'auto' | 'never';
  readonly offline: boolean;
  /** Python to make environments with; default the first suitable `python3` on the PATH. */
  readonly python?: string;
  /** An existing interpreter to use as it is, by toolchain name. */
  readonly interpreters: Readonly<Record<string, string>>;
  /**
   * Where PyTorch comes from: `cpu` from its own index of CPU wheels, `index` with all else, `auto` the first when that
   * can be reached and has them; else the address of an index of CPU wheels.
   */
  readonly torch: string;
  /** Absolute directory of wheels to install from, without network. */
  readonly wheels?: string;
}

export interface Toolchain {
  readonly name: string;
  /** For people: what is in it. */
  readonly title: string;
  /** Rough size of the download in bytes, for plans. */
  readonly downloadBytes: number;
  /**
   * Digest of what does the work, part of every conversion's key: of the lock file, or of the versions in a user's own
   * interpreter. @throws ModeldlError TOOLCHAIN when that does not run
   */
  digest(context: ToolchainContext): Promise<string>;
  /** State on this machine, without changing anything. */
  status(context: ToolchainContext): Promise<ToolchainStatus>;
  /** Makes it when missing or broken; returns the interpreter. @throws ModeldlError TOOLCHAIN, DISK, NETWORK, INTEGRITY */
  ensure(context: ToolchainContext): Promise<ToolchainEnvironment>;
  /**
   * Starts an environment that is there and asks it for its packages; undefined where there is nothing to ask.
   * @throws ModeldlError TOOLCHAIN that says what is wrong with it
   */
  examine?(context: ToolchainContext): Promise<void>;
  /** Puts what it is made of into a folder, for machines without network. @throws ModeldlError TOOLCHAIN, DISK, NETWORK, INTEGRITY */
  download(context: ToolchainContext, folder: string): Promise<DownloadedWheels>;
  /**
   * What wheels have to be made for so that they serve here; absent for one that is made of none.
   * @throws ModeldlError TOOLCHAIN without a Python that it can be made with
   */
  readonly kit?: (context: ToolchainContext) => Promise<ToolchainKit>;
  /** Removes every environment of this name that no other process uses, and wheels that a bundle brought. @throws ModeldlError BUSY, DISK */
  remove(context: ToolchainContext): Promise<RemovedBytes>;
}

/** Wheels that a toolchain is installed from without network. */
export interface ToolchainKit {
  /** sha256 of the requirement file. */
  readonly lock: string;
  /** `3.11`: wheels serve every release of it. */
  readonly python: string;
  /** As Python's sysconfig has it. */
  readonly platform: string;
  /** Where those of a bundle lie once they are imported. Absolute. */
  readonly directory: string;
}

export interface ToolchainEnvironment {
  /** Absolute path of the interpreter. */
  readonly python: string;
  /** Absolute directory, undefined for a user's own interpreter. */
  readonly directory?: string;
}

export interface ToolchainStatus {
  readonly state: 'installed' | 'missing' | 'broken' | 'external';
  readonly directory?: string;
  readonly bytes?: number;
  /** Of other environments of this name, which no conversion here would use: `remove` takes them too. */
  readonly unusedBytes?: number;
  /** Versions of the pinned packages that matter, by name. */
  readonly versions: Readonly<Record<string, string>>;
  /** Why it cannot be installed or is broken. */
  readonly reason?: string;
  /** What making it would take at most, bytes, and what it needs on disks at least; absent where it is there. */
  readonly toInstall?: {
    /** Its wheels are here: nothing is fetched. */
    readonly hasWheels?: true;
    readonly downloadBytes: number;
    readonly installedBytes: number;
    readonly needs: readonly RoomNeed[];
  };
}

export interface RemovedBytes {
  readonly freedBytes: number;
  /** Of files that other environments have as well, and keep. */
  readonly sharedBytes: number;
}

export interface DownloadedWheels {
  readonly files: number;
  readonly bytes: number;
}

/** An optional native package that can run models in Node.js. */
export interface Runtime {
  readonly name: string;
  /** Whether it could be used here, without loading it. */
  status(): Promise<RuntimeStatus>;
  /** What it can run models on, by its own names; loaded in a process of its own. @throws ModeldlError TOOLCHAIN */
  devices?(context: Pick<ToolchainContext, 'environment' | 'signal'>): Promise<readonly RuntimeDevice[]>;
}

export interface RuntimeDevice {
  /** `CPU`, `GPU.0`. */
  readonly name: string;
  /** For people; empty where the runtime does not tell. */
  readonly title: string;
}

/** A program of the machine that converters use, or could. */
export interface MachineProgram {
  /** `python`. */
  readonly name: string;
  readonly title: string;
  /** Absolute path, and what it calls its version. */
  readonly path?: string;
  readonly version?: string;
  /** Why it cannot be used, and what to do; absent when it can. */
  readonly problem?: string;
  readonly fix?: string;
  /** Nothing is wrong without it. */
  readonly optional?: true;
}

export interface RuntimeStatus {
  /** Absent when it is not installed. */
  readonly version?: string;
  /** Why it cannot be used; absent when it can. */
  readonly reason?: string;
}
