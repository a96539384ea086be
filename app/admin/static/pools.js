// The pools of the balancer, where there are several: a link to each, with how it does.

import { number } from "./words.js";

const get = (id) => document.getElementById(id);

/** Show the links; `shown` is the name of the pool that the page is about, or null. */
export function list(pools, shown) {
  get("pools").hidden = pools.length < 2 && shown !== null;
  const links = get("pools").querySelector("ul");
  const there = new Map([...links.children].map((item) => [item.dataset.pool, item]));
  for (const name of there.keys()) {
    if (!pools.some((pool) => pool.name === name)) there.get(name).remove();
  }
  pools.forEach((pool, place) => {
    const item = there.get(pool.name) ?? made(pool.name);
    if (links.children[place] !== item) links.insertBefore(item, links.children[place] ?? null);
    const link = item.firstElementChild;
    if (pool.name === shown) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    const text = figures(pool);
    const small = link.querySelector("small");
    if (small.textContent !== text) small.textContent = text;
    item.classList.toggle("trouble", pool.rotation < pool.workers || !pool.workers || pool.queued > 0);
  });
}

/** Say why there is no pool to show. */
export function choose(asked, pools) {
  list(pools, null);
  const missing = asked ? `There is no pool ${asked}. ` : "";
  const text = missing + (pools.length ? "Choose a pool." : "No pool is served.");
  if (get("choose").textContent !== text) get("choose").textContent = text;
  get("choose").hidden = false;
}

export function chosen() {
  get("choose").hidden = true;
}

function made(name) {
  const item = document.createElement("li");
  item.dataset.pool = name;
  const link = item.appendChild(document.createElement("a"));
  link.href = `?pool=${encodeURIComponent(name)}`;
  link.appendChild(document.createElement("b")).textContent = name;
  link.append(" ", document.createElement("small"));
  return item;
}

function figures({ in_flight, queued, rotation, workers }) {
  return [
    `${number(in_flight)} in flight`,
    ...(queued ? [`${number(queued)} waiting`] : []),
    `${number(rotation)} of ${number(workers)} workers`,
  ].join(", ");
}
