// JSON as text. Values are kept and shown exactly as the service sent them: `JSON.parse` would round
// integers above 2^53 and reorder members.

const QUOTE = 34, BACKSLASH = 92, OPEN = 123, CLOSE = 125, LIST = 91, LIST_END = 93, COMMA = 44, COLON = 58;

const space = (code) => code === 32 || code === 10 || code === 13 || code === 9;

/** The end of the string that begins at `at`. */
function stringEnd(text, at) {
  for (let end = text.indexOf('"', at + 1); end > 0; end = text.indexOf('"', end + 1)) {
    let slashes = 0;
    while (text.charCodeAt(end - 1 - slashes) === BACKSLASH) slashes += 1;
    if (slashes % 2 === 0) return end + 1;
  }
  return text.length;
}

/** The end of the value that begins at `at`. */
function valueEnd(text, at) {
  for (let depth = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = stringEnd(text, at) - 1;
    } else if (code === OPEN || code === LIST) {
      depth += 1;
    } else if (code === CLOSE || code === LIST_END) {
      if (depth === 0) return at;
      depth -= 1;
    } else if (depth === 0 && (code === COMMA || space(code))) {
      return at;
    }
    if (depth === 0 && (code === QUOTE || code === CLOSE || code === LIST_END)) return at + 1;
  }
  return at;
}

function skip(text, at) {
  while (at < text.length && (space(text.charCodeAt(at)) || text.charCodeAt(at) === COMMA)) at += 1;
  return at;
}

/**
 * The members of a JSON object as texts, or null if `text` is no object.
 * @param {string} text @returns {Map<string, string> | null}
 */
export function members(text) {
  let at = skip(text, 0);
  if (text.charCodeAt(at) !== OPEN) return null;
  const found = new Map();
  for (at = skip(text, at + 1); text.charCodeAt(at) === QUOTE; at = skip(text, at)) {
    const end = stringEnd(text, at);
    const name = JSON.parse(text.slice(at, end));
    at = end;
    while (space(text.charCodeAt(at)) || text.charCodeAt(at) === COLON) at += 1;
    const stop = valueEnd(text, at);
    found.set(name, text.slice(at, stop));
    at = stop;
  }
  return found;
}

/**
 * The elements of a JSON list as texts; none if `text` is no list.
 * @param {string | undefined} text @returns {string[]}
 */
export function elements(text) {
  const found = [];
  let at = text ? skip(text, 0) : 0;
  if (!text || text.charCodeAt(at) !== LIST) return found;
  for (at = skip(text, at + 1); at < text.length && text.charCodeAt(at) !== LIST_END; at = skip(text, at)) {
    const stop = valueEnd(text, at);
    found.push(text.slice(at, stop));
    at = stop;
  }
  return found;
}

/**
 * A value with one member a line, its tokens unchanged.
 * @param {string} text @returns {string}
 */
export function pretty(text) {
  const lines = [];
  let line = "", depth = 0;
  const next = () => {
    lines.push(line);
    line = "  ".repeat(Math.min(depth, 40));
  };
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (space(code)) continue;
    if (code === QUOTE) {
      const end = stringEnd(text, at);
      line += text.slice(at, end);
      at = end - 1;
    } else if (code === OPEN || code === LIST) {
      const inside = skip(text, at + 1);
      const first = text.charCodeAt(inside);
      if (first === CLOSE || first === LIST_END) {
        line += text[at] + text[inside];
        at = inside;
      } else {
        line += text[at];
        depth += 1;
        next();
      }
    } else if (code === CLOSE || code === LIST_END) {
      depth = Math.max(0, depth - 1);
      next();
      line += text[at];
    } else if (code === COMMA) {
      line += ",";
      next();
    } else {
      line += code === COLON ? ": " : text[at];
    }
  }
  lines.push(line);
  return lines.join("\n");
}

/** A copy that does not keep the text alive from which `text` was cut. */
const own = (text) => (" " + text).slice(1);

/**
 * A value of the service as the text that is shown: JSON as it was sent, other encodings without quotes.
 * @param {string | undefined} raw @param {string} encoding
 */
export function shown(raw, encoding) {
  if (raw === undefined) return "";
  if (encoding !== "json" && raw.charCodeAt(0) === QUOTE) return JSON.parse(raw);
  return own(raw);
}

/**
 * A change as the service tells it in the stream and in `recent`.
 * @typedef {{name: string, text: string, old: string | null, encoding: string, revision: number, origin: string,
 *   reason: string, initial: boolean, lease: string | null, at: string}} Change
 * @param {string} data @returns {Change}
 */
export function change(data) {
  const found = members(data) ?? new Map();
  const plain = (name, missing) => (found.has(name) ? JSON.parse(found.get(name)) : missing);
  const encoding = plain("encoding", "json");
  const old = found.get("old");
  return {
    name: String(plain("name", "")),
    text: shown(found.get("value"), encoding),
    old: old === undefined || old === "null" ? null : shown(old, encoding),
    encoding,
    revision: plain("revision", 0),
    origin: plain("origin", ""),
    reason: plain("reason", ""),
    initial: plain("initial", false),
    lease: plain("lease", null),
    at: plain("at", ""),
  };
}
