// What the tests of the page start: an etcd, the service, a browser. Nothing here waits for a time.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const { chromium } = createRequire(join(process.env.TOOLS, "package.json"))("playwright-core");
const { CHROMIUM, PROGRAM, ETCD, SHOTS } = process.env;
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Asks until the answer is true; fails after `seconds`. */
export async function until(what, ask, seconds = 30) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    if (await ask().catch(() => false)) return;
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await new Promise((go) => setTimeout(go, 50));
  }
}

class Process {
  constructor(command, args) {
    this.output = "";
    this.child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.on("data", (data) => { this.output = (this.output + data).slice(-8000); });
    }
    this.ended = once(this.child, "exit");
  }

  async stop(signal) {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill(signal);
    await this.ended;
  }
}

export class Etcd {
  static async start() {
    const etcd = new Etcd();
    etcd.dir = mkdtempSync(join(tmpdir(), "page-etcd-"));
    [etcd.port, etcd.peer] = [await freePort(), await freePort()];
    etcd.url = `http://127.0.0.1:${etcd.port}`;
    await etcd.run();
    return etcd;
  }

  async run() {
    const peer = `http://127.0.0.1:${this.peer}`;
    this.process = new Process(ETCD, ["--data-dir", join(this.dir, "data"), "--unsafe-no-fsync", "--log-level", "error",
      "--listen-client-urls", this.url, "--advertise-client-urls", this.url, "--listen-peer-urls", peer,
      "--initial-advertise-peer-urls", peer, "--initial-cluster", `default=${peer}`]);
    await until("etcd answers", async () => (await fetch(`${this.url}/health`)).ok);
  }

  kill() {
    return this.process.stop("SIGKILL");
  }

  async close() {
    await this.kill();
    rmSync(this.dir, { recursive: true, force: true });
  }

  async call(path, body) {
    const response = await fetch(`${this.url}/v3/${path}`, { method: "POST", body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`${path}: ${await response.text()}`);
    return response.json();
  }

  async lease(seconds = 3600) {
    return (await this.call("lease/grant", { TTL: seconds })).ID;
  }

  put(name, value, lease = 0) {
    return this.call("kv/put", write(name, value, lease));
  }

  delete(name) {
    return this.call("kv/deleterange", { key: base64(`demo/${name}`) });
  }

  /** @param {[string, any, any][]} keys names, values and leases */
  async putAll(keys) {
    const parts = [];
    for (let at = 0; at < keys.length; at += 100) parts.push(keys.slice(at, at + 100));
    const worker = async () => {
      for (let part = parts.pop(); part; part = parts.pop()) {
        await this.call("kv/txn", { success: part.map(([name, value, lease]) => ({ requestPut: write(name, value, lease) })) });
      }
    };
    await Promise.all(Array.from({ length: 8 }, worker));
  }
}

const base64 = (text) => Buffer.from(text).toString("base64");
const write = (name, value, lease = 0) => ({
  key: base64(`demo/${name}`), value: base64(typeof value === "string" ? value : JSON.stringify(value)), lease,
});

export class Service {
  static async start(etcd, stores = ["nodes"], publishing = []) {
    const service = new Service();
    service.dir = mkdtempSync(join(tmpdir(), "page-service-"));
    service.config = join(service.dir, "serve.toml");
    const port = await freePort();
    writeFileSync(service.config, `endpoints = ["${etcd.url}"]\nlisten = "127.0.0.1:${port}"\n${
      stores.map((name) => `[[store]]\nname = "${name}"\nprefix = "demo/${name}"\n${publishing.includes(name) ? "mode = \"publish\"\n" : ""}`).join("")}`);
    service.url = `http://127.0.0.1:${port}`;
    await service.run();
    return service;
  }

  async run() {
    this.process = new Process(PROGRAM, ["serve", "--config", this.config]);
    await until("the service answers", async () => (await fetch(`${this.url}/livez`)).ok)
      .catch((error) => { throw new Error(`${error.message}\n${this.process.output}`); });
  }

  put(name, value) {
    return this.write("PUT", name, JSON.stringify(value));
  }

  delete(name) {
    return this.write("DELETE", name);
  }

