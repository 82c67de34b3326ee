// The dialogue for saving.

import { button, chosen, dialog, element, input } from "./dom.js";
import { notify } from "./notices.js";
import { copyCutOut, cutOut, download, formats, save } from "./saving.js";

const HINTS = /** @type {Record<string, string>} */ ({
  png: "One black and white file for each object.",
  "png-indexed": "One file; the background is 0, objects are 1, 2, ... in colour.",
  coco: "Exact masks, one JSON file.",
  "coco-polygons": "Outlines, one JSON file. Holes are filled.",
  yolo: "Outlines in a text file, and the classes. Holes are lost.",
  "label-studio": "Exact brush masks, to be imported as tasks.",
  "label-studio-polygons": "Outlines, to be imported as tasks. Holes are filled.",
  labelme: "Outlines; an object with holes is an exact mask.",
  cvat: "Exact masks, CVAT for images 1.1.",
  geojson: "Outlines with holes, as QuPath takes them.",
  cutout: "The objects on a transparent background, cropped.",
});

/** @param {() => import("./workspace.js").Workspace | null} current */
export async function prepare(current) {
  const list = element("formats");
  const found = await formats().catch(() => []);
  for (const { name, title } of [{ name: "cutout", title: "Cut-out, transparent PNG" }, ...found]) {
    const label = document.createElement("label");
    label.className = "choice";
    const radio = document.createElement("input");
    radio.type = "radio";
    radio.name = "format";
    radio.value = name;
    radio.checked = name === "cutout";
    const words = document.createElement("span");
    words.append(title, Object.assign(document.createElement("small"), { textContent: HINTS[name] ?? "" }));
    label.append(radio, words);
    list.append(label);
  }
  button("save-now").onclick = async () => {
    const workspace = current();
    if (!workspace) return;
    dialog("save-dialog").close();
    try {
      const notes = await write(workspace, chosen("format"));
      for (const note of notes) notify(note);
    } catch (error) {
      notify(/** @type {Error} */ (error).message, "error");
    }
  };
  button("copy").onclick = async () => {
    const workspace = current();
    if (!workspace) return;
    try {
      await copyCutOut(workspace);
      notify("The cut-out is in the clipboard.");
    } catch (error) {
      notify(/** @type {Error} */ (error).message, "error");
    }
  };
}

/** @param {import("./workspace.js").Workspace} workspace @param {string} format */
async function write(workspace, format) {
  if (format === "cutout") {
    const name = workspace.name.replace(/\.[^.]*$/, "");
    download(await cutOut(workspace), `${name}_cutout.png`);
    return [];
  }
  return save(workspace, format, Number(input("tolerance").value));
}
