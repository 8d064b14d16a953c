// The stream of changes of one store: server-sent events, read with `fetch` so that failures have a cause.

const SILENCE = 40_000; // the service sends a comment every 15 s
const SLICE = 12; // milliseconds of work before the browser may draw
const FIRST_WAIT = 500, LONGEST_WAIT = 15_000;

const pause = () => new Promise((go) => {
  const channel = new MessageChannel();
  channel.port1.onmessage = () => go(undefined);
  channel.port2.postMessage(null);
});

/**
 * Splits a text into server-sent events.
 * @param {string} block one event, without the empty line that ends it
 * @returns {{event: string, data: string, id: string | null}}
 */
export function parse(block) {
  let event = "message", data = "", id = null;
  for (let at = 0; at < block.length;) {
    let end = block.indexOf("\n", at);
    if (end < 0) end = block.length;
    let line = block.slice(at, end);
    at = end + 1;
    if (line.endsWith("\r")) line = line.slice(0, -1);
    const colon = line.indexOf(":");
    if (colon === 0) continue;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") data = data ? `${data}\n${value}` : value;
    else if (field === "event") event = value;
    else if (field === "id") id = value;
  }
  return { event, data, id };
}

/** Follows a store until it is stopped; comes back by itself, from where it was. */
export class Stream {
  /**
   * @param {string} url of the changes
   * @param {(event: string, data: string) => void} told is given every event
   * @param {(phase: "opening" | "open" | "waiting", cause: string, retryAt: number) => void} link is told of the connection
   */
  constructor(url, told, link) {
    Object.assign(this, { url, told, link, run: null, last: null, attempts: 0, stopped: false });
    this.abort = new AbortController();
    this.wake = () => {};
    this.follow();
  }

  stop() {
    this.stopped = true;
    this.abort.abort();
    this.wake();
  }

  /** Tries again at once instead of waiting. */
  hurry() {
    this.wake();
  }

  async follow() {
    while (!this.stopped) {
      let cause = "The service has ended the connection";
      try {
        this.link("opening", "", 0);
        await this.once();
      } catch (error) {
        cause = this.silent ? "The service has been silent for 40 s" : reason(error);
      }
      if (this.stopped) return;
      const longest = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.attempts);
      const wait = longest / 2 + Math.random() * longest / 2;
      this.attempts += 1;
      this.link("waiting", cause, Date.now() + wait);
      await new Promise((go) => {
        this.wake = () => go(undefined);
        setTimeout(go, wait);
      });
    }
  }

  async once() {
    this.abort = new AbortController();
    this.silent = false;
    let watchdog = 0;
    const heard = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => {
        this.silent = true;
        this.abort.abort();
      }, SILENCE);
    };
    heard();
    try {
      const where = this.run && this.last ? `?${new URLSearchParams({ after: this.last, run: this.run })}` : "";
      const response = await fetch(this.url + where, {
        headers: { accept: "text/event-stream" }, cache: "no-store", signal: this.abort.signal,
      });
      if (!response.ok || !response.body) throw new Error(await problem(response));
      const reader = response.body.getReader();
      const decoder = new TextDecoder();
      let rest = "", since = performance.now();
      for (;;) {
        const { done, value } = await reader.read();
        if (done || this.stopped) return;
        heard();
        rest += decoder.decode(value, { stream: true });
        let at = 0;
        for (let end = boundary(rest, at); end >= 0; end = boundary(rest, at)) {
          const block = rest.slice(at, end);
          at = rest.charCodeAt(end) === 13 ? end + 4 : end + 2;
          this.take(parse(block));
          if (performance.now() - since > SLICE) {
            await pause();
            if (this.stopped) return;
            since = performance.now();
          }
        }
        if (at > 0) rest = rest.slice(at);
      }
    } finally {
      clearTimeout(watchdog);
      this.abort.abort();
    }
  }

  take({ event, data, id }) {
    if (event === "opened") {
      const { run, resumed } = JSON.parse(data);
      if (!resumed) this.last = null;
      this.run = run;
      this.attempts = 0;
      this.link("open", "", 0);
    }
    if (data) this.told(event, data);
    if (id) this.last = id;
  }
}

/** The end of the event that begins at `at`: an empty line. */
function boundary(text, at) {
  const end = text.indexOf("\n\n", at);
  return end >= 0 ? end : text.indexOf("\r\n\r\n", at);
}

/** An error in words. Browsers name the same failure differently. */
export function reason(error) {
  if (error instanceof TypeError || error?.name === "AbortError") return "The service does not answer";
  return error?.message || String(error);
}

/** What an answer that is no success says. */
export async function problem(response) {
  let said = "";
  try {
    const { title, detail } = await response.json();
    said = detail || title || "";
  } catch { /* not a problem document */ }
  return said ? `The service answers ${response.status}: ${said}` : `The service answers ${response.status} ${response.statusText}`.trim();
}
