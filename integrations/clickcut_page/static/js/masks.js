// Outlines of masks as paths, from the worker.

/**
 * An outline: paths in image corners, (0, 0) the corner of the first pixel.
 * @typedef {{path: Path2D, box: number[] | null, corners: number}} Outline
 */

/** @type {Outline} */
export const NOTHING = { path: new Path2D(), box: null, corners: 0 };

export class Masks {
  constructor() {
    this.worker = new Worker(new URL("./mask_worker.js", import.meta.url), { type: "module" });
    this.next = 1;
    /** @type {Map<number, {resolve: (rings: Int32Array) => void, reject: (e: Error) => void}>} */
    this.waiting = new Map();
    this.worker.onmessage = ({ data }) => {
      const job = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error) job?.reject(new Error(data.error));
      else job?.resolve(data.rings);
    };
  }

  /**
   * Changes the present mask by what a reply says, and gives its outline.
   * @param {any} result of a reply, its mask as RLE
   * @param {{width: number, height: number}} size of the image
   */
  async patch(result, { width, height }) {
    const at = result.rectangle ?? { x: 0, y: 0, width: 0, height: 0 };
    const whole = at.width === width && at.height === height;
    const fresh = whole || result.area === 0n;
    const counts = result.mask.case === "rle" && !(result.area === 0n) ? result.mask.value.counts : null;
    const { x, y } = at;
    const place = { x, y, width: at.width, height: at.height };
    return toOutline(await this.#ask({ kind: "patch", width, height, fresh, counts, at: place }));
  }

  /**
   * The outline of a whole mask.
   * @param {Uint8Array} counts
   * @param {{width: number, height: number}} size
   */
  async outline(counts, { width, height }) {
    return toOutline(await this.#ask({ kind: "whole", width, height, counts }));
  }

  /**
   * @param {any} job
   * @returns {Promise<Int32Array>}
   */
  #ask(job) {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ ...job, id });
    });
  }
}

/**
 * @param {Int32Array} rings
 * @returns {Outline}
 */
function toOutline(rings) {
  const path = new Path2D();
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (let at = 0; at < rings.length; ) {
    const end = at + 1 + 2 * rings[at];
    path.moveTo(rings[at + 1], rings[at + 2]);
    for (let n = at + 3; n < end; n += 2) path.lineTo(rings[n], rings[n + 1]);
    for (let n = at + 1; n < end; n += 2) {
      box[0] = Math.min(box[0], rings[n]);
      box[1] = Math.min(box[1], rings[n + 1]);
      box[2] = Math.max(box[2], rings[n]);
      box[3] = Math.max(box[3], rings[n + 1]);
    }
    path.closePath();
    at = end;
  }
  return { path, box: rings.length ? box : null, corners: rings.length >> 1 };
}
