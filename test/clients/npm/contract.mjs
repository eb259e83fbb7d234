// The messages of kith.v1, read from the same .proto files as the server's code is
// made of.

import path from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';

const repository = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
const library = path.dirname(createRequire(import.meta.url).resolve('protobufjs/package.json'));

const files = ['messages', 'directs', 'groups', 'dialogs', 'devices'].map((f) => `actors/feature/${f}/${f}.proto`);

const root = new protobuf.Root();
root.resolvePath = (_, target) => path.join(target.startsWith('google/') ? library : repository, target);
root.loadSync(files, { keepCase: true });

// events has the types of bodies by the number of their (event) option.
const events = new Map();
for (const type of root.lookup('kith.v1').nestedArray) {
  const number = type.options?.['(event).number'];
  if (number !== undefined) events.set(number, type);
}

// plain is a message as the server would write it in JSON.
function plain(type, bytes) {
  return type.toObject(type.decode(bytes), { longs: Number, enums: String, bytes: String });
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
  const e = root.lookupType('kith.v1.Event').decode(bytes);
  const type = events.get(e.type);
  if (!type) throw new Error(`no event has the number ${e.type}`);
  return { type: type.name, seq: Number(e.seq), at: Number(e.at), by: e.by, body: plain(type, e.body) };
}
