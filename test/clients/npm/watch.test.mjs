// People watch conversations that are too large to come by themselves, by
// subscribing to their channels. In the tenant `packed` five members are many.

import { test } from '#environment';
import * as assert from './assert.mjs';
import { dialects, isAbout, isText, order, people, text } from './world.mjs';

const crowd = ['ann', 'bob', 'cat', 'dan', 'eli', 'fay', 'gus']; // more than five
const flood = 300; // messages

// write has somebody write many messages, a few at a time.
async function write(device, conversation_id, from, to) {
  const worker = async (first) => {
    for (let i = first; i < to; i += 4) {
      await device.insist('Messages.Send', { conversation_id, request_id: `${i}`, content: text(`${i}`) });
    }
  };
  await Promise.all([0, 1, 2, 3].map((w) => worker(from + w)));
}

for (const [seed, dialect] of dialects.entries()) {
  test(`who watches a large group hears it over many cuts (${dialect.name})`, async () => {
    const [ann, ...others] = await people('packed', crowd);
    const gus = others.at(-1);
    const conversation_id = await ann.group({}, ...others);
    const log = `c:${conversation_id}`;
    assert.equal((await gus.post('Groups.Get', { conversation_id })).large, true);
    const line = await order('link');
    const hers = await ann.device('phone', dialect);
    const his = await gus.device('phone', dialect, { websocket: line.websocket });
    const idle = await gus.device('idle', dialect);
    await Promise.all([hers, his, idle].map((d) => d.connected()));
    await ann.say(conversation_id, 'before');
    his.watch(conversation_id);
    await his.opened(log);
    const first = await ann.say(conversation_id, 'first');
    await his.reaches(log, first);

    await order('breaking', { link: line.link, on: true, seed: 1000 + seed });
    await order('cut', { link: line.link, how: 'rst' });
    await write(hers, conversation_id, 0, flood);
    await order('breaking', { link: line.link, on: false });
    const last = await ann.say(conversation_id, 'last');
    await his.reaches(log, last);
    const history = await gus.history(conversation_id);
    assert.deepEqual(his.messages(conversation_id), history.filter((e) => e.seq >= first));
    assert.equal(his.messages(conversation_id).length, flood + 2);
    for (const s of his.channels.get(log).stands.slice(1)) assert.equal(s.recovered, true);
    assert.ok(his.connects > 1);
    assert.equal(idle.channels.get(log), undefined, 'it came without being asked for');
  });

  test(`a group that grows and shrinks past the threshold loses nothing (${dialect.name})`, async () => {
    const [ann, bob, cat, ...others] = await people('packed', crowd);
    const conversation_id = await ann.group({}, bob, cat);
    const log = `c:${conversation_id}`;
    const line = await order('link');
    const hers = await ann.device('phone', dialect);
    const [there, away] = [await bob.device('there', dialect), await bob.device('away', dialect, { websocket: line.websocket })];
    await Promise.all([hers, there, away].map((d) => d.connected()));
    const first = await ann.say(conversation_id, 'first');
    await Promise.all([there, away].map((d) => d.reaches(log, first)));

    const grow = async () => {
      for (const p of others) await p.post('Groups.Join', { conversation_id });
    };
    await Promise.all([write(hers, conversation_id, 0, flood), grow()]);
    assert.equal((await bob.post('Groups.Get', { conversation_id })).large, true);
    await order('refuse', { link: line.link, on: true });
    await order('cut', { link: line.link, how: 'rst' });
    const shrink = async () => {
      for (const p of others) await p.post('Groups.Leave', { conversation_id });
    };
    await write(hers, conversation_id, flood, 2 * flood);
    await Promise.all([write(hers, conversation_id, 2 * flood, 3 * flood), shrink()]);
    assert.ok(!(await bob.post('Groups.Get', { conversation_id })).large);
    await order('refuse', { link: line.link, on: false });

    const last = await ann.say(conversation_id, 'last');
    await Promise.all([there, away].map((d) => d.reaches(log, last)));
    const history = await bob.history(conversation_id);
    assert.equal(history.length, 3 * flood + 2);
    for (const d of [there, away]) assert.deepEqual(d.messages(conversation_id), history, `${d}`);
    for (const s of away.channels.get(log).stands.slice(1)) assert.equal(s.recovered, true);
  });

  test(`the removed hear their removal last, and may not watch again (${dialect.name})`, async () => {
    const [ann, ...others] = await people('packed', crowd);
    const gus = others.at(-1);
    const conversation_id = await ann.group({}, ...others);
    const log = `c:${conversation_id}`;
    const his = await gus.device('phone', dialect);
    await his.connected();
    const sub = his.watch(conversation_id);
    await his.opened(log);
    await ann.say(conversation_id, 'in time');
    await ann.post('Groups.Remove', { conversation_id, user_id: gus.id });
    await ann.say(conversation_id, 'too late');
    await his.hears(log, 'his removal', isAbout('MemberRemoved', gus));
    await his.closed(log);
    assert.ok(his.channels.get(log).events.find(isText('in time')));
    assert.equal(his.channels.get(log).events.at(-1).type, 'MemberRemoved');
    sub.subscribe();
    await his.until('refused', () => his.channels.get(log).end?.code === 103);
    assert.equal(his.channels.get(log).events.at(-1).type, 'MemberRemoved');
  });

  test(`a stranger may not watch, nor learn what there is (${dialect.name})`, async () => {
    const [ann, bob, eve] = await people('plain', ['ann', 'bob', 'eve']);
    const direct = await ann.direct(bob);
    const group = await ann.group({}, bob);
    await ann.say(group, 'among us');
    const hers = await eve.device('phone', dialect);
    await hers.connected();
    const ends = [];
    for (const conversation of [group, direct, 77]) {
      hers.watch(conversation);
      ends.push((await hers.closed(`c:${conversation}`)).end);
    }
    assert.equal(ends[0].code, 103);
    assert.ok(ends[0].reason);
    assert.deepEqual(ends, Array(3).fill(ends[0]));
    await hers.call('Devices.List');
    assert.equal(hers.connects, 1);
    for (const conversation of [group, direct, 77]) assert.deepEqual(hers.channels.get(`c:${conversation}`).events, []);
  });
}
