// An image, the objects on it, and everything that was done: what the page shows and keeps.
//
// Actions run one after the other. An action that the engine refuses leaves everything as it was.

import { toBytes, toEvent, toText } from "./edits.js";
import { EngineSession } from "./engine_session.js";
import { NOTHING } from "./masks.js";
import { Objects } from "./objects.js";
import * as store from "./store.js";
import { MASK_RLE } from "./wire.js";

export class Workspace extends Objects {
  /**
   * @param {object} parts
   * @param {string} parts.id
   * @param {Blob} parts.file the image as it was given
   * @param {string} parts.name of the file
   * @param {HTMLImageElement} parts.picture decoded
   * @param {import("./wire.js").Wire} parts.wire
   * @param {import("./masks.js").Masks} parts.masks
   * @param {string} parts.digest
   * @param {any} [parts.record] of an earlier page
   */
  constructor({ id, file, name, picture, wire, masks, digest, record }) {
    super(wire, record);
    this.id = id;
    this.file = file;
    this.name = name;
    this.picture = picture;
    this.size = { width: picture.naturalWidth, height: picture.naturalHeight };
    this.masks = masks;
    /** An event that was sent and not answered. @type {{sequence: number, entry: import("./objects.js").Entry} | null} */
    this.unanswered = record?.unanswered ?? null;
    /** @type {Map<number, import("./masks.js").Outline>} */
    this.outlines = new Map();
    /** @type {import("./masks.js").Outline} */
    this.outline = NOTHING;
    this.busy = 0;
    /** @type {{ms: number, server: number, bytes: number} | null} */
    this.latency = null;
    this.connection = /** @type {import("./engine_session.js").Connection} */ ("connecting");
    this.message = "";
    /** @type {Promise<unknown>} */
    this.queue = Promise.resolve();
    this.session = new EngineSession({
      wire,
      digest,
      upload: () => this.#upload(),
      history: () => this.history(),
      memo: record?.memo ?? { sessionId: "", sequence: 0, acked: 0 },
      onconnection: (state, message) => {
        this.connection = state;
        this.message = message;
        this.#changed();
      },
      onstate: async (reply) => {
        await this.#show(reply);
        this.#changed();
      },
    });
    // An undo that an earlier page sent and saw no answer to is settled by our own list.
    if (!this.unanswered) this.session.memo.sequence = this.session.memo.acked;
  }

