import { createServer } from 'node:http';
import { Webhook } from 'standardwebhooks';

const webhook = new Webhook(process.env.WEBHOOK_SECRET);

createServer(async (req, resp) => {
  const parts = [];
  for await (const part of req) parts.push(part);
  try {
    const event = webhook.verify(Buffer.concat(parts), req.headers);
    console.log(JSON.stringify({ id: req.headers['webhook-id'], ...event }));
    resp.writeHead(204).end();
  } catch {
    resp.writeHead(400).end(); // It is not from Kith, or was changed on the way.
  }
}).listen(process.env.PORT ?? 3000, process.env.HOST);
