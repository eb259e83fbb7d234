// A device that was away for hours asks for what has changed, page by page, and
// gets each change once.

import { test } from '#environment';
import * as assert from './assert.mjs';
import { dialects, order, people } from './world.mjs';

// pages syncs to the end. between is called after the first page.
async function pages(device, req, between = async () => {}) {
  const all = [];
  for (let token = req.token; ;) {
    const page = await device.call('Dialogs.Sync', { ...req, token });
    assert.ok(!page.reset);
    all.push(...(page.dialogs ?? []));
    ({ token } = page);
    if (!page.more) return { token, dialogs: all };
    await between();
    between = async () => {};
  }
}

const byID = (dialogs) => new Map(dialogs.map((d) => [d.dialog.conversation_id, d]));
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

for (const dialect of dialects) {
  test(`a device that was away for long hears of each change once (${dialect.name})`, async () => {
    const [ann, bob, cat] = await people('plain', ['ann', 'bob', 'cat']);
    const direct = await ann.direct(bob);
    const quiet = await bob.direct(cat);
    const g = {};
    for (const name of ['busy', 'left', 'read', 'hidden', 'joined']) {
      g[name] = await ann.group({ request_id: name, name }, ...(name === 'joined' ? [] : [bob]));
    }
    const first = {};
    for (const id of [direct, ...Object.values(g)]) first[id] = await ann.say(id, 'first');
    await cat.say(quiet, 'first');

    const line = await order('link');
    const desk = await bob.device('desk', dialect);
    const away = await bob.device('away', dialect, { websocket: line.websocket });
    await Promise.all([desk, away].map((d) => d.connected()));
    const before = await pages(away, { limit: 2 });
    assert.deepEqual(new Set(byID(before.dialogs).keys()).size, before.dialogs.length);
    assert.deepEqual(before.dialogs.map((d) => d.dialog.conversation_id).sort(),
      [direct, quiet, g.busy, g.left, g.read, g.hidden].sort());
    for (const d of before.dialogs) assert.equal(d.dialog.state.unread, 1);
    assert.deepEqual((await pages(away, { token: before.token })).dialogs, []);
    await order('refuse', { link: line.link, on: true });
    await order('cut', { link: line.link, how: 'rst' });

    const said = {};
    for (let i = 0; i < 50; i++) said.busy = await ann.say(g.busy, `${i}`);
    for (let i = 0; i < 3; i++) said.direct = await ann.say(direct, `${i}`);
    await desk.call('Receipts.MarkRead', { conversation_id: g.read, seq: first[g.read] });
    await desk.call('Messages.Delete', { conversation_id: g.hidden, seqs: [first[g.hidden]] });
    await desk.call('Groups.Leave', { conversation_id: g.left });
    await desk.call('Groups.Join', { conversation_id: g.joined });
    const isOf = (type, id) => (e) => e.type === type && e.body.conversation_id === id;
    await desk.hears(bob.own, 'that he left', isOf('DialogLeft', g.left));
    await desk.hears(bob.own, 'that he joined', isOf('DialogJoined', g.joined));
    await desk.hears(bob.own, 'what is hidden', isOf('MessagesHidden', g.hidden));

    await order('refuse', { link: line.link, on: false });
    await away.connected(2);
    const atHTTP = await bob.post('Dialogs.Sync', { token: before.token, limit: 2 });
    const onSocket = await away.call('Dialogs.Sync', { token: before.token, limit: 2 });
    assert.deepEqual(onSocket.dialogs, atHTTP.dialogs);
    let between;
    const now = await pages(away, { token: before.token, limit: 2 }, async () => { between = await ann.say(direct, 'between the pages'); });
    const dialogs = byID(now.dialogs);
    assert.equal(dialogs.size, now.dialogs.length, 'a dialog came twice');
    assert.deepEqual([...dialogs.keys()].sort(), [direct, ...Object.values(g)].sort());
    assert.equal(dialogs.get(g.left).left, true);
    assert.deepEqual(dialogs.get(g.hidden).hidden, [first[g.hidden]]);
    const marked = dialogs.get(g.read).dialog.state;
    assert.deepEqual([marked.read, marked.unread ?? 0], [first[g.read], 0]);
    const much = dialogs.get(g.busy);
    assert.deepEqual([much.more, much.through, much.dialog.state.unread], [true, said.busy, 51]);
    assert.deepEqual(much.events, (await bob.history(g.busy)).slice(-20));
    assert.equal(dialogs.get(g.joined).dialog.state.head, (await bob.post('Dialogs.Sync')).dialogs
      .find((d) => d.dialog.conversation_id === g.joined).dialog.state.head);

    const next = await pages(away, { token: now.token, limit: 2 });
    const both = [dialogs.get(direct), byID(next.dialogs).get(direct)].flatMap((d) => d?.events ?? []);
    assert.deepEqual(both.map((e) => e.seq), numbers(first[direct] + 1, between));
    assert.deepEqual(both, (await bob.history(direct)).filter((e) => e.seq > first[direct]));
    assert.deepEqual(next.dialogs.map((d) => d.dialog.conversation_id), [direct]);
    assert.deepEqual((await pages(away, { token: next.token })).dialogs, []);
  });

  test(`a token of another store begins anew (${dialect.name})`, async () => {
    const [ann, bob] = await people('plain', ['ann', 'bob']);
    const conversation_id = await ann.direct(bob);
    await ann.say(conversation_id, 'hello');
    const server = await order('start');
    const [stranger] = await people('plain', ['ann'], await order('link', { server: server.server }).then((l) => ({ ...l, ...server })));
    const { token } = await stranger.post('Dialogs.Sync');
    const his = await bob.device('phone', dialect);
    await his.connected();
    const anew = await his.call('Dialogs.Sync', { token });
    assert.equal(anew.reset, true);
    assert.deepEqual(anew.dialogs.map((d) => d.dialog.conversation_id), [conversation_id]);
  });
}
