// The feed of server-sent events, read with fetch: an EventSource can send no token, and gives up
// for good on an answer that is none. Reconnects until the page is closed.

const RETRY = 1000; // ms between two tries
const SILENCE = 5000; // ms without a message after which a connection is taken for dead

let token = sessionStorage.getItem("leastwise-token") ?? "";

export function keepToken(value) {
  token = value;
  sessionStorage.setItem("leastwise-token", value);
}

/**
 * Call `told(message)` with each message, `lost()` when there are none; `denied()` asks for a token,
 * `several(pools)` says that none of the pools was named, or another.
 */
export async function follow({ told, lost, denied, several }) {
  for (;;) {
    let answered = false;
    try {
      answered = await read(told, denied, several);
    } catch (error) {
      console.debug("feed:", error);
    }
    if (!answered) lost();
    await new Promise((go) => setTimeout(go, RETRY));
  }
}

/** Return whether the balancer answered that there is nothing to follow. */
async function read(told, denied, several) {
  const abort = new AbortController();
  let watchdog = setTimeout(() => abort.abort(), SILENCE);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    const response = await fetch(`stream${location.search}`, { headers, cache: "no-store", signal: abort.signal });
    if (response.status === 401 || response.status === 403) {
      clearTimeout(watchdog);
      await denied();
      return false;
    }
    if (response.status === 404) {
      several((await response.json()).pools);
      return true;
    }
    if (!response.ok) throw new Error(`status ${response.status}`);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return false;
      clearTimeout(watchdog);
      watchdog = setTimeout(() => abort.abort(), SILENCE);
      text += value;
      const messages = text.split("\n\n");
      text = messages.pop();
      for (const message of messages) {
        if (message.startsWith("data: ")) told(JSON.parse(message.slice(6)));
      }
    }
  } finally {
    clearTimeout(watchdog);
    abort.abort();
  }
}
