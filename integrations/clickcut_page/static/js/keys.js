// The keyboard. Each key does one of the page's actions; the help lists them from here.

/**
 * @typedef {{keys: string, text: string, when: (event: KeyboardEvent) => boolean, act: string}} Key
 */

const plain = (/** @type {KeyboardEvent} */ e) => !e.ctrlKey && !e.metaKey && !e.altKey;
const ctrl = (/** @type {KeyboardEvent} */ e) => (e.ctrlKey || e.metaKey) && !e.altKey;
const is = (/** @type {KeyboardEvent} */ e, /** @type {string[]} */ ...keys) =>
  keys.includes(e.key.length === 1 ? e.key.toLowerCase() : e.key);

/** @type {Key[]} */
export const KEYS = [
  { keys: "Ctrl + Z", text: "Undo", act: "undo", when: (e) => ctrl(e) && !e.shiftKey && is(e, "z") },
  {
    keys: "Ctrl + Shift + Z",
    text: "Redo",
    act: "redo",
    when: (e) => ctrl(e) && ((e.shiftKey && is(e, "z")) || is(e, "y")),
  },
  { keys: "Enter or N", text: "Next object", act: "next", when: (e) => plain(e) && is(e, "Enter", "n") },
  {
    keys: "Delete",
    text: "Remove the click under the pointer, or the last one",
    act: "remove",
    when: (e) => plain(e) && is(e, "Delete", "Backspace"),
  },
  { keys: "R", text: "Reset this object", act: "reset", when: (e) => plain(e) && is(e, "r") },
  { keys: "B", text: "Object or background", act: "sign", when: (e) => plain(e) && is(e, "b") },
  { keys: "P", text: "Preview under the pointer", act: "preview", when: (e) => plain(e) && is(e, "p") },
  { keys: "L", text: "Loupe", act: "loupe", when: (e) => plain(e) && is(e, "l") },
  { keys: "1, 2, 3", text: "Fill, outline, cut-out", act: "mode", when: (e) => plain(e) && is(e, "1", "2", "3") },
  { keys: "F", text: "Show the whole image", act: "fit", when: (e) => plain(e) && is(e, "f") },
  { keys: "+ and −", text: "Zoom", act: "zoom", when: (e) => plain(e) && is(e, "+", "=", "-") },
  {
    keys: "Arrow keys",
    text: "Move the crosshair, with Shift in large steps",
    act: "arrow",
    when: (e) => plain(e) && e.key.startsWith("Arrow"),
  },
  { keys: "X or .", text: "Click at the crosshair", act: "place", when: (e) => plain(e) && is(e, "x", ".") },
  { keys: "Ctrl + O", text: "Open a picture", act: "open", when: (e) => ctrl(e) && is(e, "o") },
  { keys: "Ctrl + S", text: "Save", act: "save", when: (e) => ctrl(e) && is(e, "s") },
  { keys: "?", text: "This help", act: "help", when: (e) => is(e, "?") || (plain(e) && is(e, "h")) },
];

export const POINTER_HELP = [
  ["Left click", "This is the object"],
  ["Right click, or Alt + click", "This is the background"],
  ["Drag", "Stroke"],
  ["Shift + drag", "Box around the object"],
  ["Drag a click", "Move it"],
  ["Wheel or pinch", "Zoom"],
  ["Space + drag, or middle button", "Pan"],
];

/**
 * @param {(act: string, event: KeyboardEvent) => void} act
 */
export function listen(act) {
  document.addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (document.querySelector("dialog[open]")) return;
    if (target.closest("input[type=text], select, textarea")) return;
    // Buttons and sliders keep the keys that they know themselves.
    const own = target.closest("button, a") ? ["Enter", " "] : target.closest("input") ? ["Arrow"] : [];
    if (own.some((key) => event.key.startsWith(key))) return;
    const key = KEYS.find((one) => one.when(event));
    if (!key) return;
    event.preventDefault();
    act(key.act, event);
  });
}
