// Mouse, pen and touch on the picture -> clicks, strokes, boxes, moved clicks, zoom and pan.

const SLACK = { mouse: 4, pen: 6, touch: 10 };
const MARK_REACH = { mouse: 11, pen: 14, touch: 22 };

/**
 * @typedef {"click" | "stroke" | "box" | "pan"} Tool what a plain drag does
 * @typedef {object} Hands what the gestures lead to
 * @property {(edit: import("./edits.js").Edit) => void} apply
 * @property {() => import("./edits.js").Mark[]} marks
 * @property {(draft: any) => void} draft something is being drawn; null: no more
 * @property {(at: {x: number, y: number} | null, mark: number) => void} hover
 * @property {() => Tool} tool
 * @property {() => boolean} negative whether a plain click means the background
 * @property {(what: "moveClick" | "box") => boolean} can
 */

export class Gestures {
  /**
   * @param {HTMLElement} stage
   * @param {import("./view.js").View} view
   * @param {Hands} hands
   */
  constructor(stage, view, hands) {
    this.stage = stage;
    this.view = view;
    this.hands = hands;
    this.spaceHeld = false;
    /** @type {Map<number, {x: number, y: number}>} */
    this.fingers = new Map();
    /** @type {any} the drag that is under way */
    this.drag = null;
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    stage.addEventListener("pointerup", (event) => this.#up(event));
    stage.addEventListener("pointercancel", (event) => this.#cancel(event));
    stage.addEventListener("pointerleave", () => hands.hover(null, -1));
    stage.addEventListener("contextmenu", (event) => event.preventDefault());
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  /** @param {PointerEvent | WheelEvent} event */
  #place(event) {
    const box = this.stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  /**
   * The click under a place of the screen; -1 for none.
   * @param {{x: number, y: number}} at @param {string} pointer
   */
  markAt(at, pointer) {
    const reach = MARK_REACH[/** @type {"mouse"} */ (pointer)] ?? 11;
    return this.hands.marks().findLastIndex((mark) => {
      const [x, y] = mark.kind === "stroke" ? mark.points : [mark.x, mark.y];
      const there = this.view.toScreen(x, y);
      return Math.hypot(there.x - at.x, there.y - at.y) <= reach;
    });
  }

  /** @param {PointerEvent} event */
  #down(event) {
    if (event.target instanceof Element && event.target.closest("button, input, a")) return;
    this.stage.focus({ preventScroll: true });
    this.stage.setPointerCapture(event.pointerId);
    const at = this.#place(event);
    this.fingers.set(event.pointerId, at);
    if (this.fingers.size === 2) return this.#startPinch();
    if (this.fingers.size > 2 || this.drag) return;
    const image = this.view.toImage(at.x, at.y);
    const negative = event.button === 2 || event.altKey || this.hands.negative();
    const kind = this.#dragKind(event, at);
    const index = kind === "move" ? this.markAt(at, event.pointerType) : -1;
    this.drag = { kind, at, from: at, image, negative, index, moved: false, points: [image.x, image.y] };
  }

  /** @param {PointerEvent} event @param {{x: number, y: number}} at */
  #dragKind(event, at) {
    const { hands } = this;
    if (event.button === 1 || this.spaceHeld || hands.tool() === "pan") return "pan";
    if (event.shiftKey || hands.tool() === "box") return hands.can("box") ? "box" : "none";
    const index = this.markAt(at, event.pointerType);
    if (index >= 0 && hands.can("moveClick") && hands.marks()[index].kind === "click") return "move";
    if (hands.tool() === "click" && event.pointerType === "touch") return "pan";
    return "stroke";
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const at = this.#place(event);
    const image = this.view.toImage(at.x, at.y);
    if (this.fingers.has(event.pointerId)) this.fingers.set(event.pointerId, at);
    if (this.drag?.kind === "pinch") return this.#pinch();
    if (!this.drag) {
      if (event.pointerType !== "touch") this.hands.hover(image, this.markAt(at, event.pointerType));
      return;
    }
    const drag = this.drag;
    const slack = SLACK[/** @type {"mouse"} */ (event.pointerType)] ?? 4;
    if (!drag.moved && Math.hypot(at.x - drag.from.x, at.y - drag.from.y) <= slack) return;
    drag.moved = true;
    if (drag.kind === "pan") this.view.pan(at.x - drag.at.x, at.y - drag.at.y);
    if (drag.kind === "stroke") {
      for (const one of event.getCoalescedEvents?.() ?? [event]) this.#extend(drag, one);
      this.hands.draft({ kind: "stroke", points: drag.points, negative: drag.negative });
    }
    if (drag.kind === "box") this.hands.draft(this.#box(drag, image));
    if (drag.kind === "move") {
      const inside = this.#clamp(image);
      this.hands.draft({ ...this.hands.marks()[drag.index], ...inside, moved: drag.index });
    }
    drag.at = at;
    this.hands.hover(image, -1);
  }

  /** @param {any} drag @param {PointerEvent} event */
  #extend(drag, event) {
    const at = this.#place(event);
    const { x, y } = this.#clamp(this.view.toImage(at.x, at.y));
    const [lastX, lastY] = drag.points.slice(-2);
    if (Math.hypot(x - lastX, y - lastY) >= 1) drag.points.push(x, y);
  }

  /** @param {PointerEvent} event */
  #up(event) {
    this.fingers.delete(event.pointerId);
    const drag = this.drag;
    if (!drag || drag.kind === "pinch") {
      if (!this.fingers.size) this.drag = null;
      return;
    }
    this.drag = null;
    this.hands.draft(null);
    const at = this.#place(event);
    const image = this.view.toImage(at.x, at.y);
    if (drag.moved) return this.#dropped(drag, image);
    const isPan = event.button === 1 || this.spaceHeld || this.hands.tool() === "pan";
    if (isPan || drag.kind === "box" || drag.kind === "none" || !this.view.holds(drag.image)) return;
    if (drag.kind === "move") return; // a click on a click: it is only looked at
    const { x, y } = drag.image;
    this.hands.apply({ kind: "click", x, y, negative: drag.negative });
  }

