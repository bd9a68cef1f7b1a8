// What a one-time link opens. The token comes in the fragment, which no server sees; it leaves the address bar at once and is
// kept in this variable only: a reload needs the message again. Everything that is shown goes in as text, never as markup.

import { NOTICE, QUESTIONNAIRES } from "./questions.js";

let token = taken();

const SEND_MS = 20000;
const place = document.getElementById("step");
let clinic = { name: "the clinic", phone: "", out_of_hours: "", screen: null };
let birthDate = "";
let parts = { done: 0, all: 0 };
let contact = false; // somebody will speak with them about what they have answered

// --- what is drawn -------------------------------------------------------------------------------------------------------------

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function show(heading, ...children) {
  const head = el("h1", { tabindex: "-1" }, heading);
  place.replaceChildren(head, ...children);
  scrollTo(0, 0);
  head.focus();
}

function phone(number) {
  return el("a", { href: `tel:${number.replace(/[^0-9+]/g, "")}` }, number);
}

function reach() {
  if (!clinic.phone) return ["Please call the clinic; its number is in the message that brought you here."];
  return [`Please call ${clinic.name}: `, phone(clinic.phone), ", at other times ", phone(clinic.out_of_hours), "."];
}

function problem(form, heading, ...children) {
  form.querySelector(".problem")?.remove();
  const box = el("div", { class: "problem", role: "alert", tabindex: "-1" }, el("h2", {}, heading), ...children);
  form.prepend(box);
  box.scrollIntoView({ block: "start" });
  box.focus();
}

function crisis() {
  return el(
    "p",
    { class: "note" },
    "You do not have to wait for us. Call or text ",
    el("a", { href: "tel:988" }, "988"),
    " now to talk with somebody, day and night. If you are in danger, call ",
    el("a", { href: "tel:911" }, "911"),
    ".",
  );
}

function choices(name, legend, answers, onpick = null) {
  const options = answers.map(([value, text]) =>
    el("label", { class: "choice" }, el("input", { type: "radio", name, value, onchange: () => onpick?.(value) }), text),
  );
  return el("fieldset", { id: name }, el("legend", {}, legend), ...options);
}

function picked(form, name) {
  return form.querySelector(`input[name="${name}"]:checked`)?.value ?? null;
}

