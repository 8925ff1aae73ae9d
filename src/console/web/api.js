// The gateway's HTTP interface: bearer token, problem documents (RFC 9457), pages, events.

/** A failure with a stable `code`; `step` and `hint` as the gateway words them. */
export class Problem extends Error {
  constructor(code, { status = 0, title = "", detail = "", step = "", hint = "", field = "" } = {}) {
    super(detail || title || code);
    Object.assign(this, { code, status, title, detail, step, hint, field });
  }

  static async of(response) {
    let body = {};
    try {
      if (/json/.test(response.headers.get("content-type") ?? "")) body = (await response.json()) ?? {};
    } catch {
      // a broken document says no more than the status
    }
    const text = (value) => (typeof value === "string" ? value : "");
    const code = text(body.code) || (response.status === 403 ? "forbidden" : `http_${response.status}`);
    return new Problem(code, {
      status: response.status,
      title: text(body.title),
      detail: text(body.detail),
      step: text(body.step),
      hint: text(body.hint),
      field: text(body.field),
    });
  }
}

const TOKEN = "gbgate.token";

export class Api {
  #token = null;
  #signingIn = null;
  /** Asks the person to sign in; called at most once at a time. Set by the page. */
  onSignIn = async () => {};

  constructor() {
    try {
      this.#token = sessionStorage.getItem(TOKEN);
    } catch {
      // no storage: the token lives as long as the page
    }
  }

  get signedIn() {
    return this.#token !== null;
  }

  #keep(token) {
    this.#token = token;
    try {
      if (token === null) sessionStorage.removeItem(TOKEN);
      else sessionStorage.setItem(TOKEN, token);
    } catch {
      // no storage
    }
  }

  async signOut() {
    await this.request("POST", "/api/v1/logout", { keepalive: true }).catch(() => {});
    this.#keep(null);
  }

  /** Changes user name and password for a token. Throws a Problem. */
  async login(username, password) {
    const response = await this.#fetch("POST", "/api/v1/login", {
      body: JSON.stringify({ username, password }),
      type: "application/json",
    });
    if (!response.ok) throw await Problem.of(response);
    const { token } = await response.json();
    this.#keep(token);
  }

  // Without credentials of the browser's own: a 401 must not raise its native dialog.
  async #fetch(method, path, { body, type, accept, signal, keepalive } = {}) {
    const headers = {};
    if (type) headers["Content-Type"] = type;
    if (accept) headers["Accept"] = accept;
    if (this.#token !== null) headers["Authorization"] = `Bearer ${this.#token}`;
    try {
      return await fetch(path, { method, body, headers, signal, keepalive, credentials: "omit", cache: "no-store" });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Problem("unreachable", { detail: error.message });
    }
  }

  /** One request; signs in and repeats it on 401. Resolves with an ok response, else throws a Problem. */
  async request(method, path, options = {}) {
    for (;;) {
      const used = this.#token;
      const response = await this.#fetch(method, path, options);
      if (response.ok) return response;
      if (response.status !== 401 || options.keepalive) throw await Problem.of(response);
      if (this.#token !== used) continue; // signed in meanwhile
      this.#keep(null);
      this.#signingIn ??= this.onSignIn().finally(() => (this.#signingIn = null));
      await this.#signingIn;
      options.signal?.throwIfAborted();
    }
  }

  async get(path, params = {}, signal = undefined) {
    const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value !== null && value !== ""));
    const response = await this.request("GET", query.size ? `${path}?${query}` : path, { signal, accept: "application/json" });
    return response.json();
  }

  /** Sends a JSON body; resolves with the answer's, or null where it has none. */
  async send(method, path, value = undefined, { signal } = {}) {
    const body = value === undefined ? undefined : JSON.stringify(value);
    const response = await this.request(method, path, { body, type: body && "application/json", accept: "application/json", signal });
    const text = await response.text();
    return text === "" ? null : JSON.parse(text);
  }

  /** Fetches what is to be kept as a file of that name. */
  async keep(path, name) {
    const response = await this.request("GET", path);
    const url = URL.createObjectURL(await response.blob());
    const link = document.createElement("a");
    Object.assign(link, { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }

  /** The address of a file for a download by the browser itself, which sends no header of ours. */
  linkTo(path) {
    return this.#token === null ? path : `${path}?token=${encodeURIComponent(this.#token)}`;
  }
}

/** The path of a channel in the API. */
export function channelPath({ device, id }) {
  return `/api/v1/devices/${encodeURIComponent(device)}/channels/${encodeURIComponent(id)}`;
}

/** How many items one request asks for. */
export const PAGE = 100;
/** How many pages a refresh reads again; what lies beyond is as old as it was read. */
const REFRESHED_PAGES = 10;

/** Channel ids repeat between devices, so a channel's key has its device in it. */
export function keyOf(item) {
  return item.device ? `${item.device}/${item.id}` : item.id;
}

/** A list read page by page, as far as somebody looks. */
export class Pager {
  items = [];
  total = 0;
  #next = "";
  #api;
  #path;
  #params;
  #busy = null;
  #gone = new AbortController();

  constructor(api, path, params = {}) {
    this.#api = api;
    this.#path = path;
    this.#params = params;
  }

  get complete() {
    return this.#next === null;
  }

  #page(cursor) {
    return this.#api.get(this.#path, { ...this.#params, limit: PAGE, cursor }, this.#gone.signal);
  }

  /** Runs one read at a time; what is asked meanwhile waits for the one under way. */
  async #alone(work) {
    while (this.#busy) await this.#busy.catch(() => {});
    this.#busy = work();
    try {
      await this.#busy;
    } finally {
      this.#busy = null;
    }
  }

  more() {
    return this.#alone(async () => {
      if (this.complete) return;
      const page = await this.#page(this.#next);
      this.items = this.items.concat(page.items);
      this.#take(page);
    });
  }

  /** Reads again what has been read. */
  refresh() {
    return this.#alone(async () => {
      const items = [];
      let page = await this.#page("");
      items.push(...page.items);
      for (let pages = 1; page.next && items.length < this.items.length && pages < REFRESHED_PAGES; pages += 1) {
        page = await this.#page(page.next);
        items.push(...page.items);
      }
      if (page.next && items.length < this.items.length) {
        const read = new Set(items.map(keyOf));
        this.items = items.concat(this.items.slice(items.length).filter((item) => !read.has(keyOf(item))));
        this.total = page.total ?? this.total;
      } else {
        this.items = items;
        this.#take(page);
      }
    });
  }

  #take(page) {
    this.#next = page.next ?? null;
    this.total = page.total ?? this.items.length;
  }

  dispose() {
    this.#gone.abort();
  }
}

