// Unmodified npm clients lose connections and miss nothing. No test calls
// disconnect() to do so: TCP breaks under the client.

import { test } from '#environment';
import * as assert from './assert.mjs';
import { dialects, isAbout, isText, order, people, text, textsOf } from './world.mjs';

const flood = 400; // messages of each sender
const inFlight = 4;

for (const [seed, dialect] of dialects.entries()) {
  test(`messages survive many cuts (${dialect.name})`, async () => {
    const [ann, bob] = await people('plain', ['ann', 'bob']);
    const conversation_id = await ann.direct(bob);
    const log = `c:${conversation_id}`;
    const links = await Promise.all([1, 2, 3].map(() => order('link')));
    const hers = await ann.device('phone', dialect, { websocket: links[0].websocket });
    const his = await bob.device('phone', dialect, { websocket: links[1].websocket });
    const away = await bob.device('away', dialect, { websocket: links[2].websocket });
    const all = [hers, his, away];
    await Promise.all(all.map((d) => d.connected()));
    const first = await ann.say(conversation_id, 'first');
    await Promise.all(all.map((d) => d.reaches(log, first)));

    await order('refuse', { link: links[2].link, on: true });
    await order('cut', { link: links[2].link, how: 'rst' });
    for (const { link } of links.slice(0, 2)) {
      await order('breaking', { link, on: true, seed: seed * 100 });
      await order('cut', { link, how: 'fin' });
    }
    const acks = new Map();
    const send = async (device, worker) => {
      for (let i = worker; i < flood; i += inFlight) {
        const name = `${device.owner.id} ${i}`;
        const { seq } = await device.insist('Messages.Send', { conversation_id, request_id: name, content: text(name) });
        acks.set(name, seq);
      }
    };
    await Promise.all([hers, his].flatMap((d) => [0, 1, 2, 3].map((w) => send(d, w))));
    for (const { link } of links) {
      await order('breaking', { link, on: false });
      await order('refuse', { link, on: false });
    }

    const last = await ann.say(conversation_id, 'last');
    const history = await bob.history(conversation_id);
    assert.equal(history.length, 2 * flood + 2);
    for (const e of history.slice(1, -1)) assert.equal(acks.get(e.body.content.text.text), e.seq);
    assert.equal(acks.size, 2 * flood);
    for (const d of all) {
      await d.reaches(log, last);
      assert.deepEqual(d.messages(conversation_id), history);
      for (const s of d.channels.get(log).stands.slice(1)) assert.equal(s.recovered, true);
      assert.ok(d.connects > (d === away ? 1 : 3), `${d} connected ${d.connects} times`);
    }
  });

  test(`who left and returned has a hole between, and hidden history is hidden (${dialect.name})`, async () => {
    const [ann, bob, cat] = await people('plain', ['ann', 'bob', 'cat']);
    const conversation_id = await ann.group({ history_hidden: true }, bob);
    const log = `c:${conversation_id}`;
    const line = await order('link');
    const there = await bob.device('there', dialect);
    const away = await bob.device('away', dialect, { websocket: line.websocket });
    await Promise.all([there.connected(), away.connected()]);
    const both = await ann.say(conversation_id, 'both');
    await Promise.all([there.reaches(log, both), away.reaches(log, both)]);
    await order('refuse', { link: line.link, on: true });
    await order('cut', { link: line.link, how: 'rst' });

    await bob.post('Groups.Leave', { conversation_id });
    const left = await there.hears(log, 'that he left', isAbout('MemberLeft', bob));
    await there.closed(log);
    await ann.say(conversation_id, 'secret');
    await bob.post('Groups.Join', { conversation_id });
    const last = await ann.say(conversation_id, 'together');
    await order('refuse', { link: line.link, on: false });
    await Promise.all([there.reaches(log, last), away.reaches(log, last)]);
    const holes = away.channels.get(log).events.filter((e) => e.type === 'Hole');
    assert.deepEqual(holes.map((h) => h.body), [{ from: left.seq + 1, through: left.seq + 1 }]);
    assert.equal(textsOf(away.messages(conversation_id)), 'both together');

    const hers = await cat.device('phone', dialect);
    await hers.connected();
    await cat.post('Groups.Join', { conversation_id });
    const joined = await hers.hears(log, 'that she joined', isAbout('MemberJoined', cat));
    assert.equal(hers.channels.get(log).events[0].seq, joined.seq);
    await ann.say(conversation_id, 'welcome');
    await hers.hears(log, 'welcome', isText('welcome'));
    const [hole, ...rest] = await cat.history(conversation_id);
    assert.deepEqual([hole.type, hole.body], ['Hole', { from: 1, through: joined.seq - 1 }]);
    assert.equal(textsOf(rest), 'welcome');
  });
}

test('a client of an earlier store is not recovered', async () => {
  const server = await order('start');
  const line = { ...(await order('link', { server: server.server })), server: server.server };
  const [ann, bob] = await people('plain', ['ann', 'bob'], line);
  const conversation_id = await ann.direct(bob);
  const log = `c:${conversation_id}`;
  const devices = await Promise.all(dialects.map((d, i) => bob.device(`phone-${i}`, d)));
  await Promise.all(devices.map((d) => d.connected()));
  const old = await ann.say(conversation_id, 'old');
  await Promise.all(devices.map((d) => d.reaches(log, old)));

  await order('refuse', { link: line.link, on: true });
  await order('restart', { server: server.server, on: true });
  assert.equal(await ann.direct(bob), conversation_id);
  let head;
  for (let i = 0; i < 9; i++) head = await ann.say(conversation_id, `${i}`);
  await order('refuse', { link: line.link, on: false });
  for (const d of devices) {
    await d.connected(2);
    const [before, now] = d.channels.get(log).stands;
    assert.deepEqual([now.wasRecovering, now.recovered, now.offset], [true, false, head]);
    assert.notEqual(now.epoch, before.epoch);
  }
  const fresh = await ann.say(conversation_id, 'new');
  await Promise.all(devices.map((d) => d.reaches(log, fresh)));
});

test('a client goes on after a kill and after a shutdown', async () => {
  const server = { ...(await order('start')) };
  const [ann, bob] = await people('plain', ['ann', 'bob'], server);
  const conversation_id = await ann.direct(bob);
  const log = `c:${conversation_id}`;
  const devices = await Promise.all(dialects.map((d, i) => bob.device(`phone-${i}`, d)));
  await Promise.all(devices.map((d) => d.connected()));
  const before = await ann.say(conversation_id, 'before');
  await Promise.all(devices.map((d) => d.reaches(log, before)));

  await order('restart', { server: server.server, how: 'rst' });
  const killed = await ann.say(conversation_id, 'after the kill');
  await Promise.all(devices.map((d) => d.reaches(log, killed)));
  await order('restart', { server: server.server });
  const stopped = await ann.say(conversation_id, 'after the shutdown');
  for (const d of devices) {
    await d.endsWith(3001);
    await d.reaches(log, stopped);
    assert.deepEqual(d.messages(conversation_id), await bob.history(conversation_id));
  }
});