// --- what is sent --------------------------------------------------------------------------------------------------------------

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Link ${token}` },
    body: JSON.stringify({ birth_date: birthDate, ...body }),
    cache: "no-store",
    credentials: "omit",
    signal: AbortSignal.timeout(SEND_MS),
  });
  return { status: response.status, body: await response.json() };
}

// Sends what a form holds. Nothing is cleared before the clinic has said that it has it; sending the same again does nothing twice.
async function send(form, path, body, then) {
  const buttons = form.querySelectorAll("button");
  for (const one of buttons) one.disabled = true;
  try {
    const answer = await post(path, body);
    if (answer.status < 300) then(answer.body);
    else refused(form, answer);
  } catch {
    problem(
      form,
      "It could not be sent",
      el("p", {}, "Your answers are still here. Check your connection, then send again: nothing is counted twice."),
    );
  } finally {
    for (const one of buttons) one.disabled = false;
  }
}

function refused(form, { status, body }) {
  const code = body.code;
  if (status === 401) {
    show(
      "This link is not valid any more",
      el("p", {}, "It has been answered already, is too old, or was tried too often with another birth date."),
      el("p", {}, ...reach()),
    );
  } else if (code === "birth-date-wrong") {
    problem(
      form,
      "This is not the birth date that the clinic knows",
      el("p", {}, "Please look at the month, the day and the year. After five wrong tries the link ends."),
    );
  } else if (code === "nobody-on-duty") {
    show(
      "Please come back later",
      el("p", {}, "Nobody is at the clinic now to read your answers. Open the link in your message again in its hours."),
      crisis(),
      el("p", {}, ...reach()),
    );
  } else if (code === "not-asked") {
    open(form);
  } else if (status >= 500 || status === 408 || status === 409 || status === 429) {
    problem(form, "The clinic cannot take it at the moment", el("p", {}, "Your answers are still here. Please send again soon."));
  } else {
    problem(form, "This could not be understood", el("p", {}, "Your answers are still here. ", ...reach()));
  }
}

// --- steps ---------------------------------------------------------------------------------------------------------------------

function askBirthDate() {
  const field = (name, label, fill, length) =>
    el("label", {}, label, el("input", { name, autocomplete: fill, inputmode: "numeric", maxlength: length, pattern: "[0-9]*" }));
  const form = el(
    "form",
    { novalidate: true },
    el(
      "fieldset",
      {},
      el("legend", {}, "Your birth date, for example 3 27 1986"),
      el(
        "div",
        { class: "date" },
        field("month", "Month", "bday-month", 2),
        field("day", "Day", "bday-day", 2),
        field("year", "Year", "bday-year", 4),
      ),
    ),
    el("button", {}, "Continue"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const given = dateOf(form.elements);
    if (given === null) {
      problem(form, "Please give your birth date", el("p", {}, "Month and day as one or two digits, the year as four."));
      return;
    }
    birthDate = given;
    open(form);
  });
  show("A few questions", el("p", {}, `${clinic.name} asks you a few questions. First we make sure that it is you.`), form);
}

function dateOf({ month, day, year }) {
  const [y, m, d] = [year, month, day].map((field) => Number(field.value.trim()));
  const made = new Date(Date.UTC(y, m - 1, d));
  const real = /^\d{4}$/.test(year.value.trim()) && made.getUTCMonth() === m - 1 && made.getUTCDate() === d;
  return real && made < new Date() ? made.toISOString().slice(0, 10) : null;
}

function open(form) {
  return send(form, "/link/opening", {}, (opened) => {
    parts = { done: 0, all: opened.instruments.length };
    go(opened.instruments, opened.screen_now);
  });
}

// A screen that is owed comes first: the answers behind it are with the clinic already.
function go(left, screenNow) {
  if (screenNow) askScreen(left);
  else if (left.length) askQuestionnaire(left);
  else done();
}

function askQuestionnaire(left) {
  const [name, ...rest] = left;
  const { asks, items, answers, suicide, difficulty } = QUESTIONNAIRES[name];
  const options = answers.map((text, value) => [String(value), text]);
  const form = el("form", { novalidate: true });
  items.forEach((text, at) => {
    const note = el("div", { "aria-live": "polite" });
    const told = (value) => note.replaceChildren(...(Number(value) > 0 ? [crisis()] : []));
    form.append(choices(`q${at + 1}`, `${at + 1}. ${text}`, options, at + 1 === suicide ? told : null));
    if (at + 1 === suicide) form.append(note);
  });
  if (difficulty) {
    form.append(choices("difficulty", difficulty.text, difficulty.answers.map((text, value) => [String(value), text])));
  }
  form.append(el("button", {}, "Send my answers"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const given = items.map((_, at) => picked(form, `q${at + 1}`)).map((one) => (one === null ? null : Number(one)));
    const hard = difficulty ? picked(form, "difficulty") : null;
    const body = { instrument: name, answers: given, ...(hard === null ? {} : { difficulty: Number(hard) }) };
    const submit = () =>
      send(form, "/link/answers", body, (answer) => {
        parts.done += 1;
        go(rest, answer.screen_now);
      });
    const missing = given.flatMap((one, at) => (one === null ? [at + 1] : []));
    if (missing.length) unanswered(form, missing, submit);
    else submit();
  });
  const count = parts.all > 1 ? `Part ${parts.done + 1} of ${parts.all}. ` : "";
  show("How have you been?", el("p", {}, count, asks), form, el("p", { class: "soft" }, NOTICE));
}

function unanswered(form, missing, submit) {
  const to = (number) => {
    const jump = (event) => {
      event.preventDefault();
      form.querySelector(`#q${number} input`).focus();
    };
    return el("li", {}, el("a", { href: `#q${number}`, onclick: jump }, `Question ${number}`));
  };
  const heading = missing.length === 1 ? "One question has no answer" : `${missing.length} questions have no answer`;
  problem(
    form,
    heading,
    el("ul", {}, ...missing.map(to)),
    el("p", {}, "You may leave out what you do not want to answer."),
    el("button", { type: "button", class: "second", onclick: submit }, "Send it as it is"),
  );
}

