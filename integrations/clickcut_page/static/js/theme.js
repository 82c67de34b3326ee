// Dark and light: as the system has it, until a person chooses.

const KEY = "clickcut-theme";

export function apply() {
  let chosen = null;
  try {
    chosen = localStorage.getItem(KEY);
  } catch {
    // no storage: the system's choice
  }
  if (chosen) document.documentElement.dataset.theme = chosen;
}

export function toggle() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  const next = now === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // kept for this page only
  }
}
