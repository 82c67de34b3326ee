// The stage: picture, selections, clicks, loupe; and the gestures on it.

import { canvas, choose, chosen, element } from "./dom.js";
import { Drawing } from "./drawing.js";
import { Loupe } from "./loupe.js";
import { Gestures } from "./pointer.js";
import { Preview } from "./preview.js";
import { notify } from "./notices.js";
import { View } from "./view.js";

const PIXELATED_FROM = 3;

export class PictureView {
  constructor() {
    this.stage = element("stage");
    this.view = new View(() => this.redraw());
    this.drawing = new Drawing(canvas("overlay"), this.view);
    this.loupe = new Loupe(canvas("loupe"));
    /** @type {import("./workspace.js").Workspace | null} */
    this.workspace = null;
    /** @type {Preview | null} */
    this.preview = null;
    this.wantsPreview = true;
    /** @type {import("./masks.js").Outline | null} */
    this.previewed = null;
    /** @type {any} */
    this.draft = null;
    this.active = -1;
    /** @type {{x: number, y: number} | null} where the mouse is, in the image */
    this.pointer = null;
    /** @type {{x: number, y: number} | null} of the keyboard */
    this.crosshair = null;
    this.scheduled = false;
    this.gestures = new Gestures(this.stage, this.view, {
      apply: (edit) => this.apply(edit),
      marks: () => this.workspace?.marks ?? [],
      draft: (draft) => {
        this.draft = draft;
        this.redraw();
      },
      hover: (at, mark) => this.#hover(at, mark),
      tool: () => /** @type {any} */ (chosen("tool")),
      negative: () => chosen("sign") === "background",
      can: (what) => this.workspace?.wire.has(what) ?? false,
    });
    new ResizeObserver(() => this.#resize()).observe(this.stage);
  }

  /** @param {import("./workspace.js").Workspace} workspace */
  show(workspace) {
    this.workspace?.picture.remove();
    this.preview?.close();
    this.workspace = workspace;
    const { picture, size } = workspace;
    picture.className = "picture";
    element("layers").prepend(picture);
    this.view.image = size;
    this.crosshair = this.pointer = this.previewed = this.draft = null;
    this.preview = new Preview(
      workspace,
      (outline) => {
        this.previewed = outline;
        this.redraw();
      },
      (p95) => {
        this.wantsPreview = false;
        const ms = Math.round(p95);
        notify(`The preview is off: it took ${ms} ms here. P switches it on again.`);
        this.stage.dispatchEvent(new Event("preview"));
      },
    );
    this.preview.enable(this.wantsPreview);
    element("box-tool").hidden = !workspace.wire.has("box");
    this.#resize();
    this.view.fit();
  }

  /** No picture is open. */
  clear() {
    this.workspace?.picture.remove();
    this.preview?.close();
    this.workspace = this.preview = null;
    const { canvas, context } = this.drawing;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
  }

  /** @param {boolean} on */
  setPreview(on) {
    this.wantsPreview = on;
    this.preview?.enable(on);
    this.redraw();
  }

  /** @param {import("./edits.js").Edit} edit */
  apply(edit) {
    this.preview?.clear();
    this.workspace?.apply(edit);
  }

  /** Removes the click under the pointer, or the last one. */
  remove() {
    const { workspace } = this;
    if (!workspace?.wire.has("removeClick")) return;
    const index = this.active >= 0 ? this.active : workspace.marks.length - 1;
    if (index >= 0) this.apply({ kind: "remove", index });
    this.active = -1;
  }

  /** @param {number} dx @param {number} dy in image pixels */
  moveCrosshair(dx, dy) {
    const { width, height } = this.view.image;
    const from = this.crosshair ?? { x: Math.round(width / 2), y: Math.round(height / 2) };
    const x = Math.min(width - 1, Math.max(0, from.x + dx));
    const y = Math.min(height - 1, Math.max(0, from.y + dy));
    this.crosshair = { x, y };
    const at = this.view.toScreen(x, y);
    const { stage } = this.view;
    const into = (/** @type {number} */ v, /** @type {number} */ room) =>
      v < 40 ? 40 - v : v > room - 40 ? room - 40 - v : 0;
    this.view.pan(into(at.x, stage.width), into(at.y, stage.height));
    this.preview?.at(x, y, chosen("sign") === "background");
    this.redraw();
  }

  /** Draws once before the next frame. */
  redraw() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.#draw();
    });
  }

  /** @param {number} index @returns {string} */
  colour(index) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--object-${index}`).trim();
  }

  #resize() {
    const { width, height } = this.stage.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    this.drawing.canvas.width = Math.round(width * ratio);
    this.drawing.canvas.height = Math.round(height * ratio);
    this.view.below = element("tools").offsetHeight + 12;
    this.view.resize(width, height);
    this.redraw();
  }

  /** @param {{x: number, y: number} | null} at @param {number} mark */
  #hover(at, mark) {
    this.pointer = at;
    if (at) this.crosshair = null;
    if (mark !== this.active) {
      this.active = mark;
      this.stage.classList.toggle("on-mark", mark >= 0);
    }
    const free = at && mark < 0 && !this.draft && this.view.holds(at);
    if (free) this.preview?.at(at.x, at.y, chosen("sign") === "background");
    else this.preview?.clear();
    this.redraw();
  }

  #draw() {
    const { workspace, view } = this;
    if (!workspace) return;
    const { picture } = workspace;
    picture.style.width = `${view.image.width}px`;
    picture.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
    picture.style.imageRendering = view.scale >= PIXELATED_FROM ? "pixelated" : "auto";
    element("zoom-level").textContent = `${Math.round(100 * view.scale)} %`;
    const colour = this.colour(workspace.item.colour);
    const objects = workspace.items
      .filter((item) => !item.hidden && !item.deleted && item.index !== workspace.current)
      .flatMap((item) => {
        const outline = workspace.outlines.get(item.index);
        return outline ? [{ outline, colour: this.colour(item.colour), isCurrent: false }] : [];
      });
    if (!workspace.item.hidden) {
      objects.push({ outline: workspace.outline, colour, isCurrent: true });
    }
    let marks = workspace.item.hidden ? [] : workspace.marks;
    if (this.draft?.moved !== undefined) marks = marks.filter((_, n) => n !== this.draft.moved);
    this.drawing.draw({
      objects,
      preview: this.previewed,
      present: workspace.outline,
      marks,
      active: this.active,
      box: workspace.item.hidden ? null : workspace.box,
      draft: this.draft,
      crosshair: this.crosshair,
      colour,
    });
    this.loupe.draw(picture, view, this.pointer ?? this.crosshair, workspace.outline, colour);
  }

  /** The other sign for the next clicks. */
  toggleSign() {
    choose("sign", chosen("sign") === "background" ? "object" : "background");
  }
}
