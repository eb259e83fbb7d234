// What cases need and have otherwise in Node: see node.mjs. page.html says that
// this is #environment in a browser, and loads the bundles first.

export const { protobuf, JSONClient, ProtobufClient } = globalThis;

export const locate = (proto) => (proto.startsWith('google/') ? `/node_modules/protobufjs/${proto}` : `/${proto}`);
export const control = '/control';
export const transport = {};

const cases = new Map();
const endings = [];

export function test(name, run) {
  if (cases.has(name)) throw new Error(`two cases have the name ${name}`);
  cases.set(name, run);
}

export const afterEach = (run) => endings.push(run);

// names lists the cases of a file, for the Go tests.
globalThis.names = async (file) => {
  const others = cases.size;
  await import(`/${file}`);
  return [...cases.keys()].slice(others);
};

// run runs a case of a file.
globalThis.run = async (file, name) => {
  await import(`/${file}`);
  try {
    await cases.get(name)();
  } catch (err) {
    // What a client rejects with is an object without a stack.
    throw err instanceof Error ? err : new Error(JSON.stringify(err));
  } finally {
    for (const end of endings) await end();
  }
};