/** Longest silence of the event stream; the gateway sends a comment more often than that. */
const SILENCE_MS = 45_000;
const POLL_MS = 5_000;
/** Even where events arrive, all is read again once a minute. */
const RESYNC_TICKS = 12;

/**
 * What changes, as it changes: server-sent events, read with fetch so that the token goes along. Fires
 *   "event"   with {name, data}
 *   "resync"  when events may have been missed: all that is shown wants to be read again
 *   "tick"    every 5 s, for figures that have no events
 *   "state"   when `state` changed: live (events arrive), polling, lost (the gateway does not answer)
 * A hidden page asks nothing.
 */
export class Updates extends EventTarget {
  #api;
  #state = "polling";

  constructor(api) {
    super();
    this.#api = api;
  }

  get state() {
    return this.#state;
  }

  start() {
    this.#listen();
    let ticks = 0;
    const tick = () => {
      if (document.hidden) return;
      ticks += 1;
      this.dispatchEvent(new Event("tick"));
      if (this.#state !== "live" || ticks % RESYNC_TICKS === 0) this.resync();
    };
    setInterval(tick, POLL_MS);
    document.addEventListener("visibilitychange", () => {
      ticks = -1;
      tick();
    });
  }

  /** Events were missed. */
  resync() {
    this.dispatchEvent(new Event("resync"));
  }

  #become(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.dispatchEvent(new Event("state"));
  }

  async #listen() {
    for (let failures = 0; ; failures += 1) {
      try {
        await this.#stream(() => {
          failures = 0;
          this.#become("live");
        });
        this.#become("polling");
      } catch (error) {
        this.#become(error instanceof Problem && error.code === "unreachable" ? "lost" : "polling");
      }
      const pause = Math.min(1_000 * 2 ** failures, 10_000) * (0.75 + Math.random() / 2);
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  async #stream(opened) {
    const control = new AbortController();
    let watchdog;
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => control.abort(), SILENCE_MS);
    };
    alive();
    try {
      const response = await this.#api.request("GET", "/api/v1/events", { accept: "text/event-stream", signal: control.signal });
      opened();
      // Between the last answer and this stream something may have changed.
      this.resync();
      const parser = new EventParser((name, data) => this.#event(name, data));
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        alive();
        parser.push(value);
      }
    } finally {
      clearTimeout(watchdog);
      control.abort();
    }
  }

  #event(name, text) {
    let data;
    try {
      data = JSON.parse(text);
    } catch {
      return;
    }
    this.dispatchEvent(new CustomEvent("event", { detail: { name, data: data ?? {} } }));
  }
}

/** Longest event that is kept; a longer one is dropped whole. */
const EVENT_LIMIT = 1 << 20;

/** The event stream format of the HTML standard (9.2.6). */
export class EventParser {
  #rest = "";
  #name = "";
  #data = [];
  #size = 0;
  #emit;

  constructor(emit) {
    this.#emit = emit;
  }

  push(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    if (this.#rest.length > EVENT_LIMIT) this.#rest = "";
    for (const line of lines) this.#line(line);
  }

  #line(line) {
    if (line === "") {
      if (this.#data.length && this.#size <= EVENT_LIMIT) this.#emit(this.#name || "message", this.#data.join("\n"));
      this.#name = "";
      this.#data = [];
      this.#size = 0;
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#name = value;
    if (field === "data") {
      this.#size += value.length;
      if (this.#size <= EVENT_LIMIT) this.#data.push(value);
    }
  }
}
