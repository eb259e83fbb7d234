// What every case here needs, in Node and in a browser: people, their devices, and
// a bad network.

import { afterEach, JSONClient, ProtobufClient, transport } from '#environment';
import * as assert from './assert.mjs';
import { decodeEvent, decodeReply, encodeRequest } from './contract.mjs';
import { order } from './orders.mjs';

export { order };

// patience is how long a test waits for anything that ought to happen, in ms.
const patience = 40_000;

const utf8 = { encode: (o) => new TextEncoder().encode(JSON.stringify(o)), decode: (b) => JSON.parse(new TextDecoder().decode(b)) };

// dialects are how a device can speak: the protocol, and the payloads inside.
export const dialects = [
  { name: 'json', Client: JSONClient, payload: 'json', about: (o) => o, request: (_, o) => o, reply: (_, d) => d, event: (d) => d },
  {
    name: 'protobuf with json', Client: ProtobufClient, payload: 'json', about: utf8.encode,
    request: (_, o) => utf8.encode(o), reply: (_, d) => utf8.decode(d), event: utf8.decode,
  },
  {
    name: 'protobuf', Client: ProtobufClient, payload: 'proto', about: utf8.encode,
    request: encodeRequest, reply: decodeReply, event: decodeEvent,
  },
];

// people makes up users whom nobody has seen, on the shared server or one of the
// test's own.
export async function people(tenant, names, at = undefined) {
  const { users } = await order('users', { tenant, names });
  const door = at ?? (await order('link'));
  return users.map((id) => new Person(id, tenant, door));
}

export class Person {
  constructor(id, tenant, door) {
    Object.assign(this, { id, tenant, door, own: `u:${id}` });
  }

  async token(device, life = 0) {
    const { token } = await order('token', { server: this.door.server, tenant: this.tenant, user: this.id, device, life });
    return token;
  }

  // post calls a method over HTTP.
  async post(method, req = {}) {
    const resp = await fetch(`${this.door.http}/v1/${method}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${await this.token('fetch')}` },
      body: JSON.stringify(req),
    });
    const reply = await resp.json();
    assert.ok(resp.ok, `${this.id}: ${method} ${JSON.stringify(req)}: ${JSON.stringify(reply)}`);
    return reply;
  }

  async direct(other) {
    return (await this.post('Directs.Open', { user_id: other.id })).conversation_id;
  }

  async group(settings, ...members) {
    const { conversation_id } = await this.post('Groups.Create', { request_id: 'g', name: 'a group', join_rule: 'OPEN', ...settings });
    for (const m of members) await m.post('Groups.Join', { conversation_id });
    return conversation_id;
  }

  async say(conversation_id, text) {
    return (await this.post('Messages.Send', { conversation_id, content: { text: { text } } })).seq;
  }

  // history reads all that the person may read, oldest first, page by page.
  async history(conversation_id) {
    const all = [];
    for (let after = 0; ; after = all.at(-1).seq) {
      const page = await this.post('Messages.History', { conversation_id, after, limit: 100 });
      all.push(...(page.events ?? []));
      if (!page.more_after) return all;
    }
  }

  // device makes a client that is not connected yet.
  async device(name, dialect, options = {}) {
    const token = options.getToken ? {} : { token: await this.token(name) };
    return new Device(this, name, dialect, { ...token, ...options });
  }
}

// devices are those of the test that runs: a file runs one at a time.
let devices = [];

afterEach(() => {
  const all = devices;
  devices = [];
  all.forEach((d) => d.client.disconnect());
  for (const d of all) if (d.wrong) throw d.wrong;
});

// A Device is an unmodified client and all that it was told. It checks each
// publication as it comes: in every log, each event once, in order, and nothing
// left out but what a Hole stands for.
export class Device {
  constructor(owner, name, dialect, { websocket, ...options }) {
    Object.assign(this, { owner, name, dialect, channels: new Map(), signals: [], connects: 0, ends: [], errors: [], waiting: new Set() });
    this.client = new dialect.Client(websocket ?? owner.door.websocket, {
      ...transport, minReconnectDelay: 50, maxReconnectDelay: 500,
      data: dialect.about({ model: 'Test 1', os: 'none', app: 'kith', payload: dialect.payload }),
      ...options,
    });
    devices.push(this);
    this.#listen();
    this.client.connect();
  }

