// Authorization code with PKCE (RFC 7636) at the clinic's provider. The token lives in the page's memory and nowhere else; the
// verifier has to outlive the way to the provider and back, and is taken out of the tab's storage as it is used.

const KEPT = "sign-in";

const coded = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const random = () => coded(crypto.getRandomValues(new Uint8Array(32)));
const here = () => location.origin + location.pathname;

async function endpoints(config) {
  const response = await fetch(`${config.issuer}/.well-known/openid-configuration`, { credentials: "omit" });
  const found = await response.json();
  if (found.issuer !== config.issuer) throw new Error("another issuer answered");
  return found;
}

export async function leave(config) {
  const { authorization_endpoint } = await endpoints(config);
  const [state, verifier] = [random(), random()];
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier)));
  sessionStorage.setItem(KEPT, JSON.stringify({ state, verifier }));
  const query = new URLSearchParams({
    response_type: "code",
    client_id: config.client_id,
    redirect_uri: here(),
    scope: "openid",
    state,
    code_challenge: coded(digest),
    code_challenge_method: "S256",
  });
  location.assign(`${authorization_endpoint}?${query}`);
}

// What the provider sent along; out of the address bar before anything else is done.
export function arrived() {
  const query = new URLSearchParams(location.search);
  if (!location.search) return null;
  history.replaceState(null, "", location.pathname);
  return query;
}

export async function token(config, query) {
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
  sessionStorage.removeItem(KEPT);
  const issuer = query.get("iss") ?? config.issuer;
  if (!kept || kept.state !== query.get("state") || issuer !== config.issuer || !query.get("code")) return null;
  const { token_endpoint } = await endpoints(config);
  const response = await fetch(token_endpoint, {
    method: "POST",
    credentials: "omit",
    body: new URLSearchParams({
      grant_type: "authorization_code",
      client_id: config.client_id,
      redirect_uri: here(),
      code: query.get("code"),
      code_verifier: kept.verifier,
    }),
  });
  return response.ok ? (await response.json()).access_token : null;
}
