// What the page does in the browser: it calls the service of another origin, and reports what it saw to
// its own. Its address says where the service is: /?http://127.0.0.1:1234
'use strict';

const service = location.search.slice(1) + '/streams.v1.Streams/';
const seen = {};
let doing = '';

// ---- Bytes ----

const text = bytes => new TextDecoder().decode(bytes);
const varint = n => (n < 128 ? [n] : [(n % 128) | 128, ...varint(Math.floor(n / 128))]);
const number = (field, n) => [field << 3, ...varint(n)];
const string = (field, s) => {
  const bytes = new TextEncoder().encode(s);
  return [(field << 3) | 2, ...varint(bytes.length), ...bytes];
};
const envelope = bytes => {
  const n = bytes.length;
  return new Uint8Array([0, n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255, ...bytes]);
};

// Takes envelopes out of what comes in pieces.
class Envelopes {
  constructor() { this.rest = new Uint8Array(0); }
  add(piece) {
    const all = new Uint8Array(this.rest.length + piece.length);
    all.set(this.rest);
    all.set(piece, this.rest.length);
    const found = [];
    let at = 0;
    for (;;) {
      if (all.length - at < 5) break;
      const n = new DataView(all.buffer).getUint32(at + 1);
      if (all.length - at - 5 < n) break;
      found.push({ flags: all[at], body: all.subarray(at + 5, at + 5 + n) });
      at += 5 + n;
    }
    this.rest = all.slice(at);
    return found;
  }
}

// ---- Calls ----

const web = (method, message, more) => fetch(service + method, {
  method: 'POST',
  headers: { 'content-type': 'application/grpc-web+proto', 'x-grpc-web': '1', 'x-user-agent': 'page' },
  body: envelope(message),
  ...more,
});
const json = (method, message, more) => fetch(service + method, {
  method: 'POST',
  headers: { 'content-type': 'application/json', 'connect-protocol-version': '1', ...more?.headers },
  body: JSON.stringify(message),
  signal: more?.signal,
});
const trailers = body => Object.fromEntries(
  text(body).trim().split('\r\n').map(line => line.split(/: */, 2)));
const status = async response => ({ http: response.status, body: await response.json() });
const metrics = async () => (await fetch('/metrics?' + doing)).json();
const until = async condition => { // of what the server says of itself
  for (let last = await metrics();; last = await metrics()) {
    if (condition(last)) return last;
    await new Promise(later => setTimeout(later, 50));
  }
};

const checks = {
  async connect_unary() {
    const response = await json('Process', { text: 'hello' },
      { headers: { 'connect-timeout-ms': '10000', 'echo-one': 'metadata' } });
    return { ...await status(response), metadata: response.headers.get('echo-one') };
  },
  async connect_get() {
    const message = encodeURIComponent(JSON.stringify({ text: 'got' }));
    return status(await fetch(`${service}Process?connect=v1&encoding=json&message=${message}`));
  },
  async connect_error() {
    return status(await json('Process', { text: 'nowhere', failWith: 5 }));
  },
  async no_call() {
    const response = await fetch(service + 'Process', { method: 'POST', body: 'hello' });
    return { http: response.status, accepted: response.headers.get('accept-post') !== null };
  },
  async web_unary() {
    const response = await web('Process', string(1, 'hello'));
    const [message, end] = new Envelopes().add(new Uint8Array(await response.arrayBuffer()));
    return { http: response.status, text: text(message.body.subarray(2)), end: trailers(end.body) };
  },
  async web_error() {
    const response = await web('Process', [...string(1, 'nowhere'), ...number(3, 5)]);
    const [end] = new Envelopes().add(new Uint8Array(await response.arrayBuffer()));
    return { http: response.status, flags: end.flags, end: trailers(end.body) };
  },
  async web_stream_read_slowly() {
    const count = 16000, payload = 16384;
    const response = await web('StreamData', [...number(1, count), ...number(2, payload)]);
    const reader = response.body.getReader(), envelopes = new Envelopes();
    let messages = 0, bytes = 0, end = null;
    const take = piece => {
      for (const { flags, body } of envelopes.add(piece)) {
        if (flags & 128) end = trailers(body);
        else { messages++; bytes += body.length; }
      }
    };
    take((await reader.read()).value);
    // Nobody reads: the server comes to rest, far from the end.
    let before = -1;
    const rest = await until(now => now.stream_bytes === before || (before = now.stream_bytes, false));
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      take(value);
    }
    return { messages, bytes, end, sent_at_rest: rest.stream_bytes, total: count * payload };
  },
  async abort_unary() {
    const stop = new AbortController();
    const answer = json('Process', { text: 'late', delayMs: 600000 }, { signal: stop.signal });
    await until(now => now.process_in_flight === 1);
    stop.abort();
    const error = await answer.then(() => 'none', e => e.name);
    const after = await until(now => now.process_in_flight === 0);
    return { error, cancelled: after.process_cancelled };
  },
  async abort_stream() {
    const stop = new AbortController();
    const response = await web('StreamData', number(1, 2 ** 40), { signal: stop.signal });
    const reader = response.body.getReader();
    await reader.read();
    stop.abort();
    const error = await reader.read().then(() => 'none', e => e.name);
    const after = await until(now => now.stream_in_flight === 0);
    return { error, cancelled: after.stream_cancelled };
  },
};
// Of a page that is not let in, or a service that lets in none.
const refusals = {
  post: () => json('Process', { text: 'hello' }),
  get: () => fetch(`${service}Process?connect=v1&encoding=json&message=%7B%7D`),
  web: () => web('Process', string(1, 'hello')),
};

async function main() {
  const all = location.pathname === '/refused' ? refusals : checks;
  for (const [name, check] of Object.entries(all)) {
    doing = name;
    try {
      const result = await check();
      seen[name] = result instanceof Response ? { http: result.status } : result;
    } catch (e) {
      seen[name] = { thrown: e.name };
    }
  }
  const told = await fetch('/report' + location.pathname, { method: 'POST', body: JSON.stringify(seen) });
  const next = await told.text();
  if (next !== '') location.assign(next);
}
main();
