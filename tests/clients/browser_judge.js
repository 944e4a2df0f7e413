// Starts the service, the pages' servers and the browser, and judges what the pages report; see browser.sh.
// Usage: node browser_judge.js STREAMS SCRATCH_FOLDER [CERT KEY]
'use strict';

const assert = require('assert');
const http = require('http');
const fs = require('fs');
const path = require('path');
const { spawn } = require('child_process');

const [streams, home, cert, key] = process.argv.slice(2);
const patience = 120000;
const scheme = cert ? 'https' : 'http';
const children = [];
let failed = 0;

function stop(code) {
  for (const child of children) {
    try { process.kill(-child.pid, 'SIGKILL'); } catch (e) { /* it has ended */ }
  }
  fs.rmSync(home, { recursive: true, force: true, maxRetries: 10 });
  process.exit(code);
}
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => stop(1));
setTimeout(() => { console.log('FAIL nothing came for too long'); stop(1); }, patience).unref();

function start(command, args, stdio) {
  const child = spawn(command, args, { stdio, detached: true }); // in a group of its own
  children.push(child);
  return child;
}

// Gives { address, admin } once it listens.
function serve(args) {
  const tls = cert ? ['--tls', cert, key] : [];
  const child = start(streams, ['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', ...tls, ...args],
    ['ignore', 'pipe', 'inherit']);
  return new Promise((listens, fails) => {
    let said = '';
    child.on('exit', code => fails(new Error(`the service ended with ${code}`)));
    child.stdout.on('data', piece => {
      said += piece;
      const found = /listening on (\S+), admin on (\S+)\n/.exec(said);
      if (found) listens({ child, address: `${scheme}://${found[1]}`, admin: found[2] });
    });
  });
}

async function metrics(admin) {
  const said = await (await fetch(`http://${admin}/metrics`)).text();
  const value = (name, ...labels) => {
    const line = said.split('\n').find(l =>
      l.startsWith(`weir_rpc_server_${name}{`) && labels.every(label => l.includes(label)));
    return line ? Number(line.split(' ').pop()) : 0;
  };
  return {
    process_in_flight: value('calls_in_flight', 'Streams/Process"'),
    process_cancelled: value('calls_completed_total', 'Streams/Process"', '"CANCELLED"'),
    stream_in_flight: value('calls_in_flight', 'Streams/StreamData"'),
    stream_cancelled: value('calls_completed_total', 'Streams/StreamData"', '"CANCELLED"'),
    stream_bytes: value('message_bytes_total', 'Streams/StreamData"', '"sent"'),
  };
}

// A server of pages: an origin. Each page reports what it saw, and is told where to go next.
const reports = [], pages = [];
let admin, all_reported;
function origin() {
  const server = http.createServer(async (request, response) => {
    const where = request.url.split('?')[0];
    if (process.env.WEIR_BROWSER_LOG) console.log(request.method, request.url);
    if (where === '/page.js') {
      response.setHeader('content-type', 'text/javascript');
      response.end(fs.readFileSync(path.join(__dirname, 'browser_page.js')));
    } else if (where === '/metrics') {
      const now = JSON.stringify(await metrics(admin));
      if (process.env.WEIR_BROWSER_LOG) console.log(now);
      response.end(now);
    } else if (where.startsWith('/report/')) {
      let body = '';
      for await (const piece of request) body += piece;
      reports.push(JSON.parse(body));
      response.end(pages[reports.length] ?? '');
      if (reports.length === pages.length) all_reported();
    } else {
      response.setHeader('content-type', 'text/html');
      response.end('<!doctype html><title>weir</title><script src="/page.js"></script>');
    }
  });
  return new Promise(listens => server.listen(0, '127.0.0.1', () => listens(server.address().port)));
}

function check(name, judge) {
  try {
    judge();
    console.log(`ok   ${name}`);
  } catch (e) {
    failed++;
    console.log(`FAIL ${name}: ${e.message.split('\n').slice(0, 12).join(' ')}`);
  }
}

