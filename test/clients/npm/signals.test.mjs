// Signals are pushed outside of channels: who is typing, who is there, how far
// somebody has read. They are in no log, and who was away has missed nothing.

import { test } from '#environment';
import * as assert from './assert.mjs';
import { dialects, isText, order, people, text } from './world.mjs';

const isSignal = (type, by, channel) => (s) => s.type === type && s.by === by.id && s.channel === channel;

for (const dialect of dialects) {
  test(`the others see that somebody is typing (${dialect.name})`, async () => {
    const [ann, bob, eve] = await people('plain', ['ann', 'bob', 'eve']);
    const conversation_id = await ann.direct(bob);
    const log = `c:${conversation_id}`;
    const hers = await ann.device('phone', dialect);
    const his = [await bob.device('phone', dialect), await bob.device('desktop', dialects[0])];
    const other = await eve.device('phone', dialect);
    await Promise.all([hers, other, ...his].map((d) => d.connected()));
    await hers.call('Typing.Type', { conversation_id, activity: 'RECORDING' });
    for (const d of his) {
      const typed = await d.signalled('that she records', isSignal('Typed', ann, log));
      assert.deepEqual(typed.body, { activity: 'RECORDING' });
      assert.equal(typed.seq, undefined);
      assert.ok(Math.abs(typed.at - Date.now()) < 3_600_000, `it has the time ${typed.at}`);
    }
    const said = await hers.call('Messages.Send', { conversation_id, content: text('what she said') });
    for (const d of his) await d.reaches(log, said.seq);
    const theirs = await ann.direct(eve);
    await hers.call('Messages.Send', { conversation_id: theirs, content: text('and to eve') });
    await other.hears(`c:${theirs}`, 'what was said to her', isText('and to eve'));
    assert.deepEqual(other.signals, []);
    const history = await bob.history(conversation_id);
    assert.deepEqual(history.map((e) => e.type), ['MessageSent']);
    for (const d of his) assert.deepEqual(d.messages(conversation_id), history);
    const err = await other.call('Typing.Type', { conversation_id }).catch((e) => e);
    assert.equal(err.code, 404);
  });

  test(`who asked is told who comes and goes, and nothing of a short cut (${dialect.name})`, async () => {
    const [ann, bob] = await people('plain', ['ann', 'bob']);
    const conversation_id = await ann.direct(bob);
    const his = await bob.device('phone', dialect);
    await his.connected();
    await his.call('Presence.Subscribe', { conversation_id, user_ids: [ann.id] });
    await his.signalled('that he may ask', (s) => s.type === 'PresenceReady' && s.body.user_id === ann.id);
    const { people: before } = await his.call('Presence.Get', { user_ids: [ann.id] });
    assert.ok(!before[0].online);

    const heard = () => his.signals.filter((s) => s.type === 'PresenceNow').map((s) => Boolean(s.body.person.online));
    const says = (n) => his.until(`${n} times who is there`, () => heard().length >= n);
    const line = await order('link');
    const hers = await ann.device('phone', dialect, { websocket: line.websocket });
    await hers.connected();
    await says(1);
    await order('cut', { link: line.link, how: 'rst' });
    await hers.connected(2);
    await order('refuse', { link: line.link, on: true });
    await order('cut', { link: line.link, how: 'fin' });
    await says(2);
    const { people: gone } = await his.call('Presence.Get', { user_ids: [ann.id] });
    assert.ok(!gone[0].online && gone[0].last_seen > 0);
    await order('refuse', { link: line.link, on: false });
    await says(3);
    assert.deepEqual(heard(), [true, false, true]);
    const { people: back } = await his.call('Presence.Get', { user_ids: [ann.id] });
    assert.equal(back[0].online, true);
  });

  test(`how far somebody has read is seen by him everywhere, and by the other (${dialect.name})`, async () => {
    const [ann, bob] = await people('plain', ['ann', 'bob']);
    const conversation_id = await ann.direct(bob);
    const log = `c:${conversation_id}`;
    const hers = await ann.device('phone', dialect);
    const [phone, desktop] = [await bob.device('phone', dialect), await bob.device('desktop', dialect)];
    await Promise.all([hers, phone, desktop].map((d) => d.connected()));
    const seqs = [];
    for (const words of ['one', 'two', 'three']) seqs.push(await ann.say(conversation_id, words));
    await phone.reaches(log, seqs[2]);

    await phone.call('Receipts.MarkDelivered', { conversation_id, seq: seqs[2] });
    const marked = await phone.call('Receipts.MarkRead', { conversation_id, seq: seqs[1] });
    assert.deepEqual([marked.seq, marked.unread], [seqs[1], 1]);
    for (const d of [hers, desktop]) {
      const arrived = await d.signalled('what has arrived', isSignal('DeliveredMoved', bob, log));
      assert.deepEqual(arrived.body, { user_id: bob.id, seq: seqs[2] });
      const read = await d.signalled('what he has read', isSignal('ReadMoved', bob, log));
      assert.deepEqual(read.body, { user_id: bob.id, seq: seqs[1] });
    }
    const back = await desktop.call('Receipts.MarkRead', { conversation_id, seq: seqs[0] });
    assert.deepEqual([back.seq, back.unread], [seqs[1], 1], 'a marker moved back');
    const { read } = await hers.call('Receipts.Readers', { conversation_id, seq: seqs[0] });
    assert.deepEqual(read, [bob.id]);
  });

  test(`a reaction is in the log, and how many there are is a signal (${dialect.name})`, async () => {
    const [ann, bob] = await people('plain', ['ann', 'bob']);
    const conversation_id = await ann.direct(bob);
    const log = `c:${conversation_id}`;
    const hers = await ann.device('phone', dialect);
    const his = await bob.device('phone', dialect);
    await Promise.all([hers, his].map((d) => d.connected()));
    const { seq } = await hers.call('Messages.Send', { conversation_id, content: text('well?') });
    await his.reaches(log, seq);
    await his.call('Reactions.React', { conversation_id, seq, emoji: ['👍'] });
    const counts = [{ emoji: '👍', count: 1, user_ids: [bob.id] }];
    for (const d of [hers, his]) {
      const reacted = await d.hears(log, 'that he reacted', (e) => e.type === 'Reacted');
      assert.deepEqual(reacted.body, { seq });
      const now = await d.signalled('how many there are', isSignal('ReactionsNow', bob, log));
      assert.deepEqual(now.body, { seq, counts });
    }
    const { messages } = await hers.call('Reactions.List', { conversation_id, seqs: [seq] });
    assert.deepEqual(messages, [{ seq, counts }]);
  });
}
