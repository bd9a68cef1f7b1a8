// What is drawn. Every value says how old it is; one that is too old, or of which nobody knows how old it is, is unknown.

import { el, keyed, say } from "./dom.js";
import { trend } from "./trend.js";
import { clock, day, ORDER, plain, rule, span, SYMBOLS, until } from "./words.js";

const MINUTE = 60000;
// When a value is no longer shown as one: where the room's own rules call it a gap (a blood pressure every 10 minutes while the
// pump runs, every 15 in recovery, a fifth more; a monitor silent for a minute; a typed SpO2 covers 5 minutes).
const STALE = { monitor: MINUTE, infusion: 12 * MINUTE, recovery: 18 * MINUTE, typedSpo2: 5 * MINUTE };
const IN_ROOM = ["infusing", "paused", "recovery", "discharge-ready"];
// Field, name, unit, and over how much at least its trend is drawn: small noise is not to look like a fall.
const VITALS = [
  ["spo2", "SpO₂", "%", 10],
  ["sbp", "BP", "mmHg", 40],
  ["heart_rate", "Heart rate", "/min", 30],
  ["resp_rate", "Breaths", "/min", 15],
  ["moaa_s", "MOAA/S", "", 5],
];

export class View {
  #feed;
  #names;
  #acknowledge;
  #seen = new Set();
  #lists = {};
  #warning = el("p", { class: "warning", hidden: true });

