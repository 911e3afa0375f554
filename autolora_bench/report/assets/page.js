"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const dialog = document.getElementById("runs");

const element = (name, text, className) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
};

const grid = (head, rows) => {
  const table = element("table", undefined, head.length === 2 ? "pairs" : "");
  if (head.some(Boolean)) {
    const row = table.createTHead().insertRow();
    for (const title of head) row.append(element("th", title));
  }
  const body = table.createTBody();
  for (const cells of rows) {
    const row = body.insertRow();
    for (const cell of cells) row.append(element("td", cell));
  }
  const scroll = element("div", undefined, "scroll");
  scroll.append(table);
  return scroll;
};

const folded = (title, content, open) => {
  const details = element("details");
  details.open = open;
  details.append(element("summary", title), content);
  return details;
};

const curve = (points) => {
  const space = "http://www.w3.org/2000/svg";
  const [xs, ys] = [points.map((p) => p[0]), points.map((p) => p[1])];
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const place = ([x, y]) => `${((x - left) / (right - left || 1)) * 100},${38 - ((y - low) / (high - low || 1)) * 36}`;
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 100 40");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "curve");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(space, "polyline");
  line.setAttribute("points", points.map(place).join(" "));
  svg.append(line);
  const box = element("div", `from ${ys[0]} to ${ys[ys.length - 1]}, lowest ${low}, highest ${high}`, "curve-range");
  box.append(svg);
  return box;
};

const commandOf = (run) => {
  const block = element("pre", run.command);
  const copy = element("button", "copy", "copy");
  copy.type = "button";
  copy.addEventListener("click", () => {
    getSelection().selectAllChildren(block);
    navigator.clipboard?.writeText(run.command).then(() => { copy.textContent = "copied"; }, () => {});
  });
  const box = element("div");
  box.append(block, copy);
  return box;
};

const shown = (run) => {
  const box = element("section", undefined, "run");
  const title = element("h3", `${run.title}: `);
  title.append(element("span", run.state, run.state === "failed" ? "failed" : "state"));
  box.append(title, element("h4", "Command"), commandOf(run));
  if (run.error) {
    box.append(element("p", `${run.error.type}: ${run.error.message}`, "failed"));
    if (run.error.mend) box.append(element("p", run.error.mend));
    if (run.error.traceback) box.append(folded("Traceback", element("pre", run.error.traceback), false));
  }
  if (run.curve && run.curve.length > 1) box.append(element("h4", "Headline score by epoch"), curve(run.curve));
  for (const [title, head, rows] of run.sections) {
    box.append(folded(title, grid(head, rows.map((row) => data.rows[row])), title === "Scores"));
  }
  box.append(folded("Settings", grid(["setting", "value"], run.settings.map((row) => data.rows[row])), false));
  return box;
};

const openRuns = (numbers, called) => {
  const runs = numbers.map((index) => data.runs[Number(index)]);
  const close = element("button", "close");
  close.type = "button";
  close.addEventListener("click", () => dialog.close());
  const bar = element("div", undefined, "bar");
  const title = element("h2", called);
  title.id = "runs-title";
  bar.append(title, close);
  dialog.replaceChildren(bar, ...runs.map(shown));
  dialog.showModal();
  dialog.scrollTop = 0;
};

// What a reader chose stands behind the # of the address, so that a link shows the same.
const state = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
const remember = (name, ...values) => {
  state.delete(name);
  for (const value of values) if (value) state.append(name, value);
  const text = state.toString();
  try { history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search); } catch { /* a viewer without addresses */ }
};

