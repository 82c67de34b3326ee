// A round magnifier beside the pointer: picture and outline, enlarged.

const SIDE = 148;

export class Loupe {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    this.enabled = false;
    canvas.hidden = true;
  }

  /**
   * @param {HTMLImageElement} picture
   * @param {import("./view.js").View} view
   * @param {{x: number, y: number} | null} at in the image
   * @param {import("./masks.js").Outline} outline
   * @param {string} colour
   */
  draw(picture, view, at, outline, colour) {
    const { canvas, context: c } = this;
    canvas.hidden = !this.enabled || !at || !view.holds(at);
    if (canvas.hidden || !at) return;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = canvas.height = SIDE * ratio;
    const scale = Math.max(3, Math.min(12, 4 * view.scale));
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.fillStyle = "#222";
    c.fillRect(0, 0, SIDE, SIDE);
    c.translate(SIDE / 2, SIDE / 2);
    c.scale(scale, scale);
    c.translate(-at.x - 0.5, -at.y - 0.5);
    c.imageSmoothingEnabled = false;
    const reach = SIDE / scale / 2 + 1;
    const [x, y] = [Math.max(0, Math.floor(at.x - reach)), Math.max(0, Math.floor(at.y - reach))];
    const width = Math.min(view.image.width - x, Math.ceil(2 * reach + 2));
    const height = Math.min(view.image.height - y, Math.ceil(2 * reach + 2));
    c.drawImage(picture, x, y, width, height, x, y, width, height);
    c.lineWidth = 2 / scale;
    c.strokeStyle = colour;
    c.stroke(outline.path);
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.lineWidth = 1.5;
    c.strokeStyle = "#fff";
    c.strokeRect(SIDE / 2 - scale / 2, SIDE / 2 - scale / 2, scale, scale);
    this.#place(view, at);
  }

  /** @param {import("./view.js").View} view @param {{x: number, y: number}} at */
  #place(view, at) {
    const { x, y } = view.toScreen(at.x, at.y);
    const left = x + 28 + SIDE > view.stage.width ? x - 28 - SIDE : x + 28;
    const top = y - 28 - SIDE < 0 ? y + 28 : y - 28 - SIDE;
    this.canvas.style.transform = `translate(${left}px, ${top}px)`;
  }
}