function askScreen(left) {
  contact = true;
  const thanks = el("p", {}, "Thank you for telling us. Somebody at the clinic will see your answers and speak with you about them.");
  if (clinic.screen === null) {
    // No wording that may be shown: a human asks. The clinic is called by itself when this is not answered here.
    const onward = left.length ? [el("button", { type: "button", onclick: () => askQuestionnaire(left) }, "Go on with the questions")] : [];
    show("We would like to speak with you", crisis(), thanks, el("p", {}, ...reach()), ...onward);
    return;
  }
  const options = [
    ["yes", "Yes"],
    ["no", "No"],
    ["", "I would rather not say"],
  ];
  const form = el("form", { novalidate: true });
  const further = el("div", {});
  const item = (number, onpick = null) => choices(`q${number}`, clinic.screen.items[number - 1], options, onpick);
  const deeper = (value) => {
    if (value !== "yes") further.replaceChildren();
    else if (!further.hasChildNodes()) further.append(item(3), item(4), item(5));
  };
  form.append(item(1), item(2, deeper), further, item(6), el("button", {}, "Send my answers"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const body = {};
    const missing = [];
    for (const { id } of form.querySelectorAll("fieldset")) {
      const value = picked(form, id);
      if (value === null) missing.push(Number(id.slice(1)));
      body[id] = value ? value === "yes" : null;
    }
    const submit = () => send(form, "/link/suicide-screen", body, (answer) => screened(answer.level, left));
    if (missing.length) unanswered(form, missing, submit);
    else submit();
  });
  show("A few more questions, because of what you answered", crisis(), thanks, form, el("p", { class: "soft" }, clinic.screen.licence));
}

function screened(level, left) {
  contact = level !== "NONE";
  if (level !== "HIGH" && level !== "INCOMPLETE") {
    go(left, false);
    return;
  }
  const onward = left.length
    ? [el("button", { type: "button", class: "second", onclick: () => askQuestionnaire(left) }, "Go on with the questions")]
    : [];
  show(
    "Please do not stay alone with this",
    crisis(),
    el("p", {}, "A clinician is being called now to speak with you. Please keep your phone with you."),
    el("p", {}, ...reach()),
    ...onward,
  );
}

function done() {
  show(
    "Thank you, your answers have arrived",
    el("p", {}, "Your care team reads them before it speaks with you next. You can close this page now."),
    ...(contact ? [el("p", {}, "Somebody at the clinic will speak with you about what you told us."), crisis()] : []),
    el("p", {}, "If you feel worse before that, do not wait for us. ", ...reach()),
  );
}

// --- start ---------------------------------------------------------------------------------------------------------------------

function taken() {
  const given = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  return given;
}

async function start() {
  try {
    clinic = await (await fetch("/link/clinic.json", { credentials: "omit" })).json();
    const line = document.getElementById("clinic");
    line.replaceChildren(`${clinic.name}: `, phone(clinic.phone), ", at other times ", phone(clinic.out_of_hours));
  } catch {
    // The page works without; the numbers are in the message too.
  }
  // A link that is followed while this page is open only changes the fragment; the one that is open changes nothing.
  addEventListener("hashchange", () => {
    const given = taken();
    if (!given || given === token) return;
    token = given;
    askBirthDate();
  });
  if (token) askBirthDate();
  else show("Please open the link in your message", el("p", {}, "For your safety it is not kept here, so this page needs it again."));
}

start();
