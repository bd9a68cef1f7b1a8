// The staff board: signs in, follows the clinic, and sends an acknowledgement straight to the service that owns the alert.

import { el } from "./dom.js";
import { Feed } from "./feed.js";
import { Names } from "./names.js";
import { arrived, leave, token } from "./sign_in.js";
import { View } from "./view.js";
import { refusal } from "./words.js";

const TICK_MS = 1000;
const SEND_MS = 10000;

function notice(heading, text, button, act) {
  const press = el("button", { type: "button" }, button);
  const problem = el("p", { class: "problem", role: "status" });
  press.addEventListener("click", () => act().catch(() => (problem.textContent = "That did not work. Try again.")));
  const box = el("div", { class: "notice" }, el("h2", {}, heading), el("p", {}, text), press, problem);
  document.getElementById("main").replaceChildren(box);
}

function follow(config, bearer) {
  const names = new Names(config.services, bearer);
  const keys = new Map(); // one per alert: asking again does nothing twice
  const acknowledge = async ({ alert }) => {
    if (!keys.has(alert)) keys.set(alert, crypto.randomUUID());
    try {
      const response = await fetch(`${config.services.session_logging}/alerts/${alert}/acknowledgement`, {
        method: "POST",
        headers: { Authorization: `Bearer ${bearer}`, "Idempotency-Key": keys.get(alert) },
        credentials: "omit",
        signal: AbortSignal.timeout(SEND_MS),
      });
      if (response.ok) return null;
      return refusal(response.status, (await response.json()).code);
    } catch {
      return "It could not be sent: it is NOT acknowledged as far as this page knows. Try again.";
    }
  };
  const ended = (status) => {
    clearInterval(ticking);
    document.getElementById("link").replaceChildren();
    if (status === 403) notice("This board is not for your role", "Sign in as somebody who treats patients.", "Sign in", () => leave(config));
    else notice("Your sign-in has ended", "Nothing is shown any more. Pages still come.", "Sign in again", () => leave(config));
  };
  const paint = () => {
    view.paint();
    const rows = [...feed.rows.session.values(), ...feed.rows.alert.values(), ...feed.rows.task.values()];
    names.ask(rows.map((row) => row.patient)).then((came) => came && view.paint());
  };
  const feed = new Feed(bearer, paint, ended);
  const view = new View(feed, names, acknowledge);
  document.getElementById("who").replaceChildren(el("button", { type: "button", onclick: () => location.assign(location.pathname) }, "Sign out"));
  const ticking = setInterval(() => view.paint(), TICK_MS);
  names.askStaff().then(() => view.paint());
  view.paint();
  feed.run();
}

async function start() {
  const query = arrived();
  let config;
  try {
    config = await (await fetch("/config.json", { credentials: "omit", cache: "no-store" })).json();
    const bearer = query && (await token(config, query));
    if (bearer) {
      follow(config, bearer);
      return;
    }
  } catch {
    notice("The board cannot be reached", "Its service or the sign-in does not answer.", "Try again", async () => location.reload());
    return;
  }
  const text = query ? "That sign-in did not work. Begin again." : "The board shows who is treated now, with their names.";
  notice("Please sign in", text, "Sign in", () => leave(config));
}

start();
