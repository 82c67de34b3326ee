// A session of the engine that survives broken connections and restarted engines: it is resumed by
// its id, or opened again and told everything that was done.

import { EngineError, Link } from "./link.js";
import { MASK_NONE, MASK_RLE } from "./wire.js";

const FIRST_DELAY_MS = 150;
const MAX_DELAY_MS = 3000;
const MAX_ATTEMPTS = 4;
const DELTA = { mask: MASK_RLE, changedOnly: true };

/**
 * What outlives a page: kept in the browser.
 * `replayed`: the engine was told again what is in force, and knows nothing of what was undone.
 * @typedef {{sessionId: string, sequence: number, acked: number, replayed?: boolean}} Memo
 * @typedef {"idle" | "online" | "connecting" | "offline" | "restoring" | "taken" | "full"} Connection
 */

export class EngineSession {
  /**
   * @param {object} parts
   * @param {import("./wire.js").Wire} parts.wire
   * @param {string} parts.digest of the image; may be "" when it is not known yet
   * @param {() => Promise<string>} parts.upload sends the image, gives its digest
   * @param {() => {case: string, value: any}[]} parts.history all events, to be replayed
   * @param {Memo} parts.memo
   * @param {(state: Connection, message: string) => void} [parts.onconnection]
   * @param {(reply: any) => Promise<void>} [parts.onstate] a whole state after (re)opening
   */
  constructor({ wire, digest, upload, history, memo, onconnection, onstate }) {
    this.wire = wire;
    this.digest = digest;
    this.upload = upload;
    this.history = history;
    this.memo = memo;
    this.onconnection = onconnection ?? (() => {});
    this.onstate = onstate ?? (async () => {});
    /** @type {Link | null} */
    this.link = null;
    this.closed = false;
    /** Whether another tab has the session; it is only taken back when a person says so. */
    this.taken = false;
    this.delay = FIRST_DELAY_MS;
    /** @type {(() => void) | null} */
    this.wake = null;
    /** @type {Promise<void> | null} */
    this.reaching = null;
    /** @type {any} */
    this.image = null;
  }

