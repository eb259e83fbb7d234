// The Go tests have the servers, the links and the keys. Cases ask them over HTTP.

import { control } from '#environment';

// order asks the Go tests for something.
export async function order(what, fields = {}) {
  const resp = await fetch(`${control}/${what}`, { method: 'POST', body: JSON.stringify(fields) });
  const text = await resp.text();
  if (!resp.ok) throw new Error(`${what} ${JSON.stringify(fields)}: ${text}`);
  return JSON.parse(text);
}