  // `acknowledge` takes an alert and what says how it went.
  constructor(feed, names, acknowledge) {
    this.#feed = feed;
    this.#names = names;
    this.#acknowledge = acknowledge;
    const list = (name, tag = "ul") => (this.#lists[name] = el(tag, { class: name }));
    const part = (heading, ...children) => el("section", { "aria-label": heading }, el("h2", {}, heading), ...children);
    const columns = ["Planned", "Patient", "Session", "State", "Nurse"].map((text) => el("th", { scope: "col" }, text));
    const table = el("table", {}, el("thead", {}, el("tr", {}, ...columns)), list("today", "tbody"));
    const wide = el("div", { class: "wide" }, part("Alerts", list("alerts")), part("In the room (trends: last hour)", list("room")), part("Today's sessions", table));
    this.root = el("div", { class: "board" }, wide, part("Open tasks", list("tasks")));
    document.getElementById("main").replaceChildren(this.#warning, this.root);
  }

  paint() {
    const { rows, live } = this.#feed;
    this.#head();
    const sessions = [...rows.session.values()].sort((a, b) => a.starts.at.localeCompare(b.starts.at));
    const alerts = [...rows.alert.values()].sort(graver);
    const tasks = [...rows.task.values()].sort((a, b) => a.due_at.localeCompare(b.due_at));
    this.root.classList.toggle("cut", !live);
    this.#show("alerts", alerts, "alert", () => this.#alert(), "No open alert that you are shown.");
    const room = sessions.filter((one) => IN_ROOM.includes(one.state));
    this.#show("room", room, "session", () => this.#card(), "Nobody whom you are shown is being treated or in recovery.");
    this.#show("today", sessions, "session", () => this.#line(), "No session today.");
    this.#show("tasks", tasks, "task", () => this.#task(), "No open task.");
    this.#announce(alerts);
  }

  #show(name, rows, key, make, none) {
    const list = this.#lists[name];
    const given = rows.length ? rows : [null];
    const nothing = () => {
      const tag = list.tagName === "TBODY" ? el("tr", {}, el("td", { colspan: "5", class: "none" })) : el("li", { class: "none" });
      tag.update = () => say(tag.firstElementChild ?? tag, none);
      return tag;
    };
    keyed(list, given, (row) => row?.[key] ?? "none", (row) => (row ? make() : nothing()));
  }

  #head() {
    const { live, now, told, zone, scope } = this.#feed;
    const shift = told?.clock_offset_s ?? 0;
    const head = document.getElementById("clock");
    const moved = el("small", {}, shift ? `clinic clock moved by ${span(Math.abs(shift) * 1000)}` : "");
    if (told) head.replaceChildren(`${day(now, zone)}, ${clock(now, zone, true)}`, moved);
    const state = document.getElementById("link");
    const behind = told?.lag.behind_s ?? null;
    const waiting = (told?.lag.sources ?? []).filter((one) => one.parked || one.behind_s === null);
    state.className = `pill ${!told ? "slow" : !live ? "cut" : behind === null || behind > 10 || waiting.length ? "slow" : ""}`;
    const known = behind === null ? "How far behind is not known" : `Live, behind by ${behind.toFixed(1)} s`;
    say(state, !told ? "Connecting" : live ? known : "DISCONNECTED: nothing here is current");
    const sources = waiting.map((one) =>
      one.parked ? `${plain(one.service)}: ${one.parked} that cannot be shown yet` : `${plain(one.service)}: not known how far it is read`,
    );
    if (scope === "own-patients") sources.push("You are not on duty: only your own patients are shown");
    this.#warning.hidden = !sources.length;
    say(this.#warning, sources.join(". "));
  }

  // --- alerts ------------------------------------------------------------------------------------------------------------------

  #alert() {
    const [tier, what, whose, due, taken] = [el("span", { class: "tier" }), el("h3"), el("p"), el("p", { class: "due" }), el("p", { class: "soft" })];
    const said = el("p", { class: "problem", role: "status" });
    const button = el("button", { type: "button" }, "Acknowledge");
    const made = el("li", {}, el("div", { class: "head" }, tier, due), what, whose, el("div", { class: "foot" }, taken, button), said);
    let alert = null;
    let mine = false;
    button.addEventListener("click", async () => {
      button.disabled = true;
      say(said, "");
      const problem = await this.#acknowledge(alert);
      say(said, problem ?? "");
      button.disabled = false;
      mine = problem === null;
      button.hidden = mine;
    });
    made.update = (row) => {
      alert = row;
      const roles = row.acknowledgements.map((one) => one.role);
      const open = row.tier !== "AMBER" && !roles.includes("prescriber");
      button.hidden = mine || (roles.includes("nurse") && roles.includes("prescriber"));
      made.className = `card ${row.tier} ${open ? "flash" : ""}`;
      // All in step: two that flash in turn would be one that flashes twice as fast.
      for (const one of made.getAnimations()) one.startTime = 0;
      say(tier, `${SYMBOLS[row.tier] ?? "●"} ${row.tier}`);
      say(what, plain(row.signal) + (row.late ? " (entered late)" : ""));
      const since = Date.parse(row.raised_at);
      say(whose, `${this.#names.patient(row.patient)}, since ${clock(since, this.#feed.zone, true)} (${span(this.#feed.now - since)})`);
      const answer = row.answer_due_at ? Date.parse(row.answer_due_at) : null;
      const waits = answer !== null && !roles.length;
      say(due, waits ? `Answer ${until(answer, this.#feed.now)}` : "");
      due.classList.toggle("over", waits && answer < this.#feed.now);
      const by = row.acknowledgements.map((one) => `${this.#names.staff(one.by)} (${one.role}) ${clock(one.at, this.#feed.zone, true)}`);
      say(taken, by.length ? `Acknowledged: ${by.join("; ")}${open ? "; no prescriber yet" : ""}` : "Nobody has acknowledged it.");
    };
    return made;
  }

  // Spoken at once, and only what is new: RED and STOP. AMBER is silent.
  #announce(alerts) {
    const fresh = alerts.filter((one) => one.tier !== "AMBER" && !this.#seen.has(`${one.alert} ${one.tier}`));
    if (!fresh.length) return;
    for (const one of fresh) this.#seen.add(`${one.alert} ${one.tier}`);
    say(document.getElementById("new"), fresh.map((one) => `${one.tier}: ${plain(one.signal)}, ${this.#names.patient(one.patient)}`).join(". "));
  }

  // --- the room ----------------------------------------------------------------------------------------------------------------

  #card() {
    const [name, which, state, pump, overridden] = [el("h3"), el("p", { class: "soft" }), el("span", { class: "state" }), el("p"), el("p", { class: "overridden" })];
    const vitals = VITALS.map((one) => this.#signal(...one));
    const made = el("li", { class: "card" }, el("div", { class: "head" }, name, state), which, overridden, pump, el("div", { class: "signals" }, ...vitals));
    made.update = (row) => {
      say(name, this.#names.patient(row.patient));
      const born = this.#names.born(row.patient);
      say(which, `${born ? `born ${born}, ` : ""}${plain(row.therapy)}, session ${row.ordinal} of ${row.phase}`);
      state.className = `state ${row.state}`;
      say(state, plain(row.state));
      say(pump, this.#pump(row.infusion));
      say(overridden, this.#overridden(row));
      for (const one of vitals) one.update(row);
    };
    return made;
  }

  #overridden(row) {
    const by = row.overrides.map((one) => `${rule(one.rule)} (${this.#names.staff(one.by)})`);
    return by.length ? `⚠ Overridden: ${by.join(", ")}` : "";
  }

  #pump(infusion) {
    if (!infusion) return "";
    const { now, zone } = this.#feed;
    const dose = `${infusion.dose.value} ${infusion.dose.unit} at ${infusion.rate.value} ${infusion.rate.unit}`;
    if (infusion.ended_at) return `${dose}; ended ${clock(infusion.ended_at, zone)}, ${span(now - Date.parse(infusion.ended_at))} ago`;
    if (infusion.paused_at) return `${dose}; PAUSED since ${clock(infusion.paused_at, zone)}, ${span(now - Date.parse(infusion.paused_at))}`;
    const end = infusion.planned_end_at ? `, bag empty ${clock(infusion.planned_end_at, zone)} (${until(Date.parse(infusion.planned_end_at), now)})` : "";
    return `${dose}; started ${clock(infusion.started_at, zone)}${end}`;
  }

  #signal(signal, label, unit, least) {
    const [value, age, line] = [el("b"), el("span", { class: "soft" }), trend()];
    const made = el("div", { class: "signal" }, el("span", { class: "soft" }, unit ? `${label}, ${unit}` : label), value, age, line);
    made.update = (row) => {
      const measured = row.vitals.filter((one) => one[signal] !== null);
      const last = measured.at(-1);
      const text = last ? (signal === "sbp" ? `${last.sbp}/${last.dbp ?? "?"}` : String(last[signal])) : "";
      const old = last ? Math.max(0, this.#feed.now - Date.parse(last.at)) : Infinity;
      const limit = staleAfter(row.state, signal, last);
      const unknown = !this.#feed.live || old > limit;
      made.classList.toggle("unknown", unknown);
      say(value, unknown ? "?" : text);
      say(age, !last ? "not measured" : `${unknown ? `last ${text}, ` : ""}${span(old)} ago`);
      const points = measured.map((one) => [Date.parse(one.at), Number(one[signal])]);
      line.draw(points, { now: this.#feed.now, gap: limit, least, name: label });
    };
    return made;
  }

  // --- lists -------------------------------------------------------------------------------------------------------------------

  #line() {
    const cells = Array.from({ length: 5 }, () => el("td"));
    const made = el("tr", {}, ...cells);
    made.update = (row) => {
      const state = plain(row.state) + (row.ending ? `: ${row.ending.replaceAll("_", " ")}` : "");
      const nurse = row.nurse ? this.#names.staff(row.nurse) : "";
      const stands = [state, this.#overridden(row)].filter(Boolean).join(". ");
      const texts = [clock(row.starts.at, this.#feed.zone), this.#names.patient(row.patient), `${row.ordinal} of ${row.phase}`, stands, nurse];
      cells.forEach((cell, index) => say(cell, texts[index]));
    };
    return made;
  }

  #task() {
    const [kind, due, whose] = [el("h3"), el("p", { class: "due" }), el("p", { class: "soft" })];
    const made = el("li", { class: "card" }, kind, due, whose);
    made.update = (row) => {
      const at = Date.parse(row.due_at);
      say(kind, plain(row.kind));
      say(due, at < this.#feed.now ? `Overdue by ${span(this.#feed.now - at)}` : `Due in ${span(at - this.#feed.now)}`);
      due.classList.toggle("over", at < this.#feed.now);
      const taken = row.assignee ? `, taken by ${this.#names.staff(row.assignee)}` : "";
      say(whose, `${this.#names.patient(row.patient)}, for a ${row.role.replaceAll("_", " ")}${taken}`);
    };
    return made;
  }
}

function staleAfter(state, signal, last) {
  if (last?.origin === "monitor") return STALE.monitor;
  const inRecovery = state === "recovery" || state === "discharge-ready";
  if (signal === "spo2" && !inRecovery) return STALE.typedSpo2;
  return inRecovery ? STALE.recovery : STALE.infusion;
}

// Graver first; of the same tier first what nobody has answered, then what has waited longest.
function graver(a, b) {
  const answered = (one) => (one.acknowledgements.length ? 1 : 0);
  return ORDER.indexOf(a.tier) - ORDER.indexOf(b.tier) || answered(a) - answered(b) || a.raised_at.localeCompare(b.raised_at);
}
