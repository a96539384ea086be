// Puts the feed's messages on the page. What was seen before the balancer was started anew stays:
// the new process knows nothing of it.

import * as charts from "./charts.js";
import { follow, keepToken } from "./feed.js";
import * as pools from "./pools.js";
import * as replicas from "./replicas.js";
import { duration, number, sentence, time } from "./words.js";
import * as workers from "./workers.js";

const KEPT_ROWS = 600, KEPT_EVENTS = 500;
const get = (id) => document.getElementById(id);
let boot = null;
let shown = null; // the name of the pool
let rows = [];
let events = [];
let rowColumns = [];
let seen = 0; // the number of the last event of this boot
let lostAt = 0;
const outSince = new Map();

function told(message) {
  const begins = message.boot !== undefined;
  if (begins) {
    if (boot && boot !== message.boot) {
      outSince.clear();
      seen = 0;
    }
    boot = message.boot;
    if (shown !== null && shown !== message.pool.name) forget();
    shown = message.pool.name;
    rowColumns = message.row_columns;
    workers.begin(message.columns);
    get("version").textContent = `leastwise ${message.version}, up since ${time(message.started_at)}`;
  }
  lostAt = 0;
  state("live", "live");
  place(message);
  take(message, begins);
  workers.change(message.workers, message.left ?? [], message.pool.cap, outSince, message.now);
  if (begins || message.history.length) charts.draw(rows, events, message.now);
  showPool(message);
}

/** Another pool is there now: what was seen was not its. */
function forget() {
  outSince.clear();
  [rows, events, seen] = [[], [], 0];
  get("events").replaceChildren();
  get("quiet").hidden = false;
}

/** Say which pool this is, in the address too: a second one may come, and the page be loaded again. */
function place({ pool, pools: there }) {
  pools.list(there, pool.name);
  pools.chosen();
  const wanted = `?pool=${encodeURIComponent(pool.name)}`;
  if (there.length > 1 && location.search !== wanted) history.replaceState(null, "", wanted);
  get("json").search = location.search;
}

function take(message, begins) {
  const last = rows.at(-1)?.at ?? 0;
  for (const values of message.history) {
    const row = Object.fromEntries(rowColumns.map((column, place) => [column, values[place]]));
    if (row.at > last) rows.push(row);
  }
  rows = rows.slice(-KEPT_ROWS);
  const fresh = message.events.filter((event) => event.number > seen);
  if (!fresh.length) return;
  seen = fresh.at(-1).number;
  for (const event of fresh) {
    if (event.kind === "ejected") outSince.set(event.worker, event.at);
    else if (event.worker && event.kind !== "lost") outSince.delete(event.worker);
    if (!begins && ["ejected", "back"].includes(event.kind)) get("said").textContent = sentence(event).join(" ");
  }
  events = [...events, ...fresh].slice(-KEPT_EVENTS);
  const list = get("events");
  list.prepend(...fresh.map(item).reverse());
  while (list.children.length > KEPT_EVENTS) list.lastElementChild.remove();
  get("quiet").hidden = true;
}

function item(event) {
  const [about, text] = sentence(event);
  const made = document.createElement("li");
  made.dataset.kind = event.kind;
  const when = made.appendChild(document.createElement("time"));
  when.dateTime = new Date(event.at * 1000).toISOString();
  when.textContent = time(event.at);
  const words = made.appendChild(document.createElement("span"));
  if (about) words.appendChild(document.createElement("b")).textContent = `${about} `;
  words.append(text);
  return made;
}

function showPool({ pool, troubles, watch, replicas: all }) {
  replicas.show(all);
  const own = all === null ? "" : ", of this replica";
  for (const note of document.querySelectorAll(".own")) note.hidden = all === null;
  document.title = `${pool.in_flight} in flight · ${pool.name} · leastwise`;
  get("pool").textContent = `pool ${pool.name}`;
  const list = get("troubles");
  const text = troubles.join("\n");
  if (list.dataset.text !== text) {
    list.dataset.text = text;
    list.replaceChildren(...troubles.map((trouble) => {
      const made = document.createElement("li");
      made.textContent = trouble;
      return made;
    }));
    list.hidden = !troubles.length;
  }
  const recent = rows.slice(-10);
  const sum = (key) => recent.reduce((total, row) => total + row[key], 0);
  const failed = rows.reduce((total, row) => total + row.failed, 0);
  const slots = pool.cap === null ? "" : `of ${number(pool.cap * pool.rotation)} slots`;
  tiles([
    ["in flight", number(pool.in_flight), slots],
    ["waiting", number(pool.queued), `of ${number(pool.queue_size)}`],
    ["workers in rotation", number(pool.rotation), `of ${number(pool.workers)}`],
    ["requests a second", recent.length ? (sum("ended") / recent.length).toFixed(1) : "–", `last 10 s${own}`],
    ["half take at most", duration(recent.findLast((row) => row.p50 !== null)?.p50), own.slice(2)],
    ["failed", number(failed), `last 10 min${own}`],
    ["sent again", number(pool.retried), `since the start${own}`],
    ["connections", number(pool.client_connections), `clients, ${number(pool.worker_connections)} to workers${own}`],
    ...(watch ? [["watch", watch.up ? "up" : "down", watch.name]] : []),
  ]);
}

function tiles(wanted) {
  const list = get("tiles");
  while (list.children.length > wanted.length) list.lastElementChild.remove();
  wanted.forEach(([name, value, note], place) => {
    let tile = list.children[place];
    if (!tile) {
      tile = list.appendChild(document.createElement("div"));
      tile.innerHTML = "<dt></dt><dd><span></span> <small></small></dd>";
    }
    tile.dataset.tile = name;
    [tile.querySelector("dt"), tile.querySelector("span"), tile.querySelector("small")]
      .forEach((element, part) => {
        const text = [name, value, note][part];
        if (element.textContent !== text) element.textContent = text;
      });
  });
}

function state(kind, text) {
  const status = get("status");
  document.body.classList.toggle("stale", kind === "wait");
  document.body.toggleAttribute("data-choosing", kind === "choose");
  if (status.textContent !== text) status.textContent = text;
  status.dataset.state = kind;
}

function several(there) {
  lostAt = 0;
  state("choose", there.length ? "which pool?" : "no pool");
  document.title = "leastwise";
  get("pool").textContent = "";
  pools.choose(new URLSearchParams(location.search).get("pool"), there);
}

function lost() {
  lostAt ||= Date.now();
  state("wait", "no connection, trying again …");
}

setInterval(() => { // beside the status, whose changes are read out
  get("silence").textContent = lostAt && boot ? `for ${duration(Math.max(1, (Date.now() - lostAt) / 1000))}` : "";
}, 1000);

function denied() {
  const dialog = get("ask");
  dialog.showModal();
  return new Promise((go) => dialog.addEventListener("close", () => {
    keepToken(get("token").value);
    get("token").value = "";
    go();
  }, { once: true }));
}

const THEMES = ["system", "light", "dark"];
function theme(name) {
  document.documentElement.dataset.theme = name;
  get("theme").textContent = `Theme: ${name}`;
  localStorage.setItem("leastwise-theme", name);
}
theme(localStorage.getItem("leastwise-theme") ?? "system");
get("theme").addEventListener("click", () => {
  theme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
});

follow({ told, lost, denied, several });
