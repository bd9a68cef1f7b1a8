// Codes, times and refusals in words.

const SIGNALS = {
  sbp_high: "Systolic pressure high",
  sbp_low: "Systolic pressure low",
  dbp_high: "Diastolic pressure high",
  heart_rate_high: "Heart rate high",
  heart_rate_low: "Heart rate low",
  spo2_low: "SpO₂ low",
  spo2_on_oxygen: "SpO₂ low on oxygen",
  spo2_gap: "No SpO₂",
  bp_gap: "No blood pressure",
  resp_rate_low: "Breathing slow",
  resp_rate_high: "Breathing fast",
  moaa_s: "Sedation (MOAA/S)",
  cadss6: "Dissociation (CADSS-6)",
  no_nurse: "No responsible nurse on site",
  consent_withdrawn: "Consent withdrawn",
  "stopped:patient-asked": "Stopped: the patient asked",
  "stopped:emergency": "Stopped: emergency",
};

const RULES = {
  "K-S-SBP": "systolic pressure",
  "K-S-DBP": "diastolic pressure",
  "K-S-HR": "heart rate",
  "K-S-SPO2": "SpO₂",
  "K-S-RR": "breathing",
  "K-S-FASTING": "fasting",
  "K-S-GLP1": "GLP-1 checklist",
  "K-S-SUBSTANCES": "alcohol or cannabis",
};

// A rule that somebody has overridden; one that is not known here is shown as it is written.
export const rule = (code) => RULES[code] ?? code;

export const SYMBOLS = { STOP: "■", RED: "▲", AMBER: "◆" };
export const ORDER = ["STOP", "RED", "AMBER"];

// A code that is not known here is still shown, as it is written.
export const plain = (code) => SIGNALS[code] ?? (code.charAt(0).toUpperCase() + code.slice(1)).replaceAll(/[-_.]/g, " ").replace(":", ": ");

export function clock(at, zone, seconds = false) {
  const form = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: zone, ...(seconds ? { second: "2-digit" } : {}) };
  return new Intl.DateTimeFormat("en-US", form).format(new Date(at));
}

export function day(at, zone) {
  return new Intl.DateTimeFormat("en-US", { weekday: "short", month: "short", day: "numeric", year: "numeric", timeZone: zone }).format(new Date(at));
}

// A span in words: 42 s, 3:05 min, 2 h 10 min, 3 d.
export function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d`;
}

export const until = (at, now) => (at >= now ? `in ${span(at - now)}` : `overdue by ${span(now - at)}`);

export function refusal(status, code) {
  if (status === 401) return "Your sign-in has ended: sign in again.";
  if (code === "alert-closed") return "It was resolved already.";
  if (status === 403) return "Your role may not acknowledge this.";
  if (status === 404) return "You have nothing to do with this patient: somebody of the care team or on duty acknowledges.";
  return "It was not taken. Try again, or acknowledge where the session is recorded.";
}
