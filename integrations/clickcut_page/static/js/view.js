// Where the image lies on the screen: scale and shift, in CSS pixels.

const MAX_SCALE = 40;

export class View {
  /** @param {() => void} changed told after each change */
  constructor(changed) {
    this.changed = changed;
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.image = { width: 1, height: 1 };
    this.stage = { width: 1, height: 1 };
    this.fitted = true;
    /** Height at the bottom that the tools cover. */
    this.below = 0;
  }

  /** The scale at which the whole image is seen. */
  get fitScale() {
    const { stage, image } = this;
    const margin = Math.min(48, stage.width / 12);
    const across = (stage.width - margin) / image.width;
    const down = (stage.height - margin - this.below) / image.height;
    return Math.max(1e-4, Math.min(across, down, 8));
  }

  fit() {
    this.scale = this.fitScale;
    this.x = (this.stage.width - this.image.width * this.scale) / 2;
    this.y = (this.stage.height - this.below - this.image.height * this.scale) / 2;
    this.fitted = true;
    this.changed();
  }

  /** @param {number} width @param {number} height */
  resize(width, height) {
    const [dx, dy] = [(width - this.stage.width) / 2, (height - this.stage.height) / 2];
    this.stage = { width, height };
    if (this.fitted) this.fit();
    else this.pan(dx, dy);
  }

  /**
   * Zooms so that what is at a place of the screen stays there.
   * @param {number} x @param {number} y @param {number} factor
   */
  zoom(x, y, factor) {
    const smallest = Math.min(this.fitScale, 1) / 2;
    const scale = Math.min(MAX_SCALE, Math.max(smallest, this.scale * factor));
    const ratio = scale / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.pan(x - (x - this.x) * ratio - this.x, y - (y - this.y) * ratio - this.y);
  }

  /** @param {number} dx @param {number} dy */
  pan(dx, dy) {
    const { stage, image, scale } = this;
    const keep = 60; // so much of the image stays on the screen
    const clamp = (/** @type {number} */ v, /** @type {number} */ side, /** @type {number} */ room) =>
      Math.min(room - keep, Math.max(keep - side * scale, v));
    this.x = clamp(this.x + dx, image.width, stage.width);
    this.y = clamp(this.y + dy, image.height, stage.height);
    if (dx || dy) this.fitted = false;
    this.changed();
  }

  /** Screen -> image, where (0, 0) is the centre of the first pixel. @param {number} x @param {number} y */
  toImage(x, y) {
    return { x: (x - this.x) / this.scale - 0.5, y: (y - this.y) / this.scale - 0.5 };
  }

  /** Image -> screen. @param {number} x @param {number} y */
  toScreen(x, y) {
    return { x: (x + 0.5) * this.scale + this.x, y: (y + 0.5) * this.scale + this.y };
  }

  /** Whether a place in image coordinates is a pixel. @param {{x: number, y: number}} at */
  holds({ x, y }) {
    return x >= -0.5 && y >= -0.5 && x < this.image.width - 0.5 && y < this.image.height - 0.5;
  }
}