  /** Reaches the engine, and settles what an earlier page left open; throws what it refuses. */
  async start() {
    for (const item of this.items) {
      if (item.index !== this.current && item.counts) {
        const outline = await this.masks.outline(toBytes(item.counts), this.size);
        this.outlines.set(item.index, outline);
      }
    }
    await store.saveImage(this.id, this.file);
    const left = this.unanswered;
    /** @type {unknown} */
    let refusal = null;
    await this.#act(async () => {
      try {
        await this.session.reach();
      } catch (error) {
        refusal = error;
      }
      if (refusal || !left) return;
      if (this.session.memo.acked < left.sequence) {
        await this.session.exchange(toEvent(left.entry.edit), { sequence: left.sequence });
      }
      this.log.push(left.entry);
      this.unanswered = null;
      await this.#show(await this.#ask("show"));
    });
    if (refusal) throw refusal;
  }

  /** Forgets a picture that the engine does not take. */
  async abandon() {
    this.session.close();
    await this.queue;
    await store.remove(this.id);
  }

  // ---- what a person does

  /** @param {import("./edits.js").Edit} edit */
  apply(edit) {
    return this.#act(async () => {
      const entry = { object: this.current, edit };
      this.pending = edit;
      this.#changed();
      try {
        const reply = await this.#send(toEvent(edit), entry);
        this.log.push(entry);
        this.item.undone = [];
        await this.#show(reply);
      } finally {
        this.pending = null;
        this.unanswered = null;
      }
    });
  }

  undo() {
    return this.#act(async () => {
      if (!this.canUndo) return;
      const reply = await this.#send({ case: "undo", value: {} });
      const at = this.log.findLastIndex((entry) => entry.object === this.current);
      this.item.undone.push(...this.log.splice(at, 1).map((entry) => entry.edit));
      await this.#show(reply);
    });
  }

  redo() {
    return this.#act(async () => {
      if (!this.canRedo) return;
      const edit = /** @type {import("./edits.js").Edit} */ (this.item.undone.at(-1));
      await this.session.reach(); // what it knows is only certain now
      const known = !this.session.memo.replayed;
      const reply = await this.#send(known ? { case: "redo", value: {} } : toEvent(edit));
      this.item.undone.pop();
      this.log.push({ object: this.current, edit });
      await this.#show(reply);
    });
  }

  nextObject() {
    return this.#act(async () => {
      if (!this.item.area) throw new Error("Select something first, then go on to the next object.");
      await this.#finish();
      const reply = await this.#send(this.next());
      this.add();
      this.current = this.items.length - 1;
      await this.#show(reply);
    });
  }

  /** Goes back to an earlier object. @param {number} index */
  edit(index) {
    return this.#act(async () => {
      if (index === this.current) return;
      await this.#finish();
      const reply = await this.#send(this.again(index));
      this.current = index;
      await this.#show(reply);
    });
  }

  /**
   * Takes an object out of the list. Its pixels are free again for others; `restore` takes it back.
   * @param {number} index
   */
  async delete(index) {
    if (index === this.current) return this.apply({ kind: "reset" });
    return this.#act(async () => {
      await this.#elsewhere(index, async () => {
        const entry = { object: index, edit: /** @type {const} */ ({ kind: "reset" }) };
        await this.#send(toEvent(entry.edit));
        this.log.push(entry);
      });
      this.change(index, { deleted: true });
      this.dispatchEvent(new CustomEvent("deleted", { detail: index }));
    });
  }

  /** Takes a deletion back. @param {number} index */
  restore(index) {
    return this.#act(async () => {
      await this.#elsewhere(index, async () => {
        await this.#send({ case: "undo", value: {} });
        this.log.splice(this.log.findLastIndex((entry) => entry.object === index), 1);
      });
      this.change(index, { deleted: false });
    });
  }

  /** @param {number} index @param {Partial<import("./objects.js").Item>} change */
  change(index, change) {
    Object.assign(this.items[index], change);
    this.#save();
    this.#changed();
  }

  /**
   * The masks of all objects to be saved, as COCO's run lengths.
   * @returns {Promise<{label: string, counts: string}[]>}
   */
  async masksToSave() {
    await this.#act(() => this.#finish());
    return this.kept.map((item) => ({ label: item.name, counts: item.counts ?? "" }));
  }

  /** Ends it on the engine; another image comes. */
  close() {
    this.session.close();
  }

  // ---- within

  /** Gets the whole mask of the present object, to be kept. */
  async #finish() {
    const reply = await this.#ask("show", { mask: MASK_RLE });
    const { mask, area } = reply.result;
    this.item.area = Number(area);
    this.item.counts = mask.case === "rle" ? toText(mask.value.counts) : null;
    this.outlines.set(this.current, this.outline);
  }

  /**
   * Does something to another object and comes back, where the engine can.
   * @param {number} index @param {() => Promise<void>} work
   */
  async #elsewhere(index, work) {
    if (!this.canEditEarlier) return;
    await this.#finish();
    this.visited = index;
    try {
      await this.#send(this.again(index));
      await work();
    } finally {
      this.visited = null;
      await this.#show(await this.#send(this.again(this.current)));
    }
  }

  /** @param {string} kind @param {any} [output] */
  #ask(kind, output) {
    return this.session.exchange({ case: kind, value: {} }, { output });
  }

  /**
   * @param {{case: string, value: any}} event
   * @param {import("./objects.js").Entry | null} [entry] what is to be settled if the page goes away now
   */
  async #send(event, entry = null) {
    const sequence = this.session.nextSequence();
    if (entry) this.unanswered = { sequence, entry };
    this.#save();
    const began = performance.now();
    const before = this.session.link?.received ?? 0;
    const reply = await this.session.exchange(event, { sequence });
    const bytes = (this.session.link?.received ?? 0) - before;
    this.latency = { ms: performance.now() - began, server: reply.timings?.total ?? 0, bytes };
    return reply;
  }

  /** @param {any} reply */
  async #show(reply) {
    if (!reply.result) return;
    this.outline = await this.masks.patch(reply.result, this.size);
    this.item.area = Number(reply.result.area);
    this.item.counts = null;
  }

  /**
   * Runs an action after those before it.
   * @param {() => Promise<void>} action
   */
  #act(action) {
    const run = async () => {
      this.busy += 1;
      this.#changed();
      try {
        await action();
      } catch (error) {
        const detail = /** @type {Error} */ (error).message;
        this.dispatchEvent(new CustomEvent("refused", { detail }));
      } finally {
        this.busy -= 1;
        this.#save();
        this.#changed();
      }
    };
    this.queue = this.queue.then(run);
    return this.queue;
  }

  async #upload() {
    const answer = await fetch("images", { method: "POST", body: this.file }).catch(() => null);
    const found = answer && (await answer.json().catch(() => null));
    if (!found) throw Object.assign(new Error("the page's server is not there"), { kind: "UnreachableError" });
    if (!answer.ok) throw Object.assign(new Error(found.message), { kind: found.error });
    return found.digest;
  }

  #save() {
    store.save({
      id: this.id,
      name: this.name,
      digest: this.session.digest,
      items: this.items,
      log: this.log,
      current: this.current,
      unanswered: this.unanswered,
      memo: this.session.memo,
      changed: Date.now(),
    });
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
