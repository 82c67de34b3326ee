// Masks -> files: formats are written by the server, cut-outs by the browser.

/**
 * @typedef {{label: string, counts: string}} Saved
 */

/** @returns {Promise<{name: string, title: string}[]>} */
export async function formats() {
  const answer = await fetch("formats");
  return answer.json();
}

/**
 * Saves objects in a format; gives what the format could not hold.
 * @param {import("./workspace.js").Workspace} workspace
 * @param {string} format
 * @param {number} tolerance
 * @returns {Promise<string[]>}
 */
export async function save(workspace, format, tolerance) {
  const objects = await workspace.masksToSave();
  const { width, height } = workspace.size;
  const body = JSON.stringify({ format, name: workspace.name, width, height, tolerance, objects });
  const answer = await fetch("export", { method: "POST", body }).catch(() => null);
  if (!answer) throw new Error("The page's server is not there; nothing was saved.");
  if (!answer.ok) throw new Error((await answer.json()).message);
  const disposition = answer.headers.get("content-disposition") ?? "";
  const name = decodeURIComponent(disposition.split("UTF-8''")[1] ?? "masks");
  download(await answer.blob(), name);
  return JSON.parse(decodeURIComponent(answer.headers.get("x-clickcut-notes") ?? "%5B%5D"));
}

/**
 * The objects with a transparent background, cropped to them.
 * @param {import("./workspace.js").Workspace} workspace
 * @returns {Promise<Blob>}
 */
export async function cutOut(workspace) {
  await workspace.masksToSave();
  const outlines = workspace.kept.map((item) => workspace.outlines.get(item.index));
  const boxes = outlines.flatMap((outline) => (outline?.box ? [outline.box] : []));
  if (!boxes.length) throw new Error("There is no object to save.");
  const x = Math.min(...boxes.map((box) => box[0]));
  const y = Math.min(...boxes.map((box) => box[1]));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(...boxes.map((box) => box[2])) - x;
  canvas.height = Math.max(...boxes.map((box) => box[3])) - y;
  const c = canvas.getContext("2d");
  if (!c) throw new Error("This browser cannot draw a picture of that size.");
  c.translate(-x, -y);
  for (const outline of outlines) {
    if (!outline) continue;
    c.save();
    c.clip(outline.path, "evenodd");
    c.drawImage(workspace.picture, 0, 0);
    c.restore();
  }
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!blob) throw new Error("This browser cannot write a picture of that size.");
  return blob;
}

/** @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  window.setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/**
 * Puts the cut-out into the clipboard.
 * @param {import("./workspace.js").Workspace} workspace
 */
export async function copyCutOut(workspace) {
  if (!navigator.clipboard?.write || !window.ClipboardItem) {
    throw new Error("This browser gives the page no clipboard; save the cut-out instead.");
  }
  const item = new ClipboardItem({ "image/png": cutOut(workspace) });
  try {
    await navigator.clipboard.write([item]);
  } catch (error) {
    const reason = /** @type {Error} */ (error).name === "NotAllowedError" ? " (not allowed)" : "";
    throw new Error(`The clipboard does not take it${reason}; save the cut-out instead.`);
  }
}
