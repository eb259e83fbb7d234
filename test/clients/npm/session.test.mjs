// Tokens, their renewal, and how sessions end, as unmodified npm clients see it.

import { test } from '#environment';
import * as assert from './assert.mjs';
import { dialects, order, people } from './world.mjs';

for (const dialect of dialects.filter((d) => d.name !== 'protobuf with json')) {
  test(`a refreshed token keeps the connection (${dialect.name})`, async () => {
    const [ann] = await people('brief', ['ann']);
    let tokens = 0;
    const phone = await ann.device('phone', dialect, {
      getToken: () => { tokens++; phone?.waiting.forEach((w) => w()); return ann.token('phone', 2); },
    });
    await phone.until('four tokens', () => tokens >= 4);
    await phone.call('Devices.List');
    assert.equal(phone.connects, 1);
  });

  test(`an expired session comes back with a new token (${dialect.name})`, async () => {
    const [ann, bob] = await people('brief', ['ann', 'bob']);
    const conversation_id = await ann.direct(bob);
    const log = `c:${conversation_id}`;
    let calls = 0;
    const phone = await ann.device('phone', dialect, {
      getToken: async () => {
        calls++;
        if (calls === 2) throw new Error('the issuer of tokens is ill');
        return ann.token('phone', calls === 1 ? 2 : 3600);
      },
    });
    await phone.connected();
    await phone.reaches(log, await bob.say(conversation_id, 'before'));
    await phone.endsWith(3005);
    const missed = await bob.say(conversation_id, 'while it was out');
    await phone.connected(2);
    await phone.reaches(log, missed);
  });

  test(`a token that is no good ends the session for good (${dialect.name})`, async () => {
    const [ann] = await people('plain', ['ann']);
    const [elsewhere] = await people('other', ['ann']);
    const good = await ann.token('phone');
    const foreign = (await elsewhere.token('phone')).split('.')[2];
    for (const token of ['hello', good.slice(0, -4) + 'AAAA', [...good.split('.').slice(0, 2), foreign].join('.')]) {
      const phone = await ann.device('phone', dialect, { token });
      // The code of the error that answers connect; the close that follows has 3500.
      assert.equal((await phone.gaveUp()).code, 101);
    }
  });

  test(`the oldest session makes room (${dialect.name})`, async () => {
    const [ann] = await people('narrow', ['ann']);
    const phones = [];
    for (const name of ['first', 'second', 'third']) {
      phones.push(await ann.device(name, dialect));
      await phones.at(-1).connected();
    }
    assert.equal((await phones[0].gaveUp()).code, 3504);
    await phones[1].call('Devices.List');
  });

  test(`a client that hears no ping comes back (${dialect.name})`, async () => {
    const [ann, bob] = await people('brief', ['ann', 'bob']);
    const conversation_id = await ann.direct(bob);
    const log = `c:${conversation_id}`;
    const line = await order('link');
    const phone = await ann.device('phone', dialect, { websocket: line.websocket, maxServerPingDelay: 1000 });
    await phone.connected();
    await phone.reaches(log, await bob.say(conversation_id, 'before'));
    await order('pause', { link: line.link, on: true });
    const missed = await bob.say(conversation_id, 'into the void');
    const noPing = 2; // the SDK's own code
    await phone.endsWith(noPing);
    await order('pause', { link: line.link, on: false });
    await phone.reaches(log, missed);
  });
}
