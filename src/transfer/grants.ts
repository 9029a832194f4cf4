/** What registries grant after a challenge (401 with `WWW-Authenticate`): headers for the addresses that they cover. */

/** Headers for every address below a prefix. */
export interface Grant {
  /** Absolute, up to a `/`: of the origin that asked for it. */
  readonly covers: string;
  readonly headers: Readonly<Record<string, string>>;
}

export interface Grants {
  headersFor(url: URL): Readonly<Record<string, string>> | undefined;
  /** Answers a challenge, once for all requests that meet the same; false when there is nothing to answer with. */
  answer(url: URL, challenge: string, obtain: () => Promise<Grant | undefined>): Promise<boolean>;
}

export function createGrants(): Grants {
  const granted = new Map<string, Grant>();
  const asked = new Map<string, Promise<boolean>>();

  async function grant(url: URL, obtain: () => Promise<Grant | undefined>): Promise<boolean> {
    const given = await obtain();
    // A hub that mistook the origin would hand a token to another host.
    if (given === undefined || !url.href.startsWith(given.covers)) return false;
    granted.set(given.covers, given);
    return true;
  }

  return {
    headersFor: ({ href }) =>
      [...granted.values()]
        .filter(({ covers }) => href.startsWith(covers))
        .reduce<Grant | undefined>(
          (nearest, next) => (nearest && nearest.covers.length > next.covers.length ? nearest : next),
          undefined,
        )?.headers,
    answer(url, challenge, obtain) {
      const key = `${url.origin} ${challenge}`;
      let answer = asked.get(key);
      if (answer === undefined) {
        // What was granted expires, so the next challenge is answered anew.
        answer = grant(url, obtain).finally(() => asked.delete(key));
        asked.set(key, answer);
      }
      return answer;
    },
  };
}