  /** @param {any} drag @param {{x: number, y: number}} image */
  #dropped(drag, image) {
    if (drag.kind === "stroke" && this.view.holds(drag.image)) {
      this.hands.apply({ kind: "stroke", points: drag.points, negative: drag.negative });
    } else if (drag.kind === "box") {
      const box = this.#box(drag, image);
      if (box.x1 - box.x0 >= 1 && box.y1 - box.y0 >= 1) this.hands.apply(box);
    } else if (drag.kind === "move") {
      this.hands.apply({ kind: "move", index: drag.index, ...this.#clamp(image) });
    }
  }

  /** @param {PointerEvent} event */
  #cancel(event) {
    this.fingers.delete(event.pointerId);
    this.drag = null;
    this.hands.draft(null);
  }

  /** Gives up the drag under way. */
  cancel() {
    this.drag = null;
    this.hands.draft(null);
  }

  #startPinch() {
    this.hands.draft(null);
    const [one, two] = [...this.fingers.values()];
    this.drag = { kind: "pinch", one, two, moved: true };
  }

  #pinch() {
    const [one, two] = [...this.fingers.values()];
    if (!two) return;
    const { drag, view } = this;
    const before = Math.hypot(drag.one.x - drag.two.x, drag.one.y - drag.two.y);
    const now = Math.hypot(one.x - two.x, one.y - two.y);
    const middle = { x: (one.x + two.x) / 2, y: (one.y + two.y) / 2 };
    view.pan(middle.x - (drag.one.x + drag.two.x) / 2, middle.y - (drag.one.y + drag.two.y) / 2);
    view.zoom(middle.x, middle.y, now / Math.max(1, before));
    Object.assign(drag, { one, two });
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    event.preventDefault();
    const { x, y } = this.#place(event);
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1;
    const speed = event.ctrlKey ? 0.01 : 0.0016; // a pinch on a touchpad comes with ctrlKey
    this.view.zoom(x, y, Math.exp(-event.deltaY * lines * speed));
  }

  /** @param {any} drag @param {{x: number, y: number}} image */
  #box(drag, image) {
    const [from, to] = [this.#clamp(drag.image), this.#clamp(image)];
    return {
      kind: /** @type {const} */ ("box"),
      x0: Math.min(from.x, to.x),
      y0: Math.min(from.y, to.y),
      x1: Math.max(from.x, to.x),
      y1: Math.max(from.y, to.y),
    };
  }

  /** The nearest pixel of the image. @param {{x: number, y: number}} at */
  #clamp({ x, y }) {
    const { width, height } = this.view.image;
    return {
      x: Math.min(width - 1, Math.max(0, x)),
      y: Math.min(height - 1, Math.max(0, y)),
    };
  }
}
