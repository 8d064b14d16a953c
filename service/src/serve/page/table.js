// The table: a bounded number of rows that show the part of the list that is in sight.

import { age, number, visible } from "./words.js";

const TALLEST = 8_000_000; // pixels; browsers refuse much taller elements
const SPARE = 6; // rows above and below what is in sight
const NONE = new Set();
const CALM = 3; // rows that may always flash
const CUT = 400; // characters of a value in a row
export const HOT = 5_000, WARM = 60_000; // milliseconds after a change

/** @param {string} tag @param {string} [name] its class @param {string} [text] */
export function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

export class Table {
  /**
   * @param {{scroller: HTMLElement, body: HTMLElement}} parts
   * @param {{open: (name: string) => void, select: (name: string) => void, owner: (lease: string | null) => {short: string, long: string}}} hooks
   */
  constructor({ scroller, body }, hooks) {
    Object.assign(this, { scroller, body, hooks, list: [], rows: [], selected: null, open: null, height: 32, drawnHeight: -1, scrolled: 0, room: 0 });
    // Asking the document where it is scrolled to costs a layout: it is asked only when that has changed.
    scroller.addEventListener("scroll", () => {
      this.scrolled = scroller.scrollTop;
      this.draw();
    }, { passive: true });
    new ResizeObserver(() => this.measure()).observe(scroller);
    body.addEventListener("click", (event) => {
      const row = event.target.closest("[role=row]");
      if (!row?.entry) return;
      this.choose(row.entry.name);
      this.hooks.open(row.entry.name);
    });
  }

  measure() {
    const height = parseFloat(getComputedStyle(this.scroller).getPropertyValue("--row")) || 32;
    if (height !== this.height) this.rows.splice(0).forEach(({ node }) => node.remove());
    Object.assign(this, { height, room: this.scroller.clientHeight, scrolled: this.scroller.scrollTop });
    this.draw();
  }

  /** Shows a list, whose `changed` entries flash. */
  show(list, changed = NONE) {
    this.list = list;
    this.scroller.setAttribute("aria-rowcount", String(list.length + 1));
    this.draw(changed);
  }

  /** The height of the head, which covers the first pixels. */
  get head() { return this.body.offsetTop; }
  get full() { return this.list.length * this.height; }
  get shownHeight() { return Math.min(this.full, TALLEST); }

  /** Where the list is, in its own pixels: more of them than the element has if it would be too tall. */
  top() {
    const room = this.shownHeight - this.room;
    if (this.full <= TALLEST || room <= 0) return this.scrolled;
    return (this.scrolled / room) * (this.full - this.room);
  }

  scrollTo(top) {
    const room = this.full - this.room;
    const ratio = this.full <= TALLEST || room <= 0 ? 1 : (this.shownHeight - this.room) / room;
    this.scroller.scrollTop = top * ratio;
    this.scrolled = this.scroller.scrollTop;
  }

  get page() { return Math.max(1, Math.floor(this.room / this.height) - 1); }

  draw(changed = NONE) {
    const { height, list, body } = this;
    if (this.drawnHeight !== this.shownHeight) {
      this.drawnHeight = this.shownHeight;
      body.style.height = `${this.drawnHeight}px`;
    }
    const top = this.top();
    const first = Math.max(0, Math.floor(top / height) - SPARE);
    const last = Math.min(list.length, Math.ceil((top + this.room) / height) + SPARE);
    const shift = this.scrolled - top;
    const count = Math.max(0, last - first);
    while (this.rows.length < count) this.rows.push(this.make());
    while (this.rows.length > count) this.rows.pop().node.remove();
    const now = Date.now();
    // Where nearly all rows change, a flash says nothing.
    if (changed.size && list.slice(first, last).filter((entry) => changed.has(entry)).length > CALM + count / 3) changed = NONE;
    // A row keeps its place in the list while scrolling, so that only new ones are filled.
    for (let index = first; index < last; index += 1) {
      this.fill(this.rows[index % count], list[index], index, index * height + shift, now, changed);
    }
    this.mark();
  }

  make() {
    const node = element("div", "row");
    node.setAttribute("role", "row");
    const cells = ["name", "value", "owner", "revision", "changed"].map((name) => {
      const cell = element("div", `cell ${name}`);
      cell.setAttribute("role", "gridcell");
      node.append(cell);
      return cell;
    });
    this.body.append(node);
    return { node, cells, y: -1, index: -1, entry: null, revision: -1, lease: undefined, owner: "", aged: "", text: null };
  }

