// The board's rows: a snapshot, then every change behind it. Whatever breaks, it goes on from the last place that it has, or
// begins anew when it is told to; nothing is ever shown as current that is not.

const SILENT_MS = 15000; // three heartbeats
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 5000;
const KINDS = ["session", "alert", "task"];

export class Feed {
  rows = { session: new Map(), alert: new Map(), task: new Map() };
  zone = "UTC";
  scope = "clinic";
  told = null; // the last heartbeat
  #token;
  #changed;
  #ended;
  #position = null;
  #beatAt = -Infinity;
  #heardAt = 0;
  #cut = new AbortController();

  // `changed` is called after each change, `ended` with the HTTP status that lets nobody go on (401, 403).
  constructor(token, changed, ended) {
    this.#token = token;
    this.#changed = changed;
    this.#ended = ended;
  }

  // Whether the server has been heard of lately.
  get live() {
    return performance.now() - this.#beatAt < SILENT_MS;
  }

  // By the clinic's clock, in ms.
  get now() {
    return this.told ? Date.parse(this.told.clinic_now) + performance.now() - this.#beatAt : Date.now();
  }

  async run() {
    let wait = FIRST_WAIT_MS;
    setInterval(() => performance.now() - this.#heardAt < SILENT_MS || this.#cut.abort(), 1000);
    for (;;) {
      try {
        this.#heardAt = performance.now();
        this.#cut = new AbortController();
        if (this.#position === null) await this.#snapshot();
        await this.#stream();
        wait = FIRST_WAIT_MS;
      } catch (error) {
        if (error instanceof Refused) {
          this.#ended(error.status);
          return;
        }
        wait = Math.min(wait * 2, LONGEST_WAIT_MS);
      }
      this.#changed();
      await new Promise((resume) => setTimeout(resume, wait * (0.5 + Math.random())));
    }
  }

  async #get(path) {
    const headers = { Authorization: `Bearer ${this.#token}` };
    const response = await fetch(path, { headers, credentials: "omit", cache: "no-store", signal: this.#cut.signal });
    if (response.status === 401 || response.status === 403) throw new Refused(response.status);
    if (!response.ok) throw new Error(`${response.status}`);
    return response;
  }

  async #snapshot() {
    const found = await (await this.#get("/snapshot")).json();
    for (const kind of KINDS) this.rows[kind] = new Map(found[`${kind}s`].map((row) => [row[kind], row]));
    this.zone = found.zone ?? "UTC";
    this.scope = found.scope;
    this.#position = String(found.position);
    this.#beat(found);
  }

  async #stream() {
    const response = await this.#get(`/stream?after=${this.#position}`);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const events = (text + value).split("\n\n");
      text = events.pop();
      for (const event of events) this.#take(event);
      this.#changed();
    }
  }

  #take(event) {
    const lines = event.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]);
    const fields = Object.fromEntries(lines);
    const data = JSON.parse(fields.data);
    if (fields.event === "lag") this.#beat(data);
    else if (fields.event === "reset") this.#position = null;
    else if (fields.event === "close" && data.reason === "token-expired") throw new Refused(401);
    else if (KINDS.includes(fields.event)) {
      const rows = this.rows[fields.event];
      if (data.gone) rows.delete(data[fields.event]);
      else rows.set(data[fields.event], data);
      this.#position = fields.id;
    }
  }

  #beat(told) {
    this.told = { clinic_now: told.clinic_now, clock_offset_s: told.clock_offset_s, lag: told.lag };
    this.#beatAt = this.#heardAt = performance.now();
    this.#changed();
  }
}

class Refused extends Error {
  constructor(status) {
    super(`${status}`);
    this.status = status;
  }
}
