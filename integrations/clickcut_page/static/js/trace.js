// Masks in a padded array, run lengths into it, and outlines along the edges between pixels.

export class MaskBuffer {
  /**
   * @param {number} width of the image
   * @param {number} height of the image
   */
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.stride = width + 2;
    /** A pixel is 1 where selected; a border of one pixel around saves all checks. */
    this.data = new Uint8Array(this.stride * (height + 2));
    /** Where pixels may be selected: x0, y0, x1, y1. @type {number[]} */
    this.box = [width, height, 0, 0];
  }

  clear() {
    const [, y0, , y1] = this.box;
    if (y1 > y0) this.data.fill(0, (y0 + 1) * this.stride, (y1 + 1) * this.stride);
    this.box = [this.width, this.height, 0, 0];
  }

  /**
   * Puts a rectangle that is given as COCO's compressed run lengths, column by column.
   * @param {Uint8Array} counts
   * @param {{x: number, y: number, width: number, height: number}} at
   */
  put(counts, at) {
    const { data, stride } = this;
    const { height } = at;
    const origin = (at.y + 1) * stride + at.x + 1;
    let [position, value] = [0, 0];
    let [minX, minY, maxX, maxY] = this.box;
    for (const run of runLengths(counts)) {
      let column = Math.floor(position / height);
      let row = position - column * height;
      let left = run;
      if (value && run) {
        const last = Math.floor((position + run - 1) / height);
        const rows = last > column ? [0, height] : [row, row + run]; // over a column's end: all
        minX = Math.min(minX, at.x + column);
        maxX = Math.max(maxX, at.x + last + 1);
        minY = Math.min(minY, at.y + rows[0]);
        maxY = Math.max(maxY, at.y + rows[1]);
      }
      while (left > 0) {
        const rows = Math.min(left, height - row);
        let i = origin + row * stride + column;
        for (let n = 0; n < rows; n++, i += stride) data[i] = value;
        left -= rows;
        row = 0;
        column += 1;
      }
      position += run;
      value ^= 1;
    }
    this.box = [minX, minY, maxX, maxY];
  }

  /**
   * All outlines, clockwise, holes counter-clockwise; corners only.
   * @returns {Int32Array<ArrayBuffer>} for each ring its number of corners, then x and y of each
   */
  outlines() {
    const { data, stride } = this;
    const [x0, y0, x1, y1] = this.box;
    /** @type {number[]} */
    const out = [];
    /** @type {number[]} */
    const visited = [];
    // Steps over corners, and from a corner to the pixels left and right ahead, by direction:
    // up, right, down, left. Corner (x, y) is the upper left one of pixel (x, y).
    const step = [-stride, 1, stride, -1];
    const aheadLeft = [-stride - 1, -stride, 0, -1];
    const aheadRight = [-stride, 0, -1, -stride - 1];
    let [minX, minY, maxX, maxY] = [this.width, this.height, 0, 0];
    for (let y = y0; y < y1; y++) {
      const row = (y + 1) * stride + 1;
      for (let i = row + x0; i < row + x1; i++) {
        // A left edge that no outline has passed: it is walked upwards, the object to the right.
        if (data[i] !== 1 || data[i - 1] !== 0) continue;
        const head = out.length;
        out.push(0);
        let corner = i + stride;
        let direction = 0;
        const end = corner;
        do {
          if (direction === 0) {
            data[corner - stride] = 2;
            visited.push(corner - stride);
          }
          corner += step[direction];
          let turned = direction;
          if (data[corner + aheadLeft[direction]]) turned = (direction + 3) & 3;
          else if (!data[corner + aheadRight[direction]]) turned = (direction + 1) & 3;
          if (turned !== direction) {
            const cornerY = Math.floor(corner / stride);
            const cornerX = corner - cornerY * stride;
            out.push(cornerX - 1, cornerY - 1);
            if (cornerX - 1 < minX) minX = cornerX - 1;
            if (cornerX - 1 > maxX) maxX = cornerX - 1;
            if (cornerY - 1 < minY) minY = cornerY - 1;
            if (cornerY - 1 > maxY) maxY = cornerY - 1;
            direction = turned;
          }
        } while (corner !== end || direction !== 0);
        out[head] = (out.length - head - 1) / 2;
      }
    }
    for (const i of visited) data[i] = 1;
    if (visited.length) this.box = [minX, minY, maxX, maxY];
    return Int32Array.from(out);
  }
}

/**
 * @param {Uint8Array} counts
 * @returns {number[]} alternating run lengths, background first
 */
export function runLengths(counts) {
  /** @type {number[]} */
  const runs = [];
  let at = 0;
  while (at < counts.length) {
    let value = 0;
    let shift = 0;
    let digit;
    do {
      digit = counts[at++] - 48;
      value |= (digit & 31) << shift;
      shift += 5;
    } while (digit & 32);
    if (digit & 16 && shift < 32) value |= -1 << shift;
    if (runs.length > 2) value += runs[runs.length - 2];
    runs.push(value);
  }
  return runs;
}
