// What a click under the pointer would select. A second session follows the first one, tries the
// click and takes it back; so the first one is never disturbed. Switched off where it is too slow.

import { EngineSession } from "./engine_session.js";
import { toEvent } from "./edits.js";
import { MASK_NONE, MASK_RLE } from "./wire.js";

const REST_MS = 50;
const SAMPLES = 20;
const MAX_P95_MS = 60;
const MIN_SAMPLES = 8;

export class Preview {
  /**
   * @param {import("./workspace.js").Workspace} workspace
   * @param {(outline: import("./masks.js").Outline | null) => void} show
   * @param {(p95: number) => void} tooSlow told once when it switches itself off
   */
  constructor(workspace, show, tooSlow) {
    this.workspace = workspace;
    this.show = show;
    this.tooSlow = tooSlow;
    this.enabled = false;
    /** @type {EngineSession | null} */
    this.session = null;
    /** What the second session was told. @type {string[]} */
    this.told = [];
    this.timer = 0;
    this.running = false;
    /** @type {{x: number, y: number, negative: boolean} | null} */
    this.wanted = null;
    /** @type {number[]} milliseconds of the last previews */
    this.times = [];
  }

  /** @param {boolean} on */
  enable(on) {
    this.enabled = on;
    this.times = [];
    if (on) return;
    this.clear();
    this.session?.close();
    this.session = null;
  }

  /** The pointer is at a place of the image. @param {number} x @param {number} y @param {boolean} negative */
  at(x, y, negative) {
    if (!this.enabled) return;
    this.clear();
    this.wanted = { x, y, negative };
    this.timer = window.setTimeout(() => this.#try(), REST_MS);
  }

  /** The pointer has gone, or something else happens. */
  clear() {
    window.clearTimeout(this.timer);
    if (this.wanted) this.show(null);
    this.wanted = null;
  }

  close() {
    this.enable(false);
  }

  get p95() {
    const sorted = [...this.times].sort((a, b) => a - b);
    return sorted[Math.ceil(0.95 * sorted.length) - 1] ?? 0;
  }

  async #try() {
    const { workspace, wanted } = this;
    if (this.running || !wanted) return;
    if (workspace.busy || workspace.connection !== "online") return;
    this.running = true;
    try {
      const session = await this.#follow();
      if (this.wanted !== wanted) return;
      const began = performance.now();
      const event = toEvent({ kind: "click", ...wanted });
      const reply = await session.exchange(event, { output: { mask: MASK_RLE } });
      this.told.push("a preview");
      const outline = await workspace.masks.outline(reply.result.mask.value.counts, workspace.size);
      this.#count(performance.now() - began);
      if (this.wanted === wanted && this.enabled && !workspace.busy) this.show(outline); // else late
    } catch {
      this.session?.close(); // the next one starts over
      this.session = null;
    } finally {
      this.running = false;
      const moved = this.wanted && this.wanted !== wanted;
      if (moved && this.enabled) this.timer = window.setTimeout(() => this.#try(), REST_MS);
    }
  }

  /** Brings the second session to where the first one is. */
  async #follow() {
    const { workspace } = this;
    const events = workspace.history();
    const wanted = events.map((event) => JSON.stringify([event.case, keyOf(event.value)]));
    if (!this.session) {
      this.session = new EngineSession({
        wire: workspace.wire,
        digest: workspace.session.digest,
        upload: async () => {
          throw new Error("the preview sends no image");
        },
        history: () => [],
        memo: { sessionId: "", sequence: 0, acked: 0 },
      });
      this.told = [];
    }
    let same = 0;
    while (same < this.told.length && same < wanted.length && this.told[same] === wanted[same]) same++;
    for (let n = this.told.length; n > same; n--) {
      if (!isEdit(this.told[n - 1])) throw new Error("other objects: the preview starts over");
      await this.#tell({ case: "undo", value: {} });
      this.told.pop();
    }
    for (let n = same; n < events.length; n++) {
      await this.#tell(events[n]);
      this.told.push(wanted[n]);
    }
    return this.session;
  }

  /** @param {{case: string, value: any}} event */
  #tell(event) {
    const session = /** @type {EngineSession} */ (this.session);
    return session.exchange(event, { output: { mask: MASK_NONE } });
  }

  /** @param {number} ms */
  #count(ms) {
    this.times = [...this.times, ms].slice(-SAMPLES);
    if (this.times.length < MIN_SAMPLES || this.p95 <= MAX_P95_MS) return;
    const p95 = this.p95;
    this.enable(false);
    this.tooSlow(p95);
  }
}

/** @param {string} told */
function isEdit(told) {
  return !told.startsWith('["nextObject"') && !told.startsWith('["editObject"');
}

/** Something short that tells values apart. @param {any} value */
function keyOf(value) {
  return value.mask ? value.mask.value.counts.length : value;
}