// Of a google.rpc.Status in base64.
const detail_of = base64 => Buffer.from(base64, 'base64').toString('latin1');

function judge_calls(saw) {
  const is = (name, want) => check(name.replaceAll('_', ' '), () => assert.deepStrictEqual(saw[name], want));
  is('connect_unary', { http: 200, body: { text: 'hello' }, metadata: 'metadata' });
  is('connect_get', { http: 200, body: { text: 'got' } });
  check('connect error, with its detail', () => {
    assert.strictEqual(saw.connect_error.http, 404);
    const { code, message, details } = saw.connect_error.body;
    assert.deepStrictEqual({ code, message, type: details[0].type },
      { code: 'not_found', message: 'nowhere', type: 'streams.v1.ProcessRequest' });
    assert.match(Buffer.from(details[0].value, 'base64').toString('latin1'), /nowhere/);
  });
  is('no_call', { http: 415, accepted: true });
  check('web unary', () => {
    const { http, text, end } = saw.web_unary;
    assert.deepStrictEqual({ http, text, status: end['grpc-status'] }, { http: 200, text: 'hello', status: '0' });
  });
  check('web error, with its detail', () => {
    const { end } = saw.web_error;
    assert.deepStrictEqual([end['grpc-status'], end['grpc-message']], ['5', 'nowhere']);
    assert.match(detail_of(end['grpc-status-details-bin']), /streams\.v1\.ProcessRequest.*nowhere/s);
  });
  check('web stream read slowly', () => {
    const { messages, bytes, end, sent_at_rest, total } = saw.web_stream_read_slowly;
    assert.strictEqual(messages, 16000);
    assert.ok(bytes > total, `${bytes} bytes came`);
    assert.strictEqual(end['grpc-status'], '0');
    assert.ok(sent_at_rest > 0 && sent_at_rest < total / 2, `${sent_at_rest} of ${total} were sent, unread`);
    console.log(`     ${sent_at_rest} of ${total} bytes were sent to a page that did not read`);
  });
  is('abort_unary', { error: 'AbortError', cancelled: 1 });
  is('abort_stream', { error: 'AbortError', cancelled: 1 });
}

function judge_refusals(what, saw) {
  for (const name of ['post', 'get', 'web'])
    check(`${what}: ${name}`, () => assert.deepStrictEqual(saw[name], { thrown: 'TypeError' }));
}

async function main() {
  const [ours, other] = [await origin(), await origin()];
  const open = await serve(['--cors', `https://app.example.org,http://127.0.0.1:${ours}`]);
  const shut = await serve([]);
  admin = open.admin;
  pages.push(
    `http://127.0.0.1:${ours}/?${open.address}`,
    `http://127.0.0.1:${other}/refused?${open.address}`,
    `http://127.0.0.1:${ours}/refused?${shut.address}`);
  const reported = new Promise(done => { all_reported = done; });
  start('chromium', ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--ignore-certificate-errors', `--user-data-dir=${home}/profile`, '--remote-debugging-port=0',
    pages[0]], process.env.WEIR_BROWSER_LOG ? 'inherit' : 'ignore');
  await reported;
  const [calls, of_other, of_shut] = reports;
  judge_calls(calls);
  judge_refusals('a page of an origin that is not listed', of_other);
  judge_refusals('a service without --cors', of_shut);
  for (const { child } of [open, shut]) {
    child.removeAllListeners('exit');
    const ended = new Promise(told => child.on('exit', told));
    child.kill('SIGTERM');
    const code = await ended;
    check('the service ends well', () => assert.strictEqual(code, 0));
  }
  console.log(failed === 0 ? 'browser: all passed' : `browser: ${failed} failed`);
  stop(failed === 0 ? 0 : 1);
}
main().catch(e => { console.log(`FAIL ${e.stack}`); stop(1); });
