/**
 * Bodies read from the socket into our own memory. Node.js' HTTP client allocates every read and copies it once more,
 * which costs more than the hashing; so its parser gets the bytes up to the end of the headers only, and a body whose
 * length is known goes around it. When that is over, the message is ended as the parser would have ended it, so that the
 * connection can be used again.
 */
import { Agent as HttpAgent, type AgentOptions, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, type AgentOptions as SecureAgentOptions } from 'node:https';
import { Socket } from 'node:net';
import type { Slabs } from './slabs.js';

/** Read at once while the parser gets the bytes. */
const HEADER_BYTES = 64 * 1024;

/** Copying less than this takes less than a millisecond. */
const WORTH_DIVERTING_BYTES = 1024 * 1024;
const NOTHING = Buffer.alloc(0);

/** Takes a connection's bytes in the parser's place. */
interface Diversion {
  readonly space: () => Buffer | undefined;
  /** So many bytes came, in the space that was given or else at the start of `memory`. Returns false to pause. */
  readonly received: (bytes: number, memory: Uint8Array, inSpace: boolean) => boolean;
}

interface Tap {
  diversion: Diversion | undefined;
}

const taps = new WeakMap<Socket, Tap>();

/** Options for a connection that can be diverted, and what remembers its socket. */
function createTap(): { onread: object; watch: (socket: unknown) => void } {
  const tap: Tap = { diversion: undefined };
  const own = Buffer.allocUnsafeSlow(HEADER_BYTES);
  let watched: Socket | undefined;
  return {
    onread: {
      buffer: () => tap.diversion?.space() ?? own,
      callback: (bytes: number, memory: Uint8Array): boolean => {
        if (tap.diversion !== undefined)
          return tap.diversion.received(bytes, memory, memory.buffer !== own.buffer);
        // Bytes that nobody asked for would be taken for the next answer's.
        if (watched?.listenerCount('data') === 0) {
          watched.destroy();
          return false;
        }
        // As a socket without `onread` gives it; the parser may keep it, so it gets a copy.
        watched?.emit('data', Buffer.from(memory.subarray(0, bytes)));
        return true;
      },
    },
    watch: (socket) => {
      if (!(socket instanceof Socket)) return;
      watched = socket;
      taps.set(socket, tap);
    },
  };
}

/** Opens a connection that can be diverted. */
function tapped<Connection>(connect: (options: { onread: object }) => Connection): Connection {
  const { onread, watch } = createTap();
  const socket = connect({ onread });
  watch(socket);
  return socket;
}

export function directHttpAgent(options: AgentOptions): HttpAgent {
  return new (class extends HttpAgent {
    override createConnection(
      ...[given, callback]: Parameters<HttpAgent['createConnection']>
    ): ReturnType<HttpAgent['createConnection']> {
      return tapped((onread) => super.createConnection({ ...given, ...onread }, callback));
    }
  })(options);
}

export function directHttpsAgent(options: SecureAgentOptions): HttpsAgent {
  return new (class extends HttpsAgent {
    override createConnection(
      ...[given, callback]: Parameters<HttpsAgent['createConnection']>
    ): ReturnType<HttpsAgent['createConnection']> {
      return tapped((onread) => super.createConnection({ ...given, ...onread }, callback));
    }
  })(options);
}

/** A body that goes around the parser. */
export interface DirectBody {
  /** There is space again. */
  resume(): void;
  /** Ends it, and its connection with it. */
  destroy(): void;
  /** All bytes were taken: lets the connection be used again. */
  release(): void;
}

export interface DirectOptions {
  readonly slabs: Slabs;
  /** So many bytes came. */
  readonly onBytes: (bytes: number) => void;
  /** All bytes came. */
  readonly onEnd: () => void;
  /** What taking them threw. */
  readonly onError: (error: unknown) => void;
}

/**
 * Diverts the rest of a body. What the parser has of it already is put into the slabs first.
 *
 * @returns undefined when this body cannot be: its length is unknown, too little of it is left, or its connection
 *   goes through a proxy
 */
export function divert(message: IncomingMessage, options: DirectOptions): DirectBody | undefined {
  const { socket } = message;
  const tap = taps.get(socket);
  const { 'content-length': length, 'transfer-encoding': encoding } = message.headers;
  if (tap === undefined || message.complete || length === undefined || encoding !== undefined)
    return undefined;
  let left = Number(length) - message.readableLength;
  if (!(left >= WORTH_DIVERTING_BYTES)) return undefined;
  const { slabs, onBytes, onEnd, onError } = options;
  let surplus = false;

  /** Bytes that came outside the slabs wait for space there, in order, and hold the connection meanwhile. */
  let queue = Promise.resolve();
  let waiting = 0;
  const enqueue = (work: () => Promise<void> | undefined): void => {
    socket.pause();
    waiting += 1;
    queue = queue.then(work).then(() => {
      waiting -= 1;
      if (waiting > 0) return;
      if (left === 0) onEnd();
      else socket.resume();
    });
    queue.catch(onError);
  };
  const put = (bytes: Buffer): void => {
    const busy = waiting > 0 ? (): Promise<void> | undefined => slabs.put(bytes) : slabs.put(bytes);
    if (typeof busy === 'function') enqueue(busy);
    else if (busy !== undefined) enqueue(() => busy);
  };

  tap.diversion = {
    space() {
      const space = left > 0 && waiting === 0 ? slabs.space() : undefined;
      return space !== undefined && space.length > left ? space.subarray(0, left) : space;
    },
    received(bytes, memory, inSpace) {
      // A server may send more than it announced.
      surplus = bytes > left;
      const wanted = Math.min(bytes, left);
      left -= wanted;
      onBytes(wanted);
      try {
        if (inSpace) slabs.filled(wanted);
        else put(Buffer.from(memory.subarray(0, wanted)));
      } catch (error) {
        onError(error);
        return false;
      }
      if (waiting > 0) return false;
      if (left === 0) {
        onEnd();
        // The connection is somebody else's now, and must hear when its other end goes.
        return true;
      }
      return slabs.hasSpace();
    },
  };
  const early: unknown = message.read();
  try {
    if (Buffer.isBuffer(early)) put(early);
  } catch (error) {
    onError(error);
  }
  if (waiting === 0) socket.resume();
  return {
    resume: () => {
      if (waiting === 0) socket.resume();
    },
    destroy: () => {
      socket.destroy();
    },
    release: () => {
      if (surplus) {
        socket.destroy();
        return;
      }
      tap.diversion = undefined;
      message.complete = true;
      message.push(null);
      message.resume();
      // The client looks whether a message is complete when bytes come, and lets go of its parser then.
      socket.emit('data', NOTHING);
      socket.resume();
    },
  };
}
