// Node's ws: an echo of text, with permessage-deflate in the mode "deflate". NODE_PATH says where ws is.
'use strict';

const { parseArgs } = require('node:util');
const WebSocket = require('ws');

const { values } = parseArgs({ options: { mode: { type: 'string', default: 'text' } } });
const server = new WebSocket.Server({
  host: '127.0.0.1',
  port: 0,
  maxPayload: 16 * 1024 * 1024,
  perMessageDeflate: values.mode === 'deflate',
});
server.on('connection', (ws) => {
  ws.on('message', (data, binary) => ws.send(data, { binary }));
  if (values.mode === 'idle') ws.on('close', () => {});
});
server.on('listening', () => console.log(`port=${server.address().port}`));
setTimeout(() => process.exit(), 3600 * 1000);
