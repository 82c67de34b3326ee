// Decodes masks and finds their outlines, apart from the page's own thread.

import { MaskBuffer } from "./trace.js";

/** The mask of the present object, changed by replies. */
let present = new MaskBuffer(0, 0);
/** For whole masks that are looked at once. */
let other = new MaskBuffer(0, 0);

self.onmessage = ({ data }) => {
  const { id, kind } = data;
  try {
    const rings = kind === "patch" ? patch(data) : whole(data);
    self.postMessage({ id, rings }, { transfer: [rings.buffer] });
  } catch (error) {
    self.postMessage({ id, error: String(error) });
  }
};

/** @param {any} job */
function patch({ width, height, fresh, counts, at }) {
  if (present.width !== width || present.height !== height) {
    present = new MaskBuffer(width, height);
  } else if (fresh) {
    present.clear();
  }
  if (counts) present.put(counts, at);
  return present.outlines();
}

/** @param {any} job */
function whole({ width, height, counts }) {
  if (other.width !== width || other.height !== height) other = new MaskBuffer(width, height);
  else other.clear();
  other.put(counts, { x: 0, y: 0, width, height });
  return other.outlines();
}
