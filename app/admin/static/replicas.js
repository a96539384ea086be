// The replicas that act as one: which of them decides, and what each holds of this pool.

import { duration, number } from "./words.js";

const PARTS = {
  arbiter: "decides for all",
  following: "asks for each slot",
  silent: "silent: what it may hold counts as held",
  lost: "not heard: what it held counts as held",
  dead: "dead: until workers have noticed",
};
const section = document.querySelector("#replicas");
const table = section.querySelector("tbody");
const term = document.querySelector("#term");

/** Show them; null where this replica is alone. */
export function show(all) {
  section.hidden = all === null;
  if (all === null) return;
  const without = all.without_arbiter_seconds ? `, ${duration(all.without_arbiter_seconds)} without one` : "";
  put(term, all.arbiter ? `term ${all.term}${without}` : `nobody decides${without}`);
  while (table.children.length > all.replicas.length) table.lastElementChild.remove();
  all.replicas.forEach((replica, place) => {
    const row = table.children[place] ?? make();
    row.dataset.replica = replica.pod;
    row.dataset.phase = { arbiter: "ready", following: "ready", dead: "ejected" }[replica.state] ?? "suspect";
    const [pod, part, holds, waiting] = row.children;
    put(pod, replica.pod);
    put(part.firstElementChild, PARTS[replica.state] + (replica.leaving ? ", about to stop" : ""));
    put(holds, number(replica.holds));
    put(waiting, number(replica.waiting));
  });
}

function make() {
  const row = table.appendChild(document.createElement("tr"));
  row.innerHTML = `<th scope="row"></th><td><span class="chip"></span></td>
    <td class="number"></td><td class="number"></td>`;
  return row;
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
