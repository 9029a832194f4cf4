/** System errors of sockets, name resolution, TLS and proxies, in words. */
import { ModeldlError, systemErrorCode } from '../errors.js';
import { redactUrl } from '../redact.js';

const REASONS: Readonly<Record<string, string>> = {
  ENOTFOUND: 'its name cannot be resolved',
  EAI_AGAIN: 'its name cannot be resolved at the moment',
  ECONNREFUSED: 'it refused the connection',
  ECONNRESET: 'the connection was reset',
  EPIPE: 'the connection was closed',
  ETIMEDOUT: 'it did not answer in time',
  EHOSTUNREACH: 'there is no route to it',
  ENETUNREACH: 'the network is unreachable',
  EPROTO: 'it does not speak TLS, or none that both sides accept',
  HPE_INVALID_CONSTANT: 'its answer is not HTTP',
  EMSGSIZE: 'its answer is too long',
};

const TLS_CODE = /^(ERR_TLS_|CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|ERR_OSSL)/;
const HANDSHAKE_CODE = /^(EPROTO$|ERR_SSL_)/;
const PERMANENT = new Set(['ENOTFOUND', 'EMSGSIZE']);

/** What a system error of a connection means, in words; undefined for one that is not known. */
export function reasonOf(code: string | undefined): string | undefined {
  return REASONS[HANDSHAKE_CODE.test(code ?? '') ? 'EPROTO' : (code ?? '')];
}

/**
 * A NETWORK error that names the host, what happened, and where to look. Keeps a ModeldlError as it is.
 *
 * @param proxy host and port of the proxy between, since it may be the one that does not answer
 */
export function networkError(error: unknown, url: URL, proxy?: string): ModeldlError {
  if (error instanceof ModeldlError) return error;
  const code = systemErrorCode(error) ?? '';
  const details = { url: redactUrl(url.href), systemCode: code };
  const text = error instanceof Error ? error.message : String(error);
  if (TLS_CODE.test(code)) {
    return new ModeldlError('NETWORK', `The certificate of ${url.host} was not accepted: ${text} (${code})`, {
      hint: 'behind a company proxy, name its certificate file in `caFile` or `SSL_CERT_FILE`',
      cause: error,
      details,
    });
  }
  const reason = reasonOf(code) ?? (code === '' ? text : `${text} (${code})`);
  const through = proxy === undefined ? '' : ` through the proxy ${proxy}`;
  return new ModeldlError('NETWORK', `Cannot reach ${url.host}${through}: ${reason}`, {
    hint: 'check the network and the proxy settings (`HTTPS_PROXY`, `NO_PROXY`)',
    cause: error,
    details,
  });
}

/** Is trying again of any use? Certificates, unknown names, policy and offline are final. */
export function isTransient(error: ModeldlError): boolean {
  const code = error.details['systemCode'];
  if (typeof code !== 'string' || PERMANENT.has(code)) return false;
  return !TLS_CODE.test(code) && !HANDSHAKE_CODE.test(code);
}
