// The objects on an image and all edits of them, in the order in which they were made.

import { boxOf, marksOf, toEvent } from "./edits.js";

/**
 * An object of the image. `index` is its number in the engine's session.
 * @typedef {{index: number, name: string, colour: number, hidden: boolean, deleted: boolean,
 *   counts: string | null, area: number, undone: import("./edits.js").Edit[]}} Item
 * @typedef {{object: number, edit: import("./edits.js").Edit}} Entry
 */

export const COLOURS = 8;

export class Objects extends EventTarget {
  /**
   * @param {import("./wire.js").Wire} wire
   * @param {any} [record] of an earlier page
   */
  constructor(wire, record) {
    super();
    this.wire = wire;
    this.excludes = wire.has("nextObject.excludeFinished");
    /** @type {Item[]} */
    this.items = record?.items ?? [];
    /** @type {Entry[]} */
    this.log = record?.log ?? [];
    this.current = record?.current ?? 0;
    /** @type {import("./edits.js").Edit | null} an edit that is shown before it is answered */
    this.pending = null;
    /** Another object that the engine is at for a moment. @type {number | null} */
    this.visited = null;
    if (!this.items.length) this.add();
  }

  /** @returns {Item} */
  get item() {
    return this.items[this.current];
  }

  /** Edits of an object, in order. @param {number} index */
  edits(index) {
    return this.log.filter((entry) => entry.object === index).map((entry) => entry.edit);
  }

  /** Clicks and strokes in force of the present object, the one on its way included. */
  get marks() {
    const edits = this.edits(this.current);
    return marksOf(this.pending ? [...edits, this.pending] : edits);
  }

  /** The box in force of the present object. */
  get box() {
    const edits = this.edits(this.current);
    return boxOf(this.pending ? [...edits, this.pending] : edits);
  }

  /** Whether the present object has an edit to take back. */
  get canUndo() {
    return this.log.some((entry) => entry.object === this.current);
  }

  /** Whether an edit of the present object was taken back. */
  get canRedo() {
    return this.item.undone.length > 0;
  }

  /** Objects to be saved. */
  get kept() {
    return this.items.filter((item) => !item.deleted && item.area > 0);
  }

  /** All events since the image was opened, in the engine's words. */
  history() {
    /** @type {{case: string, value: any}[]} */
    const events = [];
    let at = 0;
    let count = 1;
    const go = (/** @type {number} */ index) => {
      while (count <= index) {
        events.push(this.next());
        at = count++;
      }
      if (at !== index) {
        events.push(this.again(index));
        at = index;
      }
    };
    for (const { object, edit } of this.log) {
      go(object);
      events.push(toEvent(edit));
    }
    go(this.items.length - 1); // objects without edits are there as well
    go(this.visited ?? this.current);
    return events;
  }

  /** Whether the engine goes back to earlier objects. */
  get canEditEarlier() {
    return this.wire.has("editObject");
  }

  /** Adds an empty object at the end. */
  add() {
    const index = this.items.length;
    this.items.push({
      index,
      name: `Object ${index + 1}`,
      colour: index % COLOURS,
      hidden: false,
      deleted: false,
      counts: null,
      area: 0,
      undone: [],
    });
  }

  /** The event that begins a new object. */
  next() {
    return { case: "nextObject", value: this.excludes ? { excludeFinished: true } : {} };
  }

  /** The event that goes back to an object. @param {number} index */
  again(index) {
    return { case: "editObject", value: this.excludes ? { index, excludeFinished: true } : { index } };
  }
}