  // #listener returns what listens to a client or a subscription.
  #listener(source) {
    return (name, take) => source.on(name, (ctx) => {
      try {
        take(ctx);
      } catch (err) {
        this.wrong ??= err;
      }
      for (const w of [...this.waiting]) w();
    });
  }

  #listen() {
    const on = this.#listener(this.client);
    on('connected', () => { this.connects++; });
    on('connecting', (ctx) => { if (ctx.code !== 0) this.ends.push(ctx); });
    on('disconnected', (ctx) => { this.ends.push(ctx); this.lost = ctx; });
    on('error', (ctx) => { this.errors.push(ctx.error); });
    on('message', (ctx) => { this.signals.push(this.dialect.event(ctx.data)); });
    this.#follow(on);
  }

  // #follow listens to what the client says of channels, or a subscription of its one.
  #follow(on) {
    on('subscribed', (ctx) => this.#subscribed(ctx));
    on('unsubscribed', (ctx) => this.#unsubscribed(ctx));
    on('publication', (ctx) => this.#heard(ctx));
  }

  // watch subscribes to a conversation, as to one that is too large to come by itself.
  watch(conversation) {
    const sub = this.client.newSubscription(`c:${conversation}`);
    this.#follow(this.#listener(sub));
    sub.subscribe();
    return sub;
  }

  #subscribed({ channel, positioned, recoverable, wasRecovering, recovered, streamPosition }) {
    assert.ok(positioned && recoverable && streamPosition?.epoch, `${channel} is not recoverable`);
    const c = this.channels.get(channel) ?? { events: [], stands: [] };
    this.channels.set(channel, c);
    if (recovered) assert.equal(streamPosition.offset, c.last, `${channel} was recovered elsewhere`);
    Object.assign(c, { last: streamPosition.offset, open: true });
    c.stands.push({ wasRecovering, recovered, ...streamPosition });
  }

  // #unsubscribed takes in that a channel is over, or was refused.
  #unsubscribed({ channel, code, reason }) {
    const c = this.channels.get(channel) ?? { events: [], stands: [] };
    this.channels.set(channel, c);
    Object.assign(c, { open: false, end: { code, reason } });
  }

  #heard({ channel, offset, data }) {
    const c = this.channels.get(channel);
    assert.ok(c?.open, `${channel} has a publication and was not subscribed to`);
    const e = this.dialect.event(data);
    const from = e.type === 'Hole' ? e.body.from : e.seq;
    assert.equal(e.seq, offset, `${channel} has an event at another offset`);
    assert.equal(from, c.last + 1, `${channel} has ${JSON.stringify(e)} after ${c.last}`);
    c.last = offset;
    c.events.push(e);
  }

  // until waits for something to be true of the device; want says what.
  until(want, is) {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => done(reject, new Error(`${this}: not within ${patience} ms: ${want}; ${this.#state()}`)), patience);
      const look = () => {
        if (this.wrong) return done(reject, this.wrong);
        const found = is();
        if (found) done(resolve, found);
      };
      const done = (how, value) => {
        clearTimeout(late);
        this.waiting.delete(look);
        how(value);
      };
      this.waiting.add(look);
      look();
    });
  }

  toString() { return `${this.owner.id}'s ${this.name} (${this.dialect.name})`; }

  #state() {
    const at = [...this.channels].map(([name, c]) => `${name} at ${c.last}`);
    return JSON.stringify({ connects: this.connects, ends: this.ends, errors: this.errors, at });
  }

  connected(times = 1) {
    return this.until(`connected ${times} times`, () => {
      if (this.lost) throw new Error(`${this}: ${JSON.stringify(this.lost)}`);
      return this.connects >= times && this.channels.get(this.owner.own)?.stands.length >= times;
    });
  }

  endsWith(code) {
    return this.until(`ended with ${code}`, () => this.ends.find((e) => e.code === code));
  }

  gaveUp() {
    return this.until('gave up', () => this.lost);
  }

  reaches(log, seq) {
    return this.until(`${log} heard up to ${seq}`, () => this.channels.get(log)?.last >= seq);
  }

  hears(log, what, is) {
    return this.until(`${log}: ${what}`, () => this.channels.get(log)?.events.find(is));
  }

  // opened waits for a channel that is there, for so many times.
  opened(log, times = 1) {
    return this.until(`${log} subscribed ${times} times`, () => {
      const c = this.channels.get(log);
      return c?.open && c.stands.length >= times && c;
    });
  }

  closed(log) {
    return this.until(`${log} unsubscribed`, () => this.channels.get(log)?.open === false && this.channels.get(log));
  }

  // signalled waits for a signal, which is in no log.
  signalled(what, is) {
    return this.until(`the signal ${what}`, () => this.signals.find(is));
  }

  messages(conversation) {
    return (this.channels.get(`c:${conversation}`)?.events ?? []).filter((e) => e.type === 'MessageSent');
  }

  // call calls a method by rpc.
  async call(method, req = {}) {
    const { data } = await this.client.rpc(method, this.dialect.request(method, req));
    return this.dialect.reply(method, data);
  }

  // insist calls until there is an answer, over as many connections as it takes.
  async insist(method, req) {
    for (;;) {
      try {
        await this.client.ready(patience);
        return await this.call(method, req);
      } catch (err) {
        // Codes below 100 are the client's own: the connection is gone.
        if (err.code >= 100) throw err;
        await new Promise((go) => setTimeout(go)); // The client notices a moment later.
      }
    }
  }
}

export const text = (words) => ({ text: { text: words } });
export const isText = (words) => (e) => e.body?.content?.text?.text === words;
export const textsOf = (events) => events.map((e) => e.body.content?.text?.text ?? e.type).join(' ');
export const isAbout = (type, person) => (e) => e.type === type && e.body.user_id === person.id;
