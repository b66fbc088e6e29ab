// An echo server of Node's ws, which closes as it is told.
//
//     node echo_server.js [CERTIFICATE KEY]        NODE_PATH says where ws is; prints its URL
//
// DEFLATE has more options of permessage-deflate, as JSON.
'use strict';

const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const WebSocket = require('ws');

const [, , cert, key] = process.argv;
const tls = cert && { cert: fs.readFileSync(cert), key: fs.readFileSync(key) };
const server = tls ? https.createServer(tls) : http.createServer();
const sockets = new WebSocket.Server({
  server,
  perMessageDeflate: { threshold: 0, ...JSON.parse(process.env.DEFLATE || '{}') },
  handleProtocols: (offered) => [...offered].find((name) => ['chat', 'superchat'].includes(name)) || false,
});
sockets.on('connection', (ws) => {
  ws.on('message', (data, binary) => {
    if (!binary && data.toString() === 'close') ws.close(4005, 'as you wish');
    else ws.send(data, { binary });
  });
});
server.listen(0, '127.0.0.1', () => {
  console.log(`${tls ? 'wss' : 'ws'}://127.0.0.1:${server.address().port}`);
});