  fill(row, entry, index, y, now, news) {
    const [name, value, owner, revision, changed] = row.cells;
    if (row.y !== y) {
      row.y = y;
      row.node.style.transform = `translateY(${y}px)`;
    }
    if (row.index !== index) {
      row.index = index;
      row.node.id = `row-${index}`;
      row.node.setAttribute("aria-rowindex", String(index + 2));
      row.node.classList.toggle("odd", index % 2 === 1);
    }
    const other = row.entry !== entry;
    if (other) {
      row.entry = row.node.entry = entry;
      name.textContent = name.title = visible(entry.name);
    }
    if (other || row.text !== entry.text) {
      row.text = entry.text;
      value.textContent = visible(brief(entry.text.slice(0, CUT), entry.encoding));
    }
    const whose = this.hooks.owner(entry.lease);
    if (row.owner !== whose.short) {
      row.owner = whose.short;
      owner.textContent = whose.short;
      owner.title = entry.lease === null ? whose.long : `${whose.long}, lease ${entry.lease}`;
    }
    if (other || row.revision !== entry.revision) {
      row.revision = entry.revision;
      revision.textContent = number(entry.revision);
    }
    if (entry.at && now - entry.at < HOT && news.has(entry)) flash(row.node);
    else if (other) row.node.classList.remove("flash");
    this.age(row, now);
  }

  age(row, now) {
    const { entry, node, cells } = row;
    const since = now - entry.at;
    const aged = entry.at ? age(entry.at, now) : "";
    if (row.aged !== aged) {
      row.aged = aged;
      cells[4].textContent = aged;
    }
    const mark = !entry.at || since > WARM ? "" : since > HOT ? "warm" : "hot";
    if (node.dataset.age !== mark) node.dataset.age = mark;
  }

  /** Ages go on although nothing changes. */
  tick() {
    const now = Date.now();
    for (const row of this.rows) if (row.entry) this.age(row, now);
  }

  mark() {
    let active = "";
    for (const { node, entry, index } of this.rows) {
      const selected = entry.name === this.selected;
      if (node.classList.contains("selected") !== selected) {
        node.classList.toggle("selected", selected);
        node.setAttribute("aria-selected", String(selected));
      }
      node.classList.toggle("open", entry.name === this.open);
      if (selected) active = `row-${index}`;
    }
    if (active) this.scroller.setAttribute("aria-activedescendant", active);
    else this.scroller.removeAttribute("aria-activedescendant");
  }

  choose(name) {
    this.selected = name;
    this.hooks.select(name);
    this.mark();
  }

  /** Selects the row that is `by` rows away from the selected one, and brings it into sight. */
  move(by) {
    if (!this.list.length) return;
    const at = this.place();
    const next = at < 0 ? (by > 0 ? Math.floor(this.top() / this.height) : this.list.length - 1) : at + by;
    this.go(next);
  }

  go(index) {
    if (!this.list.length) return;
    const at = Math.max(0, Math.min(this.list.length - 1, index));
    this.selected = this.list[at].name;
    this.reveal(at);
    this.choose(this.selected);
  }

  /** Where the selected row is, or -1. */
  place() {
    const near = this.rows.find(({ entry }) => entry?.name === this.selected);
    if (near && this.list[near.index] === near.entry) return near.index;
    return this.selected === null ? -1 : this.list.findIndex(({ name }) => name === this.selected);
  }

  /** Brings a key into sight that was not chosen here. */
  seek(name) {
    this.selected = name;
    const index = this.place();
    if (index >= 0) this.reveal(index, this.page / 3);
    this.mark();
  }

  reveal(index, margin = 0) {
    const top = this.top(), y = index * this.height, room = this.room - this.height - this.head;
    if (y < top) this.scrollTo(y - margin * this.height);
    else if (y > top + room) this.scrollTo(y - room + margin * this.height);
    this.draw();
  }
}

/** JSON without the quotes of plain member names: a row has little room. The detail shows every character. */
export const brief = (text, encoding) => (encoding === "json"
  ? text.replace(/(,?)"([A-Za-z_][\w-]*)":/g, (_, comma, name) => `${comma && ", "}${name}: `) : text);

function flash(node) {
  if (node.classList.contains("flash")) for (const animation of node.getAnimations()) animation.currentTime = 0;
  else node.classList.add("flash");
}
