// What the page says of itself: what can be done now, how fast it is, whether the engine is there.

import { button, element } from "./dom.js";
import { banner } from "./notices.js";

/** @param {import("./workspace.js").Workspace | null} workspace */
export function render(workspace) {
  document.body.classList.toggle("has-image", Boolean(workspace));
  const busy = Boolean(workspace?.busy);
  document.body.classList.toggle("busy", busy);
  element("stage").setAttribute("aria-busy", String(busy));
  button("undo").disabled = !workspace?.canUndo;
  button("redo").disabled = !workspace?.canRedo;
  button("reset").disabled = !workspace?.marks.length && !workspace?.item.area;
  button("next").disabled = !workspace?.item.area;
  button("save").disabled = button("copy").disabled = !workspace?.items.some((i) => i.area && !i.deleted);
  set("image-name", workspace?.name ?? "");
  set("image-size", workspace ? `${workspace.size.width} × ${workspace.size.height}` : "");
  const latency = workspace?.latency;
  set("latency", latency ? `${Math.round(latency.ms)} ms` : "");
  element("latency").title = latency
    ? `Of which the engine ${Math.round(latency.server)} ms; ${latency.bytes.toLocaleString("en")} bytes came`
    : "";
  renderConnection(workspace);
}

/** @param {import("./workspace.js").Workspace | null} workspace */
function renderConnection(workspace) {
  const state = workspace?.connection ?? "idle";
  const words = {
    idle: "",
    online: "Connected",
    connecting: "Connecting",
    offline: "Engine not reachable",
    restoring: "Restoring",
    taken: "Open elsewhere",
    full: "Engine is full",
  }[state];
  element("connection").dataset.state = state;
  set("connection-text", words);
  if (state === "taken") {
    const act = () => workspace?.session.retry();
    banner("This session goes on in another tab.", { label: "Continue here", act });
  } else if (state === "offline") {
    const act = () => workspace?.session.retry();
    banner("The engine cannot be reached. The page keeps trying; nothing is lost.", {
      label: "Try now",
      act,
    });
  } else if (state === "full") {
    banner(`${workspace?.message}. The page keeps trying; nothing is lost.`);
  } else if (state === "restoring") {
    banner(`The engine was restarted; your work is being restored: ${workspace?.message}`);
  } else {
    banner("");
  }
}

/** @param {string} id @param {string} text */
function set(id, text) {
  const target = element(id);
  if (target.textContent !== text) target.textContent = text;
}
