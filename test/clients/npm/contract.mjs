// The messages of kith.v1, read from the same .proto files as the server's code is
// made of.

import { locate, protobuf } from '#environment';
import { order } from './orders.mjs';

const root = new protobuf.Root();
root.resolvePath = (_, target) => locate(target);
await root.load((await order('contract')).files, { keepCase: true });

// events has the types of bodies by the number of their (event) option.
const events = new Map();
for (const type of root.lookup('kith.v1').nestedArray) {
  const number = type.options?.['(event).number'];
  if (number !== undefined) events.set(number, type);
}

// plain is a message as the server would write it in JSON.
function plain(type, bytes) {
  return readable(type, type.toObject(type.decode(bytes), { longs: Number, enums: String, bytes: String }));
}

// readable has the events in a message as their types say.
function readable(type, message) {
  for (const field of type.fieldsArray) {
    const value = message[field.name];
    const of = field.resolve().resolvedType;
    if (value === undefined || !(of instanceof protobuf.Type)) continue;
    const read = (m) => (of === Event ? eventOf(m) : readable(of, m));
    message[field.name] = field.repeated ? value.map(read) : read(value);
  }
  return message;
}

const Event = root.lookupType('kith.v1.Event');

// eventOf is an event as in JSON: signals have no seq, and events of a log no
// channel.
function eventOf({ type: number, seq, at, by, body, channel }) {
  const type = events.get(number);
  if (!type) throw new Error(`no event has the number ${number}`);
  const { base64 } = protobuf.util;
  const bytes = new Uint8Array(base64.length(body));
  base64.decode(body, bytes, 0);
  const e = { type: type.name, seq, at, by, body: plain(type, bytes), channel };
  for (const name of Object.keys(e)) if (e[name] === undefined) delete e[name];
  return e;
}

function typesOf(method) {
  const [service, name] = method.split('.');
  const rpc = root.lookupService(`kith.v1.${service}`).methods[name];
  return [root.lookupType(`kith.v1.${rpc.requestType}`), root.lookupType(`kith.v1.${rpc.responseType}`)];
}

export function encodeRequest(method, req) {
  const [type] = typesOf(method);
  return type.encode(type.fromObject(req)).finish();
}

export function decodeReply(method, bytes) {
  const [, type] = typesOf(method);
  return plain(type, bytes);
}

export function decodeEvent(bytes) {
  return eventOf(Event.toObject(Event.decode(bytes), { longs: Number, bytes: String }));
}
