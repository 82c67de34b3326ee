// What lies over the image: selections, clicks, what is being drawn. Vectors in screen pixels, so
// that zooming stays sharp and costs no memory of the image's size.

/** @typedef {"fill" | "outline" | "cutout"} Mode */

const MARK_RADIUS = 8;
const PLAIN_FONT_PX = 15; // lines and marks grow with the page's font, as on a 4K screen

export class Drawing {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {import("./view.js").View} view
   */
  constructor(canvas, view) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    this.view = view;
    /** @type {Mode} */
    this.mode = "fill";
    this.opacity = 0.35;
    this.unit = 1;
    this.checks = checkerboard();
  }

  /**
   * @param {object} scene
   * @param {{outline: import("./masks.js").Outline, colour: string, isCurrent: boolean}[]} scene.objects
   * @param {import("./masks.js").Outline | null} scene.preview what a click would select
   * @param {import("./masks.js").Outline} scene.present what is selected
   * @param {import("./edits.js").Mark[]} scene.marks
   * @param {number} scene.active index of the mark under the pointer, -1 for none
   * @param {import("./edits.js").BoxEdit | null} scene.box in force
   * @param {any} scene.draft a stroke, box or moved click that is being drawn
   * @param {{x: number, y: number} | null} scene.crosshair
   * @param {string} scene.colour of the present object
   */
  draw({ objects, preview, present, marks, active, box, draft, crosshair, colour }) {
    const { context: c, view, canvas } = this;
    const ratio = canvas.width / Math.max(1, view.stage.width);
    this.unit = parseFloat(getComputedStyle(document.documentElement).fontSize) / PLAIN_FONT_PX;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, canvas.width, canvas.height);
    const place = () =>
      c.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, ratio * view.x, ratio * view.y);
    const shown = objects.filter(({ outline }) => outline.box);
    place();
    if (this.mode === "cutout") this.#cutOut(shown);
    for (const { outline, colour, isCurrent } of shown) {
      if (this.mode === "fill") {
        c.globalAlpha = this.opacity;
        c.fillStyle = colour;
        c.fill(outline.path, "evenodd");
        c.globalAlpha = 1;
      }
      if (this.mode !== "cutout") this.#line(outline.path, colour, isCurrent ? 2.2 : 1.4);
    }
    if (preview) this.#preview(preview, present, colour);
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (box && draft?.kind !== "box") this.#box(box);
    if (draft) this.#draft(draft);
    marks.forEach((mark, n) => this.#mark(mark, n === active));
    if (draft?.kind === "click") this.#mark(draft, true);
    if (crosshair) this.#crosshair(crosshair);
  }

  /**
   * Only what a click would change: both outlines in one path leave the difference.
   * @param {import("./masks.js").Outline} preview
   * @param {import("./masks.js").Outline} present
   * @param {string} colour
   */
  #preview(preview, present, colour) {
    const { context: c, view } = this;
    const difference = new Path2D(preview.path);
    difference.addPath(present.path);
    c.globalAlpha = 0.3;
    c.fillStyle = colour;
    c.fill(difference, "evenodd");
    c.fillStyle = "#fff";
    c.fill(difference, "evenodd");
    c.globalAlpha = 1;
    c.save();
    c.clip(difference, "evenodd");
    c.lineWidth = (3 * this.unit) / view.scale; // its inner half is seen
    c.setLineDash([(4 * this.unit) / view.scale]);
    c.strokeStyle = "#fff";
    c.stroke(preview.path);
    c.restore();
  }

  /** @param {Path2D} path @param {string} colour @param {number} width on the screen */
  #line(path, colour, width) {
    const { context: c, view } = this;
    c.lineJoin = "round";
    const unit = this.unit / view.scale;
    c.lineWidth = (width + 1.6) * unit;
    c.strokeStyle = "rgb(0 0 0 / 45%)";
    c.stroke(path);
    c.lineWidth = width * unit;
    c.strokeStyle = colour;
    c.stroke(path);
  }

  /** @param {{outline: import("./masks.js").Outline}[]} shown */
  #cutOut(shown) {
    const { context: c, view } = this;
    const { width, height } = view.image;
    // Everything that no object covers: the whole image, of which the objects are taken out.
    c.save();
    c.beginPath();
    c.rect(0, 0, width, height);
    c.clip();
    this.checks.setTransform?.(new DOMMatrix().scale(1 / view.scale));
    c.fillStyle = this.checks;
    c.fillRect(0, 0, width, height);
    c.globalCompositeOperation = "destination-out";
    for (const { outline } of shown) c.fill(outline.path, "evenodd");
    c.restore();
  }

  /** @param {import("./edits.js").Mark} mark @param {boolean} active */
  #mark(mark, active) {
    const { context: c, view } = this;
    const colour = mark.negative ? "#e5484d" : "#2b9a66";
    const [x, y] = mark.kind === "stroke" ? mark.points : [mark.x, mark.y];
    if (mark.kind === "stroke") this.#polyline(mark.points, colour);
    const at = view.toScreen(x, y);
    const radius = (active ? MARK_RADIUS + 2 : MARK_RADIUS) * this.unit;
    const arm = 3.5 * this.unit;
    c.beginPath();
    c.arc(at.x, at.y, radius, 0, 2 * Math.PI);
    c.fillStyle = colour;
    c.shadowColor = "rgb(0 0 0 / 50%)";
    c.shadowBlur = 4;
    c.fill();
    c.shadowBlur = 0;
    c.lineWidth = (active ? 3 : 2) * this.unit;
    c.strokeStyle = "#fff";
    c.stroke();
    c.beginPath(); // the sign, so that colour is not the only difference
    c.moveTo(at.x - arm, at.y);
    c.lineTo(at.x + arm, at.y);
    if (!mark.negative) {
      c.moveTo(at.x, at.y - arm);
      c.lineTo(at.x, at.y + arm);
    }
    c.lineWidth = 2 * this.unit;
    c.stroke();
  }

  /** @param {number[]} points @param {string} colour */
  #polyline(points, colour) {
    const { context: c, view } = this;
    c.beginPath();
    for (let n = 0; n < points.length; n += 2) {
      const at = view.toScreen(points[n], points[n + 1]);
      if (n) c.lineTo(at.x, at.y);
      else c.moveTo(at.x, at.y);
    }
    c.lineCap = c.lineJoin = "round";
    c.lineWidth = 6;
    c.strokeStyle = "rgb(255 255 255 / 80%)";
    c.stroke();
    c.lineWidth = 3.5;
    c.strokeStyle = colour;
    c.stroke();
  }

  /** @param {any} draft */
  #draft(draft) {
    if (draft.kind === "stroke") this.#polyline(draft.points, draft.negative ? "#e5484d" : "#2b9a66");
    if (draft.kind === "box") this.#box(draft);
  }

  /** @param {import("./edits.js").BoxEdit} box */
  #box(box) {
    const { context: c, view } = this;
    const from = view.toScreen(box.x0, box.y0);
    const to = view.toScreen(box.x1, box.y1);
    c.lineWidth = 1.6;
    for (const [dashes, colour] of /** @type {[number[], string][]} */ ([[[], "#fff"], [[5, 5], "#111"]])) {
      c.setLineDash(dashes);
      c.strokeStyle = colour;
      c.strokeRect(from.x, from.y, to.x - from.x, to.y - from.y);
    }
    c.setLineDash([]);
  }

  /** @param {{x: number, y: number}} at in the image */
  #crosshair(at) {
    const { context: c, view } = this;
    const { x, y } = view.toScreen(at.x, at.y);
    for (const [width, colour] of /** @type {const} */ ([[4, "#000"], [2, "#fff"]])) {
      c.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        c.moveTo(x + 5 * dx, y + 5 * dy);
        c.lineTo(x + 18 * dx, y + 18 * dy);
      }
      c.lineWidth = width;
      c.strokeStyle = colour;
      c.stroke();
    }
  }
}

/** The pattern that stands for "nothing here". */
function checkerboard() {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 24;
  const c = /** @type {CanvasRenderingContext2D} */ (tile.getContext("2d"));
  c.fillStyle = "#f4f4f5";
  c.fillRect(0, 0, 24, 24);
  c.fillStyle = "#d4d4d8";
  c.fillRect(0, 0, 12, 12);
  c.fillRect(12, 12, 12, 12);
  return /** @type {CanvasPattern} */ (c.createPattern(tile, "repeat"));
}
