// What a person did to an object, as it is kept in the browser, and as an event on the wire.

/**
 * @typedef {{kind: "click", x: number, y: number, negative: boolean}} ClickEdit
 * @typedef {{kind: "stroke", points: number[], negative: boolean}} StrokeEdit
 * @typedef {{kind: "box", x0: number, y0: number, x1: number, y1: number}} BoxEdit
 * @typedef {{kind: "move", index: number, x: number, y: number}} MoveEdit
 * @typedef {{kind: "remove", index: number}} RemoveEdit
 * @typedef {{kind: "reset"}} ResetEdit
 * @typedef {{kind: "mask", counts: string, width: number, height: number}} MaskEdit
 * @typedef {ClickEdit | StrokeEdit | BoxEdit | MoveEdit | RemoveEdit | ResetEdit | MaskEdit} Edit
 * @typedef {ClickEdit | StrokeEdit} Mark a click or stroke in force
 */

/**
 * The event of an edit.
 * @param {Edit} edit
 * @returns {{case: string, value: any}}
 */
export function toEvent(edit) {
  switch (edit.kind) {
    case "click":
      return { case: "click", value: { x: edit.x, y: edit.y, negative: edit.negative } };
    case "stroke":
      return { case: "stroke", value: { coordinates: edit.points, negative: edit.negative } };
    case "box":
      return { case: "box", value: { x0: edit.x0, y0: edit.y0, x1: edit.x1, y1: edit.y1 } };
    case "move":
      return { case: "moveClick", value: { index: edit.index, x: edit.x, y: edit.y } };
    case "remove":
      return { case: "removeClick", value: { index: edit.index } };
    case "reset":
      return { case: "reset", value: {} };
    case "mask": {
      const rle = { width: edit.width, height: edit.height, counts: toBytes(edit.counts) };
      return { case: "initialMask", value: { mask: { case: "rle", value: rle } } };
    }
  }
}

/**
 * The clicks and strokes in force, in the engine's order.
 * @param {Edit[]} edits
 * @returns {Mark[]}
 */
export function marksOf(edits) {
  /** @type {Mark[]} */
  let marks = [];
  for (const edit of edits) {
    if (edit.kind === "click" || edit.kind === "stroke") marks.push(edit);
    else if (edit.kind === "remove") marks = marks.filter((_, n) => n !== edit.index);
    else if (edit.kind === "reset" || edit.kind === "mask") marks = [];
    else if (edit.kind === "move") {
      const moved = marks[edit.index];
      marks = [...marks];
      if (moved?.kind === "click") marks[edit.index] = { ...moved, x: edit.x, y: edit.y };
    }
  }
  return marks;
}

/**
 * The box in force.
 * @param {Edit[]} edits
 * @returns {BoxEdit | null}
 */
export function boxOf(edits) {
  const last = edits.findLast((edit) => ["box", "reset", "mask"].includes(edit.kind));
  return last?.kind === "box" ? last : null;
}

/** @param {string} text of single-byte characters */
export function toBytes(text) {
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

/** @param {Uint8Array} bytes */
export function toText(bytes) {
  return new TextDecoder("latin1").decode(bytes);
}
