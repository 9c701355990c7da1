// One process of @azure/msal-node with its DistributedCachePlugin on Redis, as its documentation sets it up. It takes
// the orders that the benchmark's own processes take (worker_test.go), in the lines of internal/subprocess.
import https from "node:https";
import readline from "node:readline";
import { ConfidentialClientApplication, DistributedCachePlugin } from "@azure/msal-node";
import { createClient } from "redis";

process.on("SIGINT", () => {}); // who ends when is the parent's affair
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const place = JSON.parse((await lines.next()).value);
const [host, port] = place.Entra.split(":");
const agent = new https.Agent({ keepAlive: true, ca: place.CA });

// The emulator carries the certificate of Microsoft's login hosts and stands elsewhere.
function send(method, url, options = {}) {
  const target = new URL(url);
  return new Promise((resolve, reject) => {
    const req = https.request({
      agent, method, host, port, servername: target.hostname, path: target.pathname + target.search,
      headers: { ...options.headers, host: target.hostname },
    }, (res) => {
      let body = "";
      res.setEncoding("utf8");
      res.on("data", (chunk) => { body += chunk; });
      res.on("end", () => {
        try {
          resolve({ status: res.statusCode, headers: res.headers, body: JSON.parse(body) });
        } catch (e) {
          reject(e);
        }
      });
    });
    req.on("error", reject);
    req.end(options.body);
  });
}
const networkClient = {
  sendGetRequestAsync: (url, options) => send("GET", url, options),
  sendPostRequestAsync: (url, options) => send("POST", url, options),
};

const redis = createClient({ url: `redis://${place.Redis}` });
await redis.connect();
const cacheClient = {
  get: async (key) => (await redis.get(key)) ?? "",
  set: (key, value) => redis.set(key, value),
};

function newClient(tenant) {
  const key = async () => `msalnode:${place.ClientID}.${tenant}`;
  return new ConfidentialClientApplication({
    auth: { clientId: place.ClientID, clientSecret: place.Secret, authority: `https://login.microsoftonline.com/${tenant}` },
    cache: { cachePlugin: new DistributedCachePlugin(cacheClient, { getKey: key, extractKey: key }) },
    system: { networkClient },
  });
}
const clients = new Map();
function client(tenant) {
  if (!clients.has(tenant)) clients.set(tenant, newClient(tenant));
  return clients.get(tenant);
}

const now = () => performance.timeOrigin + performance.now(); // milliseconds since 1970, with their fraction
const ns = (ms) => Math.round(ms * 1e6);
const acquire = (app, order) => app.acquireTokenByClientCredential({ scopes: [order.Scope] });

const does = {
  async warm(order) {
    await client(order.Tenant).getAuthCodeUrl({ scopes: ["openid"], redirectUri: "http://localhost" });
    return {};
  },
  async burst(order) {
    const begun = now();
    await Promise.all(Array.from({ length: order.N }, () => acquire(client(order.Tenant), order)));
    return { Took: ns(now() - begun), EndedMicros: Math.round(now() * 1e3) };
  },
  async hits(order) {
    const begun = now();
    for (let i = 0; i < order.N; i++) await acquire(client(order.Tenant), order);
    return { Took: ns(now() - begun) };
  },
  async cold(order) {
    let took = 0;
    for (let i = 0; i < order.N; i++) {
      const app = newClient(order.Tenant);
      const begun = now();
      await acquire(app, order);
      took += now() - begun;
    }
    return { Took: ns(took) };
  },
};

console.log(JSON.stringify({ Ready: true }));
for await (const line of lines) {
  const order = JSON.parse(line);
  let answer;
  try {
    answer = await does[order.Op](order);
  } catch (e) {
    answer = { Error: String(e?.message ?? e) };
  }
  console.log(JSON.stringify(answer));
}
process.exit(0);
