// Assertions that are the same in Node and in a browser, strict and deep.

export function fail(message) {
  throw new Error(message);
}

export function ok(value, message = `${value} does not hold`) {
  if (!value) fail(message);
}

export function equal(got, want, message = 'not equal') {
  if (!Object.is(got, want)) fail(`${message}: got ${show(got)}, want ${show(want)}`);
}

export function notEqual(got, other, message = 'equal') {
  if (Object.is(got, other)) fail(`${message}: got ${show(got)} again`);
}

export function deepEqual(got, want, message = 'not equal') {
  const found = difference(got, want, '');
  if (found) fail(`${message}: ${found}`);
}

// maxShown is how much of a value a failure shows, in characters.
const maxShown = 1000;

const show = (value) => (JSON.stringify(value) ?? String(value)).slice(0, maxShown);

// difference says where two values differ first, or nothing if they do not. Values
// are what JSON can say.
function difference(got, want, where) {
  const both = [got, want];
  if (both.some((v) => typeof v !== 'object' || v === null) || Array.isArray(got) !== Array.isArray(want)) {
    return Object.is(got, want) ? '' : `got ${show(got)}, want ${show(want)} at ${where || 'the top'}`;
  }
  for (const key of new Set(both.flatMap(Object.keys))) {
    const found = difference(got[key], want[key], `${where}.${key}`);
    if (found) return found;
  }
  return '';
}