const sortBy = (button) => {
  const header = button.closest("th");
  const table = button.closest("table");
  const line = [...header.parentNode.children];
  const marked = table.tHead.querySelector(".place") ? 1 : 0;
  const place = line.indexOf(header) + (line.indexOf(header) > 0 ? marked : 0);
  const next = { none: "descending", descending: "ascending", ascending: "none" }[header.ariaSort || "none"];
  for (const other of line) other.removeAttribute("aria-sort");
  if (next !== "none") header.ariaSort = next;
  const bodies = [...table.tBodies];
  const key = (body) => {
    const cell = body.rows[0].cells[place];
    if (!body.dataset.method) return null;
    if (place === 0) return cell.textContent;
    const value = cell.dataset.value ?? parseFloat(cell.textContent.replaceAll(",", ""));
    return value === "" || Number.isNaN(Number(value)) ? null : Number(value);
  };
  const factor = next === "ascending" ? 1 : -1;
  bodies.sort((one, other) => {
    const [a, b] = [key(one), key(other)];
    if (next === "none" || a === b) return one.dataset.order - other.dataset.order;
    if (a === null || b === null) return a === null ? 1 : -1;
    return (a > b ? 1 : -1) * factor;
  });
  table.append(...bodies);
};

const KINDS = ["model", "task", "method"];
const boxesOf = (form, kind) => [...form.elements].filter((box) => box.name === kind);
const hiddenNames = { model: new Set(), task: new Set(), method: new Set() };
const applyFilters = (form) => {
  for (const kind of KINDS) {
    const boxes = boxesOf(form, kind);
    hiddenNames[kind] = new Set(boxes.filter((box) => !box.checked).map((box) => box.value));
    const on = boxes.filter((box) => box.checked).map((box) => box.value);
    remember(kind, ...(on.length === boxes.length ? [] : on.length ? on : ["-"]));
    for (const part of document.querySelectorAll(`main [data-${kind}], .cards [data-${kind}]`)) {
      part.hidden = hiddenNames[kind].has(part.dataset[kind]);
    }
  }
  for (const redraw of redraws) redraw();
};
const restoreFilters = (form) => {
  for (const kind of KINDS.filter((one) => state.has(one))) {
    const boxes = boxesOf(form, kind);
    const known = new Set(boxes.map((box) => box.value));
    // Links of earlier pages hold several names in one text.
    const on = new Set(state.getAll(kind).flatMap((text) => (known.has(text) ? [text] : text.split(" "))));
    for (const box of boxes) box.checked = on.has(box.value);
  }
};

const switchAll = (button) => {
  const boxes = boxesOf(button.form, button.dataset.switch);
  const on = boxes.some((box) => !box.checked);
  for (const box of boxes) box.checked = on;
  applyFilters(button.form);
};

const compareWith = (select) => {
  const box = select.closest("p").nextElementSibling;
  const rows = data.versus[Number(select.dataset.versus)][select.value];
  remember(`with${select.dataset.versus}`, select.value);
  box.replaceChildren();
  if (!rows) return;
  const head = [`${select.value} against`, "ahead by", "95 % interval", "pairs", "answer"];
  box.append(grid(head, rows));
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.runs) openRuns(button.dataset.runs.split(" "), button.getAttribute("aria-label").replace(/\. Show runs$/, ""));
  else if (button?.dataset.switch) switchAll(button);
  else if (button && "sort" in button.dataset) sortBy(button);
  else if (event.target === dialog) dialog.close();
  const link = event.target.closest('nav a[href^="#"]');
  if (link && state.size) {
    event.preventDefault();
    document.getElementById(link.hash.slice(1))?.scrollIntoView();
  }
});
for (const select of document.querySelectorAll("[data-versus]")) {
  select.closest("p").hidden = false;
  select.addEventListener("change", () => compareWith(select));
  const chosen = state.get(`with${select.dataset.versus}`);
  if (chosen && chosen in data.versus[Number(select.dataset.versus)]) {
    select.value = chosen;
    compareWith(select);
  }
}
const redraws = [];
const form = document.getElementById("filters");
if (form) {
  form.hidden = false;
  restoreFilters(form);
  applyFilters(form);
  form.addEventListener("change", () => applyFilters(form));
}