  /**
   * Sends a request until it is answered.
   * @param {{case: string, value: any}} event
   * @param {{sequence?: number, output?: any}} [options] `sequence`: of an event that counts
   * @returns {Promise<any>}
   */
  async exchange(event, { sequence = 0, output } = {}) {
    for (let attempt = 1; ; attempt++) {
      await this.reach();
      try {
        const link = /** @type {Link} */ (this.link);
        const reply = await link.send({ sequence: BigInt(sequence), event, output });
        const applied = sequence > 0 && Number(reply.appliedSequence) === sequence;
        if (applied) this.memo.acked = sequence;
        if (!reply.error) return reply;
        if (!applied) throw new EngineError("Refused", reply.error.message);
        // It counts, and only its result could not be made: ask for that again.
        return await this.exchange({ case: "show", value: {} }, { output });
      } catch (error) {
        if (!this.#isPassing(error) || attempt === MAX_ATTEMPTS || this.closed) throw error;
        this.link = null;
      }
    }
  }

  /** A sequence for an event that counts. */
  nextSequence() {
    this.memo.sequence += 1;
    return this.memo.sequence;
  }

  /** Makes sure that there is a stream; tries for as long as it takes. */
  reach() {
    // One attempt at a time: a second stream would take the session over from the first.
    this.reaching ??= this.#reach().finally(() => {
      this.reaching = null;
    });
    return this.reaching;
  }

  async #reach() {
    while (!this.link || this.link.ended) {
      if (this.closed) throw new EngineError("Closed", "the session is closed");
      if (this.taken) {
        await this.#pause(Infinity);
        continue;
      }
      try {
        await this.#connect();
        this.delay = FIRST_DELAY_MS;
        this.onconnection("online", "");
      } catch (error) {
        this.link?.close();
        this.link = null;
        await this.#recover(/** @type {any} */ (error));
      }
    }
  }

  /** Try at once instead of after the delay; also takes a session back from another tab. */
  retry() {
    this.taken = false;
    this.wake?.();
    this.reach().catch(() => {});
  }

  /** Ends the session on the engine. */
  close() {
    this.closed = true;
    this.wake?.();
    const link = this.link;
    if (link && !link.ended) {
      link.onend = () => {};
      link.send({ event: { case: "close", value: {} } }).then(() => link.close(), () => {});
    }
  }

  /** Leaves the session on the engine, for a page that comes back. */
  leave() {
    this.closed = true;
    this.wake?.();
    this.link?.close();
  }

  /** @returns {Promise<void>} */
  async #connect() {
    const link = await Link.open(this.wire);
    this.link = link;
    if (this.memo.sessionId) {
      const reply = await link.send({
        event: {
          case: "open",
          value: { source: { case: "sessionId", value: this.memo.sessionId }, output: DELTA },
        },
      });
      const applied = Number(reply.appliedSequence);
      if (applied !== this.memo.acked && applied !== this.memo.sequence) {
        link.close();
        this.memo.sessionId = ""; // somebody else has changed it: our own list is what counts
        return this.#connect();
      }
      this.image = reply.image;
      this.#watch(link);
      await this.onstate(reply);
      return;
    }
    await this.#openNew(link);
  }

  /** @param {Link} link */
  async #openNew(link) {
    if (!this.digest) this.digest = await this.upload();
    const source = { case: "imageDigest", value: this.digest };
    const opened = await link.send({
      event: { case: "open", value: { source, output: DELTA } },
    });
    this.image = opened.image;
    const events = this.history();
    for (const [n, event] of events.entries()) {
      this.onconnection("restoring", `${n} of ${events.length}`);
      const reply = await link.send({ event, output: { mask: MASK_NONE } });
      if (reply.error) throw new EngineError("Refused", reply.error.message);
    }
    const state = events.length
      ? await link.send({ event: { case: "show", value: {} }, output: { mask: MASK_RLE } })
      : opened;
    this.memo.replayed ||= this.memo.sequence > 0;
    this.memo.sessionId = opened.sessionId;
    this.memo.acked = 0;
    this.#watch(link);
    await this.onstate(state);
  }

  /** @param {Link} link */
  #watch(link) {
    link.onend = (error) => {
      if (this.closed || this.link !== link) return;
      if (error.kind === "TakenOverError") {
        this.#lost(error);
      } else if (error.kind === "SessionNotFoundError") {
        this.memo.sessionId = ""; // idle for long: the next event opens it again
      } else {
        this.onconnection("offline", error.message);
        this.reach().catch(() => {});
      }
    };
  }

  /** @param {EngineError} error */
  async #recover(error) {
    if (error.kind === "SessionNotFoundError") {
      this.memo.sessionId = "";
    } else if (error.kind === "ImageNotFoundError") {
      this.onconnection("connecting", "sending the image");
      this.digest = "";
    } else if (error.kind === "TakenOverError") {
      this.#lost(error);
    } else if (this.#isPassing(error) || error.kind === "LimitError") {
      this.onconnection(error.kind === "LimitError" ? "full" : "offline", error.message);
      await this.#pause(this.delay);
      this.delay = Math.min(2 * this.delay, MAX_DELAY_MS);
    } else {
      throw error;
    }
  }

  /** @param {EngineError} error */
  #lost(error) {
    this.taken = true;
    this.onconnection("taken", error.message);
  }

  /** @param {number} ms */
  #pause(ms) {
    return /** @type {Promise<void>} */ (
      new Promise((resolve) => {
        const timer = ms === Infinity ? 0 : window.setTimeout(resolve, ms);
        this.wake = () => {
          window.clearTimeout(timer);
          resolve();
        };
      })
    );
  }

  /** @param {any} error */
  #isPassing(error) {
    return [
      "UnreachableError",
      "UnavailableError",
      "StalledError",
      "ServerError",
      "SessionNotFoundError",
      "TakenOverError",
    ].includes(error?.kind);
  }
}
