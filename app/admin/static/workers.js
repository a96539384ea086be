// The table of workers, and above many workers a map of them. Rows are made once and changed in
// place, so that what one is reading does not jump, and 500 workers cost no more than what changes.

import { duration, number } from "./words.js";

const MAP_FROM = 24; // workers from which on there is a map
const TROUBLE = { ejected: 0, suspect: 1, refusing: 2, draining: 3, unready: 4, gone: 5, ready: 9 };

const table = document.querySelector("#table tbody");
const map = document.querySelector("#map");
const find = document.querySelector("#find");
const phase = document.querySelector("#phase");
const order = document.querySelector("#order");
const rows = new Map(); // name -> {row, cell, parts}
let columns = [];
let workers = new Map();
let dirty = true; // the order or the choice of rows may have changed

for (const control of [find, phase, order]) {
  control.addEventListener("input", () => { dirty = true; arrange(); });
}
document.querySelector("#controls").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/INPUT|SELECT|TEXTAREA/.test(document.activeElement.tagName)) {
    event.preventDefault();
    find.focus();
  }
});

export function begin(names) {
  columns = names;
  for (const name of workers.keys()) remove(name);
  workers = new Map();
  dirty = true;
}

export function change(lines, left, cap, outSince, now) {
  for (const name of left) remove(name);
  for (const line of lines) {
    const worker = Object.fromEntries(columns.map((column, place) => [column, line[place]]));
    const before = workers.get(worker.name);
    workers.set(worker.name, worker);
    if (!before || before.phase !== worker.phase || order.value !== "name" || phase.value) dirty = true;
    if (!rows.has(worker.name)) rows.set(worker.name, make(worker.name));
  }
  if (lines.length || left.length || change.cap !== cap) {
    const all = change.cap !== cap;
    change.cap = cap;
    const shown = all ? workers.values() : lines.map((line) => workers.get(line[0]));
    for (const worker of shown) fill(rows.get(worker.name), worker, cap);
  }
  for (const [name, { parts }] of rows) {
    const worker = workers.get(name);
    const out = worker.phase === "ejected" && outSince.has(name);
    const text = worker.reason + (out ? `, for ${duration(Math.max(1, now - outSince.get(name)))}` : "");
    put(parts.reason, text);
  }
  arrange();
}

function remove(name) {
  workers.delete(name);
  const row = rows.get(name);
  row?.row.remove();
  row?.cell.remove();
  rows.delete(name);
  dirty = true;
}

function make(name) {
  const row = document.createElement("tr");
  row.innerHTML = `<th scope="row"><span></span><small></small></th>
    <td class="load"><div><div class="bar" role="meter" aria-valuemin="0"><i></i></div><span></span></div></td>
    <td><span class="chip"></span><small></small></td>
    <td class="number"></td><td class="number more"></td><td class="number more"></td>
    <td class="number more"></td><td class="number more"></td>`;
  const [worker, load, state, ...numbers] = row.children;
  const bar = load.querySelector(".bar");
  bar.setAttribute("aria-label", `in flight on ${name}`);
  const cell = document.createElement("i");
  cell.title = name;
  return { row, cell, parts: {
    name: worker.querySelector("span"), address: worker.querySelector("small"),
    bar, fill: bar.querySelector("i"), load: load.querySelector("span"),
    chip: state.querySelector("span"), reason: state.querySelector("small"), numbers } };
}

function fill({ row, cell, parts }, worker, cap) {
  const top = cap ?? Math.max(1, worker.in_flight);
  const share = Math.min(100, (100 * worker.in_flight) / top);
  row.dataset.phase = cell.dataset.phase = worker.phase;
  row.dataset.worker = worker.name;
  put(parts.name, worker.name);
  put(parts.address, [worker.address === worker.name ? "" : worker.address, worker.node, worker.zone]
    .filter(Boolean).join(" · "));
  parts.fill.style.width = `${share}%`;
  cell.style.setProperty("--load", `${share}%`);
  parts.bar.setAttribute("aria-valuemax", top);
  parts.bar.setAttribute("aria-valuenow", worker.in_flight);
  put(parts.load, cap === null ? `${worker.in_flight}` : `${worker.in_flight} of ${cap}`);
  put(parts.chip, worker.phase);
  parts.chip.title = worker.last_error ? `last error: ${worker.last_error}` : "";
  const { numbers } = parts;
  put(numbers[0], duration(worker.answer_seconds));
  [worker.requests, worker.failed, worker.refused, worker.connect_errors]
    .forEach((value, place) => put(numbers[place + 1], number(value)));
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const ORDERS = {
  name: () => 0,
  trouble: (a, b) => TROUBLE[a.phase] - TROUBLE[b.phase],
  load: (a, b) => b.in_flight - a.in_flight,
  latency: (a, b) => (b.answer_seconds ?? -1) - (a.answer_seconds ?? -1),
  requests: (a, b) => b.requests - a.requests,
};
const names = new Intl.Collator(undefined, { numeric: true });

/** Put the rows that are asked for into the order that is asked for. */
function arrange() {
  if (!dirty) return;
  dirty = false;
  const text = find.value.trim().toLowerCase();
  const chosen = [...workers.values()].filter((worker) =>
    (!text || `${worker.name} ${worker.address} ${worker.node}`.toLowerCase().includes(text)) &&
    (phase.value !== "trouble" || worker.phase !== "ready") &&
    (phase.value !== "busy" || worker.in_flight > 0));
  const by = ORDERS[order.value];
  chosen.sort((a, b) => by(a, b) || names.compare(a.name, b.name));
  place(table, chosen.map(({ name }) => rows.get(name).row));
  map.hidden = workers.size < MAP_FROM;
  if (!map.hidden) place(map, [...workers.keys()].sort(names.compare).map((name) => rows.get(name).cell));
  document.querySelector("#none").hidden = chosen.length > 0;
  put(document.querySelector("#shown"), chosen.length === workers.size
    ? `${workers.size}` : `${chosen.length} of ${workers.size}`);
}

/** Make the children of `parent` these, moving only what stands elsewhere. */
function place(parent, wanted) {
  let at = parent.firstElementChild;
  for (const element of wanted) {
    if (element === at) at = at.nextElementSibling;
    else parent.insertBefore(element, at);
  }
  while (at) {
    const next = at.nextElementSibling;
    at.remove();
    at = next;
  }
}
