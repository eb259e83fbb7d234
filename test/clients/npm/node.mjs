// What cases need and have otherwise in a browser: see browser.mjs. package.json
// says that this is #environment in Node.

import path from 'node:path';
import { createRequire } from 'node:module';
import { test as nodeTest } from 'node:test';
import { fileURLToPath } from 'node:url';
import WebSocket from 'ws';

export { afterEach } from 'node:test';
export { Centrifuge as JSONClient } from 'centrifuge';
export { Centrifuge as ProtobufClient } from 'centrifuge/build/protobuf';
export { default as protobuf } from 'protobufjs';

// caseTimeout is how long a case may take, in ms: it waits several times.
const caseTimeout = 100_000;

const repository = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
const library = path.dirname(createRequire(import.meta.url).resolve('protobufjs/package.json'));

// locate is where a .proto file is, by its path in an import.
export const locate = (proto) => path.join(proto.startsWith('google/') ? library : repository, proto);

// control is the address of the Go tests, which obey orders.
export const control = process.env.KITH_TEST_CONTROL;
if (!control) throw new Error('these cases are run by: go test ./test/clients -run TestNPM');

// transport has the options of a client that it needs here: not every Node has a
// WebSocket of its own.
export const transport = { websocket: WebSocket };

export const test = (name, run) => nodeTest(name, { timeout: caseTimeout }, run);
