// Unmodified npm clients hold conversations.

import { test } from '#environment';
import * as assert from './assert.mjs';
import { dialects, isText, people, text } from './world.mjs';

for (const dialect of dialects) {
  test(`a direct is heard by both people on all their devices (${dialect.name})`, async () => {
    const [ann, bob] = await people('plain', ['ann', 'bob']);
    const phone = await ann.device('phone', dialect);
    const desktop = await ann.device('desktop', dialects[0]);
    const his = await bob.device('phone', dialect);
    const all = [phone, desktop, his];
    await Promise.all(all.map((d) => d.connected()));
    assert.equal(phone.channels.get(ann.own).stands[0].wasRecovering, false);

    const { conversation_id, opened } = await phone.call('Directs.Open', { user_id: bob.id, request_id: 'open' });
    assert.equal(opened, true);
    assert.equal((await his.call('Directs.Open', { user_id: ann.id })).conversation_id, conversation_id);
    const sent = await phone.call('Messages.Send', { conversation_id, request_id: '1', content: text('hello') });
    const heard = await Promise.all(all.map((d) => d.hears(`c:${conversation_id}`, 'hello', isText('hello'))));
    const [stored] = await bob.history(conversation_id);
    for (const e of heard) {
      assert.deepEqual(e, stored);
      assert.deepEqual([e.seq, e.at, e.by], [sent.seq, sent.at, ann.id]);
    }
  });

  test(`refusals have a code and a sentence (${dialect.name})`, async () => {
    const [ann] = await people('plain', ['ann']);
    const phone = await ann.device('phone', dialect);
    await phone.connected();
    const refused = async (code, call) => {
      const err = await call.then(() => assert.fail('it was done'), (e) => e);
      assert.equal(err.code, code);
      assert.ok(err.message);
    };
    await refused(404, phone.call('Messages.Send', { conversation_id: 77, content: text('?') }));
    await refused(107, phone.call('Directs.Open', {}));
    await refused(104, phone.client.rpc('No.Such', dialect.payload === 'json' ? dialect.request('', {}) : new Uint8Array()));
    await refused(108, phone.client.publish(ann.own, dialect.about({})));
    await refused(108, phone.client.presence(ann.own));
    await refused(108, phone.client.presenceStats(ann.own));
    await refused(108, phone.client.history(ann.own));
    assert.equal(phone.connects, 1);
  });

  test(`a newline in every string poisons nothing (${dialect.name})`, async () => {
    const nasty = 'one\ntwo\r\nthree\u2028four\u2029five\ttab "quoted" back\\slash </script> \u0001\u007f é 漢 😀 \n';
    const media = { ref: nasty, mime: nasty, bytes: 123 };
    const contents = [
      { text: { text: nasty, entities: [{ type: nasty, offset: 1, length: 1, value: nasty }] } },
      { image: { media, width: 4, height: 3, caption: nasty } },
      { file: { media, name: nasty, caption: nasty } },
      { link: { url: nasty, title: nasty, description: nasty, media } },
      { location: { latitude: 52.5, longitude: -13.25, name: nasty } },
      { contact: { name: nasty, phone: nasty, user_id: nasty } },
      { custom: { type: nasty, data: nasty } },
    ];
    const [ann, bob] = await people('plain', ['ann', 'bob']);
    const about = { model: nasty, os: nasty, sdk: nasty, app: nasty, payload: dialect.payload };
    const phone = await ann.device('phone', dialect, { data: dialect.about(about), name: nasty, version: nasty });
    const hears = await Promise.all(dialects.map((d, i) => bob.device(`phone-${i}`, d)));
    await Promise.all([phone, ...hears].map((d) => d.connected()));
    const conversation_id = await ann.direct(bob);
    const log = `c:${conversation_id}`;
    for (const [i, content] of contents.entries()) {
      const { seq } = await phone.call('Messages.Send', { conversation_id, request_id: `${i}\n`, content });
      for (const d of [phone, ...hears]) {
        const e = await d.hears(log, `message ${i}`, (heard) => heard.seq === seq);
        assert.deepEqual(e.body.content, content);
      }
    }
    const { seq } = await phone.call('Messages.Send', { conversation_id, content: text('and then') });
    for (const d of [phone, ...hears]) {
      await d.reaches(log, seq);
      assert.equal(d.connects, 1);
      assert.deepEqual(d.messages(conversation_id), await bob.history(conversation_id));
    }
  });
}
