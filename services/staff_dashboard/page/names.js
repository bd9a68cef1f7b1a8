// Who is who: names of patients come from `consultation`, those of staff from `clinic`, with the token of whoever looks. The board's
// own service knows ids only. A name that is not known is shown as the end of its id, never guessed.

const AGAIN_MS = 30000;
const MOST = 200;

export class Names {
  #services;
  #token;
  #patients = new Map();
  #staff = new Map();
  #askedAt = new Map();

  constructor(services, token) {
    this.#services = services;
    this.#token = token;
  }

  patient(id) {
    const known = this.#patients.get(id);
    return known ? `${known.family_name}, ${known.given_name}` : `Patient …${id.slice(-6)}`;
  }

  born(id) {
    return this.#patients.get(id)?.birth_date ?? null;
  }

  staff(id) {
    return this.#staff.get(id) ?? `staff …${id.slice(-6)}`;
  }

  // Asks for those that are not known, each now and then; returns whether any came.
  async ask(ids) {
    const now = performance.now();
    const wanted = [...new Set(ids)].filter((id) => !this.#patients.has(id) && !(now - this.#askedAt.get(id) < AGAIN_MS)).slice(0, MOST);
    if (!wanted.length) return false;
    for (const id of wanted) this.#askedAt.set(id, now);
    const found = await this.#call(`${this.#services.consultation}/patients/names`, { patients: wanted });
    for (const one of found?.names ?? []) this.#patients.set(one.patient, one);
    return Boolean(found);
  }

  async askStaff() {
    const found = await this.#call(`${this.#services.clinic}/staff?limit=200`);
    for (const one of found?.staff ?? []) this.#staff.set(one.staff, one.name);
  }

  async #call(url, body = null) {
    const headers = { Authorization: `Bearer ${this.#token}`, ...(body ? { "Content-Type": "application/json" } : {}) };
    const options = { method: body ? "POST" : "GET", headers, credentials: "omit", cache: "no-store" };
    try {
      const response = await fetch(url, { ...options, body: body ? JSON.stringify(body) : undefined });
      return response.ok ? await response.json() : null;
    } catch {
      return null;
    }
  }
}
