// Three charts over the last minutes, with the events as marks. Drawn as SVG paths, once a second.
// With several replicas the first is about all of them; `own` says of which that is not so.
// Each can be read by pointer and by the arrow keys; what is pointed at is said in its caption.

import { duration, number, time } from "./words.js";

const NS = "http://www.w3.org/2000/svg";
const HEIGHT = 144, LEFT = 40, RIGHT = 8, TOP = 8, BOTTOM = 18;
const LEAST_SPAN = 60, MOST_SPAN = 600;

const CHARTS = [
  { title: "Requests at workers and waiting", format: number, series: [
    ["in_flight", "in flight", "s-main"], ["queued", "waiting", "s-warn"], ["slots", "slots", "s-soft"]] },
  { title: "Requests ended per second", own: true, format: number, series: [
    ["ended", "ended", "s-main"], ["failed", "failed", "s-bad"], ["retried", "sent again", "s-warn"]] },
  { title: "How long requests took", own: true, format: duration, series: [
    ["p50", "half within", "s-main"], ["p99", "99 % within", "s-warn"]] },
];

const span = document.querySelector("#span");
const charts = CHARTS.map(make);
let rows = [];
let events = [];
let now = 0;
span.addEventListener("input", () => draw(rows, events, now));
new ResizeObserver(() => draw(rows, events, now)).observe(document.querySelector("#charts"));

export function draw(allRows, allEvents, at) {
  [rows, events, now] = [allRows, allEvents, at];
  const first = rows.length ? now - rows[0].at : 0;
  const length = Number(span.value) || Math.min(MOST_SPAN, Math.max(LEAST_SPAN, first));
  const since = now - length;
  const shown = rows.filter((row) => row.at >= since - 1);
  const marks = events.filter((event) =>
    event.at >= since && ["ejected", "back", "balancer", "config"].includes(event.kind));
  for (const chart of charts) render(chart, shown, marks, since, length);
}

function make({ title, own, format, series }) {
  const figure = document.createElement("figure");
  const caption = figure.appendChild(document.createElement("figcaption"));
  const name = caption.appendChild(document.createElement("b"));
  name.textContent = title;
  if (own) {
    const note = name.appendChild(document.createElement("small"));
    [note.className, note.hidden, note.textContent] = ["own", true, " of this replica"];
  }
  const readouts = series.map(([, , style]) => {
    const readout = caption.appendChild(document.createElement("span"));
    readout.className = style;
    return readout;
  });
  const when = caption.appendChild(document.createElement("small"));
  const svg = figure.appendChild(element("svg", {
    class: "chart", role: "img", tabindex: 0, "aria-label": `${title}. Left and right arrow keys move through time.` }));
  document.querySelector("#charts").append(figure);
  const chart = { title, format, series, readouts, when, svg, picked: null, shown: [] };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
    const at = chart.since + share * chart.length;
    pick(chart, nearest(chart.shown, at));
  });
  svg.addEventListener("pointerleave", () => pick(chart, null));
  svg.addEventListener("blur", () => pick(chart, null));
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30 }[event.key];
    if (!step || !chart.shown.length) return;
    event.preventDefault();
    const last = chart.shown.length - 1;
    const from = chart.picked ? chart.shown.indexOf(chart.picked) : last;
    pick(chart, chart.shown[Math.min(last, Math.max(0, from + step))]);
    document.querySelector("#said").textContent = caption.textContent;
  });
  return chart;
}

function render(chart, shown, marks, since, length) {
  Object.assign(chart, { shown, since, length });
  const { series, format, svg } = chart;
  const width = Math.max(120, svg.clientWidth);
  const values = shown.flatMap((row) => series.map(([key]) => row[key] ?? 0));
  const top = ceiling(Math.max(0, ...values));
  const x = (at) => LEFT + ((at - since) / length) * (width - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
  const parts = [];
  for (const value of [0, top / 2, top]) {
    parts.push(element("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }));
    parts.push(label(LEFT - 4, y(value) + 4, "end", format(value)));
  }
  parts.push(label(LEFT, HEIGHT - 3, "start", `${duration(length)} ago`),
    label(width - RIGHT, HEIGHT - 3, "end", "now"));
  for (const event of marks) {
    const mark = element("line", { class: `mark ${event.kind}`, x1: x(event.at), x2: x(event.at),
      y1: TOP, y2: HEIGHT - BOTTOM });
    mark.appendChild(element("title", {})).textContent = `${time(event.at)} ${event.worker ?? ""} ${event.kind}`;
    parts.push(mark);
  }
  for (const [key, , style] of series) {
    parts.push(element("path", { class: style, d: line(shown, key, x, y) }));
  }
  chart.cursor = element("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  chart.x = x;
  svg.replaceChildren(...parts, chart.cursor);
  pick(chart, chart.picked && shown.includes(chart.picked) ? chart.picked : null);
}

/** A path through what is known; a gap in time or in values is a gap in the line. */
function line(shown, key, x, y) {
  let path = "", before = null;
  for (const row of shown) {
    if (row[key] === null) { before = null; continue; }
    const joined = before !== null && row.at - before < 3;
    path += `${joined ? "L" : "M"}${x(row.at).toFixed(1)} ${y(row[key]).toFixed(1)}`;
    if (!joined) path += "h.5";
    before = row.at;
  }
  return path;
}

function pick(chart, row) {
  chart.picked = row;
  const told = row ?? chart.shown.at(-1);
  chart.series.forEach(([key, name], place) => {
    const text = `${name} ${told ? chart.format(told[key]) : "–"}`;
    if (chart.readouts[place].textContent !== text) chart.readouts[place].textContent = text;
  });
  chart.when.textContent = row ? `at ${time(row.at)}` : "";
  if (!chart.cursor) return;
  chart.cursor.setAttribute("visibility", row ? "visible" : "hidden");
  if (row) for (const end of ["x1", "x2"]) chart.cursor.setAttribute(end, chart.x(row.at));
}

function nearest(shown, at) {
  let best = null;
  for (const row of shown) if (!best || Math.abs(row.at - at) < Math.abs(best.at - at)) best = row;
  return best;
}

function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].map((step) => step * power).find((step) => step >= value * 1.02) ?? 20 * power;
}

function element(name, attributes) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function label(x, y, anchor, text) {
  const made = element("text", { x, y, "text-anchor": anchor });
  made.textContent = text;
  return made;
}
