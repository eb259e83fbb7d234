// What happens at its time: messages that delete themselves, and messages that are
// sent later.

import { test } from '#environment';
import * as assert from './assert.mjs';
import { dialects, isText, order, people, text, textsOf } from './world.mjs';

for (const dialect of dialects) {
  test(`a message deletes itself while a device is off (${dialect.name})`, async () => {
    const [ann, bob] = await people('brief', ['ann', 'bob']);
    const conversation_id = await ann.direct(bob);
    const log = `c:${conversation_id}`;
    const line = await order('link');
    const hers = await ann.device('phone', dialect);
    const there = await bob.device('there', dialect);
    const away = await bob.device('away', dialect, { websocket: line.websocket });
    await Promise.all([hers, there, away].map((d) => d.connected()));
    const good = await ann.say(conversation_id, 'for good');
    await Promise.all([there, away].map((d) => d.reaches(log, good)));
    const { token } = await away.call('Dialogs.Sync');
    await order('refuse', { link: line.link, on: true });
    await order('cut', { link: line.link, how: 'rst' });

    await hers.call('Timers.SetAutoDelete', { conversation_id, seconds: 1 });
    const { seq } = await hers.call('Messages.Send', { conversation_id, content: text('for a moment') });
    await there.hears(log, 'it while it is there', isText('for a moment'));
    await hers.call('Timers.SetAutoDelete', { conversation_id, seconds: 0 });
    const gone = await there.hears(log, 'that it is gone', (e) => e.type === 'MessagesExpired');
    assert.ok(gone.body.from <= seq && seq <= gone.body.through);
    const after = await ann.say(conversation_id, 'and after');
    await there.reaches(log, after);
    assert.equal(textsOf(await bob.history(conversation_id).then(sent)), 'for good and after');

    await order('refuse', { link: line.link, on: false });
    await away.connected(2);
    const { dialogs } = await away.call('Dialogs.Sync', { token });
    assert.deepEqual(dialogs.map((d) => d.dialog.conversation_id), [conversation_id]);
    assert.equal(dialogs[0].dialog.state.last.seq, after);
    const last = await ann.say(conversation_id, 'last');
    await away.reaches(log, last);
    const told = JSON.stringify([dialogs, away.channels.get(log).events]);
    assert.ok(told.includes('and after') && !told.includes('for a moment'), told);
  });

  test(`a scheduled message is sent once, though the server is killed before (${dialect.name})`, async () => {
    const server = await order('start');
    const line = { ...(await order('link', { server: server.server })), server: server.server };
    const [ann, bob] = await people('plain', ['ann', 'bob'], line);
    const conversation_id = await ann.direct(bob);
    const log = `c:${conversation_id}`;
    const hers = await ann.device('phone', dialect);
    const his = await bob.device('phone', dialect);
    await Promise.all([hers, his].map((d) => d.connected()));
    const at = Date.now() + 2000;
    const { id } = await hers.call('Timers.Schedule', { conversation_id, content: text('later'), at });
    const { id: never } = await hers.call('Timers.Schedule', { conversation_id, content: text('never'), at });
    await hers.call('Timers.CancelScheduled', { conversation_id, id: never });
    await ann.say(conversation_id, 'now');
    await order('restart', { server: server.server, how: 'rst' });
    const later = await his.hears(log, 'what was scheduled', isText('later'));
    assert.ok(later.at >= at && later.by === ann.id);
    await hers.hears(log, 'what she scheduled', isText('later'));
    const { messages = [] } = await hers.insist('Timers.Scheduled', { conversation_id });
    assert.deepEqual(messages, [], `${id} still waits`);
    assert.equal(textsOf(await bob.history(conversation_id).then(sent)), 'now later');
  });
}

const sent = (events) => events.filter((e) => e.type === 'MessageSent');
