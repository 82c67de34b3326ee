// Short messages, read out by screen readers; and the banner for what does not pass by itself.

const SHOWN_MS = 7000;

/**
 * @param {string} text
 * @param {"info" | "error"} [kind]
 * @param {{label: string, act: () => void}} [action]
 */
export function notify(text, kind = "info", action) {
  const list = /** @type {HTMLElement} */ (document.getElementById("notices"));
  const notice = document.createElement("div");
  notice.className = `notice ${kind}`;
  notice.setAttribute("role", kind === "error" ? "alert" : "status");
  notice.textContent = text;
  if (action) {
    const button = document.createElement("button");
    button.textContent = action.label;
    button.onclick = () => {
      action.act();
      notice.remove();
    };
    notice.append(button);
  }
  list.append(notice);
  while (list.children.length > 3) list.firstElementChild?.remove();
  window.setTimeout(() => notice.remove(), SHOWN_MS);
}

/**
 * @param {string} text "" takes it away
 * @param {{label: string, act: () => void}} [action]
 */
export function banner(text, action) {
  const bar = /** @type {HTMLElement} */ (document.getElementById("banner"));
  const words = /** @type {HTMLElement} */ (document.getElementById("banner-text"));
  const button = /** @type {HTMLButtonElement} */ (document.getElementById("banner-action"));
  bar.hidden = !text;
  if (words.textContent !== text) words.textContent = text;
  button.hidden = !action;
  button.textContent = action?.label ?? "";
  button.onclick = action?.act ?? null;
}