  async write(method, name, body) {
    const [store, ...rest] = name.split("/");
    const path = `${this.url}/v1/stores/${store}/keys/${rest.map(encodeURIComponent).join("/")}`;
    const response = await fetch(path, { method, body });
    if (!response.ok) throw new Error(`${method} ${name}: ${await response.text()}`);
  }

  stop(signal = "SIGTERM") {
    return this.process.stop(signal);
  }

  async close() {
    await this.stop("SIGKILL");
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Stands between browser and service: connections can be cut, or stand still. */
export class Proxy {
  static async start(service) {
    const proxy = new Proxy();
    proxy.port = Number(new URL(service.url).port);
    proxy.open = true;
    proxy.pairs = new Set();
    proxy.server = createServer((near) => {
      const far = connect(proxy.port, "127.0.0.1");
      const pair = [near, far];
      if (!proxy.open) return pair.forEach((socket) => socket.destroy());
      proxy.pairs.add(pair);
      for (const [one, other] of [pair, [far, near]]) {
        one.on("error", () => {}).on("close", () => {
          other.destroy();
          proxy.pairs.delete(pair);
        });
        one.on("data", (data) => proxy.still || other.write(data));
      }
    }).listen(0, "127.0.0.1");
    await once(proxy.server, "listening");
    proxy.url = `http://127.0.0.1:${proxy.server.address().port}`;
    return proxy;
  }

  /** Ends all connections; new ones are refused until `open` is true again. */
  cut() {
    this.open = false;
    for (const pair of this.pairs) pair.forEach((socket) => socket.destroy());
  }

  close() {
    this.cut();
    this.server.close();
  }
}

export class Browser {
  static async start() {
    const browser = new Browser();
    browser.browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
    return browser;
  }

  /** A page that records what must not happen: errors, dialogs, violations of the policy, requests to elsewhere. */
  async open(url, { width = 1440, height = 900, scheme = "light", reducedMotion } = {}) {
    const context = await this.browser.newContext({ viewport: { width, height }, colorScheme: scheme, reducedMotion });
    const page = await context.newPage();
    page.faults = [];
    page.on("pageerror", (error) => page.faults.push(String(error.stack)));
    page.on("dialog", (dialog) => {
      page.faults.push(`dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    page.on("console", (message) => {
      if (/Content Security Policy|Refused to/.test(message.text())) page.faults.push(message.text());
    });
    const { origin } = new URL(url);
    page.on("request", (request) => {
      if (new URL(request.url()).origin !== origin) page.faults.push(`request to ${request.url()}`);
    });
    await page.addInitScript(() => {
      window.violations = [];
      addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
      window.longTasks = [];
      new PerformanceObserver((list) => {
        for (const task of list.getEntries()) window.longTasks.push(Math.round(task.duration));
      }).observe({ type: "longtask", buffered: true });
    });
    await page.goto(url);
    return page;
  }

  close() {
    return this.browser.close();
  }
}

/** Closes a page that has had no fault. */
export async function finish(page) {
  const violations = await page.evaluate(() => window.violations);
  if (violations.length || page.faults.length) throw new Error(`faults: ${[...violations, ...page.faults].join("\n")}`);
  await page.context().close();
}

export const shot = (page, name) => page.screenshot({ path: join(SHOTS, `${name}.png`) });

/** Waits until the state is told in words that match. */
export const says = (page, words, timeout = 30_000) => page.waitForFunction(
  ([source]) => new RegExp(source).test(`${document.getElementById("state-title").textContent}. ${document.getElementById("state-detail").textContent}`),
  [words.source], { timeout });

/** The names of the rows in the document, from top to bottom. */
export const names = (page) => page.$$eval(".body .row", (rows) => rows
  .sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top).map((row) => row.querySelector(".name").textContent));

/** Waits until exactly these rows are there. */
export const rows = (page, wanted, timeout = 10_000) => page.waitForFunction((wanted) => {
  const rows = [...document.querySelectorAll(".body .row")]
    .sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top).map((row) => row.querySelector(".name").textContent);
  return rows.join("\n") === wanted.join("\n");
}, wanted, { timeout });

/** The cells of a row. */
export const row = (page, name) => page.$$eval(".body .row", (rows, name) => {
  const found = rows.find((row) => row.querySelector(".name").textContent === name);
  return found && Object.fromEntries([...found.children].map((cell) => [cell.className.split(" ")[1], cell.textContent]));
}, name);
