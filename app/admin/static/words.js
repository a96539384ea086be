// Numbers, times and events as people read them.

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds === 0) return "0 s";
  if (seconds < 0.0995) return `${(seconds * 1000).toFixed(seconds < 0.00995 ? 1 : 0)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(seconds < 0.995 ? 2 : 1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.round(seconds / 3600)} h`;
}

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
export const time = (at) => clock.format(at * 1000);

const count = new Intl.NumberFormat();
export const number = (value) => (value === null || value === undefined ? "–" : count.format(value));

/** Say an event in a sentence; the first element is the worker that it is about, if it is one. */
export function sentence(event) {
  if (!event.worker) return ["", event.text];
  const reason = event.reason ? ` (${event.reason})` : "";
  const load = event.in_flight ? `, with ${event.in_flight} in flight` : "";
  const after = event.after;
  switch (event.kind) {
    case "joined": return [event.worker, `joined${event.phase === "ready" ? "" : `, ${event.phase}`}`];
    case "ejected":
      return [event.worker, after > 0
        ? `ejected ${duration(after)} after the first sign${reason}${load}`
        : `ejected at the first sign${reason}${load}`];
    case "back":
      return [event.worker, after === undefined ? "back" : `back after ${duration(after)}`];
    case "draining": return [event.worker, `draining${load}`];
    case "unready": return [event.worker, "not ready, says discovery"];
    case "left": return [event.worker, `left${load}`];
    case "lost": return [event.worker, event.text];
    default: return ["", event.text];
  }
}
